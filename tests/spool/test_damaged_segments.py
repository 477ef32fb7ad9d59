"""Segments that were copied, swapped, blanked or cut, and damage in front of a living writer: what each costs."""

import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import close
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headgate.spool.reader import Batch, SpoolReader
from headgate.spool.record import FinalRecord
from headgate.spool.segment import FRAME_BYTES, HEADER_BYTES, hold_lock
from headgate.spool.writer import SpoolWriter

ReadAll = Callable[..., Batch]
lenient = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(spool_dir: Path, names: list[str], *, segment_bytes: int = 64 << 20) -> tuple[str, list[bytes]]:
    """A spool with these records, ended: its id and the bytes of its segments."""
    writer = SpoolWriter(spool_dir, worker=0, segment_bytes=segment_bytes)
    for number, name in enumerate(names):
        record = FinalRecord(request_id=name, started_at_us=1, sequence=number)
        assert writer.append_final(record, b"HG\x01\x00" * (150 + number % 3), b"", [b"answer"])
    writer.close()
    return writer.spool_id, [path.read_bytes() for path in sorted((spool_dir / writer.spool_id).glob("*.done"))]


def names_of(batch: Batch) -> list[str]:
    return [entry.final.request_id for entry in batch.entries if entry.final is not None]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[bytes]]:
    return written(tmp_path_factory.mktemp("several"), [f"r{number}" for number in range(12)], segment_bytes=4096)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    spool_id, [data] = written(tmp_path_factory.mktemp("one"), [f"r{number}" for number in range(8)])
    return spool_id, data


@contextmanager
def laid(directory: Path, spool_id: str, segments: Mapping[str, bytes], *, is_alive: bool = False) -> Iterator[Path]:
    """These segments as the spool of a writer that is dead, or lives."""
    spool = directory / spool_id
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir()
    lock = hold_lock(spool)
    for name, data in segments.items():
        (spool / name).write_bytes(data)
    if not is_alive:
        close(lock)
    yield directory
    if is_alive:
        close(lock)


def of_a_newer_format(data: bytes) -> bytes:
    head = bytearray(data[: HEADER_BYTES - 4])
    head[4] += 1
    return bytes(head) + struct.pack("<I", crc32(head)) + data[HEADER_BYTES:]


_PLACES = st.lists(st.sampled_from(["1", "2", "3", "blank", "cut", "newer", "stranger"]), min_size=1, max_size=5)


@lenient
@given(places=_PLACES)
@example(places=["2", "1", "3"])
@example(places=["1", "1", "2", "3"])
@example(places=["1", "newer", "3"])
def test_copied_swapped_and_unreadable_segments_cost_themselves_and_nothing_is_read_twice(
    tmp_path: Path, several: tuple[str, list[bytes]], one: tuple[str, bytes], read_all: ReadAll, places: list[str]
) -> None:
    spool_id, wholes = several
    assert len(wholes) >= 3
    made = {"blank": bytes(4096), "newer": of_a_newer_format(wholes[0]), "stranger": one[1], "cut": wholes[0][:40]}
    made |= {str(number + 1): wholes[number] for number in range(3)}
    segments = {f"{number:08d}.done": made[what] for number, what in enumerate(places, 1)}
    with laid(tmp_path, spool_id, {"00000001.done": wholes[0]}) as spool_dir:
        records = names_of(read_all(spool_dir, spool_id))
    in_place = {number for number, what in enumerate(places, 1) if what == str(number)}
    with laid(tmp_path, spool_id, segments) as spool_dir:
        batch = read_all(spool_dir, spool_id)
        assert {entry.segment for entry in batch.entries} == in_place
        assert len(names_of(batch)) == len({*names_of(batch)})
        assert names_of(batch)[: len(records)] == records or 1 not in in_place
        aside = [n for n, what in enumerate(places, 1) if what not in (str(n), "blank", "cut")]
        assert [int(name.partition("/")[2][:8]) for name in batch.set_aside] == aside
        assert (batch.damaged_bytes > 0) == ("blank" in places or "cut" in places)
        again = read_all(spool_dir, spool_id)
        assert (again.entries, again.set_aside) == (batch.entries, [])  # set aside once, then no trouble any more
        reader = SpoolReader(spool_dir, spool_id)
        assert all(reader.delete_segment(segment.number) for segment in reader.segments())
        assert reader.delete_spool() == (not aside)  # what may be readable elsewhere is kept
        assert len(list((spool_dir / spool_id).glob("*"))) == len(aside)


def test_a_segment_put_back_in_its_place_is_read(
    tmp_path: Path, several: tuple[str, list[bytes]], read_all: ReadAll
) -> None:
    spool_id, wholes = several
    with laid(tmp_path, spool_id, {"00000001.done": wholes[1]}) as spool_dir:
        assert read_all(spool_dir, spool_id).set_aside == [f"{spool_id}/00000001.done.misplaced"]
        (spool_dir / spool_id / "00000001.done.misplaced").rename(spool_dir / spool_id / "00000002.done")
        assert names_of(read_all(spool_dir, spool_id))


@lenient
@given(at=st.integers(0, 1 << 20), length=st.integers(1, 40), how=st.sampled_from(["flip", "zero", "fill"]))
@example(at=0, length=1, how="flip")
@example(at=0, length=FRAME_BYTES, how="zero")
def test_damage_in_front_of_a_living_writer_costs_the_records_it_touches_and_holds_up_none(
    tmp_path: Path, one: tuple[str, bytes], read_all: ReadAll, at: int, length: int, how: str
) -> None:
    spool_id, data = one
    with laid(tmp_path, spool_id, {"00000001.done": data}) as spool_dir:
        entries = read_all(spool_dir, spool_id).entries
    last = entries[-1]
    at = HEADER_BYTES + at % (last.offset - HEADER_BYTES)
    length = min(length, last.offset - at)
    stretch = data[at : at + length]
    change = {"flip": bytes(byte ^ 0x55 for byte in stretch), "zero": bytes(length), "fill": b"\xff" * length}[how]
    damaged = data[:at] + change + data[at + length :]
    touched = {
        entry.offset
        for entry in entries
        if damaged[entry.offset : entry.offset + entry.length] != data[entry.offset : entry.offset + entry.length]
    }
    with laid(tmp_path, spool_id, {"00000001.open": damaged + bytes(3 << 20)}, is_alive=True) as spool_dir:
        batch = read_all(spool_dir, spool_id)
    assert [entry.offset for entry in batch.entries] == [e.offset for e in entries if e.offset not in touched]
    assert batch.damaged_bytes == sum(entry.length for entry in entries if entry.offset in touched)
    assert (batch.position.segment, batch.position.offset) == (1, last.offset + last.length)
