"""Reading whole JSON answers of every dialect, and the end of those too long to keep."""

from typing import Any

import msgspec

from headgate.wire.fold_openai import finish_of
from headgate.wire.folded import NOTHING, Folded, error_of, loose_usage, usage_text
from headgate.wire.loose import UNREADABLE, count_text, load, text_or_none

_TEXT_LIMIT_BYTES = 8 << 20
_DATA_LIMIT_BYTES = 1 << 20
_TAIL_BYTES = 64 << 10
_MAX_PIECES = 4096  # a server that sends byte by byte must not cost 40 bytes of memory for each


class _Head(msgspec.Struct):
    """The fields outside the content; ``data`` of embeddings and files is skipped unread."""

    id: Any = None
    object: Any = None
    model: Any = None
    service_tier: Any = None
    status: Any = None
    incomplete_details: Any = None
    stop_reason: Any = None
    detail: Any = None
    usage: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class _Body(_Head):
    choices: Any = None
    content: Any = None
    output: Any = None


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_body = msgspec.json.Decoder(_Body).decode
_HAS_TEXT = ("openai.chat", "openai.completions", "openai.responses", "anthropic.messages")


class JsonFold:
    """One JSON body. Longer than the limit, only its end is kept: usage stands there, after the data."""

    __slots__ = ("_bytes", "_has_text", "_limit", "_pieces", "_tail")

    def __init__(self, endpoint: str) -> None:
        self._has_text = endpoint in _HAS_TEXT
        self._limit = _TEXT_LIMIT_BYTES if self._has_text else _DATA_LIMIT_BYTES
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._tail = b""

    def feed(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes <= self._limit:
            self._pieces.append(data)
            if len(self._pieces) >= _MAX_PIECES:
                self._pieces = [b"".join(self._pieces)]
            return
        if self._pieces:
            data = b"".join(self._pieces) + data
            self._pieces = []
        self._tail = (self._tail + data)[-_TAIL_BYTES:]

    def finish(self) -> Folded:
        if self._tail:
            return self._of_tail()
        data = b"".join(self._pieces)
        try:
            body: _Head = _decode_body(data) if self._has_text else _decode_head(data)
        except UNREADABLE:
            return self._of_loose(load(data), data)
        return self._of_body(body, usage_text(body.usage), body.error)

    def _of_loose(self, value: Any, data: bytes) -> Folded:
        if isinstance(value, list) and value and isinstance(value[0], dict) and "error" in value[0]:
            value = value[0]  # Gemini's compatible endpoints wrap errors in a list
        if isinstance(value, dict):
            names = _Body.__struct_fields__ if self._has_text else _Head.__struct_fields__
            fields = {name: value[name] for name in names if name in value and name not in ("usage", "error")}
            body = _Body(**fields) if self._has_text else _Head(**fields)
            return self._of_body(body, loose_usage(value.get("usage")), value.get("error"))
        if value is not None:
            return Folded(is_complete=True, note="the answer is JSON, but no object")
        note = "the answer is not whole JSON" if data.strip() else "the answer is empty"
        return Folded(note=note)

    def _of_body(self, body: _Head, usage: str | None, error: Any) -> Folded:
        kind, message = error_of(error)
        if kind is None and body.detail and body.id is None and usage is None:
            message = error_of(body.detail)[1]  # FastAPI servers: {"detail": …}
        chars = None
        reason = body.stop_reason or finish_of(body.status, body.incomplete_details)
        if isinstance(body, _Body) and message is None:
            if usage is None:  # only an estimate asks for it, and this counting costs as much as all the rest
                chars = count_text(body.choices) + count_text(body.content) + count_text(body.output)
            reason = reason or _first_finish(body.choices)
        tier = body.service_tier or _tier_in(usage)
        return Folded(
            model=text_or_none(body.model),
            response_id=text_or_none(body.id),
            service_tier=text_or_none(tier),
            finish_reason=text_or_none(reason),
            usage_raw=usage,
            output_chars=chars,
            is_complete=True,
            error_type=kind,
            error_message=message,
        )

    def _of_tail(self) -> Folded:
        usage, model = self._last_member(b'"usage"'), self._last_member(b'"model"')
        found = usage_text(usage) if usage is not None else None
        return Folded(
            model=text_or_none(load(bytes(model))) if model is not None else None,
            usage_raw=found,
            is_complete=self._tail.rstrip().endswith(b"}"),
            note=f"the answer has {self._bytes} bytes; only its end was read",
        )

    def _last_member(self, key: bytes) -> msgspec.Raw | None:
        """The value of a top-level member in the tail.

        What begins at a member of the outermost object and runs to the end is itself an object once a brace is put
        before it; nothing inside a nested value or a text is.
        """
        end = len(self._tail)
        for _ in range(20):
            at = self._tail.rfind(key, 0, end)
            if at < 0:
                break
            try:
                members = msgspec.json.decode(b"{" + self._tail[at:], type=dict[str, msgspec.Raw])
                return members.get(key[1:-1].decode())
            except UNREADABLE:
                end = at
        return None


def _first_finish(choices: Any) -> Any:
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("finish_reason"):
            return choice["finish_reason"]
    return None


def _tier_in(usage: str | None) -> Any:
    """Anthropic names the tier inside its usage."""
    if usage is None or '"service_tier"' not in usage:
        return None
    value = load(usage.encode())
    return value.get("service_tier") if isinstance(value, dict) else None
