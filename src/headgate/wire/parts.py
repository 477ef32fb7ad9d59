"""The readable pieces of messages and answers, whichever dialect they were written in."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from headgate.wire.loose import clean, dump

PartKind = Literal["text", "image", "tool_call", "tool_result", "thinking", "refusal", "other"]
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of a message.

    ``text`` is what was said; of a tool call its arguments as sent, of an image its address or its type and size.
    ``name`` is the tool's, the file's, or what kind of *other* it is; ``id`` joins a tool call and its result.
    """

    kind: PartKind
    text: str
    name: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one role said in one turn."""

    role: str
    parts: list[Part]


def text(value: Any) -> str:
    """Any loaded value as text: texts as they are, nothing for null, JSON for the rest."""
    if isinstance(value, str):
        return clean(value)
    return "" if value is None else dump(value)


def name(value: Any) -> str | None:
    """A name or id, if it is one."""
    return clean(value, 300) if isinstance(value, str) and value else None


def mapping(value: Any) -> dict[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def parts_of(content: Any, depth: int = _MAX_DEPTH) -> list[Part]:
    """The parts of a content: a text, a list of blocks of any dialect, or one block."""
    if isinstance(content, str):
        return [Part(kind="text", text=clean(content))] if content else []
    if isinstance(content, list) and depth:
        return [part for block in content for part in parts_of(block, depth - 1)]
    if isinstance(content, dict):
        return [_part(content, depth)]
    return [] if content is None else [Part(kind="other", text=dump(content))]


def joined(parts: Iterable[Part]) -> str:
    """The text of several parts, images named in brackets."""
    return "\n".join(f"[image {part.text}]" if part.kind == "image" else part.text for part in parts if part.text)


def message_parts(message: dict[str, Any]) -> list[Part]:
    """The parts of a chat or Messages message, in the order in which a model produces them."""
    parts: list[Part] = []
    thinking = message.get("reasoning_content") or message.get("reasoning")
    if thinking:
        parts.append(Part(kind="thinking", text=text(thinking)))
    content = parts_of(message.get("content"))
    if message.get("role") in ("tool", "function"):
        call_id = name(message.get("tool_call_id"))
        content = [Part(kind="tool_result", text=joined(content), name=name(message.get("name")), id=call_id)]
    parts += content
    if message.get("refusal"):
        parts.append(Part(kind="refusal", text=text(message["refusal"])))
    for call in items(message.get("tool_calls")):
        parts.append(_chat_call(mapping(call)))
    if isinstance(message.get("function_call"), dict):
        parts.append(_chat_call({"function": message["function_call"]}))
    audio = mapping(message.get("audio"))
    if audio:
        parts.append(Part(kind="other", text=text(audio.get("transcript")), name="audio", id=name(audio.get("id"))))
    return parts


def _chat_call(call: dict[str, Any]) -> Part:
    function = mapping(call.get("function") or call.get("custom"))
    arguments = function.get("arguments", function.get("input"))
    return Part(kind="tool_call", text=text(arguments), name=name(function.get("name")), id=name(call.get("id")))


def _part(block: dict[str, Any], depth: int) -> Part:
    kind = block.get("type")
    kind = kind if isinstance(kind, str) else ""
    if kind in ("text", "input_text", "output_text", "summary_text", "reasoning_text") or (
        not kind and "text" in block
    ):
        return Part(kind="text", text=text(block.get("text")))
    if kind in ("image_url", "input_image", "image"):
        return Part(kind="image", text=_image(block))
    if kind in ("thinking", "redacted_thinking", "reasoning"):
        return Part(kind="thinking", text=_thinking(block, depth))
    if kind == "refusal":
        return Part(kind="refusal", text=text(block.get("refusal")))
    if kind in ("tool_use", "server_tool_use", "mcp_tool_use", "function_call", "custom_tool_call", "mcp_call"):
        arguments = block.get("input", block.get("arguments"))
        call_id = name(block.get("call_id")) or name(block.get("id"))
        return Part(kind="tool_call", text=text(arguments), name=name(block.get("name")), id=call_id)
    if kind.endswith(("tool_result", "_call_output")):
        result = block.get("content", block.get("output"))
        call_id = name(block.get("tool_use_id")) or name(block.get("call_id"))
        label = None if kind in ("tool_result", "function_call_output") else name(kind)
        return Part(
            kind="tool_result", text=joined(parts_of(result, depth - 1 if depth else 0)), name=label, id=call_id
        )
    return _other(kind, block)


def _other(kind: str, block: dict[str, Any]) -> Part:
    if kind in ("file", "input_file", "document"):
        file = mapping(block.get("file")) or block
        source = mapping(block.get("source"))
        title = name(file.get("filename")) or name(block.get("title")) or kind
        said = text(source.get("data")) if source.get("type") == "text" else _address(file, source)
        return Part(kind="other", text=said, name=title, id=name(file.get("file_id")))
    if kind in ("audio", "output_audio", "input_audio") and isinstance(block.get("transcript"), str):
        return Part(kind="text", text=text(block["transcript"]))  # of a realtime session
    if kind == "input_audio":
        audio = mapping(block.get("input_audio"))
        return Part(kind="other", text=f"{text(audio.get('format'))}, {_base64_bytes(audio.get('data'))}", name="audio")
    return Part(kind="other", text=dump(block), name=name(kind), id=name(block.get("id")))


def _image(block: dict[str, Any]) -> str:
    source = block.get("source")
    if isinstance(source, dict):
        return _address(block, source)
    address = block.get("image_url")
    if isinstance(address, dict):
        address = address.get("url")
    return _address({"url": address, "file_id": block.get("file_id")}, {})


def _address(block: dict[str, Any], source: dict[str, Any]) -> str:
    """Where the bytes of an image or file are, or what they are when they stand in the request itself."""
    if isinstance(source.get("data"), str):
        return f"{text(source.get('media_type')) or 'data'}, {_base64_bytes(source['data'])}"
    data = block.get("file_data")
    if isinstance(data, str) and not data.startswith("data:"):
        return _base64_bytes(data)
    for value in (source.get("url"), block.get("url"), block.get("file_url"), data):
        if isinstance(value, str) and value:
            if not value.startswith("data:"):
                return clean(value, 2000)
            head, _, content = value[5:].partition(",")
            return f"{clean(head.partition(';')[0], 100) or 'data'}, {_base64_bytes(content)}"
    return text(source.get("file_id") or block.get("file_id"))


def _base64_bytes(value: Any) -> str:
    size = len(value.rstrip("=")) * 3 // 4 if isinstance(value, str) else 0
    return f"{size:,} bytes"


def _thinking(block: dict[str, Any], depth: int) -> str:
    if block.get("type") == "redacted_thinking":
        return "[redacted]"
    if "thinking" in block:
        inner = block["thinking"]
        return joined(parts_of(inner, depth - 1)) if isinstance(inner, list) and depth else text(inner)
    said = parts_of(block.get("summary"), 2) + parts_of(block.get("content"), 2)
    return joined(said) or ("[encrypted]" if block.get("encrypted_content") else "")
