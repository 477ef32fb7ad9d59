"""``headgate log show``: one request as people read it, or one of its bodies byte for byte."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json, facts, heading, is_terminal, raw_text
from headgate.cli.requests import find, outcome_of, prompt_of
from headgate.cli.text import MISSING, count, exact_usd, json_text, local_time, milliseconds, printable, size

if TYPE_CHECKING:
    from headgate.client import Client

Row = Mapping[str, Any]
_MAX_PART_CHARS = 4000


@click.command("show")
@click.argument("request_id", metavar="ID")
@click.option("--raw", type=click.Choice(["request", "sent", "response"]), help="Only this body, byte for byte.")
@click.option("--full", is_flag=True, help=f"Do not shorten texts over {_MAX_PART_CHARS} characters.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@home_option
def show(
    request_id: str, raw: Literal["request", "sent", "response"] | None, full: bool, as_json: bool, home: Path | None
) -> None:
    """Show one request: where it went, how long it took, what it cost and why, what was said.

    ID is a request id, its first characters, or the word last. Control characters in texts are written out;
    --raw into a file or a pipe gives the stored bytes.

    \b
    Examples:
      headgate log show last
      headgate log show 019ab6c2-7f
      headgate log show last --raw response > answer.json
    """
    with connect(home) as client:
        found = find(client, request_id)
        if raw is not None:
            _write_raw(client, found, raw)
            return
        answer = client.request(found)
    if as_json:
        emit_json(answer)
        return
    _print_request(answer, None if full else _MAX_PART_CHARS)


def _write_raw(client: "Client", request_id: str, kind: Literal["request", "sent", "response"]) -> None:
    pieces = client.body(request_id, kind)
    if is_terminal():
        click.echo(printable(b"".join(pieces).decode("utf-8", "replace"), keep_lines=True))
        return
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _print_request(answer: Mapping[str, Any], limit_chars: int | None) -> None:
    row: Row = answer.get("request") or {}
    facts(_identity(row))
    _print_section("Timing", _timing(row))
    _print_section("Tokens and cost", _tokens(row))
    _print_price(answer.get("price"), row)
    _print_attempts(answer.get("attempts") or [])
    _print_bodies(answer.get("bodies"), row)
    _print_transcript(answer.get("transcript"), limit_chars)


def _identity(row: Row) -> list[tuple[str, str]]:
    model = printable(row.get("model") or row.get("model_requested") or MISSING)
    if row.get("model_requested") not in (None, row.get("model")):
        model += f" (asked for {printable(row['model_requested'])})"
    shown = [
        ("Request", printable(row.get("request_id"))),
        ("Time", f"{local_time(row.get('started_at'))} ({printable(row.get('started_at'))})"),
        ("Call", f"{printable(row.get('method'))} {printable(row.get('path'))} ({printable(row.get('endpoint'))})"),
        ("Model", model),
        ("Upstream", _joined(row, ("upstream", "provider", "route"))),
        ("Outcome", _outcome(row)),
    ]
    named = (
        ("Prompt", prompt_of(row)),
        ("Finish", row.get("finish_reason")),
        ("Purpose", row.get("purpose") if row.get("purpose") != "traffic" else None),
        ("Project", row.get("project")),
        ("Key", row.get("key_id")),
        ("Client", row.get("client")),
        ("Session", row.get("session_id")),
        ("User", row.get("user_id")),
        ("Trace", row.get("trace_id")),
        ("Upstream's id", row.get("upstream_request_id")),
        ("Response id", row.get("response_id")),
        ("Tags", raw_text(row["tags"]) if row.get("tags") else None),
    )
    return shown + [(name, printable(value)) for name, value in named if value is not None]


def _outcome(row: Row) -> str:
    said = outcome_of(row)
    error = ": ".join(printable(row[name]) for name in ("error_type", "error_message") if row.get(name))
    return f"{said}, {error}" if error else said


def _joined(row: Row, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {printable(row[name])}" for name in names if row.get(name) is not None) or MISSING


def _timing(row: Row) -> list[tuple[str, str]]:
    names = (
        ("Whole", "latency_ms"),
        ("First byte", "ttft_ms"),
        ("Upstream", "upstream_ms"),
        ("Headgate itself", "overhead_ms"),
    )
    return [(title, f"{milliseconds(row[name])} ms") for title, name in names if row.get(name) is not None]


def _tokens(row: Row) -> list[tuple[str, str]]:
    names = (
        ("Input", "input_tokens"),
        ("  of it cached", "cached_input_tokens"),
        ("  of it cache write", "cache_write_tokens"),
        ("Output", "output_tokens"),
        ("  of it reasoning", "reasoning_tokens"),
    )
    shown = [(title, count(row[name])) for title, name in names if row.get(name) is not None]
    source = {"provider": "as the provider counted", "estimated": "estimated by Headgate", "none": "no usage came"}
    said = row.get("usage_source")
    return [*shown, ("Counted", source.get(str(said), printable(said)))] if said else shown


def _print_price(price: Mapping[str, Any] | None, row: Row) -> None:
    lines = (price or {}).get("lines") or []
    for line in lines:
        rate = line.get("usd_per_mtok")
        amount = f"{count(line.get('tokens'))} x {exact_usd(rate) if rate is not None else '?'} per million"
        click.echo(f"  {printable(line.get('unit')):<20} {amount:<40} = {exact_usd(line.get('usd'))}")
    cost = row.get("cost_usd")
    if cost is not None:
        listed = {"listed": "the built-in price list", "custom": "[[prices]] in headgate.toml"}
        source = listed.get(str(row.get("cost_source")), printable(row.get("cost_source")))
        which = f", {printable(row['price_id'])}" if row.get("price_id") else ""
        click.echo(f"Cost {exact_usd(cost)} ({source}{which})")
    elif row.get("cost_reason"):
        click.echo(f"Cost unknown: {printable(row['cost_reason'])}")


def _print_attempts(attempts: Sequence[Row]) -> None:
    if len(attempts) < 2:
        return
    heading("Attempts")
    for number, attempt in enumerate(attempts, 1):
        words = (attempt.get("upstream"), attempt.get("model"), attempt.get("status"), attempt.get("error_type"))
        said = "  ".join(printable(word) for word in words if word is not None)
        click.echo(f"{number}  {said}  {milliseconds(attempt.get('latency_ms'))} ms")


def _print_bodies(bodies: Mapping[str, Any] | None, row: Row) -> None:
    heading("Bodies")
    shown = [(kind, size(body.get("bytes"))) for kind, body in (bodies or {}).items() if isinstance(body, dict)]
    if not shown:
        click.echo(f"Not kept (capture: {printable(row.get('capture'))}).")
        return
    facts([(printable(kind), amount) for kind, amount in shown])
    click.echo(f"Byte for byte: headgate log show {printable(row.get('request_id'))} --raw {printable(shown[0][0])}")


def _print_transcript(transcript: Mapping[str, Any] | None, limit_chars: int | None) -> None:
    if not transcript:
        return
    for message in transcript.get("messages") or []:
        heading(printable(message.get("role")))
        for part in message.get("parts") or []:
            click.echo(_part(part, limit_chars))
    if transcript.get("output"):
        heading("Answer")
        for part in transcript["output"]:
            click.echo(_part(part, limit_chars))
    if transcript.get("tools"):
        heading("Tools offered")
        click.echo(", ".join(printable(tool) for tool in transcript["tools"]))
    if transcript.get("parameters"):
        heading("Parameters")
        click.echo(json_text(transcript["parameters"], indent=None))
    if transcript.get("note"):
        click.echo(f"\nNote: {printable(transcript['note'])}")


def _part(part: Mapping[str, Any], limit_chars: int | None) -> str:
    text = printable(part.get("text") or "", keep_lines=True)
    if limit_chars is not None and len(text) > limit_chars:
        text = f"{text[:limit_chars]}\n... {len(text) - limit_chars:,} more characters: --full"
    kind = part.get("kind")
    if kind == "text":
        return text
    name = " ".join(printable(part[key]) for key in ("name", "id") if part.get(key))
    return f"[{printable(kind)}{' ' + name if name else ''}] {text}".rstrip()


def _print_section(title: str, pairs: Sequence[tuple[str, str]]) -> None:
    if pairs:
        heading(title)
        facts(pairs)
