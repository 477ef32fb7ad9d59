"""Many calls against an upstream that limits, garbles, hangs and dies: what is answered, what is missing, when it
stops.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from headgate.evals.runner.calls import Answered, Call, Gateway, prompt_call, retry_after_s
from headgate.evals.runner.pace import Pace
from headgate.evals.runner.purse import Purse
from headgate.evals.runner.work import MAX_ATTEMPTS, Outcome, Progress, Work, failures_in_words
from support.upstream import Script, ScriptedUpstream, Seen, answer

LIMITED = answer(b'{"error":{"message":"slow down"}}', status="429 Too Many", extra="retry-after: 0.05\r\n")
BROKEN = answer(b'{"error":{"message":"broken"}}', status="500 Broken")


def good(text: str = "Hello") -> Script:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return answer(json.dumps({"model": "m", "choices": [choice]}).encode(), extra="x-headgate-request-id: r-1\r\n")


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    yield scripted
    scripted.close()


def calls(count: int) -> list[Call]:
    return [
        prompt_call(f"k{at}", "eval", name="p", number=1, endpoint="openai.chat", variables={"question": f"q{at}"})
        for at in range(count)
    ]


def perform(
    upstream: ScriptedUpstream,
    count: int,
    *,
    purse: Purse | None = None,
    then: Callable[[Work], None] = lambda _: None,
    is_readable: Callable[[Call, Answered], str | None] = lambda *_: None,
    **more: Any,
) -> tuple[Work, Outcome]:
    """Makes ``count`` calls; ``then`` sees the work before it starts."""

    async def go() -> tuple[Work, Outcome]:
        gateway = Gateway(f"http://127.0.0.1:{upstream.port}", api_key="hg_x", run="run-1", connections=8)
        work = Work(gateway, **{"concurrency": 8, "first_wait_s": 0.01, **more})
        then(work)
        try:
            done = await work.perform("answers", calls(count), purse or Purse(None), is_readable=is_readable)
        finally:
            await gateway.close()
        return work, done

    return asyncio.run(go())


def test_every_call_is_answered_once_and_says_its_cell_run_purpose_and_key(upstream: ScriptedUpstream) -> None:
    upstream.script(good())
    work, done = perform(upstream, 20)
    assert (len(done.answers), done.failures, done.attempts, work.stopped) == (20, {}, 20, None)
    seen = upstream.seen[0]
    assert seen.request_line == b"POST /v1/chat/completions HTTP/1.1"
    assert seen.header("x-headgate-purpose") == "eval"
    assert seen.header("x-headgate-tag-run") == "run-1"
    assert seen.header("x-headgate-key") == "hg_x"
    assert {one.header("x-headgate-tag-cell") for one in upstream.seen} == {f"k{at}" for at in range(20)}
    assert json.loads(seen.body)["prompt"]["version"] == "1"


def test_a_limit_halves_the_slots_once_for_one_burst_and_everything_is_answered_in_the_end(
    upstream: ScriptedUpstream,
) -> None:
    told: list[Progress] = []
    upstream.script(*[LIMITED] * 8, good())
    work, done = perform(upstream, 30, on_progress=told.append)
    assert (len(done.answers), work.stopped) == (30, None)
    assert min(progress.slots for progress in told) == 4
    assert any("again in" in progress.note and "slow down" in progress.note for progress in told)


def test_retry_after_closes_all_slots_for_as_long_as_it_says() -> None:
    async def go() -> tuple[float, float]:
        pace = Pace(8)
        async with pace.slot() as number:
            waits = pace.limited(number, 0.2)
        assert pace.closed_for_s > 0.1
        async with pace.slot():
            return waits, pace.closed_for_s

    assert asyncio.run(go()) == (0.2, 0.0)


def test_answers_bring_slots_back_but_never_more_than_were_asked_for() -> None:
    async def go() -> tuple[float, float]:
        pace = Pace(4)
        async with pace.slot() as number:
            pace.limited(number, 0.0)
        low = pace.slots
        for _ in range(100):
            pace.answered()
        return low, pace.slots

    assert asyncio.run(go()) == (2.0, 4.0)


@pytest.mark.parametrize(
    ("value", "wait_s"), [("3", 3.0), ("0", 0.0), ("-5", 0.0), ("soon", None), (None, None), ("nan", None)]
)
def test_retry_after_is_read_as_seconds(value: str | None, wait_s: float | None) -> None:
    assert retry_after_s(value) == wait_s


def test_retry_after_is_read_as_a_date_and_never_waits_longer_than_an_hour() -> None:
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after_s("Wed, 21 Oct 2115 07:28:00 GMT") == 3600.0


def test_a_failing_call_is_tried_again_a_bounded_number_of_times_and_named(upstream: ScriptedUpstream) -> None:
    upstream.script(BROKEN)
    work, done = perform(upstream, 1)
    assert len(upstream.seen) == MAX_ATTEMPTS
    assert done.failures["k0"].fault == "500: broken"
    assert failures_in_words(done.failures) == ["1 × 500: broken"]
    assert work.stopped is None


def test_an_upstream_that_stays_away_is_not_asked_for_every_cell(upstream: ScriptedUpstream) -> None:
    upstream.script(BROKEN)
    work, done = perform(upstream, 500, concurrency=2)
    assert (work.stopped, len(done.answers)) == ("upstream", 0)
    assert "5 calls in a row failed, the last with 500: broken" in work.why
    assert len(upstream.seen) <= 7 * MAX_ATTEMPTS


def test_an_upstream_that_dies_leaves_what_was_answered(upstream: ScriptedUpstream) -> None:
    upstream.script(*[good()] * 12, ["reset"])
    work, done = perform(upstream, 100, concurrency=2)
    assert (work.stopped, len(done.answers)) == ("upstream", 12)
    assert any("broke off" in failure.fault for failure in done.failures.values())


def test_no_gateway_at_all_is_said_so() -> None:
    gone = ScriptedUpstream()
    gone.close()
    work, done = perform(gone, 20, concurrency=2)
    assert work.stopped == "upstream" and "no gateway answers at" in work.why
    assert not done.answers


def test_a_key_that_is_refused_stops_at_once(upstream: ScriptedUpstream) -> None:
    upstream.script(answer(b'{"error":{"message":"no such key"}}', status="401 Unauthorized"))
    work, done = perform(upstream, 100, concurrency=1)
    assert (work.stopped, work.why, len(upstream.seen)) == ("denied", "401: no such key", 1)
    assert not done.answers


def test_what_is_refused_for_good_is_not_tried_again_and_others_go_on(upstream: ScriptedUpstream) -> None:
    upstream.script(good(), answer(b'{"error":"bad input"}', status="400 Bad"), good())
    work, done = perform(upstream, 10, concurrency=1)
    assert (len(done.answers), len(upstream.seen), work.stopped) == (9, 10, None)
    assert [failure.fault for failure in done.failures.values()] == ["400: bad input"]


def test_an_answer_that_cannot_be_used_is_asked_for_again(upstream: ScriptedUpstream) -> None:
    upstream.script(answer(b"<html>"), answer(b'{"choices":['), good())

    def fault(_: Call, answered: Answered) -> str | None:
        return None if b"Hello" in answered.body else "no readable answer"

    work, done = perform(upstream, 3, concurrency=1, is_readable=fault)
    assert (len(done.answers), done.failures, done.attempts) == (3, {}, 5)


def test_the_wall_ends_a_run_that_hangs(upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.evals.runner.work.GRACE_S", 0.1)
    upstream.script(*[good()] * 3, ["wait-gone"])
    work, done = perform(upstream, 50, concurrency=2, wall_s=1.5)
    assert (work.stopped, len(done.answers)) == ("wall", 3)


def test_an_interrupt_ends_calls_under_way_and_keeps_what_was_answered(upstream: ScriptedUpstream) -> None:
    upstream.script(*[good()] * 3, ["wait-gone"])

    def soon(work: Work) -> None:
        if len(upstream.seen) == 5:  # the fifth began when the third had its answer
            work.stop("interrupted", "Ctrl-C")
        else:
            asyncio.get_running_loop().call_later(0.02, soon, work)

    work, done = perform(upstream, 50, concurrency=2, then=soon)
    assert (work.stopped, len(done.answers)) == ("interrupted", 3)
    assert upstream.gone.wait(30)


class PricedUpstream(ScriptedUpstream):
    """Answers with an id of its own each, and tells a purse the price a moment later, as the log does."""

    def __init__(self, cost_usd: Decimal) -> None:
        super().__init__(reply_with=self._priced)
        self.cost_usd = cost_usd
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self.tell: Callable[[str], None] = lambda _: None

    def _priced(self, seen: Seen) -> Script:
        request_id = f"r-{seen.header('x-headgate-tag-cell')}"
        self.tell(request_id)
        return answer(b'{"choices":[]}', extra=f"x-headgate-request-id: {request_id}\r\n")


def spend(upstream: PricedUpstream, purse: Purse, concurrency: int) -> tuple[Work, Outcome]:
    """A hundred calls, each priced a moment after its answer."""

    def wire(_: Work) -> None:
        loop = asyncio.get_running_loop()

        def tell(request_id: str) -> None:
            loop.call_soon_threadsafe(loop.call_later, 0.02, purse.priced, request_id, upstream.cost_usd)

        upstream.tell = tell

    try:
        return perform(upstream, 100, purse=purse, then=wire, concurrency=concurrency)
    finally:
        upstream.close()


@pytest.mark.parametrize("limit", ["0.00", "0.05", "0.10", "0.57"])
def test_a_run_never_spends_more_than_its_budget(limit: str) -> None:
    purse = Purse(Decimal(limit), most_usd=Decimal("0.05"), slots=8)
    work, done = spend(PricedUpstream(Decimal("0.05")), purse, 8)
    assert work.stopped == "budget"
    assert len(done.answers) == int(Decimal(limit) / Decimal("0.05"))
    assert purse.spent_usd == Decimal("0.05") * len(done.answers)


@pytest.mark.parametrize("most", [Decimal("0.01"), None])
def test_a_price_list_that_says_too_little_overshoots_by_one_call_per_slot_at_most(most: Decimal | None) -> None:
    purse = Purse(Decimal("1.00"), most_usd=most, slots=4)
    work, done = spend(PricedUpstream(Decimal("0.40")), purse, 4)
    assert work.stopped == "budget"
    assert len(done.answers) >= 2
    assert purse.spent_usd <= Decimal("1.00") + 4 * Decimal("0.40")


def test_a_cost_that_the_log_tells_before_the_answer_arrives_counts_once() -> None:
    async def go() -> Purse:
        purse = Purse(Decimal(1), most_usd=Decimal("0.5"))
        ticket = await purse.reserve()
        assert ticket is not None
        purse.priced("r-1", Decimal("0.2"))
        assert (purse.spent_usd, purse.reserved_usd) == (Decimal("0.2"), Decimal("0.5"))
        purse.done(ticket, "r-1")
        return purse

    purse = asyncio.run(go())
    assert (purse.spent_usd, purse.reserved_usd, purse.calls) == (Decimal("0.2"), Decimal(0), 1)


def test_a_call_whose_price_is_unknown_counts_with_its_reservation_and_is_counted() -> None:
    async def go() -> Purse:
        purse = Purse(Decimal(1), most_usd=Decimal("0.3"))
        ticket = await purse.reserve()
        assert ticket is not None
        purse.done(ticket, "r-1")
        purse.priced("r-1", None)
        return purse

    purse = asyncio.run(go())
    assert (purse.spent_usd, purse.unpriced) == (Decimal("0.3"), 1)
