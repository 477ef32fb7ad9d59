"""``headgate eval import`` and ``export``: results in their neutral form."""

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json, note
from headgate.cli.text import many, printable
from headgate.core.errors import NotFound

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.evals.results import Result

_ENDING = ".jsonl"
NEWEST = "last"


def run_named(client: "Client", named: str) -> str:
    """The id of the run that ``named`` means: an id, or ``last``, the newest run. NotFound when there is none yet."""
    if named != NEWEST:
        return named
    found = client.eval_runs(limit=1).get("runs") or []
    if not found:
        raise NotFound("There is no run yet.", hint="Make one: headgate eval run support-answer")
    return str(found[0]["run"])


def read_file(path: Path) -> "list[Result]":
    """The results in a file; ResultsFault with every faulty line, UsageError when it cannot be read."""
    from headgate.evals.results import read_results

    try:
        with path.open("rb") as file:
            return read_results(file, str(path))
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror or error}.") from None


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON: runs.")
@home_option
def import_results(file: Path, as_json: bool, home: Path | None) -> None:
    """Store results of others: JSON Lines in the neutral form, one line for each item, repeat and scorer.

    All statistics and the gate work on them, without a model; such evidence never moves a protected alias.

    \b
    Examples:
      headgate eval import results.jsonl
      headgate eval gate RUN --prompt SYSTEM --against OTHER-SYSTEM --policy standard
    """
    read_file(file)  # faults by line before anything is sent
    with connect(home) as client:
        answer = client.import_results(file.read_bytes())
    if as_json:
        emit_json(answer)
        return
    for one in answer.get("runs") or []:
        systems = ", ".join(map(printable, one.get("systems") or []))
        click.echo(f"{printable(one.get('run'))}  {many(one.get('rows'), 'row')}, systems: {systems}")
    note("Next: headgate eval gate RUN --prompt SYSTEM --against OTHER-SYSTEM, or headgate eval report RUN --open")


@click.command("export")
@click.argument("run_id", metavar="RUN")
@click.option(
    "--to", "target", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Default: stdout."
)
@home_option
def export(run_id: str, target: Path | None, home: Path | None) -> None:
    """Write the results of RUN (its id, or last) in the neutral form; the same run gives the same bytes.

    \b
    Examples:
      headgate eval export last --to results.jsonl
      headgate eval export 019ab6c2-7f31-7000-8000-000000000000 --to results.jsonl
    """
    with connect(home) as client:
        text = b"".join(client.run_results(run_named(client, run_id)))
    if target is None:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
        return
    write_file(target, text)
    note(f"{target}: {many(len(text.splitlines()), 'row')}")


def open_report(client: "Client", run: str) -> None:
    """Writes the report of a run as one HTML file of its own and shows it in a browser, where there is one."""
    from headgate.evals.report import html, read_report

    target = Path(tempfile.mkdtemp(prefix="headgate-report-")) / "report.html"
    write_file(target, html(read_report(b"".join(client.run_report(run)))).encode())
    note(f"Report: {target}")
    click.launch(str(target))


def write_file(target: Path, data: bytes) -> None:
    """Writes a file that is either complete or not there; UsageError when it cannot be."""
    partial = target.with_name(f".{target.name}.part")
    try:
        partial.write_bytes(data)
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise click.UsageError(f"{target} cannot be written: {error.strerror or error}.") from None
