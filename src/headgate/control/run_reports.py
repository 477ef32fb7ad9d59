"""The report of a stored run: what the registry and the log have of it, put together for `evals.report`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.control import eval_runs, gates, scoring
from headgate.control.prompt_json import time_json
from headgate.control.state import ControlApp
from headgate.core.errors import HeadgateError, NotFound
from headgate.registry import receipts, runs
from headgate.registry.receipts import Decision
from headgate.registry.runs import Run
from headgate.registry.targets import shown

if TYPE_CHECKING:
    from headgate.evals.report import Report, Side
    from headgate.evals.report.model import Answer

_GRAVITY = ("pass", "inconclusive", "fail")
MAX_TEXTS = 2000
"""Of how many cells the texts are shown; the figures are those of all."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a run is laid against; None: the run of its newest decision, else its own baseline.

    ``decision`` names an earlier decision about it. Imports may hold several systems: ``system`` is the one of the run
    that is meant, ``against_system`` that of the other, which is the run itself where none is named.
    """

    against: str | None = None
    decision: str | None = None
    system: str | None = None
    against_system: str | None = None


def report_of(control: ControlApp, run_id: str, project: str | None, wanted: Wanted) -> "Report":
    """Blocking: the report of a run, against another where there is one. Raises NotFound, MalformedRequest."""
    from headgate.evals.report import build

    registry = control.publisher.registry
    run = runs.get(registry, run_id)
    decision = _decision(receipts.decisions_of(registry, run.id), wanted)
    itself = None if wanted.against_system is None else run.id
    other_id = wanted.against or itself or (run.baseline_run if decision is None else decision.baseline_run)
    other = None if other_id is None else runs.get(registry, other_id)
    candidate = _side(control, run, project, wanted.system or (None if decision is None else decision.candidate_system))
    baseline = None
    if other is not None:
        named = wanted.against_system or (None if decision is None else decision.baseline_system)
        baseline = _side(control, other, project, named)
    return build(
        candidate,
        baseline,
        suite=run.suite or run.name,
        dataset=None if run.dataset is None else f"{run.dataset}@{run.dataset_number}",
        gated=None if decision is None else _gated(control, decision),
        inputs=_inputs(control, run),
        hashes={
            name: value
            for name, value in (
                ("prompt", run.prompt_sha256),
                ("suite", run.suite_sha256),
                ("dataset", run.dataset_sha256),
                ("result", run.result_sha256),
            )
            if value
        },
    )


def _decision(found: list[Decision], wanted: Wanted) -> Decision | None:
    """The newest decision about the run, against the other one where that is named.

    One look may have been judged by two policies: the word that decided is the worse one.
    """
    if wanted.decision is not None:
        named = next((one for one in found if one.id == wanted.decision), None)
        if named is None:
            raise NotFound(f"No decision {shown(wanted.decision)} was made about this run.", code="decision_missing")
        return named
    about = [
        one
        for one in found
        if wanted.against in (None, one.baseline_run)
        and wanted.system in (None, one.candidate_system)
        and wanted.against_system in (None, one.baseline_system)
    ]
    newest = [one for one in about if one.at_us == about[0].at_us]
    return max(reversed(newest), key=lambda one: _GRAVITY.index(one.verdict), default=None)


def _gated(control: ControlApp, decision: Decision) -> Any:
    from headgate.evals.report import Gated
    from headgate.evals.verdict import Verdict

    registry = control.publisher.registry
    receipt = receipts.of_decisions(registry, [decision.id]).get(decision.id)
    expires = None if receipt is None or receipt.expires_at_us is None else time_json(receipt.expires_at_us)
    return Gated(
        verdict=msgspec.convert(decision.detail, Verdict),
        id=decision.id,
        alias=decision.alias,
        receipt=None if receipt is None else receipt.id,
        expires_at=expires,
    )


def _side(control: ControlApp, run: Run, project: str | None, system: str | None) -> "Side":
    from headgate.evals.report import Side

    totals: Mapping[str, Any] = run.totals
    missing = [str(one["item"] if isinstance(one, Mapping) else one) for one in totals.get("missing", [])]
    facts = gates.facts_of(control.publisher.registry, run, system if run.kind == "import" else None)
    return Side(
        # Imported results name their run as their file does; here it is the one that we know.
        facts=replace(facts, run=run.id),
        status=run.status,
        answers=_answers(control, run, project),
        total_cost_usd=_amount(totals.get("cost_usd")),
        judge_cost_usd=_amount(totals.get("judge_cost_usd")),
        calls=totals.get("calls"),
        cached=totals.get("cached"),
        missing=missing,
        started_at=time_json(run.created_at_us),
        finished_at=None if run.finished_at_us is None else time_json(run.finished_at_us),
    )


def _answers(control: ControlApp, run: Run, project: str | None) -> "dict[str, Answer]":
    """What was said to each item, its first repeat, as far as the log still has it."""
    from headgate.evals.report import answer_of

    if run.kind == "import":
        return {}
    cells = [one for one in runs.cells_of(control.publisher.registry, run.id) if one.repeat == 0][:MAX_TEXTS]
    requests = {(one.item, one.repeat): one.request_id for one in cells if one.request_id}
    outputs = scoring.outputs_of(control.log, requests, project)
    return {one.item: answer_of(outputs.get((one.item, one.repeat)), one.problem) for one in cells}


def _inputs(control: ControlApp, run: Run) -> dict[str, tuple[str, str | None]]:
    if run.kind == "import" or run.text_sha256 is None:
        return {}
    try:
        rows = eval_runs.load(control, run).dataset.rows[:MAX_TEXTS]
    except HeadgateError:  # a report without the inputs is better than none; `verify` tells of lost files
        return {}
    return {row.id: (_text(row.input), None if row.expected is None else _text(row.expected)) for row in rows}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _amount(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))
