"""What the commands about requests share: filter options, columns, and finding one by the start of its id."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headgate.cli.output import Column, column
from headgate.cli.text import MISSING, count, local_time, milliseconds, printable, short_id, usd
from headgate.pricing.reasons import group_of

if TYPE_CHECKING:
    from headgate.client import Client

_Command = TypeVar("_Command", bound=Callable[..., Any])
Row = Mapping[str, Any]
PAGE_ROWS = 200

FILTERS: tuple[tuple[str, str, str], ...] = (
    ("since", "TIME", "Started at or after this time: 30m, 24h, 7d, or 2026-11-23T08:00:00Z."),
    ("until", "TIME", "Started before this time, written the same way."),
    ("model", "NAME", "Model as asked for or as answered; * and ? match any text or character."),
    ("prompt", "NAME[@REF]", "Prompt, or one version or alias of it."),
    ("key", "ID|NAME", "Headgate key."),
    ("endpoint", "NAME", "openai.chat, openai.responses, openai.embeddings, anthropic.messages, other, ..."),
    ("outcome", "NAME", "ok, refused, upstream_error, upstream_aborted, timeout, client_closed, interrupted."),
    ("status", "CODE", "HTTP status, or a class of them: 429, 5xx."),
    ("upstream", "NAME", "Upstream that answered."),
    ("session", "ID", "Session, from x-headgate-session."),
    ("user", "ID", "User, from x-headgate-user."),
    ("project", "NAME", "Project of the key."),
    ("purpose", "NAME", "traffic, eval, judge, embedding, shadow, probe, or all."),
    ("q", "TEXT", "Text within id, model, prompt, path, session, user, client or error."),
)


def filter_options(command: _Command) -> _Command:
    """The options that choose requests; the command receives them as keyword arguments for :func:`filters_of`."""
    command = click.option(
        "--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Tag, from x-headgate-tag-NAME; may be repeated."
    )(command)
    command = click.option("--errors", is_flag=True, help="Only requests that went wrong.")(command)
    for name, metavar, text in reversed(FILTERS):
        command = click.option(f"--{name}", metavar=metavar, help=text)(command)
    return command


def filters_of(given: Mapping[str, Any]) -> dict[str, str]:
    """The API's query parameters for the options of :func:`filter_options`."""
    query = {name: str(given[name]) for name, _, _ in FILTERS if given.get(name)}
    if given.get("errors"):
        query["errors"] = "1"
    for tag in given.get("tags", ()):
        name, equals, value = tag.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--tag {tag!r} has no value. Write it NAME=VALUE: --tag team=search")
        query[f"tag.{name}"] = value
    return query


def pages(client: "Client", filters: Mapping[str, str], limit: int) -> Iterator[dict[str, Any]]:
    """Pages of the newest requests until ``limit`` rows came or none are left."""
    left, before = limit, None
    while left > 0:
        query = {**filters, "limit": str(min(left, PAGE_ROWS))}
        if before is not None:
            query["before"] = before
        page = client.requests(query)
        yield page
        left -= len(page["requests"])
        before = page.get("next")
        if not before or not page["requests"]:
            return


def find(client: "Client", wanted: str) -> str:
    """The id of one request, from the whole of it, its first characters, or ``last``."""
    text = wanted.strip().lower()
    if text == "last":
        # Of a grounded call the embedding of its question is the newer row; what is meant is the call.
        newest = client.requests({"limit": "1", "purpose": "traffic"})["requests"]
        newest = newest or client.requests({"limit": "1"})["requests"]
        if not newest:
            raise click.UsageError("No request is stored yet. Send one, or see: headgate doctor")
        return str(newest[0]["request_id"])
    if not re.fullmatch(r"[0-9a-f-]{4,36}", text):
        raise click.UsageError(f"{wanted!r} is no request id: hexadecimal, at least 4 characters, or the word last.")
    if len(text) == 36:
        return text
    query = {**_span_of(text), "q": text, "purpose": "all", "limit": "50"}
    found = [str(row["request_id"]) for row in client.requests(query)["requests"]]
    matching = [request_id for request_id in found if request_id.startswith(text)]
    if not matching:
        raise click.UsageError(f"No request's id starts with {text}. See: headgate log list --since 7d")
    if len(matching) > 1:
        shown = "\n".join(f"  {request_id}" for request_id in matching[:10])
        raise click.UsageError(f"{len(matching)} requests' ids start with {text}. Write more of it:\n{shown}")
    return matching[0]


def _span_of(prefix: str) -> dict[str, str]:
    """The times that ids with this prefix can have: a UUIDv7 starts with its milliseconds."""
    digits = prefix.replace("-", "")[:12]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    try:
        first = epoch + timedelta(milliseconds=int(digits.ljust(12, "0"), 16)) - timedelta(seconds=2)
        last = epoch + timedelta(milliseconds=int(digits.ljust(12, "f"), 16)) + timedelta(seconds=2)
    except OverflowError:
        return {}
    return {"since": first.isoformat(), "until": last.isoformat()}


def prompt_of(row: Row) -> str | None:
    """The prompt as ``name@7``."""
    name, version = row.get("prompt_name"), row.get("prompt_version")
    return name if name is None or version is None else f"{name}@{version}"


def tokens_of(row: Row) -> str | None:
    """Tokens in and out as ``412→38``; ``~`` marks an estimate, ``?`` an unknown count."""
    asked, answered = row.get("input_tokens"), row.get("output_tokens")
    if asked is None and answered is None:
        return None
    mark = "~" if row.get("usage_source") == "estimated" else ""
    return f"{mark}{count(asked) if asked is not None else '?'}→{count(answered) if answered is not None else '?'}"


def cost_of(row: Row) -> str:
    """The cost for people: ``-`` for what cost nothing, others may be unpriced."""
    if row.get("cost_usd") is None and group_of(row.get("cost_reason")) != "unpriced":
        return MISSING
    return usd(row.get("cost_usd"))


def outcome_of(row: Row) -> str:
    """The outcome, with the status unless that says nothing more."""
    outcome, status = row.get("outcome"), row.get("status")
    return printable(outcome) if outcome == "ok" or status is None else f"{printable(outcome)} {status}"


def request_columns() -> tuple[Column, ...]:
    """The columns of a listing of requests; on a pipe they carry the stored values."""
    return (
        column("Time", "started_at", local_time),
        column("Id", "request_id", short_id),
        Column(title="Model", pick=lambda row: row.get("model") or row.get("model_requested"), least=24),
        Column(title="Prompt", pick=prompt_of, rank=2, least=14),
        column("Endpoint", "endpoint", rank=4, least=10),
        Column(title="Tokens", pick=tokens_of, only="terminal", right=True, rank=1),
        column("Input tokens", "input_tokens", only="pipe"),
        column("Output tokens", "output_tokens", only="pipe"),
        Column(title="Cost", name="cost_usd", pick=lambda row: row.get("cost_usd"), show=cost_of, right=True),
        column("ms", "latency_ms", milliseconds, right=True),
        column("Status", "status", only="pipe"),
        Column(title="Outcome", pick=lambda row: row.get("outcome"), show=outcome_of, least=9),
    )
