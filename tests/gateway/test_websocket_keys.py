"""Keys on WebSockets: where they are found, and that a limit to models holds in every message."""

import json
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection
from websockets.typing import Subprotocol

from headgate.core.settings import Settings
from headgate.snapshot import SnapshotReader
from support.client import read_answer
from support.sockets import (
    SECRET,
    RawUpstream,
    TalkingUpstream,
    handshake,
    key_entry,
    rows_of,
    socket_settings,
    switched,
)
from support.worker import WorkerProcess

FREE = "hg_free_0123456789abcdef"
LIMITED = "hg_limited_0123456789abcdef"
CREATE = {"type": "response.create", "model": "gpt-x", "input": "hi"}
KEYS = {**key_entry(FREE), **key_entry(LIMITED, models=("gpt-*",))}


@pytest.fixture(scope="module")
def talking() -> Iterator[TalkingUpstream]:
    upstream = TalkingUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, talking: TalkingUpstream) -> Iterator[WorkerProcess]:
    path, raw = tmp_path_factory.mktemp("keys"), RawUpstream()
    settings = socket_settings(talking, raw, raw.base_url, path / "secret", require_key=True)
    started = WorkerProcess(path, settings, KEYS)
    yield started
    started.stop()
    raw.close()


@pytest.fixture(autouse=True)
def fresh(talking: TalkingUpstream) -> None:
    talking.requests.clear()
    talking.received.clear()


def url(worker: WorkerProcess, path: str) -> str:
    return f"ws://127.0.0.1:{worker.port}{path}"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def ended(connection: Connection) -> tuple[int | None, str | None, list[str]]:
    """How the connection ended, and what came before."""
    said: list[str] = []
    with pytest.raises(ConnectionClosed):
        while True:
            said.append(str(connection.recv(timeout=5)))
    return connection.close_code, connection.close_reason, said


def refused(worker: WorkerProcess, path: str, key: str = LIMITED) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as error, connect(url(worker, path), additional_headers=bearer(key)):
        pass
    response = error.value.response
    return response.status_code, json.loads(response.body or b"{}")["error"]["code"]


def test_a_key_among_the_subprotocols_is_found_and_travels_nowhere(
    worker: WorkerProcess, talking: TalkingUpstream
) -> None:
    offered = ["realtime", f"OpenAI-insecure-api-key.{FREE}", "openai-beta.realtime-v1", f"other.{FREE}"]
    protocols = [Subprotocol(name) for name in offered]
    with connect(url(worker, "/v1/realtime?model=gpt-realtime"), subprotocols=protocols) as connection:
        connection.recv(timeout=5)
        assert connection.subprotocol == "realtime"
        assert isinstance(connection, ClientConnection) and connection.response is not None
        session = connection.response.headers["x-headgate-request-id"]
    (request,) = talking.requests
    assert request.headers["sec-websocket-protocol"] == "realtime, openai-beta.realtime-v1"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert FREE not in str(request.headers)
    (row,) = rows_of(worker, session, 1)
    assert row.key_id == "key_free"
    spool = b"".join(file.read_bytes() for file in (worker.home.path / "spool").rglob("*") if file.is_file())
    assert FREE.encode() not in spool
    assert SECRET.encode() not in spool


@pytest.mark.parametrize("headers", [{"api-key": FREE}, {"x-headgate-key": FREE}, {"x-api-key": FREE}])
def test_a_key_is_found_where_other_calls_have_theirs(worker: WorkerProcess, headers: dict[str, str]) -> None:
    with connect(url(worker, "/v1/realtime?model=gpt-realtime"), additional_headers=headers) as connection:
        assert "session.created" in str(connection.recv(timeout=5))


@pytest.mark.parametrize(
    ("protocols", "code"),
    [
        ("realtime", "key_missing"),
        ("realtime, openai-insecure-api-key.hg_unknown_0123", "key_unknown"),
        ("realtime, openai-insecure-api-key.sk-abcdef123456", "key_missing"),
    ],
)
def test_without_a_good_key_nothing_is_passed_on(
    worker: WorkerProcess, talking: TalkingUpstream, protocols: str, code: str
) -> None:
    with worker.connect() as connection:
        connection.sendall(handshake("/v1/realtime?model=gpt-realtime", sec_websocket_protocol=protocols))
        got = read_answer(connection, method="GET")
    assert (got.status, got.error["code"]) == (401, code)
    assert not talking.requests


