"""``headgate verify``: the proof that every accepted call is stored, once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json, note
from headgate.cli.text import count, many, printable, seconds

_LAW = ("recorded", "interrupted", "in_flight", "dropped")


@click.command("verify")
@click.option("--rebuild", is_flag=True, help="Also make the log anew from sealed files and spool, and compare.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: proven, faults, notes, totals, spools, rebuild.")
@home_option
def verify(rebuild: bool, as_json: bool, home: Path | None) -> int:
    """Prove that nothing was lost and nothing is stored twice.

    Every call that was begun has a number in its worker's spool. This follows the numbers: each is recorded,
    interrupted, in flight or counted as dropped, and the log has exactly their rows. What is still in the spool is read
    again; every sealed file is compared with the log; every prompt, dataset, knowledge base and model with its hash.

    --rebuild makes the log's file anew from sealed files and spool and compares it with the one in use, column by
    column. The fresh one takes its place when both are equal, or when the old one is damaged (it is kept beside).

    Works beside a running server and on a stopped home. Exit code 0 when it is proven, 1 with what is wrong named.

    \b
    Examples:
      headgate verify
      headgate verify --json | jq .totals
      headgate verify --home /backup/headgate
    """
    with connect(home, makes_log_anew=rebuild) as client:
        answer = client.verify(rebuild=rebuild)
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
    remade = answer.get("rebuild")
    if remade is not None:
        verdict = "equal in every column" if remade["equal"] else "not equal"
        place = "; it is in use now" if remade["replaced"] else "; the log in use stays"
        if remade["repriced"]:
            place += f", because {many(remade['repriced'], 'request')} of the spool would be priced anew"
        click.echo(f"Made anew in {seconds(remade['seconds'])} with {many(remade['rows'], 'row')}: {verdict}{place}")
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
