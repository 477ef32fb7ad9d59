"""Server-sent events: framing over any byte split, and the filter that takes out the usage event we asked for.

The rules are those of the WHATWG event stream format: lines end in LF, CR or CRLF, an event ends at a blank line,
several ``data`` lines are joined by LF, lines beginning with a colon are comments, one leading BOM is ignored.
"""

import re
from typing import NamedTuple

from headgate.wire.loose import load

MAX_EVENT_BYTES = 16 << 20
"""An event longer than this is skipped and counted: Responses events can carry whole images, nothing carries more."""

_MAX_USAGE_EVENT_BYTES = 16 << 10
_LF, _CR = 10, 13
_BOM = b"\xef\xbb\xbf"

# Atomic, so that one CRLF is never taken for two line ends.
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
# Cheap signs, checked in this order, without which no event in a piece can be the usage event.
_EMPTY_LIST = re.compile(rb"\[[ \t]*[\]\r\n]")
_EMPTY_CHOICES = re.compile(rb'"choices"[ \t]*(?:[\r\n]|:[ \t]*(?:[\r\n]|\[[ \t]*[\]\r\n]))|\\u00')
_HAS_CHOICE = re.compile(rb'"choices"[ \t]*:[ \t]*\[[ \t]*[^\s\]]')
_NO_OBJECT = re.compile(rb"data: ?[^\s{]")


class Event(NamedTuple):
    """One event: its name (empty when the stream gave none) and its data."""

    event: bytes
    data: bytes


class Blocks:
    """Cuts a stream into the texts between blank lines, line ends written as LF; the cheap half of framing."""

    __slots__ = ("_after_cr", "_clean", "_dropping", "_held", "_limit", "_started", "dropped")

    def __init__(self, limit_bytes: int = MAX_EVENT_BYTES) -> None:
        self._held = bytearray()
        self._limit = limit_bytes
        self._started = False
        self._after_cr = False
        self._dropping = False
        self._clean = False  # between two events, with nothing remembered
        self.dropped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The blocks that ``data`` completes."""
        # Searching for one byte given as a number is several times as fast as for a text (CPython 3.11 to 3.13).
        if self._clean and data[-2:] == b"\n\n" and _CR not in data:
            end = len(data) - 2
            at = data.find(_LF)
            if at == end or data.find(_LF, at + 1) == end:  # one event, of one line or two
                return [data[:end]]
            return data[:end].split(b"\n\n")
        return self._cut(self._normalised(data))

    def finish(self) -> list[bytes]:
        """The block that the end of the stream leaves open, for servers that omit the last blank line."""
        block = b"" if self._dropping else bytes(self._held)
        self._held, self._clean, self._dropping = bytearray(), False, False
        return [block] if block.strip(b"\n") else []

    def _normalised(self, data: bytes) -> bytes:
        if not self._started and data:
            data = bytes(self._held) + data
            self._held.clear()
            if data != _BOM and _BOM.startswith(data):
                self._held += data
                return b""
            self._started = True
            data = data.removeprefix(_BOM)
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _cut(self, data: bytes) -> list[bytes]:
        blocks: list[bytes] = []
        if not self._started or not data:
            return blocks
        if self._held:
            # The blank line may lie across the border: half of it in what is held.
            if data[0] == _LF and self._held[-1] == _LF:
                first, rest = b"", data[1:]
                del self._held[-1]
            else:
                first, end, rest = data.partition(b"\n\n")
                if not end:
                    self._hold(data)
                    return blocks
            if not self._dropping:
                blocks.append(bytes(self._held + first))
            self._held, self._dropping = bytearray(), False
            data = rest
        *complete, rest = data.split(b"\n\n")
        blocks += complete
        if rest:
            self._hold(rest)
        self._clean = not self._held and not self._after_cr
        return blocks

    def _hold(self, data: bytes) -> None:
        self._clean = False
        self._held += data
        if self._dropping or len(self._held) > self._limit:
            if not self._dropping:
                self._dropping = True
                self.dropped += 1
            self._held = self._held[-1:]  # enough to know a blank line by


def event_of(block: bytes) -> Event | None:
    """The event that a block holds; None when it has no data (comments, blank lines)."""
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, colon, value = line.partition(b":")
        if colon and value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Event(name, b"\n".join(data)) if data else None


def data_of(block: bytes) -> bytes:
    """The data of a block, empty when it has none: `event_of` for those who need no name, without its cost."""
    if _LF not in block and block.startswith(b"data: "):
        return block[6:]
    if block.startswith(b"event: "):
        at = block.find(b"\ndata: ")
        if at > 0 and block.find(_LF) == at and block.find(_LF, at + 7) < 0:
            return block[at + 7 :]
    event = event_of(block)
    return event.data if event else b""


class EventStream:
    """Incremental framing of an event stream: the same events for every way of cutting its bytes."""

    def __init__(self, limit_bytes: int = MAX_EVENT_BYTES) -> None:
        self._blocks = Blocks(limit_bytes)

    @property
    def dropped(self) -> int:
        """Events skipped for their length."""
        return self._blocks.dropped

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes."""
        return [event for block in self._blocks.feed(data) if (event := event_of(block))]

    def finish(self) -> list[Event]:
        """The event left open by a stream that ends without its blank line."""
        return [event for block in self._blocks.finish() if (event := event_of(block))]


