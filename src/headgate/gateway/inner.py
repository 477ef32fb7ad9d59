"""A call that the gateway makes for a call: an embedding, with a record of its own, under the caller's key."""

import asyncio
from typing import TYPE_CHECKING, cast

import httptools
import msgspec

from headgate.core.errors import UpstreamTimeout, UpstreamUnreachable
from headgate.gateway.attempts import Attempts
from headgate.gateway.head import RequestHead
from headgate.gateway.intake import describe, read_body
from headgate.gateway.relay import Relay
from headgate.gateway.reply import Reply
from headgate.gateway.worker import Worker
from headgate.snapshot import KeyEntry
from headgate.wire.endpoints import place_of

if TYPE_CHECKING:
    from headgate.gateway.incoming import Client

_PATH = b"/v1/embeddings"
_TIMEOUT_S = 30.0
_CARRIED = (b"session", b"user", b"capture")
_ANSWER_LIMIT = 4 << 20


class _Vector(msgspec.Struct):
    embedding: list[float]


class _Vectors(msgspec.Struct):
    data: list[_Vector]


_decode = msgspec.json.Decoder(_Vectors).decode


class _Collecting:
    """The transport that an answer is written to: it keeps the bytes."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> None:
        """Keep, up to a size that no embedding has."""
        if len(self.written) <= _ANSWER_LIMIT:
            self.written += data

    def close(self) -> None:
        """Nothing to close."""

    abort = close

    def get_extra_info(self, name: str) -> None:
        """There is no socket."""


class _InnerClient:
    """The client of such a call (Client)."""

    is_write_paused = False

    def __init__(self) -> None:
        self.collected = _Collecting()
        self.transport = cast(asyncio.Transport, self.collected)
        self.done = asyncio.Event()

    def relay_finished(self, relay: Relay) -> None:
        """The answer and the record are complete."""
        self.done.set()

    def may_answer(self, relay: Relay) -> bool:
        """It is the only one on its connection."""
        return True


class _InnerRelay(Relay):
    """A relay whose caller was admitted already; the models its key is limited to are those it may call itself."""

    caller: KeyEntry

    def admit(self) -> None:
        """Plan the attempts, as the purpose that it has."""
        self.principal = self.caller
        read_body(self.asked, self.place, self.body, "application/json")
        describe(self.asked, self.head, self.caller)
        self.asked.identity["purpose"] = "embedding"
        plan = self.worker.plan("openai", self.asked.model)
        self.asked.identity["route"] = plan.route
        self.attempts = Attempts(plan, self.started_ns, self.asked.model)


class _Message:
    """Status and body of an answer (httptools)."""

    def __init__(self, data: bytes) -> None:
        self.body = b""
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(data)
        self.status = parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self.body += data


async def embed(
    worker: Worker, caller: KeyEntry, head: RequestHead, model: str, dimensions: int | None, text: str
) -> list[float]:
    """The vector of one text by a routed model, called with the caller's ``head``. Raises HeadgateError."""
    asked = {"model": model, "input": [text], "encoding_format": "float"}
    body = msgspec.json.encode(asked if dimensions is None else {**asked, "dimensions": dimensions})
    client = _InnerClient()
    place = place_of(b"POST", _PATH, speaks_anthropic=False)
    assert place is not None
    relay = _InnerRelay(
        cast("Client", client),
        worker,
        place,
        b"POST",
        _PATH,
        RequestHead(_headers(head, len(body))),
        Reply(client.transport, is_http_10=False, is_head_only=False, keep_alive=True),
    )
    worker.watch(relay)
    relay.caller = caller
    relay.add_body(body)
    relay.has_body = True
    relay.begin()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await client.done.wait()
    except TimeoutError:
        raise UpstreamTimeout(f'the embedding model "{model}" did not answer within {_TIMEOUT_S:g} s.') from None
    finally:
        if not client.done.is_set():
            relay.client_gone()
    return _vector(model, bytes(client.collected.written))


def _headers(head: RequestHead, body_bytes: int) -> list[tuple[bytes, bytes]]:
    """What of the caller's head goes along: credentials, trace, and what the log keeps of who asked."""
    carried = [(b"x-headgate-" + name, head.own[name]) for name in _CARRIED if name in head.own]
    carried += [(name, value) for name, value in head.credentials()]
    if (trace := head.noted.get(b"traceparent")) is not None:
        carried.append((b"traceparent", trace))
    return [*carried, (b"content-type", b"application/json"), (b"content-length", str(body_bytes).encode())]


def _vector(model: str, written: bytes) -> list[float]:
    try:
        message = _Message(written)
        if message.status == 200:
            return _decode(message.body).data[0].embedding
    except (httptools.HttpParserError, msgspec.MsgspecError, IndexError) as error:
        raise UpstreamUnreachable(f'the embedding model "{model}" gave no vector: {error}.') from None
    text = message.body[:300].decode("utf-8", "replace")
    raise UpstreamUnreachable(
        f'the embedding model "{model}" answered {message.status}: {text}',
        code="kb_embedding",
        hint="It is called through the routes like any model, and in the log: headgate log list --purpose embedding",
    )
