"""The worker's timer rests while nothing is served; no deadline and no new snapshot wait for the end of the rest."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.core.bell import Bell
from headgate.core.home import Home
from headgate.core.ids import monotonic_s
from headgate.core.settings import Upstream
from headgate.gateway import beat
from headgate.gateway.beat import Beat
from headgate.gateway.worker import Worker
from headgate.snapshot import Snapshot, publish
from headgate.spool.record import FinalRecord
from support.settings import settings_for

AN_HOUR_S = 3600.0


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker that rests for an hour unless it is stirred."""
    monkeypatch.setattr(beat, "REST_S", AN_HOUR_S)
    Home(tmp_path / "home").prepare()
    put_in_place(tmp_path / "home", generation=1)
    made = Worker(tmp_path / "home", 0)
    yield made
    made.close()


def put_in_place(home: Path, *, generation: int) -> None:
    settings = settings_for(Upstream(name="main", kind="openai", base_url="http://127.0.0.1:9/v1"))
    publish(home, Snapshot(generation=generation, published_at_us=1, settings=settings, keys={}))


class Call:
    """Something with a deadline, as a request is."""

    has_moved = False

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.has_passed = asyncio.Event()

    def stop(self) -> None: ...

    def renew(self, now_s: float) -> None: ...

    def deadline_passed(self) -> None:
        self.has_passed.set()


def while_resting(worker: Worker, scenario: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run ``scenario`` once the worker rests; the event it gets is set by the next sweep."""

    async def run() -> None:
        swept = asyncio.Event()
        worker.on_sweep(lambda now_s: swept.set())
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(30):
            await swept.wait()
            swept.clear()
            await scenario(swept)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(run())


def test_a_call_that_begins_while_the_worker_rests_is_held_to_its_deadline(worker: Worker) -> None:
    async def scenario(swept: asyncio.Event) -> None:
        call = Call(deadline_s=monotonic_s())
        worker.watch(call)
        await call.has_passed.wait()
        worker.unwatch(call)

    while_resting(worker, scenario)


def test_sweeps_follow_each_other_as_long_as_a_call_is_served(worker: Worker) -> None:
    async def scenario(swept: asyncio.Event) -> None:
        call = Call(deadline_s=monotonic_s() + AN_HOUR_S)
        worker.watch(call)
        for _ in range(3):
            await swept.wait()
            swept.clear()
        assert worker.counters.get("in_flight") == 1
        worker.unwatch(call)
        await swept.wait()  # once more: the counters then say that it is over
        assert worker.counters.get("in_flight") == 0

    while_resting(worker, scenario)


def test_what_was_recorded_is_rung_for_with_the_next_sweep(worker: Worker) -> None:
    with contextlib.closing(Bell(worker.home)) as bell:

        async def scenario(swept: asyncio.Event) -> None:
            call = Call(deadline_s=monotonic_s() + AN_HOUR_S)
            worker.watch(call)
            await swept.wait()
            assert not bell.wait(0)
            worker.spool.append_final(FinalRecord(request_id="one", started_at_us=1, sequence=0), b"", b"", [])
            worker.unwatch(call)
            assert await asyncio.to_thread(bell.wait, 30)

        while_resting(worker, scenario)


def test_a_new_snapshot_is_taken_over_while_the_worker_rests(worker: Worker) -> None:
    async def scenario(swept: asyncio.Event) -> None:
        put_in_place(worker.home.path, generation=2)
        while worker.counters.get("generation") != 2:
            await asyncio.sleep(0.01)
        assert not swept.is_set()

    while_resting(worker, scenario)


def test_where_nothing_tells_of_snapshots_a_worker_does_not_rest(worker: Worker) -> None:
    async def scenario(swept: asyncio.Event) -> None:
        snapshots = worker.home.path / "snapshot"
        snapshots.rename(snapshots.with_name("elsewhere"))
        worker.watch(Call(deadline_s=monotonic_s() + AN_HOUR_S))  # a sweep soon, which sees it
        await swept.wait()
        snapshots.with_name("elsewhere").rename(snapshots)
        put_in_place(worker.home.path, generation=2)
        while worker.counters.get("generation") != 2:
            await asyncio.sleep(0.01)

    while_resting(worker, scenario)


def test_a_sweep_that_fails_does_not_end_them() -> None:
    async def scenario() -> None:
        seen: list[bool] = []
        done = asyncio.Event()

        def sweep() -> bool:
            seen.append(True)
            if len(seen) == 1:
                raise RuntimeError("a defect")
            done.set()
            return True

        one = Beat(sweep)
        one.start()
        async with asyncio.timeout(30):
            await done.wait()
        one.stop()

    asyncio.run(scenario())
