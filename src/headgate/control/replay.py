"""What one version was asked, for another: logged calls of traffic become a dataset, their answers the baseline."""

from dataclasses import replace
from typing import Any

import msgspec

from headgate.control import eval_runs
from headgate.control.access import Principal
from headgate.control.api_datasets import stored
from headgate.control.eval_runs import Loaded, load, new_id, resolved
from headgate.control.eval_shapes import MAX_LOG_ROWS, StartRun, Try
from headgate.control.evidence import Found, output_from
from headgate.control.filters import moment
from headgate.control.log_rows import LogRows, rows_of_calls
from headgate.control.publish import name_of
from headgate.control.scoring import neutral, result_sha256, scorer_json, stored_cell
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest, NotFound
from headgate.core.ids import now_us, utc
from headgate.evals.dataset import dataset_of, rows_jsonl
from headgate.evals.scorer import unscored
from headgate.evals.suite import load_suite
from headgate.registry import prompts, runs, suites
from headgate.registry.prompts import PromptVersion
from headgate.registry.runs import Finish, Run, StoredCell, StoredResult
from headgate.store import lookup

DEFAULT_JUDGE = "judge-pairwise"
_LOOKED_AT = 4


def start_try(control: ControlApp, who: Principal, wanted: Try) -> tuple[Run, Run, LogRows]:
    """Blocking: a run of the candidate on what the other version was asked, the finished run of what that answered, and
    what was left out. Raises NotFound, MalformedRequest.
    """
    if not 1 <= wanted.limit <= MAX_LOG_ROWS:
        raise MalformedRequest(f"limit={wanted.limit} is not from 1 to {MAX_LOG_ROWS}.")
    registry = control.publisher.registry
    candidate = resolved(registry, wanted.prompt)
    against = wanted.against if "@" in wanted.against else f"{candidate.name}@{wanted.against}"
    before = resolved(registry, against)
    if before.name != candidate.name or before.sha256 == candidate.sha256:
        raise MalformedRequest(
            f"{candidate.name}@{candidate.number} cannot be tried against {before.name}@{before.number}.",
            hint="Name two versions of one prompt with different contents.",
        )
    calls = lookup.calls_of_prompt(
        control.log,
        before.name,
        before.sha256,
        since=moment(wanted.since, "since"),
        project=who.sees_project,
        limit=wanted.limit * _LOOKED_AT,
    )
    found = rows_of_calls(control, calls, wanted.limit)
    if not found.rows:
        raise NotFound(
            f"The log has no calls of {before.name}@{before.number} with variables since {wanted.since}.",
            code="nothing_to_replay",
            hint=_earlier(control, who, before, against, wanted.since)
            or "Look further back (--replay 30d), or write a suite: headgate eval init " + before.name,
        )
    name = f"replay-{before.name}"
    data = rows_jsonl(dataset_of(name, found.rows))
    dataset = stored(control, who, name, data, f"{name}.jsonl", f"Calls of {before.name}@{before.number}")
    judge = resolved(registry, wanted.judge or DEFAULT_JUDGE)
    text = _suite_text(candidate.name, name, dataset["number"], f"{judge.name}@{judge.number}")
    file = f"replay of {before.name}"
    suite = load_suite(text, file)
    kept = suites.store(
        registry,
        name=suite.name,
        content_sha256=suite.sha256,
        text=text,
        file=file,
        prompt=candidate.name,
        who=name_of(who),
    )
    baseline = _baseline(control, who, kept.sha256, before, found)
    start = StartRun(suite_sha256=kept.sha256, prompt=f"{candidate.name}@{candidate.number}", baseline_run=baseline.id)
    run, _ = eval_runs.start(control, who, start)
    return run, baseline, found


