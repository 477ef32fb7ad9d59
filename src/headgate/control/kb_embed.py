"""Embeddings through the gateway: every call is routed, priced and in the log like any other, with its own purpose."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request

from headgate.control.access import given_key
from headgate.core.errors import HeadgateError, Unavailable, UpstreamUnreachable
from headgate.core.ids import now_us
from headgate.core.routing import route_for
from headgate.pricing.tokens import estimate
from headgate.pricing.usage import Usage
from headgate.retrieval.model import Embedder

if TYPE_CHECKING:
    from headgate.control.state import ControlApp

BATCH = 64
_TRIES = 4
_PAUSE_S = 0.5
_TIMEOUT_S = 120.0
_AGAIN = (408, 409, 429, 500, 502, 503, 504, 529)


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Vectors in the order of their texts, and the tokens that the upstream counted (None: it did not say)."""

    vectors: list[list[float]]
    tokens: int | None


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Vector]
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class GatewayEmbedder:
    """Calls `/v1/embeddings` of this server with the key of whoever asked."""

    def __init__(self, control: "ControlApp", embedder: Embedder, key: str | None, tags: Mapping[str, str]) -> None:
        import httpx2  # the control process starts sooner, and smaller, without it

        info = control.home.server()
        if info is None:
            raise Unavailable("No gateway serves this home, so nothing can be embedded.", hint="headgate serve")
        headers = {"x-headgate-purpose": "embedding", "user-agent": "headgate-kb"}
        headers |= {f"x-headgate-tag-{name}": value for name, value in tags.items()}
        if key is not None:
            headers["x-headgate-key"] = key
        self._embedder = embedder
        self._http = httpx2.AsyncClient(base_url=info.url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """The vectors of some texts; tried again where that may help. Raises HeadgateError."""
        import httpx2

        body: dict[str, Any] = {"model": self._embedder.model, "input": list(texts), "encoding_format": "float"}
        if self._embedder.dimensions is not None:
            body["dimensions"] = self._embedder.dimensions
        for attempt in range(1, _TRIES + 1):
            try:
                answer = await self._http.post("/v1/embeddings", json=body)
            except httpx2.HTTPError as error:
                failure = f"{type(error).__name__} {error}"
            else:
                if answer.status_code == 200:
                    return self._read(answer.content, len(texts))
                failure = f"{answer.status_code}: {answer.text[:300]}"
                if answer.status_code not in _AGAIN:
                    break
            if attempt < _TRIES:
                await asyncio.sleep(_PAUSE_S * 2 ** (attempt - 1))
        raise UpstreamUnreachable(
            f'The embedding model "{self._embedder.model}" gave no vectors ({failure}).', code="kb_embedding"
        )

    def _read(self, content: bytes, wanted: int) -> Embedded:
        try:
            answer = _decode(content)
        except msgspec.MsgspecError as error:
            raise UpstreamUnreachable(f"The embeddings cannot be read: {error}.", code="kb_embedding") from None
        vectors = [one.embedding for one in sorted(answer.data, key=lambda one: one.index)]
        if len(vectors) != wanted or not all(vectors):
            raise UpstreamUnreachable(
                f"{wanted} texts were sent, {len(vectors)} vectors came back.", code="kb_embedding"
            )
        return Embedded(vectors=vectors, tokens=answer.usage.prompt_tokens if answer.usage else None)


def key_of(request: Request) -> str | None:
    """The Headgate key that a request carries, to call the gateway in its name."""
    key = given_key(request.headers)
    return key if key is not None and key.startswith("hg_") else None


async def query_vector(control: "ControlApp", embedder: Embedder, key: str | None, query: str) -> list[float]:
    """The vector of one question; raises HeadgateError."""
    caller = GatewayEmbedder(control, embedder, key, {})
    try:
        return (await caller.embed([query])).vectors[0]
    finally:
        await caller.close()


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What embedding takes; ``usd`` None: unpriced, with the reason."""

    tokens: int | None
    usd: Decimal | None
    reason: str | None
    is_estimate: bool


def estimated_cost(control: "ControlApp", model: str, texts: Sequence[str]) -> Cost:
    """Blocking: what embedding the texts will cost, about."""
    if not texts:
        return Cost(tokens=0, usd=Decimal(0), reason=None, is_estimate=True)
    return _cost(control, model, estimate("openai.embeddings", model, "\n".join(texts), ""), is_estimate=True)


def counted_cost(control: "ControlApp", model: str, tokens: int | None) -> Cost:
    """What embedding has cost by the tokens that the upstream counted."""
    if tokens == 0:
        return Cost(tokens=0, usd=Decimal(0), reason=None, is_estimate=False)
    if tokens is None:
        return Cost(tokens=None, usd=None, reason="the upstream counted no tokens", is_estimate=False)
    usage = Usage(source="provider", input_tokens=tokens, output_tokens=0)
    return _cost(control, model, usage, is_estimate=False)


def _cost(control: "ControlApp", model: str, usage: Usage, *, is_estimate: bool) -> Cost:
    route = route_for(control.settings, model)
    targets = route.targets if route is not None else ()
    target = next((one for one in targets if control.settings.upstreams[one.upstream].speaks("openai")), None)
    if target is None:
        raise HeadgateError(f'No route leads model "{model}" to an upstream that embeds.', code="no_route")
    upstream = control.settings.upstreams[target.upstream]
    found = control.catalog.price(
        provider=upstream.provider,
        upstream=upstream.name,
        model=target.model or model,
        at_us=now_us(),
        endpoint="openai.embeddings",
        usage=usage,
    )
    return Cost(tokens=usage.input_tokens, usd=found.cost_usd, reason=found.reason, is_estimate=is_estimate)
