"""The elements of a BYTES tensor: a u32 length and UTF-8, each. Standard library only."""

import struct
from collections.abc import Sequence

_LENGTH = struct.Struct("<I")


def pack_texts(values: Sequence[str]) -> bytes:
    """The elements of a BYTES tensor: a u32 length and UTF-8, each."""
    pieces: list[bytes] = []
    for value in values:
        raw = value.encode("utf-8", "surrogatepass")
        pieces.append(_LENGTH.pack(len(raw)))
        pieces.append(raw)
    return b"".join(pieces)


def texts_of(data: bytes) -> list[bytes]:
    """The elements of a BYTES tensor; raises ValueError when the lengths do not add up."""
    found: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        if end - at < 4:
            raise ValueError("cut inside a length")
        (size,) = _LENGTH.unpack_from(data, at)
        at += 4
        if end - at < size:
            raise ValueError("cut inside an element")
        found.append(data[at : at + size])
        at += size
    return found
