"""Model names that fail on purpose, for tests and demonstrations.

``demo-error-429``   429 with ``retry-after: 1``
``demo-error-500``   500
``demo-overloaded``  529
``demo-slow``        answers as usual, first byte after 5 s (also when waiting is switched off)
``demo-cut``         the connection is closed in the middle of the answer
``missing-...``      404 model_not_found
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headgate.providers.demo.ask import AskError
from headgate.providers.demo.reading import Event

SLOW_FIRST_BYTE_S = 5.0
_Headers = list[tuple[bytes, bytes]]


async def before(model: Any) -> None:
    """Fails or waits when ``model`` names a fault."""
    if model == "demo-error-429":
        raise AskError(
            "Rate limit reached for demo-error-429: this model of the demo provider is always limited.",
            status=429,
            kind="rate_limit_error",
            code="rate_limit_exceeded",
            headers={"retry-after": "1"},
        )
    if model == "demo-error-500":
        raise AskError("This model of the demo provider always fails.", status=500, kind="server_error")
    if model == "demo-overloaded":
        raise AskError("Overloaded: this model of the demo provider always is.", status=529, kind="overloaded_error")
    if model == "demo-slow":
        await asyncio.sleep(SLOW_FIRST_BYTE_S)


def is_cut(model: str) -> bool:
    """Whether answers of ``model`` break off."""
    return model == "demo-cut"


class CutStream(Response):
    """Half of the events, then nothing: the server closes the connection without the end of the body."""

    def __init__(self, events: Sequence[Event], headers: _Headers) -> None:
        self.events, self.raw_headers = events[: max(1, len(events) // 2)], headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for event in self.events:
            await send({"type": "http.response.body", "body": event.data, "more_body": True})


class CutWhole(Response):
    """Half of the announced bytes, then nothing."""

    def __init__(self, body: bytes, headers: _Headers) -> None:
        self.half, self.raw_headers = body[: len(body) // 2], headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.half, "more_body": True})
