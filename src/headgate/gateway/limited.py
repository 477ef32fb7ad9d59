"""What a key limited to models may call: only what says, in one way for every reader, which of its models works."""

import re
from collections.abc import Iterable
from itertools import product
from typing import TYPE_CHECKING

from headgate.core.errors import Forbidden
from headgate.gateway.auth import check_model
from headgate.snapshot import KeyEntry
from headgate.wire.members import Member, MemberScan
from headgate.wire.objects import is_of_account, model_in_path

if TYPE_CHECKING:
    from headgate.gateway.incoming import Incoming

MODEL_SPELLINGS = frozenset(map("".join, product(*zip("model", "MODEL", strict=True))))
"""Names that Go's JSON reader, and so Ollama, takes for `model`."""
OTHER_MODELS = frozenset(("models", "fallbacks"))
"""Members by which routers behind us choose another model (OpenRouter, LiteLLM; seen 2026-11)."""

_NAMES = MODEL_SPELLINGS | OTHER_MODELS
_NAME = re.compile(rb'"(?:[mM][oO][dD][eE][lL]s?|fallbacks)"')
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")
"""Two patterns that begin with plain bytes: both together would be searched ten times as slowly."""


def check_limits(incoming: "Incoming", principal: KeyEntry) -> None:
    """Raise Forbidden over a request that may use another model than it names, or reach an object of the account."""
    place, model = incoming.place, incoming.asked.model
    has_body = bool(incoming.body) or incoming.large is not None
    if not place.endpoint.needs_json and model is not None and has_body:
        in_path = model_in_path(place.rest)
        if in_path is not None:
            model = in_path
        elif is_of_account(place.endpoint.dialect, place.rest):
            model = None  # it names a model, but does not only use that
    check_model(principal, model)
    if has_body and incoming.resolved is None:
        check_one_model(principal, _found(incoming))


def check_one_model(principal: KeyEntry, members: Iterable[Member]) -> None:
    """Raise Forbidden over a body with two members that a reader may take for the model, some by the first, some by the
    last, or with one that names models beside it.
    """
    names = [member.name for member in members if member.name in _NAMES]
    if len(names) > 1:
        raise Forbidden(
            f"key {principal.id} is limited to models {', '.join(principal.models)}, "
            f"and this body names models more than once: {', '.join(names)[:100]}.",
            code="model_unreadable",
            hint='Write "model" once, and nothing that names other models.',
        )


def _found(incoming: "Incoming") -> list[Member]:
    if incoming.large is not None:
        return incoming.large.members.found
    body = incoming.body
    # A walk through the body costs ten times more than this look at it.
    escape_at = body.find(b"\\")
    has_escape = escape_at >= 0 and _ESCAPED_LETTER.search(body, escape_at) is not None
    if not has_escape and len(_NAME.findall(body)) <= 1:
        return []
    scan = MemberScan(_NAMES)
    scan.feed(body)
    return scan.found
