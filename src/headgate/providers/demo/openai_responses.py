"""OpenAI's Responses API: whole answers and the stream with its numbered events."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.providers.demo import model, tokens
from headgate.providers.demo.ask import Ask, AskError, Json, Reply, Tool, Turn
from headgate.providers.demo.openai_shapes import (
    MOST_TOKENS,
    cached_tokens,
    content,
    input_tokens,
    reasons,
    tool_choice,
)
from headgate.providers.demo.reading import (
    RELEASED_AT_S,
    Answer,
    Event,
    dump,
    identity,
    inner,
    items,
    model_of,
    number,
    strings_of,
    whole,
)

_ECHOED = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "prompt_cache_key",
    "safety_identifier",
    "temperature",
    "top_p",
    "user",
)


def responses(body: Json, seed: bytes) -> Answer:
    """Answers POST /v1/responses. Nothing is kept: earlier responses cannot be continued."""
    _refuse_state(body)
    ask = _ask(body, seed)
    reply = model.reply(ask)
    writer = _Writer(body=body, ask=ask, reply=reply)
    if body.get("stream") is True:
        return Answer(None, writer.events(), reply.output_tokens, ask.model)
    return Answer(writer.whole(), None, reply.output_tokens, ask.model)


def _refuse_state(body: Json) -> None:
    earlier = body.get("previous_response_id")
    if earlier is not None:
        raise AskError(
            f"Previous response with id '{str(earlier)[:100]}' not found. The demo keeps none; send the whole input.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    for name in ("conversation", "prompt"):
        if body.get(name) is not None:
            raise AskError(f"The demo provider keeps no stored {name}.", status=404, param=name, code="not_found")
    if body.get("background") is True:
        raise AskError("The demo provider does not run responses in the background.", param="background")


def _ask(body: Json, seed: bytes) -> Ask:
    name = model_of(body)
    turns = list(_turns(body.get("input")))
    if isinstance(body.get("instructions"), str):
        turns.insert(0, Turn(role="system", text=body["instructions"]))
    form = inner(body, "text", "format")
    kind = inner(form, "type")
    schema = inner(form, "schema")
    choice, named = tool_choice(body.get("tool_choice"))
    return Ask(
        model=name,
        turns=tuple(turns),
        seed=seed,
        tools=tuple(_tools(body.get("tools"))),
        tool_choice=choice,
        tool_named=named,
        parallel_calls=body.get("parallel_tool_calls") is not False,
        form="schema" if kind == "json_schema" else "json" if kind == "json_object" else "text",
        schema=schema if isinstance(schema, dict) else {"type": "object"},
        max_tokens=whole(body, "max_output_tokens", least=1, most=MOST_TOKENS),
        temperature=number(body, "temperature"),
        thinks=reasons(inner(body, "reasoning", "effort")),
    )


def _turns(value: Any) -> Iterator[Turn]:
    if isinstance(value, str) and value:
        yield Turn(role="user", text=value)
        return
    if not isinstance(value, list) or not value:
        raise AskError("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    names: dict[str, str] = {}
    for item in value:
        kind = inner(item, "type") or "message"
        if kind == "function_call":
            names[str(inner(item, "call_id"))] = strings_of(item, "name")
            yield Turn(role="assistant", text=strings_of(item, "arguments"))
        elif kind == "function_call_output":
            text, found = content(item.get("output"))
            named = names.get(str(item.get("call_id")))
            yield Turn(role="tool", text=text, images=tuple(found), tool_name=named)
        elif kind == "message":
            yield _message(item)


def _message(item: Any) -> Turn:
    text, found = content(inner(item, "content"))
    role = inner(item, "role")
    if role in ("system", "developer"):
        return Turn(role="system", text=text)
    if role in ("user", "assistant"):
        return Turn(role="assistant" if role == "assistant" else "user", text=text, images=tuple(found))
    raise AskError(f"Invalid value for 'input[].role': {str(role)[:40]}.", param="input")


def _tools(value: Any) -> Iterator[Tool]:
    for tool in items(value):
        if inner(tool, "type") == "function" and isinstance(tool.get("name"), str):
            schema = tool.get("parameters")
            yield Tool(
                name=tool["name"],
                schema=schema if isinstance(schema, dict) else {},
                description=strings_of(tool, "description"),
            )


@dataclass(frozen=True, kw_only=True)
class _Writer:
    body: Json
    ask: Ask
    reply: Reply

    @property
    def is_cut(self) -> bool:
        return self.reply.finish == "length"

    def id(self, prefix: str, *parts: object) -> str:
        return identity(prefix, self.ask.seed, *parts)

    def items(self) -> list[Json]:
        """The finished output items."""
        status = "incomplete" if self.is_cut else "completed"
        out: list[Json] = []
        if self.reply.thinking:
            summary = [{"type": "summary_text", "text": self.reply.thinking}] if self._shows_summary() else []
            out.append({"id": self.id("rs_"), "type": "reasoning", "summary": summary})
        for at, call in enumerate(self.reply.calls):
            out.append(
                {
                    "id": self.id("fc_", at),
                    "type": "function_call",
                    "call_id": self.id("call_", at),
                    "name": call.name,
                    "arguments": call.arguments,
                    "status": "completed",
                }
            )
        if not self.reply.calls:
            part = {"type": "output_text", "text": self.reply.text, "annotations": [], "logprobs": []}
            out.append(
                {
                    "id": self.id("msg_"),
                    "type": "message",
                    "role": "assistant",
                    "status": status,
                    "content": [part],
                }
            )
        return out

    def _shows_summary(self) -> bool:
        return inner(self.body, "reasoning", "summary") is not None

    def usage(self) -> Json:
        given = input_tokens(self.ask, self.body.get("tools"))
        return {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": cached_tokens(self.ask, given), "cache_write_tokens": 0},
            "output_tokens": self.reply.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reply.thinking_tokens},
            "total_tokens": given + self.reply.output_tokens,
        }

    def response(self, status: str, output: Sequence[Json], usage: Json | None) -> Json:
        reasoning = self.body.get("reasoning")
        return {
            "id": self.id("resp_"),
            "object": "response",
            "created_at": RELEASED_AT_S,
            "completed_at": RELEASED_AT_S if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": self.ask.model,
            "output": list(output),
            "parallel_tool_calls": self.ask.parallel_calls,
            "previous_response_id": None,
            "reasoning": reasoning if isinstance(reasoning, dict) else {"effort": None, "summary": None},
            "service_tier": "default",
            "store": False,
            "text": self.body.get("text") or {"format": {"type": "text"}},
            "tool_choice": self.body.get("tool_choice") or "auto",
            "tools": items(self.body.get("tools")),
            "truncation": "disabled",
            "usage": usage,
            **{name: self.body.get(name) for name in _ECHOED},
        }

    def whole(self) -> Json:
        return self.response("incomplete" if self.is_cut else "completed", self.items(), self.usage())

    def events(self) -> Iterator[Event]:
        """The stream: numbered events, each item opened, filled and closed, and one terminal event."""
        for sequence, (kind, weight, fields) in enumerate(self._plain_events()):
            payload = {"type": kind, "sequence_number": sequence, **fields}
            yield Event(b"event: " + kind.encode() + b"\ndata: " + dump(payload) + b"\n\n", weight)

    def _plain_events(self) -> Iterator[tuple[str, int, Json]]:
        started = self.response("in_progress", [], None)
        yield "response.created", 0, {"response": started}
        yield "response.in_progress", 0, {"response": started}
        items = self.items()
        for index, item in enumerate(items):
            place: Json = {"item_id": item["id"], "output_index": index}
            yield "response.output_item.added", 0, {"output_index": index, "item": _opened(item)}
            if item["type"] == "message":
                yield from self._message_events(item["content"][0], place)
            elif item["type"] == "function_call":
                yield from self._call_events(item, place)
            else:
                yield from self._reasoning_events(item, place)
            yield "response.output_item.done", 0, {"output_index": index, "item": item}
        status = "incomplete" if self.is_cut else "completed"
        yield f"response.{status}", 0, {"response": self.response(status, items, self.usage())}

    def _message_events(self, part: Json, place: Json) -> Iterator[tuple[str, int, Json]]:
        at = {**place, "content_index": 0}
        yield "response.content_part.added", 0, {**at, "part": {**part, "text": ""}}
        for piece in tokens.pieces(part["text"]):
            yield "response.output_text.delta", 1, {**at, "delta": piece, "logprobs": []}
        yield "response.output_text.done", 0, {**at, "text": part["text"], "logprobs": []}
        yield "response.content_part.done", 0, {**at, "part": part}

    def _call_events(self, item: Json, place: Json) -> Iterator[tuple[str, int, Json]]:
        for piece in tokens.pieces(item["arguments"]):
            yield "response.function_call_arguments.delta", 1, {**place, "delta": piece}
        finished = {**place, "name": item["name"], "arguments": item["arguments"]}
        yield "response.function_call_arguments.done", 0, finished

    def _reasoning_events(self, item: Json, place: Json) -> Iterator[tuple[str, int, Json]]:
        for at, part in enumerate(item["summary"]):
            where = {**place, "summary_index": at}
            yield "response.reasoning_summary_part.added", 0, {**where, "part": {**part, "text": ""}}
            for piece in tokens.pieces(part["text"]):
                yield "response.reasoning_summary_text.delta", 1, {**where, "delta": piece}
            yield "response.reasoning_summary_text.done", 0, {**where, "text": part["text"]}
            yield "response.reasoning_summary_part.done", 0, {**where, "part": part}


def _opened(item: Json) -> Json:
    """An output item as it is announced: nothing in it yet."""
    empty: Json = {"message": {"content": []}, "function_call": {"arguments": ""}, "reasoning": {"summary": []}}
    status = {} if item["type"] == "reasoning" else {"status": "in_progress"}
    return {**item, **empty[item["type"]], **status}
