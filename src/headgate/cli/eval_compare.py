"""``headgate eval compare``: two sets of results beside each other, from runs or from files without a server."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.eval_report import deliver, wanted_form
from headgate.cli.eval_results import read_file, run_named
from headgate.cli.output import Column, column, emit_json, listing
from headgate.cli.text import MISSING, many, printable

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.evals.report import Report
    from headgate.evals.results import Result

_REPORTS_LEVEL = 0.95


@click.command("compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--level", type=click.FloatRange(0.5, 0.9999), default=0.95, show_default=True, help="Of the intervals.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with all digits.")
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a report, by its ending: .html, .md, .xml (JUnit), .json.",
)
@click.option("--open", "is_opened", is_flag=True, help="Open the report as HTML in a browser.")
@home_option
def compare(
    a: str, b: str, level: float, as_json: bool, target: Path | None, is_opened: bool, home: Path | None
) -> None:
    """Compare A with B, paired by case. Each is a run's id, RUN:SYSTEM, or a results file (FILE.jsonl or
    FILE.jsonl:SYSTEM); two files need no server. It decides nothing and stores nothing.

    A report (--output, --open) of two whole runs shows their answers beside each other.

    \b
    Examples:
      headgate eval compare new.jsonl old.jsonl --json
      headgate eval compare results.jsonl:gpt-a results.jsonl:gpt-b
      headgate eval compare new.jsonl old.jsonl -o compared.html
      headgate eval compare 019ab6c2-7f31-7000-8000-000000000000 019ab6c1-0000-7000-8000-000000000000
    """
    import msgspec

    from headgate.evals.compare import compare as compared

    is_report = target is not None or is_opened
    if is_report:
        if as_json:
            raise click.UsageError(
                "--json prints the figures; a report is written by the ending of its file: -o FILE.json"
            )
        _report(a, b, level, target, is_opened, home)
        return
    sides = _sides(a, b, home)
    found = msgspec.to_builtins(compared(sides[0], sides[1], level=level))
    if as_json:
        emit_json(found)
        return
    rows = found.get("scorers") or []
    click.echo(
        f"{printable(found.get('a'))} against {printable(found.get('b'))}: "
        f"{many(found.get('items_paired'), 'paired case')}"
    )
    listing(_columns(level), rows, empty="The two sides have no scorer and case in common.")


def _sides(a: str, b: str, home: Path | None) -> "list[list[Result]]":
    """The results of both sides; two files need no server."""
    if _is_file(a) and _is_file(b):
        return [_from_file(named) for named in (a, b)]
    with connect(home) as client:
        return [_from_file(named) if _is_file(named) else _from_run(client, named) for named in (a, b)]


def _report(a: str, b: str, level: float, target: Path | None, is_opened: bool, home: Path | None) -> None:
    """The comparison as a report: of two whole runs with their texts, else of the results alone."""
    wanted = wanted_form(None, target, is_opened, usually="html")
    if any(_is_file(named) or ":" in named for named in (a, b)):
        deliver(_of_results(a, b, level, home), wanted, target, is_opened)
        return
    from headgate.evals.report import read_report

    if level != _REPORTS_LEVEL:
        raise click.UsageError(f"Reports of runs have intervals of {_REPORTS_LEVEL:.0%}. Leave --level out.")
    with connect(home) as client:
        model = read_report(b"".join(client.run_report(run_named(client, a), run_named(client, b))))
    deliver(model, wanted, target, is_opened)


def _of_results(a: str, b: str, level: float, home: Path | None) -> "Report":
    from headgate.evals.compare import compare as compared
    from headgate.evals.gate import facts_of_import
    from headgate.evals.report import Side, build

    ours, theirs = _sides(a, b, home)
    if not ours or not theirs:
        raise click.UsageError(f"{a if not ours else b} holds no results.")
    found = compared(ours, theirs, level=level)
    sides = [Side(facts=facts_of_import(results), status="imported") for results in (ours, theirs)]
    return build(*sides, suite=f"{a} against {b}", comparison=found)


def _columns(level: float) -> tuple[Column, ...]:
    return (
        column("Scorer", "scorer", least=10),
        column("n", "n", right=True),
        Column(
            title="Mean a", pick=lambda row: row["a"]["mean"], show=lambda row: _figure(row["a"]["mean"]), right=True
        ),
        Column(
            title="Mean b", pick=lambda row: row["b"]["mean"], show=lambda row: _figure(row["b"]["mean"]), right=True
        ),
        column("Difference", "difference", _figure, right=True),
        column("SE", "se", _figure, right=True, rank=2),
        Column(title=f"{level:.0%}", name="interval", pick=lambda row: row.get("interval"), show=_interval, least=20),
        Column(
            title="Win/tie/loss",
            pick=lambda row: f"{row['wins']}/{row['ties']}/{row['losses']}",
            rank=1,
        ),
        column("Method", "method", rank=3, least=12),
    )


def _figure(value: Any) -> str:
    return MISSING if value is None else f"{value:+.4f}" if value < 0 else f"{value:.4f}"


def _interval(row: Mapping[str, Any]) -> str:
    found = row.get("interval")
    return MISSING if not found else f"[{found['low']:.4f}, {found['high']:.4f}]"


def _is_file(named: str) -> bool:
    return Path(named).is_file() or Path(named.rpartition(":")[0]).is_file()


def _from_file(named: str) -> "list[Result]":
    path, system = (Path(named), "") if Path(named).is_file() else _split(named)
    return _of_system(read_file(path), system, named)


def _split(named: str) -> tuple[Path, str]:
    path, _, system = named.rpartition(":")
    return Path(path), system


def _from_run(client: "Client", named: str) -> "list[Result]":
    from headgate.evals.results import read_results

    run, _, system = named.partition(":")
    run = run_named(client, run)
    lines = b"".join(client.run_results(run)).splitlines()
    return _of_system(read_results(lines, f"run {run}"), system, named)


def _of_system(results: "list[Result]", system: str, named: str) -> "list[Result]":
    """The rows of one system; UsageError naming those there are when it is not clear which."""
    systems = list(dict.fromkeys(result.system for result in results))
    if system and system not in systems:
        raise click.UsageError(f"{named}: there is no system {system}. Systems: {', '.join(systems) or 'none'}.")
    if not system and len(systems) > 1:
        raise click.UsageError(f"{named} has the systems {', '.join(systems[:10])}. Say which: {named}:{systems[0]}")
    return [result for result in results if not system or result.system == system]