def test_with_auth_caller_a_browsers_provider_key_goes_to_the_upstream_as_a_header(
    worker: WorkerProcess, talking: TalkingUpstream
) -> None:
    protocols = [Subprotocol("realtime"), Subprotocol("openai-insecure-api-key.sk-of-the-caller")]
    address, headers = url(worker, "/v1/realtime?model=theirs"), {"x-headgate-key": FREE}
    with connect(address, subprotocols=protocols, additional_headers=headers) as connection:
        connection.recv(timeout=5)
    assert talking.requests[0].headers["authorization"] == "Bearer sk-of-the-caller"
    assert talking.requests[0].headers["sec-websocket-protocol"] == "realtime"
    spool = b"".join(file.read_bytes() for file in (worker.home.path / "spool").rglob("*") if file.is_file())
    assert b"sk-of-the-caller" not in spool


def test_a_limited_key_connects_with_its_models_only(worker: WorkerProcess, talking: TalkingUpstream) -> None:
    assert refused(worker, "/v1/realtime?model=raw-x") == (403, "model_forbidden")
    assert refused(worker, "/v1/realtime?model=gpt-realtime&mode%6c=raw-x") == (400, "model_twice")
    assert refused(worker, "/v1/realtime") == (403, "model_unreadable")
    assert refused(worker, "/v1/realtime?call_id=rtc_1") == (403, "model_unreadable")
    assert refused(worker, "/v1/realtime?model=gpt-realtime&call%5Fid=rtc_1") == (403, "model_unreadable")
    assert refused(worker, "/v1/realtime?model=gpt-realtime&deployment=raw-x") == (403, "model_unreadable")
    assert refused(worker, "/v1/realtime?model=gpt-realtime&Model=raw-x") == (400, "model_twice")
    assert refused(worker, "/v1/live/sessions/s/attach?model=gpt-x") == (403, "model_unreadable")
    assert refused(worker, "/v1/responses?model=raw-x") == (403, "model_forbidden")
    assert refused(worker, "/v1/realtime?model=nobody", FREE) == (404, "no_route")
    assert not talking.requests
    with connect(url(worker, "/v1/realtime?model=gpt-realtime"), additional_headers=bearer(LIMITED)) as connection:
        connection.recv(timeout=5)


