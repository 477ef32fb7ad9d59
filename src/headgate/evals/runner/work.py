"""Makes many calls: at a pace, within purse and time, trying again what is worth it, until all is done or it stops."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal, Protocol

from headgate.core.ids import monotonic_s
from headgate.evals.runner.calls import Answered, Call
from headgate.evals.runner.pace import Pace
from headgate.evals.runner.purse import Purse

MAX_ATTEMPTS = 6
_MAX_WAIT_S = 30.0
_FAILURES_IN_A_ROW = 5
GRACE_S = 20.0
"""How long calls under way may take to end once the wall is reached."""

StopReason = Literal["budget", "judge_budget", "wall", "interrupted", "upstream", "denied"]


class Sender(Protocol):
    """What makes one call; the gateway, or an upstream that a test scripts."""

    async def send(self, call: Call) -> Answered:
        """Makes one call, once."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the calls of one phase are; told after each change."""

    phase: str
    total: int
    done: int
    failed: int
    in_flight: int
    slots: int
    spent_usd: Decimal
    unpriced: int
    cached: int = 0  # answers that the log had already; not among `total`
    note: str = ""  # why it waits, or tries again


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A call that got no usable answer."""

    key: str
    fault: str
    attempts: int


@dataclass
class Outcome:
    """What came of the calls of one phase."""

    answers: dict[str, Answered] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    request_ids: list[str] = field(default_factory=list)  # of every call that reached the gateway, failed ones too
    attempts: int = 0


class Work:
    """The calls of one run. After a stop no call starts; :attr:`stopped` says why, :attr:`why` in words."""

    def __init__(
        self,
        sender: Sender,
        *,
        concurrency: int,
        wall_s: float | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
        seed: int = 0,
        first_wait_s: float = 0.5,
    ) -> None:
        self.sender = sender
        self.pace = Pace(concurrency)
        self.stopped: StopReason | None = None
        self.why = ""
        self._over = asyncio.Event()
        self._ends_at_s = None if wall_s is None else monotonic_s() + wall_s
        self._tell = on_progress
        self._first_wait_s = first_wait_s
        self._random = random.Random(seed)
        self._failures_in_a_row = 0
        self._phases: dict[str, _Phase] = {}

    def stop(self, reason: StopReason, why: str) -> None:
        """No call starts from now on; the first reason counts."""
        if self.stopped is None:
            self.stopped, self.why = reason, why
            self._over.set()

    async def perform(
        self,
        phase: str,
        calls: Iterable[Call],
        purse: Purse,
        *,
        cached: int = 0,
        is_readable: Callable[[Call, Answered], str | None] = lambda *_: None,
        on_answer: Callable[[Call, Answered], None] = lambda *_: None,
    ) -> Outcome:
        """Makes the calls. ``is_readable`` says what is wrong with a whole answer, if anything: it is asked again.

        ``cached`` answers were there already: they are told of, nothing else. Cancelling it ends the calls under way;
        what was answered stays answered.
        """
        wanted = list(calls)
        phase_work = _Phase(
            work=self,
            name=phase,
            total=len(wanted),
            cached=cached,
            purse=purse,
            is_readable=is_readable,
            on_answer=on_answer,
        )
        self._phases[phase] = phase_work
        phase_work.tell()
        if wanted and self.stopped is None:
            await self._run(phase_work, wanted)
        return phase_work.outcome

    async def _run(self, phase: "_Phase", wanted: Sequence[Call]) -> None:
        waiting = iter(wanted)
        workers = [asyncio.create_task(phase.make(waiting)) for _ in range(min(self.pace.most, len(wanted)))]
        clock = asyncio.create_task(self._watch(workers))
        try:
            await asyncio.gather(*workers)
        except asyncio.CancelledError:
            # Either somebody cancelled us, or the clock ended the calls that were still under way.
            if not self._over.is_set():
                raise
        finally:
            for task in (clock, *workers):
                task.cancel()
            await asyncio.gather(clock, *workers, return_exceptions=True)

    async def _watch(self, workers: Sequence["asyncio.Task[None]"]) -> None:
        """Ends what is under way: at once when interrupted, after a grace at the wall."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if self._ends_at_s is None else self._ends_at_s - monotonic_s()):
                await self._over.wait()
        if not self._over.is_set():
            self.stop("wall", "its time is up")
        if self.stopped in ("budget", "judge_budget"):
            return  # what is under way is paid for
        await asyncio.sleep(0 if self.stopped == "interrupted" else GRACE_S)
        for worker in workers:
            worker.cancel()

    async def wait(self, wait_s: float) -> bool:
        """Waits before another try; whether there may be one."""
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._over.wait()
        return self.stopped is None

    def wait_before(self, attempt: int) -> float:
        """Seconds before another try, longer each time, never all at once."""
        longest_s: float = self._first_wait_s * 2 ** (attempt - 1)
        return min(_MAX_WAIT_S, longest_s) * self._random.uniform(0.5, 1.0)

    def judged(self, answered: Answered, *, is_final: bool) -> None:
        """Counts failures in a row: an upstream that is gone is not asked a thousand times."""
        if answered.ending == "denied":
            self.stop("denied", answered.fault)
        if answered.ending == "ok":
            self._failures_in_a_row = 0
        elif is_final:
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
                self.stop(
                    "upstream", f"{self._failures_in_a_row} calls in a row failed, the last with {answered.fault}"
                )

    def tell(self, progress: Progress) -> None:
        """Tells whoever watches."""
        self._tell(progress)

    def tell_again(self) -> None:
        """Tells of every phase as it is now: prices come to be known after the answers."""
        for phase in self._phases.values():
            phase.tell()


