"""``headgate dataset``: cases as versions, by their content."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.eval_files import DATASETS, FOLDER, read_dataset_file
from headgate.cli.eval_results import write_file
from headgate.cli.lazy import Entry, LazyGroup
from headgate.cli.output import column, emit_json, facts, listing, note
from headgate.cli.requests import filter_options, filters_of
from headgate.cli.text import count, local_time, many, printable

COMMANDS = {
    name: Entry(target=f"headgate.cli.dataset:{attribute}", help=text)
    for name, attribute, text in (
        ("push", "push", "Files into versions; the same rows are the same version."),
        ("pull", "pull", "A version into a file."),
        ("list", "list_datasets", "All datasets."),
        ("show", "show", "One dataset: versions and rows."),
        ("diff", "diff", "Rows added, removed and changed."),
        ("from-log", "from_log", "Cases from logged calls."),
    )
}
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("dataset", cls=LazyGroup, entries=COMMANDS)
def dataset() -> None:
    """Datasets: cases as JSON Lines, {"input": {…}, "expected": …, "tags": {…}}, one a line.

    A version is named by a hash of its rows that order and spacing do not change.
    """


@click.command("push")
@click.argument("paths", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@click.option("-m", "--message", metavar="TEXT", help="What changed and why.")
@_JSON
@home_option
def push(paths: Sequence[Path], message: str | None, as_json: bool, home: Path | None) -> None:
    """Store dataset files as versions. Default: all of evals/datasets/.

    \b
    Examples:
      headgate dataset push
      headgate dataset push evals/datasets/support-golden.jsonl -m "five German cases"
    """
    from headgate.evals.dataset import rows_jsonl

    wanted = list(paths) or sorted((FOLDER / DATASETS).glob("*.jsonl"))
    if not wanted:
        raise click.UsageError("There is no .jsonl file in evals/datasets/. Name a file: headgate dataset push FILE")
    found = [read_dataset_file(path) for path in wanted]
    with connect(home) as client:
        pushed = [client.push_dataset(one.name, rows_jsonl(one).decode(), message=message) for one in found]
    if as_json:
        emit_json({"pushed": pushed})
        return
    for one in pushed:
        what = "new version" if one.get("is_new") else "unchanged"
        click.echo(
            f"{printable(one.get('name'))}@{printable(one.get('number'))}  {what}, {many(one.get('rows'), 'row')}"
        )


@click.command("pull")
@click.argument("name")
@click.option("--version", metavar="NUMBER", help="Which version.  [default: the newest]")
@click.option("--to", "target", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Where to.")
@click.option("--force", is_flag=True, help="Replace the file.")
@home_option
def pull(name: str, version: str | None, target: Path | None, force: bool, home: Path | None) -> None:
    """Write a version as a file (default: evals/datasets/NAME.jsonl).

    \b
    Examples:
      headgate dataset pull support-golden
      headgate dataset pull support-golden@3 --to old.jsonl
    """
    name, version = _reference(name, version)
    path = target or FOLDER / DATASETS / f"{name}.jsonl"
    if path.exists() and not force:
        raise click.UsageError(f"{path} exists. Replace it with --force, or choose another name: --to FILE")
    with connect(home) as client:
        text = b"".join(client.dataset_rows(name, version))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text)
    click.echo(f"{printable(path)}: {many(len(text.splitlines()), 'row')}")


@click.command("list")
@_JSON
@home_option
def list_datasets(as_json: bool, home: Path | None) -> None:
    """List all datasets with their newest versions.

    \b
    Examples:
      headgate dataset list
    """
    with connect(home) as client:
        answer = client.datasets()
    if as_json:
        emit_json(answer)
        return
    columns = (
        column("Name", "name", least=16),
        column("Version", "number", right=True),
        column("Rows", "rows", count, right=True),
        column("Pushed", "created_at", local_time),
        column("Message", "message", rank=1, least=16),
        column("Sha256", "sha256", only="pipe"),
    )
    listing(columns, answer.get("datasets") or [], empty="No datasets yet. Push files: headgate dataset push")


@click.command("show")
@click.argument("name")
@click.option("--version", metavar="NUMBER", help="Which version.  [default: the newest]")
@click.option("--rows", "with_rows", is_flag=True, help="Print its rows as JSON Lines instead.")
@_JSON
@home_option
def show(name: str, version: str | None, with_rows: bool, as_json: bool, home: Path | None) -> None:
    """Show a dataset.

    \b
    Examples:
      headgate dataset show support-golden
      headgate dataset show support-golden@2 --rows | head -3
    """
    name, version = _reference(name, version)
    with connect(home) as client:
        if with_rows:
            click.echo(b"".join(client.dataset_rows(name, version)).decode(), nl=False)
            return
        answer = client.dataset(name, version)
    if as_json:
        emit_json(answer)
        return
    facts(
        [
            (title, printable(answer[key]))
            for title, key in (("Dataset", "name"), ("Version", "number"), ("Rows", "rows"), ("Hash", "sha256"))
            if answer.get(key) is not None
        ]
    )
    columns = (
        column("Version", "number", right=True),
        column("Rows", "rows", count, right=True),
        column("Pushed", "created_at", local_time),
        column("By", "pushed_by", least=10, rank=2),
        column("Message", "message", rank=1, least=16),
    )
    listing(columns, answer.get("versions") or [], empty="No versions.")


@click.command("diff")
@click.argument("name")
@click.argument("before")
@click.argument("after", required=False)
@_JSON
@home_option
def diff(name: str, before: str, after: str | None, as_json: bool, home: Path | None) -> None:
    """What changed from version BEFORE to version AFTER, by row; or from NAME@2 to @3.

    \b
    Examples:
      headgate dataset diff support-golden 2 3
      headgate dataset diff support-golden@2 @3
    """
    name, before, after = _two_versions(name, before, after)
    with connect(home) as client:
        answer = client.dataset_difference(name, before, after)
    if as_json:
        emit_json(answer)
        return
    for mark, key in (("+", "added"), ("-", "removed"), ("~", "changed")):
        for row in answer.get(key) or []:
            click.echo(f"{mark} {_row(row)}")
    click.echo(f"{count(answer.get('same'))} unchanged")


def _reference(name: str, version: str | None = None) -> tuple[str, str | None]:
    """A dataset and its version, from NAME or NAME@2; UsageError when an option says another one."""
    bare, mark, number = name.partition("@")
    if not mark:
        return name, version
    if version not in (None, number):
        raise click.UsageError(f"{name} and --version {version} are two versions; name one.")
    return bare, number or None


def _two_versions(name: str, before: str, after: str | None) -> tuple[str, str, str]:
    """A dataset and two of its numbers, from `NAME 2 3` or `NAME@2 @3`."""
    bare, first = _reference(name)
    given = (before, after) if first is None else (first, before, *([after] if after else []))
    numbers = [(one or "").removeprefix(f"{bare}@").removeprefix("@") for one in given]
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise click.UsageError(f"Name two versions of one dataset: {bare} 2 3, or {bare}@2 @3.")
    return bare, numbers[0], numbers[1]


def _row(row: Any) -> str:
    if not isinstance(row, Mapping):
        return printable(row)
    fields = ", ".join(map(printable, row.get("fields") or []))
    return printable(row.get("id")) + (f": {fields}" if fields else "")


@click.command("from-log")
@click.option("--limit", type=click.IntRange(1, 5000), default=100, show_default=True, help="How many cases at most.")
@click.option("--name", metavar="NAME", help="Store them as a version of this dataset.")
@click.option(
    "--to", "target", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write them here."
)
@filter_options
@_JSON
@home_option
def from_log(
    limit: int, name: str | None, target: Path | None, as_json: bool, home: Path | None, **filters: Any
) -> None:
    """Cases from logged calls of stored prompts: their variables, each once; corrections become expected answers.

    \b
    Examples:
      headgate dataset from-log --prompt support-answer --since 7d --to evals/datasets/week.jsonl
      headgate dataset from-log --prompt support-answer --limit 50 --name week
    """
    if target is not None and target.exists():
        raise click.UsageError(f"{target} exists. Choose another name.")
    with connect(home) as client:
        answer = client.dataset_from_log(filters_of(filters), limit=limit, name=name)
    text = str(answer.get("rows_jsonl") or "")
    if target is not None:
        write_file(target, text.encode())
    if as_json:
        emit_json(answer)
    elif target is None and name is None:
        click.echo(text, nl=False)
    note(f"{many(len(text.splitlines()), 'case')}.")
