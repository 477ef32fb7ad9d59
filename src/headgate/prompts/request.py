"""The provider request of a rendered prompt: the version's fields, then what is always the caller's."""

from collections.abc import Sequence
from typing import Any

import msgspec

from headgate.core.errors import MalformedRequest
from headgate.prompts.checks import ALWAYS_THE_CALLERS, OF_THE_VERSION
from headgate.prompts.dialects import DIALECTS, LIMIT, Dialect, fields_of, messages_of
from headgate.prompts.faults import PromptConflict, quoted
from headgate.prompts.model import PromptContent, RenderedMessage

MODEL_PREFIX = "prompt:"
Raw = msgspec.Raw
_NULL = Raw(b"null")
_body_decoder = msgspec.json.Decoder(dict[str, Raw])
_list_decoder = msgspec.json.Decoder(list[Raw])
_encode = msgspec.json.Encoder().encode


def body_for(
    content: PromptContent,
    rendered: Sequence[RenderedMessage],
    endpoint_name: str,
    caller_body: bytes,
    *,
    from_model_name: bool,
) -> bytes:
    """The body to send to the provider. The caller's own messages and fields are copied as their bytes are.

    ``from_model_name``: the prompt was called as `model: "prompt:name@ref"`, so `variables` stands in the body; else it
    was called by the body's `prompt` object or by header. PromptConflict (400) names the field that says something else
    than the version does.
    """
    dialect = DIALECTS.get(endpoint_name)
    if dialect is None:
        raise PromptConflict(
            f"A stored prompt cannot be called on this endpoint ({endpoint_name}).",
            hint="Call it on /v1/chat/completions, /v1/responses or /v1/messages.",
        )
    caller = _fields_of_caller(caller_body)
    caller.pop("variables" if from_model_name else "prompt", None)
    _check_model(content, caller.pop("model", None))
    along = _messages_along(caller.pop(dialect.messages, None), dialect)
    instructing, turns = messages_of(rendered, dialect)
    body: dict[str, Any] = {"model": content.model, **instructing, dialect.messages: [*turns, *along]}
    body |= fields_of(content, dialect)
    for name, value in caller.items():
        if name in ALWAYS_THE_CALLERS:
            body[name] = value
        elif value != _NULL:  # null asks for the default, as leaving a field out does
            _take(body, name, value, content, dialect)
    return _encode(body)


def _fields_of_caller(body: bytes) -> dict[str, Raw]:
    try:
        return _body_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MalformedRequest(f"The request body is not a JSON object: {error}.") from None


def _value(raw: Raw, field: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise MalformedRequest(f"The field {quoted(field)} is not readable JSON.") from None


def _check_model(content: PromptContent, raw: Raw | None) -> None:
    stated = None if raw is None else _value(raw, "model")
    if stated is None or stated == "" or stated == content.model:
        return
    if isinstance(stated, str) and stated.startswith(MODEL_PREFIX):
        return
    raise PromptConflict(
        f"The request says model {quoted(stated)}, but the prompt version runs on {quoted(content.model)}.",
        hint="Leave model out, or send it empty.",
    )


def _messages_along(raw: Raw | None, dialect: Dialect) -> list[Any]:
    if raw is None or raw == _NULL:
        return []
    if dialect.name == "openai.responses" and bytes(memoryview(raw)[:1]) == b'"':
        text = _value(raw, dialect.messages)
        return [{"role": "user", "content": text}] if text else []
    try:
        return _list_decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise MalformedRequest(f"The field {quoted(dialect.messages)} is not a list of messages.") from None


def _take(body: dict[str, Any], name: str, raw: Raw, content: PromptContent, dialect: Dialect) -> None:
    """Puts one field of the caller into the body, or refuses it."""
    is_limit = name in dialect.limit_names
    ours = next((known for known in (dialect.limit, *dialect.limit_names) if known in body), name) if is_limit else name
    value = _value(raw, name)
    if ours in body and body[ours] == value:
        return
    if name in content.overridable or (is_limit and LIMIT in content.overridable):
        body.pop(ours, None)
        body[name] = raw
    elif is_limit and dialect.must_send_limit and _is_within(value, body.get(ours)):
        body[name] = raw
    else:
        raise _conflict(body, name, ours, is_limit)


def _is_within(value: Any, limit: Any) -> bool:
    if type(value) is not int:
        return False
    return limit is None or (type(limit) is int and value <= limit)


def _conflict(body: dict[str, Any], name: str, ours: str, is_limit: bool) -> PromptConflict:
    listed = f"{LIMIT} (or {name})" if is_limit else quoted(name)
    hint = (
        "Leave it out." if name in OF_THE_VERSION else f"Leave it out, or list {listed} under the prompt's overridable."
    )
    if ours in body:
        what = f"The request's {quoted(name)} differs from what the prompt version says"
    else:
        what = f"The request's {quoted(name)} is not the caller's to set when a stored prompt is called"
    return PromptConflict(f"{what}.", hint=hint)
