"""``headgate prompt alias``, ``promote``, ``rollback`` and ``archive``: what is served, and since when."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json
from headgate.cli.text import printable

_REASON = click.option("--reason", metavar="TEXT", help="Why; kept in the history.")
_OVERRIDE = click.option(
    "--override", is_flag=True, help="Go past the [[protect]] that covers it; needs the role approver and --reason."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON: move, aliases.")


@click.command("alias")
@click.argument("ref")
@click.argument("name", metavar="ALIAS")
@click.option("--remove", is_flag=True, help="End the alias; REF is then the prompt's name alone.")
@_OVERRIDE
@_REASON
@_JSON
@home_option
def alias(
    ref: str, name: str, remove: bool, override: bool, reason: str | None, as_json: bool, home: Path | None
) -> None:
    """Point ALIAS to the version REF, on every worker within a second.

    REF is name@7, name@latest or name@other-alias. The exit code is 1 when a rule of the server refuses the move.

    \b
    Examples:
      headgate prompt alias support-answer@8 candidate
      headgate prompt alias support-answer@latest staging --reason "tone for the new shop"
      headgate prompt alias support-answer staging --remove
    """
    if not remove:
        _move(ref, name, override, reason, as_json, home)
        return
    from headgate.prompts.reference import parse_reference

    prompt = parse_reference(ref)
    if str(prompt) != prompt.name:
        raise click.UsageError(
            f"An alias is removed from a prompt, not from one version: {prompt.name} {name} --remove"
        )
    check_override(override, reason)
    with connect(home) as client:
        answer = client.remove_alias(prompt.name, name, reason=reason, override=override)
    print_move(prompt.name, name, answer, as_json)


@click.command("promote")
@click.argument("ref")
@click.option("--to", "target", default="production", show_default=True, metavar="ALIAS", help="What it becomes.")
@_OVERRIDE
@_REASON
@_JSON
@home_option
def promote(ref: str, target: str, override: bool, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Make the version REF production, on every worker within a second. Undo it: headgate prompt rollback.

    REF is name@7, name@latest or name@candidate. Where a [[protect]] of the server covers the alias, the move needs
    evidence, or an approver's --override with a --reason; without either it is refused, with exit code 1.

    \b
    Examples:
      headgate prompt promote support-answer@8
      headgate prompt promote support-answer@candidate --override --reason "hotfix, evaluated by hand"
      headgate prompt promote support-answer@8 --to staging
    """
    _move(ref, target, override, reason, as_json, home)


@click.command("rollback")
@click.argument("name")
@click.option("--alias", "target", default="production", show_default=True, metavar="ALIAS", help="Which alias.")
@_REASON
@_JSON
@home_option
def rollback(name: str, target: str, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Point an alias of a prompt back to the version it meant before; each rollback goes one step further back.

    It needs no evidence: the version stood there before.

    \b
    Examples:
      headgate prompt rollback support-answer --reason "answers got longer"
      headgate prompt rollback support-answer --alias staging
    """
    from headgate.prompts.reference import parse_reference

    prompt = parse_reference(name)
    if str(prompt) != prompt.name:
        to = f" --alias {prompt.alias}" if prompt.alias else ""
        raise click.UsageError(f"A rollback takes the prompt's name: headgate prompt rollback {prompt.name}{to}")
    with connect(home) as client:
        answer = client.rollback_alias(prompt.name, target, reason=reason)
    print_move(prompt.name, target, answer, as_json)


@click.command("archive")
@click.argument("ref", metavar="NAME@NUMBER")
@click.option("--undo", is_flag=True, help="Bring it back.")
@_REASON
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def archive(ref: str, undo: bool, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Take a version out of service. It can no longer be called, and still explains the requests it answered.

    \b
    Examples:
      headgate prompt archive support-answer@3 --reason "quotes an old price"
      headgate prompt archive support-answer@3 --undo
    """
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(ref)
    if reference.number is None:
        raise click.UsageError(f"Name one version by its number: {reference.name}@7. See: headgate prompt show {ref}")
    with connect(home) as client:
        answer = client.archive_prompt(reference.name, reference.number, archived=not undo, reason=reason)
    if as_json:
        emit_json(answer)
    else:
        click.echo(f"{reference} is {'back in service' if undo else 'archived'}.")


def _move(ref: str, target: str, override: bool, reason: str | None, as_json: bool, home: Path | None) -> None:
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(ref)
    version = reference.number or reference.alias
    if version is None:
        raise click.UsageError(f"Say which version: {ref}@7, {ref}@latest or {ref}@candidate.")
    check_override(override, reason)
    with connect(home) as client:
        answer = client.move_alias(reference.name, target, version, reason=reason, override=override)
    print_move(reference.name, target, answer, as_json)


def check_override(override: bool, reason: str | None) -> None:
    if override and not (reason or "").strip():
        raise click.UsageError('An override needs a reason: --override --reason "…"')


def print_move(name: str, alias: str, answer: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(answer)
        return
    move, written = answer.get("move"), printable(f"{name}@{alias}")
    if move is None:
        number = (answer.get("aliases") or {}).get(alias)
        click.echo(f"{written} is version {printable(number)} already; nothing changed.")
        return
    before = "" if move.get("from") is None else f" (was {printable(move['from'])})"
    if move.get("to") is None:
        click.echo(f"{written} is removed{before}.{_gate(move)}")
    else:
        click.echo(f"{written} is now version {printable(move['to'])}{before}.{_gate(move)}")


def _gate(move: Mapping[str, Any]) -> str:
    """On what the move rests, where a rule covers it."""
    gate, policy = move.get("gate"), printable(move.get("policy"))
    if gate == "override":
        return f" Policy {policy} was overridden; the history has the reason."
    if gate == "receipt":
        return f" Policy {policy} is satisfied: receipt {printable(move.get('receipt_id'))}."
    return ""
