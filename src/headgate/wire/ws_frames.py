"""Reading one direction of a WebSocket on the side: its frames (RFC 6455, RFC 7692) become messages.

What passes is not touched. Memory is bounded, nothing raises, and what cannot be understood is noted.
"""

import zlib
from dataclasses import dataclass
from typing import Literal, Protocol

from headgate.wire.pieces import add_piece

Kind = Literal["text", "binary", "close", "ping", "pong"]
MAX_MESSAGE_BYTES = 16 << 20
_FREE_BYTES = 64 << 10
"""The beginning of a message that is not counted against the room that all share."""
_CONTROL: dict[int, Kind] = {8: "close", 9: "ping", 10: "pong"}
_DATA: dict[int, Kind] = {1: "text", 2: "binary"}
_CONTROL_LIMIT = 125
_FIN, _RSV1, _RSV23, _OPCODE, _MASKED, _LENGTH = 0x80, 0x40, 0x30, 0x0F, 0x80, 0x7F
_MESSAGE_END = b"\x00\x00\xff\xff"
_PIECE_BYTES = 256 << 10
_INFLATED_FREE = 16 << 20
_INFLATED_RATIO = 64
"""Deflate reaches 1 : 1000 and JSON some 1 : 20: what inflates further in the long run is there to cost us time."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message or control frame that is complete. ``data``: empty where ``is_whole`` is False, as it was too long."""

    kind: Kind
    data: bytes
    is_whole: bool = True


class Room(Protocol):
    """What may be held beyond the free beginning of each message, by all readers together."""

    left_bytes: int


class Inflater:
    """permessage-deflate of one direction."""

    def __init__(self, *, keeps_context: bool, window_bits: int = 15) -> None:
        self._keeps_context = keeps_context
        self._window_bits = window_bits
        self._stream = zlib.decompressobj(-window_bits)
        self._budget = _INFLATED_FREE
        self.problem: str | None = None  # why nothing that follows can be inflated

    def feed(self, data: bytes, limit_bytes: int) -> list[bytes] | None:
        """What a piece of a message inflates to; None: more than ``limit_bytes``, or it cannot be told any more."""
        if self.problem is not None:
            return None
        self._budget += len(data) * _INFLATED_RATIO
        out: list[bytes] = []
        size = 0
        try:
            while data and not self._stream.eof:
                piece = self._stream.decompress(data, _PIECE_BYTES)
                data = self._stream.unconsumed_tail
                size += len(piece)
                self._budget -= len(piece)
                if self._budget < 0:
                    self.problem = f"its messages inflate to over {_INFLATED_RATIO} times their size"
                    return None
                if size <= limit_bytes:
                    out.append(piece)
                else:
                    out.clear()
            if self._stream.eof and (data or self._stream.unused_data):
                self.problem = "a deflated message goes on behind its end"
                return None
        except zlib.error as error:
            self.problem = f"its deflated messages are damaged: {error}"[:200]
            return None
        return out if size <= limit_bytes else None

    def end(self, limit_bytes: int) -> list[bytes] | None:
        """What is left of a message at its end."""
        out = [] if self._stream.eof else self.feed(_MESSAGE_END, limit_bytes)
        if not self._keeps_context and self.problem is None:
            self._stream = zlib.decompressobj(-self._window_bits)
        elif self._stream.eof and self.problem is None:
            self.problem = "a deflated message ended its stream"
        return out


