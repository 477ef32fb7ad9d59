"""What is known of a run beside its report: how far it is, the gates it went through, what it can be laid against."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from headgate.control import queries
from headgate.control.filters import Filter
from headgate.control.state import ControlApp
from headgate.core.errors import NotFound
from headgate.core.ids import now_us, utc
from headgate.core.protection import PRODUCTION
from headgate.registry import prompts, receipts, run_list, runs
from headgate.registry.receipts import Decision, Receipt
from headgate.registry.runs import Run, StoredCell

_CALLS = ("eval", "judge", "embedding")
_CLOCKS_S = 60  # what a worker's clock may be behind
_QUIET_S = 60


@dataclass(frozen=True, kw_only=True)
class SoFar:
    """The calls that a run made until now, as the log has them; those it found there are not among them."""

    answers: int
    asks: int
    cost_usd: Decimal | None  # None: no call has a price
    unpriced: int
    last_at: datetime | None

    @property
    def is_busy(self) -> bool:
        """Whether a call was made within the last minute."""
        if self.last_at is None:
            return False
        return utc(now_us()).replace(tzinfo=None) - self.last_at < timedelta(seconds=_QUIET_S)


@dataclass(frozen=True, kw_only=True)
class Gating:
    """One decision about a run with the receipt that it brought, if any."""

    decision: Decision
    receipt: Receipt | None
    is_expired: bool


@dataclass(frozen=True, kw_only=True)
class Opponents:
    """What a run can be laid against. ``production_run`` None: production's content was not run on these cases."""

    runs: list[Run]
    production: int | None  # what the prompt's production means now; None: nothing, or no prompt
    production_run: Run | None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A run that a request is evidence in, or was made for; ``cell`` None: which of its cells is not known."""

    run: Run
    cell: StoredCell | None
    is_ask: bool  # made to judge an answer, not an answer itself


def evidence_of(control: ControlApp, row: Mapping[str, Any]) -> list[Evidence]:
    """Blocking: the runs that rest on a request, newest first; of a judge's call, the answer it was asked about.

    What a request says of its run is a caller's word: it is a way to a run that exists, and nothing else.
    """
    registry = control.publisher.registry
    found = [
        Evidence(run=run, cell=cell, is_ask=False)
        for run, cell in run_list.cells_of_request(registry, str(row["request_id"]))
    ]
    if row["purpose"] not in _CALLS or not isinstance(row["tags"], str):
        return found
    try:
        tags = msgspec.json.decode(row["tags"], type=dict[str, str])
        run = runs.get(registry, tags["run"])
    except (msgspec.DecodeError, KeyError, NotFound):  # a tag is any text
        return found
    is_ask = row["purpose"] != "eval"
    about = run_list.cells_of_key(registry, run.id, tags["about"]) if is_ask and "about" in tags else []
    if about:
        found += [Evidence(run=run, cell=cell, is_ask=True) for cell in about]
    elif all(one.run.id != run.id for one in found):
        found.append(Evidence(run=run, cell=None, is_ask=is_ask))
    return found


def so_far(control: ControlApp, run: Run, project: str | None) -> SoFar:
    """Blocking: what the log has of a run's own calls, within a project (None: all)."""
    chosen = Filter()
    chosen.add("started_at >= ?", (utc(run.created_at_us) - timedelta(seconds=_CLOCKS_S)).replace(tzinfo=None))
    chosen.add("(tags ->> '/run') = ?", run.id)
    chosen.add("purpose IN ('eval', 'judge', 'embedding')")
    if project is not None:
        chosen.add("project = ?", project)
    rows = {row["purpose"]: row for row in queries.calls_by_purpose(control.log, chosen)}
    found: list[Mapping[str, Any]] = [rows[name] for name in _CALLS if name in rows]
    costs = [row["cost_usd"] for row in found if row["cost_usd"] is not None]
    return SoFar(
        answers=sum(row["calls"] for row in found if row["purpose"] == "eval"),
        asks=sum(row["calls"] for row in found if row["purpose"] != "eval"),
        cost_usd=sum(costs, Decimal(0)) if costs else None,
        unpriced=sum(row["unpriced"] for row in found),
        last_at=max((row["last_at"] for row in found), default=None),
    )


def gatings(control: ControlApp, run: Run) -> list[Gating]:
    """Blocking: every decision about a run, newest first."""
    registry, now = control.publisher.registry, now_us()
    decisions = receipts.decisions_of(registry, run.id)
    brought = receipts.of_decisions(registry, [one.id for one in decisions])
    return [
        Gating(
            decision=one,
            receipt=brought.get(one.id),
            is_expired=one.id in brought and brought[one.id].is_expired(now),
        )
        for one in decisions
    ]


def opponents(control: ControlApp, run: Run) -> Opponents:
    """Blocking: other runs on the same cases, and that of what production means now."""
    registry = control.publisher.registry
    others = run_list.comparable(registry, run)
    number, found = None, None
    if run.prompt is not None:
        try:
            number = prompts.get_prompt(registry, run.prompt).aliases.get(PRODUCTION)
            if number is not None and number != run.number:
                content = prompts.get_version(registry, run.prompt, number).sha256
                found = run_list.newest_of_content(registry, run, content)
        except NotFound:  # a run outlives its prompt when a home is put together anew
            number = None
    return Opponents(runs=others, production=number, production_run=found)
