"""A raw HTTP client: what went over the wire, whole or broken."""

import json
import socket
from dataclasses import dataclass


@dataclass
class Got:
    """One answer, as far as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    is_whole: bool
    raw: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def json(self) -> dict[str, object]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value

    @property
    def error(self) -> dict[str, str]:
        found = self.json()["error"]
        assert isinstance(found, dict)
        return found


def request_bytes(
    path: str = "/v1/chat/completions",
    body: bytes = b'{"model":"m","messages":[]}',
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    host: str = "127.0.0.1",
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    if body or method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_answer(connection: socket.socket, *, method: str = "POST") -> Got:
    """Read one answer; ``is_whole`` tells whether its framing was complete."""
    raw = b""
    try:
        while b"\r\n\r\n" not in raw:
            piece = connection.recv(65536)
            if not piece:
                return Got(0, [], b"", False, raw)
            raw += piece
        head, _, rest = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        lowered = {name.lower(): value for name, value in headers}
        status = int(lines[0].split()[1])
        if method == "HEAD" or status in (204, 304):
            return Got(status, headers, b"", True, raw)
        if lowered.get("transfer-encoding") == "chunked":
            body, whole, rest = _read_chunked(connection, rest)
        else:
            length = int(lowered.get("content-length", "-1"))
            while length < 0 or len(rest) < length:
                piece = connection.recv(65536)
                if not piece:
                    break
                rest += piece
            body, whole = rest, len(rest) == length or length < 0
        return Got(status, headers, body, whole, head + b"\r\n\r\n" + rest)
    except ConnectionError:
        return Got(0, [], b"", False, raw)


def _read_chunked(connection: socket.socket, rest: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while True:
        while b"\r\n" not in rest:
            try:
                piece = connection.recv(65536)
            except ConnectionError:
                return body, False, rest
            if not piece:
                return body, False, rest
            rest += piece
        line, _, after = rest.partition(b"\r\n")
        size = int(line, 16)
        while len(after) < size + 2:
            try:
                piece = connection.recv(65536)
            except ConnectionError:
                piece = b""
            if not piece:
                return body + after[:size], False, after
            after += piece
        if size == 0:
            return body, True, after
        body += after[:size]
        rest = after[size + 2 :]


def call(port: int, data: bytes, *, method: str = "POST") -> Got:
    """Send bytes, read one answer, close."""
    with socket.create_connection(("127.0.0.1", port), 15) as connection:
        connection.sendall(data)
        return read_answer(connection, method=method)
