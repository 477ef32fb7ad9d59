"""What a worker does when it can take no more: as many requests as it may serve, or no room for their records."""

import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from headgate.core.settings import Log, Server, Settings, Upstream
from headgate.spool.counters import read_counters
from headgate.spool.reader import SpoolReader, spools
from headgate.spool.segment import Gap
from support.client import Got, read_answer, request_bytes
from support.settings import settings_for
from support.upstream import ScriptedUpstream, answer
from support.worker import WorkerProcess

StartWorker = Callable[[Settings], WorkerProcess]
OK = answer(b'{"ok":true}')
SMALL = request_bytes()
# Of such a call even the records without bodies are large: the reserve for them is soon used up.
LONG_HEAD = request_bytes(headers={f"x-headgate-tag-t{number}": "t" * 1000 for number in range(28)})
LARGE = request_bytes(
    body=json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 1_000_000}]}).encode()
)


def settings(upstream: ScriptedUpstream, *, server: Server | None = None, log: Log | None = None) -> Settings:
    return settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url), server=server, log=log)


def ask(connection: socket.socket, data: bytes = SMALL) -> Got:
    connection.sendall(data)
    return read_answer(connection)


@contextmanager
def inherited(limit: int, soft: int) -> Iterator[None]:
    """A limit for what is started meanwhile."""
    before = resource.getrlimit(limit)
    resource.setrlimit(limit, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(limit, before)


def has_seen(upstream: ScriptedUpstream, calls: int) -> bool:
    return len(upstream.seen) == calls


def counters(worker: WorkerProcess) -> dict[str, int]:
    return read_counters(worker.home.run / "worker-0.counters")


def once(look: Callable[[], bool], *, within_s: float, what: str) -> None:
    deadline_s = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
        time.sleep(0.01)


def test_a_request_too_many_gets_503_before_its_body_is_read_or_an_upstream_called_and_the_next_is_served(
    start_worker: StartWorker, upstream: ScriptedUpstream
) -> None:
    upstream.script(["wait-gone"], ["wait-gone"], OK)
    worker = start_worker(settings(upstream, server=Server(max_in_flight=2, drain_s=1)))
    with worker.connect() as first, worker.connect() as second, worker.connect() as third, worker.connect() as fourth:
        for number, held in enumerate((first, second), 1):
            held.sendall(SMALL)
            once(partial(has_seen, upstream, number), within_s=30, what="the call is there")
        for _ in range(2):  # the connection is kept
            refused = ask(third)
            assert (refused.status, refused.error["code"], refused.header("retry-after")) == (503, "overloaded", "1")
            assert refused.header("x-should-retry") is None and refused.header("connection") is None
            assert "serves 2 requests already" in refused.error["message"]
        fourth.sendall(request_bytes(body=b"x" * (10 << 20))[:300])
        large = read_answer(fourth)
        assert (large.status, large.header("connection")) == (503, "close")
        assert len(upstream.seen) == 2
        first.close()
        once(lambda: ask(third).status == 200, within_s=30, what="a place is free")
        second.close()
    refusals = [final for final in worker.entries()[1] if final.error_type == "overloaded"]
    assert len(refusals) >= 3 and {(final.status, final.outcome, final.capture) for final in refusals} == {
        (503, "refused", "metadata")
    }
    once(lambda: counters(worker)["refused_overloaded"] == len(refusals), within_s=30, what="they are counted")
    assert counters(worker)["dropped"] == 0


def fill(worker: WorkerProcess) -> int:
    """Let no file grow any more, and use up what is prepared for bodies; how many calls were served before one was
    not.

    Each body is under 1 MB: larger ones wait in a file until they are routed, and are refused where there is no room.
    """
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    with worker.connect() as connection:
        return next(number for number in range(200) if ask(connection, LARGE).status != 200)


def free(worker: WorkerProcess, connection: socket.socket) -> None:
    """Make room; the worker must find it within the promised time."""
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ready = request_bytes("/readyz", b"", method="GET")
    once(lambda: ask(connection, ready).status == 200, within_s=10, what="ready again")


def gaps(worker: WorkerProcess) -> list[Gap]:
    found: list[Gap] = []
    for spool_id in spools(worker.home.path / "spool"):
        reader, position = SpoolReader(worker.home.path / "spool", spool_id), None
        while (batch := reader.read(position, 1000, 64 << 20)).entries:
            position = batch.position
            found += [entry.gap for entry in batch.entries if entry.gap is not None]
    return found


def test_a_full_disk_refuses_calls_or_serves_them_and_counts_exactly_what_is_not_in_the_log(
    start_worker: StartWorker, upstream: ScriptedUpstream
) -> None:
    upstream.script(OK)
    worker = start_worker(settings(upstream, log=Log(on_disk_full="refuse")))
    with worker.connect() as connection:
        filling = fill(worker)
        assert filling > 50
        refused = [ask(connection) for _ in range(20)]
        assert {(got.status, got.error["code"], got.header("retry-after")) for got in refused} == {
            (503, "disk_full", "5")
        }
        assert ask(connection, request_bytes("/readyz", b"", method="GET")).status == 503
        assert has_seen(upstream, filling)
        worker.publish(settings(upstream, log=Log(on_disk_full="serve")))
        worker.taken_over()
        assert {ask(connection, LONG_HEAD).status for _ in range(200)} == {200}
        free(worker, connection)
        assert ask(connection).status == 200
    assert has_seen(upstream, filling + 201)
    once(lambda: counters(worker)["started"] == filling + 201, within_s=30, what="the counters are told")
    counted = counters(worker)
    assert counted["recorded"] + counted["dropped"] == filling + 201
    assert counted["shed"] > 0 and counted["dropped"] > 0 and counted["refused_disk_full"] == 21
    assert len(worker.entries()[1]) == counted["recorded"]
    once(lambda: bool(gaps(worker)), within_s=30, what="a gap record")
    assert [(gap.dropped, gap.dropped_starts) for gap in gaps(worker)] == [
        (counted["dropped"], counted["dropped_starts"])
    ]


def test_a_worker_that_starts_on_a_full_disk_keeps_the_policy(
    start_worker: StartWorker, upstream: ScriptedUpstream
) -> None:
    upstream.script(OK)
    with inherited(resource.RLIMIT_FSIZE, 1 << 20):  # no segment can be prepared
        worker = start_worker(settings(upstream, log=Log(on_disk_full="serve")))
    with worker.connect() as connection:
        assert [ask(connection).status for _ in range(3)] == [200] * 3
        worker.publish(settings(upstream, log=Log(on_disk_full="refuse")))
        worker.taken_over()
        assert [ask(connection).status for _ in range(4)] == [503] * 4
        free(worker, connection)
        assert ask(connection).status == 200
    once(lambda: counters(worker)["started"] == 4, within_s=30, what="the counters are told")
    counted = counters(worker)
    assert (counted["recorded"], counted["dropped"], counted["refused_disk_full"]) == (1, 3, 4)
    once(lambda: sum(gap.dropped for gap in gaps(worker)) == 3, within_s=30, what="a gap record")


def test_a_shells_limit_of_open_files_does_not_decide_how_many_are_served(
    start_worker: StartWorker, upstream: ScriptedUpstream
) -> None:
    upstream.script(OK)
    with inherited(resource.RLIMIT_NOFILE, 128):
        worker = start_worker(settings(upstream))
    with ExitStack() as stack:
        connections = [stack.enter_context(worker.connect()) for _ in range(200)]
        assert {ask(connection).status for connection in connections} == {200}
