"""What the log has of WebSockets where it is asked for less, or more must be read."""

import json
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection

from headgate.core.settings import Log, Upstream
from headgate.spool.record import FinalRecord
from support.server import eventually
from support.settings import settings_for
from support.sockets import TalkingUpstream, rows_of
from support.worker import WorkerProcess

HEARD = "conversation.item.input_audio_transcription."


@pytest.fixture(scope="module")
def talking() -> Iterator[TalkingUpstream]:
    upstream = TalkingUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, talking: TalkingUpstream) -> Iterator[WorkerProcess]:
    """One whose answers wait until their records are on disk."""
    upstream = Upstream(name="main", kind="openai", base_url=talking.base_url)
    settings = settings_for(upstream, log=Log(durability="group"))
    started = WorkerProcess(tmp_path_factory.mktemp("log"), settings)
    yield started
    started.stop()


def id_of(connection: Connection) -> str:
    assert isinstance(connection, ClientConnection) and connection.response is not None
    return connection.response.headers["x-headgate-request-id"]


def test_what_was_heard_is_a_row_of_the_model_that_transcribes(worker: WorkerProcess) -> None:
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 4, "input_token_details": {"audio_tokens": 14}}
    transcription = {"type": "realtime", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
    headers = {"x-headgate-session": "heard"}
    with connect(f"ws://127.0.0.1:{worker.port}/v1/realtime?model=m", additional_headers=headers) as connection:
        for event in (
            {"type": "session.updated", "session": transcription},
            {"type": HEARD + "delta", "item_id": "i", "delta": "Hel"},
            {"type": HEARD + "completed", "item_id": "i", "transcript": "Hello?", "usage": usage},
            {"type": HEARD + "failed", "item_id": "j", "error": {"code": "noise", "message": "only noise"}},
        ):
            connection.send(json.dumps({"type": "say", "event": event}))
            connection.recv(timeout=5)
        connection.send(json.dumps({"type": "response.create"}))
        while "response.done" not in str(connection.recv(timeout=5)):
            pass
    heard, failed, response, _ = rows_of(worker, "heard", 4)
    assert (heard.model_requested, heard.model, heard.outcome) == ("gpt-4o-transcribe", "gpt-4o-transcribe", "ok")
    assert json.loads(heard.usage_raw or "") == usage
    assert heard.output_chars == 6
    assert (failed.outcome, failed.error_message) == ("upstream_error", "only noise")
    assert (response.model_requested, response.model) == ("m", "m-2026")
    assert "Hello?" in worker.bodies(response.request_id).request.decode()


def test_of_another_websocket_the_row_has_the_messages_of_both_sides(worker: WorkerProcess) -> None:
    asked = [
        {"type": "say", "event": {"type": "session.started"}},
        {"type": "session.input_audio.append", "audio": "QUJD" * 1000},
        {"type": "say", "event": {"type": "session.output_audio.delta", "delta": "QUJD" * 1000}},
        {"type": "say", "event": {"type": "session.closed"}},
    ]
    with connect(f"ws://127.0.0.1:{worker.port}/v1/live", compression=None) as connection:
        for event in asked:
            connection.send(json.dumps(event))
        while "session.closed" not in str(connection.recv(timeout=5)):
            pass
        session = id_of(connection)
    (row,) = rows_of(worker, session, 1)
    bodies = worker.bodies(row.request_id)
    assert [json.loads(line)["type"] for line in bodies.request.splitlines()] == ["say", "say", "say"]
    assert [json.loads(line)["type"] for line in bodies.response.splitlines()] == ["session.started", "session.closed"]
    assert (row.endpoint, row.status, row.capture) == ("other", 101, "truncated")
    assert row.response_bytes > 4000
    assert (
        row.fold_note == "request: the sound in 1 message(s) is left out; answer: the sound in 1 message(s) is left out"
    )
    assert row.response_content_type == "application/jsonl"


def of_client(worker: WorkerProcess, client: str) -> list[FinalRecord]:
    """The rows of one user agent."""
    return [final for final in worker.entries()[1] if final.client == client]


@pytest.mark.parametrize("capture", ["metadata", "none"])
def test_what_is_not_to_be_kept_is_not(worker: WorkerProcess, capture: str) -> None:
    headers = {"x-headgate-capture": capture, "user-agent": f"wants-{capture}"}
    with connect(
        f"ws://127.0.0.1:{worker.port}/v1/responses", additional_headers=headers, user_agent_header=None
    ) as connection:
        connection.send(json.dumps({"type": "response.create", "model": "m", "input": "a secret of mine"}))
        while "completed" not in str(connection.recv(timeout=5)):
            pass
    response, whole = eventually(
        lambda: found if len(found := of_client(worker, f"wants-{capture}")) == 2 else None, within_s=5, what="2 rows"
    )
    assert (response.capture, whole.capture) == (capture, capture)
    assert json.loads(response.usage_raw or "")["output_tokens"] == 2
    bodies = [worker.bodies(row.request_id) for row in (response, whole)]
    assert not any(body.request or body.response for body in bodies)
    spool = b"".join(file.read_bytes() for file in (worker.home.path / "spool").rglob("*") if file.is_file())
    assert b"a secret of mine" not in spool


def test_with_durability_group_the_last_event_waits_for_its_record(worker: WorkerProcess) -> None:
    with connect(f"ws://127.0.0.1:{worker.port}/v1/responses") as connection:
        for number in range(3):
            connection.send(json.dumps({"type": "response.create", "model": "m", "input": "hi"}))
            while "completed" not in str(connection.recv(timeout=5)):
                pass
            assert len(rows_of(worker, id_of(connection), number + 1, within_s=0)) == number + 1
        connection.send(json.dumps({"type": "close", "code": 4000, "reason": "enough"}))
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=5)
        assert connection.close_code == 4000
        session = id_of(connection)
    assert [final.outcome for final in rows_of(worker, session, 4)] == ["ok", "ok", "ok", "upstream_error"]
