"""Whose home it is: told before anything else fails, at once where a server runs, after a while where one ends."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgate.core.errors import HomeError
from headgate.core.home import Home, ServerInfo
from headgate.core.ids import monotonic_s
from support.server import RunningServer, free_port

NewServer = Callable[..., RunningServer]
Holder = subprocess.Popen[bytes]
_LONG_S = 60.0
_PLAIN = '[upstreams.main]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'  # starts quicker than the demo
_HOLD = (
    "import sys; from pathlib import Path; from headgate.core.home import Home\n"
    "with Home(Path(sys.argv[1])).locked():\n    print('held', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A prepared home."""
    made = Home(tmp_path / "home")
    made.prepare()
    return made


@pytest.fixture
def holder(home: Home) -> Iterator[Holder]:
    """Another process that holds the home."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(home.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.stdin.close()
    process.stdout.close()
    process.kill()
    process.wait()


def info(pid: int, *, is_stopping: bool = False) -> ServerInfo:
    """What a server says of itself."""
    return ServerInfo(pid=pid, url="http://127.0.0.1:4400", started_at_us=1, version="1", is_stopping=is_stopping)


def refusal(home: Home, wait_s: float) -> str:
    """What is said to someone who wants the home."""
    with pytest.raises(HomeError) as caught, home.locked(wait_s=wait_s):
        pass
    return caught.value.sentence


def test_a_running_server_is_named_without_a_wait(home: Home, holder: Holder) -> None:
    home.announce(info(holder.pid))
    began_s = monotonic_s()
    assert f"in use by PID {holder.pid} at http://127.0.0.1:4400" in refusal(home, _LONG_S)
    assert monotonic_s() - began_s < _LONG_S / 2


@pytest.mark.parametrize("about", ["nothing is said", "it stops", "another PID", "damaged"])
def test_a_holder_that_may_end_soon_is_waited_for(home: Home, holder: Holder, about: str) -> None:
    if about == "it stops":
        home.announce(info(holder.pid, is_stopping=True))
    elif about == "another PID":
        home.announce(info(1))
    elif about == "damaged":
        (home.run / "server.json").write_text('{"pid": "x"}')
    began_s = monotonic_s()
    assert f"in use by PID {holder.pid}" in refusal(home, 0.3)
    assert monotonic_s() - began_s >= 0.3


def test_a_home_is_taken_once_its_killed_holder_is_gone(home: Home, holder: Holder) -> None:
    home.announce(info(holder.pid))
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # a zombie now: it has a PID, and serves nobody
    with home.locked(wait_s=_LONG_S):
        pass


def test_a_long_home_costs_one_descriptor_however_often_its_sockets_are_named(tmp_path: Path) -> None:
    home = Home(tmp_path / ("x" * 100) / "home")
    home.prepare()
    first = home.socket_address("control")
    before = sorted(Path("/proc/self/fd").iterdir())
    assert [home.socket_address("control") for _ in range(20)] == [first] * 20
    assert len(sorted(Path("/proc/self/fd").iterdir())) == len(before)


def test_a_second_server_on_the_same_home_and_port_is_told_who_is_there(new_server: NewServer) -> None:
    first = new_server(_PLAIN).start()
    assert first.process is not None
    (first.home / "run" / "settings.msgpack").chmod(0o644)
    second = new_server(_PLAIN, home=first.home, port=first.port)
    second.launch()
    assert second.wait() == 2
    assert f"in use by PID {first.process.pid} at {first.url}" in second.err.text
    assert first.stop() == 0
    assert first.start().api("/api/health")["status"] == "ok"
    assert (first.home / "run" / "settings.msgpack").stat().st_mode & 0o777 == 0o600


def test_a_host_that_no_address_is_known_for_gets_a_hint_about_the_host(new_server: NewServer) -> None:
    server = new_server(arguments=["--demo", "--host", "nosuch.invalid"], port=free_port())
    server.launch()
    assert server.wait() == 2
    assert "Check --host" in server.err.text
    assert "--port" not in server.err.text
