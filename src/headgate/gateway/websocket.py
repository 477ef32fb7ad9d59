"""A WebSocket on its way through: the handshake is a call like any other, then bytes pass untouched both ways.

A copy is read on the side, frame by frame, for the log and for what a key may ask for. No close frame is invented but
one of code 1001 or 1008, where this gateway itself ends the connection between two frames; else it is cut.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from headgate.core.errors import Forbidden, HeadgateError, MalformedRequest
from headgate.core.ids import monotonic_ns, monotonic_s, now_us
from headgate.gateway import record
from headgate.gateway.auth import check_model, principal_of
from headgate.gateway.copies import Copy
from headgate.gateway.head import STATUS_LINES, Headers
from headgate.gateway.intake import describe
from headgate.gateway.outgoing import Outgoing
from headgate.gateway.relay import Relay
from headgate.gateway.route import check_path
from headgate.gateway.socket_connection import SocketConnection
from headgate.gateway.socket_guard import SocketGuard
from headgate.gateway.socket_handshake import joins_another, model_asked, prepared, with_model
from headgate.gateway.socket_lines import Lines
from headgate.gateway.sockets import half_close, peer_has_closed
from headgate.gateway.tee import SocketTee
from headgate.gateway.turns import Turns
from headgate.gateway.upstream import UpstreamConnection
from headgate.gateway.worker import UpstreamHandle
from headgate.spool.record import Outcome
from headgate.wire.envelope import error_body
from headgate.wire.ws_frames import FrameReader, Message, close_of, frame, inflaters

if TYPE_CHECKING:
    from headgate.gateway.edge import EdgeProtocol

__all__ = ["SocketRelay", "prepared", "take_over"]
_logger = logging.getLogger("headgate.gateway")
_NEVER = float("inf")
_SWITCH = (b"connection: Upgrade", b"upgrade: websocket")
_EARLY_LIMIT = 64 << 10
_CLOSING_S = 2.0
_HELD_BACK_S = 1.0
_REASON_LIMIT = 123
_GOING_AWAY, _POLICY = 1001, 1008
_GOOD_CODES = (None, 1000, 1001)
_TEXT, _CLOSE = 1, 8
_ENDPOINTS = {b"/responses": "openai.responses", b"/realtime": "openai.realtime"}
_MADE_ANEW = (b"prompt", b"vars", b"kb")


def take_over(edge: "EdgeProtocol", relay: Relay | None, rest: bytes) -> None:
    """From here on the client's bytes are frames; ``rest``: those that came with the handshake."""
    if not isinstance(relay, SocketRelay) or relay.is_finished:
        return  # refused: the connection is closing
    edge.transport.set_protocol(_ClientSide(edge, relay))
    if rest:
        relay.client_data(rest)


class _ClientSide(asyncio.Protocol):
    """The client's connection after its handshake."""

    def __init__(self, edge: "EdgeProtocol", relay: "SocketRelay") -> None:
        self._edge = edge
        self._relay = relay

    def data_received(self, data: bytes) -> None:
        self._relay.client_data(data)

    def pause_writing(self) -> None:
        self._edge.pause_writing()

    def resume_writing(self) -> None:
        self._edge.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._edge.connection_lost(exc)


