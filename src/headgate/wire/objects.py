"""Which object of an account a request is about: named in its path, or in the body of what continues or uses it."""

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from headgate.wire.endpoints import Dialect

_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.:-]{2,199}\Z")
_FAMILIES: Mapping[Dialect, frozenset[bytes]] = {
    "openai": frozenset(
        (b"responses", b"conversations", b"files", b"uploads", b"batches", b"fine_tuning/jobs", b"vector_stores")
        + (b"containers", b"assistants", b"threads", b"evals", b"videos", b"videos/characters", b"skills")
        + (b"chat/completions", b"chatkit/sessions", b"chatkit/threads", b"audio/voices", b"audio/voice_consents")
        + (b"agents", b"agents/automations", b"agents/environments", b"agents/environments/templates")
        + (b"agents/sessions", b"vaults", b"realtime/calls", b"live/sessions")
    ),
    "anthropic": frozenset(
        (b"messages/batches", b"files", b"skills", b"agents", b"sessions", b"vaults", b"environments", b"dreams")
        + (b"memory_stores", b"deployments", b"deployment_runs", b"user_profiles", b"tunnels")
    ),
    "inference": frozenset(),
}
"""Collections of objects (openai 3.54, anthropic 2.12)."""
_MOST_WORDS = 3
_CALLS: Mapping[Dialect, frozenset[bytes]] = {
    "openai": frozenset(
        (b"responses/input_tokens", b"responses/compact", b"threads/runs", b"videos/edits", b"videos/extensions")
    ),
    "anthropic": frozenset(),
    "inference": frozenset(),
}
"""What has a call of its own where an id would stand: `POST /v1/responses/input_tokens`."""
_NAMES_ITS_MODEL = frozenset((b"responses/input_tokens", b"responses/compact", b"videos"))
"""Calls below a collection whose body says which model works."""
_SESSIONS = (b"realtime", b"live")
"""What lies below names its model within a session, or hands out keys for one."""
OBJECT_ENDPOINTS = frozenset(("openai.responses", "other"))
"""Whose answers are objects that can be asked for again."""


def object_in_path(dialect: Dialect, rest: bytes) -> str | None:
    """The id in a path below the version prefix, such as `/files/file-abc/content`; None: it names no object.

    Read as a server may that decodes escapes and takes several slashes for one.
    """
    words = _words(rest)
    count = _family(dialect, words)
    if not 0 < count < len(words) or b"/".join(words[: count + 1]) in _CALLS[dialect]:
        return None
    return words[count].decode("ascii") if _ID.match(words[count]) else None


def is_of_account(dialect: Dialect, rest: bytes) -> bool:
    """Whether a path leads to what an account holds, so that a model named in the body says nothing of what is read
    or changed there. Spelt in any case: a server may not tell apart.
    """
    words = _words(rest.lower())
    if words and words[0] in _SESSIONS:
        return True
    return _family(dialect, words) > 0 and b"/".join(words) not in _NAMES_ITS_MODEL


def model_in_path(rest: bytes) -> str | None:
    """The model of `/models/NAME`, however that is spelt; None: the path names none."""
    words = [word for word in unquote_to_bytes(rest).split(b"/") if word]
    if len(words) < 2 or words[0].lower() != b"models":
        return None
    return b"/".join(words[1:]).decode("utf-8", "replace")


def _words(rest: bytes) -> list[bytes]:
    """The path's segments, as far as they matter."""
    path = unquote_to_bytes(rest) if b"%" in rest else rest
    return [word for word in path.split(b"/") if word][: _MOST_WORDS + 2]


def _family(dialect: Dialect, words: list[bytes]) -> int:
    """How many words name the collection that a path begins with; 0: none."""
    families = _FAMILIES[dialect]
    return next((count for count in range(_MOST_WORDS, 0, -1) if b"/".join(words[:count]) in families), 0)


def is_id(text: object) -> bool:
    """Whether a value of a body can be the id of an object."""
    return isinstance(text, str) and text.isascii() and _ID.match(text.encode("ascii")) is not None
