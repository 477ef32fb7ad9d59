"""Who calls: the Headgate key of a request, looked up in the snapshot. No I/O."""

import hashlib
from fnmatch import fnmatchcase
from functools import lru_cache

from headgate.core.errors import Forbidden, KeyRefused
from headgate.core.ids import now_us, utc
from headgate.gateway.head import RequestHead
from headgate.snapshot import KeyEntry, Snapshot

OPEN = KeyEntry(id="", name="open", role="admin", project="default", models=(), expires_at_us=None, revoked_at_us=None)
"""The principal of a request without a key, on loopback without `require_key`."""
_SHAPES = (("sk-ant-", "Anthropic's"), ("sk-", "OpenAI's"), ("gsk_", "Groq's"), ("AIza", "Google's"))


def headgate_key(head: RequestHead) -> bytes | None:
    """The Headgate key a request carries, from any of the places CONTRACT names; None when it carries none."""
    if (own := head.own.get(b"key")) is not None:
        return own
    noted = head.noted
    bearer = noted.get(b"authorization")
    if bearer is not None and bearer[:7].lower() == b"bearer " and bearer[7:10] == b"hg_":
        return bearer[7:].strip()
    for name in (b"x-api-key", b"api-key"):
        value = noted.get(name)
        if value is not None and value.startswith(b"hg_"):
            return value
    return None


def principal_of(head: RequestHead, snapshot: Snapshot) -> KeyEntry:
    """The key entry behind a request. Raises KeyRefused."""
    key = headgate_key(head)
    if key is None:
        if not snapshot.settings.server.require_key:
            return OPEN
        raise _missing(head)
    digest = head.key_digest
    if digest is None:
        digest = head.key_digest = hashlib.sha256(key).hexdigest()
    entry = snapshot.keys.get(digest)
    if entry is None:
        raise KeyRefused(
            f'"{_shown(key)}" is not a key of this gateway.',
            code="key_unknown",
            hint="Create one: headgate key create --name my-app",
        )
    if entry.revoked_at_us is not None and entry.revoked_at_us <= now_us():
        raise KeyRefused(
            f'key {entry.id} ("{entry.name}") was revoked on {utc(entry.revoked_at_us):%Y-%m-%d %H:%M} UTC.',
            code="key_revoked",
            hint="Create another: headgate key create --name my-app",
        )
    if entry.expires_at_us is not None and entry.expires_at_us <= now_us():
        raise KeyRefused(
            f'key {entry.id} ("{entry.name}") expired on {utc(entry.expires_at_us):%Y-%m-%d %H:%M} UTC.',
            code="key_expired",
            hint=f"Replace it: headgate key rotate {entry.id}",
        )
    return entry


def _missing(head: RequestHead) -> KeyRefused:
    for _, value in head.credentials():
        text = value.decode("latin-1").removeprefix("Bearer ").strip()
        for prefix, owner in _SHAPES:
            if text.startswith(prefix):
                return KeyRefused(
                    f'"{_shown(text.encode("latin-1"))}" is not a Headgate key; it looks like {owner}.',
                    code="key_missing",
                    hint='Create one (headgate key create --name my-app) or set auth = "caller" on the upstream '
                    "and send the Headgate key by x-headgate-key.",
                )
    return KeyRefused(
        "this gateway asks for a Headgate key and the request carries none.",
        code="key_missing",
        hint="Send `Authorization: Bearer hg_…` or `x-headgate-key: hg_…`; create one: "
        "headgate key create --name my-app",
    )


def _shown(key: bytes) -> str:
    text = key[:4].decode("ascii", "replace")
    return f"{text}…"


def check_model(principal: KeyEntry, model: str | None) -> None:
    """Raise Forbidden when a key limited to models may not call ``model`` (None: no model was read)."""
    if not principal.models:
        return
    if model is None:
        raise Forbidden(
            f"key {principal.id} is limited to models {', '.join(principal.models)}, "
            "and no model can be read from this request.",
            code="model_unreadable",
            hint="Call an endpoint that names its model, or use a key without --models.",
        )
    if not _fits(model, principal.models):
        raise Forbidden(
            f'key {principal.id} may not call model "{model}". Its models: {", ".join(principal.models)}.',
            code="model_forbidden",
            hint="Use one of them, or create a key with --models.",
        )


@lru_cache(1024)
def _fits(model: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model, glob) for glob in globs)
