"""WebSockets through a worker: real clients, raw bytes, endings, and what the log has of it all."""

import asyncio
import json
import random
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection

from headgate.core.settings import Timeout
from support.client import read_answer
from support.later import Later
from support.memory import Growth
from support.sockets import (
    SECRET,
    RawUpstream,
    TalkingUpstream,
    handshake,
    read_head,
    rows_of,
    send,
    socket_settings,
    starts_of,
    switched,
)
from support.upstream import ScriptedUpstream, answer
from support.worker import WorkerProcess

openai = Later("openai")
CREATE = {"type": "response.create", "model": "gpt-x", "input": "hi"}
WAIT = {**CREATE, "input": "wait"}


@pytest.fixture(scope="module")
def talking() -> Iterator[TalkingUpstream]:
    upstream = TalkingUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def raw() -> Iterator[RawUpstream]:
    upstream = RawUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def worker(
    tmp_path_factory: pytest.TempPathFactory, talking: TalkingUpstream, raw: RawUpstream, plain: ScriptedUpstream
) -> Iterator[WorkerProcess]:
    path = tmp_path_factory.mktemp("sockets")
    started = WorkerProcess(path, socket_settings(talking, raw, plain.base_url, path / "secret"))
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def fresh(talking: TalkingUpstream, raw: RawUpstream) -> None:
    raw.step = 1 << 16
    for noted in (talking.requests, talking.received, raw.heads):
        noted.clear()


def url(worker: WorkerProcess, path: str) -> str:
    return f"ws://127.0.0.1:{worker.port}{path}"


def id_of(connection: Connection) -> str:
    assert isinstance(connection, ClientConnection) and connection.response is not None
    return connection.response.headers["x-headgate-request-id"]


def test_the_openai_client_holds_a_realtime_session_and_each_response_has_its_usage(
    worker: WorkerProcess, talking: TalkingUpstream
) -> None:
    client = openai.OpenAI(
        base_url=f"{worker.url}/v1", api_key="unused", default_headers={"x-headgate-session": "call-1"}
    )
    with client.realtime.connect(model="gpt-realtime", extra_headers={"OpenAI-Beta": "realtime=v1"}) as connection:
        assert connection.recv().type == "session.created"
        connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
        connection.input_audio_buffer.append(audio="QUJD" * 1000)
        connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello?"}]}
        )
        connection.response.create()
        kinds = [connection.recv().type for _ in range(5)]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.done"
    (request,) = talking.requests
    assert request.path == "/v1/realtime?model=gpt-realtime"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["OpenAI-Beta"] == "realtime=v1"
    assert not [name for name in request.headers if name.lower().startswith("x-headgate")]
    response, whole = rows_of(worker, "call-1", 2)
    assert (response.endpoint, response.outcome, response.status, response.model) == (
        "openai.realtime",
        "ok",
        200,
        "gpt-realtime-2026",
    )
    assert json.loads(response.usage_raw or "")["input_tokens"] == 40
    assert (response.finish_reason, response.output_chars) == ("completed", 5)
    assert response.capture == "truncated"
    assert response.fold_note == "the sound in 2 message(s) is left out"
    bodies = worker.bodies(response.request_id)
    said = [event["type"] for event in json.loads(bodies.request)]
    assert said == ["session.update", "conversation.item.create", "response.create"]
    assert b"Hel" in bodies.response
    assert b"QUJD" not in bodies.response
    assert (whole.endpoint, whole.status, whole.outcome, whole.finish_reason) == ("other", 101, "ok", "close_1000")
    assert (whole.model_requested, whole.usage_raw) == ("gpt-realtime", None)
    assert whole.request_bytes > 4000


