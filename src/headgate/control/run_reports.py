"""The report of a stored run: what the registry and the log have of it, put together for `evals.report`."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.control import eval_runs, gates, scoring
from headgate.control.prompt_json import time_json
from headgate.control.state import ControlApp
from headgate.registry import receipts, runs
from headgate.registry.receipts import Decision
from headgate.registry.runs import Run

if TYPE_CHECKING:
    from headgate.evals.report import Report, Side
    from headgate.evals.report.model import Answer

MAX_TEXTS = 2000
"""Of how many cells the texts are shown; the figures are those of all."""


def report_of(control: ControlApp, run_id: str, against: str | None, project: str | None) -> "Report":
    """Blocking: the report of a run against another, else against that of its newest decision or its own baseline.

    Raises NotFound, MalformedRequest.
    """
    from headgate.evals.compare import compare
    from headgate.evals.report import build

    registry = control.publisher.registry
    run = runs.get(registry, run_id)
    decision = _decision(receipts.decisions_of(registry, run.id), against)
    other_id = against or (run.baseline_run if decision is None else decision.baseline_run)
    other = None if other_id is None else runs.get(registry, other_id)
    candidate = _side(control, run, project, None if decision is None else decision.candidate_system)
    baseline = None
    if other is not None:
        baseline = _side(control, other, project, None if decision is None else decision.baseline_system)
    directions = {name: scorer.direction for name, scorer in candidate.facts.scorers.items()}
    compared = None
    if baseline is not None:
        compared = compare(candidate.facts.results, baseline.facts.results, directions=directions)
    return build(
        candidate,
        baseline,
        suite=run.suite or run.name,
        dataset=None if run.dataset is None else f"{run.dataset}@{run.dataset_number}",
        comparison=compared,
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


def _decision(found: list[Decision], against: str | None) -> Decision | None:
    """The newest decision about the run, against the other one where that is named."""
    return next((one for one in found if against is None or one.baseline_run == against), None)


def _gated(control: ControlApp, decision: Decision) -> Any:
    from headgate.evals.report import Gated
    from headgate.evals.verdict import Verdict

    registry = control.publisher.registry
    receipt = next((one for one in receipts.list_receipts(registry) if one.decision == decision.id), None)
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
    return Side(
        facts=gates.facts_of(control.publisher.registry, run, system if run.kind == "import" else None),
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
    rows = eval_runs.load(control, run).dataset.rows[:MAX_TEXTS]
    return {row.id: (_text(row.input), None if row.expected is None else _text(row.expected)) for row in rows}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _amount(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))
