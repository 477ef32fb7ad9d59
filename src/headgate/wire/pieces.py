"""Bytes that come in pieces and are kept as such: small ones are joined, for each object costs some 40 bytes itself."""

_SMALL_BYTES = 1 << 10


def add_piece(pieces: list[bytes], data: bytes) -> None:
    """Append ``data`` to what ``pieces`` hold together."""
    if pieces and len(data) < _SMALL_BYTES and len(pieces[-1]) < _SMALL_BYTES:
        pieces[-1] += data
    else:
        pieces.append(data)
