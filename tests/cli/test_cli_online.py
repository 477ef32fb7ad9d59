"""The commands against a running control application, over loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.cli.log import follow
from headgate.cli.main import main
from headgate.client import Client, GatewayRefused
from headgate.control.app import build
from headgate.control.state import ControlApp
from headgate.core.home import Home, ServerInfo
from headgate.core.ids import now_us, uuid7
from headgate.core.settings import load
from headgate.spool.record import FinalRecord
from headgate.spool.writer import SpoolWriter
from support.served_control import over_loopback


class Served:
    """A home with a server: its address, and its application."""

    def __init__(self, control: ControlApp, url: str) -> None:
        self.control, self.url = control, url

    @property
    def home(self) -> Path:
        return self.control.home.path

    def record(self, model: str, path: str = "/v1/chat/completions", status: int = 200) -> str:
        """One more request in the log."""
        at_us = now_us()
        writer = SpoolWriter(self.home / "spool", worker=1, segment_bytes=1 << 20)
        record = FinalRecord(
            request_id=uuid7(at_us),
            started_at_us=at_us,
            sequence=writer.next_sequence(),
            path=path,
            model_requested=model,
            status=status,
            client="old-client/1.0",
        )
        assert writer.append_final(record, b"{}", b"", [b"{}"])
        writer.close()
        while self.control.ingest.step():
            pass
        return record.request_id


@pytest.fixture
def served(home: Path) -> Iterator[Served]:
    settings = load(None, demo=True, environ={})
    settings = replace(settings, server=replace(settings.server, require_key=True))
    with ExitStack() as stack:
        stack.enter_context(Home(home).locked())
        control = build(home, settings)
        stack.callback(control.close)
        control.publisher.ensure_admin_key(None)
        control.publisher.publish()
        while control.ingest.step():
            pass
        url = stack.enter_context(over_loopback(control))
        control.home.announce(ServerInfo(pid=os.getpid(), url=url, started_at_us=now_us(), version="0"))
        yield Served(control, url)


def admin_key(served: Served) -> str:
    return (served.home / "admin.key").read_text().strip()


def test_a_home_in_use_is_asked_through_its_server(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "list", "--json", "--home", str(served.home)]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["requests"] == 3
    assert main(["status", "--home", str(served.home)]) == 0
    assert served.url in capsys.readouterr().out


def test_a_missing_or_wrong_key_is_refused_with_the_servers_words(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADGATE_URL", served.url)
    assert main(["log", "list"]) == 2
    assert "HEADGATE_API_KEY" in capsys.readouterr().err
    monkeypatch.setenv("HEADGATE_API_KEY", "hg_wrong-key-0123456789012345678901234567")
    assert main(["cost"]) == 2
    printed = capsys.readouterr().err
    assert "is not a key of this gateway" in printed and "0123456789" not in printed
    monkeypatch.setenv("HEADGATE_API_KEY", admin_key(served))
    assert main(["key", "list"]) == 0


def test_an_app_key_may_not_read_the_log(served: Served) -> None:
    with Client(served.url, api_key=admin_key(served)) as client:
        secret = client.create_key({"name": "app"})["plaintext"]
    with Client(served.url, api_key=secret) as client:
        assert client.health()["status"] == "ok"
        with pytest.raises(GatewayRefused, match="needs developer"):
            client.requests()


def test_tail_shows_what_was_there_and_then_every_request_once(served: Served) -> None:
    with Client(served.url, api_key=admin_key(served)) as client:
        rows = follow(client, {}, 2)
        shown = [next(rows)["request_id"] for _ in range(2)]
        added = [served.record("one"), served.record("two")]
        shown += [next(rows)["request_id"] for _ in range(2)]
    assert shown[2:] == added and len(set(shown)) == 4


def test_tail_keeps_to_its_filters(served: Served) -> None:
    with Client(served.url, api_key=admin_key(served)) as client:
        rows = follow(client, {"model": "wanted"}, 10)
        served.record("other")
        wanted = served.record("wanted")
        assert next(rows)["request_id"] == wanted


def test_a_piped_tail_writes_each_row_at_once_and_ends_with_130_on_interrupt(served: Served) -> None:
    environ = {**os.environ, "HEADGATE_URL": served.url, "HEADGATE_API_KEY": admin_key(served)}
    command = [sys.executable, "-m", "headgate", "log", "tail", "--json", "-n", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["outcome"] == "refused"
        wanted = served.record("later")
        assert json.loads(process.stdout.readline())["request_id"] == wanted
        process.send_signal(2)
        assert (process.wait(timeout=10), process.stderr.read().strip()) == (130, "Interrupted.")


def test_doctor_finds_unpriced_models_and_clients_without_v1(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served.record("gpt-4o-mini", path="/chat/completions", status=404)
    served.record("gpt-4o-mini", path="/v1/v1/chat/completions", status=404)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdef")
    assert main(["doctor", "--json", "--home", str(served.home)]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    said = {check: [f["what"] + f["mend"] for f in findings if f["check"] == check] for check in ("prices", "clients")}
    assert any("unknown provider" in text for text in said["prices"])
    assert any("missing /v1" in text and f"{served.url}/v1." in text for text in said["clients"])
    assert any("one /v1 too many" in text for text in said["clients"])
    assert {f["check"]: f["level"] for f in findings}["store"] == "ok"


def test_downloads_are_the_same_over_the_wire(served: Served, tmp_path: Path) -> None:
    target = tmp_path / "all.jsonl"
    assert main(["log", "export", "--to", str(target), "--bodies", "--home", str(served.home)]) == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(rows) == 3
    assert any("Say hello" in json.dumps(row) for row in rows)
