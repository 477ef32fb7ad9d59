"""What reading an answer yields, and the parts that every fold shares."""

from typing import Any, Protocol

import msgspec

from headgate.wire.loose import clean, dump, load
from headgate.wire.sse import Blocks, data_of

MAX_USAGE_BYTES = 64 << 10
_MAX_MESSAGE_CHARS = 2000
NOTHING = msgspec.Raw(b"null")


class Folded(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says about itself. None: it did not say."""

    model: str | None = None
    response_id: str | None = None
    service_tier: str | None = None
    finish_reason: str | None = None
    usage_raw: str | None = None
    """JSON text of the usage object as received; Anthropic streams: the merged object."""
    output_chars: int | None = None
    """Characters the model wrote: text, thinking, refusals, tool names and arguments. None: not a text answer, or a
    whole one with usage, which needs no estimate."""
    is_complete: bool = False
    """The terminal event was seen, or the JSON was whole; True for content that has no end of its own."""
    error_type: str | None = None
    error_message: str | None = None
    note: str | None = None
    """Why the answer could not be read in full."""


class Fold(Protocol):
    """Reads the decoded bytes of one answer as they pass. Never raises; memory is bounded."""

    def feed(self, data: bytes) -> None:
        """Take the next piece, cut anywhere."""

    def finish(self) -> Folded:
        """What was read, at the end of the answer or wherever it broke off; called once."""


class NullFold:
    """For content that is not read: audio, images, text."""

    def feed(self, data: bytes) -> None:
        """Take no notice."""

    def finish(self) -> Folded:
        return Folded(is_complete=True)


class StreamFold:
    """The base of folds over event streams: cuts the stream and hands each event's data to `on_data`."""

    def __init__(self) -> None:
        self._blocks = Blocks()
        self.ended = False  # the event after which clients hang up was read: [DONE], message_stop, response.completed …
        self.model: str | None = None
        self.response_id: str | None = None
        self.service_tier: str | None = None
        self.finish_reason: str | None = None
        self.error_type: str | None = None
        self.error_message: str | None = None
        self.note: str | None = None
        self.output_chars = 0
        self.usage: str | None = None

    def feed(self, data: bytes) -> None:
        for block in self._blocks.feed(data):
            # data_of, with its most common case at hand: this line runs for every event of every stream
            payload = block[6:] if 10 not in block and block[:6] == b"data: " else data_of(block)
            if payload:
                self.on_data(payload, block)

    def on_data(self, data: bytes, block: bytes) -> None:
        """Read one event; must not raise."""
        raise NotImplementedError

    def on_error(self, error: Any) -> None:
        """An error object inside the stream; the first one counts."""
        if self.error_type is None and self.error_message is None:
            self.error_type, self.error_message = error_of(error)

    def is_complete(self) -> bool:
        """Whether nothing that matters is missing; a dialect may know other signs than the end itself."""
        return self.ended

    def on_end(self) -> None:
        """The stream is over; a last chance to correct what was read."""

    def finish(self) -> Folded:
        for block in self._blocks.finish():
            payload = data_of(block)
            if payload:
                self.on_data(payload, block)
        self.on_end()
        if self._blocks.dropped:
            self.note = f"{self._blocks.dropped} event(s) were too long to be read"
        return Folded(
            model=self.model,
            response_id=self.response_id,
            service_tier=self.service_tier,
            finish_reason=self.finish_reason,
            usage_raw=self.usage,
            output_chars=self.output_chars,
            is_complete=self.is_complete(),
            error_type=self.error_type,
            error_message=self.error_message,
            note=self.note,
        )


def usage_text(raw: msgspec.Raw) -> str | None:
    """The JSON text of a usage object; None for null, an empty object, another type, or one of absurd size."""
    data = bytes(raw)
    if data[:1] != b"{" or len(data) > MAX_USAGE_BYTES or not data[1:-1].strip():
        return None
    return clean(data.decode("utf-8", "replace"))


def loose_usage(value: Any) -> str | None:
    """The same for a usage value that was loaded."""
    text = dump(value) if isinstance(value, dict) and value else ""
    return text if 0 < len(text) <= MAX_USAGE_BYTES else None


def error_of(error: Any) -> tuple[str | None, str | None]:
    """Type and message of an ``error`` value in any of the shapes servers use: object, text, list."""
    if error is NOTHING:
        return None, None
    if isinstance(error, msgspec.Raw):
        error = load(bytes(error))
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, str) and error:
        return "error", clean(error, _MAX_MESSAGE_CHARS)
    if not isinstance(error, dict):
        return ("error", clean(dump(error), _MAX_MESSAGE_CHARS)) if error else (None, None)
    kinds = [error.get(name) for name in ("type", "code", "status")]
    kind = next((kind for kind in kinds if isinstance(kind, str)), None) or next(
        (str(kind) for kind in kinds if isinstance(kind, int)), "error"
    )
    message = next((error[k] for k in ("message", "detail", "msg") if isinstance(error.get(k), str)), None)
    return clean(kind, 300), clean(dump(error) if message is None else message, _MAX_MESSAGE_CHARS)
