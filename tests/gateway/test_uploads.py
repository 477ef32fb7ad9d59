"""Bodies that go upstream while they arrive: whole, at the speed of the slower side, and never all in memory."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from headgate.core.settings import Log, Server, Settings, Timeout, Upstream
from support.client import Got, read_answer
from support.memory import Growth
from support.settings import settings_for
from support.upstream import ScriptedUpstream, Seen, answer
from support.worker import WorkerProcess

PIECE = bytes(range(256)) * 1024  # 256 KB
MEDIA = "Content-Type: application/octet-stream\r\n"


def head(length: int | None, path: str = "/v1/files") -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{MEDIA}{framing}\r\n\r\n".encode()


def send(client: socket.socket, pieces: int, *, in_chunks: bool) -> str:
    """Send a large body; returns its hash."""
    digest = hashlib.sha256()
    client.sendall(head(None if in_chunks else pieces * len(PIECE)))
    for number in range(pieces):
        piece = number.to_bytes(8, "big") + PIECE[8:]
        digest.update(piece)
        client.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if in_chunks else piece)
    if in_chunks:
        client.sendall(b"0\r\n\r\n")
    return digest.hexdigest()


@contextmanager
def listening(
    start_worker: Callable[[Settings], WorkerProcess], timeout: Timeout | None = None, server: Server | None = None
) -> Iterator[tuple[WorkerProcess, socket.socket]]:
    """A worker before an upstream whose every byte the test reads itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        one = Upstream(name="main", kind="openai", base_url=base_url, timeout=timeout or Timeout(first_byte_s=5))
        yield start_worker(settings_for(one, server=server)), listener


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    start, _, rest = data.partition(b"\r\n\r\n")
    return start, rest


def rest_of(connection: socket.socket) -> int:
    """How many bytes still come until the peer closes, cleanly or not."""
    count = 0
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            count += len(piece)
    return count


@pytest.mark.parametrize("in_chunks", [False, True], ids=["sized", "in chunks"])
def test_a_large_body_arrives_whole_framed_as_it_came(
    worker: WorkerProcess, upstream: ScriptedUpstream, in_chunks: bool
) -> None:
    digests: list[str] = []

    def reply(seen: Seen) -> list[bytes | float | str]:
        digests.append(hashlib.sha256(seen.body).hexdigest())
        return answer(b'{"id":"file-1"}')

    upstream.reply_with = reply
    with worker.connect() as client:
        for _ in range(2):  # the connection goes on
            digest = send(client, 16, in_chunks=in_chunks)
            got = read_answer(client)
            assert (got.status, got.body, digests.pop()) == (200, b'{"id":"file-1"}', digest)
    assert (upstream.seen[0].header("transfer-encoding") == "chunked") is in_chunks
    assert (upstream.seen[0].header("content-length") is None) is in_chunks
    finals = worker.recorded(2)
    assert [(final.outcome, final.request_bytes, final.response_id) for final in finals] == [
        ("ok", 4 << 20, "file-1")
    ] * 2
    assert len(worker.bodies(finals[0].request_id).request) == 4 << 20


def test_the_first_bytes_go_upstream_before_the_last_have_come(
    start_worker: Callable[[Settings], WorkerProcess],
) -> None:
    with listening(start_worker) as (worker, listener), worker.connect() as client:
        client.sendall(head(1 << 20) + b"first")
        connection, _ = listener.accept()
        with connection:
            start, rest = read_head(connection)
            while len(rest) < 5:
                rest += connection.recv(65536)
            assert (rest, b"Content-Length: 1048576" in start or b"content-length: 1048576" in start) == (
                b"first",
                True,
            )


@contextmanager
def uploading(client: socket.socket, pieces: int) -> Iterator[threading.Thread]:
    """A body of so many pieces on its way, sent by a thread."""

    def upload() -> None:
        client.sendall(head(pieces * len(PIECE)))
        for _ in range(pieces):
            client.sendall(PIECE)

    thread = threading.Thread(target=upload, daemon=True)
    thread.start()
    yield thread
    thread.join(10)
    assert not thread.is_alive()