@dataclass(kw_only=True)
class _Phase:
    """The calls of one kind, and what became of them."""

    work: Work
    name: str
    total: int
    cached: int
    purse: Purse
    is_readable: Callable[[Call, Answered], str | None]
    on_answer: Callable[[Call, Answered], None]
    outcome: Outcome = field(default_factory=Outcome)

    async def make(self, waiting: "Iterable[Call]") -> None:
        """Takes one call after the other from those that wait."""
        for call in waiting:
            if self.work.stopped is not None:
                return
            answered, attempts = await self._tried(call)
            if answered is None:
                return
            if answered.ending == "ok":
                self.outcome.answers[call.key] = answered
                self.on_answer(call, answered)
            else:
                self.outcome.failures[call.key] = Failure(key=call.key, fault=answered.fault, attempts=attempts)
            self.work.judged(answered, is_final=True)
            self.tell()

    async def _tried(self, call: Call) -> tuple[Answered | None, int]:
        """The answer after as many tries as it is worth; None when there may be no more tries."""
        answered: Answered | None = None
        for attempt in range(1, MAX_ATTEMPTS + 1):
            ticket = await self._ticket()
            if ticket is None:
                return answered, attempt - 1
            sent = await self._once(call, ticket)
            if sent is None:
                return answered, attempt - 1
            answered, pause_s = sent
            if answered.ending not in ("limited", "again", "unreadable") or attempt == MAX_ATTEMPTS:
                return answered, attempt
            wait_s = pause_s or self.work.wait_before(attempt)
            self.tell(f"again in {wait_s:.1f} s: {answered.fault}")
            if not await self.work.wait(wait_s):
                return answered, attempt
        return answered, MAX_ATTEMPTS

    async def _ticket(self) -> int | None:
        if self.work.stopped is not None:
            return None
        ticket = await self.purse.reserve()
        if ticket is None:
            is_judge = self.name != "answers"
            self.work.stop(
                "judge_budget" if is_judge else "budget",
                f"${self.purse.spent_usd:f} of ${self.purse.limit_usd:f} is spent, "
                f"and the next call may cost ${self.purse.next_usd:f}",
            )
        return ticket

    async def _once(self, call: Call, ticket: int) -> tuple[Answered, float | None] | None:
        """The answer and how long to wait before another try; None when it was not sent any more."""
        request_id: str | None = None
        try:
            async with self.work.pace.slot() as number:
                if self.work.stopped is not None:
                    return None
                answered = await self.work.sender.send(call)
                request_id = answered.request_id
                self.outcome.attempts += 1
                if request_id is not None:
                    self.outcome.request_ids.append(request_id)
                if answered.ending == "ok" and (fault := self.is_readable(call, answered)):
                    answered = replace(answered, ending="unreadable", fault=fault)
                return answered, self._paced(number, answered)
        finally:
            self.purse.done(ticket, request_id)

    def _paced(self, number: int, answered: Answered) -> float | None:
        """Tells the pace; how long it closes for."""
        if answered.ending == "limited":
            return self.work.pace.limited(number, answered.retry_after_s)
        if answered.ending == "ok":
            self.work.pace.answered()
        return answered.retry_after_s

    def tell(self, note: str = "") -> None:
        """Tells how far this phase is."""
        self.work.tell(
            Progress(
                phase=self.name,
                total=self.total,
                done=len(self.outcome.answers),
                failed=len(self.outcome.failures),
                in_flight=self.work.pace.in_flight,
                slots=int(self.work.pace.slots),
                spent_usd=self.purse.spent_usd,
                unpriced=self.purse.unpriced,
                cached=self.cached,
                note=note,
            )
        )


def failures_in_words(failures: Mapping[str, Failure], most: int = 3) -> list[str]:
    """The commonest faults with their counts, most frequent first."""
    counts: dict[str, int] = {}
    for failure in failures.values():
        counts[failure.fault] = counts.get(failure.fault, 0) + 1
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"{count} × {fault}" for fault, count in common[:most]]
