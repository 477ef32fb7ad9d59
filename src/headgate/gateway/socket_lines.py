"""What is kept of a WebSocket whose events mean nothing here: the text messages of each side, a line each."""

from typing import TYPE_CHECKING

from headgate.gateway.copies import Copy
from headgate.spool.record import Outcome
from headgate.wire.loose import load

if TYPE_CHECKING:
    from headgate.gateway.websocket import SocketRelay

_SOUND = ("audio.append", "audio.delta")
_MEDIA_TYPE = "application/jsonl"


class _Said(Copy):
    """The lines of one side."""

    __slots__ = ("left_out", "other")

    def __init__(self, relay: "SocketRelay") -> None:
        limit = relay.worker.capture_bytes if relay.asked.capture == "full" else 0
        super().__init__(relay.worker.copies, limit)
        self.left_out = 0
        self.other: _Said | None = None

    def add_line(self, data: bytes) -> None:
        if _is_sound(data):
            self.left_out += 1
        else:
            self.add(data.replace(b"\n", b" ") + b"\n")

    def note(self, what: str) -> str | None:
        """What is missing here and on the other side."""
        notes = [super().note(what), self.other.note("request") if self.other is not None else None]
        if self.left_out:
            notes.append(f"{what}: the sound in {self.left_out} message(s) is left out")
        return "; ".join(note for note in notes if note) or None


def _is_sound(data: bytes) -> bool:
    """By its type; only a long message is looked at."""
    if len(data) < 1024:
        return False
    event = load(data)
    kind = event.get("type") if isinstance(event, dict) else None
    return isinstance(kind, str) and kind.endswith(_SOUND)


class Lines:
    """Both sides of one connection, told like `headgate.gateway.turns.Turns`."""

    missed = 0

    def __init__(self, relay: "SocketRelay") -> None:
        self._relay = relay
        self._client, self._server = _Said(relay), _Said(relay)
        self._server.other = self._client

    def client_said(self, data: bytes) -> None:
        """A message of the client."""
        self._client.add_line(data)

    def server_said(self, data: bytes) -> bool:
        """A message of the server; it ends nothing."""
        self._server.add_line(data)
        return False

    def end(self, outcome: Outcome, error_type: str | None, message: str | None) -> None:
        """The connection is over: its row gets what was said."""
        relay, server = self._relay, self._server
        if relay.tee is None or relay.response_head is None:
            return
        server.byte_count, relay.tee.copy = relay.tee.copy.byte_count, server
        relay.body = b"".join(self._client.pieces)
        self._client.let_go()
        relay.head.noted[b"content-type"] = _MEDIA_TYPE.encode()
        relay.response_head.media_type = _MEDIA_TYPE
