"""A server's main loop that sleeps while nothing happens: mixed into uvicorn's, which looks ten times a second."""

import asyncio
import contextlib
from functools import cached_property
from typing import Protocol

_TICK_S = 1.0
"""uvicorn makes the Date header anew at every tick that counts; nothing else of ours hangs on ticks."""


class _Server(Protocol):
    should_exit: bool

    @property
    def ending(self) -> asyncio.Event: ...

    async def on_tick(self, counter: int) -> bool: ...


class Unhurried:
    """Comes before ``uvicorn.Server`` among the bases. Ends by ``end``; setting ``should_exit`` takes a second."""

    @cached_property
    def ending(self) -> asyncio.Event:
        """Set once the server is to end."""
        return asyncio.Event()

    def end(self: _Server) -> None:
        """End the server; called on its event loop."""
        self.should_exit = True
        self.ending.set()

    async def main_loop(self: _Server) -> None:
        """Tick once a second until told to end."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self.ending.wait()
