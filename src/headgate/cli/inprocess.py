"""An ASGI application as a transport: its own event loop in a thread, answers handed over piece by piece."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator, MutableMapping
from typing import Any

import httpx2
from starlette.types import ASGIApp

_PIECES = 16
_STEP_S = 0.005
Message = MutableMapping[str, Any]


@contextlib.contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="headgate-offline", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


class InProcess(httpx2.BaseTransport):
    """Hands every request to ``app`` on ``loop``; bodies of answers are streamed with bounded memory."""

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        self._app, self._loop = app, loop

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The application's answer to ``request``."""
        exchange = _Exchange(request.read())
        call = asyncio.run_coroutine_threadsafe(exchange.run(self._app, _scope(request)), self._loop)
        start = exchange.next_message()
        if start is None:
            call.result(timeout=10)  # raises what the application raised
            raise httpx2.RemoteProtocolError("The application ended without an answer.", request=request)
        headers = [(bytes(name), bytes(value)) for name, value in start.get("headers", [])]
        return httpx2.Response(int(start["status"]), headers=headers, stream=_Body(exchange, call))


class _Exchange:
    """One request on its way through the application."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._answers: queue.Queue[Message | None] = queue.Queue(maxsize=_PIECES)

    async def run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            task = asyncio.current_task()
            # A cancelled exchange has no reader any more, and nobody would make room for the end mark.
            if task is None or not task.cancelling():
                await self._put(None)

    async def _receive(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()  # a client in this process never disconnects; the task is cancelled instead
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        await self._put(message)

    async def _put(self, message: Message | None) -> None:
        while self._answers.full():
            await asyncio.sleep(_STEP_S)
        self._answers.put_nowait(message)

    def next_message(self) -> Message | None:
        """The next piece of the answer; None when the application has ended."""
        return self._answers.get(timeout=600)


class _Body(httpx2.SyncByteStream):
    def __init__(self, exchange: _Exchange, call: Any) -> None:
        self._exchange, self._call = exchange, call

    def __iter__(self) -> Iterator[bytes]:
        while (message := self._exchange.next_message()) is not None:
            if message.get("body"):
                yield bytes(message["body"])
        self._call.result(timeout=10)

    def close(self) -> None:
        self._call.cancel()


def _scope(request: httpx2.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port or 80),
        "client": ("127.0.0.1", 0),
        "root_path": "",
    }
