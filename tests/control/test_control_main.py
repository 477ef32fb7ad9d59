"""The control process as the supervisor starts it: ready byte, socket, live output, orderly end."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from headgate.control.live import json_line, plain_line
from headgate.core.ids import now_us, utc, uuid7
from headgate.core.settings import Settings, load
from headgate.snapshot import SnapshotReader
from headgate.spool.record import FinalRecord
from headgate.spool.writer import SpoolWriter
from headgate.store.log import Log
from headgate.store.rows import RequestRow

DEMO = load(demo=True, environ={})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A prepared, empty home."""
    for name in ("run", "spool", "snapshot", "tmp", "bodies"):
        (tmp_path / "home" / name).mkdir(mode=0o700, parents=True)
    (tmp_path / "home").chmod(0o700)
    return tmp_path / "home"


def written(home: Path, settings: Settings) -> Path:
    """The settings as the supervisor hands them over."""
    path = home / "run" / "settings"
    path.write_bytes(msgspec.msgpack.encode(settings))
    return path


@contextmanager
def started(home: Path, settings: Settings, *arguments: str) -> Iterator[tuple[Any, httpx2.Client]]:
    """A running control process, ready, and a client on its socket."""
    path = str(home / "run" / "control.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        read_fd, write_fd = os.pipe()
        command = [sys.executable, "-m", "headgate.control.main", "--home", str(home), "--fd", str(listener.fileno())]
        process = subprocess.Popen(
            [*command, "--settings", str(written(home, settings)), "--ready-fd", str(write_fd), *arguments],
            pass_fds=(listener.fileno(), write_fd),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    os.close(write_fd)
    try:
        assert os.read(read_fd, 1) == b"\n", process.communicate(timeout=10)
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=path), base_url="http://127.0.0.1:4400") as client:
            yield process, client
    finally:
        os.close(read_fd)
        process.kill()
        process.communicate(timeout=10)


def final(**fields: Any) -> FinalRecord:
    """A chat that went well."""
    at_us = now_us()
    return FinalRecord(
        **{"request_id": uuid7(at_us), "started_at_us": at_us, "sequence": 0, "endpoint": "openai.chat", "status": 200,
           "model": "demo", "outcome": "ok", "capture": "metadata", **fields}
    )  # fmt: skip


def test_it_is_ready_with_a_snapshot_shows_traffic_live_and_stores_the_rest_at_the_end(home: Path) -> None:
    with started(home, DEMO, "--live", "json") as (process, client):
        assert SnapshotReader(home).load().settings.source == "demo"
        assert client.get("/api/health").json()["status"] == "ok"
        spool = SpoolWriter(home / "spool", worker=0, segment_bytes=1 << 20)
        spool.append_final(final(purpose="probe"), b"", b"", [])
        spool.append_final(final(), b"", b"", [])
        shown = json.loads(process.stdout.readline())
        assert (shown["model"], shown["outcome"]) == ("demo", "ok")
        spool.append_final(final(), b"", b"", [])
        process.send_signal(signal.SIGTERM)
        spool.append_final(final(), b"", b"", [])
        spool.close()
        assert process.wait(timeout=15) == 0
    log = Log.open(home)
    try:
        assert log.query("SELECT count(*), count(DISTINCT request_id) FROM requests").rows == [(4, 4)]
    finally:
        log.close()


def test_where_a_key_is_required_one_is_minted_before_the_first_snapshot(home: Path) -> None:
    with started(home, replace(DEMO, server=replace(DEMO.server, require_key=True))) as (_, client):
        key = (home / "admin.key").read_text().strip()
        assert (home / "admin.key").stat().st_mode & 0o777 == 0o600
        assert [entry.role for entry in SnapshotReader(home).load().keys.values()] == ["admin"]
        assert client.get("/api/status").status_code == 401
        assert client.get("/api/status", headers={"x-headgate-key": key}).status_code == 200


def test_a_second_process_on_the_same_home_is_refused_in_one_sentence(home: Path, tmp_path: Path) -> None:
    with started(home, DEMO), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "second.sock"))
        listener.listen()
        second = subprocess.run(
            [sys.executable, "-m", "headgate.control.main", "--home", str(home), "--settings", str(written(home, DEMO)),
             "--fd", str(listener.fileno())],
            pass_fds=(listener.fileno(),),
            capture_output=True,
            text=True,
            timeout=20,
        )  # fmt: skip
    assert second.returncode == 2
    assert "Traceback" not in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1


def row(**fields: Any) -> RequestRow:
    """A stored row."""
    at_us = 1_795_435_421_000_000
    return RequestRow(
        **{"request_id": uuid7(at_us), "started_at_us": at_us, "spool_id": "0-a", "segment": 1, "offset": 0,
           "attempts": 1, **fields}
    )  # fmt: skip


def test_a_live_line_reads_like_the_contract_says() -> None:
    line = plain_line(
        row(
            model="gpt-5-mini", prompt_name="support-answer", prompt_version=7, input_tokens=142, output_tokens=87,
            cost_usd=Decimal("0.00021"), latency_ms=812.0, usage_source="provider",
        )
    )  # fmt: skip
    clock = f"{utc(1_795_435_421_000_000):%H:%M:%S}"
    assert line == f"{clock}  gpt-5-mini  support-answer@7  142→87 tok  $0.000210  812 ms  ok"


def test_a_live_line_cannot_steer_a_terminal_or_break_json() -> None:
    hostile = row(model="a\x1b[2J\r\nb\u202e", error_type="x\ny", outcome="upstream_error", status=500)
    assert plain_line(hostile).isprintable()
    assert "unpriced" in plain_line(hostile)
    assert json.loads(json_line(hostile))["model"] == hostile.model
    assert "\n" not in json_line(hostile)
