"""Which object of an account a request is about: named in its path, or in the body of what continues or uses it."""

import re
from collections.abc import Mapping

from headgate.wire.endpoints import Dialect

_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.:-]{2,199}\Z")
_FAMILIES: Mapping[Dialect, frozenset[bytes]] = {
    "openai": frozenset(
        (b"responses", b"conversations", b"files", b"uploads", b"batches", b"fine_tuning/jobs", b"vector_stores")
        + (b"containers", b"assistants", b"threads", b"evals", b"videos", b"skills", b"chat/completions")
    ),
    "anthropic": frozenset((b"messages/batches", b"files", b"skills", b"agents", b"sessions", b"vaults")),
    "inference": frozenset(),
}
_NO_IDS = frozenset((b"input_tokens", b"compact", b"runs"))
"""What stands in the place of an id and is a call of its own: `POST /v1/responses/input_tokens`."""
OBJECT_ENDPOINTS = frozenset(("openai.responses", "other"))
"""Whose answers are objects that can be asked for again."""


def object_in_path(dialect: Dialect, rest: bytes) -> str | None:
    """The id in a path below the version prefix, such as `/files/file-abc/content`; None: it names no object."""
    words = rest.split(b"/", 4)[1:]
    for count in (2, 1):
        if len(words) > count and b"/".join(words[:count]) in _FAMILIES[dialect]:
            found = words[count]
            return found.decode("ascii") if found not in _NO_IDS and _ID.match(found) else None
    return None


def is_id(text: object) -> bool:
    """Whether a value of a body can be the id of an object."""
    return isinstance(text, str) and text.isascii() and _ID.match(text.encode("ascii")) is not None
