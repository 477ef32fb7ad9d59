"""What is appended is read back, whatever its size and wherever a segment ends."""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.errors import HomeError
from headgate.core.ids import monotonic_s
from headgate.spool.reader import Batch, Bodies, SpoolReader, is_writer_alive, read_bodies, spools
from headgate.spool.record import Attempt, FinalRecord, StartRecord
from headgate.spool.writer import Durability, SpoolWriter

ReadAll = Callable[..., Batch]

texts = st.text(max_size=40)
bodies = st.binary(max_size=9000)
finals = st.builds(
    FinalRecord,
    request_id=texts,
    started_at_us=st.integers(0, 1 << 62),
    sequence=st.integers(1, 1 << 40),
    error_message=st.none() | texts,
    tags=st.none() | st.dictionaries(texts, texts, max_size=3),
    kb_chunks=st.none() | st.lists(texts, max_size=3),
    status=st.none() | st.integers(100, 599),
    attempts=st.lists(st.builds(Attempt, upstream=texts, latency_us=st.integers(0, 1 << 50)), max_size=2),
)
exchanges = st.tuples(finals, bodies, bodies, st.lists(bodies, max_size=4))
starts = st.builds(StartRecord, request_id=texts, started_at_us=st.integers(0, 1 << 62), sequence=st.integers(1, 9))


def final(name: str) -> FinalRecord:
    return FinalRecord(request_id=name, started_at_us=1, sequence=1)


def names_of(batch: Batch) -> list[str]:
    return [entry.final.request_id for entry in batch.entries if entry.final is not None]


def bodies_of(spool_dir: Path, spool_id: str, batch: Batch) -> list[Bodies | None]:
    return [read_bodies(spool_dir, spool_id, e.segment, e.offset) for e in batch.entries if e.kind == "final"]


def wait_until(is_met: Callable[[], bool]) -> None:
    deadline_s = monotonic_s() + 10
    pause = threading.Event()
    while not is_met():
        assert monotonic_s() < deadline_s
        pause.wait(0.005)


