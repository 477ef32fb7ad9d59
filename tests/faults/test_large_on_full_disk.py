"""A disk that is really full under a worker: large JSON bodies wait in a bounded part of memory, and are served."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from headgate.core.settings import Log, Route, Server, Target, Timeout, Upstream
from support.client import Got, read_answer
from support.memory import Growth
from support.server import eventually
from support.settings import settings_for
from support.small_disk import NO_RIGHT, SmallDisk, small_disk
from support.upstream import ScriptedUpstream, answer
from support.worker import WorkerProcess

OK = answer(b'{"ok":true}')
MEMORY_BYTES = 64 << 20


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, ScriptedUpstream, SmallDisk]]:
    """A worker whose home has no byte left, before its upstream."""
    directory = tmp_path_factory.mktemp("worker")
    with small_disk(directory / "home", 80) as disk:
        if disk is None:
            pytest.skip(NO_RIGHT)
        upstream = ScriptedUpstream()
        patient = Timeout(first_byte_s=60.0)
        one, two = (
            Upstream(name=name, kind="openai", base_url=upstream.base_url, timeout=patient) for name in ("one", "two")
        )
        routes = (
            Route(
                model="both", targets=(Target(upstream="one"), Target(upstream="two", model="b")), fallback_on=(500,)
            ),
            Route(model="*", targets=(Target(upstream="one"),)),
        )
        server = Server(default_upstream={"openai": "one"}, max_body_mb=200, drain_s=2)
        worker = WorkerProcess(directory, settings_for(one, two, routes=routes, server=server, log=Log()))
        disk.fill()
        yield worker, upstream, disk
        worker.stop()
        upstream.close()


@pytest.fixture
def worker(full: tuple[WorkerProcess, ScriptedUpstream, SmallDisk]) -> WorkerProcess:
    return full[0]


@pytest.fixture
def upstream(full: tuple[WorkerProcess, ScriptedUpstream, SmallDisk]) -> ScriptedUpstream:
    full[1].seen.clear()
    full[1].script(OK)
    return full[1]


def body_of(megabytes: int, model: str = "m", *, is_model_first: bool = True) -> bytes:
    content = json.dumps([{"role": "user", "content": "wörd " * (megabytes << 20 >> 3)}])
    name = f'"model":"{model}"'
    return ("{" + ",".join([name, f'"messages":{content}'][:: 1 if is_model_first else -1]) + "}").encode()


def begin(client: socket.socket, body: bytes) -> None:
    client.settimeout(60)
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )


def send(worker: WorkerProcess, body: bytes) -> Got:
    with worker.connect() as client:
        begin(client, body)
        client.sendall(body)
        return read_answer(client)


@pytest.mark.parametrize("is_model_first", [True, False], ids=["model first", "model last"])
def test_a_large_body_is_served_and_is_the_same_upstream(
    worker: WorkerProcess, upstream: ScriptedUpstream, is_model_first: bool
) -> None:
    body = body_of(3, is_model_first=is_model_first)
    got = send(worker, body)
    assert (got.status, got.body) == (200, b'{"ok":true}')
    assert [seen.body == body for seen in upstream.seen] == [True]


def test_another_upstream_still_gets_the_whole_of_it(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(answer(b"{}", status="500 Internal Server Error"), OK)
    body = body_of(3, "both")
    assert send(worker, body).status == 200
    assert [seen.body for seen in upstream.seen] == [body, body.replace(b'"both"', b'"b"')]


@pytest.mark.slow
def test_a_body_larger_than_its_memory_goes_on_in_little_of_it(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    body = body_of(100)
    growth = Growth(worker.process.pid)
    assert len(body) > MEMORY_BYTES
    with worker.connect() as client:
        begin(client, body)
        for at in range(0, len(body), 1 << 20):
            client.sendall(body[at : at + (1 << 20)])
            growth.look()
        assert read_answer(client).status == 200
    assert upstream.seen[-1].body == body
    assert growth.most < MEMORY_BYTES // 2


@pytest.mark.slow
def test_beyond_the_memory_set_aside_a_large_body_is_refused_until_others_are_gone(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    body = body_of(24, is_model_first=False)  # none of it can go on before its end
    held = body[:-100]
    growth = Growth(worker.process.pid)
    with ExitStack() as stack:
        clients = [stack.enter_context(worker.connect()) for _ in range(2)]
        for client in clients:
            begin(client, body)
            client.sendall(held)
        refused = send_until_refused(worker, body)
        assert (refused.status, refused.error["code"], refused.header("retry-after")) == (503, "body_not_held", "5")
        assert refused.header("connection") == "close"
        for client in clients:
            client.sendall(body[-100:])
            assert read_answer(client).status == 200
    assert [seen.body == body for seen in upstream.seen] == [True, True]
    assert growth.look() < MEMORY_BYTES + (32 << 20)
    assert send(worker, body).status == 200


def send_until_refused(worker: WorkerProcess, body: bytes) -> Got:
    """The answer that comes before the whole body has gone out."""
    with worker.connect() as client:
        begin(client, body)
        client.sendall(body[: 20 << 20])
        return read_answer(client)


def test_once_there_is_room_large_bodies_wait_on_the_disk_again(
    full: tuple[WorkerProcess, ScriptedUpstream, SmallDisk], upstream: ScriptedUpstream
) -> None:
    worker, _, disk = full
    disk.empty()
    before = disk.free_bytes
    body = body_of(2, is_model_first=False)
    with worker.connect() as client:
        begin(client, body)
        client.sendall(body[:-1])
        eventually(lambda: before - disk.free_bytes >= len(body) - (1 << 17), within_s=5, what="the body on the disk")
        client.sendall(body[-1:])
        assert read_answer(client).status == 200
    assert upstream.seen[-1].body == body
