"""The life of one request: admit, route, send, relay, record. A state machine, one per request.

No task is created on the usual path: callbacks of the client connection (`EdgeProtocol`) and of the upstream connection
move it on. Nothing is tried again once a byte of an answer has gone to the client.
"""

import asyncio
import logging
import ssl

from headgate.core.errors import (
    HeadgateError,
    MalformedRequest,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from headgate.core.ids import monotonic_ns, monotonic_s
from headgate.gateway import record
from headgate.gateway.copies import Copy
from headgate.gateway.head import ResponseHead
from headgate.gateway.incoming import UPLOAD_IDLE_S
from headgate.gateway.models import answer_models
from headgate.gateway.outgoing import Outgoing, outgoing_for
from headgate.gateway.receiving import Receiving
from headgate.gateway.route import check_path
from headgate.gateway.tee import Tee
from headgate.gateway.upstream import UpstreamConnection
from headgate.gateway.worker import UpstreamHandle
from headgate.spool.record import Outcome, StartRecord
from headgate.wire.sse import UsageEventFilter

_logger = logging.getLogger("headgate.gateway")
_NEVER = float("inf")
_HELD_LIMIT = 64 << 10
_STALE_NS = 250_000_000
_CLIENT_STALL_S = 300.0


class Relay(Receiving):
    """One request on a client connection, from its head to its record."""

    _connection_kind: type[UpstreamConnection] = UpstreamConnection

    __slots__ = (
        "_connection",
        "_filter",
        "_held",
        "_is_abandoned",
        "_is_paused",
        "_is_retry",
        "_kept",
        "_sent_at_ns",
        "_task",
        "has_moved",
        "has_start",
        "response_head",
        "sent",
        "tee",
        "upstream_started_ns",
    )

    def _clear(self) -> None:
        super()._clear()
        self._is_paused = False
        self._is_abandoned = False  # the client left, the upstream may finish
        self.sent: Outgoing | None = None
        self.response_head: ResponseHead | None = None
        self.tee: Tee | None = None
        self.has_start = False
        self.upstream_started_ns = 0
        self._is_retry = False
        self._sent_at_ns = 0
        self._connection: UpstreamConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._filter: UsageEventFilter | None = None
        self._held: list[bytes] | None = None
        self._kept: bytes | None = None  # the end of a stream, until its record is on disk (durability group)
        self.has_moved = False

    # The request is here.

    def begin(self) -> None:
        """The whole request is here and it is its turn."""
        self.body = b"".join(self._body_pieces)
        self._body_pieces.clear()
        try:
            if self.reply.cors and b"access-control-request-method" in self.head.noted:
                self.answer(204, b"")  # a browser asks whether a page may call: no key comes with that
                return
            self.admit()
            if self.is_list_of_models:
                self.deadline_s = _NEVER  # it has its own
                self._start_task(answer_models(self))
            elif self.wanted is not None or self.sought is not None:
                self.deadline_s = _NEVER  # it has its own
                self._start_task(self._prepare())
            else:
                self._try_next()
        except HeadgateError as error:
            self.refuse(error)
        except Exception:  # border: request. One defect must cost one request, and be seen.
            _logger.exception("request %s failed", self.asked.request_id)
            self.refuse(HeadgateError("a defect of the gateway; its log has the details.", code="internal"))

    async def _prepare(self) -> None:
        """What must be asked of other processes before the upstream can be called."""
        try:
            if self.sought is not None:
                await self.find_owner()
            if self.wanted is not None:
                from headgate.gateway.knowledge import ground

                await ground(self, self.wanted)
            if not self.is_recorded:
                self._try_next()
        except HeadgateError as error:
            self.refuse(error)

    # To the upstream.

    def _try_next(self) -> None:
        assert self.attempts is not None
        target = self.attempts.target
        handle = self.handle = self.worker.handle(target.upstream)
        if not self.place.endpoint.needs_json:  # those paths are all known
            check_path(handle.upstream, self.place.rest)
        self._held = self.status = None
        self.sent = outgoing_for(self, handle, target.model)
        if not self.has_start:
            self._write_start(handle)
        self.attempts.begin()
        self._is_retry = False
        is_kept = self.upload is None or self.large is not None  # else a body passed on cannot be sent again
        connection = handle.pool.acquire() if is_kept else None
        if connection is None:
            self._start_task(self._dial(handle))
        else:
            self._send(connection)

    def _write_start(self, handle: UpstreamHandle) -> None:
        identity = self.asked.identity
        identity["upstream"] = handle.upstream.name
        identity["provider"] = handle.upstream.provider
        identity["sequence"] = self.worker.spool.next_sequence()
        self.has_start = True
        self.worker.spool.append_start(StartRecord(**identity))
        self.upstream_started_ns = monotonic_ns()

    def _start_task(self, work: "asyncio._CoroutineLike[None]") -> None:
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._task_done)

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or task.exception() is None:
            return
        _logger.error("request %s failed", self.asked.request_id, exc_info=task.exception())
        self.refuse(HeadgateError("a defect of the gateway; its log has the details.", code="internal"))

    async def _dial(self, handle: UpstreamHandle) -> None:
        connect_s = handle.upstream.timeout.connect_s
        self._phase, self.deadline_s = "connect", _NEVER  # the dial has its own deadline
        try:
            connection = await handle.pool.dial(connect_s, self._connection_kind)
        except TimeoutError:
            self._attempt_failed("timeout", f"accepted no connection within {connect_s:g} s", noted="connect_timeout")
        except (OSError, ssl.SSLError) as error:
            self._attempt_failed("connect", f"cannot be reached: {error.strerror or error}")
        except UnicodeError:
            self._attempt_failed("connect", "cannot be reached: its host is no valid name")
        else:
            if self.is_recorded:
                connection.transport.abort()
            else:
                self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        assert self.handle is not None
        assert self.sent is not None
        self._connection = connection
        self._await_answer()
        self._sent_at_ns = monotonic_ns()
        connection.start(self, self.sent.head, self.sent.body, head_only=self.method == b"HEAD")
        if self.upload is not None:
            if not self.has_body:
                self._phase, self.deadline_s = "upload", monotonic_s() + UPLOAD_IDLE_S
            self.upload.connect(connection)
        if self._client.is_write_paused:
            self.pause()

    def _attempt_failed(self, kind: str, reason: str, *, noted: str | None = None) -> None:
        """The current upstream gave no answer; ``kind``: connect or timeout; ``noted``: what the log calls it."""
        if self.is_recorded:
            return
        self._connection = None
        assert self.handle is not None
        assert self.attempts is not None
        name = self.handle.upstream.name
        self.attempts.note(None, noted or kind)
        if self._may_go_on_after(kind):
            self._go_on()
            return
        text = f'upstream "{name}" {reason}.'
        hint = f"Check [upstreams.{name}] and the network: headgate doctor"
        if kind == "timeout":
            code = "upstream_connect_timeout" if noted == "connect_timeout" else UpstreamTimeout.code
            self.refuse(UpstreamTimeout(text, code=code, hint=hint), outcome="timeout")
        else:
            self.refuse(UpstreamUnreachable(text, hint=hint), outcome="upstream_error")

    @property
    def _is_body_kept(self) -> bool:
        return self.upload is None or not self.upload.has_sent

    def _may_go_on_after(self, kind: int | str) -> bool:
        """Whether the next target may be tried: never once a part of a body was passed on."""
        assert self.attempts is not None
        return self._is_body_kept and self.attempts.may_go_on_after(kind)

    def _go_on(self) -> None:
        assert self.attempts is not None
        self.attempts.go_on()
        try:
            self._try_next()
        except HeadgateError as error:
            self.refuse(error)

    # From the upstream (Sink).

    def upstream_head(self, connection: UpstreamConnection) -> None:
        """The head of an answer is here: fall back, hold it, or open the reply."""
        status = connection.status
        assert self.attempts is not None
        if self._may_go_on_after(status):
            connection.cancel()
            self.attempts.note(status, f"status_{status}")
            self._go_on()
            return
        self.attempts.note(status, None)
        self.status = status
        assert self.handle is not None
        self._phase = "between_bytes"
        self.deadline_s = monotonic_s() + self.handle.upstream.timeout.between_bytes_s
        if self.sent is not None and self.sent.has_injected_usage and status in (400, 422):
            self._held = []
        else:
            self._open(connection)

    def _open(self, connection: UpstreamConnection) -> None:
        assert self.handle is not None
        head = self.response_head = connection.head
        copy = Copy(self.worker.copies, self._copy_bytes)
        self.tee = Tee(self.place.endpoint.name, head, copy, self.head.secrets + self.handle.secrets)
        if self.sent is not None and self.sent.has_injected_usage and self.tee.is_sse:
            self._filter = UsageEventFilter()
        own = (
            b"x-headgate-request-id: %b\r\n" % self.asked.request_id.encode(),
            self.handle.name_line + self.prompt_line,
        )
        if (connection.status < 500 and self.worker.is_draining) or not self.has_body:
            self.reply.keep_alive = False
        self.reply.open(connection.status, head, own, changes_length=self._filter is not None)

    def upstream_data(self, connection: UpstreamConnection, pieces: list[bytes], is_last: bool) -> None:
        """Bytes of the answer, as they came; the last ones wait for the record."""
        self.has_moved = True
        tee = self.tee
        if self._held is not None or tee is None:
            self._hold(connection, pieces, is_last)
            return
        data = b""
        if not (pieces or is_last):
            self._head_came_alone()
            return
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            is_end = tee.feed(data)
            if self._filter is not None:
                data = self._filter.feed(data)
            if is_end and not is_last and not self.is_recorded:
                self.last_byte_ns = monotonic_ns()
                record.write(self, self._outcome())
                self._kept = b"" if self.worker.is_group else None
        if is_last:
            self._end(connection, tee, data)
        elif self._kept is not None:
            self._kept += data
        elif not self._is_abandoned:
            self.reply.write(data)

    def _head_came_alone(self) -> None:
        """The body may take its time, as a model does before its first word; clients wait for the head on a clock of
        their own. A sized body mostly follows at once: its head waits for it, to the next sweep at most.
        """
        if self.response_head is not None and self.response_head.content_length is None and not self._is_abandoned:
            self.reply.write(b"")

    def _end(self, connection: UpstreamConnection, tee: Tee, data: bytes) -> None:
        self._connection = None
        if self._filter is not None:
            data += self._filter.finish()
        if self._kept is not None:
            data = self._kept + data
        if not connection.is_framed and tee.is_sse and not tee.folded().is_complete:
            self._cut("closed the connection before the stream's end", data)
            return
        self.last_byte_ns = monotonic_ns()
        if not self.is_recorded:
            record.write(self, self._outcome())
        self.deadline_s = _NEVER
        self.has_moved = False
        self.worker.spool.when_durable(lambda: self._release(data))

    def renew(self, now_s: float) -> None:
        """Bytes came since the last sweep: the deadline between bytes begins anew."""
        if (
            self._phase == "between_bytes"
            and not self._is_paused
            and self.handle is not None
            and self.deadline_s != _NEVER
        ):
            self.deadline_s = now_s + self.handle.upstream.timeout.between_bytes_s
            if not self._is_abandoned:
                self.reply.write(b"")  # a head that still waits for its body

    def _outcome(self) -> Outcome:
        assert self.tee is not None
        assert self.status is not None
        if self._is_abandoned:
            return "client_closed"
        if self.status >= 400 or self.tee.folded().error_type is not None:
            return "upstream_error"
        return "ok"

    def _release(self, data: bytes) -> None:
        if self._released:
            return
        if not self._is_abandoned:
            self.reply.end(data)
        self._finish()

    def _hold(self, connection: UpstreamConnection, pieces: list[bytes], is_last: bool) -> None:
        """A refusal that may be about the usage option we added: ask again without it, else pass it on."""
        held = self._held if self._held is not None else []
        assert self.handle is not None
        held.extend(pieces)
        if not is_last and sum(map(len, held)) < _HELD_LIMIT:
            return
        self._held = None
        if is_last and self._is_body_kept and b"stream_options" in b"".join(held):
            _logger.warning("upstream %s knows no stream_options; not sent any more", self.handle.upstream.name)
            self.handle.can_inject_usage = False
            self.status = None
            self._try_next()
            return
        self._open(connection)
        self.upstream_data(connection, held, is_last)

    def upstream_broken(self, connection: UpstreamConnection, reason: str) -> None:
        """The upstream broke off before the end of its answer."""
        self._connection = None
        if self.reply.is_open:
            self._cut(reason, b"" if self._filter is None else self._filter.finish())
            return
        is_prompt = monotonic_ns() - self._sent_at_ns < _STALE_NS
        is_stale = connection.reused and is_prompt and not connection.has_answered
        if is_stale and self._is_body_kept and not self._is_retry:
            # It closed an idle connection just as we wrote: once more, on a fresh one. An upstream that had begun to
            # work would not have closed within that time, so nothing is done twice.
            self._is_retry = True
            assert self.handle is not None
            assert self.attempts is not None
            self.attempts.note(None, "stale_connection")
            self.attempts.begin()
            self._start_task(self._dial(self.handle))
            return
        self._attempt_failed("connect", reason, noted="no_answer")

    def _cut(self, reason: str, data: bytes, outcome: Outcome = "upstream_aborted") -> None:
        """End an opened reply abnormally."""
        assert self.handle is not None
        self.last_byte_ns = monotonic_ns()
        if not self.is_recorded:
            name = self.handle.upstream.name
            kind = "upstream_stalled" if outcome == "timeout" else outcome
            record.write(self, outcome, kind, f'upstream "{name}" {reason}')
        if data and not self._is_abandoned:
            self.reply.write(data)
        self.reply.break_off()
        self._finish()

    # The client and the clock.

    def client_gone(self) -> None:
        """The client left: stop the upstream and keep what there is, or let it finish where the settings say so."""
        handle = self.handle
        if handle is not None and self.has_body and handle.upstream.on_disconnect == "finish" and not self.is_recorded:
            self._is_abandoned = True
            self.resume()
            return
        self._stop_upstream()
        if not self.is_recorded:
            self.last_byte_ns = monotonic_ns()
            record.write(self, "client_closed", "client_closed", "the client closed the connection")
        self._finish()

    def pause(self) -> None:
        """The client reads slowly: the upstream waits, and its deadline with it."""
        if self._connection is not None and not self._is_abandoned:
            self._is_paused = True
            self.deadline_s = monotonic_s() + _CLIENT_STALL_S
            self._connection.pause()

    def resume(self) -> None:
        """The client reads again."""
        if self._connection is not None and self._is_paused and self.handle is not None:
            self._is_paused = False
            self.deadline_s = monotonic_s() + self.handle.upstream.timeout.between_bytes_s
            self._connection.resume()

    def stop(self) -> None:
        """The gateway stops and can wait no longer: keep what there is."""
        self._stop_upstream()
        if not self.is_recorded:
            self.last_byte_ns = monotonic_ns()
            record.write(self, "interrupted", "gateway_stopped", "the gateway stopped before the answer's end")
        self.reply.break_off()
        self._finish()

    def deadline_passed(self) -> None:
        """The deadline of the current phase has passed."""
        phase, self.deadline_s = self._phase, _NEVER
        if self._is_paused:
            if not self.is_recorded:
                self.last_byte_ns = monotonic_ns()
                said = f"the client read nothing for {_CLIENT_STALL_S:g} s"
                record.write(self, "client_closed", "client_stalled", said)
            self._client.transport.abort()  # client_gone follows
            return
        if phase == "upload":
            if not self._client.may_answer(self):
                self.deadline_s = monotonic_s() + UPLOAD_IDLE_S
                return
            self.reply.keep_alive = False
            self.refuse(
                MalformedRequest(f"the request body stopped arriving for {UPLOAD_IDLE_S:g} s.", code="upload_timeout"),
                outcome="timeout",
            )
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()
        assert self.handle is not None
        timeout = self.handle.upstream.timeout
        if phase == "first_byte":
            self._attempt_failed("timeout", f"sent no answer within {timeout.first_byte_s:g} s")
        elif self.reply.is_open:
            self._cut(f"sent nothing for {timeout.between_bytes_s:g} s", b"", "timeout")
        else:
            self._attempt_failed("timeout", f"sent nothing for {timeout.between_bytes_s:g} s")

    def _stop_upstream(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()
        if self._task is not None and not self._task.done():
            self._task.cancel()

    def _let_go(self) -> None:
        self.worker.unwatch(self)
        if self.upload is not None:
            self.upload.let_go()
        if self.tee is not None:
            self.tee.copy.let_go()
        self._client.relay_finished(self)

    def _record(
        self, outcome: Outcome, error_type: str | None = None, message: str | None = None, own_body: bytes = b""
    ) -> None:
        record.write(self, outcome, error_type, message, own_body)
