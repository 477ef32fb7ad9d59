"""``headgate judge``: a judge against people's labels, and the cards that say how well it did."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.eval_files import find_suite
from headgate.cli.eval_files import push as push_suite
from headgate.cli.lazy import Entry, LazyGroup
from headgate.cli.output import Column, column, emit_json, listing
from headgate.cli.prompt_files import read_text
from headgate.cli.text import MISSING, local_time, printable

COMMANDS = {
    "calibrate": Entry(target="headgate.cli.judge:calibrate", help="Logged verdicts against people's labels: a card."),
    "card": Entry(target="headgate.cli.judge:card", help="The cards of judges, newest first."),
}
_FIELDS = ("request_id", "label", "swapped", "item")


@click.group("judge", cls=LazyGroup, entries=COMMANDS)
def judge() -> None:
    """Judges: how far their verdicts agree with people's, as a card that a policy can ask for.

    A changed model, prompt or rubric ends a card, and so does its age.
    """


@click.command("calibrate")
@click.argument("suite")
@click.argument("labels", metavar="LABELS.jsonl", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--scorer", required=True, metavar="ID", help="The judge scorer of the suite.")
@click.option("--expires", default="90d", show_default=True, metavar="SPAN", help="How long the card holds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: card.")
@home_option
def calibrate(suite: str, labels: Path, scorer: str, expires: str, as_json: bool, home: Path | None) -> None:
    """Calibrate the judge of a scorer of SUITE on labels: one JSON object a line with request_id (a logged call of
    purpose judge) and label (what a person says: pass or fail; A, B or tie), and swapped, the same pair's other call.

    \b
    Examples:
      headgate log list --purpose judge --since 1d
      headgate judge calibrate support-answer labels.jsonl --scorer to-the-point
    """
    found = find_suite(suite)
    known = [one.id for one in found.suite.scorers if one.judge]
    if scorer not in known:
        raise click.UsageError(f"Suite {found.suite.name} has no judge scorer {scorer}. It has: {_listed(known)}.")
    rows = _labels(labels)
    with connect(home) as client:
        body = {"suite_sha256": push_suite(client, found), "scorer": scorer, "labels": rows, "expires": expires}
        answer = client.push_judge_card(body)
    if as_json:
        emit_json(answer)
        return
    _print([answer.get("card") or {}])


@click.command("card")
@click.argument("name", metavar="[JUDGE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: cards.")
@home_option
def card(name: str | None, as_json: bool, home: Path | None) -> None:
    """List the cards of a judge (a prompt's name), or of all.

    \b
    Examples:
      headgate judge card judge-rubric
    """
    with connect(home) as client:
        answer = client.judge_cards(name)
    if as_json:
        emit_json(answer)
        return
    _print(answer.get("cards") or [])


def _print(cards: list[dict[str, Any]]) -> None:
    columns = (
        column("Card", "card", least=12),
        _fact("Judge", "judge"),
        _fact("n", "n"),
        _fact("Agreement", "agreement"),
        _fact("Kappa", "kappa"),
        _fact("TPR", "tpr"),
        _fact("TNR", "tnr"),
        column("Expires", "expires_at", local_time),
        column("Expired", "expired", only="pipe"),
    )
    listing(columns, cards, empty="No cards yet. Make one: headgate judge calibrate SUITE LABELS.jsonl --scorer ID")


def _fact(title: str, name: str) -> Column:
    def pick(row: Mapping[str, Any]) -> Any:
        return (row.get("facts") or {}).get(name)

    def show(row: Mapping[str, Any]) -> str:
        value = pick(row)
        return MISSING if value is None else f"{value:.3f}" if isinstance(value, float) else printable(value)

    return Column(title=title, name=name, pick=pick, show=show)


def _labels(path: Path) -> list[dict[str, Any]]:
    """The labels in a file; UsageError naming the line that cannot be used."""
    found: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise click.UsageError(f"{path}:{number} is not JSON: {error}.") from None
        if not isinstance(row, dict) or not isinstance(row.get("request_id"), str) or not row.get("label"):
            raise click.UsageError(f'{path}:{number} is no label: {{"request_id": "…", "label": "pass"}}')
        found.append({name: row[name] for name in _FIELDS if row.get(name) is not None})
    if not found:
        raise click.UsageError(f"{path} holds no label: one JSON object a line.")
    return found


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
