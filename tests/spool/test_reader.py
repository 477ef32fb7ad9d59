"""Damage costs the records it touches and no others, and nothing read from a spool raises."""

import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headgate.core.ids import now_us, uuid7
from headgate.spool.reader import Batch, Position, SpoolReader, is_writer_alive, read_bodies, spools
from headgate.spool.record import FinalRecord, StartRecord
from headgate.spool.segment import HEADER_BYTES, pack_frame_header, pack_segment_header, salt_of
from headgate.spool.writer import SpoolWriter

ReadAll = Callable[..., Batch]
lenient = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def final(name: str) -> FinalRecord:
    return FinalRecord(request_id=name, started_at_us=1, sequence=1)


def names_of(batch: Batch) -> list[str]:
    return [record.request_id for entry in batch.entries if (record := entry.final or entry.start) is not None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """Id and bytes of one done segment of 30 records with large, small and no bodies."""
    spool_dir = tmp_path_factory.mktemp("finished")
    writer = SpoolWriter(spool_dir, worker=0)
    for number in range(15):
        assert writer.append_start(StartRecord(request_id=f"s{number}", started_at_us=1, sequence=number))
        assert writer.append_final(
            final(f"f{number}"), b"HG\x01\x00" * (number * 20), b"", [b"HG" * number, b"\0" * 90]
        )
    writer.close()
    return writer.spool_id, (spool_dir / writer.spool_id / "00000001.done").read_bytes()


ALL_NAMES = [f"{kind}{number}" for number in range(15) for kind in "sf"]


@pytest.fixture
def spool(tmp_path: Path, finished: tuple[str, bytes]) -> Iterator[Callable[..., tuple[Path, str]]]:
    """Lay segments into a dead spool; the spool directory and the spool's id."""
    spool_id = finished[0]

    def lay(**segments: bytes) -> tuple[Path, str]:
        shutil.rmtree(tmp_path / spool_id, ignore_errors=True)
        (tmp_path / spool_id).mkdir()
        (tmp_path / spool_id / "lock").write_bytes(b"")
        for name, data in segments.items():
            (tmp_path / spool_id / name.strip("_").replace("_", ".")).write_bytes(data)
        return tmp_path, spool_id

    yield lay


@lenient
@given(at=st.integers(0, 1 << 20), mask=st.integers(1, 255), name=st.sampled_from(["_00000001_done", "_00000001_open"]))
@example(at=HEADER_BYTES, mask=1, name="_00000001_done")
@example(at=HEADER_BYTES + 4, mask=255, name="_00000001_open")
def test_one_damaged_byte_costs_at_most_one_record(
    spool: Callable[..., tuple[Path, str]],
    finished: tuple[str, bytes],
    read_all: ReadAll,
    at: int,
    mask: int,
    name: str,
) -> None:
    data = bytearray(finished[1])
    at %= len(data)
    data[at] ^= mask
    batch = read_all(*spool(**{name: bytes(data)}), max_records=7)
    found = names_of(batch)
    assert set(found) <= set(ALL_NAMES) and found == sorted(found, key=ALL_NAMES.index)
    assert len(found) == (len(ALL_NAMES) if at < HEADER_BYTES else len(ALL_NAMES) - 1)
    assert batch.damaged_bytes > 0
    assert batch.position == Position(2, 0)


@lenient
@given(
    start=st.integers(0, 1 << 20), length=st.integers(1, 6000), filler=st.sampled_from([b"\0", b"\xff", b"HG\x01\0"])
)
def test_an_overwritten_stretch_costs_the_records_it_touches_and_no_others(
    spool: Callable[..., tuple[Path, str]],
    finished: tuple[str, bytes],
    read_all: ReadAll,
    start: int,
    length: int,
    filler: bytes,
) -> None:
    whole = finished[1]
    start %= len(whole)
    stretch = whole[start : start + length]
    data = whole[:start] + (filler * length)[: len(stretch)] + whole[start + length :]
    intact = read_all(*spool(_00000001_done=whole)).entries
    expected = [
        entry.start or entry.final
        for entry in intact
        if data[entry.offset : entry.offset + entry.length] == whole[entry.offset : entry.offset + entry.length]
    ]
    batch = read_all(*spool(_00000001_done=data))
    assert [entry.start or entry.final for entry in batch.entries] == expected
    assert (batch.damaged_bytes > 0) == (data != whole)


@lenient
@given(length=st.integers(0, 1 << 20), tail=st.sampled_from([b"", bytes(5000), b"\xff" * 40, b"HG\x02\0\x05"]))
def test_a_torn_tail_keeps_every_whole_record_before_it(
    spool: Callable[..., tuple[Path, str]], finished: tuple[str, bytes], read_all: ReadAll, length: int, tail: bytes
) -> None:
    whole = finished[1]
    length %= len(whole) + 1
    intact = read_all(*spool(_00000001_done=whole)).entries
    whole_before = sum(entry.offset + entry.length <= length for entry in intact)
    batch = read_all(*spool(_00000001_open=whole[:length] + tail))
    assert names_of(batch)[:whole_before] == ALL_NAMES[:whole_before]
    assert batch.position == Position(2, 0)


@lenient
@given(
    data=st.binary(max_size=3000), name=st.sampled_from(["_00000001_done", "_00000001_open"]), is_headed=st.booleans()
)
def test_no_bytes_make_the_reader_raise(
    spool: Callable[..., tuple[Path, str]],
    finished: tuple[str, bytes],
    read_all: ReadAll,
    data: bytes,
    name: str,
    is_headed: bool,
) -> None:
    head = finished[1][:HEADER_BYTES] if is_headed else b""
    spool_dir, spool_id = spool(**{name: head + data, "_00000002_done": finished[1]})
    read_all(spool_dir, spool_id)
    for offset in (-1, 0, HEADER_BYTES, len(data), 1 << 40):
        assert read_bodies(spool_dir, spool_id, 1, offset) is None


def test_sound_frames_that_hold_no_record_are_passed_over(
    spool: Callable[..., tuple[Path, str]], finished: tuple[str, bytes], read_all: ReadAll
) -> None:
    salt = salt_of(finished[0], 1)
    poison = [
        (1, b"\xc1"),
        (1, b"\x81\xa1a" + b"\x91" * 5000),
        (1, b"\x81\xaarequest_id\xa1\xff"),
        (2, b"short"),
        (2, struct.pack("<IIII", 0xFFFFFFFF, 1, 1, 1)),
        (2, struct.pack("<IIII", 4, 0, 0, 0) + b"\x93\x01\x02\x03"),
        (3, b"\x01"),
        (9, b"of a later version"),
    ]
    frames = b"".join(pack_frame_header(kind, len(data), crc32(data), salt) + data for kind, data in poison)
    whole = finished[1]
    batch = read_all(*spool(_00000001_done=whole[:HEADER_BYTES] + frames + whole[HEADER_BYTES:]))
    assert names_of(batch) == ALL_NAMES
    assert batch.damaged_bytes == len(frames)


def test_frames_that_a_client_hid_in_a_body_are_no_records(tmp_path: Path, read_all: ReadAll) -> None:
    payload = b"\x83\xaarequest_id\xa6forged\xadstarted_at_us\x01\xa8sequence\x01"
    forged = b"".join(pack_frame_header(1, len(payload), crc32(payload), salt) + payload for salt in (0, 1))
    writer = SpoolWriter(tmp_path, worker=0)
    writer.append_final(final("first"), forged * 50, forged, [forged])
    writer.append_final(final("second"), b"", b"", [])
    writer.close()
    path = tmp_path / writer.spool_id / "00000001.done"
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES] ^= 1  # the header that says how far the body goes
    path.write_bytes(data)
    assert names_of(read_all(tmp_path, writer.spool_id)) == ["second"]


