"""The client side of a worker: uvicorn's protocol with strict framing, limits and timeouts; API calls go to a relay
without entering Starlette, everything else goes on to the ASGI application on the same connection.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from headgate.core.errors import HeadgateError, MalformedRequest
from headgate.core.ids import monotonic_s
from headgate.gateway.answering import Answering
from headgate.gateway.guard import check_framing, check_sender, cors_lines
from headgate.gateway.head import STATUS_LINES, Headers, RequestHead
from headgate.gateway.model_call import ModelCall
from headgate.gateway.relay import Relay
from headgate.gateway.reply import Reply
from headgate.gateway.sockets import half_close, peer_has_closed
from headgate.gateway.upstream import read_less
from headgate.gateway.worker import Worker
from headgate.wire.endpoints import Place, place_of
from headgate.wire.envelope import error_body

HEAD_LIMIT_BYTES = 32 << 10
HEAD_LIMIT_FIELDS = 128
_HEAD_TIMEOUT_S = 10.0
_IDLE_TIMEOUT_S = 75.0
_GIVE_WAY_S = 2.0
"""How long a worker that was replaced waits for a next request on an idle connection, to answer it with
`connection: close`: a client that writes to a connection just closed would see an error."""
_PIPELINE_LIMIT = 8
_SMALL_BYTES = 64 << 10
"""A body up to this size is read even when it will be refused, so that the connection can be kept."""
_LINGER_S = 2.0
_LINGER_LIMIT_BYTES = 64 << 20


class HeadTooLarge(HeadgateError):
    """The request head is over its limit."""

    code, status = "head_too_large", 431


class EdgeProtocol(HttpToolsProtocol):
    """One client connection."""

    worker: Worker  # set on the subclass that `protocol_for` makes
    _kind: type[Relay] = Relay  # what a call becomes

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self._running: Relay | None = None  # the relay whose answer is being written
        self._reading: Relay | None = None  # the relay whose body is being read
        self._queue: list[Relay] = []
        self._is_in_head = False
        self._is_offering = False  # the request offers another protocol
        self._is_asgi = False  # the body being read belongs to the ASGI application
        self._fresh = b""  # what is being parsed, where a request begins with it
        self._body_left = 0  # of a request whose head was recalled: the parser does not see its body
        self.is_write_paused = False
        self._read_bytes = 0
        self._is_http_10 = False
        self._head_bytes = 0
        self._is_lingering = False
        self._is_deaf = False  # what still comes is no request
        self._lingered_bytes = 0
        self._since_s = monotonic_s()
        self.url = b""

    # Bytes in.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        read_less(transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._is_lingering or self._is_deaf:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > _LINGER_LIMIT_BYTES:
                self.transport.abort()
            return
        if self._body_left:
            self._go_on_with_body(data)
            return
        is_of_head = self._is_in_head or (self._reading is None and not self._is_asgi)  # not the rest of a body
        if is_of_head and not self._is_in_head and self._running is None and self._begin_recalled(data):
            return
        self._read_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._reject(error.__context__ if isinstance(error.__context__, HeadgateError) else None, str(error))
            return
        except httptools.HttpParserUpgrade as error:
            if self._is_offering:
                self._go_on_without_upgrade(data[error.args[0] :])
            else:
                self._go_on_as_websocket(data[error.args[0] :])
            return
        if self._is_in_head and is_of_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES:
                self._reject(_too_large())

    def _begin_recalled(self, data: bytes) -> bool:
        """Take on a request whose head was read before, of which the parser has nothing to tell; False: it has."""
        if not self.worker.recalls_heads:
            return False
        recalled = self.worker.heads.recall(data)
        if recalled is None or len(data) > recalled.body_at + recalled.length or self._is_closing():
            self._fresh = data
            return False
        known, head = recalled.known, recalled.head
        self.url, self.headers = known.target, []
        self.expect_100_continue = self._is_http_10 = False
        self._since_s = monotonic_s()
        refusal: HeadgateError | None = None
        try:
            check_sender(self.worker, head, known.path, is_link=False)
        except HeadgateError as error:
            refusal = error
        body = data[recalled.body_at :]
        self._body_left = recalled.length - len(body)
        self._start_relay(known.place, b"POST", head, refusal, keep_alive=True, is_whole=not self._body_left)
        if body:
            self.on_body(body)
        if not self._body_left:
            self.on_message_complete()
        return True

    def _go_on_with_body(self, data: bytes) -> None:
        left = self._body_left
        self._body_left = max(0, left - len(data))
        self.on_body(data[:left])
        if not self._body_left:
            self.on_message_complete()
            if len(data) > left:
                self.data_received(data[left:])

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """An offer to upgrade is declined by ignoring it (RFC 9110 section 7.8): Java's client and `curl --http2` make
        one with every request. The parser stops there, so a new one reads the same request without the offer.
        """
        method, self._is_offering = self.parser.get_method(), False
        kept = [(n, v) for n, v in self.headers if n.lower() not in (b"upgrade", b"http2-settings", b"connection")]
        lists = b",".join(value for name, value in self.headers if name.lower() == b"connection").split(b",")
        others = [word for word in lists if word.strip().lower() not in (b"upgrade", b"http2-settings")]
        kept += [(b"connection", b",".join(others))] if others else []
        head = b"".join(
            (method, b" ", self.url, b" HTTP/1.1\r\n", *(n + b": " + v + b"\r\n" for n, v in kept), b"\r\n")
        )
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + rest)

    def _go_on_as_websocket(self, rest: bytes) -> None:
        """No HTTP follows on this connection, unless the upstream does not switch: then its answer ends it."""
        from headgate.gateway.websocket import take_over

        take_over(self, self._running, rest)

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._is_in_head = True
        self._head_bytes = 0
        self._since_s = monotonic_s()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        fresh, self._fresh = self._fresh, b""
        url, parser = self.url, self.parser
        if parser.should_upgrade() and not self._is_closing() and not self._begins_websocket():
            self._is_offering = True
            return
        headers, self.headers = self.headers, []  # what follows a body are trailers
        if self._is_closing():
            return
        head = RequestHead(headers)
        method = parser.get_method()
        version = parser.get_http_version()
        self._is_http_10 = version == "1.0"
        path = url.partition(b"?")[0]
        place = place_of(method, path, speaks_anthropic=b"anthropic-version" in head.noted)
        refusal: HeadgateError | None = None
        try:
            if len(headers) > HEAD_LIMIT_FIELDS or self._is_head_too_large(headers):
                raise _too_large()
            check_framing(version, head, url)
            check_sender(self.worker, head, path, is_link=place is None and method == b"GET")
        except HeadgateError as error:
            if place is None:
                raise
            refusal = error
        expect = head.noted.get(b"expect")
        self.expect_100_continue = expect is not None and expect.lower() == b"100-continue" and version != "1.0"
        if place is None:
            self.headers = [(name.lower(), value) for name, value in headers]
            self._start_asgi()
        else:
            keep_alive = not self._is_http_10 and parser.should_keep_alive()
            if fresh and keep_alive and refusal is None:
                self.worker.heads.remember(fresh, url, place, head, len(headers))
            self._start_relay(place, method, head, refusal, keep_alive=keep_alive)

    def _is_head_too_large(self, headers: Headers) -> bool:
        # What was read tells most heads apart without adding up.
        if self._head_bytes + self._read_bytes <= HEAD_LIMIT_BYTES:
            return False
        return len(self.url) + sum(len(name) + len(value) for name, value in headers) > HEAD_LIMIT_BYTES

    def _is_closing(self) -> bool:
        """Whether what still arrives is for nobody: a request before it has closed the connection, or will."""
        running = self._running
        return (
            self._is_lingering or self.transport.is_closing() or (running is not None and not running.reply.keep_alive)
        )

    def _begins_websocket(self) -> bool:
        """Whether the offer to upgrade is taken up; else it is ignored."""
        offered = b",".join(value for name, value in self.headers if name.lower() == b"upgrade").lower()
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise MalformedRequest("this gateway is no proxy for CONNECT.", code="upgrade_unsupported")
        if b"websocket" not in offered or method != b"GET" or self.parser.get_http_version() == "1.0":
            return False
        from headgate.gateway.websocket import SocketRelay, prepared  # not before the first one comes

        is_busy = self._running is not None or (self.cycle is not None and not self.cycle.response_complete)
        self.headers = prepared(self.url.partition(b"?")[0], self.headers, is_busy=is_busy)
        self._kind = SocketRelay
        return True

    def on_body(self, body: bytes) -> None:
        if self._reading is not None:
            self._reading.add_body(body)
        elif self._is_asgi:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._since_s = monotonic_s()
        if self._is_offering:
            return
        relay, self._reading = self._reading, None
        if relay is not None:
            relay.has_body = True
            if relay is self._running and not relay.is_recorded:
                relay.body_ended()
        elif self._is_asgi:
            self._is_asgi = False
            super().on_message_complete()

    # Two ways on.

    def _start_relay(
        self,
        place: Place,
        method: bytes,
        head: RequestHead,
        refusal: HeadgateError | None = None,
        *,
        keep_alive: bool,
        is_whole: bool = False,
    ) -> None:
        worker = self.worker
        reply = Reply(
            self.transport,
            is_http_10=self._is_http_10,
            is_head_only=method == b"HEAD",
            keep_alive=keep_alive and not worker.is_draining,
        )
        origin = head.noted.get(b"origin")
        if origin is not None and origin.decode("latin-1") in worker.settings.server.origins:
            reply.cors = cors_lines(origin, head.noted)
        kind = ModelCall if place.endpoint.dialect == "inference" else self._kind
        relay = kind(self, worker, place, method, self.url, head, reply)
        worker.watch(relay)
        relay.has_body = is_whole  # then its key is looked at once
        self._reading = relay
        if self._running is None and (self.cycle is None or self.cycle.response_complete):
            self._running = relay
            self._admit(relay, refusal)
        else:
            if len(self._queue) >= _PIPELINE_LIMIT:
                self.worker.unwatch(relay)
                raise MalformedRequest(f"more than {_PIPELINE_LIMIT} requests in the pipeline.", code="pipeline_full")
            relay.refusal = refusal
            self._queue.append(relay)
            self.flow.pause_reading()

    def _admit(self, relay: Relay, refusal: HeadgateError | None) -> None:
        """Refuse by the head alone what can be, so that no body is read for it."""
        length = relay.head.noted.get(b"content-length")
        if refusal is not None or not relay.has_body:
            refusal = refusal or relay.fault_of_key()
            if refusal is None and (b"transfer-encoding" in relay.head.noted or int(length or 0) > _SMALL_BYTES):
                refusal = relay.fault_of_load()
        if refusal is not None:
            relay.reply.keep_alive = False
            relay.refuse(refusal)
        elif length is not None and int(length) > self.worker.max_body_bytes:
            relay.refuse_size(int(length))
        elif not relay.has_body:
            if self.expect_100_continue:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if relay.is_upload:
                relay.begin_upload()

    def _start_asgi(self) -> None:
        if self._running is not None:
            # Behind a relay in one pipeline; no client in use does this, and HTTP lets us close instead.
            self._running.reply.keep_alive = False
            return
        self._is_asgi = True
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
        }  # type: ignore[typeddict-item]  # method and path follow in the base class
        super().on_headers_complete()
        if self.worker.is_draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """A Starlette answer is out: the next in the queue, or idle."""
        self.server_state.total_requests += 1
        self._since_s = monotonic_s()
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._run_next()

    def relay_finished(self, relay: Relay) -> None:
        """A relay's answer is out (Client)."""
        self._since_s = monotonic_s()
        if relay is not self._running:
            if relay in self._queue:
                self._queue.remove(relay)
            return
        self._running = None
        if self.transport.is_closing():
            return
        if not relay.reply.keep_alive:
            self._drop_queue()
            if relay.has_body and not self._is_deaf:
                self.transport.close()
            else:
                self._linger()
            return
        if self._queue or self.pipeline:
            self.flow.resume_reading()
            self._run_next()

    def _run_next(self) -> None:
        if self._queue:
            relay = self._running = self._queue.pop(0)
            self._admit(relay, relay.refusal)
            if relay.has_body and not relay.is_recorded:
                relay.begin()
        elif self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    def _drop_queue(self) -> None:
        """Requests behind one that closes the connection: nothing was done for them, the client asks again."""
        for relay in self._queue:
            self.worker.unwatch(relay)
        self._queue.clear()
        self._reading = None

    def may_answer(self, relay: Answering) -> bool:
        """Whether it is the turn of ``relay`` (Client)."""
        return relay is self._running

    def pause_body(self) -> None:
        """Read no more of a body for now (Client)."""
        self.flow.pause_reading()

    def resume_body(self) -> None:
        """Read on (Client)."""
        if not self.transport.is_closing():
            self.flow.resume_reading()

    # Endings.

    def _linger(self) -> None:
        """Close our side, and let the client's side come to its end: closing with bytes unread would make the kernel
        send a reset, which may take the answer away from the client before it was read.
        """
        self._is_lingering = True
        self._since_s = monotonic_s()
        half_close(self.transport)

    def _reject(self, error: BaseException | None, parser_text: str = "") -> None:
        """Answer 400 or its like to what is no request for us, and close."""
        if self.transport.is_closing():
            return
        if not isinstance(error, HeadgateError):
            error = MalformedRequest(f"this is no valid HTTP/1.1 request: {parser_text[:200]}.", code="bad_http")
        reading, self._reading = self._reading, None
        if reading is not None and reading is self._running and not reading.is_recorded:  # its body is damaged
            reading.reply.keep_alive = False
            reading.refuse(error)
            return
        if self._running is not None:  # what came before is answered, and that is the end
            self._is_deaf = True
            self._running.reply.keep_alive = False
            self._drop_queue()
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()  # an answer is on its way; another one must not be mixed in
            return
        body = error_body(error, "openai", "")
        self.transport.write(
            b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINES[error.status], len(body), body)
        )
        self._linger()

    def check_age(self, now_s: float) -> None:
        """Close a connection whose head stopped arriving, or that has been idle for too long."""
        if self._is_lingering:
            if now_s - self._since_s > _LINGER_S:
                self.transport.abort()
            return
        if self._running is not None or (self.cycle is not None and not self.cycle.response_complete):
            if self._running is not None and self.flow.read_paused:
                if peer_has_closed(self.transport):
                    self.transport.abort()  # asyncio would see it only when it reads on
                elif self._reading is self._running:
                    self._running.read_ahead()
            return
        idle_s = _GIVE_WAY_S if self.worker.is_replaced else _IDLE_TIMEOUT_S
        limit_s = _HEAD_TIMEOUT_S if self._is_in_head else idle_s
        if now_s - self._since_s > limit_s:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        running, self._running = self._running, None
        if running is not None and not running.is_finished:
            running.client_gone()
        self._drop_queue()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self.is_write_paused = True
        super().pause_writing()
        if self._running is not None:
            self._running.pause()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        super().resume_writing()
        if self._running is not None:
            self._running.resume()

    def shutdown(self) -> None:
        """Drain: a busy connection closes after its answer, an idle one at once, or a little later where the client may
        be about to write: see `_GIVE_WAY_S`. A head that is out without `connection: close` is kept to."""
        if self._running is not None:
            if not (self.worker.is_replaced and self._running.reply.is_open):
                self._running.reply.keep_alive = False
        elif self.worker.is_replaced and (self.cycle is None or self.cycle.response_complete):
            self._since_s = monotonic_s()
        else:
            super().shutdown()


def _too_large() -> HeadTooLarge:
    return HeadTooLarge(f"the request head is over {HEAD_LIMIT_BYTES} bytes or {HEAD_LIMIT_FIELDS} fields.")


def protocol_for(worker: Worker) -> type[EdgeProtocol]:
    """The protocol class of one worker, for uvicorn's `http=`; old connections are swept by the worker's timer."""

    class WorkerProtocol(EdgeProtocol):
        pass

    WorkerProtocol.worker = worker
    return WorkerProtocol
