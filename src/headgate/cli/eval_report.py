"""``headgate eval report``: a run in one of five renderings, all from one model."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.eval_results import run_named, write_file
from headgate.cli.output import is_terminal, note, terminal

if TYPE_CHECKING:
    from headgate.evals.report import Report

_FORMATS = {".html": "html", ".json": "json", ".xml": "junit", ".md": "markdown"}


@click.command("report")
@click.argument("run_id", metavar="RUN[:SYSTEM]")
@click.option(
    "--against", metavar="RUN[:SYSTEM]", help="The run it is compared with.  [default: that of its last gate]"
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "json", "junit", "markdown", "terminal"]),
    help="[default: by the ending of FILE; html with --open; else terminal]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, the same bytes for the same runs.")
@click.option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@click.option("--open", "is_opened", is_flag=True, help="Open the HTML in a browser.")
@home_option
def report(
    run_id: str,
    against: str | None,
    kind: str | None,
    as_json: bool,
    target: Path | None,
    is_opened: bool,
    home: Path | None,
) -> None:
    """Show a run, compared with another where there is one. HTML is one file that loads nothing from elsewhere.

    RUN is the id that headgate eval run and gate print, or last, the newest run. Imported results may hold several
    systems: name the one that is meant, RUN:SYSTEM.

    \b
    Examples:
      headgate eval report last
      headgate eval report last --open
      headgate eval report RUN --json
      headgate eval report RUN --format markdown -o report.md
    """
    from headgate.evals.report import read_report

    wanted = wanted_form("json" if as_json and kind is None else kind, target, is_opened, usually="terminal")
    if as_json and wanted != "json":
        raise click.UsageError(f"--json prints JSON; leave --format {kind} out.")
    with connect(home) as client:
        run, _, system = run_id.partition(":")
        other, _, other_system = (against or "").partition(":")
        against_run = run_named(client, other) if other else None
        found = client.run_report(
            run_named(client, run), against_run, system=system or None, against_system=other_system or None
        )
        model = read_report(b"".join(found))
    deliver(model, wanted, target, is_opened)


def wanted_form(kind: str | None, target: Path | None, is_opened: bool, *, usually: str) -> str:
    """The rendering asked for: by its name, by the ending of the file, HTML for a browser."""
    wanted = kind or ("html" if is_opened else _FORMATS.get(target.suffix, "") if target else "") or usually
    if is_opened and wanted != "html":
        raise click.UsageError("--open shows HTML; leave --format and --json out.")
    return wanted


def deliver(model: "Report", wanted: str, target: Path | None, is_opened: bool) -> None:
    """Write a report to its file, to the terminal, or to a browser."""
    from headgate.evals.report import html, json_bytes, junit, markdown, plain
    from headgate.evals.report import terminal as rendered

    made: dict[str, Any] = {
        "html": lambda: html(model).encode(),
        "json": lambda: json_bytes(model),
        "junit": lambda: junit(model),
        "markdown": lambda: markdown(model).encode(),
        "terminal": lambda: plain(model).encode(),
    }
    if wanted == "terminal" and target is None and is_terminal():
        terminal().print(rendered(model))
        return
    data: bytes = made[wanted]()
    if target is None and is_opened:
        target = Path(tempfile.mkdtemp(prefix="headgate-report-")) / "report.html"
    if target is None:
        click.echo(data.decode(), nl=not data.endswith(b"\n"))
        return
    write_file(target, data)
    note(f"{target}: {wanted}")
    if is_opened and click.launch(str(target)):
        note(f"No browser could be started. Open the file yourself: {target}")
