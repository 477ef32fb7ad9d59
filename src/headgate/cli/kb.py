"""``headgate kb``: the group, and its commands ``list`` and ``show``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.lazy import Entry, LazyGroup
from headgate.cli.output import Column, column, emit_json, facts, heading, listing
from headgate.cli.prompt import AS_OF, aliases_text
from headgate.cli.text import MISSING, count, local_time, printable

COMMANDS = {
    "push": Entry(target="headgate.cli.kb_push:push", help="A folder of texts into the next version."),
    "list": Entry(target="headgate.cli.kb:list_kbs", help="All knowledge bases, and what their aliases mean."),
    "show": Entry(target="headgate.cli.kb:show", help="One knowledge base: versions, aliases, sources."),
    "search": Entry(target="headgate.cli.kb_search:search", help="What a question finds, with scores and ranks."),
    "diff": Entry(target="headgate.cli.kb_search:diff", help="Documents and chunks that two versions do not share."),
    "alias": Entry(target="headgate.cli.kb_moves:alias", help="Point an alias to a version, or remove it."),
    "promote": Entry(target="headgate.cli.kb_moves:promote", help="Make a version production."),
    "rollback": Entry(target="headgate.cli.kb_moves:rollback", help="Back to the version before."),
    "approve": Entry(target="headgate.cli.kb_moves:approve", help="Agree to a version, as someone else."),
    "repin": Entry(target="headgate.cli.kb_moves:repin", help="Next versions of prompts, reading another version."),
    "impact": Entry(target="headgate.cli.kb_search:impact", help="The answers that saw a document."),
}


@click.group(cls=LazyGroup, entries=COMMANDS)
def kb() -> None:
    """Knowledge bases with versions: texts become an immutable numbered version, which prompts are pinned to.

    A version is written handbook@3, handbook@production or handbook@latest. A bare name means production, or the newest
    version while there is no production and nothing protects it.
    """


@click.command("list")
@AS_OF
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def list_kbs(as_of: str | None, as_json: bool, home: Path | None) -> None:
    """List all knowledge bases with their aliases.

    \b
    Examples:
      headgate kb list
      headgate kb list --as-of 7d
    """
    with connect(home) as client:
        answer = client.kbs(as_of)
    if as_json:
        emit_json(answer)
        return
    columns = (
        column("Name", "name", least=16),
        Column(title="Production", pick=lambda row: (row.get("aliases") or {}).get("production"), right=True),
        column("Latest", "latest", right=True),
        Column(title="Aliases", pick=lambda row: row.get("aliases"), show=_other_aliases, rank=1, least=12),
        column("Documents", "documents", count, right=True),
        column("Chunks", "chunks", count, right=True),
        column("Embedder", "embedder", rank=2, least=12),
        column("Updated", "updated_at", local_time, rank=2),
        column("Protected", "protected", only="pipe"),
    )
    empty = "No knowledge bases yet. Push a folder of texts: headgate kb push handbook ./kb/handbook"
    listing(columns, answer.get("kbs") or [], empty=empty)


def _other_aliases(row: Mapping[str, Any]) -> str:
    others = {name: number for name, number in (row.get("aliases") or {}).items() if name != "production"}
    return aliases_text(others)


@click.command("show")
@click.argument("ref")
@AS_OF
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def show(ref: str, as_of: str | None, as_json: bool, home: Path | None) -> None:
    """Show a knowledge base. REF is its name, for all versions, or handbook@3, for that one with its sources.

    \b
    Examples:
      headgate kb show handbook
      headgate kb show handbook@production
    """
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(ref)
    which = reference.number or reference.alias
    with connect(home) as client:
        found = client.kb(reference.name, which, as_of)
    if as_json:
        emit_json(found)
    elif which is None:
        _print_kb(found)
    else:
        _print_version(found["shown"])


def _print_kb(found: Mapping[str, Any]) -> None:
    current = found.get("current")
    means = f"@{current['number']} ({printable(current['alias'])})" if current else "nothing: it has no production"
    facts(
        [
            ("Knowledge base", printable(found.get("name"))),
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
        column("Documents", "documents", count, right=True),
        column("Chunks", "chunks", count, right=True),
        column("Embedder", "embedder", rank=2, least=12),
        column("Pushed", "created_at", local_time),
        column("Author", "author", rank=2, least=12),
        column("Commit", "git_commit", lambda text: MISSING if text is None else printable(text)[:10], rank=3),
        column("Message", "message", rank=1, least=16),
        column("Sha256", "sha256", only="pipe"),
    )
    listing(columns, found.get("versions") or [], empty="No version yet.")


def _print_version(version: Mapping[str, Any]) -> None:
    settings = version.get("settings") or {}
    chunk = settings.get("chunk") or {}
    known = [
        ("Version", version.get("ref")),
        ("Hash", version.get("sha256")),
        ("Pushed", f"{local_time(version.get('created_at'))} by {printable(version.get('pushed_by'))}"),
        ("Author", version.get("author")),
        ("Commit", version.get("git_commit")),
        ("DVC", version.get("dvc")),
        ("Message", version.get("message")),
        ("Chunks", f"{count(version.get('chunks'))} by {chunk.get('by')}, size {chunk.get('size')}"),
        ("Embedder", f"{printable(version.get('embedder'))}, {version.get('dimensions')} dimensions"),
    ]
    facts([(name, printable(value)) for name, value in known if value is not None])
    heading("Sources")
    columns = (
        column("Path", "path", least=20),
        column("Chunks", "chunks", count, right=True),
        column("Sha256", "sha256", rank=1, least=12),
    )
    listing(columns, version.get("sources") or [], empty="None.")