def _earlier(control: ControlApp, who: Principal, before: PromptVersion, against: str, since: str) -> str | None:
    """After a promotion the calls are of the version before: how to look at those. None where there are none.

    They are not taken in its stead: what that version answered is no evidence against what the alias means now.
    """
    alias, since_at = against.rpartition("@")[2], moment(since, "since")
    for move in prompts.moves(control.publisher.registry, before.name):
        if move.alias != alias or move.from_number in (None, before.number):
            continue
        assert move.from_number is not None
        older = prompts.get_version(control.publisher.registry, before.name, move.from_number)
        calls = lookup.calls_of_prompt(
            control.log, older.name, older.sha256, since=since_at, project=who.sees_project, limit=MAX_LOG_ROWS
        )
        if calls:
            return (
                f"Before {utc(move.at_us):%Y-%m-%d %H:%M} UTC {alias} meant {older.name}@{older.number}, which "
                f"answered {len(calls):,} calls in that time. Look at those: --against {older.number}. It brings no "
                f"receipt against {alias}; for that, make them cases: headgate dataset from-log."
            )
    return None


def _suite_text(prompt: str, dataset: str, number: int, judge: str) -> str:
    """The suite of a replay: the judge compares blind in both orders, cost and latency are watched."""
    suite = "replay-" + prompt.replace("/", "-")
    scorers: list[dict[str, Any]] = [
        {"id": "better", "type": "judge.pairwise", "judge": "main", "role": "primary"},
        {"id": "latency", "type": "latency"},
        {"id": "cost", "type": "cost"},
    ]
    # JSON is YAML.
    return msgspec.json.encode(
        {
            "suite": suite,
            "target": {"prompt": prompt},
            "dataset": {"name": dataset, "version": number},
            "scorers": scorers,
            "judges": {"main": {"prompt": judge}},
        }
    ).decode()


def _baseline(control: ControlApp, who: Principal, suite_sha256: str, before: PromptVersion, found: LogRows) -> Run:
    """A finished run that holds what traffic was answered; nothing is asked for it."""
    start = StartRun(suite_sha256=suite_sha256, prompt=f"{before.name}@{before.number}", resume=False)
    made, _ = eval_runs.start(control, who, start)
    # The same run, told apart: its evidence is traffic, chosen here and now.
    run = replace(made, id=new_id("run"), kind="log", created_at_us=now_us())
    run = replace(run, name=run.id)
    registry = control.publisher.registry
    runs.replace_unfinished(registry, made.id, run)
    loaded = load(control, run)
    cells, results = _judged(control, loaded, found)
    finish = Finish(
        status="complete",
        stopped=None,
        totals={"cells": len(cells), "answered": len(cells), "calls": 0, "cached": len(cells), "asks": 0},
        scorers={one.spec.id: scorer_json(one) for one in loaded.scorers},
        result_sha256=result_sha256(neutral(run, cells, results)),
        cells=cells,
        results=results,
    )
    return runs.finish(registry, run, finish)


def _judged(control: ControlApp, loaded: Loaded, found: LogRows) -> tuple[list[StoredCell], list[StoredResult]]:
    by_call = {found.calls[cell.item].request_id: cell for cell in loaded.cells}
    cells: list[StoredCell] = []
    results: list[StoredResult] = []
    calls = [found.calls[cell.item] for cell in loaded.cells]
    for batch in lookup.batches(calls):
        bodies = lookup.bodies_of(control.log, batch)
        for call in batch:
            cell = by_call[call.request_id]
            kept = bodies.get(call.request_id)
            output = None if kept is None else output_from(call, kept)
            problem = None if output is not None else "its body is gone"
            one = Found(call=None if output is None else call, output=output, problem=problem)
            cells.append(stored_cell(loaded, cell, one))
            for scorer in loaded.scorers:
                if scorer.needs_baseline or scorer.needs_judge or scorer.source == "client" or output is None:
                    continue
                score = scorer.score(cell.row, output, None, ()) if not scorer.asks(cell.row, output, None) else None
                score = score or unscored("a replay asks nothing about what was answered")
                results.append(
                    StoredResult(
                        item=cell.item,
                        repeat=cell.repeat,
                        system=loaded.run.system,
                        scorer=scorer.spec.id,
                        value=score.value,
                        status=score.status,
                        reason=score.reason or None,
                    )
                )
    return cells, results
