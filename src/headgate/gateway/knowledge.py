"""Grounding a call: the knowledge base it reads from, the chunks found there, and the body that has them.

Imported when the first such call comes. The search runs in the retrieval process; the worker waits for it without
blocking, within a time limit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.core.errors import Forbidden, HeadgateError, MalformedRequest, Unavailable
from headgate.gateway.fetch import fetch
from headgate.gateway.inner import embed
from headgate.gateway.upstream import Origin
from headgate.gateway.worker import Worker
from headgate.prompts.model import Knowledge
from headgate.prompts.reference import Reference, parse_reference
from headgate.snapshot import KbVersionEntry, Snapshot
from headgate.wire.grounding import query_of, with_context

if TYPE_CHECKING:
    from headgate.gateway.incoming import Incoming
    from headgate.gateway.relay import Relay

SEARCH_TIMEOUT_S = 10.0
"""The first search of a version loads it."""
_ANSWER_LIMIT = 8 << 20
_HEADER_TOP_K = 4
_LEXICAL = "lexical"
Chunk = Mapping[str, Any]


class _Found(msgspec.Struct):
    chunks: list[dict[str, Any]]


class _Error(msgspec.Struct):
    message: str
    code: str
    hint: str


class _Refused(msgspec.Struct):
    error: _Error


_decode_found = msgspec.json.Decoder(_Found).decode
_decode_refused = msgspec.json.Decoder(_Refused).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a call asks of a knowledge base; ``finish`` makes the body to send of the chunks."""

    name: str
    version: KbVersionEntry
    knowledge: Knowledge
    query: str
    finish: Callable[[Sequence[Chunk]], bytes]


def wanted_of_prompt(
    snapshot: Snapshot, knowledge: Knowledge, query: str, finish: Callable[[Sequence[Chunk]], bytes]
) -> Wanted:
    """What a stored prompt asks: the version it is pinned to. Raises NotFound."""
    reference = parse_reference(knowledge.kb)
    version = _version(snapshot, reference)
    return Wanted(name=reference.name, version=version, knowledge=knowledge, query=query, finish=finish)


def wanted_by_header(incoming: "Incoming") -> Wanted:
    """What `x-headgate-kb: name@ref` asks. With a stored prompt that reads from this knowledge base it is read in the
    version named instead of the pinned one, which takes the role developer; without one, the chunks that fit the last
    question go with the call as further instructions. Raises RequestError.
    """
    reference = parse_reference(incoming.head.own_text(b"kb") or "")
    version = _version(incoming.worker.snapshot, reference)
    prompts = incoming.wanted
    if prompts is not None:
        if prompts.name != reference.name:
            raise MalformedRequest(
                f'the prompt reads from "{prompts.name}", x-headgate-kb names "{reference.name}".', code="kb_conflict"
            )
        if incoming.principal is None or incoming.principal.role == "app":
            raise Forbidden(
                "x-headgate-kb asks a stored prompt to read another version than it is pinned to; "
                "this key has the role app.",
                hint="Leave the header out, or use a key of the role developer.",
            )
        return Wanted(
            name=prompts.name,
            version=version,
            knowledge=prompts.knowledge,
            query=prompts.query,
            finish=prompts.finish,
        )
    endpoint, body = incoming.place.endpoint.name, incoming.plain_body
    knowledge = Knowledge(kb=f"{reference.name}@{version.number}", query="", top_k=_HEADER_TOP_K)
    return Wanted(
        name=reference.name,
        version=version,
        knowledge=knowledge,
        query=query_of(endpoint, body),
        finish=lambda chunks: with_context(endpoint, body, knowledge.kb, chunks),
    )


def _version(snapshot: Snapshot, reference: Reference) -> KbVersionEntry:
    return snapshot.kb(reference.name, number=reference.number, alias=reference.alias)


def stamp(incoming: "Incoming", wanted: Wanted) -> None:
    """Tell the log and the caller which version is read."""
    incoming.asked.identity["kb_name"] = wanted.name
    incoming.asked.identity["kb_version"] = wanted.version.number
    incoming.prompt_line += f"x-headgate-kb: {wanted.name}@{wanted.version.number}\r\n".encode()


async def ground(relay: "Relay", wanted: Wanted) -> None:
    """Find the chunks and give the relay its body. Raises HeadgateError, unless the prompt goes on without them."""
    try:
        chunks = await _chunks(relay, wanted)
    except HeadgateError:
        if wanted.knowledge.on_error != "empty":
            raise
        chunks = []
    relay.asked.identity["kb_chunks"] = [chunk["id"] for chunk in chunks]
    relay.resolved = wanted.finish(chunks)


async def _chunks(relay: "Relay", wanted: Wanted) -> list[dict[str, Any]]:
    worker, version, knowledge = relay.worker, wanted.version, wanted.knowledge
    if not wanted.query.strip():
        return []
    vector = None
    if version.embedder != _LEXICAL:
        assert relay.principal is not None
        vector = await embed(worker, relay.principal, relay.head, version.embedder, version.embed_asks, wanted.query)
    asked = {
        "version": version.sha256,
        "query": wanted.query[:8000],
        "top_k": knowledge.top_k,
        "vector": vector,
        "filter": knowledge.filter,
        "min_score": knowledge.min_score,
    }
    return await search(worker, f"{wanted.name}@{version.number}", asked)


async def search(worker: Worker, label: str, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The chunks that the retrieval process finds. Raises HeadgateError."""
    origin = Origin(
        host="retrieval",
        port=80,
        is_tls=False,
        base_path=b"",
        socket_path=worker.home.socket_address("retrieval"),
    )
    body = _encode(asked)
    request = b"POST /search HTTP/1.1\r\nhost: retrieval\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    try:
        got = await fetch(worker.pool(origin), request, timeout_s=SEARCH_TIMEOUT_S, limit_bytes=_ANSWER_LIMIT)
    except (OSError, TimeoutError) as error:
        why = f"not within {SEARCH_TIMEOUT_S:g} s" if isinstance(error, TimeoutError) else str(error) or "it is down"
        raise Unavailable(
            f"the retrieval process did not answer for {label}: {why}.",
            code="kb_unavailable",
            hint="It is started again by itself; try again in a moment.",
        ) from None
    if got.status == 200:
        return _decode_found(got.body).chunks
    error_of = _decode_refused(got.body).error
    refused = Unavailable(f"{label} cannot be searched: {error_of.message}", code=error_of.code, hint=error_of.hint)
    refused.status = got.status
    raise refused
