"""What keeps a server from starting: one sentence that says what is wrong and what to do, and exit code 2."""

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from support.server import RunningServer, eventually, free_port, is_running

NewServer = Callable[..., RunningServer]
PLAIN = '[upstreams.main]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'  # starts quicker than the demo


def refused(server: RunningServer, *, code: int = 2) -> str:
    """Start a server that must not start; what it says, which must be short."""
    server.launch()
    assert server.wait(within_s=40) == code, server.err.text
    assert "Traceback" not in server.err.text
    assert server.out.lines == []
    return server.err.text


def test_a_second_server_on_the_same_home_is_refused_naming_the_first(new_server: NewServer) -> None:
    first = new_server(PLAIN).start()
    assert first.process is not None
    second = new_server(PLAIN, home=first.home)
    assert refused(second) == (
        f"The data directory {first.home} is in use by PID {first.process.pid} at {first.url}. "
        "Stop that server, or give this one another home: --home DIR."
    )
    assert first.api("/api/health")["status"] == "ok"


def test_a_port_in_use_is_refused_with_another_one(new_server: NewServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(new_server(arguments=["--demo"], port=port))
    assert said == (
        f"Cannot listen on 127.0.0.1:{port}: Address already in use. "
        "Stop what listens there, or take another: --port 4401."
    )


def test_an_address_of_another_machine_is_refused(new_server: NewServer) -> None:
    said = refused(new_server(arguments=["--demo", "--host", "192.0.2.1"]))
    assert said.startswith("Cannot listen on 192.0.2.1:0: Cannot assign requested address.")


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
def test_a_home_open_to_others_is_refused(new_server: NewServer, tmp_path: Path, mode: int) -> None:
    home = tmp_path / "open"
    home.mkdir()
    home.chmod(mode)
    said = refused(new_server(arguments=["--demo"], home=home))
    assert f"open to other users (mode {mode:04o})" in said
    assert f"chmod 700 {home}" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_is_not_writable_is_refused(new_server: NewServer, tmp_path: Path) -> None:
    home = tmp_path / "locked"
    home.mkdir(mode=0o500)
    assert str(home) in refused(new_server(arguments=["--demo"], home=home))


@pytest.mark.parametrize("place", ["a-file", "a-file/below", "/proc/none"])
def test_a_home_that_cannot_be_is_refused(new_server: NewServer, tmp_path: Path, place: str) -> None:
    (tmp_path / "a-file").write_text("")
    assert str(tmp_path / place) in refused(new_server(arguments=["--demo"], home=tmp_path / place))


@pytest.mark.parametrize(
    ("config", "line", "words"),
    [
        ("[server]\nport = 4400\nwrokers = 2\n", 3, "workers"),
        (
            "[upstreams.a]\nkind = 'openai'\nbase_url = 'https://x.test/v1'\napi_key = 'sk-123456789012'\n",
            4,
            "api_key_env",
        ),
        ("[upstreams.a]\nkind = 'openal'\nbase_url = 'https://x.test/v1'\n", 2, "openai"),
        ("[[routes]]\nmodel = '*'\ntargets = [{upstream = 'nowhere'}]\n", 3, "nowhere"),
        ("[server]\nport = \n", 2, ""),
        ("[log]\nbody_days = 'many'\n", 2, "body_days"),
    ],
)
def test_a_bad_configuration_is_refused_with_file_and_line(
    new_server: NewServer, config: str, line: int, words: str
) -> None:
    server = new_server(config, environ={"OPENAI_API_KEY": "sk-test-1234567890"})
    said = refused(server)
    assert re.search(rf"headgate\.toml line {line}\b", said)
    assert words in said
    assert "123456789012" not in said


def test_no_upstream_at_all_is_refused_with_what_to_do(new_server: NewServer) -> None:
    said = refused(new_server())
    for words in ("OPENAI_API_KEY", "headgate serve --demo", "headgate init"):
        assert words in said


def test_a_weak_admin_key_is_refused(new_server: NewServer) -> None:
    said = refused(new_server(arguments=["--demo"], environ={"HEADGATE_ADMIN_KEY": "hg_short"}))
    assert "HEADGATE_ADMIN_KEY" in said
    assert "hg_short" not in said


def test_a_worker_that_cannot_start_stops_the_whole_with_its_reason(new_server: NewServer) -> None:
    server = new_server(PLAIN)
    (server.home / "run").mkdir(parents=True)
    server.home.chmod(0o700)
    (server.home / "run" / "worker-0.counters").mkdir()
    server.launch()
    pids = server.pids()
    assert server.wait(within_s=40) != 0
    assert "headgate: The worker 0 could not start (exit code" in server.err.text
    assert "worker-0.counters" in server.err.text
    assert not [pid for pid in pids if is_running(pid)]


def test_a_log_that_cannot_be_read_stops_the_whole_with_its_reason(new_server: NewServer) -> None:
    server = new_server(PLAIN)
    server.home.mkdir(mode=0o700)
    (server.home / "requests.duckdb").write_bytes(b"this is no database" * 1000)
    said = refused(server)
    assert "requests.duckdb" in said
    assert "headgate: The control process could not start (exit code 2). Its reason is printed above." in said


def test_a_start_after_a_refusal_works(new_server: NewServer, tmp_path: Path) -> None:
    home = tmp_path / "mended"
    home.mkdir()
    home.chmod(0o755)
    refused(new_server(PLAIN, home=home))
    home.chmod(0o700)
    server = new_server(PLAIN, home=home, port=free_port()).start()
    ready = {"status": "ready", "store": "ok", "spool": "writable"}  # workers serve before the store is there
    eventually(lambda: server.ask("/readyz") == (200, ready), within_s=30, what="the store is there")