class UsageEventFilter:
    """Removes the usage-only event of a chat or completions stream: the one that comes because we asked for it.

    What comes out is what went in without that event, whatever the byte split. Only an unfinished event that may still
    turn out to be the usage event is held back, and never more than 16 KiB of it.
    """

    def __init__(self) -> None:
        self._held = b""  # an unfinished event that may be the usage event
        self._passing = False  # inside an unfinished event that cannot be
        self._line_end = b""  # the line end that the passed part of it ends in
        self._removed_cr = False  # the removed event ended in CR: a LF right after it is the rest of its line end

    def feed(self, data: bytes) -> bytes:
        """The bytes to pass on now; a piece of complete, ordinary events comes back as the same object."""
        if not (self._held or self._passing or self._removed_cr) and data.endswith((b"\n\n", b"\r\n\r\n")):
            if not _EMPTY_LIST.search(data) or not _EMPTY_CHOICES.search(data):
                return data
        elif not data:
            return data
        return self._sift(data)

    def finish(self) -> bytes:
        """What was held back, unless it is the usage event."""
        held, self._held = self._held, b""
        return b"" if _is_usage_event(held) else held

    def _sift(self, data: bytes) -> bytes:
        if self._removed_cr:
            self._removed_cr = False
            data = data.removeprefix(b"\n")
        data, self._held = self._held + data, b""
        out: list[bytes] = []
        while data:
            if self._passing:
                data = self._pass_on(data, out)
                continue
            event = data.lstrip(b"\r\n")
            if len(event) < len(data):  # blank lines before an event are nobody's
                out.append(data[: len(data) - len(event)])
                data = event
                continue
            end = _EVENT_END.search(data)
            if end is None:
                if _cannot_be_usage(data):
                    self._passing = True
                    continue
                self._held = data
                break
            event, data = data[: end.end()], data[end.end() :]
            if not _is_usage_event(event):
                out.append(event)
            elif not data:
                self._removed_cr = event.endswith(b"\r")
        return b"".join(out)

    def _pass_on(self, data: bytes, out: list[bytes]) -> bytes:
        """Pass ``data`` on up to the end of the event; returns the rest."""
        seen = self._line_end + data
        end = _EVENT_END.search(seen)
        if end is None:
            out.append(data)
            self._line_end = seen[len(seen.rstrip(b"\r\n")) :]
            return b""
        at = end.end() - len(self._line_end)
        out.append(data[:at])
        self._passing, self._line_end = False, b""
        return data[at:]


def _cannot_be_usage(start: bytes) -> bool:
    """True for the start of an event that no continuation makes a usage-only event; once true it stays true."""
    return (
        len(start) > _MAX_USAGE_EVENT_BYTES
        or _NO_OBJECT.match(start) is not None
        or _HAS_CHOICE.search(start) is not None
    )


def _is_usage_event(event: bytes) -> bool:
    if not event or _cannot_be_usage(event):
        return False
    data = data_of(event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n"))
    value = load(data)
    return isinstance(value, dict) and value.get("choices") == [] and isinstance(value.get("usage"), dict)
