"""``headgate prompt render``: what a call of a prompt would send, counted and priced, without sending it."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json, facts, heading, is_terminal, note
from headgate.cli.text import MISSING, count, printable, usd

if TYPE_CHECKING:
    from headgate.client import Client

_MAX_VARIABLES_BYTES = 2 << 20


@click.command("render")
@click.argument("ref")
@click.option(
    "--var",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable; JSON where the prompt's input is no string. May be repeated.",
)
@click.option("--vars-file", metavar="FILE", help="Variables as a JSON object; - reads stdin. --var wins over it.")
@click.option(
    "--endpoint",
    type=click.Choice(["openai.chat", "openai.responses", "anthropic.messages"]),
    default="openai.chat",
    show_default=True,
    help="The way to call it.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: ref, model, upstream, messages, body, tokens, price."
)
@home_option
def render(
    ref: str, given: Sequence[str], vars_file: str | None, endpoint: str, as_json: bool, home: Path | None
) -> None:
    """Show exactly what a call of REF would send, with its tokens and price. Nothing is sent.

    On a pipe the body alone goes to stdout.

    \b
    Examples:
      headgate prompt render support-answer --var question="Where is my parcel?"
      headgate prompt render support-answer@8 --vars-file variables.json --endpoint anthropic.messages
      headgate prompt render support-answer@8 --var question=Hi | jq .messages
    """
    variables = _from_file(vars_file) if vars_file else {}
    pairs = [_pair(text) for text in given]
    with connect(home) as client:
        if pairs:
            inputs = _inputs(client, ref)
            variables |= {name: _value(text, inputs.get(name)) for name, text in pairs}
        answer = client.render_prompt(ref, variables, endpoint=endpoint)
    if as_json:
        emit_json(answer)
    elif is_terminal():
        facts(_facts(answer))
        for number, message in enumerate(answer.get("messages") or [], 1):
            heading(f"message {number} ({printable(message.get('role'))})")
            click.echo(printable(message.get("content"), keep_lines=True))
        heading("Body")
        emit_json(answer.get("body"))
    else:
        emit_json(answer.get("body"))
        note("; ".join(f"{name.lower()} {value}" for name, value in _facts(answer)))


def _facts(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    alias = f" ({printable(answer['alias'])})" if answer.get("alias") else ""
    tokens, price = answer.get("tokens") or {}, answer.get("price") or {}
    most = tokens.get("most_output")
    limit = f", at most {count(most)} out" if most is not None else ", no limit on the output"
    about = "about " if tokens.get("is_estimate") else ""
    return [
        ("Prompt", f"{printable(answer.get('ref'))}{alias}"),
        ("Goes to", f"{printable(answer.get('model'))} at {printable(answer.get('upstream'))}"),
        ("Endpoint", printable(answer.get("endpoint"))),
        ("Tokens", f"{about}{count(tokens.get('input'))} in{limit}"),
        ("Price", _price(price)),
    ]


def _price(price: Mapping[str, Any]) -> str:
    """The price of the input, the most that one call can cost, and why one of them is unknown."""
    asked, most = price.get("input_usd"), price.get("most_usd")
    because = f" ({printable(price['reason'])})" if price.get("reason") else ""
    if asked is None:
        return f"{MISSING}{because}"
    return f"{usd(asked)} for the input, " + (
        f"at most {usd(most)} in all" if most is not None else f"the most is unknown{because}"
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--var {text!r} has no value. Write it NAME=VALUE: --var question=Hello")
    return name, value


def _inputs(client: "Client", ref: str) -> Mapping[str, Any]:
    """What the version declares; the types decide how the text of --var is read."""
    from headgate.cli.prompt_text import version_of

    return version_of(client, ref)["content"].get("input") or {}


def _value(text: str, schema: Any) -> Any:
    """A variable as its input wants it: text where that is allowed, else the JSON that the text holds."""
    kind = schema.get("type", "string") if isinstance(schema, dict) else "string"
    if kind == "string" or (isinstance(kind, list) and "string" in kind):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # the server says what is wrong with it


def _from_file(name: str) -> dict[str, Any]:
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(_MAX_VARIABLES_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                raw = file.read(_MAX_VARIABLES_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"--vars-file {name} cannot be read: {error.strerror or error}.") from None
    if len(raw) > _MAX_VARIABLES_BYTES:
        raise click.UsageError(f"--vars-file {name} is larger than {_MAX_VARIABLES_BYTES >> 20} MB.")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--vars-file {name} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise click.UsageError(f'--vars-file {name} holds no JSON object: {{"question": "…"}}')
    return found
