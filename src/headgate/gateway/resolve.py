"""Calling a stored prompt: which version a request means, and the provider request that is made of it.

Imported when the first prompt is called, because it brings Jinja2 into the worker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.core.errors import MalformedRequest
from headgate.gateway.head import RequestHead
from headgate.gateway.intake import Asked
from headgate.prompts.model import decode_content
from headgate.prompts.reference import Reference, parse_reference, reference_of
from headgate.prompts.request import MODEL_PREFIX, body_for
from headgate.prompts.templates import CompiledPrompt, compile_prompt
from headgate.snapshot import FoundPrompt, Snapshot

if TYPE_CHECKING:
    from headgate.gateway.knowledge import Wanted

_VARS_LIMIT = 4096
_COMPILED_LIMIT = 512
_object = msgspec.json.Decoder(dict[str, Any])


class _Called(msgspec.Struct, forbid_unknown_fields=True):
    """The body's `prompt` object."""

    id: str
    version: str | int | None = None
    variables: dict[str, Any] | None = None


_called = msgspec.json.Decoder(_Called)


class Library:
    """The compiled versions of one worker. A version never changes, so neither does what is kept here."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, int, str], CompiledPrompt] = {}

    def compiled(self, found: FoundPrompt) -> CompiledPrompt:
        """The version, compiled once."""
        key = (found.name, found.version.number, found.version.sha256)
        compiled = self._compiled.get(key)
        if compiled is None:
            label = f"prompt {found.name}@{found.version.number}"
            compiled = compile_prompt(decode_content(found.version.content_json), label)
            if len(self._compiled) >= _COMPILED_LIMIT:
                self._compiled.clear()
            self._compiled[key] = compiled
        return compiled


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What a call of a prompt comes to."""

    body: bytes | None  # to send; None: only attributed to the prompt, or not before knowledge is found
    line: bytes  # the response header
    wanted: "Wanted | None" = None  # what it asks of a knowledge base


def resolve(
    library: Library, snapshot: Snapshot, asked: Asked, head: RequestHead, endpoint: str, body: bytes
) -> Resolved:
    """The body to send and the response header line, or what must be found first.

    Writes the version into the log's identity and its model into ``asked``. Raises RequestError naming what is wrong.
    """
    reference, variables, from_model_name = _reference(asked, head)
    found = snapshot.prompt(reference.name, number=reference.number, alias=reference.alias)
    identity = asked.identity
    identity["prompt_name"] = found.name
    identity["prompt_version"] = found.version.number
    identity["prompt_alias"] = found.alias
    identity["prompt_sha256"] = found.version.sha256
    line = f"x-headgate-prompt: {found.name}@{found.version.number}\r\n".encode()
    if variables is None:
        return Resolved(body=None, line=line)
    if asked.capture == "full":
        identity["prompt_vars"] = msgspec.json.encode(variables).decode()
    compiled = library.compiled(found)
    content = compiled.content

    def finish(knowledge: Sequence[Mapping[str, Any]]) -> bytes:
        rendered = compiled.render(variables, knowledge)
        return body_for(content, rendered, endpoint, body, from_model_name=from_model_name)

    wanted = None
    if content.knowledge is not None:
        from headgate.gateway.knowledge import wanted_of_prompt

        wanted = wanted_of_prompt(snapshot, content.knowledge, compiled.query(variables) or "", finish)
    sent = finish(()) if wanted is None else None
    asked.model = content.model
    identity["model_requested"] = identity.get("model_requested") or asked.model
    return Resolved(body=sent, line=line, wanted=wanted)


def _reference(asked: Asked, head: RequestHead) -> tuple[Reference, dict[str, Any] | None, bool]:
    """What was called, its variables (None: attribution only), and whether by the model's name."""
    ways = [
        *(["the header x-headgate-prompt"] if b"prompt" in head.own else []),
        *(["the body's prompt"] if asked.calls_by_body else []),
        *(["the model's name"] if asked.calls_by_model else []),
    ]
    if len(ways) > 1:
        raise MalformedRequest(
            f"a stored prompt is called in two ways at once: {' and '.join(ways)}.", code="two_prompts", hint="Use one."
        )
    if b"vars" in head.own and b"prompt" not in head.own:
        raise MalformedRequest(
            "x-headgate-vars goes with x-headgate-prompt only.",
            code="invalid_variables",
            hint="Send the variables where the prompt is named.",
        )
    if asked.prompt_given and not asked.calls_by_body and b"vars" in head.own:
        raise MalformedRequest(
            "the request calls a stored prompt by header and has another prompt in its body.", code="prompt_conflict"
        )
    if asked.calls_by_model:
        assert asked.model is not None
        reference = parse_reference(asked.model.removeprefix(MODEL_PREFIX))
        return reference, _variables(asked.variables, "the body's variables"), True
    if asked.calls_by_body:
        try:
            called = _called.decode(asked.prompt)
        except msgspec.ValidationError as error:
            raise MalformedRequest(f"the body's prompt is not {{id, version, variables}}: {error}.") from error
        return reference_of(called.id, called.version), called.variables or {}, False
    reference = parse_reference(head.own_text(b"prompt") or "")
    given = head.own.get(b"vars")
    if given is None:
        return reference, None, False
    if len(given) > _VARS_LIMIT:
        raise MalformedRequest(
            f"x-headgate-vars has {len(given)} bytes; at most {_VARS_LIMIT}.", hint="Send them in the body's prompt."
        )
    return reference, _variables(given, "x-headgate-vars"), False


def _variables(raw: bytes, where: str) -> dict[str, Any]:
    if not raw or raw == b"null":
        return {}
    try:
        return _object.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MalformedRequest(f"{where} is not a JSON object: {error}.", code="invalid_variables") from error
