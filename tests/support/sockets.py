"""WebSocket upstreams, one that talks like a model and one on a raw socket, and what the log has of them."""

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from websockets.sync.server import ServerConnection, serve

from headgate.core.settings import Route, Server, Settings, Target, Timeout, Upstream
from headgate.snapshot import KeyEntry
from headgate.spool.record import FinalRecord, StartRecord
from support.worker import WorkerProcess

SECRET = "sk-upstream-secret-0123456789"
PATIENT = Timeout(connect_s=2.0, first_byte_s=5.0, between_bytes_s=30.0)
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def usage(size: int) -> dict[str, Any]:
    return {"input_tokens": size, "output_tokens": 2, "total_tokens": size + 2}


class TalkingUpstream:
    """Speaks Responses and Realtime over WebSocket, a word at a time."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.received: list[str | bytes] = []
        self._server = serve(
            self._talk, "127.0.0.1", 0, ssl=tls, select_subprotocol=lambda _, offered: offered[0] if offered else None
        )
        self._scheme = "http" if tls is None else "https"
        self.port = int(self._server.socket.getsockname()[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self._server.shutdown()

    def _talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.requests.append(connection.request)
        is_session = "/realtime" in connection.request.path
        with contextlib.suppress(ConnectionClosed):
            if is_session:
                model = connection.request.path.partition("model=")[2].partition("&")[0]
                say(connection, type="session.created", session={"id": "sess_1", "model": model + "-2026"})
            for message in connection:
                self.received.append(message)
                self._answer(connection, json.loads(message), is_session)

    def _answer(self, connection: ServerConnection, event: dict[str, Any], is_session: bool) -> None:
        kind = event["type"]
        if kind == "close":
            connection.close(event["code"], event["reason"])
        elif kind == "say":
            say(connection, **event["event"])
        elif kind == "response.create" and event.get("input") == "fail":
            say(connection, type="error", status=400, error={"code": "bad_input", "message": "no such input"})
        elif kind == "response.create":
            self._respond(connection, event, is_session)

    def _respond(self, connection: ServerConnection, event: dict[str, Any], is_session: bool) -> None:
        number = len(self.received)
        response: dict[str, Any] = {"id": f"resp_{number}", "status": "in_progress"}
        more: dict[str, Any] = {"response_id": response["id"]} if is_session else {}
        if not is_session:
            response["model"] = event["model"] + "-2026"
        if "stream_id" in event:
            more["stream_id"] = event["stream_id"]
        say(connection, type="response.created", response=response, **more)
        for word in ("Hel", "lo"):
            say(connection, type="response.output_text.delta", delta=word, item_id="i", **more)
            if event.get("input") == "wait":  # for more than the first word
                return
        if is_session:
            say(connection, type="response.output_audio.delta", delta="QUJD" * 100, **more)
            content = {"type": "output_audio", "transcript": "Hello"}
        else:
            content = {"type": "output_text", "text": "Hello"}
        output = [{"type": "message", "role": "assistant", "content": [content]}]
        done = {**response, "status": "completed", "output": output, "usage": usage(10 * number)}
        say(connection, type="response.done" if is_session else "response.completed", response=done, **more)


def say(connection: ServerConnection, **event: Any) -> None:
    connection.send(json.dumps(event))


Script = Callable[[socket.socket], object]


class RawUpstream:
    """Switches protocols and leaves the rest to ``script``, which has the socket."""

    def __init__(self) -> None:
        self.script: Script = lambda connection: None
        self.heads: list[bytes] = []
        self.step = 1 << 16  # bytes of the handshake that go out at once
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            head = read_head(connection)
            self.heads.append(head)
            send(connection, switch(head), step=self.step)
            self.script(connection)


def send(connection: socket.socket, data: bytes, *, step: int) -> None:
    """Send ``data`` in segments of ``step`` bytes."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(0, len(data), step):
        connection.sendall(data[at : at + step])


def read_head(connection: socket.socket) -> bytes:
    """Up to the empty line, and nothing behind it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        if not piece:
            raise ConnectionError(f"left after {head!r}")
        head += piece
    return head


def switch(head: bytes) -> bytes:
    """The answer to a handshake."""
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    key = next(line.split(b": ", 1)[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    assert lines[b"upgrade"] == b"websocket"
    accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Odd: yes\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def handshake(path: str, *, host: str = "127.0.0.1", **headers: str) -> bytes:
    """What a client sends first; `_` in a header's name stands for `-`."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@contextlib.contextmanager
def switched(worker: WorkerProcess, path: str, **headers: str) -> Iterator[tuple[socket.socket, str]]:
    """A raw client connection after its handshake, and its request id."""
    with worker.connect() as connection:
        connection.sendall(handshake(path, **headers))
        head = read_head(connection)
        assert head.startswith(b"HTTP/1.1 101 "), head
        request_id = next(line for line in head.split(b"\r\n") if line.startswith(b"x-headgate-request-id"))
        yield connection, request_id.partition(b": ")[2].decode()


def rows_of(worker: WorkerProcess, session_id: str, count: int, *, within_s: float = 5.0) -> list[FinalRecord]:
    """The rows of one connection, its own last, once there are ``count`` of them."""
    deadline = time.monotonic() + within_s
    while True:
        found = [final for final in worker.entries()[1] if final.session_id == session_id]
        if len(found) >= count or time.monotonic() > deadline:
            assert len(found) == count, f"{len(found)} rows, expected {count}"
            return sorted(found, key=lambda final: final.request_id == session_id)
        time.sleep(0.02)


def starts_of(worker: WorkerProcess, session_id: str) -> list[StartRecord]:
    return [start for start in worker.entries()[0] if start.session_id == session_id]


def socket_settings(
    talking: TalkingUpstream,
    raw: RawUpstream,
    plain_url: str,
    secret_file: Path,
    timeout: Timeout = PATIENT,
    **server: Any,
) -> Settings:
    """Everything goes to the talking upstream but raw-… and plain-…; gone-… is tried at a closed port first."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        gone_url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    secret_file.write_text(SECRET)
    urls = {"main": talking.base_url, "raw": raw.base_url, "plain": plain_url, "gone": gone_url}
    upstreams = {
        name: Upstream(name=name, kind="openai", base_url=url, timeout=timeout, api_key_file=str(secret_file))
        for name, url in urls.items()
    }
    to = {name: Target(upstream=name) for name in urls}
    upstreams["caller"] = Upstream(name="caller", kind="openai", base_url=talking.base_url, auth="caller")
    named = Target(upstream="main", model="gpt-realtime")
    routes = (
        Route(model="raw-*", targets=(to["raw"],), fallback_on=()),
        Route(model="plain-*", targets=(to["plain"],), fallback_on=()),
        Route(model="gone-*", targets=(to["gone"], to["main"]), fallback_on=("connect",)),
        Route(model="theirs", targets=(Target(upstream="caller"),), fallback_on=()),
        Route(model="voice", targets=(named,), fallback_on=()),
        Route(model="gpt-*", targets=(to["main"],), fallback_on=()),
    )
    return Settings(
        server=Server(default_upstream={"openai": "main"}, drain_s=1, **server), upstreams=upstreams, routes=routes
    )


def key_entry(key: str, *, models: tuple[str, ...] = ()) -> dict[str, KeyEntry]:
    """A key by its digest."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return {digest: KeyEntry(id=f"key_{key[3:7]}", name=key[3:7], role="app", models=models)}
