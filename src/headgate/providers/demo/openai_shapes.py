"""OpenAI's chat completions, completions, embeddings, models and errors."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from headgate.providers.demo import embedding, images, model, tokens
from headgate.providers.demo.ask import Ask, AskError, Json, Reply, Tool, Turn
from headgate.providers.demo.reading import (
    MODELS,
    RELEASED_AT_S,
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

MOST_TOKENS = 1_000_000
_FINGERPRINT = "fp_headgate_demo"
_CACHED_FROM_TOKENS = 1024
_ROLES: dict[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def error_body(error: AskError) -> Json:
    """The error envelope."""
    kind = "invalid_request_error" if error.status == 404 else error.kind
    return {"error": {"message": str(error), "type": kind, "param": error.param, "code": error.code}}


def models() -> Json:
    """The list of models."""
    return {"object": "list", "data": [model_object(name) for name in MODELS]}


def model_object(name: str) -> Json:
    """One model; every name that is not ``missing-...`` exists."""
    return {"id": known(name), "object": "model", "created": RELEASED_AT_S, "owned_by": "headgate-demo"}


# chat completions


def chat(body: Json, seed: bytes) -> Answer:
    """Answers POST /v1/chat/completions."""
    ask = _chat_ask(body, seed)
    count = whole(body, "n", least=1, most=16) or 1
    replies = [model.reply(ask, choice) for choice in range(count)]
    usage = chat_usage(body, ask, replies)
    written = sum(reply.output_tokens for reply in replies)
    if body.get("stream") is True:
        wants_usage = inner(body, "stream_options", "include_usage") is True
        return Answer(None, _chat_events(ask, replies, usage if wants_usage else None), written, ask.model)
    whole_body = {
        "id": identity("chatcmpl-", seed),
        "object": "chat.completion",
        "created": RELEASED_AT_S,
        "model": ask.model,
        "choices": [_choice(ask, reply, index) for index, reply in enumerate(replies)],
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    return Answer(whole_body, None, written, ask.model)


def _chat_ask(body: Json, seed: bytes) -> Ask:
    name = model_of(body)
    turns = tuple(_turns(listed(body, "messages")))
    form = body.get("response_format")
    schema = inner(form, "json_schema", "schema")
    kind = inner(form, "type")
    most = whole(body, "max_completion_tokens", least=1, most=MOST_TOKENS)
    choice, named = tool_choice(body.get("tool_choice"))
    return Ask(
        model=name,
        turns=turns,
        seed=seed,
        tools=tuple(_tools(body.get("tools"))),
        tool_choice=choice,
        tool_named=named,
        parallel_calls=body.get("parallel_tool_calls") is not False,
        form="schema" if kind == "json_schema" else "json" if kind == "json_object" else "text",
        schema=schema if isinstance(schema, dict) else {"type": "object"},
        max_tokens=whole(body, "max_tokens", least=1, most=MOST_TOKENS) if most is None else most,
        stop=texts(body.get("stop")),
        temperature=number(body, "temperature"),
        thinks=reasons(body.get("reasoning_effort")),
    )


def reasons(effort: Any) -> bool:
    """Whether a reasoning effort asks for hidden thinking."""
    return isinstance(effort, str) and effort not in ("none", "minimal")


def tool_choice(value: Any) -> tuple[Literal["auto", "none", "required"], str | None]:
    """The tool choice and the tool it names, in the forms of chat completions and of responses."""
    if value in ("none", "required"):
        return value, None
    if isinstance(value, dict):
        named = inner(value, "function", "name") or value.get("name")
        if isinstance(named, str):
            return "required", named
        mode = inner(value, "allowed_tools", "mode") or value.get("mode")
        return ("required", None) if mode == "required" else ("auto", None)
    return "auto", None


def _turns(messages: Sequence[Any]) -> Iterator[Turn]:
    names: dict[str, str] = {}
    for at, message in enumerate(messages):
        role = inner(message, "role")
        if not isinstance(role, str) or role not in _ROLES:
            raise AskError(f"Invalid value for 'messages[{at}].role': {str(role)[:40]}.", param=f"messages[{at}].role")
        for call in items(inner(message, "tool_calls")):
            names[str(inner(call, "id"))] = str(inner(call, "function", "name"))
        text, found = content(message.get("content"))
        named = names.get(str(message.get("tool_call_id"))) or message.get("name")
        tool = str(named) if _ROLES[role] == "tool" and named else None
        yield Turn(role=_ROLES[role], text=text, images=tuple(found), tool_name=tool)


def content(value: Any) -> tuple[str, list[str]]:
    """The text of a message's content and descriptions of its images, in the forms of chat and of responses."""
    if isinstance(value, str):
        return value, []
    pieces: list[str] = []
    found: list[str] = []
    for part in items(value):
        kind = inner(part, "type")
        if kind in ("text", "input_text", "output_text"):
            pieces.append(strings_of(part, "text"))
        elif kind == "refusal":
            pieces.append(strings_of(part, "refusal"))
        elif kind in ("image_url", "input_image"):
            address = part.get("image_url")
            address = inner(address, "url") if isinstance(address, dict) else address
            found.append(images.describe_url(address) if isinstance(address, str) else "an image (by id)")
    return "\n".join(pieces), found