BAD_MESSAGES: dict[str, tuple[str | bytes, str]] = {
    "another model": (json.dumps({**CREATE, "model": "raw-x"}), "model_forbidden"),
    "no model": (json.dumps({"type": "response.create", "input": "hi"}), "model_unreadable"),
    "a model that is no text": (json.dumps({**CREATE, "model": ["gpt-x"]}), "model_unreadable"),
    "two models": ('{"type":"response.create","model":"raw-x","model":"gpt-x"}', "model_unreadable"),
    "two types": ('{"type":"response.create","type":"response.cancel","model":"raw-x"}', "model_unreadable"),
    "a name in capitals": ('{"type":"response.create","Model":"raw-x"}', "model_unreadable"),
    "a second model in capitals": ('{"type":"response.create","Model":"raw-x","model":"gpt-x"}', "model_unreadable"),
    "an escaped name": ('{"type":"response.create","mode\\u006c":"raw-x"}', "model_forbidden"),
    "an unknown type": ('{"type":"response.begin","model":"gpt-x"}', "model_unreadable"),
    "no JSON": ("response.create raw-x", "model_unreadable"),
    "a list": ('[{"type":"response.create","model":"raw-x"}]', "model_unreadable"),
    "two models behind many names": (
        '{"type":"response.create","model":"raw-x",' + "".join(f'"{n}":0,' for n in range(70_000)) + '"model":"gpt-x"}',
        "model_unreadable",
    ),
    "the last of many names twice": (
        '{"type":"response.create","model":"gpt-x",' + "".join(f'"{n}":0,' for n in range(70_000)) + '"z":0,"z":0}',
        "model_unreadable",
    ),
    "depth": ('{"a":' * 100_000, "model_unreadable"),
    "binary": (json.dumps(CREATE).encode(), "model_unreadable"),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_limited_key_gets_no_message_through_that_may_ask_for_another_model(
    worker: WorkerProcess, talking: TalkingUpstream, name: str, compression: str | None
) -> None:
    message, code = BAD_MESSAGES[name]
    headers = bearer(LIMITED)
    with connect(url(worker, "/v1/responses"), additional_headers=headers, compression=compression) as connection:
        connection.send(json.dumps(CREATE))
        [connection.recv(timeout=5) for _ in range(4)]
        connection.send(message)
        close_code, reason, said = ended(connection)
        assert isinstance(connection, ClientConnection) and connection.response is not None
        session = connection.response.headers["x-headgate-request-id"]
    assert (close_code, reason) == (1008, f"headgate: {code}")
    assert json.loads(said[-1])["error"]["code"] == code
    assert talking.received == [json.dumps(CREATE)]
    response, whole = rows_of(worker, session, 2)
    assert (response.outcome, whole.outcome, whole.error_type) == ("ok", "refused", code)


def test_a_message_in_parts_is_judged_before_its_last_part_passes(
    worker: WorkerProcess, talking: TalkingUpstream
) -> None:
    message = json.dumps({**CREATE, "model": "raw-x"}).encode()
    parts = [
        Frame(Opcode.TEXT, message[:20], fin=False).serialize(mask=True),
        Frame(Opcode.PING, b"p").serialize(mask=True),
        Frame(Opcode.CONT, message[20:]).serialize(mask=True),
    ]
    with switched(worker, "/v1/responses", authorization=f"Bearer {LIMITED}") as (connection, _):
        for part in parts:
            connection.sendall(part)
        data = b""
        while piece := connection.recv(65536):
            data += piece
    assert b"model_forbidden" in data
    assert not talking.received


def test_what_is_no_websocket_frame_does_not_pass_for_a_limited_key(
    worker: WorkerProcess, talking: TalkingUpstream
) -> None:
    with switched(worker, "/v1/responses", authorization=f"Bearer {LIMITED}") as (connection, _):
        connection.sendall(Frame(Opcode.TEXT, json.dumps({**CREATE, "model": "raw-x"}).encode()).serialize(mask=False))
        data = b""
        while piece := connection.recv(65536):
            data += piece
    assert b"model_unreadable" in data
    assert not talking.received


def test_a_session_of_a_limited_key_transcribes_with_its_models_only(
    worker: WorkerProcess, talking: TalkingUpstream
) -> None:
    def update(model: str) -> str:
        audio = {"input": {"transcription": {"model": model}}}
        return json.dumps({"type": "session.update", "session": {"type": "realtime", "audio": audio}})

    address = url(worker, "/v1/realtime?model=gpt-realtime")
    with connect(address, additional_headers=bearer(LIMITED)) as connection:
        connection.recv(timeout=5)
        connection.send(update("gpt-4o-transcribe"))
        connection.send('{"type":"say","event":{"type":"session.updated"}}')
        connection.recv(timeout=5)
        connection.send(update("whisper-1"))
        assert ended(connection)[:2] == (1008, "headgate: model_forbidden")
    assert talking.received[0] == update("gpt-4o-transcribe")
    assert len(talking.received) == 2


@pytest.mark.parametrize(
    ("model", "code"), [("nobody", "no_route"), ("raw-x", "model_elsewhere"), ("voice", "model_elsewhere")]
)
def test_a_response_goes_where_its_model_leads_or_nowhere(
    worker: WorkerProcess, talking: TalkingUpstream, model: str, code: str
) -> None:
    with connect(url(worker, "/v1/responses"), additional_headers=bearer(FREE)) as connection:
        connection.send(json.dumps({**CREATE, "model": model}))
        close_code, reason, said = ended(connection)
    assert (close_code, reason) == (1008, f"headgate: {code}")
    assert said[0].startswith('{"type":"error","status":4')
    assert not talking.received


def test_a_key_that_is_revoked_loses_its_open_connections(worker: WorkerProcess, talking: TalkingUpstream) -> None:
    headers = bearer(FREE)
    with (
        connect(url(worker, "/v1/responses"), additional_headers=headers, ping_interval=0.05) as connection,
        connect(url(worker, "/v1/responses"), additional_headers=bearer(LIMITED), ping_interval=0.05) as other,
    ):
        worker.publish(worker_settings(worker), {digest: key for digest, key in KEYS.items() if key.id != "key_free"})
        try:
            assert ended(connection)[:2] == (1008, "headgate: key_unknown")
            other.send(json.dumps(CREATE))
            assert "response.created" in str(other.recv(timeout=5))
        finally:
            worker.publish(worker_settings(worker), KEYS)
            worker.taken_over()


def worker_settings(worker: WorkerProcess) -> Settings:
    """What the worker serves from."""
    return SnapshotReader(worker.home.path).load().settings


def test_a_stored_prompt_is_not_called_over_a_websocket(worker: WorkerProcess) -> None:
    headers = {**bearer(FREE), "x-headgate-prompt": "hello@1"}
    with pytest.raises(InvalidStatus) as error, connect(url(worker, "/v1/responses"), additional_headers=headers):
        pass
    assert error.value.response.status_code == 400
