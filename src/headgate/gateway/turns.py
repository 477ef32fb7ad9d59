"""The responses of one WebSocket: each becomes a row of its own, with its model, its usage and what was said.

One connection carries many responses, of several models and at once, so that a sum of them could not be priced: prices
depend on the model and on the size of each call.
"""

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.core.ids import monotonic_ns, now_us, uuid7
from headgate.gateway import record
from headgate.gateway.copies import Copy
from headgate.spool.record import Attempt, Capture, FinalRecord, Outcome, StartRecord
from headgate.wire.fold_openai import RESPONSE_ENDS, ResponsesStreamFold
from headgate.wire.folded import NOTHING, Folded, error_of, usage_text
from headgate.wire.loose import UNREADABLE, dump, load, text_or_none

if TYPE_CHECKING:
    from headgate.gateway.websocket import SocketRelay

_AT_ONCE = 64
_ENDED_LIMIT = 256
_TEXT_LIMIT = 1024
_HEARD = "conversation.item.input_audio_transcription."
_AUDIO = frozenset(("input_audio_buffer.append", "response.output_audio.delta", "response.audio.delta"))
"""Base64 of sound, 64 KB a second and more: it would take the room of all that can be read."""


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    event_id: Any = None
    stream_id: Any = None
    response_id: Any = None
    item_id: Any = None
    status: Any = None
    model: Any = None
    transcript: Any = None
    response: msgspec.Raw = NOTHING
    session: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING
    usage: msgspec.Raw = NOTHING


class _Transcriber(msgspec.Struct, gc=False):
    model: str | None = None


class _Input(msgspec.Struct, gc=False):
    transcription: _Transcriber | None = None


class _Audio(msgspec.Struct, gc=False):
    input: _Input | None = None


class _Session(msgspec.Struct, gc=False):
    """What a session says of its models; the one that transcribes stood elsewhere in the beta (seen 2026-11)."""

    model: str | None = None
    audio: _Audio | None = None
    input_audio_transcription: _Transcriber | None = None


class _Named(msgspec.Struct, gc=False):
    """A response, a session or an error, as far as it is looked at."""

    id: Any = None
    model: Any = None
    event_id: Any = None


_decode = msgspec.json.Decoder(_Event).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_session = msgspec.json.Decoder(_Session).decode
_PLAIN = tuple(name for name in _Event.__struct_fields__ if getattr(_Event(), name) is None)
_RAW = tuple(name for name in _Event.__struct_fields__ if name not in _PLAIN)


def _read(data: bytes) -> _Event | None:
    try:
        return _decode(data)
    except UNREADABLE:
        value = load(data)
    if not isinstance(value, dict):
        return None
    event = _Event()
    for key in _PLAIN:
        setattr(event, key, value.get(key))
    for key in _RAW:
        if key in value:
            setattr(event, key, msgspec.Raw(dump(value[key]).encode()))
    return event


def _named(raw: msgspec.Raw) -> _Named:
    try:
        return _decode_named(raw)
    except UNREADABLE:
        value = load(bytes(raw))
        return (
            _Named(**{key: value.get(key) for key in ("id", "model", "event_id")}) if type(value) is dict else _Named()
        )


class Turn:
    """One response: asked for by the client, or begun by the server; or a transcription of what the client said."""

    def __init__(self, turns: "Turns", request: list[Copy], model: str | None) -> None:
        relay = turns.relay
        self.started_ns = monotonic_ns()
        self.event_id: str | None = None
        self.model: str | None = None  # as the session says, where nothing else does
        self.lane: str | None = None
        self.response_id: str | None = None
        self.identity: dict[str, Any] = dict(relay.asked.identity)
        started_at_us = now_us()
        self.identity.update(
            request_id=uuid7(started_at_us),
            started_at_us=started_at_us,
            sequence=relay.worker.spool.next_sequence(),
            endpoint=turns.endpoint,
        )
        if model is not None:
            self.identity["model_requested"] = model[:_TEXT_LIMIT]
        self.request = request
        self.response = Copy(relay.worker.copies, turns.copy_bytes)
        self.fold = ResponsesStreamFold()
        self.heard: Folded | None = None  # what a transcription said of itself
        self.first_ns = 0
        self.received_bytes = 0
        self.audio_messages = 0
        self.status: int | None = None
        relay.worker.spool.append_start(StartRecord(**self.identity))

    def take(self, kind: str, data: bytes) -> None:
        """An event of this response."""
        self.received_bytes += len(data)
        if not self.first_ns and kind.endswith(".delta"):
            self.first_ns = monotonic_ns()
        if kind in _AUDIO:
            self.audio_messages += 1
            return
        self.fold.on_data(data, b"")
        self.response.add(b"data: %b\n\n" % data.replace(b"\n", b"\ndata: "))


