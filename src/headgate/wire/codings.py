"""Content codings that the standard library does not read: br and zstd, where their libraries are installed.

`pip install "headgate[codings]"` brings them. They are imported with the first body that needs them.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Protocol

_PIECE_BYTES = 64 << 10
_SLICE_BYTES = 128
"""Four bytes of zstd may stand for 128 KiB, and zstandard decodes all it is given at once: so little at a time stays
below 4 MiB."""
MOST_PARTS = 4096
"""gzip members or zstd frames of one body. Empty ones of 20 bytes and less would only take time."""
_WINDOW_BYTES = 8 << 20
"""What browsers and servers keep to for zstd over HTTP (RFC 9659)."""


class CodingError(ValueError):
    """The bytes are not what the coding says."""


class Stream(Protocol):
    """Decodes one body."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What ``data`` yields, some megabytes at a time at most. Raises CodingError."""


class _Brotli:
    def __init__(self, library: Any) -> None:
        self._library = library
        self._decoder = library.Decompressor()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            piece = self._decoder.process(data, output_buffer_limit=_PIECE_BYTES)
            yield piece
            # It may have taken all of the input and still hold output, of which only a full piece tells.
            while len(piece) >= _PIECE_BYTES or not self._decoder.can_accept_more_data():
                piece = self._decoder.process(b"", output_buffer_limit=_PIECE_BYTES)
                yield piece
        except self._library.error as error:
            raise CodingError(str(error)) from error


class _Zstd:
    def __init__(self, library: Any) -> None:
        self._library = library
        self._decoder: Any = None
        self._frames = 0

    def pieces(self, data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            if self._decoder is None:  # a body may have several frames
                self._decoder = self._library.ZstdDecompressor(max_window_size=_WINDOW_BYTES).decompressobj()
            part = data[at : at + _SLICE_BYTES]
            at += len(part)
            try:
                yield self._decoder.decompress(part)
            except self._library.ZstdError as error:
                raise CodingError(str(error)) from error
            if self._decoder.eof:
                at -= len(self._decoder.unused_data)
                self._decoder = None
                self._frames += 1
                if self._frames > MOST_PARTS:
                    raise CodingError(f"it has over {MOST_PARTS} parts")


_READERS: dict[str, tuple[str, Callable[[Any], Stream]]] = {"br": ("brotli", _Brotli), "zstd": ("zstandard", _Zstd)}


def stream_of(coding: str) -> Stream | None:
    """A decoder for ``coding``; None where its library is not installed."""
    if coding not in _READERS:
        return None
    name, reader = _READERS[coding]
    try:
        library = import_module(name)
    except ImportError:
        return None
    return reader(library)
