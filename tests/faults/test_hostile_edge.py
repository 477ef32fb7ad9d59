"""Requests that are no requests: refused with one clear answer, closed, and nothing of them reaches an upstream."""

import json
import socket
import threading
import time

import pytest

from support.client import Got, call, read_answer, request_bytes
from support.server import eventually
from support.upstream import ScriptedUpstream, answer, chunk
from support.worker import WorkerProcess

LINE = b"POST /v1/chat/completions HTTP/1.1\r\n"
HOST = b"Host: 127.0.0.1\r\n"
BODY = b'{"model":"m","messages":[]}'
SIZED = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"\r\n"
CHUNKS = chunk(BODY) + b"0\r\n\r\n"


def sized(extra: bytes = b"", *, line: bytes = LINE, host: bytes = HOST) -> bytes:
    """A request with a length and one odd thing."""
    return line + host + SIZED + extra + END + BODY


def get(target: bytes, extra: bytes = b"", *, host: bytes = HOST) -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + host + extra + END


# What each request is, and the status it must get (reliability table: 400 unless it is about size).
CORPUS: dict[str, tuple[bytes, int]] = {
    "length and chunked": (LINE + HOST + SIZED + CHUNKED + END + CHUNKS, 400),
    "chunked and length": (LINE + HOST + CHUNKED + SIZED + END + CHUNKS, 400),
    "two different lengths": (LINE + HOST + SIZED + b"Content-Length: 5\r\n" + END + BODY, 400),
    "two equal lengths": (LINE + HOST + SIZED + SIZED + END + BODY, 400),
    "length list": (LINE + HOST + b"Content-Length: 27, 27\r\n" + END + BODY, 400),
    "length with plus": (LINE + HOST + b"Content-Length: +27\r\n" + END + BODY, 400),
    "length with underscore": (LINE + HOST + b"Content-Length: 2_7\r\n" + END + BODY, 400),
    "length negative": (LINE + HOST + b"Content-Length: -1\r\n" + END + BODY, 400),
    "length in hex": (LINE + HOST + b"Content-Length: 0x1b\r\n" + END + BODY, 400),
    "length empty": (LINE + HOST + b"Content-Length: \r\n" + END + BODY, 400),
    "length too large for any integer": (LINE + HOST + b"Content-Length: " + b"9" * 40 + b"\r\n" + END, 400),
    "coding gzip, chunked": (LINE + HOST + b"Transfer-Encoding: gzip, chunked\r\n" + END + CHUNKS, 400),
    "coding unknown": (LINE + HOST + b"Transfer-Encoding: xchunked\r\n" + END + CHUNKS, 400),
    "coding identity": (LINE + HOST + b"Transfer-Encoding: identity\r\n" + SIZED + END + BODY, 400),
    "coding twice": (LINE + HOST + CHUNKED + CHUNKED + END + CHUNKS, 400),
    "coding chunked, chunked": (LINE + HOST + b"Transfer-Encoding: chunked, chunked\r\n" + END + CHUNKS, 400),
    "coding with vertical tab": (LINE + HOST + b"Transfer-Encoding: \x0bchunked\r\n" + END + CHUNKS, 400),
    "coding in HTTP/1.0": (LINE.replace(b"1.1", b"1.0") + HOST + CHUNKED + END + CHUNKS, 400),
    "bare LF in the head": (sized().replace(b"\r\n", b"\n"), 400),
    "bare LF after one header": (LINE + HOST + SIZED + b"X-A: 1\n" + END + BODY, 400),
    "bare CR in a value": (sized(b"X-A: a\rb\r\n"), 400),
    "folded header": (sized(b"X-A: a\r\n b\r\n"), 400),
    "folded first header": (LINE + b" Host: 127.0.0.1\r\n" + SIZED + END + BODY, 400),
    "version 9.9": (sized(line=LINE.replace(b"1.1", b"9.9")), 400),
    "version 2.0": (sized(line=LINE.replace(b"1.1", b"2.0")), 400),
    "version 1.2": (sized(line=LINE.replace(b"1.1", b"1.2")), 400),
    "version missing": (b"GET /v1/files\r\n\r\n", 400),
    "host missing": (sized(host=b""), 400),
    "host empty": (sized(host=b"Host: \r\n"), 400),
    "host twice": (sized(host=HOST + HOST), 400),
    "host twice, one foreign": (sized(host=HOST + b"Host: evil.test\r\n"), 400),
    "host foreign": (sized(host=b"Host: evil.test\r\n"), 400),
    "host with path": (sized(host=b"Host: a/#@x\r\n"), 400),
    "host with user": (sized(host=b"Host: a@127.0.0.1\r\n"), 400),
    "host that only begins like ours": (sized(host=b"Host: 127.0.0.1.evil.test\r\n"), 400),
    "target absolute, other host": (sized(line=b"POST http://evil.test/v1/chat/completions HTTP/1.1\r\n"), 400),
    "target absolute, our host": (sized(line=b"POST http://127.0.0.1/v1/chat/completions HTTP/1.1\r\n"), 400),
    "target asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + END, 400),
    "target authority": (b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + HOST + END, 400),
    "target without slash": (get(b"v1/files"), 400),
    "target with space": (get(b"/v1/fi les"), 400),
    "target dots": (get(b"/v1/../api/keys"), 400),
    "target dots at the end": (get(b"/v1/files/.."), 400),
    "target dots coded": (get(b"/v1/%2e%2e/api/keys"), 400),
    "target dots coded in capitals": (get(b"/v1/%2E%2E/api/keys"), 400),
    "target dots half coded": (get(b"/v1/.%2e/api/keys"), 400),
    "target NUL coded": (get(b"/v1/files/%00"), 400),
    "target NUL": (get(b"/v1/files/\x00"), 400),
    "target not ASCII": (get("/v1/files/ü".encode()), 400),
    "header of 64 KB": (sized(b"X-A: " + b"a" * (64 << 10) + b"\r\n"), 431),
    "header just over 32 KB": (sized(b"X-A: " + b"a" * (33 << 10) + b"\r\n"), 431),
    "header name of 64 KB": (sized(b"X" * (64 << 10) + b": 1\r\n"), 431),
    "target of 64 KB": (get(b"/v1/" + b"a" * (64 << 10)), 431),
    "2,000 headers": (sized(b"".join(b"X-%d: 1\r\n" % n for n in range(2000))), 431),
    "129 headers": (sized(b"".join(b"X-%d: 1\r\n" % n for n in range(127))), 431),
    "NUL in a value": (sized(b"X-A: a\x00b\r\n"), 400),
    "space before the colon": (sized(b"X-A : 1\r\n"), 400),
    "space before the colon of a length": (LINE + HOST + b"Content-Length : 27\r\n" + END + BODY, 400),
    "no colon": (sized(b"X-A\r\n"), 400),
    "name empty": (sized(b": 1\r\n"), 400),
    "name with a space": (sized(b"X A: 1\r\n"), 400),
    "name not ASCII": (sized("Ü: 1\r\n".encode()), 400),
    "chunk size 0x1": (LINE + HOST + CHUNKED + END + b"0x1\r\na\r\n0\r\n\r\n", 400),
    "chunk size +1": (LINE + HOST + CHUNKED + END + b"+1\r\na\r\n0\r\n\r\n", 400),
    "chunk size 1_0": (LINE + HOST + CHUNKED + END + b"1_0\r\naaaaaaaaaaaaaaaa\r\n0\r\n\r\n", 400),
    "chunk size empty": (LINE + HOST + CHUNKED + END + b"\r\na\r\n0\r\n\r\n", 400),
    "chunk size of 17 digits": (LINE + HOST + CHUNKED + END + b"f" * 17 + b"\r\na\r\n0\r\n\r\n", 400),
    "chunk line by bare LF": (LINE + HOST + CHUNKED + END + b"1\na\r\n0\r\n\r\n", 400),
    "chunk without its end": (LINE + HOST + CHUNKED + END + b"1\r\nab\r\n0\r\n\r\n", 400),
    "trailer with a length": (LINE + HOST + CHUNKED + END + chunk(BODY) + b"0\r\nContent-Length: 9\r\n\r\n", 400),
    "chunk extension with LF": (LINE + HOST + CHUNKED + END + b"1;a\nb\r\na\r\n0\r\n\r\n", 400),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "only garbage": (b"\x00\xff\xfe garbage \r\n\r\n", 400),
    "method unknown": (sized(line=b"BREW /v1/chat/completions HTTP/1.1\r\n"), 400),
    "method in small letters": (sized(line=LINE.replace(b"POST", b"post")), 400),
    "websocket beside the API": (get(b"/ui", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), 400),
    "websocket with a body": (
        get(b"/v1/realtime", b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n") + b"abc",
        400,
    ),
}


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
def test_a_malformed_request_is_refused_closed_and_not_passed_on(
    worker: WorkerProcess, upstream: ScriptedUpstream, name: str, split: bool
) -> None:
    upstream.script(answer(b"{}"))
    data, status = CORPUS[name]
    with worker.connect() as connection:
        send(connection, data, split=split)
        got = read_answer(connection)
        assert got.status == status, (got.status, got.body)
        assert got.error["message"].startswith("headgate: ")
        assert got.header("connection") == "close"
        assert is_closed(connection)
    assert not upstream.seen
    assert_still_serves(worker, upstream)


def send(connection: socket.socket, data: bytes, *, split: bool) -> None:
    """In one piece, or in two that meet somewhere inside the head."""
    try:
        middle = min(len(data) // 2, 600)
        if split:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(data[:middle])
            data = data[middle:]
        connection.sendall(data)
    except OSError:
        return  # refused before it was all read; the answer is there


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side ends the connection."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    return True


def assert_still_serves(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    assert worker.process.poll() is None
    assert call(worker.port, request_bytes()).status == 200
    upstream.seen.clear()


def test_a_malformed_body_is_recorded_as_refused(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    before = len(worker.entries()[1])
    got = call(worker.port, LINE + HOST + CHUNKED + END + chunk(BODY[:5]) + b"zz\r\n")
    (final,) = worker.recorded(before + 1)[before:]
    assert (final.outcome, final.status, final.error_type, final.upstream) == ("refused", 400, "bad_http", None)
    assert got.header("x-headgate-request-id") == final.request_id
    assert not upstream.seen


# What looks odd and is fine.
FINE: dict[str, bytes] = {
    "host with a port": sized(host=b"Host: 127.0.0.1:4400\r\n"),
    "host localhost": sized(host=b"Host: LocalHost:1\r\n"),
    "host of IPv6": sized(host=b"Host: [::1]:4400\r\n"),
    "header of 30 KB": sized(b"X-A: " + b"a" * (30 << 10) + b"\r\n"),
    "126 headers": sized(b"".join(b"X-%d: 1\r\n" % n for n in range(126))),
    "no space after the colon": sized(b"X-A:1\r\n"),
    "empty value": sized(b"X-A:\r\n"),
    "value in Latin-1": sized(b"X-A: \xfc\r\n"),
    "chunked": LINE + HOST + CHUNKED + END + CHUNKS,
    "chunked with extension": LINE + HOST + CHUNKED + END + b"1b;a=b\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunked with trailers": LINE + HOST + CHUNKED + END + chunk(BODY) + b"0\r\nX-T: 1\r\nHost: evil.test\r\n\r\n",
    "upgrade to HTTP/2 offered": sized(
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    ),
    "chunked byte by byte": LINE + HOST + CHUNKED + END + b"".join(chunk(b"%c" % c) for c in BODY) + b"0\r\n\r\n",
    "empty lines before": b"\r\n\r\n" + sized(),
    "dots in a name": get(b"/v1/files/a..b"),
    "query with anything": get(b"/v1/files?a=%2e%41/b?c"),
}


@pytest.mark.parametrize("name", FINE)
def test_an_unusual_but_valid_request_is_served(worker: WorkerProcess, upstream: ScriptedUpstream, name: str) -> None:
    upstream.script(answer(b'{"fine":1}'))
    got = call(worker.port, FINE[name])
    assert (got.status, got.body) == (200, b'{"fine":1}')
    (seen,) = upstream.seen
    assert seen.header("transfer-encoding") is None
    if seen.request_line.startswith(b"POST"):
        assert seen.body == BODY
    assert b"X-T" not in seen.head


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Origin": "https://evil.test"}, 403, "foreign_origin"),
        ({"Origin": "null"}, 403, "foreign_origin"),
        ({"Sec-Fetch-Site": "cross-site"}, 403, "cross_site"),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403, "cross_site"),
        ({"Origin": "http://127.0.0.1"}, 200, ""),
        ({"Sec-Fetch-Site": "same-origin"}, 200, ""),
        ({"Sec-Fetch-Site": "none"}, 200, ""),
    ],
)
def test_a_page_of_another_site_may_not_call(
    worker: WorkerProcess, upstream: ScriptedUpstream, headers: dict[str, str], status: int, code: str
) -> None:
    upstream.script(answer(b"{}"))
    got = call(worker.port, request_bytes(headers=headers))
    assert got.status == status
    assert len(upstream.seen) == (1 if status == 200 else 0)
    if code:
        assert got.error["code"] == code


def test_a_foreign_host_may_ask_for_health_only(worker: WorkerProcess) -> None:
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/", 400), ("/ui/requests", 400), ("/api/keys", 400)):
        got = call(worker.port, request_bytes(path, b"", method="GET", host="evil.test"))
        assert got.status == status, path
    got = call(worker.port, request_bytes(host="evil.test"))
    assert (got.status, got.error["code"]) == (400, "unknown_host")
    assert "server.hosts" in got.error["message"]


def test_a_link_from_another_site_leads_to_a_page_and_nothing_else_does(worker: WorkerProcess) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    # No control process behind this worker: 503 is what lies beyond the edge.
    assert call(worker.port, request_bytes("/ui/requests", b"", method="GET", headers=link)).status == 503
    assert call(worker.port, request_bytes("/ui/login", b"a=b", headers=link)).status == 403
    fetched = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert call(worker.port, request_bytes("/ui/requests", b"", method="GET", headers=fetched)).status == 403


def test_a_client_that_leaves_during_its_upload_is_recorded_and_calls_nothing(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    before = len(worker.entries()[1])
    with worker.connect() as connection:
        connection.sendall(LINE + HOST + b"Content-Length: 1000\r\n" + END + BODY)
    (final,) = worker.recorded(before + 1)[before:]
    assert (final.outcome, final.status, final.upstream) == ("client_closed", None, None)
    assert not upstream.seen


def test_a_half_closed_client_still_gets_its_answer_or_is_recorded_as_gone(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script([0.1, *answer(b"{}")])
    before = len(worker.entries()[1])
    with worker.connect() as connection:
        connection.sendall(request_bytes())
        connection.shutdown(socket.SHUT_WR)
        got = read_answer(connection)
    (final,) = worker.recorded(before + 1)[before:]
    assert (got.status, final.outcome) in ((200, "ok"), (0, "client_closed"))


def test_pipelined_requests_are_answered_in_order_and_too_many_are_cut(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.reply_with = lambda seen: answer(seen.body)
    bodies = [b'{"model":"m%d"}' % number for number in range(5)]
    with worker.connect() as connection:
        connection.sendall(b"".join(request_bytes(body=body) for body in bodies))
        assert [body for body in read_all(connection, 5)] == bodies
    flood = b"".join(request_bytes(body=b'{"model":"f%d"}' % number) for number in range(50))
    upstream.reply_with = None
    upstream.script(["wait-gone"])
    with worker.connect() as connection:
        connection.sendall(flood)
        assert is_closed(connection)
    assert len(upstream.seen) <= 5 + 9
    upstream.script(answer(b"{}"))
    assert_still_serves(worker, upstream)


def read_all(connection: socket.socket, count: int) -> list[bytes]:
    """The bodies of so many sized answers on one connection."""
    data = b""
    bodies: list[bytes] = []
    while len(bodies) < count:
        piece = connection.recv(65536)
        assert piece, data
        data += piece
        while b"\r\n\r\n" in data:
            head, _, rest = data.partition(b"\r\n\r\n")
            length = next(
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            if len(rest) < length:
                break
            bodies.append(rest[:length])
            data = rest[length:]
    return bodies


def test_a_smuggled_second_request_is_refused_after_the_first(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(answer(b'{"first":1}'))
    body = b'{"model":"smuggled","messages":[]}'
    sized = b"Content-Length: %d\r\n" % len(body)
    smuggled = LINE + HOST + sized + CHUNKED + END + chunk(body) + b"0\r\n\r\n"
    with worker.connect() as connection:
        connection.sendall(request_bytes())
        assert read_answer(connection).status == 200
        connection.sendall(smuggled)
        assert read_answer(connection).status == 400
        assert is_closed(connection)
    # By its content: the upstream is shared, and a call of the test before may still have been on its way to it.
    assert upstream.seen
    assert not [one for one in upstream.seen if b"smuggled" in one.body or b"chunked" in one.head.lower()]


def test_an_http_1_0_client_gets_its_answer_and_the_end_of_its_connection(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(answer(b'{"a":1}'))
    old = sized(line=LINE.replace(b"1.1", b"1.0"))
    with worker.connect() as connection:
        connection.sendall(old)
        got = read_answer(connection)
        assert (got.status, got.body) == (200, b'{"a":1}')
        assert is_closed(connection)
    events = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\ndata: [DONE]\n\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    upstream.script([head + chunk(events) + b"0\r\n\r\n"])
    got = call(worker.port, old)
    assert got.header("transfer-encoding") is None
    assert got.body == events


def test_a_huge_header_takes_no_memory(worker: WorkerProcess) -> None:
    before = resident_bytes(worker)
    with worker.connect() as connection:
        sent = 0
        try:
            connection.sendall(LINE + HOST + b"X-A: ")
            while sent < 512 << 20:
                sent += connection.send(b"a" * 65536)
        except OSError:
            pass
        assert sent < 256 << 20  # the kernel holds a good part of it on both sides
    assert resident_bytes(worker) - before < 8 << 20


def resident_bytes(worker: WorkerProcess) -> int:
    with open(f"/proc/{worker.process.pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_hundreds_of_bad_clients_at_once_leave_the_others_alone(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(answer(b"{}"))
    idle = [worker.connect() for _ in range(200)]
    for number, connection in enumerate(idle):
        connection.sendall((LINE + HOST)[: number % 50])
    results: list[Got] = []
    threads = [threading.Thread(target=lambda: results.append(call(worker.port, request_bytes()))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [got.status for got in results] == [200] * 20
    for connection in idle:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("data", [b"POST /v1/chat", LINE + HOST + b"X-A: 1\r\n"], ids=["line", "headers"])
def test_a_head_that_stops_arriving_is_closed_after_ten_seconds(worker: WorkerProcess, data: bytes) -> None:
    connection = worker.connect()
    connection.settimeout(60)
    connection.sendall(data)
    began_s = time.monotonic()
    assert is_closed(connection)
    connection.close()
    assert 9 < time.monotonic() - began_s < 15


@pytest.mark.slow
def test_a_body_that_stops_arriving_is_ended_after_thirty_seconds(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    connection = worker.connect()
    connection.settimeout(60)
    connection.sendall(LINE + HOST + b"Content-Length: 1000\r\n" + END + BODY)
    got = read_answer(connection)
    assert is_closed(connection)
    connection.close()
    assert (got.status, json.loads(got.body)["error"]["code"]) == (400, "upload_timeout")
    assert not upstream.seen


def test_a_client_that_sends_its_head_slowly_but_steadily_is_served(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(answer(b'{"slow":1}'))
    with worker.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in sized():
            connection.sendall(bytes([byte]))
        assert read_answer(connection).body == b'{"slow":1}'
    eventually(lambda: upstream.seen, within_s=5, what="the request at the upstream")
