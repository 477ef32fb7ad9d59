"""Large JSON bodies: routed by their members, never whole in memory, changed only where a route says so."""

import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from headgate.core.settings import Log, Route, Server, Target, Timeout, Upstream
from headgate.spool.record import FinalRecord
from support.client import Got, read_answer
from support.memory import Growth
from support.server import eventually
from support.settings import settings_for
from support.upstream import ScriptedUpstream, Seen, answer, chunk, stream
from support.worker import WorkerProcess

CHAT = "/v1/chat/completions"
FIRST, LAST = "model first", "model last"
CONTENT = json.dumps('Grüße \\ "quoted" model: {"model":"x"} ' * 40_000).encode()  # 2 MB, with what looks like members
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9}}\n\n'
EVENT = b'data: {"id":"c1","model":"mx","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'


@pytest.fixture(scope="module")
def between(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[WorkerProcess, ScriptedUpstream, ScriptedUpstream]]:
    upstream, second = ScriptedUpstream(), ScriptedUpstream()
    patient = Timeout(first_byte_s=60.0)
    one = Upstream(name="main", kind="openai", base_url=upstream.base_url, timeout=patient)
    two = Upstream(name="second", kind="openai", base_url=second.base_url, timeout=patient)
    routes = (
        Route(model="alias", targets=(Target(upstream="main", model="renamed-here"),)),
        Route(
            model="two",
            targets=(Target(upstream="main", model="a"), Target(upstream="second", model="b")),
            fallback_on=(500,),
        ),
        Route(model="*", targets=(Target(upstream="main"),)),
    )
    server = Server(default_upstream={"openai": "main"}, max_body_mb=200, drain_s=2)
    settings = settings_for(one, two, routes=routes, server=server, log=Log(capture_mb=16))
    worker = WorkerProcess(tmp_path_factory.mktemp("worker"), settings)
    yield worker, upstream, second
    worker.stop()
    upstream.close()
    second.close()


@pytest.fixture
def worker(between: tuple[WorkerProcess, ScriptedUpstream, ScriptedUpstream]) -> WorkerProcess:
    return between[0]


@pytest.fixture
def upstream(between: tuple[WorkerProcess, ScriptedUpstream, ScriptedUpstream]) -> ScriptedUpstream:
    between[1].seen.clear()
    between[1].reply_with = None
    return between[1]


def body_of(place: str, model: str = "m", more: bytes = b"") -> bytes:
    """A request of 2 MB with its model before or behind the content."""
    content = b'"messages":[{"role":"user","content":%b}]' % CONTENT
    named = b'"model":"%b"%b' % (model.encode(), more)
    return b"{" + b", ".join([named, content] if place == FIRST else [content, named]) + b"}\n"


def send(worker: WorkerProcess, body: bytes, *, in_chunks: bool = False, path: str = CHAT) -> Got:
    with worker.connect() as client:
        client.settimeout(30)
        framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % len(body)
        client.sendall(head(path, framing))
        if in_chunks:
            for at in range(0, len(body), 99_991):
                client.sendall(chunk(body[at : at + 99_991]))
            client.sendall(b"0\r\n\r\n")
        else:
            client.sendall(body)
        return read_answer(client)


def head(path: str, framing: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n%b\r\n\r\n" % (
        path.encode(),
        framing,
    )


def record_of(worker: WorkerProcess, got: Got) -> FinalRecord:
    request_id = got.header("x-headgate-request-id")
    look = lambda: next((one for one in worker.entries()[1] if one.request_id == request_id), None)  # noqa: E731
    return eventually(look, within_s=5, what="its record")


@pytest.mark.parametrize("place", [FIRST, LAST])
@pytest.mark.parametrize("in_chunks", [False, True], ids=["sized", "in chunks"])
def test_a_large_body_is_the_same_upstream_and_in_the_log(
    worker: WorkerProcess, upstream: ScriptedUpstream, place: str, in_chunks: bool
) -> None:
    upstream.script(answer(b'{"id":"c1","model":"mx"}'))
    body = body_of(place)
    got = send(worker, body, in_chunks=in_chunks)
    assert (got.status, got.body) == (200, b'{"id":"c1","model":"mx"}')
    assert [seen.body == body for seen in upstream.seen] == [True]
    assert (upstream.seen[0].header("transfer-encoding") == "chunked") is in_chunks
    final = record_of(worker, got)
    assert (final.outcome, final.model_requested, final.request_bytes, final.capture) == ("ok", "m", len(body), "full")
    assert worker.bodies(final.request_id).request == body


