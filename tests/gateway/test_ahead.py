"""What waits for a slow upstream: it comes out as it went in, and never takes more room than there is."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headgate.gateway.ahead import AHEAD_BYTES, Ahead
from headgate.gateway.copies import Copies

ROOM = AHEAD_BYTES + 100
PIECES = st.lists(st.one_of(st.binary(min_size=1, max_size=40), st.none()), max_size=30)


def begun(copies: Copies) -> Ahead:
    ahead = Ahead.begun(copies)
    assert ahead is not None
    return ahead


@given(PIECES, st.integers(0, 200))
def test_what_waits_comes_out_as_it_went_in_whatever_room_there_is(pieces: list[bytes | None], room: int) -> None:
    copies = Copies(Path(tempfile.gettempdir()), file_bytes=ROOM)
    ahead = begun(copies)
    copies.file_bytes = room
    put = taken = b""
    for piece in pieces:
        if piece is not None:
            ahead.add(piece)
            put += piece
        elif ahead.waiting_bytes:
            taken += ahead.next()
        assert ahead.waiting_bytes == len(put) - len(taken)
        assert copies.file_bytes >= 0
    while ahead.waiting_bytes:
        taken += ahead.next()
    assert taken == put
    assert not ahead.is_full
    ahead.let_go()
    assert copies.file_bytes == room


def test_it_is_full_where_the_file_has_no_room_and_not_begun_where_there_is_none(tmp_path: Path) -> None:
    copies = Copies(tmp_path, file_bytes=ROOM)
    ahead = begun(copies)
    copies.file_bytes = 10
    ahead.add(b"1234567890")
    assert not ahead.is_full
    ahead.add(b"a")
    assert ahead.is_full
    assert Ahead.begun(copies) is None
    assert Ahead.begun(Copies(tmp_path / "missing", file_bytes=ROOM)) is None
    assert list(tmp_path.iterdir()) == []
    ahead.let_go()
