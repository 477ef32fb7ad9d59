"""What few clients and upstreams do and all may: it passes as it came, and nothing of one hop travels to the next."""

import gzip
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

import pytest

from headgate.core.settings import Route, Target, Upstream
from support.client import Got, call, read_answer, request_bytes
from support.memory import resident_bytes
from support.server import eventually
from support.settings import QUICK, settings_for
from support.upstream import STREAM_HEAD, ScriptedUpstream, answer, chunk, stream
from support.worker import WorkerProcess

HOST = b"Host: 127.0.0.1\r\n"
CHAT = b'{"model":"m","messages":[]}'
MARK = b"\xef\xbb\xbf"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, ScriptedUpstream]]:
    upstream = ScriptedUpstream()
    one = Upstream(name="main", kind="openai", base_url=upstream.base_url, timeout=QUICK)
    fast = Route(model="fast", targets=(Target(upstream="main", model="real-model-1"),), fallback_on=())
    worker = WorkerProcess(tmp_path_factory.mktemp("worker"), settings_for(one, routes=(fast,)))
    yield worker, upstream
    worker.stop()
    upstream.close()


@pytest.fixture
def worker(before: tuple[WorkerProcess, ScriptedUpstream]) -> WorkerProcess:
    return before[0]


@pytest.fixture
def upstream(before: tuple[WorkerProcess, ScriptedUpstream]) -> ScriptedUpstream:
    before[1].seen.clear()
    before[1].script(answer(b'{"a":1}'))
    return before[1]