def test_the_async_openai_client_has_responses_of_two_models_and_each_is_a_row(
    worker: WorkerProcess, talking: TalkingUpstream
) -> None:
    async def talk() -> None:
        client = openai.AsyncOpenAI(base_url=f"{worker.url}/v1", api_key="unused")
        async with client.responses.connect(extra_headers={"x-headgate-session": "two"}) as connection:
            for model in ("gpt-a", "gpt-b"):
                await connection.response.create(model=model, input="hi")
                kinds = [(await connection.recv()).type for _ in range(4)]
                assert kinds[-1] == "response.completed"

    asyncio.run(talk())
    first, second, _ = rows_of(worker, "two", 3)
    assert [(row.model_requested, row.model) for row in (first, second)] == [
        ("gpt-a", "gpt-a-2026"),
        ("gpt-b", "gpt-b-2026"),
    ]
    assert [json.loads(row.usage_raw or "")["input_tokens"] for row in (first, second)] == [10, 20]
    assert {row.endpoint for row in (first, second)} == {"openai.responses"}
    assert first.ttft_us is not None
    assert json.loads(worker.bodies(first.request_id).request)["model"] == "gpt-a"


def test_deflated_messages_pass_and_are_read(worker: WorkerProcess) -> None:
    with connect(url(worker, "/v1/responses"), compression="deflate") as connection:
        assert isinstance(connection, ClientConnection) and connection.response is not None
        assert "permessage-deflate" in connection.response.headers["Sec-WebSocket-Extensions"]
        for _ in range(2):
            connection.send(json.dumps(CREATE))
            assert "Hello" in [connection.recv(timeout=5) for _ in range(4)][-1]
        session = id_of(connection)
    rows = rows_of(worker, session, 3)
    assert [json.loads(row.usage_raw or "")["output_tokens"] for row in rows[:2]] == [2, 2]
    assert worker.bodies(rows[1].request_id).request == json.dumps(CREATE).encode()


def test_lanes_are_told_apart_and_a_refused_response_is_a_failed_row(
    worker: WorkerProcess, talking: TalkingUpstream
) -> None:
    with connect(url(worker, "/v1/responses")) as connection:
        connection.send(json.dumps({**WAIT, "stream_id": "a"}))
        [connection.recv(timeout=5) for _ in range(2)]
        connection.send(json.dumps({**CREATE, "stream_id": "b"}))
        [connection.recv(timeout=5) for _ in range(4)]
        connection.send(json.dumps({**CREATE, "input": "fail"}))
        connection.recv(timeout=5)
        session = id_of(connection)
    done, failed, cut, whole = rows_of(worker, session, 4)
    assert (done.outcome, done.output_chars) == ("ok", 5)
    assert (failed.outcome, failed.status, failed.error_message) == ("upstream_error", 400, "no such input")
    assert (cut.outcome, cut.output_chars, cut.usage_raw) == ("client_closed", 3, None)
    assert whole.outcome == "ok"
    assert len(starts_of(worker, session)) == 4


def test_bytes_pass_untouched_both_ways_whatever_they_are(worker: WorkerProcess, raw: RawUpstream) -> None:
    numbers = random.Random(7)
    ours, theirs = numbers.randbytes(300_000), numbers.randbytes(300_000)
    got: list[bytes] = []

    def script(connection: socket.socket) -> None:
        sender = threading.Thread(target=connection.sendall, args=(theirs,))
        sender.start()
        got.append(receive(connection, len(ours)))
        sender.join(10)
        connection.shutdown(socket.SHUT_WR)

    raw.script = script
    with switched(worker, "/v1/realtime?model=raw-x&a=%2f") as (connection, session):
        sender = threading.Thread(target=connection.sendall, args=(ours,))
        sender.start()
        assert receive(connection, len(theirs)) == theirs
        sender.join(10)
        assert connection.recv(1) == b""
    assert got == [ours]
    assert raw.heads[0].startswith(b"GET /v1/realtime?model=raw-x&a=%2f HTTP/1.1\r\n")
    (row,) = rows_of(worker, session, 1)
    assert (row.request_bytes, row.response_bytes) == (300_000, 300_000)
    assert "client: a frame" in (row.fold_note or "")


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(65536)):
        data += piece
    return data


