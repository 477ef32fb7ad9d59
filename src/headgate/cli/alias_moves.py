"""What the commands that move aliases share, of prompts, knowledge bases and models: options, references, the words."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from headgate.cli.output import emit_json
from headgate.cli.text import printable

_Command = TypeVar("_Command", bound=Callable[..., Any])
REASON = click.option("--reason", metavar="TEXT", help="Why; kept in the history.")
OVERRIDE = click.option(
    "--override", is_flag=True, help="Go past the [[protect]] that covers it; needs the role approver and --reason."
)


def json_option(*keys: str) -> Callable[[_Command], _Command]:
    """The option ``--json`` of a command whose answer has these keys."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print JSON: {', '.join(keys)}.")


def to_option(usual: str) -> Callable[[_Command], _Command]:
    """The alias that a version shall become."""
    return click.option("--to", "target", default=usual, show_default=True, metavar="ALIAS", help="What it becomes.")


def of_option(usual: str) -> Callable[[_Command], _Command]:
    """The alias that is put back."""
    return click.option("--alias", "target", default=usual, show_default=True, metavar="ALIAS", help="Which alias.")


def named_version(ref: str, examples: str) -> tuple[str, int | str]:
    """Name and version of a reference that must have both; ``examples`` are versions: ``7, latest or candidate``."""
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(ref)
    version = reference.number or reference.alias
    if version is None:
        *first, last = (f"{ref}@{one}" for one in examples.replace(" or ", ", ").split(", "))
        raise click.UsageError(f"Say which version: {', '.join(first)} or {last}.")
    return reference.name, version


def bare_name(ref: str, refusal: str) -> str:
    """The name of an object, where a version has no place; ``refusal`` says what to write, with {name} in it."""
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(ref)
    if str(reference) != reference.name:
        raise click.UsageError(refusal.format(name=reference.name, alias=reference.alias or ""))
    return reference.name


def check_override(override: bool, reason: str | None) -> None:
    """Raises UsageError for an override without its reason."""
    if override and not (reason or "").strip():
        raise click.UsageError('An override needs a reason: --override --reason "…"')


def print_move(name: str, alias: str, answer: Mapping[str, Any], as_json: bool) -> None:
    """What became of an alias."""
    if as_json:
        emit_json(answer)
        return
    move = answer.get("move")
    if move is None:
        number, written = (answer.get("aliases") or {}).get(alias), printable(f"{name}@{alias}")
        click.echo(f"{written} is version {printable(number)} already; nothing changed.")
        return
    click.echo(move_words(move))


def move_words(move: Mapping[str, Any]) -> str:
    """One move in a sentence, with what it rests on."""
    written = printable(f"{move.get('name')}@{move.get('alias')}")
    before = "" if move.get("from") is None else f" (was {printable(move['from'])})"
    if move.get("to") is None:
        return f"{written} is removed{before}.{_gate(move)}"
    return f"{written} is now version {printable(move['to'])}{before}.{_gate(move)}"


def print_approval(answer: Mapping[str, Any], as_json: bool) -> None:
    """Whose yes was kept, for what."""
    if as_json:
        emit_json(answer)
        return
    made: Mapping[str, Any] = answer.get("approval") or {}
    version = printable(f"{made.get('name')}@{made.get('version')}")
    click.echo(f"{version} is approved to become {printable(made.get('alias'))}.")


def _gate(move: Mapping[str, Any]) -> str:
    """On what the move rests, where a rule covers it."""
    gate, policy = move.get("gate"), printable(move.get("policy"))
    if gate == "override":
        return f" Policy {policy} was overridden; the history has the reason."
    if gate == "receipt":
        return f" Policy {policy} is satisfied: receipt {printable(move.get('receipt_id'))}."
    return ""
