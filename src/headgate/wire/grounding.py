"""Adding found chunks to a provider request: where the question stands, and where further instructions go."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headgate.core.errors import MalformedRequest
from headgate.wire.splice import replace_value, top_level_span

_INSTRUCTING = ("system", "developer")
_TEXTS = ("text", "input_text")
_MESSAGES = {"openai.chat": "messages", "openai.responses": "input", "anthropic.messages": "messages"}
_QUERY_LIMIT = 8000
_INTRODUCTION = """\
These excerpts from the knowledge base {label} were found for the question. Use them where they help, and cite the id \
in brackets of each one that you use."""


class _Message(msgspec.Struct):
    role: str = "user"
    content: Any = None


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_message = msgspec.json.Decoder(_Message).decode


def query_of(endpoint: str, body: bytes) -> str:
    """The text of the last thing that the user said; raises MalformedRequest for endpoints without a conversation."""
    given = _given(endpoint, body)
    if isinstance(given, str):
        return given[:_QUERY_LIMIT]
    for raw in reversed(given):
        message = _message(raw)
        if message is not None and message.role == "user" and (text := _text(message.content)).strip():
            return text[:_QUERY_LIMIT]
    return ""


def with_context(endpoint: str, body: bytes, label: str, chunks: Sequence[Mapping[str, Any]]) -> bytes:
    """``body`` with the chunks: as a system message behind the leading ones (chat), at the end of `instructions`
    (Responses), at the end of `system` (Anthropic). Without chunks it is unchanged.
    """
    if not chunks:
        return body
    text = context_text(label, chunks)
    if endpoint == "openai.chat":
        given = _given(endpoint, body)
        assert not isinstance(given, str)
        place = next((at for at, raw in enumerate(given) if not _instructs(raw)), len(given))
        added = msgspec.Raw(msgspec.json.encode({"role": "system", "content": text}))
        return replace_value(body, "messages", msgspec.json.encode([*given[:place], added, *given[place:]]))
    field = "instructions" if endpoint == "openai.responses" else "system"
    span = top_level_span(body, field)
    before = None if span is None else msgspec.json.decode(body[span.start : span.end])
    if isinstance(before, list):
        value: Any = [*before, {"type": "text", "text": text}]
    else:
        value = f"{before}\n\n{text}" if before else text
    return replace_value(body, field, msgspec.json.encode(value))


def context_text(label: str, chunks: Sequence[Mapping[str, Any]]) -> str:
    """The instructions that carry the chunks."""
    parts = [_INTRODUCTION.format(label=label)]
    for chunk in chunks:
        place = " › ".join(text for text in (chunk["source"], chunk["heading"]) if text)
        parts.append(f"[{chunk['id']}] {place}\n{chunk['text']}")
    return "\n\n".join(parts)


def _given(endpoint: str, body: bytes) -> str | list[msgspec.Raw]:
    field = _MESSAGES.get(endpoint)
    if field is None:
        raise MalformedRequest(
            f"x-headgate-kb cannot be used on this endpoint ({endpoint}).",
            code="kb_endpoint",
            hint="Use it on /v1/chat/completions, /v1/responses or /v1/messages.",
        )
    span = top_level_span(body, field)
    raw = b"[]" if span is None else body[span.start : span.end]
    try:
        if endpoint == "openai.responses" and raw[:1] == b'"':
            return msgspec.json.decode(raw, type=str)
        return _decode_list(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise MalformedRequest(f'the field "{field}" is not a list of messages.', code="invalid_body") from None


def _message(raw: msgspec.Raw) -> _Message | None:
    try:
        return _decode_message(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _instructs(raw: msgspec.Raw) -> bool:
    message = _message(raw)
    return message is not None and message.role in _INSTRUCTING


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part for part in content if isinstance(part, dict) and part.get("type") in _TEXTS]
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))
