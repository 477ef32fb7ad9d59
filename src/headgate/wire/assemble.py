"""Putting a stream together again: the events of an answer become the body it would have had unstreamed."""

from collections.abc import Callable, Iterable
from typing import Any

from headgate.wire.loose import load
from headgate.wire.parts import items, mapping
from headgate.wire.sse import Event

Texts = dict[Any, list[str]]


def body_of(endpoint: str, events: Iterable[Event]) -> dict[str, Any]:
    """The body that ``events`` amount to, as far as they go; an error among them stands under ``error``."""
    assemble: Callable[[Iterable[tuple[str, dict[str, Any]]]], dict[str, Any]]
    if endpoint == "anthropic.messages":
        assemble = _messages
    elif endpoint in ("openai.responses", "openai.realtime"):
        assemble = _responses
    else:
        assemble = _chat
    return assemble(_loaded(events))


def _loaded(events: Iterable[Event]) -> Iterable[tuple[str, dict[str, Any]]]:
    for event in events:
        value = load(event.data)
        if isinstance(value, dict):
            kind = value.get("type")
            yield kind if isinstance(kind, str) else event.event.decode("utf-8", "replace"), value


def _key(value: Any) -> Any:
    """An index fit to be a dictionary key."""
    return value if isinstance(value, int | str) else None


def _add(texts: Texts, key: Any, value: Any) -> None:
    if isinstance(value, str) and value:
        texts.setdefault(key, []).append(value)
    elif isinstance(value, list):  # Mistral streams its thinking as lists of blocks
        for block in value:
            _add(texts, key, mapping(block).get("text"))


class _Choice:
    """One choice of a chat or completions stream."""

    def __init__(self) -> None:
        self.texts: Texts = {}
        self.calls: dict[Any, dict[str, Any]] = {}
        self.arguments: Texts = {}
        self.last_call: Any = None

    def take(self, choice: dict[str, Any]) -> None:
        delta = mapping(choice.get("delta"))
        for field in ("content", "refusal"):
            _add(self.texts, field, delta.get(field))
        _add(self.texts, "reasoning_content", delta.get("reasoning_content") or delta.get("reasoning"))
        _add(self.texts, "text", choice.get("text"))
        for call in items(delta.get("tool_calls")):
            self.take_call(mapping(call))
        if isinstance(delta.get("function_call"), dict):
            self.take_call({"index": 0, "function": delta["function_call"]})

    def take_call(self, call: dict[str, Any]) -> None:
        key = _key(call.get("index"))
        if key is None:  # some servers leave the index out: a new id begins a new call
            key = _key(call.get("id")) or self.last_call
        self.last_call = key
        function = mapping(call.get("function"))
        known = self.calls.setdefault(key, {"id": None, "name": None})
        known["id"] = known["id"] or call.get("id")
        known["name"] = known["name"] or function.get("name")
        _add(self.arguments, key, function.get("arguments"))

    def whole(self) -> dict[str, Any]:
        joined = {field: "".join(pieces) for field, pieces in self.texts.items()}
        calls = [
            {"id": call["id"], "function": {"name": call["name"], "arguments": "".join(self.arguments.get(key, ()))}}
            for key, call in self.calls.items()
        ]
        return {"text": joined.pop("text", None), "message": {"role": "assistant", "tool_calls": calls, **joined}}


def _chat(events: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    choices: dict[Any, _Choice] = {}
    error = None
    for _, chunk in events:
        error = error or chunk.get("error")
        for choice in items(chunk.get("choices")):
            if isinstance(choice, dict):
                choices.setdefault(_key(choice.get("index")), _Choice()).take(choice)
    return {"choices": [choice.whole() for choice in choices.values()], "error": error}


def _messages(events: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    blocks: dict[Any, dict[str, Any]] = {}
    texts: Texts = {}
    error = None
    for kind, event in events:
        index = _key(event.get("index"))
        if kind == "message_start":
            for number, block in enumerate(items(mapping(event.get("message")).get("content"))):
                blocks[number] = mapping(block)
        elif kind == "content_block_start":
            blocks[index] = dict(mapping(event.get("content_block")))
        elif kind == "content_block_delta":
            delta = mapping(event.get("delta"))
            for field in ("text", "thinking", "partial_json", "content"):
                if delta.get(field):
                    blocks.setdefault(index, {"type": _BLOCK_OF[field]})
                    _add(texts, (index, field), delta[field])
        elif kind == "error":
            error = error or event.get("error") or event
    for (index, field), pieces in texts.items():
        block, name = blocks[index], "input" if field == "partial_json" else field
        before = block.get(name)
        block[name] = (before if isinstance(before, str) else "") + "".join(pieces)
    return {"content": list(blocks.values()), "error": error}


_BLOCK_OF = {"text": "text", "thinking": "thinking", "partial_json": "tool_use", "content": "compaction"}
_RESPONSE_ENDS = tuple(f"response.{word}" for word in ("completed", "failed", "incomplete", "cancelled", "done"))


def _responses(events: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    outputs: dict[Any, dict[str, Any]] = {}
    texts: Texts = {}
    done: set[Any] = set()
    whole: dict[str, Any] = {}
    error = None
    for kind, event in events:
        index = _key(event.get("output_index"))
        if kind in _RESPONSE_ENDS:
            whole = mapping(event.get("response"))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            outputs[index] = dict(mapping(event.get("item")))
            if kind.endswith("done"):
                done.add(index)
        elif kind.endswith(".delta"):
            _add(texts, (index, kind), event.get("delta"))
        elif kind in ("error", "response.error") or event.get("error"):
            error = error or event.get("error") or {"code": event.get("code"), "message": event.get("message")}
    if not items(whole.get("output")):
        for (index, kind), pieces in texts.items():
            if index not in done:
                _fill(outputs.setdefault(index, {}), kind, "".join(pieces))
        whole = {**whole, "output": list(outputs.values())}
    return {**whole, "error": whole.get("error") or error}


def _fill(item: dict[str, Any], kind: str, said: str) -> None:
    """Write what came in deltas into an output item that was never finished."""
    if "arguments" in kind or "input" in kind:
        item.setdefault("type", "function_call")
        item["input" if item["type"] == "custom_tool_call" else "arguments"] = said
    elif "reasoning" in kind:
        item.setdefault("type", "reasoning")
        item["summary"] = [*items(item.get("summary")), {"type": "summary_text", "text": said}]
    elif "text" in kind or "refusal" in kind or "transcript" in kind:
        item.setdefault("type", "message")
        block = {"type": "refusal", "refusal": said} if "refusal" in kind else {"type": "output_text", "text": said}
        item["content"] = [*items(item.get("content")), block]