class Turns:
    """Follows what both sides say. ``endpoint``: what the rows are called."""

    def __init__(self, relay: "SocketRelay", endpoint: str) -> None:
        self.relay = relay
        self.endpoint = endpoint
        self.copy_bytes = relay.worker.capture_bytes if relay.asked.capture == "full" else 0
        self.recorded = 0
        self.missed = 0  # responses that were not followed
        self._is_session = endpoint == "openai.realtime"  # what is said before a response is its request
        self._model: str | None = relay.asked.model
        self._asked: deque[Turn] = deque()  # for, and not begun by the server
        self._by_id: dict[str, Turn] = {}
        self._by_lane: dict[str | None, Turn] = {}
        self._ended: deque[str] = deque(maxlen=_ENDED_LIMIT)  # whose rows are written: some servers end them twice
        self._transcriber: str | None = None
        self._hearing: dict[str, Turn] = {}
        self._said: list[Copy] = []
        self._said_audio = 0

    def client_said(self, data: bytes) -> None:
        """A message of the client, before it is passed on."""
        event = _read(data)
        if event is None:
            return
        if not isinstance(event.type, str):
            event.type = None
        self._keep_said(event, data)
        if event.type != "response.create":
            return
        asked = text_or_none(event.model)
        turn = self._begin_said() if self._is_session else self._begin([self._copy_of(data)], asked)
        if turn is not None:
            turn.event_id, turn.lane = text_or_none(event.event_id), text_or_none(event.stream_id)
            self._asked.append(turn)

    def server_said(self, data: bytes) -> bool:
        """A message of the server, before it is passed on; True: a row was written."""
        event = _read(data)
        if event is None or not isinstance(event.type, str):
            return False
        kind = event.type
        if kind.startswith(_HEARD):
            return self._on_heard(event, kind.removeprefix(_HEARD), data)
        if kind.startswith("session."):
            self._on_session(event)
        elif kind == "error":
            return self._failed(event, data)
        elif kind.startswith("response."):
            turn = self._turn_of(event)
            if turn is not None:
                turn.take(kind, data)
                if kind in RESPONSE_ENDS:
                    self._record(turn)
                    return True
        return False

    def end(self, outcome: Outcome, error_type: str | None, message: str | None) -> None:
        """The connection is over: what has not ended ends with it."""
        for turn in (*self._by_id.values(), *self._asked, *self._hearing.values()):
            self._write(turn, outcome, error_type, message)
        self._asked.clear()
        self._by_id.clear()
        self._hearing.clear()
        self._by_lane.clear()
        for copy in self._said:
            copy.let_go()

    # Which response an event belongs to.

    def _turn_of(self, event: _Event) -> Turn | None:
        lane = text_or_none(event.stream_id)
        named = _named(event.response) if event.response is not NOTHING else None
        response_id = text_or_none(event.response_id) or (text_or_none(named.id) if named is not None else None)
        if response_id is None:
            return self._by_lane.get(lane)
        turn = self._by_id.get(response_id)
        if turn is None and named is not None and response_id not in self._ended:
            turn = self._first_asked(lane) or self._begin_said()
            if turn is not None:
                turn.response_id, turn.status = response_id, 200
                turn.lane = lane
                self._by_id[response_id] = self._by_lane[lane] = turn
        return turn

    def _first_asked(self, lane: str | None, event_id: str | None = None) -> Turn | None:
        """The oldest that was asked for on ``lane``, or by ``event_id``; it is asked for no longer."""
        for turn in self._asked:
            if turn.lane == lane and event_id in (None, turn.event_id):
                self._asked.remove(turn)
                return turn
        return None

    def _failed(self, event: _Event, data: bytes) -> bool:
        """An error: of what was asked for, or of what goes on. In a session the latter survives it."""
        lane = text_or_none(event.stream_id)
        turn = self._first_asked(lane, text_or_none(_named(event.error).event_id))
        if turn is None and not self._is_session:
            turn = self._by_lane.get(lane)
        if turn is None:
            return False
        turn.take("error", data)
        if turn.status is None and isinstance(event.status, int) and 400 <= event.status < 600:
            turn.status = event.status
        self._record(turn)
        return True

    # What was heard: a model of its own, with its own price.

    def _on_session(self, event: _Event) -> None:
        try:
            session = _decode_session(event.session)
        except UNREADABLE:
            return
        self._model = session.model or self._model
        heard_by = session.input_audio_transcription
        if session.audio is not None and session.audio.input is not None:
            heard_by = session.audio.input.transcription or heard_by
        if heard_by is not None:
            self._transcriber = heard_by.model or self._transcriber

    def _on_heard(self, event: _Event, step: str, data: bytes) -> bool:
        item = text_or_none(event.item_id) or ""
        turn = self._hearing.get(item)
        if turn is None:
            turn = self._begin([], self._transcriber)
            if turn is None:
                return False
            turn.status = 200
            self._hearing[item] = turn
        turn.take(f"{_HEARD}{step}", data)
        if step not in ("completed", "failed"):
            return False
        if step == "completed":
            self._keep_said(event, data)
        del self._hearing[item]
        error_type, message = error_of(event.error) if event.error is not NOTHING else (None, None)
        said = event.transcript if isinstance(event.transcript, str) else ""
        turn.heard = Folded(
            usage_raw=usage_text(event.usage),
            output_chars=len(said),
            finish_reason=step,
            error_type=error_type,
            error_message=message,
        )
        self._record(turn)
        return True

    # Its request.

    def _copy_of(self, data: bytes) -> Copy:
        copy = Copy(self.relay.worker.copies, self.copy_bytes)
        copy.add(data)
        return copy

    def _keep_said(self, event: _Event, data: bytes) -> None:
        if not self._is_session:
            return
        if event.type in _AUDIO:
            self._said_audio += 1
            return
        if not self._said:
            self._said.append(Copy(self.relay.worker.copies, self.copy_bytes))
        copy = self._said[0]
        copy.add(b"%b%b" % (b",\n" if copy.byte_count else b"[", data))

    def _begin_said(self) -> Turn | None:
        """A response to all that was said since the one before."""
        said, self._said = self._said, []
        audio, self._said_audio = self._said_audio, 0
        turn = self._begin(said, None)
        if turn is not None:
            turn.model, turn.audio_messages = self._model, audio
        return turn

    def _begin(self, request: list[Copy], model: str | None) -> Turn | None:
        if len(self._by_id) + len(self._asked) + len(self._hearing) >= _AT_ONCE and not self._gives_way():
            self.missed += 1
            for copy in request:
                copy.let_go()
            return None
        return Turn(self, request, model)

    def _gives_way(self) -> bool:
        """Whether the oldest that was asked for and never begun is over: it hides none that is begun."""
        if not self._asked:
            return False
        text = f"the server began none of {_AT_ONCE} responses"
        self._write(self._asked.popleft(), "upstream_error", "unanswered", text)
        return True

    # Its row.

    def _record(self, turn: Turn) -> None:
        if turn.response_id is not None:
            self._by_id.pop(turn.response_id, None)
            self._ended.append(turn.response_id)
        if self._by_lane.get(turn.lane) is turn:
            del self._by_lane[turn.lane]
        self._write(turn, None, None, None)

    def _write(self, turn: Turn, outcome: Outcome | None, error_type: str | None, message: str | None) -> None:
        relay = self.relay
        folded = turn.heard or turn.fold.finish()
        final = FinalRecord(**turn.identity)
        has_failed = folded.error_type is not None or folded.finish_reason == "failed"
        final.outcome = outcome or ("upstream_error" if has_failed else "ok")
        final.status = turn.status
        final.latency_us = (monotonic_ns() - turn.started_ns) // 1000
        final.ttft_us = (turn.first_ns - turn.started_ns) // 1000 if turn.first_ns else None
        self._add_said(turn, final, folded)
        final.attempts = [
            Attempt(
                upstream=final.upstream or "",
                model=final.model,
                status=turn.status,
                error_type=error_type,
                latency_us=final.latency_us,
            )
        ]
        final.error_type = error_type or folded.error_type
        said = message or folded.error_message
        if said is not None and relay.asked.capture == "full":
            final.error_message = record.clean_text(relay, said)
        final.request_bytes = sum(copy.byte_count for copy in turn.request)
        final.response_bytes = turn.received_bytes
        request, response = self._bodies(turn, final)
        relay.worker.count(final.outcome)
        relay.worker.spool.append_final(final, request, b"", [response])
        self.recorded += 1
        for copy in (*turn.request, turn.response):
            copy.let_go()

    def _add_said(self, turn: Turn, final: FinalRecord, folded: Folded) -> None:
        relay = self.relay
        final.model = folded.model or turn.model or final.model_requested
        final.response_id = folded.response_id
        final.service_tier = folded.service_tier
        final.finish_reason = folded.finish_reason
        final.usage_raw = folded.usage_raw
        final.output_chars = folded.output_chars
        final.fold_note = folded.note
        if relay.response_head is not None:
            final.upstream_request_id = relay.response_head.upstream_request_id
        if folded.response_id is not None and relay.worker.has_several("openai") and final.upstream is not None:
            relay.worker.owners().note(folded.response_id, final.upstream)

    def _bodies(self, turn: Turn, final: FinalRecord) -> tuple[bytes, bytes]:
        relay = self.relay
        if relay.asked.capture != "full":
            final.capture = "none" if relay.asked.capture == "none" else "metadata"
            if final.usage_raw is None:
                final.prompt_chars = final.request_bytes
            return b"", b""
        notes = [copy.note("request") for copy in turn.request] + [turn.response.note("answer")]
        if turn.audio_messages:
            notes.append(f"the sound in {turn.audio_messages} message(s) is left out")
        capture: Capture = "full"
        if any(notes):
            capture = "truncated"
            final.fold_note = "; ".join(note for note in (final.fold_note, *notes) if note)
        final.capture = capture
        final.request_content_type = "application/json"
        final.response_content_type = "text/event-stream"
        request = b"".join(piece for copy in turn.request for piece in copy.pieces)
        if self._is_session:
            request = request + b"]" if request else b"[]"
        response = b"".join(turn.response.pieces)
        return record.without_secrets(relay, request), record.without_secrets(relay, response)