def take(connection: socket.socket, rest: bytes, total: int, growth: Growth) -> None:
    """Read a body to its end, and answer."""
    digest, received = hashlib.sha256(rest), len(rest)
    while received < total:
        data = connection.recv(1 << 16)
        assert data, "the body was cut"
        digest.update(data)
        received += len(data)
        growth.look()
    assert digest.digest() == hashlib.sha256(PIECE * (total // len(PIECE))).digest()
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")


@contextmanager
def reading_slowly(
    start_worker: Callable[[Settings], WorkerProcess], total: int
) -> Iterator[tuple[WorkerProcess, Growth, threading.Thread]]:
    """An upload of ``total`` bytes whose upstream takes nothing of the body while the test looks, and then all."""
    server = Server(max_body_mb=200, default_upstream={"openai": "main"})
    with listening(start_worker, server=server) as (worker, listener):
        growth = Growth(worker.process.pid)
        with worker.connect() as client, uploading(client, total // len(PIECE)) as thread:
            connection, _ = listener.accept()
            with connection:
                _, rest = read_head(connection)
                yield worker, growth, thread
                take(connection, rest, total, growth)
                assert read_answer(client).status == 200


def test_what_a_slow_upstream_has_not_taken_waits_in_a_file_and_takes_no_memory(
    start_worker: Callable[[Settings], WorkerProcess],
) -> None:
    total = 48 << 20
    with reading_slowly(start_worker, total) as (worker, growth, thread):
        thread.join(10)
        assert not thread.is_alive(), "the client was held back"
    final = worker.recorded()[0]
    assert (final.outcome, final.request_bytes, final.capture) == ("ok", total, "truncated")
    digest = hashlib.sha256(PIECE * (total // len(PIECE))).hexdigest()
    kept = len(worker.bodies(final.request_id).request)
    assert final.fold_note == f"request: {kept} of {total} bytes kept, sha256 {digest}"
    assert 8 << 20 < kept <= 16 << 20
    assert growth.look() < 64 << 20  # 16 MB kept, which are there twice while they are stored


@pytest.mark.slow
def test_a_client_is_held_back_once_64_megabytes_wait(start_worker: Callable[[Settings], WorkerProcess]) -> None:
    total = 160 << 20
    with reading_slowly(start_worker, total) as (worker, growth, thread):
        thread.join(3)
        assert thread.is_alive(), "the client was not held back"
    assert worker.recorded()[0].request_bytes == total
    assert growth.look() < 64 << 20


def test_an_upstream_that_refuses_during_the_upload_is_heard_and_its_connection_not_used_again(
    start_worker: Callable[[Settings], WorkerProcess],
) -> None:
    with listening(start_worker) as (worker, listener), worker.connect() as client:
        client.sendall(head(1 << 20) + b"x" * 1000)
        connection, _ = listener.accept()
        with connection:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}")
            got = read_answer(client)
            assert (got.status, got.body, got.header("connection")) == (413, b"{}", "close")
            while connection.recv(65536):  # it is closed: what is left of the body will never come
                pass
    assert worker.recorded()[0].outcome == "upstream_error"


def test_a_client_that_leaves_during_its_upload_ends_it_upstream(
    start_worker: Callable[[Settings], WorkerProcess],
) -> None:
    with listening(start_worker) as (worker, listener):
        with worker.connect() as client:
            client.sendall(head(1 << 20) + b"x" * 1000)
            connection, _ = listener.accept()
            connection.settimeout(2)
            read_head(connection)
        with connection:
            assert rest_of(connection) < 1 << 20
        final = worker.recorded()[0]
        assert (final.outcome, final.upstream, final.request_bytes) == ("client_closed", "main", 1000)


def test_an_upstream_that_stops_reading_is_given_up_at_its_deadline(
    start_worker: Callable[[Settings], WorkerProcess],
) -> None:
    with listening(start_worker, Timeout(first_byte_s=0.5)) as (worker, listener), worker.connect() as client:
        got: list[Got] = []
        reader = threading.Thread(target=lambda: got.append(read_answer(client)))
        reader.start()
        client.sendall(head(40 << 20))
        for _ in range(160):
            client.sendall(PIECE)
        reader.join(10)
        connection, _ = listener.accept()
        connection.close()
    assert (got[0].status, got[0].error["code"]) == (504, "upstream_timeout")
    assert worker.recorded()[0].outcome == "timeout"


def test_a_body_in_chunks_over_the_limit_is_refused_when_it_passes_it(
    start_worker: Callable[[Settings], WorkerProcess],
) -> None:
    server = Server(max_body_mb=1, default_upstream={"openai": "main"})
    with listening(start_worker, server=server) as (worker, listener), worker.connect() as client:
        client.sendall(head(None))
        for _ in range(5):
            client.sendall(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
        got = read_answer(client)
        assert (got.status, got.error["code"]) == (413, "body_too_large")
        connection, _ = listener.accept()
        with connection:
            assert rest_of(connection) < 5 << 18
    assert worker.recorded()[0].outcome == "refused"


def test_copies_of_many_large_bodies_share_what_memory_there_is_and_are_kept_whole(
    start_worker: Callable[[Settings], WorkerProcess], upstream: ScriptedUpstream
) -> None:
    def reply(seen: Seen) -> list[bytes | float | str]:
        return [1.0, *answer(b"{}")] if b"/files" in seen.request_line else answer(b'{"small":1}')

    upstream.reply_with = reply
    one = Upstream(name="main", kind="openai", base_url=upstream.base_url)
    worker = start_worker(settings_for(one, log=Log(capture_mb=16)))
    growth = Growth(worker.process.pid)
    with worker.connect() as first, worker.connect() as second, worker.connect() as third:
        for client, letter in ((first, b"a"), (second, b"b"), (third, b"c")):
            client.sendall(head(12 << 20) + letter * (12 << 20))
        with worker.connect() as small:
            small.sendall(b"GET /v1/small HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert read_answer(small, method="GET").body == b'{"small":1}'
        assert growth.look() < 32 << 20  # 24 MB of 36
        for client in (first, second, third):
            assert read_answer(client).status == 200
    finals = worker.recorded(4)
    assert {final.capture for final in finals} == {"full"}
    bodies = [worker.bodies(final.request_id).request for final in finals if final.path == "/v1/files"]
    assert sorted(bodies) == [letter * (12 << 20) for letter in (b"a", b"b", b"c")]
