"""Names and headers of spool files: what is written is recognised, anything else is not."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headgate.spool.segment import (
    FRAME_BYTES,
    HEADER_BYTES,
    is_spool_name,
    pack_frame_header,
    pack_segment_header,
    parse_frame_header,
    parse_segment_header,
    parse_segment_name,
    salt_of,
    segment_path,
)

SPOOL_ID = "2-0192f0c1a2b37c4d8e5f60718293a4b5"


@given(st.integers(1, 0xFFFFFFFF), st.sampled_from(["open", "done"]))
def test_a_segment_is_known_by_its_name(number: int, state: str) -> None:
    path = segment_path(Path(), number, "open" if state == "open" else "done")
    assert parse_segment_name(path.name) == (number, state)


def test_other_files_are_no_segments_and_other_directories_no_spools() -> None:
    for name in ("lock", "00000001.new", "1.open", "00000001.open.newer", "00000001.done\n", "٠٠٠٠٠٠٠١.open"):
        assert parse_segment_name(name) is None
    assert is_spool_name(SPOOL_ID)
    for name in (".new-" + SPOOL_ID, SPOOL_ID + "\n", "x-" + SPOOL_ID, "2-0192", ""):
        assert not is_spool_name(name)


def test_a_segment_header_says_who_wrote_it_and_one_flipped_bit_is_seen() -> None:
    packed = pack_segment_header(worker=2, number=7, spool_id=SPOOL_ID)
    header = parse_segment_header(packed)
    assert len(packed) == HEADER_BYTES and header is not None
    assert (header.version, header.worker, header.number) == (1, 2, 7)
    for bit in range(HEADER_BYTES * 8):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        assert parse_segment_header(bytes(damaged)) is None
    assert all(parse_segment_header(packed[:length]) is None for length in range(HEADER_BYTES))


@given(st.integers(0, 255), st.integers(1, 1 << 30), st.integers(0, 0xFFFFFFFF), st.integers(0, FRAME_BYTES * 8 - 1))
def test_a_frame_header_is_whole_or_refused(kind: int, length: int, crc: int, bit: int) -> None:
    salt = salt_of(SPOOL_ID, 7)
    packed = pack_frame_header(kind, length, crc, salt)
    assert parse_frame_header(b"xy" + packed, 2, salt) == (kind, length, crc)
    assert parse_frame_header(packed[:-1], 0, salt) is None
    assert parse_frame_header(packed, 0, salt_of(SPOOL_ID, 8)) is None
    damaged = bytearray(packed)
    damaged[bit // 8] ^= 1 << bit % 8
    assert parse_frame_header(bytes(damaged), 0, salt) is None


def test_zeros_are_no_frame() -> None:
    assert parse_frame_header(bytes(FRAME_BYTES), 0, salt_of(SPOOL_ID, 1)) is None
    empty = pack_frame_header(1, 0, 0, salt_of(SPOOL_ID, 1))
    assert parse_frame_header(empty, 0, salt_of(SPOOL_ID, 1)) is None
