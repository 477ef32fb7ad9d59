"""What the messages of a WebSocket may ask for: the models of the key, by the routes.

A call by HTTP names its model before it is passed on. Here a model may stand in any message, so the messages of a key
that is limited to models are read before they pass, and what cannot be read does not pass.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.core.errors import Forbidden, MalformedRequest
from headgate.gateway.auth import check_model
from headgate.wire.loose import UNREADABLE
from headgate.wire.ws_frames import Message

if TYPE_CHECKING:
    from headgate.gateway.websocket import SocketRelay
    from headgate.snapshot import KeyEntry

_NO_MODEL = frozenset(("response.cancel", "response.steer"))
"""Messages of Responses connections beside `response.create`: they are about a response that was allowed."""
_DEPTH = 16


class _Asked(msgspec.Struct, gc=False):
    type: Any = None
    model: Any = None


_decode = msgspec.json.Decoder(_Asked).decode


class _Twice(ValueError):
    """A name that readers may understand in two ways."""


class SocketGuard:
    """Checks the messages of one client."""

    def __init__(self, relay: "SocketRelay", principal: "KeyEntry") -> None:
        self._relay = relay
        self._principal = principal
        self._is_responses = relay.place.rest == b"/responses"
        self.is_strict = bool(principal.models)

    def check(self, message: Message) -> None:
        """Raises Forbidden, NotFound or MalformedRequest over what may not pass."""
        if message.kind not in ("text", "binary"):
            return
        if self.is_strict:
            self._check_strictly(message)
        if self._is_responses and message.kind == "text" and message.is_whole:
            self._check_route(message.data)

    def check_readable(self, has_missed: bool) -> None:
        """Raises Forbidden where something of a limited key could pass unread."""
        if self.is_strict and has_missed:
            raise self._unreadable("cannot be read")

    def _check_strictly(self, message: Message) -> None:
        if not message.is_whole:
            raise self._unreadable("is too long to be read, or there is no memory for it now")
        if message.kind == "binary":
            raise self._unreadable("is binary")
        try:
            event = json.loads(message.data.decode("utf-8"), object_pairs_hook=_once)
        except _Twice as error:
            raise self._unreadable(f'names "{error}" twice') from None
        except (ValueError, RecursionError):
            raise self._unreadable("is no JSON") from None
        if not isinstance(event, dict):
            raise self._unreadable("is no JSON object")
        if not self._is_responses:
            self._check_session(event)
        elif event.get("type") == "response.create":
            model = event.get("model")
            check_model(self._principal, model if isinstance(model, str) else None)
        elif event.get("type") not in _NO_MODEL:
            raise self._unreadable(f"has the type {str(event.get('type'))[:60]!r}, which is not known here")

    def _check_session(self, event: dict[str, Any]) -> None:
        try:
            models = list(_models_in(event))
        except RecursionError:
            raise self._unreadable("is nested too deep") from None
        for model in models:
            check_model(self._principal, model)

    def _check_route(self, data: bytes) -> None:
        """A response goes where this connection goes, so its model must lead there, under its own name."""
        try:
            asked = _decode(data)
        except UNREADABLE:
            return
        model, relay = asked.model, self._relay
        if asked.type != "response.create" or not isinstance(model, str) or relay.handle is None:
            return
        here = relay.handle.upstream.name
        targets = relay.worker.plan(relay.place.endpoint.dialect, model).targets
        if any(target.upstream == here and target.model in (None, model) for target in targets):
            return
        led = ", ".join(f"{target.upstream} as {target.model or model}" for target in targets)
        raise MalformedRequest(
            f'model "{model[:200]}" leads to {led[:300]}; this WebSocket is connected to upstream "{here}".',
            code="model_elsewhere",
            hint="Choose the upstream when connecting (?model=…), and name models as it does.",
        )

    def _unreadable(self, why: str) -> Forbidden:
        key = self._principal
        return Forbidden(
            f"key {key.id} is limited to models {', '.join(key.models)}, and a message {why}.",
            code="model_unreadable",
            hint="Send one JSON object a message, its model named once, or use a key without --models.",
        )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for name, _ in pairs:
        lowered = name.lower()  # Go's JSON reader takes "Model" for "model"
        if lowered in seen:
            raise _Twice(lowered[:60])
        seen.add(lowered)
    return dict(pairs)


def _models_in(value: Any, depth: int = _DEPTH) -> Iterator[str]:
    """Every model named in a message: that of a session's transcriptions too. Raises RecursionError."""
    if not depth:
        raise RecursionError
    for name, part in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(name, str) and name.lower() == "model" and isinstance(part, str):
            yield part
        elif isinstance(part, dict | list):
            yield from _models_in(part, depth - 1)
