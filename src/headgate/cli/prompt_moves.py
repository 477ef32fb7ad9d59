"""``headgate prompt alias``, ``promote``, ``rollback`` and ``archive``: what is served, and since when."""

from pathlib import Path

import click

from headgate.cli.alias_moves import (
    OVERRIDE,
    REASON,
    bare_name,
    check_override,
    json_option,
    named_version,
    of_option,
    print_move,
    to_option,
)
from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json

_JSON = json_option("move", "aliases")


@click.command("alias")
@click.argument("ref")
@click.argument("name", metavar="ALIAS")
@click.option("--remove", is_flag=True, help="End the alias; REF is then the prompt's name alone.")
@OVERRIDE
@REASON
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
    prompt = bare_name(ref, f"An alias is removed from a prompt, not from one version: {{name}} {name} --remove")
    check_override(override, reason)
    with connect(home) as client:
        answer = client.remove_alias(prompt, name, reason=reason, override=override)
    print_move(prompt, name, answer, as_json)


@click.command("promote")
@click.argument("ref")
@to_option("production")
@OVERRIDE
@REASON
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
@of_option("production")
@REASON
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
    prompt = bare_name(name, "A rollback takes the prompt's name: headgate prompt rollback {name} --alias ALIAS")
    with connect(home) as client:
        answer = client.rollback_alias(prompt, target, reason=reason)
    print_move(prompt, target, answer, as_json)


@click.command("archive")
@click.argument("ref", metavar="NAME@NUMBER")
@click.option("--undo", is_flag=True, help="Bring it back.")
@REASON
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
    name, version = named_version(ref, "7, latest or candidate")
    check_override(override, reason)
    with connect(home) as client:
        answer = client.move_alias(name, target, version, reason=reason, override=override)
    print_move(name, target, answer, as_json)
