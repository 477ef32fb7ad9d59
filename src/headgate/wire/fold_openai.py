"""Reading OpenAI event streams: chat and completions chunks, and Responses events.

Each event is decoded into the few fields that count; an event that does not fit them (another type somewhere, odd
numbers, bad UTF-8) is read again loosely, so that one strange field never hides the usage beside it.
"""

from typing import Any

import msgspec

from headgate.wire.folded import NOTHING, StreamFold, loose_usage, usage_text
from headgate.wire.loose import UNREADABLE, count_text, load, text_or_none
from headgate.wire.sse import event_of


class _Present(msgspec.Struct, gc=False):
    """An object whose content is not looked at."""


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Present | None = None
    error: Any = None


class _Head(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    usage: msgspec.Raw = NOTHING


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_head = msgspec.json.Decoder(_Head).decode


class ChatStreamFold(StreamFold):
    """Chat completions and completions. Usage may come on any chunk; the last that is not null counts."""

    def __init__(self, *, has_end: bool = True) -> None:
        super().__init__()
        self._has_end = has_end

    def is_complete(self) -> bool:
        # transformers serve and others end without [DONE]; a finish reason is their last word.
        return self.ended or self.finish_reason is not None or not self._has_end

    def on_data(self, data: bytes, block: bytes) -> None:
        try:
            chunk = _decode_chunk(data)
            if self.model is None or chunk.usage is not None:
                self._on_head(_decode_head(data))
        except UNREADABLE:
            self._on_loose(data)
            return
        if chunk.error is not None:
            self.on_error(chunk.error)
        if not chunk.choices:
            return
        for choice in chunk.choices:
            delta = choice.delta
            if delta is not None:
                self.output_chars += len(delta.content) if delta.content else _other_chars(delta)
            elif choice.text is not None:
                self.output_chars += len(choice.text)
            if choice.finish_reason and self.finish_reason is None:
                self.finish_reason = text_or_none(choice.finish_reason)

    def _on_head(self, head: _Head) -> None:
        # Read until the model is known (Azure begins with a chunk that has none), and wherever usage is.
        self.response_id = self.response_id or text_or_none(head.id)
        self.model = self.model or text_or_none(head.model)
        self.service_tier = text_or_none(head.service_tier) or self.service_tier
        self.usage = usage_text(head.usage) or self.usage

    def _on_loose(self, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            self.ended = True
            return
        chunk = load(data)
        if not isinstance(chunk, dict):
            return
        self.response_id = self.response_id or text_or_none(chunk.get("id"))
        self.model = self.model or text_or_none(chunk.get("model"))
        self.service_tier = self.service_tier or text_or_none(chunk.get("service_tier"))
        self.usage = loose_usage(chunk.get("usage")) or self.usage
        self.on_error(chunk.get("error"))
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self.output_chars += count_text(choice.get("delta")) + count_text(choice.get("text"))
                self.finish_reason = self.finish_reason or text_or_none(choice.get("finish_reason"))


def _other_chars(delta: _Delta) -> int:
    total = len(delta.refusal or "") + len(delta.reasoning_content or delta.reasoning or "")
    for call in delta.tool_calls or ():
        if call.function is not None:
            total += len(call.function.name or "") + len(call.function.arguments or "")
    return total


class _ResponsesEvent(msgspec.Struct, gc=False):
    type: str | None = None
    delta: str | None = None
    response: msgspec.Raw = NOTHING


class _Response(msgspec.Struct):
    id: Any = None
    model: Any = None
    service_tier: Any = None
    status: Any = None
    incomplete_details: Any = None
    usage: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


_decode_event = msgspec.json.Decoder(_ResponsesEvent).decode
_decode_response = msgspec.json.Decoder(_Response).decode
RESPONSE_ENDS = frozenset(f"response.{word}" for word in ("completed", "failed", "incomplete", "cancelled", "done"))
"""The last event of a response; `done` on a realtime connection."""
_TEXT_DELTAS = frozenset(
    f"response.{word}.delta"
    for word in (
        "output_text",
        "refusal",
        "function_call_arguments",
        "custom_tool_call_input",
        "mcp_call_arguments",
        "code_interpreter_call_code",
        "reasoning_text",
        "reasoning_summary_text",
        "audio_transcript",
        "output_audio_transcript",
        "text",
    )
)


class ResponsesStreamFold(StreamFold):
    """Responses events. The terminal event carries the whole response, its usage, its status and its error."""

    def on_data(self, data: bytes, block: bytes) -> None:
        try:
            event = _decode_event(data)
            kind = event.type
            if kind is not None and event.delta is not None:
                if kind in _TEXT_DELTAS:
                    self.output_chars += len(event.delta)
                return
            response = bytes(event.response) if event.response is not NOTHING else b""
            loose: Any = None
        except UNREADABLE:
            loose = load(data)
            if not isinstance(loose, dict):
                return
            kind, response = loose.get("type"), b""
        if not isinstance(kind, str):
            named = event_of(block)
            kind = named.event.decode("utf-8", "replace") if named else ""
        if response:
            self._on_response(kind, response)
        elif loose is not None and isinstance(loose.get("response"), dict):
            self._on_loose_response(kind, loose["response"])
        elif kind in ("error", "response.error", ""):
            self._on_error_event(kind, loose if loose is not None else load(data))

    def _on_response(self, kind: str, raw: bytes) -> None:
        if kind not in RESPONSE_ENDS and self.model is not None:
            return
        try:
            response = _decode_response(raw)
        except UNREADABLE:
            loose = load(raw)
            if isinstance(loose, dict):
                self._on_loose_response(kind, loose)
            return
        self.usage = usage_text(response.usage) or self.usage
        self.on_error(response.error)
        self._on_state(kind, response)
        if kind in RESPONSE_ENDS and not self.output_chars:
            self._count_output(load(raw))

    def _on_loose_response(self, kind: str, response: dict[str, Any]) -> None:
        self.usage = loose_usage(response.get("usage")) or self.usage
        self.on_error(response.get("error"))
        state = _Response(
            id=response.get("id"),
            model=response.get("model"),
            service_tier=response.get("service_tier"),
            status=response.get("status"),
            incomplete_details=response.get("incomplete_details"),
        )
        self._on_state(kind, state)
        if kind in RESPONSE_ENDS and not self.output_chars:
            self._count_output(response)

    def _on_state(self, kind: str, response: _Response) -> None:
        self.response_id = text_or_none(response.id) or self.response_id
        self.model = text_or_none(response.model) or self.model
        self.service_tier = text_or_none(response.service_tier) or self.service_tier
        if kind in RESPONSE_ENDS:
            self.ended = True
            self.finish_reason = finish_of(response.status, response.incomplete_details)

    def _count_output(self, response: Any) -> None:
        # Some servers send no deltas, or none of a kind we know: count the whole output instead.
        if isinstance(response, dict):
            self.output_chars = count_text(response.get("output"))

    def _on_error_event(self, kind: str, event: Any) -> None:
        if not isinstance(event, dict):
            return
        # The API puts code and message beside the type (Responses API, seen 2026-11); others nest an error object.
        error = event.get("error")
        if kind and not error:
            error = {"code": event.get("code"), "message": event.get("message")}
        self.on_error(error)


def finish_of(status: Any, incomplete_details: Any) -> str | None:
    """Why a response ended: the reason when it is incomplete, else its status."""
    if status == "incomplete" and isinstance(incomplete_details, dict):
        return text_or_none(incomplete_details.get("reason")) or "incomplete"
    return text_or_none(status)