def chat(body: bytes = CHAT, /, **headers: str) -> bytes:
    return request_bytes(body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


# Of one hop.


def test_every_connection_header_counts_both_ways(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    listed = b"Connection: X-Private, x-other\r\nX-Private: 1\r\nConnection: keep-alive\r\nX-Other: 2\r\nX-Kept: 3\r\n"
    upstream.script(answer(b"{}", extra="Connection: X-Hop\r\nX-Hop: 1\r\nconnection: keep-alive\r\nX-Stays: 1\r\n"))
    got = call(worker.port, b"GET /v1/files HTTP/1.1\r\n" + HOST + listed + b"\r\n", method="GET")
    assert (got.header("x-hop"), got.header("x-stays")) == (None, "1")
    (seen,) = upstream.seen
    assert (seen.header("x-private"), seen.header("x-other"), seen.header("x-kept")) == (None, None, "3")


def test_what_connection_lists_beside_an_offer_to_upgrade_stays_here(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    offer = b"Connection: close, Upgrade, X-Private\r\nUpgrade: h2c\r\nX-Private: 1\r\nX-Kept: 3\r\n"
    got = call(worker.port, b"GET /v1/files HTTP/1.1\r\n" + HOST + offer + b"\r\n", method="GET")
    assert got.header("connection") == "close"
    (seen,) = upstream.seen
    assert (seen.header("x-private"), seen.header("upgrade"), seen.header("x-kept")) == (None, None, "3")


def test_only_the_session_of_our_pages_is_taken_out_of_cookies(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    cookies = b"Cookie: a=1; __Host-headgate=token; b=2\r\nCookie: x=headgate\r\nCookie: __Host-headgate=token\r\n"
    call(worker.port, b"GET /v1/files HTTP/1.1\r\n" + HOST + cookies + b"\r\n", method="GET")
    lines = [line for line in upstream.seen[0].head.lower().split(b"\r\n") if line.startswith(b"cookie")]
    assert lines == [b"cookie: a=1; b=2", b"cookie: x=headgate"]


def test_a_stream_whose_usage_is_taken_out_is_asked_for_plain_however_often_codings_are_named(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(stream(b"data: [DONE]\n\n"))
    data = chat(b'{"model":"m","stream":true}').replace(
        b"Host:", b"Accept-Encoding: gzip\r\nAccept-Encoding: br\r\nHost:"
    )
    assert call(worker.port, data).status == 200
    lines = [line for line in upstream.seen[0].head.lower().split(b"\r\n") if line.startswith(b"accept-encoding")]
    assert lines == [b"accept-encoding: identity"]


def test_trace_is_refused(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    got = call(worker.port, b"TRACE /v1/files HTTP/1.1\r\n" + HOST + b"\r\n", method="TRACE")
    assert (got.status, got.error["code"], upstream.seen) == (400, "method_refused", [])


# Endings and beginnings.


def test_a_client_of_http_1_0_is_never_told_to_continue(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    with worker.connect() as client:
        head = b"POST /v1/chat/completions HTTP/1.0\r\n" + HOST + b"Expect: 100-continue\r\n"
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(CHAT))
        client.sendall(CHAT)
        assert read_answer(client).status == 200


@pytest.mark.parametrize(
    ("extra", "rest"),
    [
        ({}, b"GARBAGE that is no request\r\n\r\n"),
        ({}, b"GET /v1/x HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n"),
        ({"Connection": "close"}, chat()),
    ],
    ids=["garbage", "a malformed request", "a request after close"],
)
def test_a_request_is_answered_whatever_follows_it(
    worker: WorkerProcess, upstream: ScriptedUpstream, extra: dict[str, str], rest: bytes
) -> None:
    with worker.connect() as client:
        client.sendall(chat(**extra) + rest)
        got = read_answer(client)
        assert (got.status, got.body, got.is_whole, got.header("connection")) == (200, b'{"a":1}', True, "close")
        assert client.recv(10) == b""
    assert len(upstream.seen) == 1


REFUSAL = b'HTTP/1.1 413 Too Large\r\ncontent-length: 13\r\nconnection: close\r\n\r\n{"too":"big"}'


@pytest.mark.parametrize(
    ("path", "media", "size"),
    [
        ("/v1/files", "application/octet-stream", 8 << 20),
        ("/v1/chat/completions", "application/json", 8 << 20),
        ("/v1/chat/completions", "application/json", 900_000),
    ],
    ids=["upload", "large JSON", "JSON"],
)
def test_an_upstream_that_refuses_a_body_and_closes_at_once_is_heard(
    tmp_path_factory: pytest.TempPathFactory,
    before: tuple[WorkerProcess, ScriptedUpstream],
    path: str,
    media: str,
    size: int,
) -> None:
    worker, upstream = before
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        worker.publish(settings_for(Upstream(name="main", kind="openai", base_url=base_url, timeout=QUICK)))
        worker.taken_over()
        threading.Thread(target=refuse_early, args=(listener,), daemon=True).start()
        body = b'{"model":"m","x":"' + b"a" * size + b'"}'
        data = request_bytes(path, body).replace(b"application/json", media.encode(), 1)
        got = send_and_read(worker, data)
    worker.publish(settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url, timeout=QUICK)))
    worker.taken_over()
    assert (got.status, got.body) == (413, b'{"too":"big"}')


def refuse_early(listener: socket.socket) -> None:
    """Read a head, refuse, and close with the body unread: a reset follows."""
    connection, _ = listener.accept()
    with connection:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(1024)
        connection.sendall(REFUSAL)


def send_and_read(worker: WorkerProcess, data: bytes) -> Got:
    """The answer to a request that may be refused while it is sent."""
    with worker.connect() as client:
        with suppress(ConnectionError):
            client.sendall(data)
        return read_answer(client)


EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'


@pytest.mark.parametrize("together", [True, False], ids=["in one segment", "apart"])
def test_what_came_before_the_damage_of_a_stream_is_passed_on(
    worker: WorkerProcess, upstream: ScriptedUpstream, together: bool
) -> None:
    begun, damage = STREAM_HEAD + chunk(EVENT), b"zz\r\n"
    upstream.script([begun + damage] if together else [begun, 0.2, damage])
    got = call(worker.port, chat(b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}'))
    assert (got.status, got.body, got.is_whole) == (200, EVENT, False)
    request_id = got.header("x-headgate-request-id")
    finals = eventually(
        lambda: [one for one in worker.entries()[1] if one.request_id == request_id], within_s=5, what="its record"
    )
    assert (finals[0].outcome, finals[0].output_chars) == ("upstream_aborted", 2)


# Bodies that must be undone to be read.

CODED = {
    "gzip": ("gzip", gzip.compress(CHAT, mtime=0)),
    "deflate": ("deflate", zlib.compress(CHAT)),
    "identity": ("identity", CHAT),
    "gzip in two members": ("gzip", gzip.compress(CHAT[:5], mtime=0) + gzip.compress(CHAT[5:], mtime=0)),
}


@pytest.mark.parametrize("name", CODED)
def test_a_coded_body_is_read_and_passes_as_it_came(
    worker: WorkerProcess, upstream: ScriptedUpstream, name: str
) -> None:
    coding, body = CODED[name]
    got = call(worker.port, chat(body, Content_Encoding=coding))
    assert got.status == 200
    (seen,) = upstream.seen
    assert (seen.body, seen.header("content-encoding")) == (body, coding)
    final = next(one for one in worker.entries()[1] if one.request_id == got.header("x-headgate-request-id"))
    assert (final.model, final.request_encoding, final.request_bytes) == ("m", coding, len(body))
    assert worker.bodies(final.request_id).request == body


def test_a_coded_body_whose_model_is_another_is_sent_plain(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    worker.publish(
        settings_for(
            Upstream(name="main", kind="openai", base_url=upstream.base_url, timeout=QUICK),
            routes=(Route(model="fast", targets=(Target(upstream="main", model="real"),), fallback_on=()),),
        )
    )
    worker.taken_over()
    body = gzip.compress(b'{"model": "fast" ,"x":1.0}')
    assert call(worker.port, chat(body, Content_Encoding="gzip")).status == 200
    (seen,) = upstream.seen
    assert (seen.body, seen.header("content-encoding")) == (b'{"model": "real" ,"x":1.0}', None)


def test_a_coded_stream_is_not_asked_for_usage(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(stream(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n', b"data: [DONE]\n\n"))
    body = gzip.compress(b'{"model":"m","stream":true}', mtime=0)
    assert call(worker.port, chat(body, Content_Encoding="gzip")).status == 200
    assert upstream.seen[0].body == body


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", CHAT),
        ("gzip, gzip", gzip.compress(gzip.compress(CHAT))),
        ("x-unheard", CHAT),
        ("gzip", gzip.compress(b" " * (20 << 20))),
    ],
    ids=["no gzip", "twice", "unknown", "20 MB of blanks"],
)
def test_a_body_that_cannot_be_undone_is_refused(
    worker: WorkerProcess, upstream: ScriptedUpstream, coding: str, body: bytes
) -> None:
    got = call(worker.port, chat(body, Content_Encoding=coding))
    assert (got.status, got.error["code"], upstream.seen) == (400, "unreadable_coding", [])


@pytest.mark.parametrize(
    "body",
    [
        MARK + CHAT,
        b'{"model":"m","stream":"true","messages":[]}',
        b'{"model":"m","stream":1,"messages":[]}',
        b'{"model":"m","stream":{"a":[]},"messages":[]}',
    ],
    ids=["a byte order mark", "stream as a text", "stream as a number", "stream as an object"],
)
def test_what_only_the_upstream_can_judge_passes(
    worker: WorkerProcess, upstream: ScriptedUpstream, body: bytes
) -> None:
    got = call(worker.port, chat(body))
    assert (got.status, upstream.seen[0].body) == (200, body)
    assert json.loads(got.body) == {"a": 1}


def test_an_answer_that_lists_its_length_as_hop_by_hop_still_ends(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(answer(b'{"model":"m"}', extra="connection: content-length, x-hop\r\nx-hop: 1\r\n"))
    with worker.connect() as client:
        for _ in range(2):
            client.sendall(request_bytes())
            got = read_answer(client)
            assert (got.status, got.header("content-length"), got.body) == (200, "13", b'{"model":"m"}')
            assert got.header("x-hop") is None


def test_long_names_of_answers_fields_are_not_kept(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    numbers = count()
    upstream.reply_with = lambda seen: answer(b"{}", extra=f"x-{next(numbers)}-{'n' * 60_000}: 1\r\n")
    with worker.connect() as client:
        for at in range(400):
            client.sendall(request_bytes())
            assert read_answer(client).status == 200
            if at == 20:
                before = resident_bytes(worker.process.pid)
    assert resident_bytes(worker.process.pid) - before < 12 << 20
