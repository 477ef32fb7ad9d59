"""What a run may spend: checked before each call, with a reservation for every call whose cost is not known yet."""

import asyncio
from decimal import Decimal

from headgate.core.ids import monotonic_s

PATIENCE_S = 15.0
"""How long a cost may stay unknown after its call; then the reservation counts as spent."""
_LOOK_AGAIN_S = 1.0


class Purse:
    """A limit in USD (None: no limit) and what is spent of it.

    A call is let through while what is spent, what is reserved for calls whose cost is not known yet, and its own
    reservation fit together. The first ``slots`` of them are reserved with the most that a call has cost so far; the
    others wait for a first cost and are reserved with ``most_usd``, the most that the price list says, too. So the
    limit is passed by one call per slot at most, whatever calls cost, and not at all when they cost what the first did.
    """

    def __init__(self, limit_usd: Decimal | None, *, most_usd: Decimal | None = None, slots: int = 1) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = Decimal(0)
        self.calls = 0
        self.unpriced = 0
        self._most_usd, self._slots = most_usd, slots
        self._seen_usd: Decimal | None = None
        self._open: set[int] = set()  # tickets: under way, or done and not priced yet
        self._tickets: dict[str, int] = {}  # request id to ticket, of those that are done
        self._early: dict[str, Decimal | None] = {}  # costs of requests whose end we have not seen (None: unpriced)
        self._done_at_s: dict[int, float] = {}
        self._number = 0
        self._change = asyncio.Event()

    @property
    def next_usd(self) -> Decimal:
        """What is reserved for one call."""
        return self._seen_usd if self._seen_usd is not None else self._most_usd or Decimal(0)

    @property
    def reserved_usd(self) -> Decimal:
        """For calls whose cost is not known yet."""
        return self.next_usd * len(self._open)

    @property
    def waits(self) -> bool:
        """Whether calls have ended whose cost is not known yet."""
        return bool(self._tickets)

    def expect(self, most_usd: Decimal) -> None:
        """The price list says that a call may cost this much."""
        self._most_usd = max(self._most_usd or Decimal(0), most_usd)

    async def reserve(self) -> int | None:
        """A ticket for one call; None when the limit is reached. Waits while costs that may make room are not known."""
        while not self._fits():
            if not self._open:
                return None
            self._change.clear()
            try:
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await self._change.wait()
            except TimeoutError:
                self._give_up_waiting()
        self._number += 1
        self._open.add(self._number)
        return self._number

    def done(self, ticket: int, request_id: str | None) -> None:
        """A call has ended; the log tells its cost. Without a request id it counts when the log tells of it."""
        if request_id is None:
            self._settle(ticket, Decimal(0))
            return
        self._tickets[request_id] = ticket
        self._done_at_s[ticket] = monotonic_s()
        if request_id in self._early:
            cost_usd = self._early.pop(request_id)
            self.spent_usd -= cost_usd or Decimal(0)
            self.priced(request_id, cost_usd)

    def priced(self, request_id: str, cost_usd: Decimal | None) -> None:
        """The log tells what a request cost: 0 when nobody charged, None when money may be missing."""
        ticket = self._tickets.pop(request_id, None)
        if ticket is None:
            # Not ours yet: its answer is still on the way to us, or broke off before it said its id.
            self._early[request_id] = cost_usd
            self.spent_usd += cost_usd or Decimal(0)
            return
        if cost_usd is None:
            self.unpriced += 1
            cost_usd = self.next_usd
        elif cost_usd > 0:
            self._seen_usd = max(self._seen_usd or Decimal(0), cost_usd)
        self._settle(ticket, cost_usd)

    def forget(self) -> None:
        """What is not known by now counts as reserved."""
        for request_id in list(self._tickets):
            self._lost(request_id)

    def _fits(self) -> bool:
        if self.limit_usd is None:
            return True
        number, each_usd = len(self._open) + 1, self.next_usd
        if number > self._slots:
            if self._most_usd is None or self._seen_usd is None:
                return False
            each_usd = max(each_usd, self._most_usd)
        return self.spent_usd + number * each_usd <= self.limit_usd and self.spent_usd < self.limit_usd

    def _settle(self, ticket: int, cost_usd: Decimal) -> None:
        self._open.remove(ticket)
        self._done_at_s.pop(ticket, None)
        self.spent_usd += cost_usd
        self.calls += 1
        self._change.set()

    def _give_up_waiting(self) -> None:
        now_s = monotonic_s()
        for request_id, ticket in list(self._tickets.items()):
            if now_s - self._done_at_s[ticket] > PATIENCE_S:
                self._lost(request_id)

    def _lost(self, request_id: str) -> None:
        ticket = self._tickets.pop(request_id)
        self.unpriced += 1
        self._settle(ticket, self.next_usd)
