"""kill -9 of any process, under load: what was acknowledged is stored once, what was started is never forgotten."""

import json
from collections import Counter
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import pytest

from faults.reliability import VICTIMS
from support.judge import assert_nothing_is_lost
from support.load import CountingUpstream, Load
from support.server import RunningServer, eventually, is_running

NewServer = Callable[..., RunningServer]
EACH_ONCE = VICTIMS.index("tree") + 1


def kill_again_and_again(server: RunningServer, load: Load, kills: int) -> int:
    """The kills; returns how often a DuckDB write-ahead log was deleted on top."""
    deleted = 0
    for number, victim in enumerate(islice(cycle(VICTIMS), kills)):
        load.await_more(20)
        if victim != "tree":
            server.kill(victim, number // 2 % 2 if victim == "worker" else 0)
            continue
        wal = server.home / "requests.duckdb.wal"
        if not deleted:  # calls are answered long before the control process is there to store them
            eventually(wal.exists, within_s=30, what="a write-ahead log")
        server.kill_all()
        if not deleted and wal.exists():
            wal.unlink()
            deleted += 1
        server.start()
    load.await_more(20)
    return deleted


def kill_story(new_server: NewServer, upstream: CountingUpstream, kills: int) -> None:
    server = new_server(upstream.config(), arguments=["--workers", "2"]).start()
    load = Load(server.port).start()
    try:
        deleted = kill_again_and_again(server, load, kills)
    finally:
        load.stop()
    assert deleted == 1, "no write-ahead log was there to delete"
    rows = assert_nothing_is_lost(server, load, upstream)
    outcomes = Counter(row["outcome"] for row in rows)
    assert outcomes["interrupted"] > 0, "no kill hit a running call: the test shows nothing"
    assert not load.refused, load.refused[:3]
    assert_bodies_are_the_calls_own(server, rows)
    assert server.stop() == 0


def assert_bodies_are_the_calls_own(server: RunningServer, rows: list[dict[str, Any]]) -> None:
    """A row and the bodies kept for it belong to the same call, wherever the bodies were moved to meanwhile."""
    finished = [row for row in rows if row["outcome"] == "ok"]
    for row in finished[:: max(1, len(finished) // 25)]:
        bodies = server.api(f"/api/requests/{row['request_id']}")["bodies"]
        assert json.loads(bodies["request"]["text"])["messages"][0]["content"] == row["session_id"]
        assert f"c-{row['session_id']}" in bodies["response"]["text"]


@pytest.mark.parametrize("kills", [EACH_ONCE, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_under_load_lose_nothing_and_store_nothing_twice(
    new_server: NewServer, counting_upstream: CountingUpstream, kills: int
) -> None:
    kill_story(new_server, counting_upstream, kills)


def test_a_killed_supervisor_takes_its_children_along_and_the_next_server_continues(
    new_server: NewServer, counting_upstream: CountingUpstream
) -> None:
    first = new_server(counting_upstream.config()).start()
    load = Load(first.port, clients=3).start()
    try:
        load.await_more(10)
        children = first.pids()
        assert first.process is not None
        first.process.kill()
        # The next one takes the same home and port at once, while the children of the first are still ending.
        second = new_server(counting_upstream.config(), home=first.home, port=first.port).start()
        assert len(children) == 3  # control, worker, retrieval
        assert not [pid for pid in children if is_running(pid)]
        load.await_more(10)
    finally:
        load.stop()
    assert first.wait() == -9
    assert_nothing_is_lost(second, load, counting_upstream)


def test_calls_go_on_while_the_control_process_is_gone_and_their_rows_follow(
    new_server: NewServer, counting_upstream: CountingUpstream
) -> None:
    server = new_server(counting_upstream.config()).start()
    load = Load(server.port, clients=2).start()
    try:
        load.await_more(5)
        before = server.kill("control")
        broken = len(load.broken)
        load.await_more(20)
        assert len(load.broken) == broken
        assert not load.refused
        eventually(lambda: server.pids("control") not in ([], [before]), within_s=10, what="a new control process")
    finally:
        load.stop()
    assert_nothing_is_lost(server, load, counting_upstream)
    assert any("control process ended (signal SIGKILL) and was started again" in line for line in server.err.lines)


def test_a_killed_worker_is_replaced_and_its_calls_are_interrupted(
    new_server: NewServer, counting_upstream: CountingUpstream
) -> None:
    server = new_server(counting_upstream.config()).start()
    load = Load(server.port, clients=2).start()
    try:
        load.await_more(5)
        before = server.kill("worker")
        eventually(lambda: server.pids("worker") not in ([], [before]), within_s=20, what="another worker")
        load.await_more(5)
    finally:
        load.stop()
    rows = assert_nothing_is_lost(server, load, counting_upstream)
    interrupted = {row["session_id"] for row in rows if row["outcome"] == "interrupted"}
    assert interrupted <= set(load.broken)
    assert any("worker 0 ended (signal SIGKILL) and was started again" in line for line in server.err.lines)
