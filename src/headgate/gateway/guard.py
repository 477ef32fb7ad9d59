"""What a request must satisfy before anything is done for it: framing, Host, Origin."""

import re

from headgate.core.errors import Forbidden, MalformedRequest
from headgate.gateway.head import RequestHead
from headgate.gateway.worker import Worker

_OPEN_PATHS = frozenset((b"/healthz", b"/readyz"))
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?\Z")
_BAD_TARGET = re.compile(rb"%00|%5c|\\|(?:/|%2f)(?:\.|%2e){1,2}(?:/|%2f|\?|\Z)", re.IGNORECASE)
"""Of a path: NUL, backslashes, and segments of one or two dots, however they are spelt."""
_NOT_PLAIN = re.compile(rb"[^!-~]")


def check_framing(version: str, head: RequestHead, url: bytes) -> None:
    """Refuse what two readers could take for two different requests. Raises MalformedRequest."""
    if version not in ("1.1", "1.0"):
        raise MalformedRequest(f"HTTP/{version} is not spoken here.", code="bad_version")
    if not url.startswith(b"/") or _NOT_PLAIN.search(url) or _BAD_TARGET.search(url.partition(b"?")[0]):
        raise MalformedRequest("the request target is not a plain absolute path.", code="bad_target")
    if head.has_two_hosts:
        raise MalformedRequest("the request has two Host headers.", code="unknown_host")
    coding = head.noted.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
        raise MalformedRequest("Transfer-Encoding other than chunked is refused.", code="bad_framing")


def check_sender(worker: Worker, head: RequestHead, path: bytes, *, is_link: bool) -> None:
    """Refuse a Host that is not ours and pages of other sites. ``is_link``: a page asked for by GET.

    Raises MalformedRequest or Forbidden.
    """
    if path in _OPEN_PATHS:
        return
    host = head.noted.get(b"host", b"")
    if host not in worker.accepted_hosts:
        _check_host(worker, host)
    if b"origin" in head.noted or b"sec-fetch-site" in head.noted:
        _check_origin(worker, head, is_link=is_link)


def _check_host(worker: Worker, host: bytes) -> None:
    known = worker.known_hosts
    text = host.decode("latin-1").lower()
    match = _HOST.match(text)
    if text in known or (match is not None and match[1] in known):
        worker.accept_host(host)
        return
    raise MalformedRequest(
        f"this gateway does not answer to the Host {text[:100]!r}.",
        code="unknown_host",
        hint="Add it to server.hosts, or call the gateway by the address it prints at start.",
    )


def _check_origin(worker: Worker, head: RequestHead, *, is_link: bool) -> None:
    noted = head.noted
    origin = head.text(b"origin")
    if origin is None:
        is_navigation = is_link and noted.get(b"sec-fetch-mode") == b"navigate"
        if noted[b"sec-fetch-site"].lower() == b"cross-site" and not is_navigation:
            raise Forbidden("cross-site requests are refused.", code="cross_site", hint="Allow it: server.origins.")
        return
    own = (head.text(b"host") or "").lower()
    if origin not in worker.settings.server.origins and origin.lower().partition("://")[2] != own:
        raise Forbidden(
            f"requests from the origin {origin[:100]!r} are refused.",
            code="foreign_origin",
            hint="A browser sent this from a page of another site. Allow it: server.origins.",
        )


def cors_lines(origin: bytes, noted: dict[bytes, bytes]) -> bytes:
    """What a browser wants to read before a page of an allowed origin may see an answer."""
    lines = b"access-control-allow-origin: %b\r\nvary: Origin\r\n" % origin
    if b"access-control-request-method" not in noted:
        return lines + b"access-control-expose-headers: *\r\n"
    headers = noted.get(b"access-control-request-headers", b"")
    return lines + b"access-control-allow-methods: GET, POST, DELETE\r\naccess-control-allow-headers: %b\r\n" % headers