@pytest.mark.parametrize("step", [1 << 16, 1, 7])
def test_what_the_server_says_with_its_handshake_and_the_client_before_it_arrives(
    worker: WorkerProcess, raw: RawUpstream, step: int
) -> None:
    raw.step = step
    early = Frame(Opcode.TEXT, b"early").serialize(mask=True)
    got: list[bytes] = []

    def script(connection: socket.socket) -> None:
        connection.sendall(b"\x81\x02hi")
        got.append(receive(connection, len(early)))

    raw.script = script
    with worker.connect() as connection:
        send(connection, handshake("/v1/realtime?model=raw-x") + early, step=step)
        head = read_head(connection)
        assert b"\r\nX-Odd: yes\r\n" in head
        assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        assert receive(connection, 4) == b"\x81\x02hi"
        assert connection.recv(1) == b""
    assert got == [early]


@pytest.mark.parametrize(
    ("code", "outcome", "error_type"),
    [(1000, "ok", None), (1001, "ok", None), (4001, "upstream_error", "close_4001")],
)
def test_the_servers_close_code_reaches_the_client_and_the_log(
    worker: WorkerProcess, code: int, outcome: str, error_type: str | None
) -> None:
    with connect(url(worker, "/v1/responses")) as connection:
        connection.send(json.dumps({"type": "close", "code": code, "reason": "so it is"}))
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=5)
        assert (connection.close_code, connection.close_reason) == (code, "so it is")
        session = id_of(connection)
    (row,) = rows_of(worker, session, 1)
    assert (row.outcome, row.error_type, row.finish_reason) == (outcome, error_type, f"close_{code}")


def test_the_clients_close_code_reaches_the_server_and_the_log(worker: WorkerProcess, raw: RawUpstream) -> None:
    got: list[bytes] = []

    def script(connection: socket.socket) -> None:
        got.append(receive(connection, 12))
        connection.sendall(b"\x88\x02\x0b\xb8")

    raw.script = script
    close = Frame(Opcode.CLOSE, struct.pack("!H", 3000) + b"done").serialize(mask=True)
    with switched(worker, "/v1/realtime?model=raw-x") as (connection, session):
        connection.sendall(close)
        assert receive(connection, 4) == b"\x88\x02\x0b\xb8"
        assert connection.recv(1) == b""
    assert got == [close]
    (row,) = rows_of(worker, session, 1)
    assert (row.outcome, row.error_type, row.finish_reason) == ("client_closed", "close_3000", "close_3000")


def test_a_client_that_vanishes_takes_its_upstream_along_and_leaves_what_it_got(
    worker: WorkerProcess, talking: TalkingUpstream, raw: RawUpstream
) -> None:
    gone = threading.Event()
    create = json.dumps({"type": "response.create", "model": "raw-x", "input": "hi"}).encode()
    events = (
        b'{"type":"response.created","response":{"id":"resp_9","model":"raw-1"}}',
        b'{"type":"response.output_text.delta","delta":"Hel"}',
    )
    said = b"".join(Frame(Opcode.TEXT, event).serialize(mask=False) for event in events)

    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(said)
        while connection.recv(65536):
            pass
        gone.set()

    raw.script = script
    with switched(worker, "/v1/responses?model=raw-x") as (connection, session):
        connection.sendall(Frame(Opcode.TEXT, create).serialize(mask=True))
        assert receive(connection, len(said)) == said
    assert gone.wait(5)
    response, whole = rows_of(worker, session, 2)
    assert (response.outcome, response.response_id, response.output_chars) == ("client_closed", "resp_9", 3)
    assert worker.bodies(response.request_id).request == create
    assert (whole.outcome, whole.finish_reason) == ("client_closed", None)


@pytest.mark.parametrize("is_reset", [True, False])
def test_an_upstream_that_breaks_off_is_an_abnormal_end_for_the_client(
    worker: WorkerProcess, raw: RawUpstream, is_reset: bool
) -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(b"\x81\x02hi")
        connection.recv(65536)
        if is_reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    raw.script = script
    with connect(url(worker, "/v1/realtime?model=raw-x")) as connection:
        assert connection.recv(timeout=5) == "hi"
        connection.send("go")
        with pytest.raises(ConnectionClosedError):
            connection.recv(timeout=5)
        assert connection.close_code == 1006
        session = id_of(connection)
    (row,) = rows_of(worker, session, 1)
    assert (row.outcome, row.error_type) == ("upstream_aborted", "upstream_aborted")


