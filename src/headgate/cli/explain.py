"""``headgate explain``: every decision behind one answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json
from headgate.cli.requests import find
from headgate.cli.text import json_text, printable


@click.command("explain")
@click.argument("request_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def explain(request_id: str, as_json: bool, home: Path | None) -> None:
    """Every decision behind one answer, in order: key, prompt, route, attempts, usage, price.

    ID is a request id, its first characters, or the word last.

    \b
    Examples:
      headgate explain last
      headgate explain 019ab6c2-7f31 --json
    """
    with connect(home) as client:
        answer = client.explain(find(client, request_id))
    if as_json:
        emit_json(answer)
        return
    click.echo(f"Request {printable(answer.get('request_id'))}")
    steps = answer.get("steps") or []
    width = max((len(printable(step.get("step"))) for step in steps), default=0)
    for number, step in enumerate(steps, 1):
        _print_step(number, step, width)


def _print_step(number: int, step: Mapping[str, Any], width: int) -> None:
    click.echo(f"{number:>2}  {printable(step.get('step')):<{width}}  {printable(step.get('decision'))}")
    detail = step.get("detail")
    if detail:
        text = printable(detail, keep_lines=True) if isinstance(detail, str) else json_text(detail, indent=None)
        for line in text.splitlines():
            click.echo(f"{'':{width + 6}}{line}")
