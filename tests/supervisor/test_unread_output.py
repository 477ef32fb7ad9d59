"""Nobody has to read what a server prints: it serves, stops in order and leaves nothing behind all the same."""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from support.server import eventually, is_running

ServeInto = Callable[[int], tuple[Popen[bytes], Path]]
_PIPE_BYTES = 4096
_REQUESTS = 40
_SHORT = {"model": "demo-chat", "messages": [{"role": "user", "content": "hi"}]}
_LONG = {"model": "demo-chat", "stream": True, "messages": [{"role": "user", "content": "a long story, please. " * 30}]}


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that holds 4 KB."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    yield reader, writer
    for end in (reader, writer):
        os.close(end)


def fill(writer: int) -> None:
    """Leave no byte of room in a pipe."""
    own = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(own, b"\n")
    finally:
        os.close(own)


def port_of(home: Path) -> int:
    """Where the server of this home listens."""
    return int(json.loads((home / "run" / "server.json").read_text())["url"].rpartition(":")[2])


def ask(port: int, path: str, body: Any = None) -> tuple[int, bytes]:
    """One call: status and the whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        data = None if body is None else json.dumps(body)
        connection.request("GET" if data is None else "POST", path, data, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def stored(port: int) -> int:
    """How many requests are in the log."""
    return int(json.loads(ask(port, "/api/requests?limit=1")[1])["total"]["requests"])


def children_of(process: Popen[bytes]) -> list[int]:
    """The PIDs of a process's children."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in listed.split()]


def test_a_server_stops_although_nobody_reads_what_it_prints(serve_into: ServeInto, full_pipe: tuple[int, int]) -> None:
    process, home = serve_into(full_pipe[1])
    port, children = port_of(home), children_of(process)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: ask(port, "/v1/chat/completions", _SHORT), range(_REQUESTS)))
    assert {status for status, _ in answers} == {200}
    eventually(lambda: stored(port) == _REQUESTS, within_s=10, what="all is stored")
    fill(full_pipe[1])
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not (home / "run" / "server.json").exists()
    assert not [pid for pid in children if is_running(pid)]


def test_a_server_whose_reader_left_lets_running_streams_end(serve_into: ServeInto) -> None:
    reader, writer = os.pipe()
    try:
        process, home = serve_into(writer)
    finally:
        os.close(writer)
    os.close(reader)
    port, children = port_of(home), children_of(process)
    assert ask(port, "/v1/chat/completions", {})[0] == 400  # printed into nothing
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/chat/completions", json.dumps(_LONG), {"content-type": "application/json"})
    answer = connection.getresponse()
    assert answer.readline().startswith(b"data:")
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.append(answer.read()))
    thread.start()
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
    thread.join(10)
    connection.close()
    assert read and read[0].rstrip().endswith(b"data: [DONE]")
    assert not (home / "run" / "server.json").exists()
    assert not [pid for pid in children if is_running(pid)]
