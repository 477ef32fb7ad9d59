"""The way to an upstream: directly or through an HTTP proxy, over TLS with whose trust and whose certificate."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from headgate.core.errors import ConfigurationError
from headgate.core.settings import Upstream, proxy_secret_of

if TYPE_CHECKING:
    from headgate.gateway.upstream import Origin, UpstreamConnection

_OTHER_FAMILY_S = 0.25
"""How long one address family is tried alone (RFC 8305 section 5): half-broken IPv6 must not cost a whole timeout."""
_PROXY_HEAD_LIMIT = 16 << 10


@dataclass(frozen=True, kw_only=True)
class Way:
    """How connections to an upstream are made. Two upstreams of one origin share them only if their ways are equal."""

    proxy: str | None = None
    proxy_auth: str | None = None  # USER:PASSWORD
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def tls(self) -> ssl.SSLContext:
        """The context for its TLS. Raises ConfigurationError over a file that cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            files = ", ".join(name for name in (self.ca_file, self.cert_file, self.key_file) if name)
            raise ConfigurationError(
                f"the certificates of an upstream cannot be used: {error} ({files}).", code="upstream_tls"
            ) from error
        return context


DIRECT = Way()


def way_of(upstream: Upstream) -> Way:
    """The way that the settings of ``upstream`` describe."""
    return Way(
        proxy=upstream.proxy,
        proxy_auth=proxy_secret_of(upstream),
        ca_file=upstream.ca_file,
        cert_file=upstream.client_cert_file,
        key_file=upstream.client_key_file,
    )


def _no_password() -> str:
    raise ValueError("its key is encrypted")  # asking at a terminal would stop the worker


async def dial(
    origin: "Origin", way: Way, tls: ssl.SSLContext | None, make: Callable[[], "UpstreamConnection"]
) -> "UpstreamConnection":
    """A new connection to ``origin``. Raises OSError or ssl.SSLError."""
    loop = asyncio.get_running_loop()
    if origin.socket_path is not None:
        return (await loop.create_unix_connection(make, origin.socket_path))[1]
    if way.proxy is None:
        _, connection = await loop.create_connection(
            make,
            origin.host,
            origin.port,
            ssl=tls,
            server_hostname=None if tls is None else origin.host,
            happy_eyeballs_delay=_OTHER_FAMILY_S,
        )
        return connection
    return await _through_proxy(origin, way, tls, make)


async def _through_proxy(
    origin: "Origin", way: Way, tls: ssl.SSLContext | None, make: Callable[[], "UpstreamConnection"]
) -> "UpstreamConnection":
    loop = asyncio.get_running_loop()
    proxy = urlsplit(way.proxy or "")
    transport, tunnel = await loop.create_connection(
        _Tunnel, proxy.hostname or "", proxy.port or 80, happy_eyeballs_delay=_OTHER_FAMILY_S
    )
    try:
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
        if way.proxy_auth is not None:
            lines.append(f"Proxy-Authorization: Basic {b64encode(way.proxy_auth.encode()).decode()}")
        transport.write("\r\n".join(lines).encode("ascii") + b"\r\n\r\n")
        await tunnel.is_open
        connection = make()
        if tls is None:
            transport.set_protocol(connection)
            connection.connection_made(transport)
        else:
            secured = await loop.start_tls(transport, connection, tls, server_hostname=origin.host)
            connection.connection_made(cast(asyncio.BaseTransport, secured))
    except BaseException:
        transport.abort()
        raise
    return connection


class _Tunnel(asyncio.Protocol):
    """Waits for a proxy to open the way."""

    def __init__(self) -> None:
        self.is_open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self.is_open.done():
            return
        if b"\r\n\r\n" not in self._head:
            if len(self._head) > _PROXY_HEAD_LIMIT:
                self.is_open.set_exception(OSError("the proxy sent no answer to CONNECT"))
            return
        head, _, more = self._head.partition(b"\r\n\r\n")
        line = head.partition(b"\r\n")[0]
        words = line.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].startswith(b"2"):
            said = line[:100].decode("latin-1")
            self.is_open.set_exception(OSError(f'the proxy refused the way: "{said}"'))
        elif more:
            self.is_open.set_exception(OSError("the proxy sent more than its answer to CONNECT"))
        else:
            self.is_open.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_open.done():
            self.is_open.set_exception(OSError("the proxy closed the connection"))
