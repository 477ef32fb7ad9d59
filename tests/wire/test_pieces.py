"""What is kept of bytes that come in very small pieces."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.gateway.copies import Copies, Copy
from headgate.wire.pieces import add_piece
from headgate.wire.ws_frames import FrameReader, Inflater

COUNT = 20_000
FIRST, NEXT = b"\x01\x81\0\0\0\0a", b"\x00\x81\0\0\0\0a"
EMPTY_BLOCK = b"\0\0\0\xff\xff"


@given(st.lists(st.integers(0, 3000), max_size=20))
def test_joined_pieces_are_what_was_added(sizes: list[int]) -> None:
    added = [bytes([number]) * size for number, size in enumerate(sizes)]
    pieces: list[bytes] = []
    for data in added:
        add_piece(pieces, data)
    assert b"".join(pieces) == b"".join(added)


def frames(reader: FrameReader, data: bytes) -> None:
    for at in range(0, len(data), 65536):
        assert reader.feed(data[at : at + 65536]) == []


def fragments() -> FrameReader:
    reader = FrameReader(is_masked=True)
    frames(reader, FIRST + NEXT * COUNT)
    return reader


def deflated_fragments_of_nothing() -> FrameReader:
    reader = FrameReader(is_masked=True, inflater=Inflater(keeps_context=True))
    block = b"\x85\0\0\0\0" + EMPTY_BLOCK
    frames(reader, b"\x41" + block + (b"\0" + block) * (COUNT * 4))
    return reader


def copied() -> Copy:
    copy = Copy(Copies(Path()), 1 << 20)
    for number in range(COUNT):
        copy.add(b"%d" % (number % 10))
    return copy


@pytest.mark.parametrize("make", [fragments, deflated_fragments_of_nothing, copied])
def test_what_is_kept_in_small_pieces_takes_little_more_than_its_bytes(make: Callable[[], object]) -> None:
    tracemalloc.start()
    try:
        kept = make()
        assert tracemalloc.get_traced_memory()[0] < 5 * COUNT
    finally:
        tracemalloc.stop()
    assert kept is not None
