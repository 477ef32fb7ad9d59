"""Frames between a worker and a model runner: tensors as raw little-endian bytes. Standard library only.

Frame: u32 length of what follows, u32 id, u8 kind, u8 0, u16 number of tensors, then per tensor: u8 datatype,
u8 dimensions, u16 0, u32 0, u64 bytes, i64 per dimension, the bytes, zeros up to a multiple of 8.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headgate.core.signature import DATATYPE_BY_CODE, MAX_DIMS, MAX_TENSORS

INFER, OUTPUTS, REFUSED, BUSY, GOODBYE, HELLO = range(6)
"""Kinds: a call; its answer; a call the model cannot take (the text says why); come back later; no more calls here;
the runner has accepted the connection."""
MAX_FRAME_BYTES = 256 << 20
_HEAD = struct.Struct("<IIBBH")
_TENSOR = struct.Struct("<BBHIQ")
_LENGTH = struct.Struct("<I")
_DIMS = tuple(struct.Struct(f"<{count}q") for count in range(MAX_DIMS + 1))
_PADDING = tuple(bytes(count) for count in range(8))


class FrameError(ValueError):
    """Bytes that are no frame; whoever sent them is broken."""


@dataclass(slots=True)
class Tensor:
    """One tensor: code of its datatype, shape, bytes. BYTES elements are a u32 length and the bytes, each."""

    code: int
    shape: tuple[int, ...]
    data: bytes

    @property
    def rows(self) -> int:
        """Its first dimension; 1 for a scalar."""
        return self.shape[0] if self.shape else 1


@dataclass(slots=True)
class Frame:
    """One message."""

    id: int
    kind: int
    tensors: list[Tensor]
    text: str = ""


def encode(frame_id: int, kind: int, tensors: Sequence[Tensor] = (), text: str = "") -> bytes:
    """The bytes of one frame."""
    pieces = [b""]
    size = 8
    for tensor in tensors:
        data = tensor.data
        count = len(data)
        rank = len(tensor.shape)
        pieces.append(_TENSOR.pack(tensor.code, rank, 0, 0, count))
        if rank:
            pieces.append(_DIMS[rank].pack(*tensor.shape))
        pieces.append(data)
        padding = -count & 7
        if padding:
            pieces.append(_PADDING[padding])
        size += 16 + 8 * rank + count + padding
    if text:
        raw = text.encode()
        pieces.append(raw)
        size += len(raw)
    if size > MAX_FRAME_BYTES:
        raise FrameError(f"{size} bytes; at most {MAX_FRAME_BYTES}")
    pieces[0] = _HEAD.pack(size, frame_id, kind, 0, len(tensors))
    return b"".join(pieces)


def decode(data: bytes) -> Frame:
    """The frame in ``data``, which is whole. Raises FrameError."""
    if len(data) < _HEAD.size:
        raise FrameError("shorter than its head")
    size, frame_id, kind, _, count = _HEAD.unpack_from(data)
    if size + 4 != len(data) or count > MAX_TENSORS:
        raise FrameError("its length is wrong")
    at = _HEAD.size
    tensors: list[Tensor] = []
    try:
        for _ in range(count):
            code, rank, _, _, data_bytes = _TENSOR.unpack_from(data, at)
            at += 16
            shape = _DIMS[rank].unpack_from(data, at)
            at += 8 * rank
            end = at + data_bytes
            if end > len(data) or code not in DATATYPE_BY_CODE:
                raise FrameError("a tensor goes beyond its end, or is of no known type")
            tensors.append(Tensor(code, shape, data[at:end]))
            at = end + (-data_bytes & 7)
    except (struct.error, IndexError) as error:
        raise FrameError(str(error)) from None
    return Frame(frame_id, kind, tensors, data[at:].decode("utf-8", "replace") if at < len(data) else "")


class FrameReader:
    """Cuts a stream into frames."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._have = self._need = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The whole frames that ``data`` completes. Raises FrameError."""
        if self._pieces:
            self._pieces.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._pieces)
            self._pieces = []
        at, end, size = 0, len(data), 0
        while end - at >= 4:
            (size,) = _LENGTH.unpack_from(data, at)
            if not 8 <= size <= MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {size} bytes")
            if end - at < size + 4:
                break
            yield data[at : at + size + 4] if at or end > size + 4 else data
            at += size + 4
        if at < end:
            self._pieces = [data[at:]]
            self._have = end - at
            self._need = 4 if self._have < 4 else size + 4
