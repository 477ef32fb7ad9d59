"""Clients that leave, at every stage of a call: the upstream is stopped at once and the row says what there was."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from headgate.core.settings import Log, Server, Timeout, Upstream
from headgate.spool.record import FinalRecord
from support.client import request_bytes
from support.server import eventually
from support.settings import settings_for
from support.upstream import STREAM_HEAD, chunk
from support.worker import WorkerProcess

EVENT = b'data: {"id":"c1","model":"mx","choices":[{"index":0,"delta":{"content":"Hello there"}}]}\n\n'
HALF = b'{"id":"c1","model":"mx","choices":[{"message":{"content":"Hello'
SIZED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
STREAMED = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"Say hello to me"}]}'
PLAIN = b'{"model":"m","messages":[{"role":"user","content":"Say hello to me"}]}'
UPLOAD = (
    b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
)
LARGE = 32 << 20


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What the client sends, what the upstream answers before it waits, and what the client reads before it leaves."""

    request: bytes
    answer: bytes = b""
    reads: bytes = b""
    upstream_reads: bool = True
    resets: bool = False  # it leaves by a reset, as one does that has not read all it was sent
    response: bytes = b""  # what the log must have of the answer


STAGES = {
    "before the head": Stage(request=request_bytes(body=STREAMED)),
    "whole answer awaited": Stage(request=request_bytes(body=PLAIN)),
    "head alone": Stage(request=request_bytes(body=STREAMED), answer=STREAM_HEAD, reads=b"\r\n\r\n"),
    "in the stream": Stage(
        request=request_bytes(body=STREAMED), answer=STREAM_HEAD + chunk(EVENT), reads=EVENT, response=EVENT
    ),
    "in a whole answer": Stage(request=request_bytes(body=PLAIN), answer=SIZED + HALF, reads=HALF, response=HALF),
    "in the upload": Stage(request=UPLOAD % LARGE + b"x" * 1000),
    "in an upload held back": Stage(request=UPLOAD % LARGE + b"x" * (16 << 20), upstream_reads=False),
    "by a reset in an upload held back": Stage(
        request=UPLOAD % LARGE + b"x" * (16 << 20), upstream_reads=False, resets=True
    ),
    "with a request behind it": Stage(request=request_bytes(body=STREAMED) * 2),
}


class Watching:
    """An upstream that notes when each of its connections was closed by the gateway."""

    def __init__(self) -> None:
        self.stage = STAGES["before the head"]
        self.closed: list[float] = []
        self.has_request = threading.Semaphore(0)
        self.may_read = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
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
        stage, data = self.stage, b""
        with connection:
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            if stage.answer:
                connection.sendall(stage.answer)
            self.has_request.release()
            poll = socket_state if not stage.upstream_reads else None
            with contextlib.suppress(OSError):
                while poll(connection) if poll is not None else connection.recv(65536):
                    pass
            self.closed.append(time.monotonic())


def socket_state(connection: socket.socket) -> bool:
    """Whether the peer still holds its side, seen without reading what it sent."""
    time.sleep(0.005)
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1  # ESTABLISHED


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, Watching]]:
    upstream = Watching()
    one = Upstream(name="main", kind="openai", base_url=upstream.base_url, timeout=Timeout(first_byte_s=60.0))
    settings = settings_for(one, server=Server(default_upstream={"openai": "main"}, drain_s=2), log=Log(capture_mb=1))
    worker = WorkerProcess(tmp_path_factory.mktemp("worker"), settings)
    yield worker, upstream
    worker.stop()
    upstream.close()


def leave(worker: WorkerProcess, upstream: Watching, stage: Stage) -> float:
    """One client that leaves at ``stage``; how long its upstream call lived on, in seconds."""
    upstream.stage, count = stage, len(upstream.closed)
    client = worker.connect()
    client.settimeout(0.05 if not stage.upstream_reads else 10)
    with contextlib.suppress(TimeoutError):  # the kernels on the way are full
        client.sendall(stage.request)
    assert upstream.has_request.acquire(timeout=10)
    seen = b""
    while stage.reads not in seen:
        seen += client.recv(65536)
    if stage.resets:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    left_s = time.monotonic()
    client.close()
    eventually(lambda: len(upstream.closed) > count or None, within_s=10, what="the end of the upstream call")
    return upstream.closed[-1] - left_s


def leave_often(
    worker: WorkerProcess, upstream: Watching, stage: Stage, times: int
) -> tuple[list[float], list[FinalRecord]]:
    before = len(worker.entries()[1])
    took = sorted(leave(worker, upstream, stage) for _ in range(times))
    return took, worker.recorded(before + times)[before:]


def assert_recorded(worker: WorkerProcess, finals: list[FinalRecord], stage: Stage) -> None:
    assert {(final.outcome, final.error_type, final.upstream) for final in finals} == {
        ("client_closed", "client_closed", "main")
    }
    assert worker.bodies(finals[-1].request_id).response == stage.response


@pytest.mark.parametrize("name", STAGES)
def test_a_client_that_leaves_ends_its_upstream_call_and_is_recorded(
    watched: tuple[WorkerProcess, Watching], name: str
) -> None:
    stage = STAGES[name]
    _, finals = leave_often(*watched, stage, 2 if len(stage.request) > 1 << 20 else 10)
    assert_recorded(watched[0], finals, stage)


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_of_two_hundred_that_leave_99_of_100_upstreams_are_closed_within_half_a_second(
    watched: tuple[WorkerProcess, Watching], name: str, record_property: Callable[[str, object], None]
) -> None:
    stage = STAGES[name]
    took, finals = leave_often(*watched, stage, 200)
    figure = f"{name}: p50 {took[100] * 1000:.1f} ms, p99 {took[198] * 1000:.1f} ms of {len(took)}"
    record_property("figure", figure)
    print(figure)
    assert took[198] < 0.5
    assert_recorded(watched[0], finals, stage)
