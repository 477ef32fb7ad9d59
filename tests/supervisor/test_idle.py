"""A server that nobody calls sleeps: how often its processes wake up is what it costs."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.server import RunningServer, eventually

SECONDS = 10.0
MOST_A_SECOND = {"supervisor": 1.0, "retrieval": 0.5, "demo": 0.5, "worker": 2.0, "control": 10.0}


@pytest.mark.slow
def test_an_idle_tree_wakes_up_seldom(new_server: Callable[..., RunningServer]) -> None:
    server = new_server(arguments=["--demo"]).start()
    assert server.process is not None
    eventually(lambda: server.pids("retrieval"), within_s=30, what="all processes run")
    pids = {name: server.pids(name)[0] for name in ("retrieval", "demo", "worker", "control")}
    pids["supervisor"] = server.process.pid
    time.sleep(SECONDS)  # what a start leaves to do
    before = {name: wakes(pid) for name, pid in pids.items()}
    began_s = time.monotonic()
    time.sleep(SECONDS)
    found = {name: (wakes(pid) - before[name]) / (time.monotonic() - began_s) for name, pid in pids.items()}
    assert {name: rate for name, rate in found.items() if rate > MOST_A_SECOND[name]} == {}


def wakes(pid: int) -> int:
    """How often the threads of a process have waited for something so far."""
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in statuses)
