"""``headgate kb search``, ``diff`` and ``impact``: what a version finds, how two differ, who saw a document."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import column, emit_json, is_terminal, listing
from headgate.cli.text import count, local_time, many, printable, short_id

_SHOWN_CHARS = 400
_SHOWN_CHUNKS = 20


@click.command("search")
@click.argument("ref")
@click.argument("query")
@click.option("--top-k", type=click.IntRange(1, 100), default=5, show_default=True, help="How many chunks.")
@click.option(
    "--where",
    "where",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Metadata a chunk must have; the same field twice: either.",
)
@click.option("--min-score", type=float, metavar="COSINE", help="The least cosine between question and chunk.")
@click.option(
    "--use",
    type=click.Choice(["both", "vectors", "keywords"]),
    default="both",
    show_default=True,
    help="Which ranks count.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: chunks.")
@home_option
def search(
    ref: str,
    query: str,
    top_k: int,
    where: Sequence[str],
    min_score: float | None,
    use: str,
    as_json: bool,
    home: Path | None,
) -> None:
    """Show what QUERY finds in a version, with the scores and ranks of both parts of the search.

    \b
    Examples:
      headgate kb search handbook "when does the money come back?"
      headgate kb search handbook@4 "postage" --where topic=delivery --top-k 3
    """
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(ref)
    with connect(home) as client:
        answer = client.search_kb(
            reference.name,
            query,
            ref=reference.number or reference.alias,
            top_k=top_k,
            filters=_filters(where),
            min_score=min_score,
            use=("vectors", "keywords") if use == "both" else (use,),
        )
    if as_json or not is_terminal():
        emit_json(answer)
        return
    click.echo(f"{printable(answer.get('name'))}@{answer.get('version')}")
    for number, chunk in enumerate(answer.get("chunks") or [], 1):
        place = " › ".join(printable(chunk[name]) for name in ("source", "heading") if chunk.get(name))
        click.echo(f"\n{number}. [{printable(chunk['id'])}] {place}")
        click.echo(
            f"   score {chunk['score']:.3f}, by vectors {_rank(chunk, 'vector')}, by keywords {_rank(chunk, 'keyword')}"
        )
        text = chunk["text"][:_SHOWN_CHARS]
        for line in printable(text, keep_lines=True).splitlines():
            click.echo(f"   {line}")
    if not answer.get("chunks"):
        click.echo("Nothing was found.")


def _rank(chunk: Mapping[str, Any], part: str) -> str:
    rank = chunk.get(f"{part}_rank")
    return "not ranked" if rank is None else f"{rank} ({chunk[f'{part}_score']:.3f})"


def _filters(where: Sequence[str]) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for text in where:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{text!r} is not FIELD=VALUE.")
        found.setdefault(name, []).append(_value(value))
    return dict(found)


def _value(text: str) -> Any:
    """true, false and numbers as such, everything else as text."""
    try:
        read = json.loads(text)
    except ValueError:
        return text
    return read if isinstance(read, bool | int | float) else text


@click.command("diff")
@click.argument("name")
@click.argument("before")
@click.argument("after")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: documents, chunks.")
@home_option
def diff(name: str, before: str, after: str, as_json: bool, home: Path | None) -> None:
    """Show the documents and chunks that two versions do not share. BEFORE and AFTER are numbers or aliases.

    \b
    Examples:
      headgate kb diff handbook 3 4
      headgate kb diff handbook production latest
    """
    with connect(home) as client:
        answer = client.kb_difference(name, before.removeprefix("v"), after.removeprefix("v"))
    if as_json:
        emit_json(answer)
        return
    if answer.get("settings_changed"):
        click.echo("The settings differ: everything may be cut or embedded in another way.")
    documents, chunks = answer.get("documents") or {}, answer.get("chunks") or {}
    for mark, kind in (("+", "added"), ("-", "removed"), ("~", "changed")):
        for path in documents.get(kind) or []:
            click.echo(f"{mark} {printable(path)}")
    for mark, kind in (("+", "added"), ("-", "removed")):
        found = chunks.get(kind) or {}
        for chunk in (found.get("first") or [])[:_SHOWN_CHUNKS]:
            head = printable(" ".join(str(chunk["text"]).split()))[:100]
            click.echo(f"  {mark} [{printable(chunk['id'])}] {printable(chunk['source'])}: {head}")
    added, removed = (chunks.get(kind, {}).get("count") for kind in ("added", "removed"))
    click.echo(f"{many(added, 'chunk')} added, {count(removed)} removed, {count(chunks.get('kept'))} kept")


@click.command("impact")
@click.argument("ref")
@click.option("--document", metavar="PATH", help="Only answers that saw this document, in any version.")
@click.option("--since", metavar="TIME", help="Not before: 7d (ago), or an ISO time.")
@click.option("--until", metavar="TIME", help="Before this time.")
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: requests.")
@home_option
def impact(
    ref: str,
    document: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    as_json: bool,
    home: Path | None,
) -> None:
    """List the answers that saw a document, newest first; say when it is withdrawn whom it reached.

    \b
    Examples:
      headgate kb impact handbook --document refunds.md
      headgate kb impact handbook@3 --since 7d
    """
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(ref)
    which = reference.number or reference.alias
    given = {
        "document": document,
        "since": since,
        "until": until,
        "version": None if which is None else str(which),
        "limit": str(limit),
    }
    with connect(home) as client:
        answer = client.kb_impact(reference.name, {name: value for name, value in given.items() if value is not None})
    if as_json:
        emit_json(answer)
        return
    columns = (
        column("Request", "request_id", short_id if is_terminal() else None),
        column("Started", "started_at", local_time),
        column("Version", "kb_version", right=True),
        column("Prompt", "prompt_name", rank=1, least=12),
        column("Prompt version", "prompt_version", right=True, rank=2),
        column("User", "user_id", rank=2, least=10),
        column("Session", "session_id", rank=3, least=10),
        column("Chunks", "matched", lambda ids: ", ".join(map(printable, ids or [])), rank=3, least=14),
    )
    listing(columns, answer.get("requests") or [], empty="No stored answer saw it.")
    if answer.get("is_cut"):
        click.echo(f"More than {limit}; the rest: --limit, --until.", err=True)