class SocketRelay(Relay):
    """One WebSocket, from its handshake to its record."""

    _connection_kind = SocketConnection

    def _clear(self) -> None:
        super()._clear()
        self.reply.keep_alive = False
        self._early = bytearray()  # what the client sent before the upstream switched
        self._is_held_back = False  # the upstream reads slowly, so the client is not read
        self._held_until_s = _NEVER
        self._closed: tuple[str, int | None, str] | None = None  # by whom first, code, reason
        self._guard: SocketGuard | None = None
        self._snapshot = self.worker.snapshot
        self._turns: Turns | Lines | None = None
        self._readers = (FrameReader(is_masked=True), FrameReader(is_masked=False))
        self._undurable: list[bytes] = []  # what waits for a record to be on disk (durability group)
        self._is_waiting = self._lingers = False

    # The handshake.

    def admit(self) -> None:
        """Read the head and plan its attempts. Raises RequestError."""
        self.check_load()
        worker, head, asked, place = self.worker, self.head, self.asked, self.place
        principal = self.principal = principal_of(head, worker.snapshot)
        asked.model, asked.stream = model_asked(self.target), True
        describe(asked, head, principal)
        if asked.capture != "none":
            asked.identity.setdefault("session_id", asked.request_id)  # by which its responses are found
        self.check_place()
        if any(name in head.own for name in _MADE_ANEW):
            raise MalformedRequest(
                "stored prompts and knowledge bases cannot be called over a WebSocket.", code="prompt_conflict"
            )
        self._guard = SocketGuard(self, principal)
        if self._guard.is_strict:
            self._check_limited(asked.model)
        if not self.is_list_of_models:
            self.follow(worker.plan(place.endpoint.dialect, asked.model))

    def _check_limited(self, model: str | None) -> None:
        """A key limited to models: Responses name theirs in each message, others when they connect."""
        assert self.principal is not None
        if self.place.rest not in _ENDPOINTS or joins_another(self.target):
            raise Forbidden(
                f"key {self.principal.id} is limited to models, and no model can be read from this WebSocket.",
                code="model_unreadable",
                hint="Use a key without --models.",
            )
        if model is not None or self.place.rest == b"/realtime":
            check_model(self.principal, model)

    def _try_next(self) -> None:
        assert self.attempts is not None
        target = self.attempts.target
        handle = self.handle = self.worker.handle(target.upstream)
        check_path(handle.upstream, self.place.rest)
        self.status = None
        self.sent = self._outgoing(handle, target.model)
        if not self.has_start:
            self._write_start(handle)
        self.attempts.begin()
        self._start_task(self._dial(handle))

    def _outgoing(self, handle: UpstreamHandle, model: str | None) -> Outgoing:
        target = self.target if model is None else with_model(self.target, model)
        head = self.head.build(
            self.method,
            b"".join((handle.origin.base_path, self.place.rest, *target.partition(b"?")[1:])),
            handle.host,
            0,
            credential=handle.credential(),
            keeps_caller=handle.upstream.auth == "caller",
            extra=(*handle.extra, *_SWITCH),
        )
        return Outgoing(head, b"", is_changed=False, has_injected_usage=False)

    def upstream_head(self, connection: UpstreamConnection) -> None:
        """The upstream's answer: it switches, or this is an answer like any other."""
        if connection.status != 101:
            super().upstream_head(connection)
            return
        assert self.attempts is not None and self.handle is not None
        self.attempts.note(101, None)
        self.status = 101
        head = self.response_head = connection.head
        self.tee = SocketTee("other", head, Copy(self.worker.copies, 0))
        self._open_readers(connection.headers)
        endpoint = _ENDPOINTS.get(self.place.rest)
        if endpoint is not None and self.place.endpoint.dialect == "openai":
            self._turns = Turns(self, endpoint)
        else:
            self._turns = Lines(self)
        self.reply.is_open = True
        self._phase = "open"
        lines = [line for line in head.lines if line.partition(b":")[0].lower() != b"content-length"]
        own = b"x-headgate-request-id: %b\r\n" % self.asked.request_id.encode()
        switch = b"".join(line + b"\r\n" for line in _SWITCH)
        self._client.transport.write(b"".join((STATUS_LINES[101], *lines, own, self.handle.name_line, switch, b"\r\n")))
        self.renew(monotonic_s())  # its key may have ended by now, which can be said in frames only
        early, self._early = bytes(self._early), bytearray()
        if early:
            self._client.resume_body()
            self.client_data(early)

    def _open_readers(self, headers: Headers) -> None:
        accepted = b", ".join(value for name, value in headers if name.lower() == b"sec-websocket-extensions")
        room = self.worker.copies
        try:
            ours, theirs = inflaters(accepted.decode("latin-1"))
        except ValueError as error:
            for reader in self._readers:
                reader.problem = str(error)
            return
        self._readers = (
            FrameReader(is_masked=True, inflater=ours, room=room),
            FrameReader(is_masked=False, inflater=theirs, room=room),
        )

    # Both ways.

    def client_data(self, data: bytes) -> None:
        """Bytes of the client, as they came."""
        if self._phase != "open" or self._connection is None:
            if self._phase not in ("open", "closing") and not self.is_recorded:
                self._early += data
                if len(self._early) > _EARLY_LIMIT:
                    self._client.pause_body()
            return
        if not self._is_still_allowed():
            return
        self.has_moved = True
        self.body_bytes += len(data)
        try:
            self._read_client(data)
        except HeadgateError as error:
            self._refuse_message(error)
        else:
            self._connection.transport.write(data)

    def _read_client(self, data: bytes) -> None:
        """Raises HeadgateError over what may not pass."""
        reader = self._readers[0]
        try:
            for message in reader.feed(data):
                self._client_said(message)
        except HeadgateError:
            raise
        except Exception:  # border: request. What cannot be followed for the log passes, where the key is not limited.
            self._give_up_reading()
        if self._guard is not None:
            self._guard.check_readable(reader.has_missed)

    def _client_said(self, message: Message) -> None:
        if self._guard is not None:
            self._guard.check(message)
        if message.kind == "close" and self._closed is None:
            self._closed = ("client", *close_of(message.data))
        elif message.kind == "text" and message.is_whole and self._turns is not None:
            fault = self.worker.fault_of_disk()
            if fault is not None:
                raise fault
            self._turns.client_said(message.data)

    def upstream_data(self, connection: UpstreamConnection, pieces: list[bytes], is_last: bool) -> None:
        """Bytes of the server, as they came; those that end a response wait for its record."""
        if self._phase != "open":
            if self._phase != "closing":
                super().upstream_data(connection, pieces, is_last)
            return
        self.has_moved = True
        data = b"".join(pieces)
        if self.tee is not None and not self.is_recorded:
            self.tee.feed(data)
        has_record = False
        try:
            for message in self._readers[1].feed(data):
                has_record = self._server_said(message) or has_record
        except Exception:  # border: request. What cannot be followed for the log passes all the same.
            self._give_up_reading()
        if has_record and self.worker.is_group or self._is_waiting:
            self._wait_for_disk(data)
        else:
            self._client.transport.write(data)

    def _server_said(self, message: Message) -> bool:
        if message.kind == "close":
            if self._closed is None:
                self._closed = ("server", *close_of(message.data))
            self._write_end()
            return True
        if message.kind != "text" or not message.is_whole or self._turns is None:
            return False
        return self._turns.server_said(message.data)

    def _give_up_reading(self) -> None:
        _logger.exception("the messages of request %s cannot be followed", self.asked.request_id)
        for reader in self._readers:
            reader.problem = reader.problem or "a defect of the gateway; its log has the details"

    def _wait_for_disk(self, data: bytes) -> None:
        self._undurable.append(data)
        if not self._is_waiting:
            self._is_waiting = True
            if self._connection is not None:
                self._connection.pause()
            self.worker.spool.when_durable(self._on_disk)

    def _on_disk(self) -> None:
        self._is_waiting = False
        held, self._undurable = self._undurable, []
        if not self._client.transport.is_closing():
            self._client.transport.write(b"".join(held))
        if self._lingers:
            half_close(self._client.transport)
        elif self._phase == "closing":
            self._finish()
        elif self._connection is not None and not self._is_paused:
            self._connection.resume()

    def upstream_reads_slowly(self, is_slow: bool) -> None:
        """The upstream has stopped, or begun again, to take what the client sends."""
        if is_slow and not self._is_held_back:
            self._is_held_back = True
            self._held_until_s = monotonic_s() + self._idle_s
            self.deadline_s = monotonic_s() + _HELD_BACK_S
            self._client.pause_body()
        elif not is_slow and self._is_held_back:
            self._is_held_back = False
            self.renew(monotonic_s())
            self._client.resume_body()

    # Endings.

    @property
    def _idle_s(self) -> float:
        assert self.handle is not None
        return self.handle.upstream.timeout.between_bytes_s

    def _write_end(self, outcome: Outcome | None = None, kind: str | None = None, text: str | None = None) -> None:
        """Write the row of the connection and of what it leaves open. No outcome: as the close frame says."""
        if self.is_recorded:
            return
        self.last_byte_ns = monotonic_ns()
        if self._closed is not None:
            side, code, reason = self._closed
            if isinstance(self.tee, SocketTee):
                self.tee.finish_reason = f"close_{code or 1005}"
            if outcome is None or side == "client" and outcome in ("client_closed", "upstream_aborted"):
                is_good = code in _GOOD_CODES
                outcome = "ok" if is_good else "client_closed" if side == "client" else "upstream_error"
                kind = None if is_good else f"close_{code}"
                text = None if is_good else f"the {side} closed with code {code}: {reason}"
        if isinstance(self.tee, SocketTee):
            self.tee.socket_note = self._note()
        turns, self._turns = self._turns, None  # what may still pass is not followed
        if turns is not None:
            is_servers = self._closed is not None and self._closed[0] == "server"
            cut: Outcome = "upstream_aborted" if is_servers else "client_closed"
            turns.end(cut if outcome in ("ok", None) else outcome, kind, text)
        record.write(self, outcome or "ok", kind, text)

    def _let_go(self) -> None:
        for reader in self._readers:
            reader.let_go()
        super()._let_go()

    def _note(self) -> str | None:
        sides = zip(("client", "server"), self._readers, strict=True)
        notes = [f"{side}: {reader.note}" for side, reader in sides if reader.note]
        if self._turns is not None and self._turns.missed:
            notes.append(f"{self._turns.missed} response(s) were not followed: too many at once")
        return "; ".join(notes) or None

    def upstream_broken(self, connection: UpstreamConnection, reason: str) -> None:
        """The upstream's connection is gone."""
        if self._phase not in ("open", "closing"):
            super().upstream_broken(connection, reason)
            return
        self._connection = None
        if self._phase == "closing":
            return
        assert self.handle is not None
        self._write_end("upstream_aborted", "upstream_aborted", f'upstream "{self.handle.upstream.name}" {reason}')
        self._phase = "closing"
        if not self._is_waiting:
            self._finish()

    def client_gone(self) -> None:
        """The client's connection is gone: the upstream's goes too."""
        connection = self._connection
        if self._closed is not None and connection is not None and not connection.is_write_paused:
            connection.sink = None
            connection.transport.close()  # what the client said last still goes out
            self._connection = None
        self._stop_upstream()
        if self._phase == "open":
            self._write_end("client_closed", "client_closed", "the client closed the connection")
        elif not self.is_recorded:
            self.last_byte_ns = monotonic_ns()
            record.write(self, "client_closed", "client_closed", "the client closed the connection")
        self._finish()

    def stop(self) -> None:
        """The gateway stops and can wait no longer."""
        if self._phase != "open":
            super().stop()
            return
        self._write_end("interrupted", "gateway_stopped", "the gateway stopped before the connection's end")
        self._say_goodbye(_GOING_AWAY, "headgate: the gateway stops")
        self._client.transport.close()
        self._finish()

    def _refuse_message(self, error: HeadgateError) -> None:
        """Say why a message does not pass, and end the connection; the upstream never gets the whole of it."""
        self._write_end("refused", error.code, str(error))
        if self._readers[1].is_between_messages:
            body = error_body(error, self.place.endpoint.dialect, self.asked.request_id)
            said = b'{"type":"error","status":%d,%b' % (error.status, body[1:])
            self._tell_client(frame(_TEXT, said))
        self._say_goodbye(_POLICY, f"headgate: {error.code}")
        self._linger()

    def _say_goodbye(self, code: int, reason: str) -> None:
        """Close both sides, where a frame of our own can stand; else they see a cut."""
        ours, theirs = self._readers
        data = code.to_bytes(2, "big") + reason.encode("utf-8", "replace")[:_REASON_LIMIT]
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.sink = None
            if ours.is_between_frames and not connection.is_write_paused and code == _GOING_AWAY:
                connection.transport.write(frame(_CLOSE, data, is_masked=True))
                connection.transport.close()
            else:
                connection.transport.abort()
        if theirs.is_between_frames and self._closed is None:
            self._tell_client(frame(_CLOSE, data))

    def _tell_client(self, data: bytes) -> None:
        """A frame of our own, behind what still waits for its record."""
        if self._is_waiting:
            self._undurable.append(data)
        else:
            self._client.transport.write(data)

    def _linger(self) -> None:
        """Let the client read what was said: closing with bytes unread would take it away."""
        self._phase, self._lingers = "closing", True
        self.deadline_s = monotonic_s() + _CLOSING_S
        if self._is_held_back:
            self._client.resume_body()
        if not self._is_waiting:
            half_close(self._client.transport)

    def renew(self, now_s: float) -> None:
        """Bytes came since the last sweep."""
        if self._phase != "open":
            super().renew(now_s)
            return
        if not self._is_still_allowed():
            return
        if not self._is_paused and not self._is_held_back:
            self.deadline_s = now_s + self._idle_s

    def _is_still_allowed(self) -> bool:
        """Keys are revoked and expire while a connection lasts; it goes on under what holds now."""
        snapshot = self.worker.snapshot
        expires_at_us = None if self.principal is None else self.principal.expires_at_us
        if snapshot is self._snapshot and (expires_at_us is None or now_us() < expires_at_us):
            return True
        self._snapshot = snapshot
        try:
            self.principal = principal_of(self.head, snapshot)
            if self.principal.models:
                self._check_limited(self.asked.model)
        except HeadgateError as error:
            self._refuse_message(error)
            return False
        self._guard = SocketGuard(self, self.principal)
        return True

    def deadline_passed(self) -> None:
        """The deadline of the current phase has passed."""
        if self._phase == "closing":
            self._client.transport.abort()  # client_gone follows
        elif self._phase != "open":
            super().deadline_passed()
        elif self._is_paused:
            self._write_end("client_closed", "client_stalled", "the client read nothing for too long")
            self._client.transport.abort()
        elif self._is_held_back and self._may_be_held_longer():
            self.deadline_s = monotonic_s() + _HELD_BACK_S
        else:
            text = f"nothing passed for {self._idle_s:g} s"
            self._write_end("timeout", "upstream_stalled", text)
            self._say_goodbye(_GOING_AWAY, f"headgate: {text}")
            self._linger()

    def _may_be_held_longer(self) -> bool:
        """While the client is not read, its end is not seen either, unless one looks."""
        if peer_has_closed(self._client.transport):
            self._client.transport.abort()  # client_gone follows
            return True
        return monotonic_s() < self._held_until_s