@pytest.mark.parametrize("place", [FIRST, LAST])
@pytest.mark.parametrize("in_chunks", [False, True], ids=["sized", "in chunks"])
def test_only_the_model_of_a_large_body_is_changed_where_a_route_says_so(
    worker: WorkerProcess, upstream: ScriptedUpstream, place: str, in_chunks: bool
) -> None:
    upstream.script(answer(b"{}"))
    assert send(worker, body_of(place, "alias"), in_chunks=in_chunks).status == 200
    assert upstream.seen[0].body == body_of(place, "renamed-here")


def test_usage_is_asked_for_and_taken_out_where_a_large_body_was_read_to_its_end(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(stream(EVENT, USAGE, b"data: [DONE]\n\n"))
    body = body_of(LAST, more=b',"stream":true')
    got = send(worker, body)
    assert got.body == EVENT + b"data: [DONE]\n\n"
    assert upstream.seen[0].body == b'{"stream_options":{"include_usage":true},' + body[1:]
    assert record_of(worker, got).usage_raw == '{"prompt_tokens":5,"completion_tokens":9}'
    upstream.seen.clear()
    asked = body_of(LAST, more=b',"stream":true,"stream_options":{"include_usage":true}')
    assert send(worker, asked).body == EVENT + USAGE + b"data: [DONE]\n\n"
    assert upstream.seen[0].body == asked


def test_an_upstream_that_knows_no_stream_options_gets_the_large_body_again_without(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    refusal = answer(b'{"error":{"message":"Unknown field stream_options"}}', status="400 Bad Request")
    upstream.script(refusal, stream(EVENT, b"data: [DONE]\n\n"))
    body = body_of(LAST, more=b',"stream":true')
    assert send(worker, body).body == EVENT + b"data: [DONE]\n\n"
    assert [seen.body == body for seen in upstream.seen] == [False, True]


@pytest.mark.parametrize("place", [FIRST, LAST])
def test_the_next_target_gets_the_whole_of_a_large_body(
    between: tuple[WorkerProcess, ScriptedUpstream, ScriptedUpstream], upstream: ScriptedUpstream, place: str
) -> None:
    worker, _, second = between
    upstream.script(answer(b"{}", status="500 Oops"))
    second.script(answer(b'{"second":1}'))
    assert send(worker, body_of(place, "two")).body == b'{"second":1}'
    assert [seen.body for seen in (upstream.seen[-1], second.seen[-1])] == [body_of(place, "a"), body_of(place, "b")]


def test_a_second_model_behind_what_has_gone_upstream_ends_the_call(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(answer(b"{}"))
    body = body_of(FIRST)[:-2] + b',"mod\\u0065l":"dearer"}'
    got = send(worker, body)
    assert (got.status, got.error["code"]) == (400, "late_member")
    assert upstream.seen == []  # it never had the whole request
    assert record_of(worker, got).outcome == "refused"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"[" + CONTENT + b"]", 400, "invalid_json"),
        (b'{"model":5,"x":' + CONTENT + b"}", 400, "invalid_json"),
        (b'{"x":' + CONTENT + b',"model":"prompt:nobody"}', 404, "prompt_missing"),
        (b'{"x":' + CONTENT + b',"prompt":{"id":"nobody"}}', 404, "prompt_missing"),
    ],
    ids=["no object", "no text", "a prompt by its model", "a prompt by its id"],
)
def test_what_cannot_be_routed_is_refused_and_nothing_is_called(
    worker: WorkerProcess, upstream: ScriptedUpstream, body: bytes, status: int, code: str
) -> None:
    upstream.script(answer(b"{}"))
    got = send(worker, body)
    assert (got.status, got.error["code"]) == (status, code)
    assert upstream.seen == []


