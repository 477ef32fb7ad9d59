"""WebSockets where two things meet: a key that ends, a disk that is waited for, an end that was told already."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from headgate.core.settings import Log, Settings
from headgate.snapshot import SnapshotReader
from headgate.wire.ws_frames import frame
from support.sockets import (
    RawUpstream,
    TalkingUpstream,
    handshake,
    key_entry,
    read_head,
    rows_of,
    socket_settings,
    starts_of,
    switch,
    switched,
)
from support.worker import WorkerProcess

FREE = "hg_free_0123456789abcdef"
LIMITED = "hg_limited_0123456789abcdef"
KEYS = {**key_entry(FREE), **key_entry(LIMITED, models=("raw-*",))}
LEFT = {digest: key for digest, key in KEYS.items() if key.id != "key_free"}
AUTHORIZED = {"authorization": f"Bearer {FREE}"}
CREATE = json.dumps({"type": "response.create", "model": "raw-x", "input": "hi"}).encode()


class HeldUpstream(RawUpstream):
    """Switches when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.has_head, self.may_switch = threading.Event(), threading.Event()
        self.said = b""

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(20)
            head = read_head(connection)
            self.has_head.set()
            assert self.may_switch.wait(20)
            connection.sendall(switch(head))
            while piece := connection.recv(65536):
                self.said += piece


@pytest.fixture(scope="module")
def raw() -> Iterator[RawUpstream]:
    upstream = RawUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def held() -> Iterator[HeldUpstream]:
    upstream = HeldUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def talking() -> Iterator[TalkingUpstream]:
    upstream = TalkingUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def worker(
    tmp_path_factory: pytest.TempPathFactory, raw: RawUpstream, held: HeldUpstream, talking: TalkingUpstream
) -> Iterator[WorkerProcess]:
    path = tmp_path_factory.mktemp("moments")
    settings = socket_settings(talking, raw, held.base_url, path / "secret", require_key=True)
    started = WorkerProcess(path, replace(settings, log=Log(durability="group")), KEYS)
    yield started
    started.stop()


@pytest.fixture
def revoke(worker: WorkerProcess) -> Iterator[None]:
    """Has the free key back at the end."""
    yield
    worker.publish(settings_of(worker), KEYS)
    worker.taken_over()


def settings_of(worker: WorkerProcess) -> Settings:
    return SnapshotReader(worker.home.path).load().settings


def text(**event: object) -> bytes:
    return Frame(Opcode.TEXT, json.dumps(event).encode()).serialize(mask=False)


def masked(data: bytes) -> bytes:
    return Frame(Opcode.TEXT, data).serialize(mask=True)


def to_end(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


@pytest.mark.usefixtures("revoke")
def test_a_key_that_ends_while_the_upstream_switches_gets_the_switch_and_then_the_refusal(
    worker: WorkerProcess, held: HeldUpstream
) -> None:
    with worker.connect() as connection:
        connection.sendall(handshake("/v1/responses?model=plain-x", **AUTHORIZED) + masked(CREATE))
        assert held.has_head.wait(5)
        worker.publish(settings_of(worker), LEFT)
        worker.taken_over()
        held.may_switch.set()
        head = read_head(connection)
        assert head.startswith(b"HTTP/1.1 101 "), head
        rest = to_end(connection)
    assert b'"code":"key_unknown"' in rest
    assert rest.endswith(b"headgate: key_unknown")
    assert held.said == b""


@pytest.mark.usefixtures("revoke")
def test_on_an_idle_connection_a_key_that_has_ended_gets_not_one_message_through(
    worker: WorkerProcess, talking: TalkingUpstream
) -> None:
    address = f"ws://127.0.0.1:{worker.port}/v1/responses"
    with connect(address, additional_headers=AUTHORIZED) as connection:
        worker.publish(settings_of(worker), LEFT)
        worker.taken_over()
        connection.send(CREATE.decode().replace("raw-x", "gpt-x"))
        with pytest.raises(ConnectionClosed):
            while True:
                connection.recv(timeout=5)
        assert isinstance(connection, ClientConnection)
        assert connection.close_code == 1008
    assert talking.received == []


def test_a_message_refused_while_a_record_goes_to_disk_loses_nothing_and_says_why(
    worker: WorkerProcess, raw: RawUpstream
) -> None:
    def stream(connection: socket.socket) -> None:  # a record is nearly always on its way to the disk
        connection.recv(65536)
        for number in range(20_000):
            connection.sendall(text(type="response.done", response={"id": f"resp_{number}", "status": "completed"}))
            time.sleep(0.0005)

    raw.script = stream
    for attempt in range(6):
        headers = {"authorization": f"Bearer {LIMITED}", "x-headgate-session": f"stream-{attempt}"}
        address = f"ws://127.0.0.1:{worker.port}/v1/realtime?model=raw-x"
        with connect(address, additional_headers=headers, compression=None) as connection:
            connection.send("{}")
            said = [str(connection.recv(timeout=5)) for _ in range(3 + attempt)]
            connection.send(b"binary")
            with pytest.raises(ConnectionClosed):
                while True:
                    said.append(str(connection.recv(timeout=5)))
            assert (connection.close_code, connection.close_reason) == (1008, "headgate: model_unreadable")
        *responses, refusal = said
        assert "model_unreadable" in refusal
        assert all("response.done" in response for response in responses)
        rows = rows_of(worker, f"stream-{attempt}", len(responses) + 1)
        assert [row.outcome for row in rows[:-1]] == ["ok"] * len(responses)


def test_what_is_asked_for_behind_the_end_begins_no_row(worker: WorkerProcess, raw: RawUpstream) -> None:
    def end(connection: socket.socket) -> None:
        connection.sendall(Frame(Opcode.CLOSE, b"\x03\xe9").serialize(mask=False))
        while connection.recv(65536):
            pass

    raw.script = end
    with switched(worker, "/v1/responses?model=raw-x", **AUTHORIZED) as (connection, session):
        assert connection.recv(100)
        connection.sendall(masked(CREATE))
        connection.shutdown(socket.SHUT_WR)
        to_end(connection)
    (row,) = rows_of(worker, session, 1)
    assert row.finish_reason == "close_1001"
    assert len(starts_of(worker, session)) == 1


def test_a_response_that_is_ended_twice_is_one_row(worker: WorkerProcess, raw: RawUpstream) -> None:
    response = {"id": "resp_1", "status": "completed", "usage": {"input_tokens": 1, "output_tokens": 2}}

    def respond(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text(type="response.created", response={"id": "resp_1", "status": "in_progress"}))
        connection.sendall(text(type="response.completed", response=response))
        connection.sendall(text(type="response.done", response=response))
        connection.sendall(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False))

    raw.script = respond
    with switched(worker, "/v1/responses?model=raw-x", **AUTHORIZED) as (connection, session):
        connection.sendall(masked(CREATE))
        to_end(connection)
    response_row, _ = rows_of(worker, session, 2)
    assert response_row.usage_raw is not None
    assert len(starts_of(worker, session)) == 2


