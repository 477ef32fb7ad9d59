"""Writing an answer to the client: head, framing, and endings that cannot be taken for complete."""

import asyncio

from headgate.gateway.head import STATUS_LINES, ResponseHead
from headgate.gateway.sockets import reset_on_close

_BODILESS = frozenset((204, 304))


class Reply:
    """One answer on a client connection."""

    __slots__ = (
        "_head",
        "_is_bare",
        "_is_chunked",
        "_is_head_only",
        "_is_http_10",
        "_transport",
        "cors",
        "is_open",
        "keep_alive",
    )

    def __init__(self, transport: asyncio.Transport, *, is_http_10: bool, is_head_only: bool, keep_alive: bool) -> None:
        self._transport = transport
        self._is_http_10 = is_http_10
        self._is_head_only = is_head_only
        self._is_chunked = self._is_bare = False
        self._head = b""
        self.cors = b""  # header lines for a browser page of an allowed origin
        self.keep_alive = keep_alive
        self.is_open = False

    def open(self, status: int, head: ResponseHead, own_lines: tuple[bytes, ...], *, changes_length: bool) -> None:
        """Decide the framing; the head goes out with the first bytes. ``changes_length``: the body will be edited."""
        self.is_open = True
        lines = head.lines
        if status in _BODILESS or self._is_head_only or head.content_length is not None and not changes_length:
            framing = b""
        else:
            lines = [line for line in lines if line[:15].lower() != b"content-length:"]
            if self._is_http_10:
                framing = b""
                self._is_bare = True
                self.keep_alive = False
            else:
                framing = b"transfer-encoding: chunked\r\n"
                self._is_chunked = True
        if not self.keep_alive:
            framing += b"connection: close\r\n"
        if self.cors:
            lines = [line for line in lines if not line.lower().startswith(b"access-control-")]
            framing += self.cors
        status_line = STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        self._head = b"".join((status_line, *lines, *own_lines, framing, b"\r\n"))

    def write(self, data: bytes) -> None:
        """Pass on ``data``, with the head before the first."""
        if data and self._is_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data = self._head + data
            self._head = b""
        if data:
            self._transport.write(data)

    def end(self, data: bytes) -> None:
        """Pass on the last bytes and end the message."""
        if self._is_chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        if self._head:
            data = self._head + data
            self._head = b""
        if data:
            self._transport.write(data)

    def break_off(self) -> None:
        """End abnormally: what was passed on still arrives, the client sees that the rest is missing.

        A chunked body lacks its last chunk and a sized one its last bytes; a body framed by the end of its
        connection is told apart only by a reset.
        """
        self.keep_alive = False
        if self._head:
            self.write(b"")
        if self._is_bare:
            reset_on_close(self._transport)
        self._transport.close()

    def whole(self, status: int, media_type: bytes, body: bytes, own_lines: tuple[bytes, ...]) -> None:
        """Answer with a body of our own."""
        self.is_open = True
        close = self.cors + (b"" if self.keep_alive else b"connection: close\r\n")
        head = b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n" % (
            STATUS_LINES[status],
            media_type,
            len(body),
            b"".join(own_lines),
            close,
        )
        self._transport.write(head if self._is_head_only else head + body)
