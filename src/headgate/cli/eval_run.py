"""``headgate eval run`` and ``resume``: a suite on a prompt version, through the gateway."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.eval_files import find_suite
from headgate.cli.eval_kb import KB
from headgate.cli.eval_results import open_report, run_named
from headgate.cli.eval_sides import (
    Started,
    carry_out,
    exit_code,
    known,
    limit_options,
    limits_of,
    say_ending,
    start,
    suite_of_run,
)
from headgate.cli.output import column, emit_json, listing, note
from headgate.cli.text import MISSING, printable

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.evals.results import Result
    from headgate.evals.runner.side import Limits

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON; progress as JSON lines on stderr.")


@click.command("run")
@click.argument("suite")
@click.option("--prompt", metavar="NAME@REF", help="The version to run.  [default: the suite's target]")
@KB
@click.option("--against", metavar="RUN", help="A run whose answers pairwise judges compare with.")
@limit_options
@click.option("--open", "is_opened", is_flag=True, help="Open the report in a browser at the end.")
@_JSON
@home_option
def run(
    suite: str,
    prompt: str | None,
    kb: str | None,
    against: str | None,
    budget: str | None,
    concurrency: int | None,
    is_opened: bool,
    as_json: bool,
    home: Path | None,
) -> int:
    """Run SUITE: a name in evals/, a file, or a sample. What the log has an answer to is not called again.

    Exit codes: 0 complete, 4 budget or time reached, 5 upstream or gateway, 130 interrupted; a run that stopped is gone
    on with by headgate eval resume RUN, or by the same command again.

    \b
    Examples:
      headgate eval run support-answer --open
      headgate eval run support-answer --prompt support-answer@8 --budget 2.50
      headgate eval run support-answer --kb handbook@4
      headgate eval run evals/support-answer.yaml --json
    """
    found = find_suite(suite)
    limits = limits_of(found.suite, budget, concurrency)
    with connect(home) as client:
        started = start(client, found, prompt, kb=kb, baseline_run=against)
        code = _finished(client, started, limits, as_json)
        if is_opened:
            open_report(client, started.run)
        return code


@click.command("resume")
@click.argument("run_id", metavar="RUN")
@limit_options
@_JSON
@home_option
def resume(run_id: str, budget: str | None, concurrency: int | None, as_json: bool, home: Path | None) -> int:
    """Go on with RUN (its id, or last) that stopped: after a budget, an interrupt, an upstream that died, or kill -9.

    Nothing that was answered is called again.

    \b
    Examples:
      headgate eval resume last
      headgate eval resume 019ab6c2-7f31-7000-8000-000000000000 --budget 5
    """
    with connect(home) as client:
        facts = client.eval_run(run_named(client, run_id))
        found = suite_of_run(client, facts)
        limits = limits_of(found.suite, budget, concurrency)
        return _finished(client, known(client, found.suite, facts, facts.get("baseline_run")), limits, as_json)


def _finished(client: "Client", started: Started, limits: "Limits", as_json: bool) -> int:
    if not as_json:
        note(f"Run {started.run}: {started.system} on {len(started.dataset.rows)} cases of {started.dataset.name}.")
    ran = carry_out(client, started, limits, as_json=as_json)
    if as_json:
        emit_json(
            {
                "run": ran.run,
                "system": ran.system,
                "status": ran.status,
                "stopped": ran.stopped,
                "why": ran.why or None,
                "called": ran.called,
                "cached": ran.cached,
                "spent_usd": f"{ran.spent_usd:f}",
                "unpriced": ran.unpriced,
                **{name: ran.answer.get(name) for name in ("results", "missing", "totals")},
            }
        )
        return exit_code(ran)
    print_scores(client, ran.run)
    say_ending(ran)
    if ran.stopped is None:
        note(f"Case by case: headgate eval report {ran.run} --open")
    return exit_code(ran)


def print_scores(client: "Client", run_id: str) -> None:
    """One line per scorer: how many cases have a score, and their mean."""
    from headgate.evals.results import read_results

    results = read_results(b"".join(client.run_results(run_id)).splitlines(), f"run {run_id}")
    columns = (
        column("Scorer", "scorer"),
        column("Mean", "mean", _number, right=True),
        column("Scored", "scored", right=True),
        column("Unscored", "unscored", right=True),
        column("Errors", "errors", right=True),
    )
    listing(columns, summary(results), empty="No results.")


def summary(results: "list[Result]") -> list[dict[str, Any]]:
    """Per scorer: how many rows have which status, and the mean of the values."""
    rows: dict[str, dict[str, Any]] = {}
    values: dict[str, list[float]] = {}
    for result in results:
        row = rows.setdefault(result.scorer, {"scorer": result.scorer, "scored": 0, "unscored": 0, "errors": 0})
        row[{"ok": "scored", "unscored": "unscored", "error": "errors"}[result.status]] += 1
        if result.value is not None:
            values.setdefault(result.scorer, []).append(result.value)
    for name, row in rows.items():
        row["mean"] = sum(values[name]) / len(values[name]) if values.get(name) else None
    return list(rows.values())


def _number(value: Any) -> str:
    return MISSING if value is None else f"{value:.4f}"


def system_of(facts: Mapping[str, Any]) -> str:
    """What a run judged, for people."""
    return printable(facts.get("system"))
