"""``headgate log``: the group, and its commands ``list`` and ``tail``."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.connect import OFFLINE_URL, connect, home_option
from headgate.cli.lazy import Entry, LazyGroup
from headgate.cli.output import emit_json, emit_json_line, is_terminal, listing, note, raw_text
from headgate.cli.requests import (
    cost_of,
    filter_options,
    filters_of,
    outcome_of,
    pages,
    prompt_of,
    request_columns,
    tokens_of,
)
from headgate.cli.text import MISSING, count, local_time, many, milliseconds, printable, short_id, usd

if TYPE_CHECKING:
    from headgate.client import Client

_WAIT_S = 10  # how long the server may hold an answer back until something is stored
_POLL_S = 0.2
_PATIENCE_S = 60.0

COMMANDS = {
    "list": Entry(target="headgate.cli.log:list_requests", help="The newest requests, and what all of them cost."),
    "show": Entry(target="headgate.cli.show:show", help="One request: timing, tokens, cost, messages, answer."),
    "tail": Entry(target="headgate.cli.log:tail", help="Requests as they are stored, until Ctrl-C."),
    "export": Entry(
        target="headgate.cli.files:export", help="Requests into a JSON Lines, CSV, Parquet or DuckDB file."
    ),
    "delete": Entry(target="headgate.cli.files:delete", help="Delete requests, rows and bodies."),
}


@click.group(cls=LazyGroup, entries=COMMANDS)
def log() -> None:
    """The log: every request that went through the gateway."""


@click.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: requests, next, total.")
@home_option
def list_requests(home: Path | None, limit: int, as_json: bool, **filters: Any) -> None:
    """List requests, newest first.

    On a terminal a table and the totals of everything that matches; on a pipe tab-separated text with the stored
    values.

    \b
    Examples:
      headgate log list --since 1h --errors
      headgate log list --model 'gpt-*' --status 429 --limit 200
      headgate log list --tag team=search --since 7d --json | jq '.total.cost_usd'
    """
    query = filters_of(filters)
    rows: list[Mapping[str, Any]] = []
    page: dict[str, Any] = {}
    with connect(home) as client:
        for page in pages(client, query, limit):
            rows.extend(page["requests"])
            total = page.get("total") or {}
    if as_json:
        emit_json({"requests": rows, "next": page.get("next"), "total": total})
        return
    listing(request_columns(), rows, empty="No request matches. See: headgate log list --purpose all, headgate doctor")
    if is_terminal() and rows:
        click.echo(f"\n{total_line(total)}")


def total_line(total: Mapping[str, Any]) -> str:
    """Totals in one sentence, the cost never without its coverage; what can have cost nothing is named apart."""
    requests, errors = many(total.get("requests"), "request"), many(total.get("errors"), "error")
    apart = [f"{count(total[name])} {words}" for name, words in _APART.items() if total.get(name)]
    return f"{', '.join([requests, errors, *apart])}. {coverage(total)}"


_APART = {"failed": "failed at the upstream", "not_sent": "not sent", "not_priced": "not to a priced endpoint"}


def coverage(total: Mapping[str, Any]) -> str:
    """A cost with how much it covers of the requests that may have cost something."""
    priced, unpriced, estimated = (total.get(name) or 0 for name in ("priced", "unpriced", "estimated"))
    if not isinstance(priced, int) or not isinstance(unpriced, int):
        return f"Cost {usd(total.get('cost_usd'))}."
    if not priced and not unpriced:
        return "Nothing to price."
    said = f"Cost {usd(total.get('cost_usd')) if priced else 'unknown'}"
    guess = f", {count(estimated)} with estimated tokens" if estimated else ""
    whole = f"{count(priced + unpriced)} that may have cost something"
    if not unpriced:
        return f"{said}, covering 100 % of {whole}{guess}."
    reasons = total.get("unpriced_reasons")
    because = f": {', '.join(f'{printable(why)} ({count(n)})' for why, n in reasons.items())}" if reasons else ""
    share = 100 * priced // (priced + unpriced)
    parts = f"{count(priced)} with a price{guess}, {count(unpriced)} without{because}"
    return f"{said}, covering {share} % of {whole} ({parts})."


@click.command("tail")
@filter_options
@click.option("-n", "--lines", type=click.IntRange(0, 1000), default=10, show_default=True, help="Start with so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@home_option
def tail(home: Path | None, lines: int, as_json: bool, **filters: Any) -> None:
    """Follow the log: one line per request as it is stored, until Ctrl-C.

    \b
    Examples:
      headgate log tail
      headgate log tail --errors --lines 0
      headgate log tail --json | jq -r '.model'
    """
    query = filters_of(filters)
    with connect(home) as client:
        try:
            for row in follow(client, query, lines):
                if as_json:
                    emit_json_line(row)
                elif is_terminal():
                    click.echo(tail_line(row))
                else:
                    click.echo("\t".join(raw_text(c.pick(row)) for c in request_columns() if c.only != "terminal"))
        except KeyboardInterrupt:
            raise click.Abort from None


def follow(client: "Client", filters: Mapping[str, str], lines: int) -> Iterator[dict[str, Any]]:
    """The last ``lines`` requests, then every one as it is stored; ends only on a stopped home's files."""
    # The place is taken before the list is read, so nothing is missed between them; what both have is shown once.
    place = client.tail(None, filters).get("next")
    seen: set[str] = set()
    if lines:
        newest = [row for page in pages(client, filters, lines) for row in page["requests"]]
        for row in reversed(newest):
            seen.add(str(row["request_id"]))
            yield row
    if client.url == OFFLINE_URL:
        note("No server runs on this data directory, so nothing more will come. Start one: headgate serve")
        return
    while True:
        page = _patiently(client, place, filters)
        for row in page["requests"]:
            if str(row["request_id"]) not in seen:
                yield row
        place = page.get("next", place)
        if not page["requests"]:
            time.sleep(_POLL_S)


def _patiently(client: "Client", place: int | str | None, filters: Mapping[str, str]) -> dict[str, Any]:
    """The next page, waiting a while for a server that restarts."""
    from headgate.client import GatewayBroke, NoGateway
    from headgate.core.ids import monotonic_s

    give_up_s = monotonic_s() + _PATIENCE_S
    was_told = False
    while True:
        try:
            return client.tail(place, {**filters, "wait_s": str(_WAIT_S)})
        except (NoGateway, GatewayBroke) as error:
            if monotonic_s() >= give_up_s:
                raise
            if not was_told:
                note(f"{error} Waiting up to {_PATIENCE_S:g} s for it to come back.")
                was_told = True
            time.sleep(_POLL_S)


def tail_line(row: Mapping[str, Any]) -> str:
    """One request on one line."""
    model = printable(row.get("model") or row.get("model_requested") or row.get("path") or "-")
    prompt = prompt_of(row)
    tokens, cost = tokens_of(row), cost_of(row)
    parts = [
        local_time(row.get("started_at"))[11:],
        short_id(row.get("request_id")),
        model + (f" {printable(prompt)}" if prompt else ""),
        *([f"{tokens} tokens"] if tokens else []),
        *([cost] if cost != MISSING else []),
        f"{milliseconds(row.get('latency_ms'))} ms",
    ]
    outcome = outcome_of(row)
    colour = "green" if row.get("outcome") == "ok" else "red"
    return "  ".join([*parts, click.style(outcome, fg=colour)])