class FrameReader:
    """Cuts one direction into messages. ``is_masked``: it comes from the client."""

    def __init__(
        self,
        *,
        is_masked: bool,
        inflater: Inflater | None = None,
        room: Room | None = None,
        limit_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._is_masked = is_masked
        self._inflater = inflater
        self._room = room
        self._counted = 0
        self._limit = limit_bytes
        self.problem: str | None = None  # why nothing that follows can be read
        self.unread = 0  # messages that were too long
        self._held = b""  # a part of a frame's head
        self._in_frame = False
        self._left = 0
        self._mask = b""
        self._is_last = self._is_deflated = False
        self._control: Kind | None = None  # of the frame being read
        self._control_data = b""
        self._kind: Kind | None = None  # of the message being read
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_dropped = False

    @property
    def is_between_frames(self) -> bool:
        """Whether a control frame of our own could stand here."""
        return self.problem is None and not self._in_frame and not self._held

    @property
    def is_between_messages(self) -> bool:
        """Whether a message of our own could stand here."""
        return self.is_between_frames and self._kind is None

    @property
    def note(self) -> str | None:
        """What was not read, and why."""
        notes = [self.problem, self._inflater.problem if self._inflater is not None else None]
        if self.unread:
            notes.append(f"{self.unread} message(s) were too long to be read")
        return "; ".join(note for note in notes if note) or None

    @property
    def has_missed(self) -> bool:
        """Whether anything passed that was not read."""
        return self.note is not None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data``, cut anywhere, completes."""
        if self.problem is not None:
            return []
        if self._held:
            data, self._held = self._held + data, b""
        out: list[Message] = []
        at, size = 0, len(data)
        while True:
            if not self._in_frame:
                after = self._begin(data, at)
                if self.problem is not None:
                    self.let_go()
                    break
                if after < 0:
                    self._held = data[at:]
                    break
                at = after
            end = min(size, at + self._left)
            if end > at:
                self._take(data[at:end])
                self._left -= end - at
                at = end
            if self._left:
                break
            self._in_frame = False
            self._end(out)
        return out

    def let_go(self) -> None:
        """Nothing more will be read: what is held is forgotten."""
        self._pieces = []
        if self._room is not None:
            self._room.left_bytes += self._counted
        self._counted = 0

    # A frame: head, payload, end.

    def _begin(self, data: bytes, at: int) -> int:
        """Read the head at ``at``; where its payload begins, or -1: it is not all there."""
        have = len(data) - at
        if have < 2:
            return -1
        first, second = data[at], data[at + 1]
        length, end = second & _LENGTH, at + 2
        self.problem = self._fault(first, second, length)
        if length > _CONTROL_LIMIT:
            width = 2 if length == 126 else 8
            end += width
            length = int.from_bytes(data[at + 2 : end], "big")
        if second & _MASKED:
            end += 4
        if self.problem is not None or len(data) < end:
            return -1
        if length >> 63:
            self.problem = "a frame is too long"
            return -1
        self._mask = data[end - 4 : end] if second & _MASKED else b""
        self._left = length
        self._in_frame = True
        self._open(first)
        return end

    def _fault(self, first: int, second: int, length: int) -> str | None:
        opcode = first & _OPCODE
        if bool(second & _MASKED) != self._is_masked:
            return "a frame is masked as it may not be"
        if first & _RSV23 or first & _RSV1 and (self._inflater is None or opcode not in _DATA):
            return "a frame has reserved bits"
        if opcode in _CONTROL:
            if length > _CONTROL_LIMIT or not first & _FIN:
                return "a control frame is too long or in parts"
        elif opcode in _DATA:
            if self._kind is not None:
                return "a message begins within another"
        elif opcode != 0 or self._kind is None:
            return f"a frame has the opcode {opcode}"
        return None

    def _open(self, first: int) -> None:
        opcode = first & _OPCODE
        self._control = _CONTROL.get(opcode)
        if self._control is not None:
            self._control_data = b""
            return
        self._is_last = bool(first & _FIN)
        if opcode:
            self._kind = _DATA[opcode]
            self._is_deflated = bool(first & _RSV1)
            self._size = 0
            self._is_dropped = False

    def _take(self, data: bytes) -> None:
        if self._mask:
            data = self._unmasked(data)
        if self._control is not None:
            self._control_data += data
        elif self._is_deflated and self._inflater is not None:
            self._keep(self._inflater.feed(data, self._limit - self._size))
        else:
            self._keep([data])

    def _unmasked(self, data: bytes) -> bytes:
        size, mask = len(data), self._mask
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        turn = size % 4
        self._mask = mask[turn:] + mask[:turn]
        return (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")

    def _keep(self, pieces: list[bytes] | None) -> None:
        if self._is_dropped:
            return
        size = self._size + sum(map(len, pieces)) if pieces is not None else 0
        if pieces is None or size > self._limit or not self._has_room(size):
            self._is_dropped = True
            self.let_go()
            return
        for piece in pieces:
            add_piece(self._pieces, piece)
        self._size = size

    def _has_room(self, size: int) -> bool:
        more = size - _FREE_BYTES - self._counted
        if self._room is None or more <= 0:
            return True
        if more > self._room.left_bytes:
            return False
        self._room.left_bytes -= more
        self._counted += more
        return True

    def _end(self, out: list[Message]) -> None:
        if self._control is not None:
            out.append(Message(self._control, self._control_data))
            return
        if not self._is_last:
            return
        if self._is_deflated and self._inflater is not None:
            self._keep(self._inflater.end(self._limit - self._size))
        kind, self._kind = self._kind, None
        assert kind is not None
        data = b"".join(self._pieces)
        self.let_go()
        if self._is_dropped:
            self.unread += 1
            out.append(Message(kind, b"", is_whole=False))
        else:
            out.append(Message(kind, data))


def inflaters(accepted: str) -> tuple[Inflater | None, Inflater | None]:
    """How the client's and the server's messages are deflated, by the `Sec-WebSocket-Extensions` that the server
    accepted. Raises ValueError over an extension that is not known here, or one that cannot be.
    """
    if not accepted.strip():
        return None, None
    name, *given = (part.strip().lower() for part in accepted.split(";"))
    parameters = {key.strip(): value.strip().strip('"') for key, _, value in (part.partition("=") for part in given)}
    if name != "permessage-deflate" or "," in accepted:
        raise ValueError(f"the extension {accepted[:100]} is not read")
    return _inflater(parameters, "client"), _inflater(parameters, "server")


def _inflater(parameters: dict[str, str], side: str) -> Inflater:
    bits = parameters.get(f"{side}_max_window_bits", "15")
    if not bits.isdigit() or not 8 <= int(bits) <= 15:
        raise ValueError(f"permessage-deflate with a window of {bits[:20]} bits is not read")
    # zlib writes no window of 8 bits and reads such data with one of 9.
    return Inflater(keeps_context=f"{side}_no_context_takeover" not in parameters, window_bits=max(9, int(bits)))


def close_of(data: bytes) -> tuple[int | None, str]:
    """Code and reason of a close frame; None: it gives no code."""
    if len(data) < 2:
        return None, ""
    return int.from_bytes(data[:2], "big"), data[2:].decode("utf-8", "replace")


def frame(opcode: int, data: bytes, *, is_masked: bool = False) -> bytes:
    """A whole frame of our own of less than 64 KiB. A mask of zeros is one, and hides nothing that needs hiding."""
    size = len(data)
    flag = _MASKED if is_masked else 0
    head = bytes((_FIN | opcode, flag | (size if size <= _CONTROL_LIMIT else 126)))
    if size > _CONTROL_LIMIT:
        head += size.to_bytes(2, "big")
    return head + (b"\0\0\0\0" if is_masked else b"") + data
