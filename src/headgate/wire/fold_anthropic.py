"""Reading Anthropic message streams: usage in ``message_start`` and, cumulative, in ``message_delta``."""

from typing import Any

import msgspec

from headgate.wire.folded import StreamFold, loose_usage
from headgate.wire.loose import UNREADABLE, count_text, load, text_or_none
from headgate.wire.sse import event_of


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: _Delta | None = None


_decode = msgspec.json.Decoder(_Event).decode
_UNFINISHED = "the stream ended before its final usage: output_tokens is unknown"


class MessagesStreamFold(StreamFold):
    """Messages events. Usage is merged field by field, never summed."""

    def __init__(self) -> None:
        super().__init__()
        self._final_usage = False
        self._merged: dict[str, Any] = {}

    def on_data(self, data: bytes, block: bytes) -> None:
        try:
            event = _decode(data)
        except UNREADABLE:
            self._on_event(load(data), block)
            return
        if event.type == "content_block_delta":
            delta = event.delta
            if delta is not None:
                self.output_chars += len(delta.text or delta.partial_json or delta.thinking or "")
        elif event.type != "ping" and event.type != "content_block_stop":
            self._on_event(load(data), block)

    def _on_event(self, event: Any, block: bytes) -> None:
        if not isinstance(event, dict):
            return
        kind = event.get("type")
        if not isinstance(kind, str):
            named = event_of(block)
            kind = named.event.decode("utf-8", "replace") if named else ""
        if kind == "message_start":
            self._on_start(event.get("message"))
        elif kind == "message_delta":
            self._on_message_delta(event)
        elif kind == "content_block_start":
            self._on_block(event.get("content_block"))
        elif kind == "content_block_delta":
            delta = event.get("delta")
            if isinstance(delta, dict):
                texts = (delta.get(key) for key in ("text", "partial_json", "thinking"))
                self.output_chars += sum(len(text) for text in texts if isinstance(text, str))
        elif kind == "message_stop":
            self.ended = True
        elif kind == "error":
            self.on_error(event.get("error") or event)

    def _on_start(self, message: Any) -> None:
        if not isinstance(message, dict):
            return
        self.response_id = text_or_none(message.get("id")) or self.response_id
        self.model = text_or_none(message.get("model")) or self.model
        self.finish_reason = text_or_none(message.get("stop_reason")) or self.finish_reason
        self.output_chars += count_text(message.get("content"))
        self._on_usage(message.get("usage"))

    def _on_message_delta(self, event: dict[str, Any]) -> None:
        delta = event.get("delta")
        if isinstance(delta, dict):
            self.finish_reason = text_or_none(delta.get("stop_reason")) or self.finish_reason
        usage = event.get("usage")
        if isinstance(usage, dict) and usage.get("output_tokens") is not None:
            self._final_usage = True
        self._on_usage(usage)

    def _on_block(self, content: Any) -> None:
        if not isinstance(content, dict):
            return
        if content.get("type") == "fallback":
            # The rest is written by another model, which is the one billed (Messages API, seen 2026-11).
            served = content.get("to")
            self.model = (text_or_none(served.get("model")) if isinstance(served, dict) else None) or self.model
        elif not str(content.get("type")).endswith("_tool_result"):
            self.output_chars += count_text(content)

    def _on_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            merged = merge_usage(self._merged, usage)
            if len(merged) <= 200 and (text := loose_usage(merged)):
                self._merged, self.usage = merged, text
                self.service_tier = text_or_none(merged.get("service_tier")) or self.service_tier

    def on_end(self) -> None:
        if self._merged and not self._final_usage and not self.ended:
            # message_start counts the one token it was sent with: a number, and the wrong one.
            self._merged.pop("output_tokens", None)
            self.usage = loose_usage(self._merged)
            self.note = _UNFINISHED


def merge_usage(earlier: dict[str, Any], later: dict[str, Any], depth: int = 4) -> dict[str, Any]:
    """Usage after a later, cumulative report of it: the last value that is not null counts, field by field.

    A later 0 replaces a count of output only: gateways in between send ``input_tokens: 0`` in ``message_delta`` when
    they mean "see message_start" (while a refused answer does go from 1 output token back to 0).
    """
    merged = dict(earlier)
    for name, value in later.items():
        known = merged.get(name)
        if value is None or (value == 0 and known and name != "output_tokens"):
            if name not in merged:
                merged[name] = None
        elif isinstance(value, dict) and isinstance(known, dict) and depth:
            merged[name] = merge_usage(known, value, depth - 1)
        else:
            merged[name] = value
    return merged
