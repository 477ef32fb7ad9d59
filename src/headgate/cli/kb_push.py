"""``headgate kb push``: a folder of texts into the next version, its cost before and after, progress between."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json, note
from headgate.cli.prompt_files import read_text
from headgate.cli.text import count, many, printable, usd

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.retrieval.sources import Found, Skipped, SourceText

_PIECE_BYTES = 2 << 20
_POLL_S = 0.1
_SHOWN_SKIPPED = 20


@click.command("push")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="How it is cut and embedded; default: NAME.yaml beside the folder, if it is there.",
)
@click.option("-m", "--message", metavar="TEXT", help="What changed and why; kept with the version.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done and what it would cost, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the push, skipped.")
@home_option
def push(
    name: str,
    folder: Path,
    settings_file: Path | None,
    message: str | None,
    only_plan: bool,
    as_json: bool,
    home: Path | None,
) -> None:
    """Make the texts in FOLDER the next version of knowledge base NAME: Markdown, text, HTML and JSON Lines.

    The same texts and settings are the same version. What was embedded before is not embedded again; a push that failed
    half-way goes on where it stopped when it is repeated. Files that cannot be read are named and left out. No alias
    moves: see headgate kb promote.

    \b
    Examples:
      headgate kb push handbook ./kb/handbook
      headgate kb push handbook ./kb/handbook --plan
      headgate kb push handbook ./kb/handbook --message "new return policy"
    """
    from headgate.retrieval.sources import read_folder

    beside = folder.absolute().parent / f"{name}.yaml"
    file = settings_file or (beside if beside.is_file() else None)
    with connect(home) as client:
        begun = client.begin_kb_push(name, _beginning(folder, file, message))
        found = read_folder(folder, begun.get("include") or [])
        _say_skipped(found.skipped)
        push_id = str(begun["push_id"])
        for piece in _pieces(found):
            client.add_kb_documents(push_id, piece)
        state = client.plan_kb_push(push_id)
        if not as_json:
            _print_plan(state)
        if not only_plan:
            state = _work(client, push_id)
    if as_json:
        emit_json({**state, "skipped": [{"path": one.path, "reason": one.reason} for one in found.skipped]})
    if state.get("state") == "failed":
        raise _failure(state["error"])
    if not as_json and not only_plan:
        _print_result(state)


def _beginning(folder: Path, file: Path | None, message: str | None) -> dict[str, Any]:
    from headgate.cli.dvc import revision_of
    from headgate.cli.git import origin_of

    origin = origin_of([folder])
    return {
        "settings": None if file is None else read_text(file),
        "file": "the settings" if file is None else str(file),
        "message": message,
        "git_commit": origin.commit,
        "author": origin.author,
        "dvc": revision_of(folder),
    }


def _pieces(found: "Found") -> Iterator[list[tuple[str, str]]]:
    """The sources in calls that the server takes."""
    piece: list[tuple[str, str]] = []
    size = 0
    for text in found.texts:
        weight = _weight(text)
        if piece and size + weight > _PIECE_BYTES:
            yield piece
            piece, size = [], 0
        piece.append((text.path, text.text))
        size += weight
    yield piece


def _weight(text: "SourceText") -> int:
    return 2 * len(text.text.encode("utf-8", "replace"))


def _say_skipped(skipped: "Sequence[Skipped]") -> None:
    for one in skipped[:_SHOWN_SKIPPED]:
        note(f"skipped {printable(one.path)}: {one.reason}")
    if len(skipped) > _SHOWN_SKIPPED:
        note(f"… and {len(skipped) - _SHOWN_SKIPPED} more")
    if skipped:
        note(f"{many(len(skipped), 'file')} skipped")


def _print_plan(state: Mapping[str, Any]) -> None:
    plan = state.get("plan") or {}
    click.echo(f"{many(plan.get('documents'), 'document')}, {many(plan.get('chunks'), 'chunk')}")
    if plan.get("unchanged"):
        click.echo(f"the same sources and settings as {printable(plan['unchanged'])}")
    elif plan.get("embedder") != "lexical":
        cost = plan.get("cost") or {}
        click.echo(
            f"{many(plan.get('to_embed'), 'text')} to embed with {printable(plan.get('embedder'))}: "
            f"about {count(cost.get('tokens'))} tokens, {_price(cost)}"
        )


def _price(cost: Mapping[str, Any]) -> str:
    if cost.get("usd") is not None:
        return usd(cost["usd"])
    return f"unpriced ({printable(cost.get('reason') or 'no reason given')})"


def _work(client: "Client", push_id: str) -> dict[str, Any]:
    state = client.run_kb_push(push_id)
    is_watched = sys.stderr.isatty()
    while state.get("state") == "running":
        time.sleep(_POLL_S)
        state = client.kb_push(push_id)
        if is_watched:
            total = (state.get("plan") or {}).get("to_embed") or 0
            click.echo(f"\r{count(state.get('embedded'))} of {many(total, 'text')} embedded ", nl=False, err=True)
    if is_watched:
        click.echo("\r\x1b[K", nl=False, err=True)
    return state


def _failure(error: Mapping[str, Any]) -> Exception:
    from headgate.core.errors import HeadgateError

    failed = HeadgateError(str(error["message"]), code=str(error["code"]), hint=str(error["hint"]))
    failed.status = 502 if error["code"] in ("kb_embedding", "kb_build") else 400
    return failed


def _print_result(state: Mapping[str, Any]) -> None:
    version, plan = state.get("version") or {}, state.get("plan") or {}
    if not state.get("is_new"):
        click.echo(f"{printable(version.get('ref'))}  unchanged")
        return
    click.echo(f"{printable(version.get('ref'))}  new version")
    if plan.get("embedder") != "lexical":
        cost = state.get("cost") or {}
        click.echo(
            f"{many(state.get('embedded'), 'text')} embedded: {count(cost.get('tokens'))} tokens, {_price(cost)}"
        )
    name, before = str(state.get("name")), version.get("parent")
    if before is not None:
        click.echo(f"  what changed: headgate kb diff {name} {before} {version['number']}")
    click.echo(f'  try it: headgate kb search {version["ref"]} "…"   serve it: headgate kb promote {version["ref"]}')
