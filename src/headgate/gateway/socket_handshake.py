"""What is read and rewritten of a WebSocket handshake: a key among the subprotocols, the model in the query."""

from urllib.parse import parse_qsl, quote, unquote_plus

from headgate.core.errors import MalformedRequest
from headgate.gateway.head import Headers
from headgate.wire.endpoints import place_of

_KEY_PROTOCOL = b"openai-insecure-api-key."
"""How browsers send a key, which cannot set headers (OpenAI's realtime guide, seen 2026-11)."""

_OTHER_NAMES = frozenset(("call_id", "deployment"))
"""Of a call that someone began (OpenAI), and of Azure's for a model."""


def prepared(path: bytes, headers: Headers, *, is_busy: bool) -> Headers:
    """The headers of a handshake, a key among the subprotocols moved to where keys are looked for. Raises
    MalformedRequest where no WebSocket can begin.
    """
    place = place_of(b"GET", path, speaks_anthropic=False)
    if place is None or place.endpoint.dialect == "inference":
        raise MalformedRequest("WebSockets are relayed below /v1 only.", code="upgrade_unsupported")
    if is_busy:
        raise MalformedRequest("a WebSocket cannot begin behind another request.", code="upgrade_unsupported")
    names = {name.lower() for name, value in headers if value != b"0"}
    if b"content-length" in names or b"transfer-encoding" in names:
        raise MalformedRequest("a WebSocket handshake has no body.", code="bad_framing")
    return _with_key_of_protocol(headers, names)


def _with_key_of_protocol(headers: Headers, names: set[bytes]) -> Headers:
    found: bytes | None = None
    kept: Headers = []
    for name, value in headers:
        if name.lower() == b"sec-websocket-protocol" and (_KEY_PROTOCOL in value.lower() or b"hg_" in value):
            tokens = [token.strip() for token in value.split(b",")]
            keys = [token[len(_KEY_PROTOCOL) :] for token in tokens if token.lower().startswith(_KEY_PROTOCOL)]
            found = keys[0] if keys else found
            value = b", ".join(
                token for token in tokens if not token.lower().startswith(_KEY_PROTOCOL) and b"hg_" not in token
            )  # our own key travels nowhere, whatever it is called
            if not value:
                continue
        kept.append((name, value))
    if found is None:
        return kept
    if found.startswith(b"hg_"):
        if b"x-headgate-key" not in names:
            kept.append((b"x-headgate-key", found))
    elif b"authorization" not in names:
        kept.append((b"authorization", b"Bearer " + found))
    return kept


def model_asked(target: bytes) -> str | None:
    """The model in the query. Raises MalformedRequest where it has two."""
    models = [(name, value) for name, value in _query(target) if name.lower() == "model"]
    if len(models) > 1:
        raise MalformedRequest("the query names more than one model.", code="model_twice")
    return next((value or None for name, value in models if name == "model"), None)


def joins_another(target: bytes) -> bool:
    """Whether the query leads to a session that is there already, or by another name to a model."""
    return any(name.lower() in _OTHER_NAMES for name, _ in _query(target))


def _query(target: bytes) -> list[tuple[str, str]]:
    return parse_qsl(target.partition(b"?")[2].decode("latin-1"), keep_blank_values=True)


def with_model(target: bytes, model: str) -> bytes:
    """``target`` with another model in its query, if it names one."""
    path, mark, query = target.partition(b"?")
    parts = query.split(b"&")
    for index, part in enumerate(parts):
        if unquote_plus(part.partition(b"=")[0].decode("latin-1")) == "model":
            parts[index] = b"model=" + quote(model, safe="").encode()
    return path + mark + b"&".join(parts)
