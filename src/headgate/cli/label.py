"""``headgate label push``: ground truth of predictions from a file."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.lazy import Entry, LazyGroup
from headgate.cli.output import emit_json
from headgate.cli.text import many

COMMANDS = {"push": Entry(target="headgate.cli.label:push", help="Store what turned out to be true.")}
_BATCH = 5000
_FIELDS = frozenset({"label", "value", "request_id", "row", "model", "entity", "as_of", "source"})


@click.group("label", cls=LazyGroup, entries=COMMANDS)
def label() -> None:
    """Labels: what turned out to be true of what a classic model predicted."""


@click.command("push")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--model", metavar="NAME", help="Model of labels by entity, where the file does not say.")
@click.option("--source", metavar="TEXT", help="Who says so; kept with each label.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: stored, known, waiting.")
@home_option
def push(file: Path, model: str | None, source: str | None, as_json: bool, home: Path | None) -> None:
    """Store labels from FILE: JSON Lines or CSV with the columns request_id, row and label (or value), or entity, label
    and as_of. They may come late, twice, corrected, or before the prediction is in the log; the last one counts.

    \b
    Examples:
      headgate label push outcomes.csv
      headgate label push churned.jsonl --model churn --source crm
    """
    labels = [_completed(found, model, source) for found in _read(file)]
    if not labels:
        raise click.UsageError(f"{file} holds no labels.")
    total = {"stored": 0, "known": 0, "waiting": 0}
    with connect(home) as client:
        for first in range(0, len(labels), _BATCH):
            answer = client.push_labels(labels[first : first + _BATCH])
            total = {name: count + int(answer.get(name) or 0) for name, count in total.items()}
    if as_json:
        emit_json(total)
        return
    waiting = total["waiting"]
    more = "" if not waiting else f" {many(waiting, 'label')} wait for requests that are not in the log yet."
    click.echo(f"{many(total['stored'], 'label')} stored.{more}")


def _completed(found: Mapping[str, Any], model: str | None, source: str | None) -> dict[str, Any]:
    given = {name: value for name, value in found.items() if value is not None}
    if model is not None and "entity" in given:
        given.setdefault("model", model)
    if source is not None:
        given.setdefault("source", source)
    return given


def _read(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            if file.suffix.lower() in (".csv", ".tsv"):
                yield from _csv_rows(
                    file, csv.DictReader(opened, dialect="excel-tab" if file.suffix == ".tsv" else "excel")
                )
                return
            for number, line in enumerate(opened, 1):
                if line.strip():
                    yield _json_row(file, number, line)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise click.UsageError(f"{file} cannot be read: {error}.") from None


def _csv_rows(file: Path, rows: "csv.DictReader[str]") -> Iterator[dict[str, Any]]:
    unknown = set(rows.fieldnames or ()) - _FIELDS
    if unknown:
        raise click.UsageError(
            f"{file}: unknown columns {', '.join(sorted(unknown))}. Known: {', '.join(sorted(_FIELDS))}."
        )
    for number, row in enumerate(rows, 2):
        found: dict[str, Any] = {name: text for name, text in row.items() if name in _FIELDS and text not in (None, "")}
        try:
            if "row" in found:
                found["row"] = int(found["row"])
            if "value" in found:
                found["value"] = float(found["value"])
        except ValueError as error:
            raise click.UsageError(f"{file}, line {number}: {error}.") from None
        yield found


def _json_row(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise click.UsageError(f"{file}, line {number}: {error}.") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"{file}, line {number} is no JSON object.")
    return found
