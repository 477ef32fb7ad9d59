"""A scripted upstream on a raw socket: what it sends, and when, is up to the test, byte by byte."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Step = bytes | float | str
"""bytes: send them; a float: wait so many seconds; "reset": RST; "close": FIN; "wait-gone": until the peer closes."""


@dataclass
class Seen:
    """One request as it arrived."""

    head: bytes
    body: bytes
    connection: int

    @property
    def request_line(self) -> bytes:
        return self.head.split(b"\r\n")[0]

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == name.lower().encode():
                return value.strip().decode("latin-1")
        return None


Script = list[Step]


def answer(body: bytes, *, status: str = "200 OK", media: str = "application/json", extra: str = "") -> Script:
    """A whole answer with a length."""
    return [f"HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode() + body]


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(*events: bytes, pause_s: float = 0.0, end: bool = True) -> Script:
    """A chunked event stream, one chunk an event."""
    steps: Script = [STREAM_HEAD]
    for event in events:
        steps.append(chunk(event))
        if pause_s:
            steps.append(pause_s)
    if end:
        steps.append(b"0\r\n\r\n")
    return steps


@dataclass
class ScriptedUpstream:
    """Answers each request with the next script, the last one again and again."""

    scripts: list[Script] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    reply_with: Callable[[Seen], Script] | None = None
    tls: ssl.SSLContext | None = None
    listener: socket.socket | None = None

    def __post_init__(self) -> None:
        self._listener = self.listener or socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._connections = 0
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}/v1"

    def script(self, *scripts: Script) -> None:
        """The answers to come."""
        self.scripts = list(scripts)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept; a close alone does not
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.append(connection)
                self._connections += 1
                number = self._connections
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        if self.tls is not None:
            try:
                connection = self.tls.wrap_socket(connection, server_side=True)
            except OSError:  # the peer does not like our certificate
                connection.close()
                return
        with connection:
            try:
                for seen in _requests(connection, number):
                    with self._lock:
                        self.seen.append(seen)
                        script = self._next_script() if self.reply_with is None else self.reply_with(seen)
                    if not self._play(connection, script):
                        return
            except OSError:
                self.gone.set()

    def _next_script(self) -> Script:
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]

    def _play(self, connection: socket.socket, script: Script) -> bool:
        for step in script:
            if isinstance(step, bytes):
                connection.sendall(step)
            elif isinstance(step, float):
                threading.Event().wait(step)
            elif step == "wait-gone":
                while connection.recv(65536):
                    pass
                self.gone.set()
                return False
            else:
                if step == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
                return False
        return True


def _requests(connection: socket.socket, number: int) -> Iterator[Seen]:
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return
            data += piece
        head, _, data = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                length = int(value)
            elif name.strip().lower() == b"transfer-encoding":
                length = -1
        if length < 0:
            body, data = _chunked(connection, data)
        else:
            body, data = _sized(connection, data, length)
        yield Seen(head=head, body=body, connection=number)


def _sized(connection: socket.socket, data: bytes, length: int) -> tuple[bytes, bytes]:
    """A body of known length, and what follows it."""
    pieces, have = [data], len(data)
    while have < length:
        pieces.append(_more(connection))
        have += len(pieces[-1])
    data = b"".join(pieces)
    return data[:length], data[length:]


def _chunked(connection: socket.socket, data: bytes) -> tuple[bytes, bytes]:
    """A body in chunks, and what follows it."""
    pieces: list[bytes] = []
    while True:
        while b"\r\n" not in data:
            data += _more(connection)
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        while len(data) < size + 2:
            data += _more(connection)
        assert data[size : size + 2] == b"\r\n"
        pieces.append(data[:size])
        data = data[size + 2 :]
        if size == 0:
            return b"".join(pieces), data


def _more(connection: socket.socket) -> bytes:
    piece = connection.recv(65536)
    if not piece:
        raise ConnectionError("the peer left within its body")
    return piece
