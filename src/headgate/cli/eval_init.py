"""``headgate eval init``: a suite and a dataset to start from, made of logged calls."""

from pathlib import Path

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.eval_files import DATASETS, FOLDER
from headgate.cli.output import emit_json
from headgate.cli.text import many, printable
from headgate.core.errors import NotFound

_SUITE = """# What makes an answer of {prompt} good, on cases of {dataset}.
suite: {name}
target: {prompt}
dataset: {dataset}
run: {{repeat: 1, concurrency: 8}}
budget: {{usd: 2.00}}
scorers:
  - {{id: answered, type: regex, pattern: '\\S', must_pass: true}}
  - {{id: right, type: contains, role: primary}}    # the answer holds what a case has as "expected"
"""


@click.command("init")
@click.argument("name")
@click.option("--prompt", metavar="NAME", help="The prompt to judge.  [default: NAME]")
@click.option(
    "--from-log", "limit", type=click.IntRange(1, 5000), default=25, show_default=True, help="How many cases."
)
@click.option("--since", default="7d", show_default=True, metavar="TIME", help="From calls since then.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: suite, dataset, rows.")
@home_option
def init(name: str, prompt: str | None, limit: int, since: str, as_json: bool, home: Path | None) -> None:
    """Write evals/NAME.yaml and evals/datasets/NAME.jsonl from logged calls of a prompt: their variables as cases,
    corrections that people gave as expected answers. Nothing that exists is changed.

    \b
    Examples:
      headgate eval init support-answer --from-log 25
      headgate eval init answers-de --prompt support-answer --since 30d
    """
    target = prompt or name
    suite_file, dataset_file = FOLDER / f"{name}.yaml", FOLDER / DATASETS / f"{name}.jsonl"
    for file in (suite_file, dataset_file):
        if file.exists():
            raise click.UsageError(f"{file} exists. Choose another name, or edit it.")
    with connect(home) as client:
        answer = client.dataset_from_log({"prompt": target, "since": since}, limit=limit)
    rows = str(answer.get("rows_jsonl") or "")
    if not rows.strip():
        raise NotFound(
            f"The log has no calls of {target} with variables since {since}.",
            hint="Call it as a stored prompt first, or look further back: --since 30d",
        )
    dataset_file.parent.mkdir(parents=True, exist_ok=True)
    dataset_file.write_text(rows, encoding="utf-8")
    suite_file.write_text(_SUITE.format(name=name, prompt=target, dataset=name), encoding="utf-8")
    number = len(rows.splitlines())
    if as_json:
        emit_json({"suite": str(suite_file), "dataset": str(dataset_file), "rows": number})
        return
    click.echo(f"written  {printable(suite_file)}")
    click.echo(f"written  {printable(dataset_file)}  {many(number, 'case')}")
    click.echo(f"Next: add expected answers and scorers, then headgate eval run {printable(name)}")
