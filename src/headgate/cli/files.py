"""``headgate log export`` and ``headgate log delete``."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json
from headgate.cli.requests import filter_options, filters_of, find
from headgate.cli.text import many, size

ExportFormat = Literal["jsonl", "csv", "parquet", "duckdb"]
_FORMATS: dict[str, ExportFormat] = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet", ".duckdb": "duckdb"}
_PROGRESS_BYTES = 4 << 20


@click.command("export")
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Where to; the ending decides the format.",
)
@click.option("--bodies", is_flag=True, help="With what was said, not only the facts about it.")
@click.option("--force", is_flag=True, help="Replace FILE when it exists.")
@filter_options
@home_option
def export(target: Path, bodies: bool, force: bool, home: Path | None, **filters: Any) -> None:
    """Write requests into FILE; its ending decides the format: .jsonl, .csv, .parquet or .duckdb.

    The file appears under its name only when it is complete, readable by you alone.

    \b
    Examples:
      headgate log export --to week.parquet --since 7d
      headgate log export --to errors.jsonl --errors --bodies
      headgate log export --to all.duckdb && duckdb all.duckdb "from requests limit 5"
    """
    file_format = _FORMATS.get(target.suffix.lower())
    if file_format is None:
        raise click.UsageError(f"{target.name} ends with none of {', '.join(_FORMATS)}, which name the format.")
    if target.exists() and not force:
        raise click.UsageError(f"{target} exists. Replace it with --force, or choose another name.")
    query = filters_of(filters)
    with connect(home) as client:
        written_bytes = _write(target, client.export(file_format, query, bodies=bodies))
    click.echo(f"{target}: {size(written_bytes)}", err=True)


def _write(target: Path, pieces: Iterator[bytes]) -> int:
    """Writes a file that is either complete or not there."""
    partial = target.with_name(f".{target.name}.part")
    written_bytes = shown_bytes = 0
    is_watched = sys.stderr.isatty()
    with contextlib.ExitStack() as stack:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        stack.callback(partial.unlink, missing_ok=True)
        with open(descriptor, "wb") as file:
            for piece in pieces:
                written_bytes += file.write(piece)
                if is_watched and written_bytes - shown_bytes >= _PROGRESS_BYTES:
                    shown_bytes = written_bytes
                    click.echo(f"\r{size(written_bytes)} ", nl=False, err=True)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    if shown_bytes:
        click.echo("\r", nl=False, err=True)
    return written_bytes


@click.command("delete")
@click.argument("request_ids", nargs=-1, metavar="[ID]...")
@click.option("--project", metavar="NAME", help="All of one project.")
@click.option("--user", metavar="ID", help="All of one user.")
@click.option("--session", metavar="ID", help="All of one session.")
@click.option("--before", metavar="TIME", help="All started before this time: 30d, or 2026-11-23T08:00:00Z.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def delete(
    request_ids: Sequence[str],
    project: str | None,
    user: str | None,
    session: str | None,
    before: str | None,
    yes: bool,
    as_json: bool,
    home: Path | None,
) -> None:
    """Delete requests: out of every answer at once, out of every file within 24 hours. There is no way back.

    Give ids, or filters that must all hold.

    \b
    Examples:
      headgate log delete 019ab6c2-7f31 --yes
      headgate log delete --user u-4711
      headgate log delete --project trial --before 30d
    """
    given = {"project": project, "user": user, "session": session, "before": before}
    chosen = {name: value for name, value in given.items() if value}
    if bool(request_ids) == bool(chosen):
        raise click.UsageError("Say what to delete: either ids, or --project, --user, --session or --before.")
    with connect(home) as client:
        ids = [find(client, request_id) for request_id in request_ids]
        if not yes:
            number = len(ids)
            if chosen:
                query = {"until" if name == "before" else name: value for name, value in chosen.items()}
                number = client.requests({**query, "purpose": "all", "limit": "1"})["total"]["requests"]
            _confirm(number)
        answer = client.delete_requests(ids=ids) if ids else client.delete_requests(filters=chosen)
    if as_json:
        emit_json(answer)
    else:
        click.echo(f"{many(answer.get('deleted'), 'request')} deleted.")


def _confirm(number: int) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError(f"This deletes {many(number, 'request')}. Say --yes to do it without being asked.")
    click.confirm(f"Delete {many(number, 'request')}, rows and bodies, for good?", abort=True)
