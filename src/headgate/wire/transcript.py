"""Requests and answers as people read them: roles, texts, tool calls, whatever the dialect and whether streamed or not.

Pure, and total: whatever the bytes are, there is a transcript, with a note saying what could not be read.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from headgate.wire.assemble import body_of
from headgate.wire.folded import error_of
from headgate.wire.loose import dump, load
from headgate.wire.parts import Message, Part, PartKind, items, mapping, message_parts, name, parts_of, text
from headgate.wire.session import session_request
from headgate.wire.sse import EventStream

__all__ = ["Message", "Part", "PartKind", "Transcript", "input_text", "output_text", "transcript"]

MAX_CHARS = 2_000_000
MAX_PARTS = 5_000
_MAX_PARAMETER_CHARS = 4_000
_MAX_TOKEN_IDS = 1_000_000
_CONTENT_KEYS = frozenset(("messages", "system", "input", "instructions", "tools", "functions"))
_READABLE = frozenset(
    ("openai.chat", "openai.responses", "openai.completions", "openai.embeddings", "anthropic.messages")
    + ("openai.realtime",)
)
_OF_RESPONSES = ("openai.responses", "openai.realtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """One exchange, readable."""

    messages: list[Message] = field(default_factory=list)
    output: list[Part] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    note: str | None = None


def transcript(endpoint: str, request: bytes, response: bytes, content_type: str | None) -> Transcript:
    """The exchange whose decoded bodies these are; long ones are cut, and the note says so. Never raises."""
    if endpoint not in _READABLE:
        return Transcript(note="this endpoint has no transcript; see the raw bodies")
    asked = load(request)
    if endpoint == "openai.realtime":
        asked = session_request(asked)
    notes: list[str] = []
    if request and not isinstance(asked, dict):
        notes.append("the request is not a whole JSON object")
    asked = mapping(asked)
    output, note = _output(endpoint, response, content_type)
    if note:
        notes.append(note)
    budget = _Budget()
    messages = [
        replace(message, parts=budget.take(message.parts)) for message in _messages(endpoint, asked)[:MAX_PARTS]
    ]
    output = budget.take(output)
    if budget.is_spent:
        notes.append(f"cut after {MAX_CHARS:,} characters or {MAX_PARTS:,} parts; see the raw bodies")
    return Transcript(
        messages=[message for message in messages if message.parts or not budget.is_spent],
        output=output,
        tools=_tools(asked)[:MAX_PARTS],
        parameters=_parameters(endpoint, asked),
        note="; ".join(notes) or None,
    )


def output_text(endpoint: str, response: bytes, content_type: str | None) -> str:
    """Everything the model wrote, for counting tokens; empty where answers are no text. Never raises."""
    if endpoint not in _READABLE or endpoint == "openai.embeddings":
        return ""
    return _said(_output(endpoint, response, content_type)[0])


def input_text(endpoint: str, request: bytes) -> str:
    """Everything the model was given as text, tool definitions included, for counting tokens. Never raises.

    Images are not in it. An input given as token ids is stood in for by as many one-token words.
    """
    asked = mapping(load(request))
    if endpoint not in _READABLE or not asked:
        return ""
    given = [_said(part for message in _messages(endpoint, asked) for part in message.parts)]
    for key in ("tools", "functions", "response_format", "text", "output_config"):
        value = asked.get(key)
        if isinstance(value, dict | list) and value:
            given.append(dump(value))
    token_ids = _token_ids(asked.get("input" if endpoint == "openai.embeddings" else "prompt"))
    given.append(" a" * min(token_ids, _MAX_TOKEN_IDS))
    return "\n".join(piece for piece in given if piece)


def _said(parts: Any) -> str:
    said: list[str] = []
    for part in parts:
        if part.kind in ("tool_call", "tool_result") and part.name:
            said.append(part.name)
        if part.kind != "image" and part.name not in ("error", "token ids"):
            said.append(part.text)
    return "\n".join(piece for piece in said if piece)


class _Budget:
    """What a transcript may hold."""

    def __init__(self) -> None:
        self._chars = MAX_CHARS
        self._parts = MAX_PARTS
        self.is_spent = False

    def take(self, parts: list[Part]) -> list[Part]:
        kept: list[Part] = []
        for part in parts:
            if self._parts <= 0 or self._chars <= 0:
                self.is_spent = True
                break
            if len(part.text) > self._chars:
                self.is_spent = True
                part = replace(part, text=part.text[: self._chars] + "…")
            self._chars -= len(part.text)
            self._parts -= 1
            kept.append(part)
        return kept


def _messages(endpoint: str, asked: dict[str, Any]) -> list[Message]:
    if endpoint == "openai.embeddings":
        return _bare(asked.get("input"))
    if endpoint == "openai.completions":
        return _bare(asked.get("prompt"))
    if endpoint in _OF_RESPONSES:
        return _system(asked.get("instructions")) + _response_input(asked.get("input"))
    messages = _system(asked.get("system")) if endpoint == "anthropic.messages" else []
    for message in items(asked.get("messages")):
        if isinstance(message, dict):
            messages.append(Message(role=name(message.get("role")) or "?", parts=message_parts(message)))
    return messages


def _system(content: Any) -> list[Message]:
    parts = parts_of(content)
    return [Message(role="system", parts=parts)] if parts else []


def _bare(value: Any) -> list[Message]:
    """An input without roles: a text, several, or token ids."""
    token_ids = _token_ids(value)
    parts = [Part(kind="other", text=f"{token_ids:,} token ids", name="token ids")] if token_ids else parts_of(value)
    return [Message(role="user", parts=parts)] if parts else []


def _token_ids(value: Any) -> int:
    """How many tokens an input of token ids (or of lists of them) has; 0 for any other input."""
    rows = items(value)
    if rows and all(isinstance(row, list) for row in rows):
        rows = [token for row in rows for token in row]
    return len(rows) if rows and all(isinstance(token, int) for token in rows) else 0


def _response_input(value: Any) -> list[Message]:
    if isinstance(value, str):
        return _bare(value)
    messages: list[Message] = []
    for item in items(value):
        if not isinstance(item, dict):
            continue
        if "role" in item:
            messages.append(Message(role=name(item["role"]) or "?", parts=parts_of(item.get("content"))))
        else:
            role = "tool" if str(item.get("type")).endswith("_output") else "assistant"
            messages.append(Message(role=role, parts=parts_of(item)))
    return messages


def _tools(asked: dict[str, Any]) -> list[str]:
    names: list[str] = []
    for tool in items(asked.get("tools")) + items(asked.get("functions")):
        tool = mapping(tool)
        inner = mapping(tool.get("function") or tool.get("custom"))
        names.append(name(inner.get("name")) or name(tool.get("name")) or name(tool.get("type")) or "?")
    return names


def _parameters(endpoint: str, asked: dict[str, Any]) -> dict[str, Any]:
    hidden = _CONTENT_KEYS | {"prompt"} if endpoint == "openai.completions" else _CONTENT_KEYS
    parameters: dict[str, Any] = {}
    for key, value in list(asked.items())[:200]:
        if key in hidden:
            continue
        written = text(value)
        short = len(written) <= _MAX_PARAMETER_CHARS
        known = value if isinstance(value, bool | int | float | None) else written
        if isinstance(value, dict | list) and short:
            known = load(written.encode())
        parameters[text(key)[:200]] = known if short else written[:_MAX_PARAMETER_CHARS] + "…"
    return parameters


def _output(endpoint: str, response: bytes, content_type: str | None) -> tuple[list[Part], str | None]:
    if not response.strip():
        return [], None
    note = None
    if _is_stream(response, content_type):
        stream = EventStream()
        body: Any = body_of(endpoint, stream.feed(response) + stream.finish())
        note = "some events were too long to be read" if stream.dropped else None
    else:
        body = load(response)
        if isinstance(body, list) and body:
            body = body[0]
        if not isinstance(body, dict):
            shown = response[:2000].decode("utf-8", "replace").replace("\0", "\ufffd")
            return [Part(kind="other", text=shown, name="raw")], "the answer is not whole JSON"
    parts = _answer(endpoint, body)
    kind, message = error_of(body.get("error"))
    if kind is None and not parts and body.get("detail"):
        kind, message = error_of(body["detail"])
    if message is not None:
        parts.append(Part(kind="other", text=message, name="error", id=kind))
    return parts, note


def _is_stream(response: bytes, content_type: str | None) -> bool:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type:
        return media_type == "text/event-stream"
    return response.lstrip().startswith((b"data:", b"event:", b":", b"id:", b"retry:"))


def _answer(endpoint: str, body: dict[str, Any]) -> list[Part]:
    if endpoint == "openai.embeddings":
        return _vectors(items(body.get("data")))
    parts: list[Part] = []
    if endpoint == "anthropic.messages":
        return parts_of(body.get("content"))
    if endpoint in _OF_RESPONSES:
        for item in items(body.get("output")):
            is_message = isinstance(item, dict) and item.get("type") == "message"
            parts += parts_of(item["content"] if is_message and "content" in item else item)
        return parts
    for number, choice in enumerate(items(body.get("choices"))):
        choice = mapping(choice)
        said = message_parts(mapping(choice.get("message"))) + parts_of(choice.get("text"))
        if number:
            said = [part if part.name else replace(part, name=f"choice {number + 1}") for part in said]
        parts += said
    return parts


def _vectors(data: list[Any]) -> list[Part]:
    if not data:
        return []
    vector = mapping(data[0]).get("embedding")
    size = len(vector.rstrip("=")) * 3 // 16 if isinstance(vector, str) else len(items(vector))
    return [Part(kind="other", text=f"{len(data)} × {size} numbers", name="embedding")]
