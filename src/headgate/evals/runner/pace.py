"""How many calls run at once: as many as asked for, fewer while an upstream says it is too much."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headgate.core.ids import monotonic_s

_CUT = 0.5
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 60.0


class Pace:
    """Slots for calls. A limited call halves them and closes all for a while; answered ones bring them back one by one.

    Calls that were under way when the slots were halved do not halve them again: one burst of 429s is one message.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.slots = float(most)
        self._in_flight = 0
        self._started = 0
        self._cut_at = 0  # calls started before this one say nothing new
        self._open_at_s = 0.0
        self._pauses = 0  # limits in a row
        self._change = asyncio.Condition()

    @property
    def in_flight(self) -> int:
        """Calls under way now."""
        return self._in_flight

    @property
    def closed_for_s(self) -> float:
        """How long no call will start."""
        return max(0.0, self._open_at_s - monotonic_s())

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Waits for its turn; gives the number of the call, which :meth:`limited` and :meth:`answered` want."""
        async with self._change:
            while True:
                if (wait_s := self.closed_for_s) > 0:
                    await self._wait(wait_s)
                elif self._in_flight >= max(1, int(self.slots)):
                    await self._change.wait()
                else:
                    break
            self._in_flight += 1
            self._started += 1
            number = self._started
        try:
            yield number
        finally:
            self._in_flight -= 1
            await self._tell()

    def limited(self, number: int, retry_after_s: float | None) -> float:
        """An upstream said it is too much; the seconds that no call will start for."""
        if number > self._cut_at:
            self._cut_at = self._started
            self._pauses += 1
            self.slots = max(1.0, self.slots * _CUT)
        wait_s = retry_after_s
        if wait_s is None:
            wait_s = min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2 ** (max(self._pauses, 1) - 1))
        self._open_at_s = max(self._open_at_s, monotonic_s() + wait_s)
        return wait_s

    def answered(self) -> None:
        """A call was answered: about one more slot for each round of all of them."""
        self._pauses = 0
        self.slots = min(float(self.most), self.slots + 1 / max(self.slots, 1.0))

    async def _tell(self) -> None:
        async with self._change:
            self._change.notify_all()

    async def _wait(self, wait_s: float) -> None:
        """Waits that long, or until something changes; the condition is held again afterwards."""
        try:
            async with asyncio.timeout(wait_s):
                await self._change.wait()
        except TimeoutError:
            return