def answering_when_told(connection: socket.socket) -> None:
    """One response, and the end, once the client says so; whatever else it says is not answered."""
    heard = b""
    while b"now" not in heard:
        heard += connection.recv(65536)
    response = {"id": "resp_1", "status": "completed", "model": "raw-1", "usage": {"input_tokens": 1}}
    connection.sendall(text(type="response.created", response={"id": "resp_1", "status": "in_progress"}))
    connection.sendall(text(type="response.done", response=response))
    connection.sendall(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False))


def readable(**event: object) -> bytes:
    return frame(1, json.dumps(event).encode(), is_masked=True)


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/responses"])
@pytest.mark.parametrize("odd", [[], {}, 7, None])
def test_a_message_of_an_odd_type_hides_nothing_that_follows(
    worker: WorkerProcess, raw: RawUpstream, path: str, odd: object
) -> None:
    raw.script = answering_when_told
    with switched(worker, f"{path}?model=raw-x", **AUTHORIZED) as (connection, session):
        connection.sendall(readable(type=odd))
        connection.sendall(readable(type="response.create", model="raw-x", input="now"))
        to_end(connection)
    response, whole = rows_of(worker, session, 2)
    assert (json.loads(response.usage_raw or ""), response.model) == ({"input_tokens": 1}, "raw-1")
    assert whole.fold_note is None


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/responses"])
def test_what_is_asked_for_and_never_answered_hides_nothing_that_is(
    worker: WorkerProcess, raw: RawUpstream, path: str
) -> None:
    raw.script = answering_when_told
    with switched(worker, f"{path}?model=raw-x", **AUTHORIZED) as (connection, session):
        for _ in range(70):
            connection.sendall(readable(type="response.create", model="raw-x", stream_id="of nobody"))
        connection.sendall(readable(type="response.create", model="raw-x", input="now"))
        to_end(connection)
    rows = rows_of(worker, session, 72)
    (usage,) = [row.usage_raw for row in rows if row.response_id]
    assert json.loads(usage or "") == {"input_tokens": 1}
    assert [row.error_type for row in rows].count("unanswered") == 7
    assert rows[-1].fold_note is None


def test_an_error_about_another_message_fails_no_response(worker: WorkerProcess, raw: RawUpstream) -> None:
    def respond(connection: socket.socket) -> None:
        heard = b""
        while b"response.create" not in heard:
            heard += connection.recv(65536)
        connection.sendall(text(type="error", error={"message": "no such voice", "event_id": "update_1"}))
        answering_when_told(connection)

    raw.script = respond
    with switched(worker, "/v1/realtime?model=raw-x", **AUTHORIZED) as (connection, session):
        connection.sendall(readable(type="session.update", event_id="update_1"))
        connection.sendall(readable(type="response.create"))
        assert connection.recv(65536)
        connection.sendall(readable(type="now"))
        to_end(connection)
    response, _ = rows_of(worker, session, 2)
    assert (response.outcome, response.error_type, response.response_id) == ("ok", None, "resp_1")
