"""Our keep-alive client of one upstream origin: connections on `asyncio.Protocol`, a pool, deadlines for dialling.

Bytes go out as given and come back as they arrive. An answer goes to a *sink*; nothing is buffered beyond one read.
"""

import asyncio
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

import httptools

from headgate.core.ids import monotonic_s
from headgate.gateway.dial import DIRECT, Way, dial
from headgate.gateway.head import Headers, ResponseHead
from headgate.gateway.sockets import reset_on_close, second_hand, unread

if TYPE_CHECKING:
    from headgate.gateway.large import LargeBody
    from headgate.gateway.upload import Upload

IDLE_LIMIT = 512
"""Idle connections kept per origin."""
IDLE_EXPIRY_S = 4.0
"""Below the 5 s after which common servers close an idle connection, so that we seldom write into a closing one."""
MAX_HEAD_BYTES = 64 << 10
READ_BYTES = 64 << 10
"""asyncio reads up to 256 KiB at once; a buffer of that size may be mapped and unmapped by malloc for every read
(glibc's threshold is 128 KiB), which cost 14 µs where the read itself cost 2 (measured 2026-11)."""
_APART_BYTES = 128 << 10
"""A body of this size is written by itself: to copy it behind its head costs more than a second system call."""


class UnreadableAnswer(Exception):
    """The upstream's head cannot be taken for an answer; the text follows "upstream x …"."""


