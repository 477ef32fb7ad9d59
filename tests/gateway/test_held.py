"""The bytes of large bodies where a disk takes some of them, all or none: in order, bounded, given back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import BodyNotHeld
from headgate.gateway.held import HeldBytes, Holding
from support.small_disk import NO_RIGHT, SmallDisk, small_disk

MEMORY_BYTES = 1 << 20


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("disk"), 1) as found:
        if found is None:
            pytest.skip(NO_RIGHT)
        yield found


def holding_in(directory: Path) -> Holding:
    return Holding(directory, memory_bytes=MEMORY_BYTES)


@given(
    pieces=st.lists(st.integers(0, 40_000), max_size=12),
    room=st.integers(0, 200_000),
    at=st.floats(0, 1),
    count=st.integers(1, 300_000),
    forgotten=st.floats(0, 1),
)
def test_what_is_held_reads_back_wherever_the_disk_ended(
    disk: SmallDisk, pieces: list[int], room: int, at: float, count: int, forgotten: float
) -> None:
    disk.fill(leaving_bytes=room)
    holding = holding_in(disk.path)
    before = (holding.file_bytes, holding.memory_bytes)
    held, whole = HeldBytes(holding), b""
    for number, size in enumerate(pieces):
        data = bytes((number + offset) % 251 for offset in range(size))
        held.append(data)
        whole += data
    assert held.byte_count == held.readable_bytes == len(whole)
    assert held.memory_bytes + before[0] - holding.file_bytes == len(whole)
    start = int(at * len(whole))
    read = held.read(start, count)
    assert read and whole[start:].startswith(read) if start < len(whole) else not read
    assert held.read(0, len(whole)) == whole

    until = int(forgotten * len(whole))
    held.forget(until)
    assert held.read(until, len(whole)) == whole[until:]
    assert held.read(0, held.readable_bytes) == whole[: held.readable_bytes]
    held.close()
    assert (holding.file_bytes, holding.memory_bytes) == before
    disk.empty()


def test_memory_is_bounded_over_all_bodies_and_given_back(tmp_path: Path) -> None:
    holding = holding_in(tmp_path / "missing")  # no file can be made there
    first, second = HeldBytes(holding), HeldBytes(holding)
    first.append(bytes(MEMORY_BYTES))
    with pytest.raises(BodyNotHeld, match="no room for it") as refused:
        second.append(b"x")
    assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
    first.forget(1000)
    second.append(bytes(1000))
    with pytest.raises(BodyNotHeld):
        second.append(b"x")
    first.close()
    second.append(b"x")
    assert (second.read(999, 10), first.read(0, 10)) == (b"\0x", b"")


def test_files_are_bounded_too(tmp_path: Path) -> None:
    holding = Holding(tmp_path, file_bytes=1000)
    held = HeldBytes(holding)
    held.append(bytes(600))
    with pytest.raises(BodyNotHeld) as refused:
        held.append(bytes(600))
    held.close()
    assert (refused.value.code, holding.file_bytes) == ("bodies_full", 1000)