def test_an_answer_that_does_not_switch_is_an_answer_like_any_other(
    worker: WorkerProcess, plain: ScriptedUpstream
) -> None:
    body = b'{"error":{"message":"no realtime for you","code":"nope"}}'
    plain.script(answer(body, status="403 Forbidden", extra="x-request-id: req_9\r\nx-odd: 1\r\n"))
    with worker.connect() as connection:
        connection.sendall(handshake("/v1/realtime?model=plain-x", x_headgate_session="plain"))
        got = read_answer(connection, method="GET")
        assert connection.recv(1) == b""
    assert (got.status, got.body, got.header("x-odd"), got.header("connection")) == (403, body, "1", "close")
    (row,) = rows_of(worker, "plain", 1)
    assert (row.status, row.outcome, row.upstream_request_id) == (403, "upstream_error", "req_9")
    assert worker.bodies(row.request_id).response == body


def test_the_route_chooses_the_upstream_and_the_model_and_falls_back_before_the_switch(
    worker: WorkerProcess, talking: TalkingUpstream
) -> None:
    with connect(url(worker, "/v1/realtime?a=1&model=voice")) as connection:
        connection.recv(timeout=5)
        assert talking.requests[-1].path == "/v1/realtime?a=1&model=gpt-realtime"
    with connect(url(worker, "/v1/realtime?model=gone-x")) as connection:
        connection.recv(timeout=5)
        session = id_of(connection)
    (row,) = rows_of(worker, session, 1)
    assert [(attempt.upstream, attempt.status) for attempt in row.attempts] == [("gone", None), ("main", 101)]
    assert row.fallback_from == "gone"


def test_another_websocket_below_v1_passes_and_one_beside_it_or_over_the_account_does_not(
    worker: WorkerProcess, talking: TalkingUpstream
) -> None:
    with connect(url(worker, "/v1/live/sessions/s1/attach?x=1")) as connection:
        connection.send(json.dumps({"type": "say", "event": {"type": "session.usage"}}))
        assert connection.recv(timeout=5) == '{"type": "session.usage"}'
    assert talking.requests[-1].path == "/v1/live/sessions/s1/attach?x=1"
    for path, status in {"/v1/organization/stream": 403, "/api/requests": 400, "/realtime": 404}.items():
        with pytest.raises(InvalidStatus) as refused, connect(url(worker, path)):
            pass
        assert refused.value.response.status_code == status, path
    foreign = {"Origin": "https://evil.example"}
    with pytest.raises(InvalidStatus) as refused, connect(url(worker, "/v1/live"), additional_headers=foreign):
        pass
    assert refused.value.response.status_code == 403
    assert len(talking.requests) == 1


def test_the_provider_key_in_a_message_is_not_kept(worker: WorkerProcess) -> None:
    with connect(url(worker, "/v1/responses")) as connection:
        connection.send(json.dumps(CREATE))
        [connection.recv(timeout=5) for _ in range(4)]
        event = {"type": "response.created", "response": {"id": "r", "model": SECRET}}
        connection.send(json.dumps({"type": "say", "event": event}))
        assert SECRET in str(connection.recv(timeout=5))
        session = id_of(connection)
    _, second, _ = rows_of(worker, session, 3)
    assert SECRET.encode() not in worker.bodies(second.request_id).response
    assert b"[removed by headgate]" in worker.bodies(second.request_id).response