class Sink(Protocol):
    """What receives an answer. Every call comes from the event loop; none may raise. No pieces: a head came alone."""

    def upstream_head(self, connection: "UpstreamConnection") -> None: ...

    def upstream_data(self, connection: "UpstreamConnection", pieces: list[bytes], is_last: bool) -> None: ...

    def upstream_broken(self, connection: "UpstreamConnection", reason: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an upstream listens. ``socket_path`` set: a Unix socket, host is only the Host header."""

    host: str
    port: int
    is_tls: bool
    base_path: bytes
    socket_path: str | None = None

    @property
    def host_header(self) -> bytes:
        name = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.is_tls else 80
        return (name if self.port == default or self.socket_path else f"{name}:{self.port}").encode("ascii")


def origin_of(base_url: str, socket_path: str | None = None) -> Origin:
    """The origin of a checked base URL such as `https://api.openai.com/v1`."""
    url = urlsplit(base_url)
    is_tls = url.scheme == "https"
    return Origin(
        host=url.hostname or "localhost",
        port=url.port or (443 if is_tls else 80),
        is_tls=is_tls,
        base_path=url.path.rstrip("/").encode("ascii"),
        socket_path=socket_path,
    )


class UpstreamConnection(asyncio.Protocol):
    """One connection; carries one exchange at a time."""

    __slots__ = (
        "_bytes_seen",
        "_done",
        "_head_done",
        "_head_only",
        "_parser",
        "_pieces",
        "_pool",
        "_second",
        "_told_head",
        "_was_paused",
        "head",
        "headers",
        "idle_since_s",
        "is_framed",
        "is_sending",
        "is_write_paused",
        "keep_alive",
        "reused",
        "sink",
        "status",
        "transport",
        "upload",
    )

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self.sink: Sink | None = None
        self.reused = False
        self.idle_since_s = 0.0
        self.upload: Upload | LargeBody | None = None
        self.is_sending = False  # a body is still on its way: what is answered before its end cannot be the last word
        self._second: socket.socket | None = None  # of a connection with TLS that carries a body
        self.is_write_paused = False
        self._was_paused = False
        self._bytes_seen = 0
        self.transport: asyncio.Transport

    # The exchange.

    def start(self, sink: Sink, head: bytes, body: bytes = b"", *, head_only: bool = False) -> None:
        """Send a whole request; the answer goes to ``sink``. ``head_only``: the request was a HEAD."""
        self.sink = sink
        self._parser = httptools.HttpResponseParser(self)
        self.headers: Headers = []
        self.head: ResponseHead  # of the answer, once that has begun
        self._pieces: list[bytes] = []
        self.status = 0
        self._bytes_seen = 0
        self._head_only = head_only
        self._head_done = self._told_head = self._done = self.keep_alive = self.is_framed = False
        if len(body) < _APART_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)

    def begin_body(self, upload: "Upload | LargeBody") -> None:
        """The head was sent; ``upload`` writes the body."""
        self.upload = upload
        self.is_sending = True
        self._second = second_hand(self.transport)

    def _drop_second(self) -> None:
        if self._second is not None:
            self._second.close()
            self._second = None

    @property
    def has_answered(self) -> bool:
        """Whether any byte of an answer to the current request arrived."""
        return self._bytes_seen > 0

    def cancel(self) -> None:
        """Break off: the upstream sees the connection close, the sink hears no more."""
        self.sink = None
        if self.is_sending:
            reset_on_close(self.transport)  # its end would wait behind what the upstream has not read
        self._drop_second()
        self.transport.abort()

    def pause(self) -> None:
        """Stop reading: the client is slower than the upstream."""
        if not self._was_paused:
            self._was_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._was_paused:
            self._was_paused = False
            self.transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        read_less(transport)
        self.transport = cast(asyncio.Transport, transport)
        self._pool.open_count += 1

    def data_received(self, data: bytes) -> None:
        sink = self.sink
        if sink is None:  # an idle upstream has nothing to say
            self.transport.abort()
            return
        self._bytes_seen += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, UnreadableAnswer):
                self._break(str(error.__context__))
                return
            if not self._done:
                if self._pieces:  # what came before the damage is the client's
                    self._deliver(sink)
                self._break(f"sent what is not HTTP/1.1: {error}")
                return
            self.keep_alive = False
        if self._told_head and not self._done:
            pieces = self._pieces
            if pieces:
                self._pieces = []
                sink.upstream_data(self, pieces, False)
        elif self._head_done:
            self._deliver(sink)
        elif self._bytes_seen > MAX_HEAD_BYTES:
            self._break(f"response head over {MAX_HEAD_BYTES} bytes")

    def _deliver(self, sink: Sink) -> None:
        if not self._told_head:
            self._told_head = True
            sink.upstream_head(self)
            if self.sink is not sink:
                return
        pieces, is_last = self._pieces, self._done
        if is_last:
            self.sink = None
            self._drop_second()
            self._pool.take_back(self)
        self._pieces = []
        sink.upstream_data(self, pieces, is_last)

    def pause_writing(self) -> None:
        self.is_write_paused = True
        if self.upload is not None:
            self.upload.pause()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self.upload is not None:
            self.upload.resume()

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        if self.sink is not None and (exc is not None or self._second is not None):
            self._read_the_rest()
        self._drop_second()
        sink = self.sink
        if sink is None:
            return
        if exc is None and self._head_done and not self.is_framed:
            self._done = True  # an answer framed by the end of its connection
            self._deliver(sink)
            return
        self.sink = None
        if not self._bytes_seen:
            reason = "closed the connection without an answer"
        else:
            reason = "reset the connection" if exc is not None else "closed the connection before the answer's end"
        sink.upstream_broken(self, reason)

    def _read_the_rest(self) -> None:
        """What the upstream had answered before a write failed: one that refuses a body often closes at once."""
        rest = unread(self.transport, self._second)
        while self.sink is not None and (data := next(rest, b"")):
            self.data_received(data)

    def _break(self, reason: str) -> None:
        sink, self.sink = self.sink, None
        self.transport.abort()
        if sink is not None:
            sink.upstream_broken(self, reason)

    # httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:  # later ones are trailers
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._head_done:  # a second answer that nobody asked for
            self.keep_alive = False
            return
        self.status = self._parser.get_status_code()
        if self.status < 200 and self.status != 101:
            self.headers = []  # 100 Continue, 103 Early Hints
            return
        self._head_done = True
        self.keep_alive = self._parser.should_keep_alive()
        self.head = ResponseHead(self.headers)
        self._check_head()
        if self.status in (204, 304):
            self.is_framed = True
        if self._head_only:
            self.is_framed = self._done = True
            self.keep_alive = False

    def _check_head(self) -> None:
        head = self.head
        self.is_framed = head.is_framed
        if head.transfer_coding not in (None, b"chunked"):
            raise UnreadableAnswer(f"sent the transfer coding {head.transfer_coding[:40]!r}")
        if self._bytes_seen > MAX_HEAD_BYTES:  # what was read tells most heads apart without adding up
            size = sum(len(name) + len(value) for name, value in self.headers)
            if size > MAX_HEAD_BYTES:
                raise UnreadableAnswer(f"sent a head of {size} bytes")
        if self.status == 101:
            raise UnreadableAnswer("switched protocols unasked")

    def on_body(self, data: bytes) -> None:
        if not self._done:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        if self._head_done:
            self._done = True


def read_less(transport: asyncio.BaseTransport) -> None:
    """Have ``transport`` read READ_BYTES at once, where it lets itself be told."""
    if hasattr(transport, "max_size"):
        transport.max_size = READ_BYTES


class Pool:
    """Connections to one origin: takes the youngest idle one, closes those idle for too long."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, way: Way = DIRECT) -> None:
        self.origin = origin
        self._tls = tls
        self._way = way
        self._idle: deque[UpstreamConnection] = deque()
        self.open_count = 0

    def acquire(self) -> UpstreamConnection | None:
        """An idle connection that is probably alive, or None: dial one."""
        oldest_s = monotonic_s() - IDLE_EXPIRY_S
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since_s < oldest_s:
                self._idle.append(connection)
                self.expire()
                return None
            if not connection.transport.is_closing():
                connection.reused = True
                return connection
        return None

    async def dial(self, timeout_s: float, kind: type[UpstreamConnection] = UpstreamConnection) -> UpstreamConnection:
        """A new connection. Raises TimeoutError, OSError or ssl.SSLError."""
        async with asyncio.timeout(timeout_s):
            return await dial(self.origin, self._way, self._tls, lambda: kind(self))

    def take_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange has ended, if it can carry another."""
        connection.resume()
        if (
            connection.keep_alive
            and not connection.is_sending
            and len(self._idle) < IDLE_LIMIT
            and not connection.transport.is_closing()
        ):
            connection.idle_since_s = monotonic_s()
            self._idle.append(connection)
        elif not connection.transport.is_closing():  # asyncio's TLS can be closed once
            connection.transport.close()

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection has closed."""
        self.open_count -= 1
        if connection.sink is None and connection in self._idle:
            self._idle.remove(connection)

    def expire(self) -> None:
        """Close what has been idle for too long."""
        oldest_s = monotonic_s() - IDLE_EXPIRY_S
        while self._idle and self._idle[0].idle_since_s < oldest_s:
            self._idle.popleft().transport.close()

    def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.popleft().transport.close()
