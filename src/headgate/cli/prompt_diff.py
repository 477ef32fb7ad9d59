"""``headgate prompt diff``: two versions or files, field by field and message by message."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json
from headgate.cli.prompt_text import Change, print_changes, version_of
from headgate.cli.text import printable

if TYPE_CHECKING:
    from headgate.client import Client

_FILES = (".yaml", ".yml")


@click.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: from, to, changes.")
@home_option
def diff(before: str, after: str, as_json: bool, home: Path | None) -> None:
    """Show what turns A into B: model, parameters, inputs, each message, tools, response format.

    A and B are name@7, name@alias, name, or files. B may leave out the name: @8.

    \b
    Examples:
      headgate prompt diff support-answer@7 support-answer@8
      headgate prompt diff support-answer@production @candidate
      headgate prompt diff support-answer prompts/support-answer.yaml
    """
    from headgate.prompts.differences import differences

    if after.startswith("@"):
        if _is_file(before):
            raise click.UsageError(f"{after} names no prompt, and A is a file. Write name{after}.")
        after = before.partition("@")[0] + after
    if _is_file(before) and _is_file(after):
        sides = [_of_file(before), _of_file(after)]
    else:
        with connect(home) as client:
            sides = [_side(client, text) for text in (before, after)]
    (from_label, old), (to_label, new) = sides
    changes = [
        Change(field=found.field, kind=found.kind, lines=[(line.mark, line.text) for line in found.lines])
        for found in differences(old, new)
    ]
    if as_json:
        emit_json({"from": from_label, "to": to_label, "changes": [_change_json(change) for change in changes]})
        return
    labels = f"{printable(from_label)} and {printable(to_label)}"
    if not changes:
        click.echo(f"{labels} have the same content.")
        return
    click.echo(f"{printable(from_label)} → {printable(to_label)}")
    print_changes(changes)


def _change_json(change: Change) -> dict[str, Any]:
    lines = [{"mark": mark, "text": text} for mark, text in change.lines]
    return {"field": change.field, "kind": change.kind, "lines": lines}


def _is_file(text: str) -> bool:
    return text.endswith(_FILES)


def _side(client: "Client", text: str) -> tuple[str, dict[str, Any]]:
    """A label and the content, as JSON has it."""
    if _is_file(text):
        return _of_file(text)
    version = version_of(client, text)
    return str(version["ref"]), version["content"]


def _of_file(text: str) -> tuple[str, dict[str, Any]]:
    import json

    from headgate.cli.prompt_files import parsed, read_text
    from headgate.prompts.model import canonical

    return text, json.loads(canonical(parsed(Path(text), read_text(Path(text))).content))
