"""Anthropic's messages, token counting, models and errors."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from headgate.providers.demo import images, model, tokens
from headgate.providers.demo.ask import Ask, AskError, Json, Reply, Tool, Turn
from headgate.providers.demo.reading import (
    MODELS,
    RELEASED_AT,
    Answer,
    Event,
    dump,
    identity,
    inner,
    items,
    known,
    listed,
    model_of,
    number,
    strings_of,
    texts,
    whole,
)

_MOST_TOKENS = 1_000_000
_LEAST_THINKING = 1024
_KINDS = {
    400: "invalid_request_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "stop_sequence": "stop_sequence"}


def error_body(error: AskError, request_id: str) -> Json:
    """The error envelope."""
    kind = _KINDS.get(error.status, error.kind)
    return {"type": "error", "error": {"type": kind, "message": str(error)}, "request_id": request_id}


def models() -> Json:
    """The list of models."""
    names = list(MODELS)
    data = [model_object(name) for name in names]
    return {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}


def model_object(name: str) -> Json:
    """One model."""
    return {
        "type": "model",
        "id": known(name),
        "display_name": MODELS.get(name, name),
        "created_at": RELEASED_AT,
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }


def count_tokens(body: Json, seed: bytes) -> Answer:
    """Answers POST /v1/messages/count_tokens."""
    ask = _ask(body, seed, max_tokens=None)
    return Answer({"input_tokens": _input_tokens(body, ask)}, None, 0, ask.model)


def messages(body: Json, seed: bytes) -> Answer:
    """Answers POST /v1/messages."""
    limit = whole(body, "max_tokens", least=1, most=_MOST_TOKENS)
    if limit is None:
        raise AskError("max_tokens: Field required", param="max_tokens")
    budget = inner(body, "thinking", "budget_tokens")
    if isinstance(budget, int) and not _LEAST_THINKING <= budget < limit:
        raise AskError(
            f"thinking.budget_tokens: {budget} must be at least {_LEAST_THINKING} and below max_tokens {limit}"
        )
    ask = _ask(body, seed, max_tokens=limit)
    reply = model.reply(ask)
    writer = _Writer(body=body, ask=ask, reply=reply)
    if body.get("stream") is True:
        return Answer(None, writer.events(), reply.output_tokens, ask.model)
    return Answer(writer.message(writer.blocks(), writer.usage()), None, reply.output_tokens, ask.model)


def _ask(body: Json, seed: bytes, *, max_tokens: int | None) -> Ask:
    name = model_of(body)
    turns = list(_turns(listed(body, "messages")))
    system = body.get("system")
    if system:
        turns.insert(0, Turn(role="system", text=_content(system)[0]))
    choice, named = _tool_choice(body.get("tool_choice"))
    schema = inner(body, "output_config", "format", "schema") or inner(body, "output_format", "schema")
    return Ask(
        model=name,
        turns=tuple(turns),
        seed=seed,
        tools=tuple(_tools(body.get("tools"))),
        tool_choice=choice,
        tool_named=named,
        parallel_calls=inner(body, "tool_choice", "disable_parallel_tool_use") is not True,
        form="schema" if isinstance(schema, dict) else "text",
        schema=schema if isinstance(schema, dict) else None,
        max_tokens=max_tokens,
        stop=texts(body.get("stop_sequences")),
        temperature=number(body, "temperature"),
        thinks=inner(body, "thinking", "type") in ("enabled", "adaptive", "between_tools"),
    )


def _tool_choice(value: Any) -> tuple[Literal["auto", "none", "required"], str | None]:
    kind = inner(value, "type")
    if kind == "tool":
        named = inner(value, "name")
        return "required", named if isinstance(named, str) else None
    return ("required", None) if kind == "any" else ("none", None) if kind == "none" else ("auto", None)


def _turns(given: list[Any]) -> Iterator[Turn]:
    names: dict[str, str] = {}
    for at, message in enumerate(given):
        role = inner(message, "role")
        if role not in ("user", "assistant", "system"):
            raise AskError(f"messages.{at}.role: {str(role)[:40]} is not one of user, assistant, system")
        value = message.get("content")
        if not isinstance(value, str | list):
            raise AskError(f"messages.{at}.content: Field required")
        text, found = _content(value)
        if text or found:
            yield Turn(role=role, text=text, images=tuple(found))
        for block in items(value):
            if inner(block, "type") == "tool_use":
                names[str(block.get("id"))] = strings_of(block, "name")
            elif inner(block, "type") == "tool_result":
                result, shown = _content(block.get("content"))
                named = names.get(str(block.get("tool_use_id")))
                yield Turn(role="tool", text=result, images=tuple(shown), tool_name=named)


def _content(value: Any) -> tuple[str, list[str]]:
    """The text of content blocks and descriptions of their images; tool results are turns of their own."""
    if isinstance(value, str):
        return value, []
    pieces: list[str] = []
    found: list[str] = []
    for block in items(value):
        kind = inner(block, "type")
        if kind == "text":
            pieces.append(strings_of(block, "text"))
        elif kind == "image":
            found.append(_image(block))
        elif kind == "document":
            titled = strings_of(block, "title")
            pieces.append(f'<document id="{titled}">{strings_of(block.get("source"), "data")[:200_000]}</document>')
    return "\n".join(pieces), found


def _image(block: Json) -> str:
    source = block.get("source")
    if inner(source, "type") == "base64":
        return images.describe_base64(strings_of(source, "data"), strings_of(source, "media_type"))
    return images.describe_url(strings_of(source, "url"))


def _tools(value: Any) -> Iterator[Tool]:
    for tool in items(value):
        schema = inner(tool, "input_schema")
        if isinstance(schema, dict) and isinstance(tool.get("name"), str):
            yield Tool(name=tool["name"], schema=schema, description=strings_of(tool, "description"))


def _input_tokens(body: Json, ask: Ask) -> int:
    total = 3 + tokens.count_json(body.get("tools"))
    for turn in ask.turns:
        total += tokens.TOKENS_PER_MESSAGE + tokens.count(turn.text) + tokens.TOKENS_PER_IMAGE * len(turn.images)
    return total


def _blocks_in_order(body: Json) -> Iterator[tuple[Any, int]]:
    """Everything that can carry ``cache_control``, in the order of the prompt, with its tokens."""
    for tool in items(body.get("tools")):
        yield tool, tokens.count_json(tool)
    system = body.get("system")
    parts = list(system) if isinstance(system, list) else [system]
    for message in items(body.get("messages")):
        value = inner(message, "content")
        parts += value if isinstance(value, list) else [value]
    for part in parts:
        if isinstance(part, str):
            yield part, tokens.count(part)
        elif inner(part, "type") == "image":
            yield part, tokens.TOKENS_PER_IMAGE
        else:
            yield part, tokens.count(strings_of(part, "text")) or tokens.count_json(part)


@dataclass(frozen=True, kw_only=True)
class _Cache:
    read: int = 0
    written: int = 0
    is_1h: bool = False


def _cache(body: Json, ask: Ask, total: int) -> _Cache:
    """Cache use without a memory: the part up to the last ``cache_control`` is written by the first message of a
    conversation and read by every later one.
    """
    covered = reach = 0
    is_1h = False
    for part, size in _blocks_in_order(body):
        covered += size
        if control := inner(part, "cache_control"):
            reach, is_1h = covered, inner(control, "ttl") == "1h"
    if control := body.get("cache_control"):
        reach, is_1h = covered, inner(control, "ttl") == "1h"
    reach = min(reach, total - 1)
    if any(turn.role == "assistant" for turn in ask.turns):
        return _Cache(read=reach, is_1h=is_1h)
    return _Cache(written=reach, is_1h=is_1h)


@dataclass(frozen=True, kw_only=True)
class _Writer:
    body: Json
    ask: Ask
    reply: Reply

    def usage(self) -> Json:
        """The usage object: input apart from what the cache took."""
        total = _input_tokens(self.body, self.ask)
        cache = _cache(self.body, self.ask, total)
        out: Json = {
            "input_tokens": total - cache.read - cache.written,
            "cache_creation_input_tokens": cache.written,
            "cache_read_input_tokens": cache.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 0 if cache.is_1h else cache.written,
                "ephemeral_1h_input_tokens": cache.written if cache.is_1h else 0,
            },
            "output_tokens": self.reply.output_tokens,
            "service_tier": "standard",
        }
        if self.reply.thinking_tokens:
            out["output_tokens_details"] = {"thinking_tokens": self.reply.thinking_tokens}
        return out

    def blocks(self) -> list[Json]:
        """The content blocks of the answer."""
        out: list[Json] = []
        if self.reply.thinking:
            shown = "" if inner(self.body, "thinking", "display") == "omitted" else self.reply.thinking
            out.append({"type": "thinking", "thinking": shown, "signature": self._signature()})
        for at, call in enumerate(self.reply.calls):
            named = identity("toolu_", self.ask.seed, at)
            out.append({"type": "tool_use", "id": named, "name": call.name, "input": call.arguments_object})
        if self.reply.text:
            out.append({"type": "text", "text": self.reply.text, "citations": None})
        return out

    def _signature(self) -> str:
        digest = hashlib.sha512(self.ask.seed + self.reply.thinking.encode("utf-8", "replace")).digest()
        return base64.b64encode(b"headgate-demo" + digest).decode()

    def message(self, blocks: list[Json], usage: Json, *, is_open: bool = False) -> Json:
        return {
            "id": identity("msg_", self.ask.seed),
            "type": "message",
            "role": "assistant",
            "model": self.ask.model,
            "content": blocks,
            "stop_reason": None if is_open else _STOP_REASONS[self.reply.finish],
            "stop_sequence": None if is_open else self.reply.stop_sequence,
            "usage": usage,
        }

    def events(self) -> Iterator[Event]:
        """The stream: message_start, each block opened, filled and closed, message_delta, message_stop."""
        usage = self.usage()
        first = {key: value for key, value in usage.items() if key != "output_tokens_details"}
        yield _event("message_start", {"message": self.message([], {**first, "output_tokens": 1}, is_open=True)})
        for index, block in enumerate(self.blocks()):
            yield _event("content_block_start", {"index": index, "content_block": _opened(block)})
            if index == 0:
                yield _event("ping", {})
            for delta in self._deltas(block, index):
                yield _event("content_block_delta", {"index": index, "delta": delta}, weight=1)
            yield _event("content_block_stop", {"index": index})
        delta = {"stop_reason": _STOP_REASONS[self.reply.finish], "stop_sequence": self.reply.stop_sequence}
        last = {key: value for key, value in usage.items() if key not in ("cache_creation", "service_tier")}
        yield _event("message_delta", {"delta": delta, "usage": last})
        yield _event("message_stop", {})

    def _deltas(self, block: Json, index: int) -> Iterator[Json]:
        if block["type"] == "text":
            for piece in tokens.pieces(block["text"]):
                yield {"type": "text_delta", "text": piece}
        elif block["type"] == "thinking":
            for piece in tokens.pieces(block["thinking"]):
                yield {"type": "thinking_delta", "thinking": piece}
            yield {"type": "signature_delta", "signature": block["signature"]}
        else:
            call = self.reply.calls[index - (1 if self.reply.thinking else 0)]
            yield {"type": "input_json_delta", "partial_json": ""}
            for piece in tokens.pieces(call.arguments):
                yield {"type": "input_json_delta", "partial_json": piece}


def _opened(block: Json) -> Json:
    """A content block as it is announced: nothing in it yet."""
    empty: Json = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}
    return {**block, **empty[block["type"]]}


def _event(name: str, fields: Json, *, weight: int = 0) -> Event:
    return Event(b"event: " + name.encode() + b"\ndata: " + dump({"type": name, **fields}) + b"\n\n", weight)