def _tools(value: Any) -> Iterator[Tool]:
    for tool in items(value):
        named = inner(tool, "function", "name")
        if isinstance(named, str):
            schema = inner(tool, "function", "parameters")
            described = strings_of(tool["function"], "description")
            yield Tool(name=named, schema=schema if isinstance(schema, dict) else {}, description=described)


def input_tokens(ask: Ask, tools: Any = None) -> int:
    """The provider's count of everything sent."""
    total = 3 + tokens.count_json(tools)
    for turn in ask.turns:
        total += tokens.TOKENS_PER_MESSAGE + tokens.count(turn.text) + tokens.TOKENS_PER_IMAGE * len(turn.images)
    return total


def cached_tokens(ask: Ask, total: int) -> int:
    """Input counted as cached: in whole 128s, what came before the newest message of a long conversation."""
    if not any(turn.role == "assistant" for turn in ask.turns) or ask.last is None:
        return 0
    before = total - tokens.count(ask.last.text)
    return before // 128 * 128 if before >= _CACHED_FROM_TOKENS else 0


def chat_usage(body: Json, ask: Ask, replies: Sequence[Reply]) -> Json:
    """The usage object of chat completions."""
    given = input_tokens(ask, body.get("tools"))
    written = sum(reply.output_tokens for reply in replies)
    return {
        "prompt_tokens": given,
        "completion_tokens": written,
        "total_tokens": given + written,
        "prompt_tokens_details": {"cached_tokens": cached_tokens(ask, given), "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(reply.thinking_tokens for reply in replies),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _finish(reply: Reply) -> str:
    return "stop" if reply.finish == "stop_sequence" else reply.finish


def _call_objects(ask: Ask, reply: Reply, index: int) -> list[Json]:
    return [
        {
            "id": identity("call_", ask.seed, index, at),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for at, call in enumerate(reply.calls)
    ]


def _choice(ask: Ask, reply: Reply, index: int) -> Json:
    message: Json = {"role": "assistant", "content": None if reply.calls else reply.text, "refusal": None}
    if reply.calls:
        message["tool_calls"] = _call_objects(ask, reply, index)
    else:
        message["annotations"] = []
    return {"index": index, "message": message, "logprobs": None, "finish_reason": _finish(reply)}


def _chat_events(ask: Ask, replies: Sequence[Reply], usage: Json | None) -> Iterator[Event]:
    base: Json = {
        "id": identity("chatcmpl-", ask.seed),
        "object": "chat.completion.chunk",
        "created": RELEASED_AT_S,
        "model": ask.model,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    last: Json = {"usage": None} if usage else {}

    def chunk(index: int, delta: Json, finish: str | None = None, *, weight: int = 0) -> Event:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return Event(sse({**base, "choices": [choice], **last}), weight)

    for index, reply in enumerate(replies):
        first: Json = {"role": "assistant", "content": None if reply.calls else "", "refusal": None}
        yield chunk(index, first, weight=reply.thinking_tokens)
        for at, call in enumerate(_call_objects(ask, reply, index)):
            function = {"name": call["function"]["name"], "arguments": ""}
            yield chunk(index, {"tool_calls": [{"index": at, **call, "function": function}]}, weight=4)
            for piece in tokens.pieces(call["function"]["arguments"]):
                yield chunk(index, {"tool_calls": [{"index": at, "function": {"arguments": piece}}]}, weight=1)
        for piece in tokens.pieces(reply.text):
            yield chunk(index, {"content": piece}, weight=1)
        yield chunk(index, {}, _finish(reply))
    if usage:
        yield Event(sse({**base, "choices": [], "usage": usage}))
    yield Event(b"data: [DONE]\n\n")


def sse(value: Json) -> bytes:
    """An event without a name."""
    return b"data: " + dump(value) + b"\n\n"


# completions


def completions(body: Json, seed: bytes) -> Answer:
    """Answers POST /v1/completions."""
    name = model_of(body)
    asks = [_completion_ask(body, name, prompt, seed) for prompt in _prompts(body.get("prompt"))]
    count = whole(body, "n", least=1, most=16) or 1
    replies = [model.reply(ask, choice) for ask in asks for choice in range(count)]
    given = sum(tokens.count(ask.turns[0].text) for ask in asks)
    written = sum(reply.output_tokens for reply in replies)
    usage = {"prompt_tokens": given, "completion_tokens": written, "total_tokens": given + written}
    base: Json = {
        "id": identity("cmpl-", seed),
        "object": "text_completion",
        "created": RELEASED_AT_S,
        "model": name,
        "system_fingerprint": _FINGERPRINT,
    }
    echoed = [ask.turns[0].text if body.get("echo") is True else "" for ask in asks for _ in range(count)]
    if body.get("stream") is True:
        wants_usage = inner(body, "stream_options", "include_usage") is True
        return Answer(None, _completion_events(base, replies, echoed, usage if wants_usage else None), written, name)
    choices = [
        {"index": index, "text": echo + reply.text, "logprobs": None, "finish_reason": _finish(reply)}
        for index, (reply, echo) in enumerate(zip(replies, echoed, strict=True))
    ]
    return Answer({**base, "choices": choices, "usage": usage}, None, written, name)


def _completion_ask(body: Json, name: str, prompt: str, seed: bytes) -> Ask:
    return Ask(
        model=name,
        turns=(Turn(role="user", text=prompt),),
        seed=seed,
        max_tokens=whole(body, "max_tokens", least=1, most=MOST_TOKENS),
        stop=texts(body.get("stop")),
        temperature=number(body, "temperature"),
    )


def _prompts(value: Any) -> list[str]:
    return _inputs(value, "prompt", most=128)


def _inputs(value: Any, name: str, *, most: int) -> list[str]:
    """A text, a list of texts, a list of token ids or a list of such lists, as texts."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and all(isinstance(item, int) for item in value):
        return [_token_text(value)]
    if isinstance(value, list) and 0 < len(value) <= most and all(isinstance(item, str | list) for item in value):
        return [item if isinstance(item, str) else _token_text(item) for item in value]
    raise AskError(
        f"Invalid value for '{name}': give a text, a list of 1 to {most} texts, or token arrays.", param=name
    )


def _token_text(ids: list[Any]) -> str:
    return " ".join(f"t{item}" for item in ids if isinstance(item, int))


def _completion_events(
    base: Json, replies: Sequence[Reply], echoed: Sequence[str], usage: Json | None
) -> Iterator[Event]:
    last: Json = {"usage": None} if usage else {}
    for index, (reply, echo) in enumerate(zip(replies, echoed, strict=True)):
        for piece in [*([echo] if echo else []), *tokens.pieces(reply.text)]:
            choice = {"index": index, "text": piece, "logprobs": None, "finish_reason": None}
            yield Event(sse({**base, "choices": [choice], **last}), 1)
        choice = {"index": index, "text": "", "logprobs": None, "finish_reason": _finish(reply)}
        yield Event(sse({**base, "choices": [choice], **last}))
    if usage:
        yield Event(sse({**base, "choices": [], "usage": usage}))
    yield Event(b"data: [DONE]\n\n")


# embeddings


def embeddings(body: Json, _seed: bytes) -> Answer:
    """Answers POST /v1/embeddings."""
    name = model_of(body)
    inputs = _inputs(body.get("input"), "input", most=2048)
    size = whole(body, "dimensions", least=1, most=embedding.MOST_DIMENSIONS) or embedding.DEFAULT_DIMENSIONS
    as_base64 = body.get("encoding_format") == "base64"
    data: list[Json] = []
    for index, text in enumerate(inputs):
        vector = embedding.embed(text, size)
        written: Any = embedding.as_base64(vector) if as_base64 else vector
        data.append({"object": "embedding", "index": index, "embedding": written})
    given = sum(tokens.count(text) for text in inputs)
    usage = {"prompt_tokens": given, "total_tokens": given}
    return Answer({"object": "list", "data": data, "model": name, "usage": usage}, None, 0, name)
