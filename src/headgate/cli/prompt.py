"""``headgate prompt``: the group, and its commands ``list`` and ``show``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.lazy import Entry, LazyGroup
from headgate.cli.output import Column, column, emit_json, facts, heading, listing
from headgate.cli.prompt_text import listed_version, print_content, reference_in
from headgate.cli.text import MISSING, count, local_time, printable

AS_OF = click.option("--as-of", metavar="TIME", help="As it was at this time: 24h (ago), or 2026-11-23T08:00:00Z.")

COMMANDS = {
    "push": Entry(target="headgate.cli.prompt_files:push", help="Files into versions, all or none."),
    "pull": Entry(target="headgate.cli.prompt_files:pull", help="Versions into files."),
    "list": Entry(target="headgate.cli.prompt:list_prompts", help="All prompts, and what their aliases mean."),
    "show": Entry(target="headgate.cli.prompt:show", help="One prompt: versions, aliases, text."),
    "diff": Entry(target="headgate.cli.prompt_diff:diff", help="What differs between two versions or files."),
    "render": Entry(target="headgate.cli.prompt_render:render", help="What a call would send, its tokens and price."),
    "alias": Entry(target="headgate.cli.prompt_moves:alias", help="Point an alias to a version, or remove it."),
    "promote": Entry(target="headgate.cli.prompt_moves:promote", help="Make a version production."),
    "try": Entry(target="headgate.cli.prompt_evidence:try_prompt", help="Replay real calls on it: evidence, no test."),
    "approve": Entry(target="headgate.cli.prompt_evidence:approve", help="A second person's yes to a promotion."),
    "rollback": Entry(target="headgate.cli.prompt_moves:rollback", help="Back to the version before."),
    "archive": Entry(target="headgate.cli.prompt_moves:archive", help="Take a version out of service, or back."),
}


@click.group(cls=LazyGroup, entries=COMMANDS)
def prompt() -> None:
    """Prompts as releases: files under prompts/ become immutable numbered versions; aliases say which one is called.

    A version is written name@7, name@production or name@latest. A bare name means production, or the newest version
    while there is no production and nothing protects it.
    """


@click.command("list")
@AS_OF
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def list_prompts(as_of: str | None, as_json: bool, home: Path | None) -> None:
    """List all prompts with their aliases.

    \b
    Examples:
      headgate prompt list
      headgate prompt list --as-of 7d
    """
    with connect(home) as client:
        answer = client.prompts(as_of)
    if as_json:
        emit_json(answer)
        return
    columns = (
        column("Name", "name", least=16),
        Column(title="Production", pick=lambda row: (row.get("aliases") or {}).get("production"), right=True),
        column("Latest", "latest", right=True),
        Column(title="Aliases", pick=lambda row: row.get("aliases"), show=_other_aliases, rank=1, least=12),
        column("Model", "model", rank=2, least=12),
        column("Versions", "version_count", count, right=True, rank=3),
        column("Updated", "updated_at", local_time, rank=2),
        column("Protected", "protected", only="pipe"),
    )
    empty = "No prompts yet. Push files: headgate prompt push; samples to start from: headgate init"
    listing(columns, answer.get("prompts") or [], empty=empty)


def _other_aliases(row: Mapping[str, Any]) -> str:
    others = {name: number for name, number in (row.get("aliases") or {}).items() if name != "production"}
    return aliases_text(others)


def aliases_text(aliases: Mapping[str, Any]) -> str:
    """``candidate=8, staging=7``."""
    return ", ".join(f"{printable(name)}={printable(number)}" for name, number in aliases.items()) or MISSING


@click.command("show")
@click.argument("ref")
@AS_OF
@click.option("--json", "as_json", is_flag=True, help="Print JSON: prompt, version.")
@home_option
def show(ref: str, as_of: str | None, as_json: bool, home: Path | None) -> None:
    """Show a prompt. REF is name, name@7 or name@alias; the bare name shows all versions and the one it means.

    \b
    Examples:
      headgate prompt show support-answer
      headgate prompt show support-answer@7
      headgate prompt show support-answer@production --as-of 2026-11-01T00:00:00Z
    """
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(ref)
    is_bare = reference.number is None and reference.alias is None
    with connect(home) as client:
        found = client.prompt(reference.name, as_of)
        which = reference_in(found, reference, or_latest=True)
        version = None if which is None else client.prompt_version(reference.name, which, as_of)
    if as_json:
        emit_json({"prompt": found, "version": version})
        return
    if is_bare:
        _print_prompt(found)
    if version is not None:
        facts(_version_facts(found, version))
        print_content(version.get("content") or {})


def _print_prompt(found: Mapping[str, Any]) -> None:
    current = found.get("current")
    means = f"@{current['number']} ({printable(current['alias'])})" if current else "nothing: it has no production"
    facts(
        [
            ("Prompt", printable(found.get("name"))),
            *([("Description", printable(found["description"]))] if found.get("description") else []),
            ("Aliases", aliases_text(found.get("aliases") or {})),
            ("Bare name", means),
            ("Production", "protected by the server's [[protect]]" if found.get("protected") else "not protected"),
        ]
    )
    heading("Versions")
    columns = (
        column("Version", "number", right=True),
        Column(title="Aliases", pick=lambda row: ", ".join(row.get("aliases") or []) or None, rank=1, least=10),
        column("Model", "model", rank=1, least=12),
        column("Pushed", "created_at", local_time),
        column("Author", "author", rank=2, least=12),
        column("Commit", "git_commit", lambda text: MISSING if text is None else printable(text)[:10], rank=3),
        column("Message", "message", rank=1, least=16),
        Column(title="Archived", pick=lambda row: row.get("archived"), show=lambda row: _yes(row, "archived"), rank=3),
        column("Sha256", "sha256", only="pipe"),
    )
    listing(columns, found.get("versions") or [], empty="No version yet.")
    click.echo()


def _yes(row: Mapping[str, Any], name: str) -> str:
    return "yes" if row.get(name) else MISSING


def _version_facts(found: Mapping[str, Any], version: Mapping[str, Any]) -> list[tuple[str, str]]:
    listed = listed_version(found, version.get("number"))
    shown: list[tuple[str, Any]] = [
        ("Version", version.get("ref")),
        ("Aliases", ", ".join(listed.get("aliases") or []) or None),
        ("Archived", "yes" if listed.get("archived") else None),
        ("Hash", version.get("sha256")),
        ("Pushed", f"{local_time(version.get('created_at'))} by {printable(version.get('pushed_by'))}"),
        ("Author", version.get("author")),
        ("Commit", version.get("git_commit")),
        ("Message", version.get("message")),
        ("Suites", ", ".join(listed.get("suites") or []) or None),
    ]
    return [(name, printable(value)) for name, value in shown if value is not None]
