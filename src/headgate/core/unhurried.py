"""A server's main loop that sleeps while nothing happens: mixed into uvicorn's, which looks ten times a second."""

import asyncio
from collections.abc import Iterable, Iterator
from email.utils import formatdate
from functools import cached_property
from typing import Any, Protocol

from headgate.core.ids import now_us

_Header = tuple[bytes, bytes]


class _Server(Protocol):
    should_exit: bool
    config: Any  # uvicorn.Config
    server_state: Any  # uvicorn.server.ServerState

    @property
    def ending(self) -> asyncio.Event: ...


class Unhurried:
    """Comes before ``uvicorn.Server`` among the bases. Ends by ``end`` alone: nobody looks at ``should_exit``."""

    @cached_property
    def ending(self) -> asyncio.Event:
        """Set once the server is to end."""
        return asyncio.Event()

    def end(self: _Server) -> None:
        """End the server; called on its event loop."""
        self.should_exit = True
        self.ending.set()

    async def main_loop(self: _Server) -> None:
        """Wait until told to end."""
        config = self.config
        self.server_state.default_headers = DatedHeaders(config.encoded_headers, has_date=config.date_header)
        await self.ending.wait()


class DatedHeaders(list[_Header]):
    """What goes into every answer of a server. The Date is made when one asks for it, where uvicorn makes one a second.

    As far as uvicorn goes: it is walked through, and added to.
    """

    def __init__(self, others: Iterable[_Header], *, has_date: bool) -> None:
        super().__init__(others)
        self._has_date = has_date
        self._date_s, self._date = -1, (b"date", b"")

    def __iter__(self) -> Iterator[_Header]:
        if self._has_date:
            yield self._dated()
        yield from super().__iter__()

    def __add__(self, more: list[Any]) -> list[Any]:
        return [*self, *more]

    def _dated(self) -> _Header:
        now_s = now_us() // 1_000_000
        if now_s != self._date_s:
            self._date_s, self._date = now_s, (b"date", formatdate(now_s, usegmt=True).encode())
        return self._date
