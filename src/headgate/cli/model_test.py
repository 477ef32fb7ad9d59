"""``headgate model test``: the stored sample again, or the gate on a labelled dataset."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.eval_gate import EXIT_FAIL, EXIT_INCONCLUSIVE, print_verdict
from headgate.cli.model import evidence_text, split_reference
from headgate.cli.output import Column, column, emit_json, heading, listing, note
from headgate.cli.prompt_files import read_text
from headgate.cli.text import many, printable

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.evals.dataset import Dataset

_SHIPPED = ("starter", "standard", "strict")


@click.command("test")
@click.argument("ref")
@click.option(
    "--dataset", metavar="FILE|NAME@V", help="Labelled rows: a stored dataset, a .jsonl file, a .csv with --label."
)
@click.option("--label", metavar="COLUMN", help="The column of a .csv that holds the truth.")
@click.option("--to", "target", default="champion", show_default=True, metavar="ALIAS", help="What it shall become.")
@click.option("--against", metavar="ALIAS", help="What it is compared with.  [default: what --to means now]")
@click.option(
    "--policy", metavar="NAME|FILE", help="starter, standard, strict or a file.  [default: the server's rule]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def test(
    ref: str,
    dataset: str | None,
    label: str | None,
    target: str,
    against: str | None,
    policy: str | None,
    as_json: bool,
    home: Path | None,
) -> int:
    """Judge the version REF on labelled rows, or run its stored sample again.

    With --dataset the server runs REF and the version in force on every row, compares their scores row by row and holds
    a policy against them; a pass leaves a receipt, which headgate model promote needs where a [[protect]] covers the
    alias. Without it the stored sample is run again in a process of its own, and compared row for row.

    Exit codes: 0 pass, 1 fail (or a row of the sample differs), 3 inconclusive (more rows are needed).

    \b
    Examples:
      headgate model test churn@7
      headgate model test churn@8 --dataset labelled.jsonl
      headgate model test churn@8 --dataset holdout@3 --against champion
      headgate model test churn@8 --dataset holdout.csv --label churned --policy strict
    """
    name, which = split_reference(ref)
    version = "latest" if which is None else which
    if dataset is None:
        if label is not None or against is not None or policy is not None:
            raise click.UsageError("--label, --against and --policy go with --dataset.")
        return _sample(name, version, as_json, home)
    rules = _policy(policy)
    with connect(home) as client:
        stored = _stored(client, dataset, label, quiet=as_json)
        answer = client.gate_model(name, version, stored, alias=target, against=against, policy=rules)
    if as_json:
        emit_json(answer)
    else:
        _print_metrics(answer)
        print_verdict(answer)
    verdict = str((answer.get("verdict") or {}).get("verdict"))
    return {"pass": 0, "fail": EXIT_FAIL}.get(verdict, EXIT_INCONCLUSIVE)


def _sample(name: str, version: int | str, as_json: bool, home: Path | None) -> int:
    with connect(home) as client:
        answer = client.test_model(name, version)
    if as_json:
        emit_json(answer)
    else:
        kind = {"kind": "replay", "passed": answer.get("passed"), "report": answer.get("report")}
        click.echo(f"{printable(answer.get('version'))}: {evidence_text(kind)}")
    return 0 if answer.get("passed") else EXIT_FAIL


def _policy(given: str | None) -> str | None:
    if given is None or given in _SHIPPED:
        return given
    if not Path(given).is_file():
        raise click.UsageError(f"--policy {given} is neither {', '.join(_SHIPPED)} nor a file.")
    return read_text(Path(given))


def _stored(client: "Client", dataset: str, label: str | None, *, quiet: bool) -> str:
    """The dataset as the server has it; a file is stored first, so that what was judged on stays known."""
    path = Path(dataset)
    is_csv = path.suffix.lower() == ".csv"
    if not path.is_file():
        if is_csv or path.suffix.lower() == ".jsonl":
            raise click.UsageError(f"There is no file {dataset}.")
        return dataset
    if is_csv and label is None:
        raise click.UsageError(f"Say which column of {dataset} holds the truth: --label COLUMN")
    from headgate.cli.eval_files import read_dataset_file
    from headgate.evals.dataset import rows_jsonl

    found = read_csv(path, label or "") if is_csv else read_dataset_file(path)
    pushed = client.push_dataset(found.name, rows_jsonl(found).decode())
    if not quiet:
        state = "stored" if pushed.get("is_new") else "known"
        note(f"{dataset} is {state} as {pushed.get('name')}@{pushed.get('number')}: {many(pushed.get('rows'), 'row')}.")
    return f"{pushed['name']}@{pushed['number']}"


def read_csv(path: Path, label: str) -> "Dataset":
    """A table as a dataset: a row a line, the column ``label`` as what is expected. Raises UsageError."""
    from headgate.evals.dataset import Row, dataset_of

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or []
            if label not in names:
                raise click.UsageError(f'{path} has no column "{label}". Its columns: {", ".join(names)[:500]}.')
            rows = []
            for line in reader:
                if None in line or None in line.values():
                    raise click.UsageError(f"{path}:{reader.line_num} has another number of cells than the first line.")
                cells = {name: _value(cell) for name, cell in line.items() if name != label}
                rows.append(Row(input=cells, expected=_value(line[label])))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise click.UsageError(f"{path} cannot be read: {error}.") from None
    # Two equal lines are two cases: their place tells them apart.
    numbered = [Row(id=f"line-{number}", input=row.input, expected=row.expected) for number, row in enumerate(rows, 2)]
    return dataset_of(path.stem.lower(), numbered)


def _value(cell: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def _print_metrics(answer: Mapping[str, Any]) -> None:
    verdict, dataset = answer.get("verdict") or {}, answer.get("dataset") or {}
    heading(f"{verdict.get('candidate')} on {dataset.get('name')}@{dataset.get('number')}")
    against = printable(verdict.get("baseline") or "Baseline")
    columns = (
        column("Score", "name", least=14),
        column("Better", "better", rank=2),
        Column(title="Value", pick=lambda row: row.get("value"), show=_number("value"), right=True),
        Column(title="95 %", name="low", pick=lambda row: row.get("low"), show=_interval("low", "high"), rank=1),
        column("High", "high", only="pipe"),
        Column(title=against, pick=lambda row: row.get("baseline"), show=_number("baseline"), right=True),
        Column(title="Difference", pick=lambda row: row.get("difference"), show=_number("difference"), right=True),
        Column(
            title="95 %, paired",
            name="difference_low",
            pick=lambda row: row.get("difference_low"),
            show=_interval("difference_low", "difference_high"),
        ),
        column("Difference high", "difference_high", only="pipe"),
        column("Rows", "n", right=True, rank=1),
    )
    listing(columns, answer.get("metrics") or [], empty="No row could be scored.")
    click.echo()


def _number(name: str) -> Any:
    def shown(row: Mapping[str, Any]) -> str:
        value = row.get(name)
        return "-" if value is None else f"{value:.4f}"

    return shown


def _interval(low: str, high: str) -> Any:
    def shown(row: Mapping[str, Any]) -> str:
        first, last = row.get(low), row.get(high)
        return "-" if first is None or last is None else f"[{first:.4f}, {last:.4f}]"

    return shown
