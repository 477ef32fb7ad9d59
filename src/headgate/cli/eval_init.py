"""``headgate eval init``: a suite and a dataset to start from, made of logged calls."""

import json
from pathlib import Path

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.eval_files import DATASETS, FOLDER
from headgate.cli.output import emit_json
from headgate.cli.text import many, printable
from headgate.core.errors import NotFound

_HEAD = """# What makes an answer of {prompt} good, on cases of {dataset}: calls from the log, each once.
suite: {name}
target: {prompt}
dataset: {dataset}
run: {{repeat: 1, concurrency: 8}}
budget: {{usd: 2.00}}
scorers:
  - {{id: answered, type: answered, must_pass: true}}
"""
_EXPECTED = """  # Every case has an "expected" text, which the answer has to hold.
  - {id: right, type: contains, role: primary}
"""
_JUDGED = """  # What the gate compares. Say what a good answer does; a judge reads it with every answer.
  - id: good
    type: judge.rubric
    judge: main
    role: primary
    rubric: The answer does what was asked, completely and correctly, and adds nothing that was not asked for.
"""
_HALF = """  # Cases with an "expected" text (corrections that people gave) are compared too.
  # When every case has one, make it the primary scorer: {id: right, type: contains, role: primary}
  - {id: right, type: contains, role: info}
"""
_JUDGE = """judges:
  main: {prompt: JUDGE}
"""
_NO_JUDGE = """  # What the gate compares is only that an answer came to its end. Better: give every case an "expected"
  # text and compare it ({id: right, type: contains, role: primary}), or push a judge and use it.
  - {id: whole, type: finish_reason, role: primary}
"""
JUDGE = "judge-rubric"
"""The judge of a new suite: a sample prompt, which headgate init writes and the demo has."""


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
        has_judge = any(one.get("name") == JUDGE for one in client.prompts().get("prompts") or [])
    rows = str(answer.get("rows_jsonl") or "")
    if not rows.strip():
        raise NotFound(
            f"The log has no calls of {target} with variables since {since}.",
            hint="Call it as a stored prompt first, or look further back: --since 30d",
        )
    dataset_file.parent.mkdir(parents=True, exist_ok=True)
    dataset_file.write_text(rows, encoding="utf-8")
    expected = [bool(json.loads(row).get("expected")) for row in rows.splitlines()]
    suite_file.write_text(suite_text(name, target, expected, is_judged=has_judge), encoding="utf-8")
    number = len(expected)
    if as_json:
        emit_json({"suite": str(suite_file), "dataset": str(dataset_file), "rows": number})
        return
    click.echo(f"written  {printable(suite_file)}")
    click.echo(f"written  {printable(dataset_file)}  {many(number, 'case')}")
    click.echo(f"Next: headgate eval run {printable(name)}. It says more with a rubric and scorers of your own.")


def suite_text(name: str, prompt: str, expected: list[bool], *, is_judged: bool) -> str:
    """A suite that runs as it stands: it compares what the cases have, else what a judge says, else that there is one.

    ``expected`` says of each case whether it has an expected answer.
    """
    text = _HEAD.format(name=name, prompt=prompt, dataset=name)
    if all(expected):
        return text + _EXPECTED
    text += _JUDGED if is_judged else _NO_JUDGE
    text += _HALF if any(expected) else ""
    return text + (_JUDGE.replace("JUDGE", JUDGE) if is_judged else "")
