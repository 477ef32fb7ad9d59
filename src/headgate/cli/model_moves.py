"""``headgate model alias``, ``promote``, ``rollback``, ``approve``, ``archive``: what is served, by whose word."""

from pathlib import Path

import click

from headgate.cli.alias_moves import OVERRIDE, REASON, check_override, of_option, print_approval, print_move, to_option
from headgate.cli.connect import connect, home_option
from headgate.cli.model import split_reference
from headgate.cli.output import emit_json

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_TO = to_option("champion")


@click.command("alias")
@click.argument("ref")
@click.argument("name", metavar="ALIAS")
@click.option("--remove", is_flag=True, help="End the alias; REF is then the model's name alone.")
@OVERRIDE
@REASON
@_JSON
@home_option
def alias(
    ref: str, name: str, remove: bool, override: bool, reason: str | None, as_json: bool, home: Path | None
) -> None:
    """Point ALIAS to the version REF, once its runner is ready. What an alias points to is kept running.

    \b
    Examples:
      headgate model alias churn@8 challenger
      headgate model alias churn challenger --remove
    """
    if not remove:
        _move(ref, name, override, reason, as_json, home)
        return
    model, which = split_reference(ref)
    if which is not None:
        raise click.UsageError(f"An alias is removed from a model, not from one version: {model} {name} --remove")
    check_override(override, reason)
    with connect(home) as client:
        answer = client.remove_model_alias(model, name, reason=reason, override=override)
    print_move(model, name, answer, as_json)


@click.command("promote")
@click.argument("ref")
@_TO
@OVERRIDE
@REASON
@_JSON
@home_option
def promote(ref: str, target: str, override: bool, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Make the version REF champion: its runner starts, then every worker calls it, with no request failed between.

    Where a [[protect]] of the server covers the alias, the move needs evidence, or an approver's --override with a
    --reason; without either it is refused, with exit code 1. Undo it: headgate model rollback.

    \b
    Examples:
      headgate model promote churn@8
      headgate model promote churn@latest --to challenger
    """
    _move(ref, target, override, reason, as_json, home)


@click.command("rollback")
@click.argument("name")
@of_option("champion")
@REASON
@_JSON
@home_option
def rollback(name: str, target: str, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Point an alias of a model back to the version it meant before; each rollback goes one step further back.

    It needs no evidence: the version stood there before. Its process is kept for a while, so the switch is at once.

    \b
    Example:
      headgate model rollback churn --reason "scores all near 0.5"
    """
    model, which = split_reference(name)
    if which is not None:
        raise click.UsageError(f"A rollback takes the model's name: headgate model rollback {model}")
    with connect(home) as client:
        answer = client.rollback_model(model, target, reason=reason)
    print_move(model, target, answer, as_json)


@click.command("approve")
@click.argument("ref")
@_TO
@REASON
@_JSON
@home_option
def approve(ref: str, target: str, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Agree that the version REF becomes champion, as someone other than the one who registered it.

    It needs a key of the role approver. The approval holds for this very content.

    \b
    Example:
      headgate model approve churn@8 --reason "looked at the errors by region"
    """
    model, which = split_reference(ref)
    if which is None:
        raise click.UsageError(f"Say which version: {model}@7 or {model}@latest.")
    with connect(home) as client:
        answer = client.approve_model(model, which, target, reason=reason)
    print_approval(answer, as_json)


@click.command("archive")
@click.argument("ref", metavar="NAME@NUMBER")
@click.option("--undo", is_flag=True, help="Bring it back.")
@REASON
@_JSON
@home_option
def archive(ref: str, undo: bool, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Take a version out of service. It can no longer be called, and still explains the predictions it made.

    \b
    Examples:
      headgate model archive churn@3 --reason "trained on leaked labels"
      headgate model archive churn@3 --undo
    """
    model, which = split_reference(ref)
    if not isinstance(which, int):
        raise click.UsageError(f"Name one version by its number: {model}@7. See: headgate model show {model}")
    with connect(home) as client:
        answer = client.archive_model(model, which, archived=not undo, reason=reason)
    if as_json:
        emit_json(answer)
    else:
        click.echo(f"{model}@{which} is {'back in service' if undo else 'archived'}.")


def _move(ref: str, target: str, override: bool, reason: str | None, as_json: bool, home: Path | None) -> None:
    model, which = split_reference(ref)
    if which is None:
        raise click.UsageError(f"Say which version: {model}@7, {model}@latest or {model}@challenger.")
    check_override(override, reason)
    with connect(home) as client:
        answer = client.move_model_alias(model, target, which, reason=reason, override=override)
    print_move(model, target, answer, as_json)
