"""What the prompt commands share: finding the version a reference means, and showing contents and differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.output import heading
from headgate.cli.text import json_text, printable

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.prompts.reference import Reference

_COLOURS = {"+": "green", "-": "red", "~": "cyan"}
_FIELDS = ("model", "parameters", "overridable", "input", "knowledge", "tools", "response_format")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field that differs, and its lines: a mark (`+`, `-`, space, `~` for lines left out) and the text."""

    field: str
    kind: str
    lines: Sequence[tuple[str, str]]


def reference_in(found: Mapping[str, Any], reference: "Reference", *, or_latest: bool = False) -> int | str | None:
    """The number or alias that a reference means within a prompt; a bare name is what it means now.

    None where it means nothing; with ``or_latest`` the newest version instead.
    """
    if reference.number is not None:
        return reference.number
    if reference.alias is not None:
        return reference.alias
    current = found.get("current")
    if current:
        return int(current["number"])
    latest = found.get("latest")
    return int(latest) if or_latest and latest is not None else None


def listed_version(found: Mapping[str, Any], number: object) -> Mapping[str, Any]:
    """What a prompt's list of versions says of one: suites, aliases, archived; empty when it is not in there."""
    versions: Sequence[Mapping[str, Any]] = found.get("versions") or []
    return next((one for one in versions if one.get("number") == number), {})


def version_of(client: "Client", text: str) -> dict[str, Any]:
    """The version with its content that ``text`` means; raises HeadgateError."""
    from headgate.core.errors import NotFound
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(text)
    which: int | str | None = reference.number or reference.alias
    if which is None:
        found = client.prompt(reference.name)
        which = reference_in(found, reference)
        if which is None:
            raise NotFound(
                f"{reference.name} has no production, so its bare name means nothing.",
                hint=f"Say which version: {reference.name}@latest, {reference.name}@NUMBER.",
            )
    return client.prompt_version(reference.name, which)


def print_content(content: Mapping[str, Any]) -> None:
    """A version's content: its settings, then its messages as they stand."""
    for name in _FIELDS:
        if content.get(name):
            value = content[name]
            heading(name)
            click.echo(printable(value) if isinstance(value, str) else json_text(value))
    for number, message in enumerate(content.get("messages") or [], 1):
        heading(f"message {number} ({printable(message.get('role'))})")
        click.echo(printable(message.get("content"), keep_lines=True))


def changes_of(difference: Mapping[str, Any]) -> list[Change]:
    """The changes that the API tells."""
    return [
        Change(
            field=str(change.get("field")),
            kind=str(change.get("kind")),
            lines=[(str(line["mark"]), str(line["text"])) for line in change.get("lines") or []],
        )
        for change in difference.get("changes") or []
    ]


def print_changes(changes: Sequence[Change]) -> None:
    """Each field with its lines, as people compare texts."""
    for change in changes:
        heading(f"{printable(change.field)} {printable(change.kind)}")
        for mark, text in change.lines:
            shown = f"… {printable(text)}" if mark == "~" else f"{mark} {printable(text)}"
            click.echo(click.style(shown, fg=_COLOURS.get(mark)))


def summary(change: Change) -> str:
    """One change on one line: a short value as ``old → new``, a text by its lines."""
    gone = [text for mark, text in change.lines if mark == "-"]
    come = [text for mark, text in change.lines if mark == "+"]
    field = printable(change.field)
    if len(change.lines) == 2 and len(gone) == len(come) == 1 and len(gone[0]) + len(come[0]) <= 80:
        return f"{field}: {printable(gone[0])} → {printable(come[0])}"
    if change.kind != "changed" and len(change.lines) == 1 and len(change.lines[0][1]) <= 60:
        return f"{field} {printable(change.kind)}: {printable(change.lines[0][1])}"
    return f"{field} {printable(change.kind)} (+{len(come)} -{len(gone)} lines)"
