"""`/api`, `/ui` and `/metrics` live in the control process: relayed to its Unix socket, not logged."""

import asyncio

from starlette.types import Receive, Scope, Send

from headgate.core.errors import HeadgateError, Unavailable
from headgate.gateway.head import HOP_BY_HOP, Headers
from headgate.gateway.upstream import Origin, UpstreamConnection
from headgate.gateway.worker import Worker
from headgate.wire.envelope import error_body

_BODY_LIMIT = 8 << 20
_UPLOAD_IDLE_S = 30.0
_CONNECT_S = 2.0
_ANSWER_S = 60.0
_QUEUE_HIGH = 16
_NOT_PASSED = HOP_BY_HOP | {b"date"}  # the worker's server writes its own


class _Answer:
    """One answer of the control process, handed over piece by piece (Sink)."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[tuple[list[bytes], bool] | str] = asyncio.Queue()
        self._connection: UpstreamConnection | None = None
        self.status = 0
        self.headers: Headers = []

    def upstream_head(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        self.status, self.headers = connection.status, connection.headers

    def upstream_data(self, connection: UpstreamConnection, pieces: list[bytes], is_last: bool) -> None:
        self._events.put_nowait((pieces, is_last))
        if self._events.qsize() > _QUEUE_HIGH and not is_last:
            connection.pause()

    def upstream_broken(self, connection: UpstreamConnection, reason: str) -> None:
        self._events.put_nowait(reason)

    async def next(self) -> tuple[bytes, bool]:
        """The next piece, and whether it is the last. Raises ConnectionError."""
        event = await self._events.get()
        if isinstance(event, str):
            raise ConnectionError(event)
        if self._connection is not None and self._events.qsize() == 0:
            self._connection.resume()
        return b"".join(event[0]), event[1]


class ControlRelay:
    """An ASGI application: whatever it is asked, the control process answers."""

    def __init__(self, worker: Worker) -> None:
        self._pool = worker.pool(
            Origin(
                host="control", port=80, is_tls=False, base_path=b"", socket_path=worker.home.socket_address("control")
            )
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _read(receive)
        except TimeoutError:
            slow = HeadgateError(f"the request body stopped arriving for {_UPLOAD_IDLE_S:g} s.", code="upload_timeout")
            await _refuse(send, slow, 408)
            return
        if body is None:
            await _refuse(send, HeadgateError("the request body is over 8 MB.", code="body_too_large"), 413)
            return
        answer = _Answer()
        connection: UpstreamConnection | None = None
        try:
            connection = self._pool.acquire() or await self._pool.dial(_CONNECT_S)
            connection.start(answer, _request(scope, body), head_only=scope["method"] == "HEAD")
            async with asyncio.timeout(_ANSWER_S):
                piece, is_last = await answer.next()
        except (OSError, TimeoutError):
            if connection is not None and connection.sink is answer:
                connection.cancel()
            await _refuse(
                send,
                Unavailable(
                    "the control process does not answer.",
                    code="control_down",
                    hint="Calls are relayed and recorded all the same; it is started again by itself.",
                ),
                503,
            )
            return
        await _relay(send, answer, connection, piece, is_last)


async def _relay(send: Send, answer: _Answer, connection: UpstreamConnection, piece: bytes, is_last: bool) -> None:
    headers = [(name.lower(), value) for name, value in answer.headers if name.lower() not in _NOT_PASSED]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    try:
        while not is_last:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece, is_last = await answer.next()
        await send({"type": "http.response.body", "body": piece, "more_body": False})
    finally:
        if connection.sink is answer:
            connection.cancel()


async def _read(receive: Receive) -> bytes | None:
    pieces: list[bytes] = []
    size = 0
    while True:
        async with asyncio.timeout(_UPLOAD_IDLE_S):
            message = await receive()
        if message["type"] != "http.request":
            return b""
        piece = message.get("body", b"")
        size += len(piece)
        if size > _BODY_LIMIT:
            return None
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _request(scope: Scope, body: bytes) -> bytes:
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    lines = [b"%b %b HTTP/1.1" % (scope["method"].encode("ascii"), target)]
    for name, value in scope["headers"]:
        if name not in HOP_BY_HOP and name not in (b"content-length", b"expect"):
            lines.append(b"%b: %b" % (name, value))
    lines.append(b"content-length: %d\r\n\r\n" % len(body))
    return b"\r\n".join(lines) + body


async def _refuse(send: Send, error: HeadgateError, status: int) -> None:
    body = error_body(error, "openai", "")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
