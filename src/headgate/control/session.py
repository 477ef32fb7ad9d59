"""Browser sessions: a key exchanged for a random cookie, held in memory only, so a restart signs everyone out."""

import hashlib
import hmac
import secrets
from collections import deque
from dataclasses import dataclass

from headgate.core.ids import monotonic_s

COOKIE = "__Host-headgate"
IDLE_S = 30 * 60.0
ABSOLUTE_S = 12 * 3600.0
MAX_SESSIONS = 1000
MAX_FAILURES = 10
FAILURES_S = 60.0


@dataclass(slots=True, kw_only=True)
class Session:
    """One signed-in browser; the key behind it is looked up again at every request, so a revoked key ends it."""

    key_digest: str
    csrf: str
    began_s: float
    seen_s: float


class Sessions:
    """The sessions of this process, by the digest of their cookie; bounded, the oldest leaves first."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._open_csrf = secrets.token_urlsafe(24)
        self._failures: deque[float] = deque(maxlen=MAX_FAILURES)  # when the newest refused keys came

    def may_try(self) -> bool:
        """Whether a key may be tried: fewer than ten were refused in the last minute, by all browsers together."""
        return len(self._failures) < MAX_FAILURES or monotonic_s() - self._failures[0] > FAILURES_S

    def note_failure(self) -> None:
        """A key was refused."""
        self._failures.append(monotonic_s())

    def begin(self, key_digest: str) -> str:
        """Start a session for a key and return the cookie's value, which is kept nowhere else."""
        if len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda at: self._sessions[at].seen_s)]
        token, now = secrets.token_urlsafe(32), monotonic_s()
        self._sessions[_digest(token)] = Session(
            key_digest=key_digest, csrf=secrets.token_urlsafe(24), began_s=now, seen_s=now
        )
        return token

    def find(self, token: str | None) -> Session | None:
        """The live session of a cookie; 30 idle minutes or 12 hours end it."""
        if not token:
            return None
        digest = _digest(token)
        session = self._sessions.get(digest)
        if session is None:
            return None
        now = monotonic_s()
        if now - session.seen_s > IDLE_S or now - session.began_s > ABSOLUTE_S:
            del self._sessions[digest]
            return None
        session.seen_s = now
        return session

    def end(self, token: str | None) -> None:
        """Forget a session; an unknown one is already forgotten."""
        if token:
            self._sessions.pop(_digest(token), None)

    def csrf_token(self, session: Session | None) -> str:
        """The token a form must send back: the session's own, or this process's where no key is required."""
        return self._open_csrf if session is None else session.csrf

    def is_csrf_token(self, session: Session | None, token: str) -> bool:
        """Whether a form's token is the one this browser was given."""
        return hmac.compare_digest(self.csrf_token(session).encode(), token.encode())

    def __len__(self) -> int:
        return len(self._sessions)


def set_cookie(token: str) -> str:
    """The Set-Cookie value that hands a session to the browser.

    Browsers keep a Secure cookie over plain HTTP on loopback names only (Chromium 156 tried 2026-11), so anywhere
    else the pages need TLS in front.
    """
    return f"{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict"


def clear_cookie() -> str:
    """The Set-Cookie value that takes the session back."""
    return f"{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
