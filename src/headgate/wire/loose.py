"""Reading JSON that strangers wrote: never an exception, never unbounded, never text that cannot be stored."""

import json
from typing import Any

import msgspec

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What a decoder raises over hostile input: bad syntax or types, bad UTF-8 or huge numbers, nesting without end."""

_decode = msgspec.json.Decoder().decode


def load(data: bytes) -> Any:
    """The value of a JSON text; None when it is not JSON. Takes what the strict decoder refuses: NaN, lone surrogates,
    bytes that are not UTF-8, numbers without bound.
    """
    try:
        return _decode(data)
    except UNREADABLE:
        pass
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except UNREADABLE:
        return None


def dump(value: Any) -> str:
    """JSON text of a loaded value; empty when it cannot be written."""
    try:
        return clean(msgspec.json.encode(value).decode())
    except (*UNREADABLE, TypeError, OverflowError):
        pass
    try:
        return clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    except (*UNREADABLE, TypeError):
        return ""


def clean(text: str, limit: int | None = None) -> str:
    """``text`` cut to ``limit`` characters, storable as UTF-8: lone surrogates and NUL become U+FFFD."""
    if limit is not None and len(text) > limit:
        text = text[:limit]
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "\ufffd")


def text_or_none(value: Any, limit: int = 300) -> str | None:
    """A short text field as it may be stored; None for anything but a non-empty text."""
    if isinstance(value, str) and value.isascii() and 0 < len(value) <= limit and "\0" not in value:
        return value
    return clean(value, limit) if isinstance(value, str) and value else None


_TEXT_KEYS = (
    "content",
    "text",
    "refusal",
    "thinking",
    "name",
    "arguments",
    "message",
    "function",
    "custom",
    "tool_calls",
    "summary",
)


def count_text(value: Any, depth: int = 12) -> int:
    """Characters that a model wrote in a message, choice, content block or output item, in whichever field."""
    if isinstance(value, str):
        return len(value)
    if depth == 0:
        return 0
    if isinstance(value, list):
        return sum(count_text(part, depth - 1) for part in value)
    if not isinstance(value, dict):
        return 0
    total = sum(count_text(value[key], depth - 1) for key in _TEXT_KEYS if key in value)
    # Some servers send their thinking under both names at once (vLLM, seen 2026).
    total += count_text(value.get("reasoning_content") or value.get("reasoning"), depth - 1)
    given = value.get("input")
    return total + (len(given) if isinstance(given, str) else len(dump(given)) if given else 0)