def test_a_slow_reader_holds_the_other_side_back_in_both_directions(worker: WorkerProcess, raw: RawUpstream) -> None:
    size = 24 << 20
    may_read, has_read = threading.Event(), threading.Event()
    got: list[int] = []

    def read_late(connection: socket.socket) -> None:
        may_read.wait(10)
        got.append(drain(connection, size))
        has_read.set()

    def script(connection: socket.socket) -> None:
        threading.Thread(target=read_late, args=(connection,)).start()
        connection.sendall(bytes(size))
        has_read.wait(10)

    def drain(connection: socket.socket, size: int) -> int:
        count = 0
        while count < size and (piece := connection.recv(1 << 20)):
            count += len(piece)
        return count

    raw.script = script
    peak = Growth(worker.process.pid)
    with switched(worker, "/v1/realtime?model=raw-x") as (connection, session):
        sender = threading.Thread(target=connection.sendall, args=(bytes(size),))
        sender.start()
        sender.join(0.5)
        assert sender.is_alive(), "the worker took all of it while nobody read"
        assert peak.look() < 12 << 20
        may_read.set()
        assert drain(connection, size) == size
        assert has_read.wait(10)
    assert got == [size]
    (row,) = rows_of(worker, session, 1)
    assert (row.request_bytes, row.response_bytes) == (size, size)
    assert peak.look() < 12 << 20


def test_a_client_that_resets_while_it_is_held_back_is_seen_to_be_gone(worker: WorkerProcess, raw: RawUpstream) -> None:
    is_over = threading.Event()
    raw.script = lambda connection: not is_over.wait(10)
    with switched(worker, "/v1/realtime?model=raw-x") as (connection, session):
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.sendall(bytes(64 << 20))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    (row,) = rows_of(worker, session, 1)
    is_over.set()
    assert row.outcome == "client_closed"


@pytest.fixture
def own_worker(tmp_path: Path, talking: TalkingUpstream, raw: RawUpstream) -> Iterator[WorkerProcess]:
    """One that a test may stop or kill."""
    quick = Timeout(connect_s=1, first_byte_s=1, between_bytes_s=1)
    settings = socket_settings(talking, raw, raw.base_url, tmp_path / "secret", quick, max_in_flight=2)
    started = WorkerProcess(tmp_path, settings)
    yield started
    if started.process.poll() is None:
        started.stop()


def test_load_idle_time_and_a_restart_end_connections_in_words(own_worker: WorkerProcess) -> None:
    address = url(own_worker, "/v1/responses")
    with connect(address, ping_interval=None) as first, connect(address, ping_interval=None) as second:
        with pytest.raises(InvalidStatus) as refused, connect(address):
            pass
        assert refused.value.response.status_code == 503
        for connection in (first, second):
            ended(connection, "headgate: nothing passed for 1 s")
            (row,) = rows_of(own_worker, id_of(connection), 1)
            assert (row.outcome, row.error_type) == ("timeout", "upstream_stalled")
    with connect(address, ping_interval=0.2) as last:
        last.send(json.dumps(WAIT))
        last.recv(timeout=5)
        own_worker.process.terminate()
        ended(last, "headgate: the gateway stops")
    assert own_worker.process.wait(10) == 0
    own_worker.stop()
    response, whole = rows_of(own_worker, id_of(last), 2)
    assert (response.outcome, whole.outcome, whole.error_type) == ("interrupted", "interrupted", "gateway_stopped")


def ended(connection: Connection, reason: str) -> None:
    """Read to the end, which gives this reason."""
    with pytest.raises(ConnectionClosed):
        while True:
            connection.recv(timeout=5)
    assert (connection.close_code, connection.close_reason) == (1001, reason)


def test_a_killed_worker_leaves_the_starts_of_the_connection_and_its_response(own_worker: WorkerProcess) -> None:
    with connect(url(own_worker, "/v1/responses")) as connection:
        connection.send(json.dumps(WAIT))
        connection.recv(timeout=5)
        session = id_of(connection)
        own_worker.kill()
    starts = starts_of(own_worker, session)
    assert [(start.endpoint, start.upstream) for start in starts] == [("other", "main"), ("openai.responses", "main")]
    assert not [final for final in own_worker.entries()[1] if final.session_id == session]


def test_a_worker_reads_nothing_about_websockets_before_the_first_one_comes() -> None:
    program = "import sys, headgate.gateway.main; print([m for m in sys.modules if 'socket_' in m or 'ws_' in m])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
