"""Searches from the control process, and the chunks behind a logged answer."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headgate.control import kb_embed
from headgate.control.state import ControlApp
from headgate.core.errors import HeadgateError, NotFound, Unavailable
from headgate.registry import kbs
from headgate.registry.kbs import KbVersion
from headgate.retrieval import versions
from headgate.retrieval.model import Chunk, Embedder
from headgate.retrieval.service import Answer, FoundChunk, Search

_TIMEOUT_S = 15.0
_decode = msgspec.json.Decoder(Answer).decode


async def search(
    control: ControlApp, version: KbVersion, asked: Search, key: str | None, *, may_embed: bool = True
) -> list[FoundChunk]:
    """What the retrieval process finds; a routed embedder is called with ``key``. Raises HeadgateError."""
    import httpx2  # the control process starts sooner, and smaller, without it

    embedder = Embedder(model=version.embedder, dimensions=version.embed_asks)
    if not embedder.is_lexical and may_embed and "vectors" in asked.use:
        vector = await kb_embed.query_vector(control, embedder, key, asked.query)
        asked = msgspec.structs.replace(asked, vector=vector)
    transport = httpx2.AsyncHTTPTransport(uds=control.home.socket_address("retrieval"))
    try:
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://retrieval", timeout=_TIMEOUT_S, trust_env=False
        ) as client:
            answer = await client.post("/search", content=msgspec.json.encode(asked))
    except httpx2.HTTPError as error:
        raise Unavailable(
            f"The retrieval process does not answer ({type(error).__name__}).",
            code="kb_unavailable",
            hint="It runs beside a server: headgate serve. It is started again by itself.",
        ) from None
    if answer.status_code != 200:
        told = answer.json()["error"]
        refused = HeadgateError(told["message"], code=told["code"], hint=told["hint"])
        refused.status = answer.status_code
        raise refused
    return _decode(answer.content).chunks


def shown_chunks(control: ControlApp, row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Blocking: the chunks that a logged request saw, in their order; None when it read from no knowledge base.

    A chunk whose version is no longer readable has its id alone.
    """
    if row["kb_name"] is None or row["kb_chunks"] is None:
        return None
    known = _chunks_by_id(control, row["kb_name"], row["kb_version"])
    return [_shown(one, known.get(one)) for one in row["kb_chunks"]]


def _chunks_by_id(control: ControlApp, name: str, number: int | None) -> dict[str, Chunk]:
    if number is None:
        return {}
    try:
        version = kbs.get_kb(control.publisher.registry, name).version(number)
        return {chunk.id: chunk for chunk in versions.read_chunks(control.home.path, version.sha256)}
    except (NotFound, Unavailable):
        return {}


def _shown(identity: str, chunk: Chunk | None) -> dict[str, Any]:
    if chunk is None:
        return {"id": identity, "source": None, "heading": None, "text": None}
    return {"id": identity, "source": chunk.source, "heading": chunk.heading, "text": chunk.text}


def chunks_of_document(control: ControlApp, found: Sequence[KbVersion], document: str) -> dict[int, set[str]]:
    """Blocking: version number to the ids of the document's chunks there; versions without it are left out."""
    ids = {
        version.number: {
            chunk.id for chunk in versions.read_chunks(control.home.path, version.sha256) if chunk.source == document
        }
        for version in found
    }
    return {number: known for number, known in ids.items() if known}
