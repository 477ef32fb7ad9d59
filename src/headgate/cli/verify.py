"""``headgate verify``: the proof that every accepted call is stored, once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json, note
from headgate.cli.text import count, many, printable

_LAW = ("recorded", "interrupted", "in_flight", "dropped")


@click.command("verify")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: proven, faults, notes, totals, spools.")
@home_option
def verify(as_json: bool, home: Path | None) -> int:
    """Prove that nothing was lost and nothing is stored twice.

    Every call that was begun has a number in its worker's spool. This follows the numbers: each is recorded,
    interrupted, in flight or counted as dropped, and the log has exactly their rows. What is still in the spool is read
    again; every sealed file is compared with the log; every prompt, dataset, knowledge base and model with its hash.

    Works beside a running server and on a stopped home. Exit code 0 when it is proven, 1 with what is wrong named.

    \b
    Examples:
      headgate verify
      headgate verify --json | jq .totals
      headgate verify --home /backup/headgate
    """
    with connect(home) as client:
        answer = client.verify()
    if as_json:
        emit_json(answer)
    else:
        _print(answer)
    return 0 if answer.get("proven") else 1


def _print(answer: Mapping[str, Any]) -> None:
    totals = answer.get("totals") or {}
    spools = answer.get("spools") or []
    parts = " + ".join(f"{count(totals.get(name))} {name.replace('_', ' ')}" for name in _LAW)
    click.echo(f"{count(totals.get('started'))} started = {parts}   ({many(len(spools), 'worker')})")
    click.echo(
        f"{count(totals.get('rows'))} rows stored = {count(totals.get('rows_in_log'))} in the log + "
        f"{count(totals.get('rows_removed'))} taken out by deletion or age; "
        f"{many(totals.get('sealed_files'), 'sealed file')} with {count(totals.get('sealed_rows'))} rows"
    )
    for text in answer.get("notes") or []:
        note(str(text))
    faults = answer.get("faults") or []
    for fault in faults:
        click.echo(f"{click.style('fault', fg='red')}  {printable(fault)}")
    if len(faults) < int(answer.get("faults_in_all") or 0):
        click.echo(
            f"... and {count(answer['faults_in_all'] - len(faults))} more faults: --json does not list them either"
        )
    click.echo("Proven: nothing is missing, nothing is there twice." if answer.get("proven") else "Not proven.")
