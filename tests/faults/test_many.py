"""Thousands of connections at once: slow readers hold their upstreams back, idle ones cost little and are closed."""

import asyncio
import contextlib
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from headgate.core.settings import Timeout, Upstream
from support.client import call, read_answer, request_bytes
from support.memory import Growth
from support.settings import settings_for
from support.upstream import chunk
from support.worker import WorkerProcess

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * 900)
STREAM_BYTES = 10 << 20
STREAMED = b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
LIMIT_BYTES = 256 << 20


class EndlessUpstream:
    """Streams 10 MB to whoever asks, as fast as they are taken."""

    def __init__(self) -> None:
        self.sent = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=2048))
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        piece = chunk(EVENT) * 16
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(STREAM_BYTES // len(piece)):
                writer.write(piece)
                await writer.drain()
                self.sent += len(piece)
            writer.write(b"0\r\n\r\n")
        writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, EndlessUpstream]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 16_384:
        pytest.skip(f"this machine lets a process have {hard} files open; 16,384 are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (16_384, hard))
    upstream = EndlessUpstream()
    one = Upstream(name="main", kind="openai", base_url=upstream.base_url, timeout=Timeout(first_byte_s=60.0))
    worker = WorkerProcess(tmp_path_factory.mktemp("worker"), settings_for(one))
    yield worker, upstream
    worker.stop()
    upstream.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connected(worker: WorkerProcess, count: int, receive_bytes: int | None = None) -> list[socket.socket]:
    clients = []
    for _ in range(count):
        client = socket.socket()
        if receive_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(30)
        client.connect(("127.0.0.1", worker.port))
        clients.append(client)
    return clients


@pytest.mark.slow
def test_five_thousand_idle_connections_take_little_and_are_closed_at_their_timeout(
    endless: tuple[WorkerProcess, EndlessUpstream], record_property: Callable[[str, object], None]
) -> None:
    worker, _ = endless
    growth = Growth(worker.process.pid)
    began_s = time.monotonic()
    idle = connected(worker, 5000)
    for client in idle[::2]:  # half of them have been used
        client.sendall(request_bytes("/healthz", b"", method="GET"))
        assert read_answer(client, method="GET").is_whole
    used_s = time.monotonic()
    most = growth.look()
    assert call(worker.port, request_bytes("/healthz", b"", method="GET"), method="GET").status == 200
    for client in idle:
        client.settimeout(100)
        assert client.recv(65536) == b""
    closed_s = time.monotonic()
    for client in idle:
        client.close()
    figure = (
        f"5,000 idle connections: a worker grew by {most / (1 << 20):.0f} MB; "
        f"all closed {closed_s - used_s:.0f} s after the last was used"
    )
    record_property("figure", figure)
    print(figure)
    assert most <= LIMIT_BYTES
    assert 70 < closed_s - began_s < 150


@pytest.mark.slow
def test_a_thousand_slow_readers_hold_their_upstreams_back_within_256_megabytes(
    endless: tuple[WorkerProcess, EndlessUpstream], record_property: Callable[[str, object], None]
) -> None:
    worker, upstream = endless
    growth = Growth(worker.process.pid)
    readers = connected(worker, 1000, 4096)
    for client in readers:
        client.sendall(request_bytes(body=STREAMED))
    began_s = time.monotonic()
    while time.monotonic() - began_s < 20:  # each reads some 1 KB/s
        for client in readers:
            assert client.recv(1024)
        growth.look()
    assert call(worker.port, request_bytes("/healthz", b"", method="GET"), method="GET").status == 200
    sent, most = upstream.sent, growth.most
    for client in readers:
        client.close()
    finals = worker.recorded(1000, within_s=60)
    figure = f"1,000 slow readers of 10 MB streams: a worker grew by {most / (1 << 20):.0f} MB"
    record_property("figure", figure)
    print(figure)
    assert most <= LIMIT_BYTES
    assert sent < 1000 * STREAM_BYTES * 0.9, "the upstreams were not held back"
    assert {final.outcome for final in finals} == {"client_closed"}