def test_a_frame_not_yet_whole_is_read_once_it_is(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    for name in ("first", "second"):
        writer.append_final(final(name), b"q" * 100, b"", [b"a"])
    reader = SpoolReader(tmp_path, writer.spool_id)
    first, second = reader.read(None, 10, 1 << 20).entries
    with (tmp_path / writer.spool_id / "00000001.open").open("r+b", buffering=0) as file:
        for at, length in ((second.offset, 16), (second.offset + 40, 20), (second.offset + 5, 3)):
            whole = os.pread(file.fileno(), length, at)
            os.pwrite(file.fileno(), b"\x77" * length, at)
            batch = reader.read(None, 10, 1 << 20)
            assert (batch.entries, batch.damaged_bytes) == ([first], 0)
            assert batch.position == Position(1, second.offset)
            os.pwrite(file.fileno(), whole, at)
            assert reader.read(batch.position, 10, 1 << 20).entries == [second]
    writer.close()


def test_a_damaged_record_does_not_hold_up_those_behind_it_in_an_open_segment(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    for name in ("first", "second"):
        writer.append_final(final(name), b"q" * 100, b"", [b"a"])
    reader = SpoolReader(tmp_path, writer.spool_id)
    first, second = reader.read(None, 10, 1 << 20).entries
    with (tmp_path / writer.spool_id / "00000001.open").open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"\x77", first.offset + 50)
    batch = reader.read(None, 10, 1 << 20)
    assert (batch.entries, batch.damaged_bytes) == ([second], first.length)
    writer.close()


def test_a_look_that_finds_nothing_reads_little_of_the_segment(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0, segment_bytes=8 << 20)
    writer.append_final(final("first"), b"", b"", [b"x" * 1000])
    reader = SpoolReader(tmp_path, writer.spool_id)
    position = reader.read(None, 10, 1 << 20).position
    before = _bytes_read()
    for _ in range(10):
        assert not reader.read(position, 10, 1 << 20).entries
    assert _bytes_read() - before < 10 * (256 << 10)
    writer.append_final(final("second"), b"", b"", [b"x" * 1000])
    assert names_of(reader.read(position, 10, 1 << 20)) == ["second"]
    writer.close()


def _bytes_read() -> int:
    """What this process has asked of files so far."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


def test_an_open_segment_is_left_once_the_next_one_is_in_use(tmp_path: Path) -> None:
    # A slow disk may take long to finish a segment; its successor's records do not wait for that.
    writer = SpoolWriter(tmp_path, worker=0)
    writer.append_final(final("first"), b"", b"", [])
    salt = salt_of(writer.spool_id, 2)
    payload = b"\x83\xaarequest_id\xa6second\xadstarted_at_us\x01\xa8sequence\x01"
    head = pack_segment_header(worker=0, number=2, spool_id=writer.spool_id)
    path = tmp_path / writer.spool_id / "00000002.open"
    path.write_bytes(head + bytes(4096))
    reader = SpoolReader(tmp_path, writer.spool_id)
    batch = reader.read(None, 10, 1 << 20)
    assert (names_of(batch), batch.position.segment) == (["first"], 1)
    path.write_bytes(head + pack_frame_header(1, len(payload), crc32(payload), salt) + payload + bytes(4096))
    batch = reader.read(batch.position, 10, 1 << 20)
    assert (names_of(batch), batch.position.segment) == (["second"], 2)
    writer.close()


@lenient
@given(max_records=st.integers(1, 40), max_bytes=st.integers(0, 20_000))
def test_any_limits_lead_through_the_whole_spool(
    spool: Callable[..., tuple[Path, str]],
    finished: tuple[str, bytes],
    read_all: ReadAll,
    max_records: int,
    max_bytes: int,
) -> None:
    batch = read_all(*spool(_00000001_done=finished[1]), max_records=max_records, max_bytes=max_bytes)
    assert names_of(batch) == ALL_NAMES
    assert batch.damaged_bytes == 0


def test_a_read_is_bounded_in_bytes_but_makes_progress(
    spool: Callable[..., tuple[Path, str]], finished: tuple[str, bytes]
) -> None:
    reader = SpoolReader(*spool(_00000001_done=finished[1]))
    assert len(reader.read(None, 1000, 0).entries) == 1
    batch = reader.read(None, 1000, 900)
    assert sum(entry.length for entry in batch.entries) <= 900 and len(batch.entries) > 1


def test_empty_short_and_vanished_segments_are_passed(tmp_path: Path, read_all: ReadAll) -> None:
    writer = SpoolWriter(tmp_path, worker=0, segment_bytes=4096)
    for number in range(6):
        writer.append_final(final(f"r{number}"), bytes(3500), b"", [])
    writer.close()
    directory = tmp_path / writer.spool_id
    assert [segment.number for segment in SpoolReader(tmp_path, writer.spool_id).segments()] == [1, 2, 3, 4, 5, 6]
    (directory / "00000001.done").write_bytes(b"")
    (directory / "00000003.done").unlink()
    (directory / "00000005.done").write_bytes(b"HGSP")
    (directory / "00000007.open").write_bytes(bytes(1 << 20))  # prepared, never used
    (directory / "stranger").write_bytes(b"?")
    batch = read_all(tmp_path, writer.spool_id)
    assert names_of(batch) == ["r1", "r3", "r5"]
    assert batch.position == Position(8, 0)


def test_a_position_in_a_removed_segment_goes_on_in_the_next(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0, segment_bytes=4096)
    for number in range(3):
        writer.append_final(final(f"r{number}"), bytes(3500), b"", [])
    writer.close()
    reader = SpoolReader(tmp_path, writer.spool_id)
    assert reader.delete_segment(1)
    assert names_of(reader.read(Position(1, 3000), 10, 1 << 20)) == ["r1", "r2"]
    assert reader.read(Position(4, 0), 10, 1 << 20).position == Position(4, 0)


def test_a_newer_format_is_set_aside_and_kept(
    spool: Callable[..., tuple[Path, str]], finished: tuple[str, bytes], read_all: ReadAll
) -> None:
    head = bytearray(finished[1][:60])
    head[4] = 2
    newer = bytes(head) + struct.pack("<I", crc32(head)) + b"\x99" * 500
    spool_dir, spool_id = spool(_00000001_open=newer, _00000002_done=b"")
    batch = read_all(spool_dir, spool_id)
    assert batch.set_aside == [f"{spool_id}/00000001.open.newer"]
    assert (batch.entries, batch.damaged_bytes, batch.position) == ([], 0, Position(3, 0))
    reader = SpoolReader(spool_dir, spool_id)
    assert [segment.number for segment in reader.segments()] == [2]
    assert not reader.delete_spool()
    assert [path.name for path in (spool_dir / spool_id).iterdir()] == ["00000001.open.newer"]
    assert (spool_dir / spool_id / "00000001.open.newer").read_bytes() == newer


def test_an_open_segment_is_removed_only_after_its_writers_death(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    writer.append_final(final("r"), b"", b"", [])
    reader = SpoolReader(tmp_path, writer.spool_id)
    [segment] = reader.segments()
    assert not segment.is_done and not reader.delete_segment(1)
    writer.close()
    [segment] = reader.segments()
    assert segment.is_done and segment.size_bytes < 200
    assert reader.delete_segment(1) and reader.delete_segment(1)
    assert reader.segments() == []
    assert reader.delete_spool() and reader.delete_spool()


def test_a_spool_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    spool_id = f"0-{uuid7(now_us()).replace('-', '')}"
    assert spools(tmp_path / "none") == [] and spools(tmp_path) == []
    assert not is_writer_alive(tmp_path, spool_id)
    assert SpoolReader(tmp_path, spool_id).read(None, 1, 1) == Batch(position=Position(1, 0))
    assert read_bodies(tmp_path, spool_id, 1, HEADER_BYTES) is None


def test_spools_are_listed_oldest_first(tmp_path: Path) -> None:
    names = [
        f"{worker}-{uuid7(at_us).replace('-', '')}"
        for worker, at_us in ((10, 10**15), (2, 2 * 10**15), (1, 3 * 10**15))
    ]
    for name in reversed(names):
        (tmp_path / name).mkdir()
    (tmp_path / ".new-x").mkdir()
    (tmp_path / ("3-" + "0" * 32)).write_bytes(b"no directory, no spool")
    assert spools(tmp_path) == names


def test_what_is_no_file_is_no_segment_and_stays(tmp_path: Path, spool: Callable[..., tuple[Path, str]]) -> None:
    spool_dir, spool_id = spool()
    directory = spool_dir / spool_id
    (directory / "00000001.done").mkdir()
    os.mkfifo(directory / "00000002.open")
    (directory / "lock").unlink()
    os.mkfifo(directory / "lock")
    reader = SpoolReader(spool_dir, spool_id)
    assert reader.read(None, 10, 1 << 20).entries == []
    assert reader.segments() == []
    assert read_bodies(spool_dir, spool_id, 1, HEADER_BYTES) is None
    assert not reader.delete_spool()
    assert (directory / "00000001.done").is_dir()


def test_a_file_in_a_spools_place_has_no_living_writer(tmp_path: Path) -> None:
    spool_id = "0-" + "0" * 32
    (tmp_path / spool_id).write_bytes(b"junk")
    assert not is_writer_alive(tmp_path, spool_id)
    assert SpoolReader(tmp_path, spool_id).read(None, 1, 1).entries == []