def open_files(worker: WorkerProcess) -> int:
    return len(os.listdir(f"/proc/{worker.process.pid}/fd"))


def test_the_beginning_goes_upstream_while_the_rest_arrives_and_nothing_is_left_of_a_client_that_leaves(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        worker.publish(
            settings_for(
                Upstream(name="main", kind="openai", base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1"),
                server=Server(default_upstream={"openai": "main"}, max_body_mb=200, drain_s=2),
            )
        )
        worker.taken_over()
        before = open_files(worker)
        body = body_of(FIRST)
        with worker.connect() as client:
            client.sendall(head(CHAT, b"Content-Length: %d" % (len(body) + 1000)) + body)
            connection, _ = listener.accept()
            with connection:
                got = b""
                while len(got) < len(body):
                    got += connection.recv(65536)
                client.close()
                with suppress(ConnectionResetError):
                    while connection.recv(65536):
                        pass
        eventually(lambda: open_files(worker) <= before, within_s=5, what="its file closed")
        assert list(worker.home.run.glob("tmp*")) == []


def upload(worker: WorkerProcess, megabytes: int, name: str) -> tuple[int, str]:
    """Send a JSON body with its model at the end, a piece at a time; status, and the hash of what was sent."""
    piece = b'{"role":"user","content":"' + name.encode() * (1 << 15) + b'"},'
    count = (megabytes << 20) // len(piece)
    tail = b'"end"],"model":"m"}'
    digest = hashlib.sha256(b'{"messages":[')
    with worker.connect() as client:
        client.settimeout(120)
        client.sendall(head(CHAT, b"Content-Length: %d" % (13 + count * len(piece) + len(tail))) + b'{"messages":[')
        for _ in range(count):
            client.sendall(piece)
            digest.update(piece)
        client.sendall(tail)
        digest.update(tail)
        return read_answer(client).status, digest.hexdigest()


class Hashing:
    """An upstream that hashes what it reads, as it reads."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.digests: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
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
        with connection:
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            start, _, rest = data.partition(b"\r\n\r\n")
            left = int(Seen(start, b"", 0).header("content-length") or 0) - len(rest)
            digest = hashlib.sha256(rest)
            while left:
                data = connection.recv(1 << 18)
                digest.update(data)
                left -= len(data)
            self.digests.append(digest.hexdigest())
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")


@pytest.mark.parametrize(
    ("count", "megabytes"), [(3, 12), pytest.param(10, 100, marks=pytest.mark.slow)], ids=["3 of 12 MB", "10 of 100 MB"]
)
def test_large_bodies_at_once_arrive_whole_and_take_little_memory(
    tmp_path_factory: pytest.TempPathFactory, record_property: Callable[[str, object], None], count: int, megabytes: int
) -> None:
    hashing = Hashing()
    one = Upstream(name="main", kind="openai", base_url=hashing.base_url, timeout=Timeout(first_byte_s=60.0))
    server = Server(default_upstream={"openai": "main"}, max_body_mb=200, drain_s=2)
    worker = WorkerProcess(tmp_path_factory.mktemp("large"), settings_for(one, server=server))
    growth, is_done = Growth(worker.process.pid), threading.Event()

    def watch() -> None:
        while not is_done.wait(0.01):
            growth.look()

    watching = threading.Thread(target=watch)
    watching.start()
    with ThreadPoolExecutor(count) as pool:
        sent = list(pool.map(lambda n: upload(worker, megabytes, "abcdefghij"[n]), range(count)))
    is_done.set()
    watching.join()
    finals = worker.recorded(count)
    worker.stop()
    hashing.close()
    figure = f"{count} JSON bodies of {megabytes} MB at once: a worker grew by {growth.most / (1 << 20):.0f} MB"
    record_property("figure", figure)
    print(figure)
    assert {status for status, _ in sent} == {200}
    assert sorted(hashing.digests) == sorted(digest for _, digest in sent)
    assert growth.most <= 128 << 20
    assert {final.capture for final in finals} == {"truncated" if megabytes > 16 else "full"}
    if megabytes > 16:
        assert sorted((final.fold_note or "").rpartition(" ")[2] for final in finals) == sorted(hashing.digests)
