"""``headgate history``: who changed what, when and why."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import Column, column, emit_json, heading, is_terminal, listing, note
from headgate.cli.text import json_text, local_time, printable


@click.command("history")
@click.argument("object_name", metavar="[OBJECT]", required=False)
@click.option("--as-of", metavar="TIME", help="As it was at this time: 7d (ago), or 2026-11-23T08:00:00Z.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def history(object_name: str | None, as_of: str | None, as_json: bool, home: Path | None) -> None:
    """Every change, newest first: who, what, when, why, on which evidence. Entries are chained by hashes.

    With --as-of, first which version every alias meant at that time (on a pipe that is on stderr, or in --json).

    \b
    Examples:
      headgate history
      headgate history key:my-app
      headgate history prompt:support-answer --as-of 24h
      headgate history --as-of 2026-11-01T00:00:00Z
    """
    with connect(home) as client:
        answer = client.history(object_name, as_of)
    if as_json:
        emit_json(answer)
        return
    if as_of is not None:
        _print_in_force(answer.get("in_force") or [])
    columns = (
        column("When", "at", local_time),
        column("Who", "who", least=10),
        column("Action", "action"),
        column("Object", "object", least=14),
        column("Reason", "reason", rank=1, least=16),
        Column(
            title="Detail",
            pick=lambda row: row.get("detail"),
            show=lambda row: _detail(row.get("detail")),
            rank=2,
            least=20,
        ),
    )
    listing(columns, answer.get("entries") or [], empty="Nothing was changed yet.")


def _print_in_force(standing: Sequence[Mapping[str, Any]]) -> None:
    """Where the aliases stood."""
    if not is_terminal():
        for one in standing:
            note(f"in force: {one.get('object')}@{one.get('alias')} = {one.get('version')}")
        return
    heading("In force then")
    columns = (
        column("Object", "object", least=14),
        column("Alias", "alias", least=10),
        column("Version", "version", right=True),
    )
    listing(columns, standing, empty="No alias stood then.")
    heading("Changes until then")


def _detail(detail: object) -> str:
    if not detail:
        return "-"
    return printable(detail) if isinstance(detail, str) else json_text(detail, indent=None)
