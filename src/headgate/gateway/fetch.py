"""One small request of the worker's own over a pool of connections, with its whole answer."""

import asyncio
import ssl
from dataclasses import dataclass

from headgate.gateway.upstream import Pool, UpstreamConnection


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """An answer."""

    status: int
    body: bytes


class _Collector:
    """Gathers an answer up to a size (Sink)."""

    def __init__(self, limit_bytes: int) -> None:
        self.done: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()
        self._pieces: list[bytes] = []
        self._size = 0
        self._limit = limit_bytes

    def upstream_head(self, connection: UpstreamConnection) -> None:
        """Nothing is done before the whole is there."""

    def upstream_data(self, connection: UpstreamConnection, pieces: list[bytes], is_last: bool) -> None:
        self._pieces += pieces
        self._size += sum(map(len, pieces))
        if self._size > self._limit:
            connection.cancel()
            self.upstream_broken(connection, f"answered with more than {self._limit} bytes")
        elif is_last and not self.done.done():
            self.done.set_result(Fetched(status=connection.status, body=b"".join(self._pieces)))

    def upstream_broken(self, connection: UpstreamConnection, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(reason))


async def fetch(pool: Pool, request: bytes, *, timeout_s: float, limit_bytes: int) -> Fetched:
    """The answer to ``request`` (head and body). Asked once more when a kept connection turns out to be closed.

    Raises OSError or TimeoutError.
    """
    async with asyncio.timeout(timeout_s):
        connection = pool.acquire()
        if connection is not None:
            try:
                return await _ask(connection, request, limit_bytes)
            except ConnectionError:
                if connection.has_answered:
                    raise
        try:
            return await _ask(await pool.dial(timeout_s), request, limit_bytes)
        except ssl.SSLError as error:
            raise ConnectionError(str(error)) from error


async def _ask(connection: UpstreamConnection, request: bytes, limit_bytes: int) -> Fetched:
    collector = _Collector(limit_bytes)
    connection.start(collector, request)
    try:
        return await collector.done
    finally:
        if not collector.done.done() or collector.done.cancelled():
            connection.cancel()
