"""``headgate cost``: what was spent, never without how much of the traffic that covers."""

from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.log import total_line
from headgate.cli.output import Column, Row, column, emit_json, is_terminal, listing
from headgate.cli.requests import filter_options, filters_of
from headgate.cli.text import MISSING, count, percent, printable, usd


@click.command("cost")
@click.option(
    "--by", default="model", show_default=True, metavar="COLUMNS", help="Group by these, with commas between."
)
@filter_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON: rows, total.")
@home_option
def cost(by: str, as_json: bool, home: Path | None, **filters: Any) -> None:
    """What was spent, the dearest first.

    Group by model, prompt, key, day, hour, month, project, user, session, endpoint, upstream, provider, route,
    purpose, outcome, tier or tag.NAME. Only traffic counts unless --purpose says otherwise. Requests without a price
    are never counted as free: every total says how many it covers.

    \b
    Examples:
      headgate cost --since 7d
      headgate cost --by day,model --since 30d
      headgate cost --by tag.team --since 7d --json
    """
    groups = [name.strip() for name in by.split(",") if name.strip()]
    if not groups:
        raise click.UsageError("--by names no column. Example: --by model,day")
    with connect(home) as client:
        answer = client.cost(groups, filters_of(filters))
    if as_json:
        emit_json(answer)
        return
    total = answer.get("total") or {}
    listing(_columns(groups), answer.get("rows") or [], empty="No request matches. A longer time: --since 30d")
    if is_terminal():
        click.echo(f"\n{total_line(total)}")
    else:
        # Piped data stays data; the warning that a sum is incomplete must not get lost for that.
        click.echo(total_line(total), err=True)


def _columns(groups: list[str]) -> tuple[Column, ...]:
    return (
        *(Column(title=name, name=name, pick=_picker(name), least=12) for name in groups),
        column("Cost", "cost_usd", right=True, look=usd),
        Column(title="Priced", pick=lambda row: row.get("priced"), show=_covered, right=True),
        column("Requests", "requests", count, right=True, rank=1),
        column("Errors", "errors", count, right=True, rank=4),
        column("Input tokens", "input_tokens", count, right=True, rank=2),
        column("Output tokens", "output_tokens", count, right=True, rank=2),
        column("Unpriced", "unpriced", only="pipe"),
    )


def _picker(name: str) -> Any:
    return lambda row: row.get(name)


def _covered(row: Row) -> str:
    """How much of what could have a price has one."""
    priced, unpriced = row.get("priced"), row.get("unpriced")
    if not isinstance(priced, int) or not isinstance(unpriced, int):
        return MISSING if priced is None else printable(priced)
    return percent(priced, priced + unpriced)
