"""Captured bytes made readable: decompressed within bounds, as text where they are text, and as a conversation."""

import base64
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from headgate.control.rows import clean
from headgate.store.values import Bodies
from headgate.wire.decode import BodyDecoder
from headgate.wire.transcript import Transcript, transcript

BodyName = Literal["request", "sent", "response"]
BODY_NAMES: tuple[BodyName, ...] = ("request", "sent", "response")
TITLES: dict[str, str] = {"request": "Request as received", "sent": "Request as sent", "response": "Answer"}
_MAX_SHOWN_CHARS = 200_000
_MAX_MESSAGES = 60
_MAX_PART_CHARS = 60_000


@dataclass(frozen=True, kw_only=True)
class Encodings:
    """How the captured bytes of one request are encoded."""

    request: str | None = None
    response: str | None = None
    response_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Readable:
    """One body: its size as captured, its text once decoded (None: it is not text), and what was odd about it."""

    name: BodyName
    raw: bytes
    encoding: str | None
    text: str | None
    note: str | None


@dataclass(frozen=True, kw_only=True)
class ShownBody:
    """One body as a page shows it."""

    name: str
    title: str
    size: int
    encoding: str | None
    text: str | None
    is_cut: bool
    note: str | None


@dataclass(frozen=True, kw_only=True)
class ShownMessage:
    """One message of a conversation, its parts bounded."""

    role: str
    parts: list[Any]


@dataclass(frozen=True, kw_only=True)
class ShownTalk:
    """A conversation as a page shows it: the newest messages, each bounded."""

    messages: list[ShownMessage]
    output: list[Any]
    tools: list[str]
    parameters: dict[str, str]
    hidden: int
    note: str | None


def decoded(raw: bytes, encoding: str | None) -> tuple[bytes, str | None]:
    """The bytes without their content encoding, and a note when that was not possible in full."""
    if not raw or not encoding or encoding == "identity":
        return raw, None
    decoder = BodyDecoder(encoding)
    return decoder.feed(raw), decoder.note


def readable(bodies: Bodies, encodings: Encodings) -> list[Readable]:
    """The bodies that exist, in order; `sent` only where it differs from `request`."""
    found = []
    for name in BODY_NAMES:
        raw = getattr(bodies, name)
        if not raw:
            continue
        encoding = encodings.response if name == "response" else encodings.request if name == "request" else None
        plain, note = decoded(raw, encoding)
        try:
            text: str | None = plain.decode() if plain or not note else None
        except UnicodeDecodeError as error:
            # A captured stream may end inside a character.
            text = plain.decode("utf-8", "ignore") if error.start >= len(plain) - 4 else None
        found.append(Readable(name=name, raw=raw, encoding=encoding, text=text, note=note))
    return found


def body_json(body: Readable) -> dict[str, Any]:
    """A body for JSON: `text`, or `base64` of the captured bytes where they are not text."""
    shown: dict[str, Any] = {"bytes": len(body.raw), "encoding": body.encoding, "note": body.note}
    if body.text is None:
        return {**shown, "base64": base64.b64encode(body.raw).decode()}
    return {**shown, "text": body.text}


def talk_of(endpoint: str, bodies: Bodies, encodings: Encodings) -> Transcript:
    """The conversation in the bodies of one request."""
    request, _ = decoded(bodies.request, encodings.request)
    response, _ = decoded(bodies.response, encodings.response)
    return transcript(endpoint, request, response, encodings.response_type)


def talk_json(talk: Transcript) -> dict[str, Any]:
    """A conversation for JSON."""
    shown: dict[str, Any] = _cleaned(msgspec.to_builtins(talk))
    return shown


def shown_body(body: Readable) -> ShownBody:
    """A body for a page, bounded."""
    text = body.text
    return ShownBody(
        name=body.name,
        title=TITLES[body.name],
        size=len(body.raw),
        encoding=body.encoding,
        text=None if text is None else text[:_MAX_SHOWN_CHARS],
        is_cut=text is not None and len(text) > _MAX_SHOWN_CHARS,
        note=body.note,
    )


def shown_talk(talk: Transcript) -> ShownTalk:
    """A conversation for a page, bounded: of a long one the newest messages."""
    kept = talk.messages[-_MAX_MESSAGES:]
    return ShownTalk(
        messages=[ShownMessage(role=clean(message.role), parts=_bounded(message.parts)) for message in kept],
        output=_bounded(talk.output),
        tools=[clean(name) for name in talk.tools[:50]],
        parameters={clean(str(name)): _short(value) for name, value in list(talk.parameters.items())[:30]},
        hidden=len(talk.messages) - len(kept),
        note=talk.note,
    )


def _bounded(parts: list[Any]) -> list[dict[str, str | None]]:
    return [
        {
            "kind": part.kind,
            "name": None if part.name is None else clean(part.name),
            "id": None if part.id is None else clean(part.id),
            "text": _cut(clean(part.text or "")),
        }
        for part in parts[:200]
    ]


def _cut(text: str) -> str:
    if len(text) <= _MAX_PART_CHARS:
        return text
    return f"{text[:_MAX_PART_CHARS]}\n… {len(text) - _MAX_PART_CHARS:,} more characters in the raw body"


def _short(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    except (msgspec.MsgspecError, TypeError, UnicodeError, RecursionError):
        text = str(value)
    text = clean(text)
    return text if len(text) <= 120 else text[:117] + "…"


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(name)): _cleaned(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value
