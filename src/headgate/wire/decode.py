"""Undoing the content encoding of the copy that is read; what is relayed stays as the upstream sent it.

gzip and deflate are read by the standard library, br and zstd where brotli and zstandard are installed.
"""

import zlib

from headgate.wire.codings import MOST_PARTS, CodingError, Stream, stream_of

_GZIP, _ZLIB, _RAW = 31, 15, -15
_SLICE_BYTES = 4 << 10
"""What is inflated at once: behind the end of each part of a body, the rest of the slice is copied."""
_WINDOW = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class BodyDecoder:
    """Decodes one body piece by piece, never to more than ``limit_bytes`` in all. Never raises: what cannot be decoded
    is left out, and `note` says why.
    """

    def __init__(self, encoding: str | None, limit_bytes: int = 32 << 20) -> None:
        codings = [
            name for part in (encoding or "").lower().split(",") if (name := part.strip()) not in ("", "identity")
        ]
        self.note: str | None = None
        self._left = limit_bytes
        self._limit = limit_bytes
        self._wbits = 0
        self._stream: zlib._Decompress | None = None
        self._held = b""  # a first byte, which alone does not tell zlib from raw deflate
        self._members = 0
        self._ended = False
        self._other: Stream | None = None
        if len(codings) == 1 and codings[0] in _WINDOW:
            self._wbits = _WINDOW[codings[0]]
        elif len(codings) == 1 and (other := stream_of(codings[0])) is not None:
            self._other = other
        elif codings:
            self.note = f"content-encoding {', '.join(codings)[:100]} is not read"

    def feed(self, data: bytes) -> bytes:
        """The decoded bytes that ``data`` yields; the same object when there is nothing to decode."""
        if self._other is not None:
            return self._feed_other(self._other, data)
        if not self._wbits:
            return b"" if self.note else data
        out: list[bytes] = []
        try:
            for at in range(0, len(data), _SLICE_BYTES):
                rest = data[at : at + _SLICE_BYTES]
                while rest and self.note is None and not self._ended:
                    rest = self._inflate(rest, out)
        except zlib.error as error:
            self.note = f"the encoded body is damaged: {error}"[:200]
        return b"".join(out)

    def _feed_other(self, stream: Stream, data: bytes) -> bytes:
        if self.note is not None:
            return b""
        out: list[bytes] = []
        try:
            for piece in stream.pieces(data):
                out.append(self._bounded(piece))
                if self.note is not None:
                    break
        except CodingError as error:
            self.note = f"the encoded body is damaged: {error}"[:200]
        return b"".join(out)

    def _bounded(self, piece: bytes) -> bytes:
        if len(piece) > self._left:
            self.note = f"the decoded body is longer than {self._limit} bytes; the rest was not read"
            piece = piece[: self._left]
        self._left -= len(piece)
        return piece

    def _inflate(self, data: bytes, out: list[bytes]) -> bytes:
        """Decode up to the end of the current gzip member or zlib stream; returns what follows it."""
        if self._stream is None:
            data = self._begin(data)
            if self._stream is None:
                return b""
        out.append(self._bounded(self._stream.decompress(data, self._left + 1)))
        if not self._stream.eof:
            return b""
        rest = self._stream.unused_data
        self._stream = None
        self._ended = self._wbits != _GZIP  # a gzip body may have several members
        self._members += 1
        if self._members > MOST_PARTS:
            self.note = f"the encoded body has over {MOST_PARTS} parts"
        return rest

    def _begin(self, data: bytes) -> bytes:
        """Start a decoder for what ``data`` begins with; it stays None when that cannot be told yet."""
        data, self._held = self._held + data, b""
        if self._members:
            data = data.lstrip(b"\0")  # padding after a gzip member
        if len(data) < 2:
            self._held = data
        elif self._members and not data.startswith(b"\x1f\x8b"):
            self._ended = True
        else:
            # RFC 9110 means zlib by deflate; some servers send it raw. A zlib header is a multiple of 31.
            if self._wbits == _ZLIB and (data[0] & 15 != 8 or int.from_bytes(data[:2], "big") % 31):
                self._wbits = _RAW
            self._stream = zlib.decompressobj(self._wbits)
        return data
