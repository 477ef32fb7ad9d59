"""Who asks, and may they: keys and sessions to a principal, and the role every route states for itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import Request

from headgate.control.keyring import Keyring
from headgate.control.session import COOKIE, Session, Sessions
from headgate.core.errors import Forbidden, KeyRefused
from headgate.core.settings import Server
from headgate.snapshot import ROLES, KeyEntry, Role

Need = Role | Literal["open"]
OPEN: Literal["open"] = "open"
"""Stated by the few routes that need no key: the sign-in page, its style sheet, and the door to it."""

_BEARER = "bearer "
_KEY_PREFIX = "hg_"
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_KEY_HINT = "Create one: headgate key create --name my-tool --role developer."


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Someone who asks, with what they may do."""

    key_id: str | None  # None: no key was needed
    name: str
    role: Role
    project: str
    via: Literal["key", "session", "open", "nobody"]
    session: Session | None = None

    @property
    def sees_project(self) -> str | None:
        """The only project whose requests may be read; None: all of them.

        A key made for no project in particular is bound to none.
        """
        return None if self.via == "open" or self.role == "admin" or self.project == "default" else self.project

    def require_every_project(self, what: str) -> None:
        """Refuse someone who sees one project only what tells of all of them."""
        if self.sees_project is not None:
            raise Forbidden(
                f'headgate: key "{self.name}" sees the project {self.project} only, and {what} all of them.',
                hint="Use /api/requests or /api/cost, or a key that is bound to no project.",
            )

    def may(self, need: Need) -> bool:
        """Whether this role is enough."""
        return need == OPEN or ROLES.index(self.role) >= ROLES.index(need)


NOBODY = Principal(key_id=None, name="nobody", role="app", project="default", via="nobody")
"""Who asks on an open route without a key."""


class Access:
    """The one place where a request to the control process becomes a principal."""

    def __init__(self, server: Server, keyring: Keyring, sessions: Sessions) -> None:
        self._server, self._keyring, self._sessions = server, keyring, sessions

    @property
    def needs_key(self) -> bool:
        """Whether a request without a key is turned away."""
        return self._server.require_key

    def principal(self, request: Request) -> Principal | None:
        """Who asks; None when no key came and one is needed. A bad `hg_` key is always refused."""
        text = given_key(request.headers)
        if text is not None and text.startswith(_KEY_PREFIX):
            return _principal(self._keyring.entry(text), "key")
        session = self._sessions.find(request.cookies.get(COOKIE))
        if session is not None:
            entry = self._keyring.entry_of_digest(session.key_digest)
            if entry is not None:
                return _principal(entry, "session", session)
            self._sessions.end(request.cookies.get(COOKIE))
        if not self.needs_key:
            return Principal(key_id=None, name="no key needed", role="admin", project="default", via="open")
        if text is not None:
            raise KeyRefused(f'headgate: "{_masked(text)}" is not a Headgate key.', hint=_KEY_HINT)
        return None

    def require(self, principal: Principal | None, need: Need) -> None:
        """Refuse unless the principal's role is enough."""
        if need == OPEN:
            return
        if principal is None:
            raise KeyRefused(
                "headgate: this needs a Headgate key and none came.",
                code="key_missing",
                hint="Send it as x-headgate-key, set HEADGATE_API_KEY, or sign in at /ui/login.",
            )
        if not principal.may(need):
            raise Forbidden(
                f'headgate: key "{principal.name}" has the role {principal.role}; this needs {need}.',
                hint=f"Use a key created with --role {need}.",
            )

    def check_origin(self, request: Request) -> None:
        """Refuse a change that a page of another site asked for."""
        if request.method in _SAFE_METHODS:
            return
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Forbidden("headgate: a page of another site asked for this change.", code="foreign_origin")
        origin = request.headers.get("origin")
        if origin is not None and not self._is_own(origin, request.headers.get("host", "")):
            raise Forbidden(
                f'headgate: the origin "{origin[:100]}" may not change anything here.',
                code="foreign_origin",
                hint="Behind a proxy, keep the Host header and name it under [server] hosts.",
            )

    def _is_own(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
            name = parts.hostname
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not name:
            return False
        return parts.netloc.lower() == host.lower() or name in self._server.hosts


def given_key(headers: Mapping[str, str]) -> str | None:
    """The credential of a request: `x-headgate-key` first, then the places where SDKs put theirs."""
    own = headers.get("x-headgate-key")
    if own is not None:
        # Whatever stands here was meant for us, so a wrong one is never overlooked.
        return own.strip() if own.strip().startswith(_KEY_PREFIX) else _KEY_PREFIX + own.strip()
    bearer = headers.get("authorization", "")
    candidates = [
        bearer[len(_BEARER) :].strip() if bearer.lower().startswith(_BEARER) else "",
        headers.get("x-api-key", "").strip(),
        headers.get("api-key", "").strip(),
    ]
    ours = [text for text in candidates if text.startswith(_KEY_PREFIX)]
    return next(iter([*ours, *(text for text in candidates if text)]), None)


def _principal(entry: KeyEntry, via: Literal["key", "session"], session: Session | None = None) -> Principal:
    return Principal(key_id=entry.id, name=entry.name, role=entry.role, project=entry.project, via=via, session=session)


def _masked(text: str) -> str:
    return f"{text[:4]}…" if len(text) > 8 else "…"
