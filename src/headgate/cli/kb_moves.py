"""``headgate kb alias``, ``promote``, ``rollback``, ``approve`` and ``repin``: which version is served, which prompts
read it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from headgate.cli.alias_moves import (
    OVERRIDE,
    REASON,
    bare_name,
    check_override,
    json_option,
    named_version,
    of_option,
    print_approval,
    print_move,
    to_option,
)
from headgate.cli.connect import connect, home_option
from headgate.cli.kb_release import promote_together
from headgate.cli.output import emit_json
from headgate.cli.text import printable

_JSON = json_option("move", "aliases", "pinned_elsewhere")
_VERSIONS = "3, latest or candidate"


@click.command("alias")
@click.argument("ref")
@click.argument("name", metavar="ALIAS")
@click.option("--remove", is_flag=True, help="End the alias; REF is then the name of the knowledge base alone.")
@OVERRIDE
@REASON
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
    kb = bare_name(ref, "An alias is removed from a knowledge base, not from one version: {name}")
    check_override(override, reason)
    with connect(home) as client:
        answer = client.remove_kb_alias(kb, name, reason=reason, override=override)
    print_move(kb, name, answer, as_json)


@click.command("promote")
@click.argument("ref")
@to_option("production")
@click.option("--repin", is_flag=True, help="Move the prompts that read another version of it too, all or none.")
@click.option(
    "--plan", "only_plan", is_flag=True, help="With --repin: say what would move and what it lacks, and stop."
)
@click.option("--budget", metavar="USD|none", help="With --repin: what the run of each side may cost.")
@OVERRIDE
@REASON
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: move, aliases, pinned_elsewhere; steps with --repin."
)
@home_option
def promote(
    ref: str,
    target: str,
    repin: bool,
    only_plan: bool,
    budget: str | None,
    override: bool,
    reason: str | None,
    as_json: bool,
    home: Path | None,
) -> int:
    """Make the version REF production. Where a [[protect]] of the server covers the alias, the move needs a receipt for
    exactly this version (headgate eval gate SUITE --kb REF), or an approver's --override; else it is refused with exit
    code 1.

    Prompts stay pinned to what they were pushed with; those are named. With --repin their next versions are made, the
    gates that are missing are run, and the aliases of the prompts and of the knowledge base move together or not at
    all.

    \b
    Examples:
      headgate kb promote handbook@4
      headgate kb promote handbook@4 --repin --plan
      headgate kb promote handbook@4 --repin --budget 2
      headgate kb promote handbook@candidate --override --reason "withdrawn page removed"
    """
    if repin:
        name, version = named_version(ref, _VERSIONS)
        check_override(override, reason)
        with connect(home) as client:
            return promote_together(
                client,
                name,
                version,
                target,
                only_plan=only_plan,
                budget=budget,
                override=override,
                reason=reason,
                as_json=as_json,
            )
    if only_plan or budget:
        raise click.UsageError("--plan and --budget belong to --repin.")
    _move(ref, target, override, reason, as_json, home)
    return 0


@click.command("rollback")
@click.argument("name")
@of_option("production")
@REASON
@_JSON
@home_option
def rollback(name: str, target: str, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Point an alias back to the version it meant before; each rollback goes one step further back. It needs no
    evidence. Prompts keep what they are pinned to; those that still read another version are named.

    \b
    Examples:
      headgate kb rollback handbook --reason "the new pages contradict each other"
    """
    kb = bare_name(name, "A rollback takes the name: headgate kb rollback {name}")
    with connect(home) as client:
        answer = client.rollback_kb_alias(kb, target, reason=reason)
    print_move(kb, target, answer, as_json)
    if not as_json and (pins := _said_pins(answer)):
        click.echo("  back with them: " + ", ".join(f"headgate prompt rollback {pin}" for pin in pins))


@click.command("approve")
@click.argument("ref")
@to_option("production")
@REASON
@json_option("approval")
@home_option
def approve(ref: str, target: str, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Agree that the version REF becomes an alias, as someone other than the one who pushed it. Needs a key of the role
    approver; it holds for this very version.

    \b
    Examples:
      headgate kb approve handbook@4 --reason "read the changed pages"
    """
    name, version = named_version(ref, _VERSIONS)
    with connect(home) as client:
        print_approval(client.approve_kb(name, version, alias=target, reason=reason), as_json)


@click.command("repin")
@click.argument("ref")
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@click.option("--all", "every", is_flag=True, help="Every prompt that reads another version of it.")
@REASON
@json_option("repinned")
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
    name, version = named_version(ref, "4, latest or production")
    with connect(home) as client:
        answer = client.repin_kb(name, version, None if every else prompts, reason=reason)
    if as_json:
        emit_json(answer)
        return
    for one in answer.get("repinned") or []:
        what = "now candidate" if one.get("candidate") else "candidate is protected and stays"
        click.echo(f"{printable(one.get('ref'))}  after @{one.get('before')}, {what}")
    if not answer.get("repinned"):
        click.echo("No prompt reads another version of it; nothing changed.")


def _move(ref: str, target: str, override: bool, reason: str | None, as_json: bool, home: Path | None) -> None:
    name, version = named_version(ref, _VERSIONS)
    check_override(override, reason)
    with connect(home) as client:
        answer = client.move_kb_alias(name, target, version, reason=reason, override=override)
    print_move(name, target, answer, as_json)
    if not as_json and _said_pins(answer):
        number = (answer.get("aliases") or {}).get(target)
        click.echo(f"  next versions of them: headgate kb repin {name}@{number} --all")


def _said_pins(answer: Mapping[str, Any]) -> list[str]:
    """Says which prompts go on reading another version; their names."""
    pins = answer.get("pinned_elsewhere") or []
    for pin in pins:
        click.echo(f"  {printable(pin.get('ref'))} still reads {printable(pin.get('kb'))}")
    return [printable(pin.get("prompt")) for pin in pins]
