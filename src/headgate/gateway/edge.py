"""The client side of a worker: uvicorn's protocol with strict framing, limits and timeouts; API calls go to a relay
without entering Starlette, everything else goes on to the ASGI application on the same connection.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from headgate.core.errors import Forbidden, HeadgateError, MalformedRequest
from headgate.core.ids import monotonic_s
from headgate.gateway.head import STATUS_LINES, RequestHead
from headgate.gateway.relay import Relay
from headgate.gateway.reply import Reply
from headgate.gateway.upstream import read_less
from headgate.gateway.worker import Worker
from headgate.wire.endpoints import Place, place_of
from headgate.wire.envelope import error_body

HEAD_LIMIT_BYTES = 32 << 10
HEAD_LIMIT_FIELDS = 128
_HEAD_TIMEOUT_S = 10.0
_IDLE_TIMEOUT_S = 75.0
_PIPELINE_LIMIT = 8
_LINGER_S = 2.0
_LINGER_LIMIT_BYTES = 64 << 20
_OPEN_PATHS = frozenset((b"/healthz", b"/readyz"))
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?\Z")
_BAD_TARGET = re.compile(rb"[^!-~]|%00|%2e%2e|%2e\.|\.%2e|/\.\.(?:/|\Z|\?)", re.IGNORECASE)


class HeadTooLarge(HeadgateError):
    """The request head is over its limit."""

    code, status = "head_too_large", 431


class EdgeProtocol(HttpToolsProtocol):
    """One client connection."""

    worker: Worker  # set on the subclass that `protocol_for` makes

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
        self._is_http_10 = False
        self._head_bytes = 0
        self._is_lingering = False
        self._lingered_bytes = 0
        self._since_s = monotonic_s()
        self.url = b""

    # Bytes in.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        read_less(transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._is_lingering:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > _LINGER_LIMIT_BYTES:
                self.transport.abort()
            return
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._reject(error.__context__ if isinstance(error.__context__, HeadgateError) else None, str(error))
            return
        except httptools.HttpParserUpgrade:
            self._reject(MalformedRequest("this gateway relays no WebSockets yet.", code="upgrade_unsupported"))
            return
        if self._is_in_head and self._head_bytes > HEAD_LIMIT_BYTES:
            self._reject(_too_large())

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._is_in_head = True
        self._since_s = monotonic_s()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        url, parser = self.url, self.parser
        headers, self.headers = self.headers, []  # what follows a body are trailers
        if len(headers) > HEAD_LIMIT_FIELDS or (
            self._head_bytes > HEAD_LIMIT_BYTES
            and len(url) + sum(len(name) + len(value) for name, value in headers) > HEAD_LIMIT_BYTES
        ):
            raise _too_large()
        self._head_bytes = 0
        head = RequestHead(headers)
        method = parser.get_method()
        path = url.partition(b"?")[0]
        self._check_framing(head, url)
        place = place_of(method, path, speaks_anthropic=b"anthropic-version" in head.noted)
        try:
            if path not in _OPEN_PATHS:
                self._check_host(head.noted.get(b"host", b""))
                if b"origin" in head.noted or b"sec-fetch-site" in head.noted:
                    self._check_origin(head, is_link=place is None and method == b"GET")
        except HeadgateError as error:
            if place is None:
                raise
            self._start_relay(place, method, head, error)
            return
        if place is None:
            self.headers = [(name.lower(), value) for name, value in headers]
            self._start_asgi()
        else:
            self._start_relay(place, method, head)

    def on_body(self, body: bytes) -> None:
        if self._reading is not None:
            self._reading.add_body(body)
        elif self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._since_s = monotonic_s()
        relay, self._reading = self._reading, None
        if relay is not None:
            relay.has_body = True
            if relay is self._running and not relay.is_recorded:
                relay.begin()
        elif self.cycle is not None:
            super().on_message_complete()

    # Checks.

    def _check_framing(self, head: RequestHead, url: bytes) -> None:
        version = self.parser.get_http_version()
        self._is_http_10 = version == "1.0"
        if version not in ("1.1", "1.0"):
            raise MalformedRequest(f"HTTP/{version} is not spoken here.", code="bad_version")
        if not url.startswith(b"/") or _BAD_TARGET.search(url):
            raise MalformedRequest("the request target is not a plain absolute path.", code="bad_target")
        if head.has_two_hosts:
            raise MalformedRequest("the request has two Host headers.", code="unknown_host")
        coding = head.noted.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
            raise MalformedRequest("Transfer-Encoding other than chunked is refused.", code="bad_framing")
        expect = head.noted.get(b"expect")
        self.expect_100_continue = expect is not None and expect.lower() == b"100-continue"

    def _check_host(self, host: bytes) -> None:
        known = self.worker.known_hosts
        if host in self.worker.accepted_hosts:
            return
        text = host.decode("latin-1").lower()
        match = _HOST.match(text)
        if text in known or (match is not None and match[1] in known):
            self.worker.accept_host(host)
            return
        raise MalformedRequest(
            f"this gateway does not answer to the Host {text[:100]!r}.",
            code="unknown_host",
            hint="Add it to server.hosts, or call the gateway by the address it prints at start.",
        )

    def _check_origin(self, head: RequestHead, *, is_link: bool) -> None:
        noted = head.noted
        origin = head.text(b"origin")
        if origin is None:
            is_navigation = is_link and noted.get(b"sec-fetch-mode") == b"navigate"
            if noted[b"sec-fetch-site"].lower() == b"cross-site" and not is_navigation:
                raise Forbidden("cross-site requests are refused.", code="cross_site", hint="Allow it: server.origins.")
            return
        own = (head.text(b"host") or "").lower()
        if origin not in self.worker.settings.server.origins and origin.lower().partition("://")[2] != own:
            raise Forbidden(
                f"requests from the origin {origin[:100]!r} are refused.",
                code="foreign_origin",
                hint="A browser sent this from a page of another site. Allow it: server.origins.",
            )

    # Two ways on.

    def _start_relay(
        self, place: Place, method: bytes, head: RequestHead, refusal: HeadgateError | None = None
    ) -> None:
        worker, is_http_10 = self.worker, self._is_http_10
        keep_alive = not is_http_10 and self.parser.should_keep_alive() and not worker.is_draining
        reply = Reply(self.transport, is_http_10=is_http_10, is_head_only=method == b"HEAD", keep_alive=keep_alive)
        origin = head.noted.get(b"origin")
        if origin is not None and origin.decode("latin-1") in worker.settings.server.origins:
            reply.cors = _cors_lines(origin, head.noted)
        relay = Relay(self, worker, place, method, self.url, head, reply)
        self._reading = relay
        if self._running is None and (self.cycle is None or self.cycle.response_complete):
            self._running = relay
            length = relay.head.noted.get(b"content-length")
            if refusal is not None:
                reply.keep_alive = False
                relay.refuse(refusal)
            elif length is not None and int(length) > worker.max_body_bytes:
                relay.refuse_size(int(length))
            elif self.expect_100_continue:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        self._enqueue(relay)

    def _enqueue(self, relay: Relay) -> None:
        if len(self._queue) >= _PIPELINE_LIMIT:
            raise MalformedRequest(f"more than {_PIPELINE_LIMIT} requests in the pipeline.", code="pipeline_full")
        self._queue.append(relay)
        self.flow.pause_reading()

    def _start_asgi(self) -> None:
        if self._running is not None:
            # Behind a relay in one pipeline; no client in use does this, and HTTP lets us close instead.
            self._running.reply.keep_alive = False
            self._reading = None
            return
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
            if relay.has_body:
                self.transport.close()
            else:
                self._linger()
            return
        if self._queue or self.pipeline:
            self.flow.resume_reading()
            self._run_next()

    def _run_next(self) -> None:
        if self._queue:
            self._running = self._queue.pop(0)
            if self._running.has_body:
                self._running.begin()
        elif self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    def may_answer(self, relay: Relay) -> bool:
        """Whether it is the turn of ``relay`` (Client)."""
        return relay is self._running

    # Endings.

    def _linger(self) -> None:
        """Close our side, and let the client's side come to its end: closing with bytes unread would make the kernel
        send a reset, which may take the answer away from the client before it was read.
        """
        self._is_lingering = True
        self._since_s = monotonic_s()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _reject(self, error: BaseException | None, parser_text: str = "") -> None:
        """Answer 400 or its like to what is no request for us, and close."""
        if self.transport.is_closing():
            return
        if not isinstance(error, HeadgateError):
            error = MalformedRequest(f"this is no valid HTTP/1.1 request: {parser_text[:200]}.", code="bad_http")
        if self._running is not None or (self.cycle is not None and not self.cycle.response_complete):
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
            return
        limit_s = _HEAD_TIMEOUT_S if self._is_in_head else _IDLE_TIMEOUT_S
        if now_s - self._since_s > limit_s:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        running, self._running = self._running, None
        for relay in (running, *self._queue):
            if relay is not None and not relay.is_finished:
                relay.client_gone()
        self._queue.clear()
        self._reading = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        if self._running is not None:
            self._running.pause()
        else:
            super().pause_writing()

    def resume_writing(self) -> None:
        if self._running is not None:
            self._running.resume()
        super().resume_writing()

    def shutdown(self) -> None:
        """Drain: an idle connection closes, a busy one after its answer."""
        if self._running is not None:
            self._running.reply.keep_alive = False
        else:
            super().shutdown()


def _cors_lines(origin: bytes, noted: dict[bytes, bytes]) -> bytes:
    """What a browser wants to read before a page of an allowed origin may see an answer."""
    lines = b"access-control-allow-origin: %b\r\nvary: Origin\r\n" % origin
    if b"access-control-request-method" not in noted:
        return lines + b"access-control-expose-headers: *\r\n"
    headers = noted.get(b"access-control-request-headers", b"")
    return lines + b"access-control-allow-methods: GET, POST, DELETE\r\naccess-control-allow-headers: %b\r\n" % headers


def _too_large() -> HeadTooLarge:
    return HeadTooLarge(f"the request head is over {HEAD_LIMIT_BYTES} bytes or {HEAD_LIMIT_FIELDS} fields.")


def protocol_for(worker: Worker) -> type[EdgeProtocol]:
    """The protocol class of one worker, for uvicorn's `http=`; old connections are swept by the worker's timer."""

    class WorkerProtocol(EdgeProtocol):
        pass

    WorkerProtocol.worker = worker
    return WorkerProtocol


def sweeper(connections: Callable[[], set[Any]]) -> Callable[[float], None]:
    """A sweep that closes old connections of a uvicorn server."""

    def sweep(now_s: float) -> None:
        for connection in list(connections()):
            if isinstance(connection, EdgeProtocol):
                connection.check_age(now_s)

    return sweep
