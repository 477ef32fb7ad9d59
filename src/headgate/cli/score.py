"""``headgate score push``: judgements of requests by people, applications and files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.lazy import Entry, LazyGroup
from headgate.cli.output import emit_json
from headgate.cli.requests import find
from headgate.cli.text import many

COMMANDS = {"push": Entry(target="headgate.cli.score:push", help="Store scores of requests.")}
_BATCH = 1000


@click.group("score", cls=LazyGroup, entries=COMMANDS)
def score() -> None:
    """Scores: any judgement of a request, by a person, an application or code: thumbs, rating, correction."""


@click.command("push")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--request", "request_id", metavar="ID", help="One request: its id, its first characters, or last.")
@click.option("--name", metavar="NAME", help="What is judged: thumbs, rating, correction.")
@click.option("--value", type=float, help="A number: 1 for thumbs up, 0 for down.")
@click.option("--label", metavar="TEXT", help="A word instead of a number.")
@click.option("--comment", metavar="TEXT", help="Why.")
@click.option("--correction", metavar="TEXT", help="What the answer should have been.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: stored.")
@home_option
def push(file: Path | None, request_id: str | None, as_json: bool, home: Path | None, **given: Any) -> None:
    """Store scores: of one request (--request, --name and a value), or those in FILE (JSON Lines of {request_id, name,
    value | label | comment | correction}).

    \b
    Examples:
      headgate score push --request last --name thumbs --value 1
      headgate score push --request 019ab6c2-7f31 --name correction --correction "Within 30 days."
      headgate score push feedback.jsonl
    """
    if (file is None) == (request_id is None):
        raise click.UsageError("Give either FILE or --request ID. Example: --request last --name thumbs --value 1")
    said = {name: value for name, value in given.items() if value is not None}
    if file is None and (not given["name"] or len(said) < 2):
        raise click.UsageError("A score has a --name and one of --value, --label, --comment, --correction.")
    with connect(home) as client:
        if file is not None:
            scores: Sequence[Mapping[str, Any]] = _read(file)
        else:
            scores = [{"request_id": find(client, str(request_id)), "source": "human", **said}]
        stored = 0
        for first in range(0, len(scores), _BATCH):
            answer = client.push_scores(scores[first : first + _BATCH])
            stored += int(answer.get("stored") or 0)
    if as_json:
        emit_json({"stored": stored})
    else:
        click.echo(f"{many(stored, 'score')} stored.")


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file} cannot be read: {error}.") from None
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise click.UsageError(f"{file}:{number} is not JSON: {error}.") from None
        if not isinstance(row, dict):
            raise click.UsageError(f'{file}:{number} is no object: {{"request_id": "…", "name": "thumbs", "value": 1}}')
        found.append(row)
    return found
