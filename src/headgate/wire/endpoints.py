"""Which API surface a path belongs to, and what is known about the endpoint behind it."""

from dataclasses import dataclass
from typing import Literal

Dialect = Literal["openai", "anthropic", "inference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An API operation as the log names it (CONTRACT, column `endpoint`)."""

    name: str
    dialect: Dialect
    is_observed: bool  # the answer is read for usage, model, finish reason
    needs_json: bool  # a body that is no JSON object is refused before the upstream is called


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a request path points: its endpoint and what follows the version prefix."""

    endpoint: Endpoint
    rest: bytes  # starts with "/": what is put behind the upstream's base URL


def _observed(name: str, dialect: Dialect) -> Endpoint:
    return Endpoint(name=name, dialect=dialect, is_observed=True, needs_json=True)


OTHER: dict[Dialect, Endpoint] = {
    "openai": Endpoint(name="other", dialect="openai", is_observed=False, needs_json=False),
    "anthropic": Endpoint(name="other", dialect="anthropic", is_observed=False, needs_json=False),
}
MODELS: dict[Dialect, Endpoint] = {
    "openai": Endpoint(name="other", dialect="openai", is_observed=False, needs_json=False),
    "anthropic": Endpoint(name="other", dialect="anthropic", is_observed=False, needs_json=False),
}
"""The list of models: answered by the gateway, so told apart from OTHER by identity."""
MISPLACED: dict[Dialect, Endpoint] = {
    "openai": Endpoint(name="other", dialect="openai", is_observed=False, needs_json=False),
    "anthropic": Endpoint(name="other", dialect="anthropic", is_observed=False, needs_json=False),
}
"""What a client asks for whose base URL is misspelt: `/v1/v1/…`, or an API path without `/v1`."""
INFER = Endpoint(name="model.infer", dialect="inference", is_observed=False, needs_json=False)
"""A call of a classic model: Open Inference Protocol V2 below /v2, MLflow scoring at /models/…/invocations."""
ABOUT_MODELS = Endpoint(name="other", dialect="inference", is_observed=False, needs_json=False)
"""What these protocols ask beside calls: health, metadata, the repository's index."""
COUNT_TOKENS = Endpoint(name="other", dialect="anthropic", is_observed=False, needs_json=True)

_POST: dict[Dialect, dict[bytes, Endpoint]] = {
    "openai": {
        b"/chat/completions": _observed("openai.chat", "openai"),
        b"/completions": _observed("openai.completions", "openai"),
        b"/embeddings": _observed("openai.embeddings", "openai"),
        b"/responses": _observed("openai.responses", "openai"),
    },
    "anthropic": {
        b"/messages": _observed("anthropic.messages", "anthropic"),
        b"/messages/count_tokens": COUNT_TOKENS,
    },
}
_MOUNTS: tuple[tuple[bytes, Dialect | None], ...] = (
    (b"/v1", None),
    (b"/openai/v1", "openai"),
    (b"/anthropic/v1", "anthropic"),
)


def _hot_places() -> dict[bytes, Place]:
    places = {}
    for dialect, paths in _POST.items():
        for rest, endpoint in paths.items():
            for prefix, mounted in _MOUNTS:
                if mounted in (None, dialect):
                    places[prefix + rest] = Place(endpoint=endpoint, rest=rest)
    return places


_HOT = _hot_places()
_API_WORDS = frozenset((b"chat", b"completions", b"embeddings", b"responses", b"messages", b"models", b"realtime"))


def place_of(method: bytes, path: bytes, *, speaks_anthropic: bool) -> Place | None:
    """The place of ``path`` (raw, without query), or None when it is no API path, not even a misspelt one.

    ``speaks_anthropic``: the request carries `anthropic-version`, which tells the two vendors'
    colliding paths apart (both own /v1/models, /v1/files and more).
    """
    if method == b"POST" and (hot := _HOT.get(path)) is not None:
        return hot
    if path[:3] == b"/v2" and path[3:4] in (b"", b"/"):
        return Place(endpoint=INFER if path.endswith(b"/infer") else ABOUT_MODELS, rest=path[3:] or b"/")
    if path.startswith(b"/models/") and path.endswith(b"/invocations"):
        return Place(endpoint=INFER, rest=path)
    for prefix, mounted in _MOUNTS:
        rest = path[len(prefix) :]
        if not path.startswith(prefix) or not rest.startswith(b"/"):
            continue
        dialect: Dialect = mounted or ("anthropic" if speaks_anthropic or _is_messages(rest) else "openai")
        if rest.startswith(b"/v1/"):
            return Place(endpoint=MISPLACED[dialect], rest=rest)
        if method == b"GET" and rest == b"/models":
            return Place(endpoint=MODELS[dialect], rest=rest)
        return Place(endpoint=OTHER[dialect], rest=rest)
    if path.split(b"/", 2)[1:2] and path.split(b"/", 2)[1] in _API_WORDS:
        return Place(endpoint=MISPLACED["anthropic" if speaks_anthropic else "openai"], rest=path)
    return None


def _is_messages(rest: bytes) -> bool:
    return rest == b"/messages" or rest.startswith(b"/messages/")