@settings(max_examples=60, deadline=None)
@given(
    records=st.lists(exchanges | starts, max_size=12),
    segment_bytes=st.integers(1, 40_000),
    durability=st.sampled_from(["page", "interval"]),
)
def test_any_records_at_any_segment_size_are_read_back_equal_and_in_order(
    read_all: ReadAll,
    records: list[tuple[FinalRecord, bytes, bytes, list[bytes]] | StartRecord],
    segment_bytes: int,
    durability: Durability,
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        spool_dir = Path(directory)
        writer = SpoolWriter(spool_dir, worker=3, segment_bytes=segment_bytes, durability=durability)
        for record in records:
            if isinstance(record, StartRecord):
                assert writer.append_start(record)
            else:
                assert writer.append_final(*record)
        for is_closed in (False, True):
            batch = read_all(spool_dir, writer.spool_id, max_records=5, max_bytes=4000)
            found = [entry.start or entry.final for entry in batch.entries]
            assert found == [record if isinstance(record, StartRecord) else record[0] for record in records]
            assert batch.damaged_bytes == 0
            assert bodies_of(spool_dir, writer.spool_id, batch) == [
                Bodies(request=record[1], sent=record[2], response=b"".join(record[3]))
                for record in records
                if not isinstance(record, StartRecord)
            ]
            if not is_closed:
                writer.close()
        suffixes = {path.suffix for path in (spool_dir / writer.spool_id).iterdir()}
        assert suffixes <= {"", ".done"}


def test_a_record_larger_than_a_segment_gets_one_of_its_own_between_its_neighbours(
    tmp_path: Path, read_all: ReadAll
) -> None:
    writer = SpoolWriter(tmp_path, worker=0, segment_bytes=1 << 16)
    pieces = [os.urandom(700_001), b"", os.urandom(2_000_000)]
    assert writer.append_final(final("before"), b"q", b"", [b"a"])
    assert writer.append_final(final("huge"), b"question", b"as sent", pieces)
    assert writer.append_final(final("after"), b"q", b"", [b"a"])
    batch = read_all(tmp_path, writer.spool_id)
    assert names_of(batch) == ["before", "huge", "after"]
    assert [entry.segment for entry in batch.entries[:2]] == [1, 2]
    assert bodies_of(tmp_path, writer.spool_id, batch)[1] == Bodies(
        request=b"question", sent=b"as sent", response=b"".join(pieces)
    )
    writer.close()
    assert names_of(read_all(tmp_path, writer.spool_id)) == ["before", "huge", "after"]


def test_a_huge_record_takes_the_place_of_the_segment_prepared_ahead(tmp_path: Path, read_all: ReadAll) -> None:
    writer = SpoolWriter(tmp_path, worker=0, segment_bytes=1 << 16)
    assert writer.append_final(final("fill"), os.urandom(40_000), b"", [])
    wait_until(lambda: (tmp_path / writer.spool_id / "00000002.open").exists())
    assert writer.append_final(final("huge"), os.urandom(200_000), b"", [])
    assert writer.append_final(final("after"), b"", b"", [])
    writer.close()
    assert names_of(read_all(tmp_path, writer.spool_id)) == ["fill", "huge", "after"]


def test_the_next_segment_is_prepared_before_the_first_is_full(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0, segment_bytes=1 << 20)
    assert not (tmp_path / writer.spool_id / "00000002.open").exists()
    assert writer.append_final(final("half"), bytes(600_000), b"", [])
    wait_until(lambda: (tmp_path / writer.spool_id / "00000002.open").exists())
    writer.close()


def test_a_writer_that_recorded_nothing_leaves_no_segment(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    writer.close()
    assert SpoolReader(tmp_path, writer.spool_id).segments() == []
    assert not writer.append_final(final("late"), b"", b"", [])
    assert writer.counters.dropped == 1


def test_a_segment_rolls_by_age_only_when_it_holds_records(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0, roll_after_s=0.0)
    first = tmp_path / writer.spool_id / "00000001.done"
    writer.tick()
    writer.tick()
    assert not first.exists() and not (tmp_path / writer.spool_id / "00000002.open").exists()
    assert writer.append_final(final("one"), b"", b"", [])

    def is_rolled() -> bool:
        writer.tick()
        return first.exists()

    wait_until(is_rolled)
    assert first.stat().st_size < 200
    writer.close()


def test_counters_tell_what_was_started_and_recorded(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    numbers = [writer.next_sequence() for _ in range(3)]
    for number in numbers:
        writer.append_start(StartRecord(request_id="r", started_at_us=1, sequence=number))
    assert numbers == [1, 2, 3] and writer.counters.in_flight == 3
    writer.append_final(final("r"), b"", b"", [])
    writer.append_final(FinalRecord(request_id="refused", started_at_us=1, sequence=0), b"", b"", [])
    counters = writer.counters
    assert (counters.started, counters.recorded, counters.dropped, counters.in_flight) == (4, 2, 0, 2)
    writer.close()


def test_half_a_surrogate_pair_in_a_text_costs_that_character_only(tmp_path: Path, read_all: ReadAll) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    record = FinalRecord(request_id="r", started_at_us=1, sequence=1, user_id="a\ud800b", tags={"k\udfff": "v"})
    assert writer.append_final(record, b"", b"", [])
    writer.close()
    [entry] = read_all(tmp_path, writer.spool_id).entries
    assert entry.final is not None
    assert (entry.final.user_id, entry.final.tags) == ("a?b", {"k?": "v"})


@pytest.mark.parametrize("durability", ["page", "interval"])
def test_without_group_durability_a_callback_comes_at_once(tmp_path: Path, durability: Durability) -> None:
    writer = SpoolWriter(tmp_path, worker=0, durability=durability)
    called: list[int] = []
    writer.when_durable(lambda: called.append(1))
    assert called == [1]
    writer.close()


def test_with_group_durability_callbacks_come_on_the_event_loop_after_the_disk_has_the_record(tmp_path: Path) -> None:
    async def scenario() -> list[tuple[int, int]]:
        writer = SpoolWriter(tmp_path, worker=0, segment_bytes=8192, durability="group")
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        called: list[tuple[int, int]] = []

        def note(number: int) -> None:
            called.append((number, threading.get_ident()))
            if number == 49:
                finished.set_result(None)

        for number in range(50):  # over several segments
            assert writer.append_final(final(str(number)), bytes(1000), b"", [])
            writer.when_durable(partial(note, number))
        assert called == []
        await asyncio.wait_for(finished, 10)
        writer.close()
        return called

    assert asyncio.run(scenario()) == [(number, threading.get_ident()) for number in range(50)]


def test_the_age_of_what_no_sync_covers_is_known(tmp_path: Path) -> None:
    async def scenario(durability: Durability) -> tuple[float, float, float]:
        writer = SpoolWriter(tmp_path, worker=0, durability=durability)
        before = writer.unsynced_s()
        writer.append_final(final("r"), b"", b"", [])
        held_up = writer.unsynced_s()
        called = asyncio.Event()
        writer.when_durable(called.set)
        await asyncio.wait_for(called.wait(), 10)
        after, syncs = writer.unsynced_s(), writer.counters.syncs
        writer.close()
        assert syncs == (1 if durability == "group" else 0)
        return before, held_up, after

    assert asyncio.run(scenario("group"))[::2] == (0.0, 0.0)
    before, held_up, after = asyncio.run(scenario("page"))
    assert before == 0.0 < held_up <= after


def test_each_loss_is_told_once_it_is_counted(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    told: list[tuple[int, int]] = []
    writer.on_loss = lambda: told.append((writer.counters.dropped_starts, writer.counters.dropped))
    writer.close()  # nothing has room any more
    assert not writer.append_start(StartRecord(request_id="r", started_at_us=1, sequence=1))
    assert not writer.append_final(final("r"), b"", b"", [])
    assert told == [(1, 0), (1, 1)]


def test_close_calls_back_those_who_still_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        writer = SpoolWriter(tmp_path, worker=0, durability="group")
        called = asyncio.Event()
        writer.append_final(final("r"), b"", b"", [])
        writer.when_durable(called.set)
        writer.close()
        await asyncio.wait_for(called.wait(), 10)

    asyncio.run(scenario())


def test_the_lock_is_held_while_the_writer_lives(tmp_path: Path) -> None:
    first, second = SpoolWriter(tmp_path, worker=0), SpoolWriter(tmp_path, worker=0)
    assert spools(tmp_path) == sorted([first.spool_id, second.spool_id], key=lambda name: name.partition("-")[2])
    assert is_writer_alive(tmp_path, first.spool_id) and is_writer_alive(tmp_path, second.spool_id)
    assert not SpoolReader(tmp_path, first.spool_id).delete_spool()
    first.close()
    assert not is_writer_alive(tmp_path, first.spool_id) and is_writer_alive(tmp_path, second.spool_id)
    assert SpoolReader(tmp_path, first.spool_id).delete_spool()
    second.close()
    assert spools(tmp_path) == [second.spool_id]


def test_files_of_a_spool_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool", worker=0)
    directory = tmp_path / "spool" / writer.spool_id
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    writer.close()


def test_a_spool_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(HomeError, match="Cannot create a spool in .*file"):
        SpoolWriter(tmp_path / "file", worker=0)
