"""What the retrieval process answers: searches over the versions it has loaded, each checked by hash once."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.core.errors import BodyTooLarge, HeadgateError, MalformedRequest, NotFound
from headgate.retrieval.model import MAX_QUERY_CHARS, MAX_TOP_K, Filter, Metadata

if TYPE_CHECKING:
    from headgate.retrieval.index import Hit, Index

MAX_BODY_BYTES = 2 << 20
MAX_LOADED_BYTES = 1 << 30
_MOST_LOADED = 32
_logger = logging.getLogger("headgate.retrieval")
_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_Receive = Callable[[], Awaitable[_Message]]


class Search(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question for one version."""

    version: str  # the hash of its manifest
    query: str
    top_k: int = 4
    vector: list[float] | None = None  # of the query; None: built-in embedder, or keywords alone
    filter: Filter = {}
    min_score: float | None = None
    use: tuple[str, ...] = ("vectors", "keywords")


class FoundChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk as templates and answers have it."""

    id: str
    text: str
    source: str
    heading: str
    score: float
    metadata: Metadata
    vector_rank: int | None
    keyword_rank: int | None
    vector_score: float
    keyword_score: float


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, best first."""

    chunks: list[FoundChunk]


_decode = msgspec.json.Decoder(Search).decode
_encode = msgspec.json.Encoder().encode


class Service:
    """An ASGI application over a home's versions; what was loaded stays good whatever becomes of its files."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._loaded: OrderedDict[str, Index] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Index]] = {}

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """One request."""
        try:
            status, body = 200, await self._answer(scope, receive)
        except HeadgateError as error:
            status, body = error.status, _error(error)
        except Exception:  # border: request. One broken question must not end the process.
            _logger.exception("a defect while answering %s", scope.get("path"))
            status, body = 500, _error(HeadgateError("the retrieval process failed; its output has the details."))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: _Message, receive: _Receive) -> bytes:
        if (scope["method"], scope["path"]) != ("POST", "/search"):
            raise NotFound(f"There is nothing at {scope['path'][:100]}.")
        try:
            asked = _decode(await _body(receive))
        except msgspec.MsgspecError as error:
            raise MalformedRequest(f"The search cannot be read: {error}.") from None
        return await self.search(asked)

    async def search(self, asked: Search) -> bytes:
        """The JSON of the answer; raises HeadgateError."""
        if not 0 < asked.top_k <= MAX_TOP_K:
            raise MalformedRequest(f"top_k is from 1 to {MAX_TOP_K}, not {asked.top_k}.")
        index = await self._index(asked.version)
        hits = index.search(
            asked.query[:MAX_QUERY_CHARS],
            top_k=asked.top_k,
            vector=asked.vector,
            filters=asked.filter,
            min_score=asked.min_score,
            use=asked.use,
        )
        return _encode(Answer(chunks=[_found(hit) for hit in hits]))

    async def _index(self, sha256: str) -> "Index":
        index = self._loaded.get(sha256)
        if index is not None:
            self._loaded.move_to_end(sha256)
            return index
        task = self._loading.get(sha256)
        if task is None:
            task = self._loading[sha256] = asyncio.create_task(self._load(sha256))
            task.add_done_callback(lambda done: self._loading.pop(sha256, None))
        return await asyncio.shield(task)

    async def _load(self, sha256: str) -> "Index":
        try:
            index = await asyncio.to_thread(_load, self._home, sha256)
        except ValueError as error:
            raise MalformedRequest(f"There is no such version: {error}.") from None
        self._loaded[sha256] = index
        while len(self._loaded) > 1 and (
            len(self._loaded) > _MOST_LOADED or sum(one.size_bytes for one in self._loaded.values()) > MAX_LOADED_BYTES
        ):
            self._loaded.popitem(last=False)
        return index


def _load(home: Path, sha256: str) -> "Index":
    # Imported with the first version that is loaded: numpy is not held where no knowledge base is in use.
    from headgate.retrieval.index import load

    return load(home, sha256)


def _found(hit: "Hit") -> FoundChunk:
    chunk = hit.chunk
    return FoundChunk(
        id=chunk.id,
        text=chunk.text,
        source=chunk.source,
        heading=chunk.heading,
        score=hit.score,
        metadata=chunk.metadata,
        vector_rank=hit.vector_rank,
        keyword_rank=hit.keyword_rank,
        vector_score=hit.vector_score,
        keyword_score=hit.keyword_score,
    )


def _error(error: HeadgateError) -> bytes:
    return _encode({"error": {"message": str(error), "code": error.code, "hint": error.hint}})


async def _body(receive: _Receive) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise MalformedRequest("The question broke off.")
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > MAX_BODY_BYTES:
            raise BodyTooLarge(f"A search has at most {MAX_BODY_BYTES} bytes.")
        if not message.get("more_body", False):
            return b"".join(pieces)
