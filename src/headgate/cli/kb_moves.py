"""``headgate kb alias``, ``promote``, ``rollback`` and ``repin``: which version is served, which prompts read it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json
from headgate.cli.prompt_moves import check_override, print_move
from headgate.cli.text import printable

_REASON = click.option("--reason", metavar="TEXT", help="Why; kept in the history.")
_OVERRIDE = click.option(
    "--override", is_flag=True, help="Go past the [[protect]] that covers it; needs the role approver and --reason."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON: move, aliases, pinned_elsewhere.")


@click.command("alias")
@click.argument("ref")
@click.argument("name", metavar="ALIAS")
@click.option("--remove", is_flag=True, help="End the alias; REF is then the name of the knowledge base alone.")
@_OVERRIDE
@_REASON
@_JSON
@home_option
def alias(
    ref: str, name: str, remove: bool, override: bool, reason: str | None, as_json: bool, home: Path | None
) -> None:
    """Point ALIAS to the version REF: handbook@3, handbook@latest or handbook@other-alias.

    \b
    Examples:
      headgate kb alias handbook@4 candidate
      headgate kb alias handbook candidate --remove
    """
    if not remove:
        _move(ref, name, override, reason, as_json, home)
        return
    kb = _bare(ref, f"An alias is removed from a knowledge base, not from one version: {ref.partition('@')[0]}")
    check_override(override, reason)
    with connect(home) as client:
        answer = client.remove_kb_alias(kb, name, reason=reason, override=override)
    _print(kb, name, answer, as_json)


@click.command("promote")
@click.argument("ref")
@click.option("--to", "target", default="production", show_default=True, metavar="ALIAS", help="What it becomes.")
@_OVERRIDE
@_REASON
@_JSON
@home_option
def promote(ref: str, target: str, override: bool, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Make the version REF production. Prompts stay pinned to what they were pushed with; those are named: see repin.

    \b
    Examples:
      headgate kb promote handbook@4
      headgate kb promote handbook@candidate --override --reason "withdrawn page removed"
    """
    _move(ref, target, override, reason, as_json, home)


@click.command("rollback")
@click.argument("name")
@click.option("--alias", "target", default="production", show_default=True, metavar="ALIAS", help="Which alias.")
@_REASON
@_JSON
@home_option
def rollback(name: str, target: str, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Point an alias back to the version it meant before; each rollback goes one step further back.

    \b
    Examples:
      headgate kb rollback handbook --reason "the new pages contradict each other"
    """
    kb = _bare(name, f"A rollback takes the name: headgate kb rollback {name.partition('@')[0]}")
    with connect(home) as client:
        answer = client.rollback_kb_alias(kb, target, reason=reason)
    _print(kb, target, answer, as_json)


@click.command("repin")
@click.argument("ref")
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@click.option("--all", "every", is_flag=True, help="Every prompt that reads another version of it.")
@_REASON
@click.option("--json", "as_json", is_flag=True, help="Print JSON: repinned.")
@home_option
def repin(ref: str, prompts: Sequence[str], every: bool, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Make next versions of prompts that read the version REF, and point candidate to them. No other alias moves.

    \b
    Examples:
      headgate kb repin handbook@4 --all
      headgate kb repin handbook@4 support-answer --reason "new return policy"
    """
    if every == bool(prompts):
        raise click.UsageError("Name prompts, or say --all.")
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(ref)
    version = reference.number or reference.alias
    if version is None:
        raise click.UsageError(f"Say which version: {ref}@4, {ref}@latest or {ref}@production.")
    with connect(home) as client:
        answer = client.repin_kb(reference.name, version, None if every else prompts, reason=reason)
    if as_json:
        emit_json(answer)
        return
    for one in answer.get("repinned") or []:
        what = "now candidate" if one.get("candidate") else "candidate is protected and stays"
        click.echo(f"{printable(one.get('ref'))}  after @{one.get('before')}, {what}")
    if not answer.get("repinned"):
        click.echo("No prompt reads another version of it; nothing changed.")


def _bare(ref: str, refusal: str) -> str:
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(ref)
    if str(reference) != reference.name:
        raise click.UsageError(refusal)
    return reference.name


def _move(ref: str, target: str, override: bool, reason: str | None, as_json: bool, home: Path | None) -> None:
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(ref)
    version = reference.number or reference.alias
    if version is None:
        raise click.UsageError(f"Say which version: {ref}@3, {ref}@latest or {ref}@candidate.")
    check_override(override, reason)
    with connect(home) as client:
        answer = client.move_kb_alias(reference.name, target, version, reason=reason, override=override)
    _print(reference.name, target, answer, as_json)


def _print(name: str, alias: str, answer: Mapping[str, Any], as_json: bool) -> None:
    print_move(name, alias, answer, as_json)
    pins = answer.get("pinned_elsewhere") or []
    if as_json or not pins:
        return
    for pin in pins:
        click.echo(f"  {printable(pin.get('ref'))} still reads {printable(pin.get('kb'))}")
    number = (answer.get("aliases") or {}).get(alias)
    click.echo(f"  next versions of them: headgate kb repin {name}@{number} --all")
