"""``headgate model performance``: realised metrics by version."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json, heading
from headgate.cli.text import count, percent, printable


@click.command("performance")
@click.argument("name")
@click.option("--window", default="7d", show_default=True, metavar="TIME", help="Since when: 24h, 7d, or an ISO time.")
@click.option("--alias", metavar="ALIAS", help="Only calls by this alias.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def performance(name: str, window: str, alias: str | None, as_json: bool, home: Path | None) -> None:
    """Show what a model was worth: realised metrics by version, from the labels that have come in, with how many
    predictions have one and 95 % intervals.

    \b
    Examples:
      headgate model performance churn --window 30d
      headgate model performance churn --alias challenger
    """
    with connect(home) as client:
        answer = client.model_performance(name, window=window, alias=alias)
    if as_json:
        emit_json(answer)
        return
    versions = answer.get("versions") or []
    if not versions:
        click.echo(f"No predictions of {printable(name)} since {printable(answer.get('since'))}.")
    for found in versions:
        _print(name, found)


def _print(name: str, found: Mapping[str, Any]) -> None:
    rows, labelled = found.get("rows"), found.get("labelled")
    heading(f"{name}@{found.get('version')}")
    click.echo(f"  {count(rows)} predictions, {count(labelled)} with a label ({percent(labelled, rows)})")
    for metric in found.get("metrics") or []:
        click.echo(f"  {printable(metric.get('name')):<22}{_value(metric)}")


def _value(metric: Mapping[str, Any]) -> str:
    value, low, high = metric.get("value"), metric.get("low"), metric.get("high")
    if value is None:
        return f"unknown: {printable(metric.get('reason'))}"
    interval = "" if low is None or high is None else f"  [{low:.4f}, {high:.4f}]"
    return f"{value:.4f}{interval}  n={metric.get('n')}"
