"""Whether upstreams can be reached the way that they are configured: proxy, trusted authority, client certificate."""

import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headgate.cli.checks import Finding
from headgate.core.errors import ConfigurationError
from headgate.core.ids import now_us

if TYPE_CHECKING:
    from headgate.core.settings import Settings, Upstream

_CHECK = "way"
_TIMEOUT_S = 5.0
_HEAD_LIMIT_BYTES = 16 << 10


def way_findings(settings: "Settings") -> Iterator[Finding]:
    """One finding for every upstream that has a way of its own; nothing is sent to an upstream."""
    for upstream in settings.upstreams.values():
        if upstream.proxy or upstream.ca_file or upstream.client_cert_file:
            yield _tls_fault(upstream) or _proxy_fault(upstream) or _good(upstream)


def _good(upstream: "Upstream") -> Finding:
    parts = [
        f"through {upstream.proxy}, which opens the way" if upstream.proxy else "",
        f"trusts {upstream.ca_file}" if upstream.ca_file else "",
        f"shows {upstream.client_cert_file}" if upstream.client_cert_file else "",
    ]
    return Finding(check=_CHECK, level="ok", what=f'upstream "{upstream.name}": {"; ".join(filter(None, parts))}')


def _fault(upstream: "Upstream", what: str, mend: str) -> Finding:
    return Finding(check=_CHECK, level="fault", what=f'upstream "{upstream.name}": {what}', mend=mend)


def _tls_fault(upstream: "Upstream") -> Finding | None:
    from headgate.gateway.dial import way_of

    try:
        context = way_of(upstream).tls()
    except ConfigurationError as error:
        return _fault(upstream, str(error), f"Name PEM files that this user may read: [upstreams.{upstream.name}]")
    if upstream.ca_file is None:
        return None
    ends = [str(found["notAfter"]) for found in context.get_ca_certs()]
    if not ends:
        return _fault(
            upstream, f"{upstream.ca_file} holds no certificate of an authority.", "Name the authority's own."
        )
    if all(ssl.cert_time_to_seconds(end) * 1_000_000 < now_us() for end in ends):
        return _fault(
            upstream, f"the authority in {upstream.ca_file} ended on {max(ends)}.", "Get its new certificate."
        )
    return None


def _proxy_fault(upstream: "Upstream") -> Finding | None:
    if upstream.proxy is None:
        return None
    mend = f"Check [upstreams.{upstream.name}] proxy, and ask who runs it to allow this host."
    try:
        said = _connect(upstream, upstream.proxy)
    except ConfigurationError as error:
        return _fault(upstream, str(error), error.hint or mend)
    except OSError as error:
        return _fault(upstream, f"its proxy {upstream.proxy} cannot be reached: {error.strerror or error}.", mend)
    words = said.split(None, 2)
    if len(words) > 1 and words[0].startswith("HTTP/1.") and words[1].startswith("2"):
        return None
    return _fault(upstream, f'its proxy {upstream.proxy} refused the way: "{said[:100]}".', mend)


def _connect(upstream: "Upstream", proxy: str) -> str:
    """What the proxy says to CONNECT, in its first line; the way is closed again unused."""
    from headgate.core.settings import proxy_secret_of

    place, target = urlsplit(proxy), urlsplit(upstream.base_url)
    name = target.hostname or ""
    host = f"[{name}]" if ":" in name else name
    port = target.port or (443 if target.scheme == "https" else 80)
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
    secret = proxy_secret_of(upstream)
    if secret is not None:
        lines.append(f"Proxy-Authorization: Basic {b64encode(secret.encode()).decode()}")
    with socket.create_connection((place.hostname or "", place.port or 80), _TIMEOUT_S) as connection:
        connection.sendall("\r\n".join(lines).encode("ascii") + b"\r\n\r\n")
        head = b""
        while b"\r\n" not in head and len(head) < _HEAD_LIMIT_BYTES:
            piece = connection.recv(4096)
            if not piece:
                break
            head += piece
    return head.partition(b"\r\n")[0].decode("latin-1")
