"""Cases in which an earlier version gave the wrong answer, kept the wrong thing or blamed the wrong side."""

import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.core.settings import Log, Route, Settings, Target, Upstream
from headgate.snapshot import KeyEntry
from support.client import call, read_answer, request_bytes
from support.settings import QUICK, settings_for
from support.upstream import STREAM_HEAD, ScriptedUpstream, answer, chunk, stream
from support.worker import WorkerProcess

Serve = Callable[[Settings], WorkerProcess]
EVENT = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
STREAM_BODY = b'{"model":"m","stream":true,"stream_options":{"include_usage":false}}'


def test_a_split_head_after_a_large_body_is_not_too_large(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(answer(b"{}"))
    large = request_bytes(body=b'{"model":"m","x":"' + b"y" * 200_000 + b'"}')
    small = request_bytes()
    with worker.connect() as connection:
        connection.sendall(large)
        assert read_answer(connection).status == 200
        connection.sendall(small[:40])
        time.sleep(0.1)  # so that the head arrives in two reads
        connection.sendall(small[40:])
        assert read_answer(connection).status == 200


@pytest.mark.parametrize("bad", [{"host": "evil.example"}, {"headers": {"Origin": "https://evil.example"}}])
def test_a_request_in_a_pipeline_is_checked_like_any_other(
    worker: WorkerProcess, upstream: ScriptedUpstream, bad: dict[str, object]
) -> None:
    upstream.script(answer(b"{}"))
    second = request_bytes(**bad)  # type: ignore[arg-type]  # one of two keywords
    with worker.connect() as connection:
        connection.sendall(request_bytes() + second + request_bytes())
        statuses = [int(found) for found in re.findall(rb"HTTP/1.1 (\d+)", read_all(connection))]
    assert statuses[0] == 200
    assert statuses[1] in (400, 403)
    assert len(statuses) == 2
    assert len(upstream.seen) == 1


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def test_nothing_behind_a_refused_request_is_sent_upstream(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(answer(b"{}"))
    refused = request_bytes(headers={"Origin": "https://evil.example"})
    with worker.connect() as connection:
        connection.sendall(refused + request_bytes())
        assert read_all(connection).count(b"HTTP/1.1 ") == 1
    assert not upstream.seen
    assert call(worker.port, request_bytes()).status == 200


def test_bodies_of_strangers_are_not_kept(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    settings = settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url))
    worker = WorkerProcess(tmp_path, replace(settings, server=replace(settings.server, require_key=True)))
    body = b'{"model":"m","secret":"' + b"z" * 50_000 + b'"}'
    assert call(worker.port, request_bytes(body=body)).status == 401
    (final,) = worker.recorded()
    assert (final.capture, final.outcome, final.endpoint) == ("metadata", "refused", "openai.chat")
    assert worker.bodies(final.request_id).request == b""
    worker.stop()


def test_a_refused_request_keeps_no_more_than_the_server_and_the_caller_allow(
    serve_with: Serve, upstream: ScriptedUpstream
) -> None:
    worker = serve_with(
        settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url), log=Log(capture="none"))
    )
    call(worker.port, request_bytes(body=b"{broken"))
    (final,) = worker.recorded()
    assert (final.capture, final.error_message) == ("none", None)


@pytest.mark.parametrize("place", ["authorization", "x-api-key", "api-key"])
def test_a_headgate_key_is_never_sent_to_an_upstream_of_the_callers_own_key(
    tmp_path: Path, upstream: ScriptedUpstream, place: str
) -> None:
    import hashlib

    key = "hg_" + "k" * 40
    settings = settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url, auth="caller"))
    entry = KeyEntry(id="key_1", name="k", role="app")
    worker = WorkerProcess(tmp_path, settings, {hashlib.sha256(key.encode()).hexdigest(): entry})
    upstream.script(answer(b"{}"))
    value = f"Bearer {key}" if place == "authorization" else key
    assert call(worker.port, request_bytes(headers={place: value, "x-goog-api-key": "own-key"})).status == 200
    assert key.encode() not in upstream.seen[0].head
    assert upstream.seen[0].header("x-goog-api-key") == "own-key"
    worker.stop()


@pytest.mark.parametrize(
    "path",
    [
        "/organization/users",
        "/%6frganization/users",
        "//organization/users",
        "/Organization/users",
        "/x/..%2forganization",
    ]
    + ["/./organization/users", "/projects", "/%2e/projects/p"],
)
def test_account_paths_are_refused_however_they_are_spelt(
    worker: WorkerProcess, upstream: ScriptedUpstream, path: str
) -> None:
    upstream.script(answer(b"{}"))
    got = call(worker.port, request_bytes(path=f"/v1{path}", body=b"", method="GET"))
    assert got.status in (400, 403)
    assert not upstream.seen


def test_a_key_limited_to_models_sees_its_models(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    import hashlib

    key = "hg_" + "m" * 40
    settings = settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url))
    entry = KeyEntry(id="key_1", name="k", role="app", models=("gpt-*",))
    worker = WorkerProcess(tmp_path, settings, {hashlib.sha256(key.encode()).hexdigest(): entry})
    upstream.script(answer(b'{"object":"list","data":[{"id":"gpt-5"},{"id":"o5"}]}'))
    header = {"authorization": f"Bearer {key}"}
    got = call(worker.port, request_bytes(path="/v1/models", body=b"", method="GET", headers=header))
    assert json.loads(got.body) == {"object": "list", "data": [{"id": "gpt-5"}]}
    worker.stop()


def test_a_slow_reader_is_not_taken_for_a_slow_upstream(serve_with: Serve, upstream: ScriptedUpstream) -> None:
    quick = replace(QUICK, between_bytes_s=0.5)
    worker = serve_with(settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url, timeout=quick)))
    piece = chunk(b": " + b"x" * 65_000 + b"\n\n")
    upstream.script([STREAM_HEAD, *[piece] * 200, chunk(EVENT), chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"])
    with worker.connect() as connection:
        connection.sendall(request_bytes(body=STREAM_BODY))
        time.sleep(1.5)  # three times the deadline, with more to read than any buffer takes
        got = read_answer(connection)
    assert got.is_whole
    assert worker.recorded()[0].outcome == "ok"


def test_an_upstream_that_had_begun_to_work_is_not_asked_twice(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(answer(b"{}"), [0.6, "close"], answer(b"{}"))
    assert call(worker.port, request_bytes()).status == 200
    assert call(worker.port, request_bytes()).status == 502
    assert len(upstream.seen) == 2


def test_the_end_of_a_stream_is_recorded_before_the_client_reads_it_at_any_split(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    end = b"data: [DONE]\n\n"
    steps: list[bytes | float | str] = [STREAM_HEAD, chunk(EVENT)]
    for number in range(len(end)):
        steps += [chunk(end[number : number + 1]), 0.01]
    upstream.script([*steps, "wait-gone"])
    with worker.connect() as connection:
        connection.sendall(request_bytes(body=STREAM_BODY))
        received = b""
        while (
            received.count(b"\n\n") < 1 or b"]\r\n" not in received or not received.endswith(b"1\r\n\n\r\n1\r\n\n\r\n")
        ):
            received += connection.recv(65536)
        assert worker.recorded()[0].outcome == "ok"


def test_a_held_refusal_that_breaks_off_leaves_the_fallback_streaming(
    serve_with: Serve, upstream: ScriptedUpstream, second_upstream: ScriptedUpstream
) -> None:
    first = Upstream(name="first", kind="openai", base_url=upstream.base_url, timeout=QUICK)
    second = Upstream(name="second", kind="openai", base_url=second_upstream.base_url, timeout=QUICK)
    route = Route(model="fast", targets=(Target(upstream="first"), Target(upstream="second")))
    worker = serve_with(settings_for(first, second, routes=(route,)))
    upstream.script([b"HTTP/1.1 400 Bad\r\ncontent-length: 100\r\n\r\n{", 0.05, "close"])
    second_upstream.script([STREAM_HEAD, chunk(EVENT), "wait-gone"])
    with worker.connect() as connection:
        connection.sendall(request_bytes(body=b'{"model":"fast","stream":true}'))
        received = b""
        while EVENT not in received:
            received += connection.recv(65536)
    assert second_upstream.gone.wait(30)


def test_headers_of_a_gateway_behind_us_are_not_passed_on(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(answer(b"{}", extra="x-headgate-request-id: inner\r\nx-headgate-upstream: theirs\r\n"))
    got = call(worker.port, request_bytes())
    assert [value for name, value in got.headers if name == "x-headgate-upstream"] == ["main"]


def test_a_stream_still_running_when_the_drain_ends_is_recorded(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    beats: list[bytes | float | str] = [0.2, chunk(b": still here\n\n")]
    upstream.script([STREAM_HEAD, chunk(EVENT), *(beats * 60)])
    with worker.connect() as connection:
        connection.sendall(request_bytes(body=STREAM_BODY))
        while EVENT not in connection.recv(65536):
            pass
        worker.stop()  # drain_s is 2
    (final,) = worker.entries()[1]
    assert (final.outcome, final.output_chars) == ("interrupted", 2)


def test_many_events_in_one_read_and_events_over_many_reads_are_understood(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":600}}\n\n'
    upstream.script(stream(EVENT * 500, usage, b"data: [DONE]\n\n"))
    call(worker.port, request_bytes(body=STREAM_BODY))
    big = EVENT.replace(b"Hi", b"x" * 2_000_000)
    upstream.script(stream(*[big[start : start + 50_000] for start in range(0, len(big), 50_000)], usage))
    call(worker.port, request_bytes(body=STREAM_BODY))
    assert [json.loads(final.usage_raw or "")["prompt_tokens"] for final in worker.recorded(2)] == [3, 3]


@pytest.mark.parametrize("scheme", ["Bearer ", "BEARER ", "Bearer   ", "Token ", "Basic ", ""])
def test_an_answer_that_tells_the_callers_credential_is_logged_without_it(
    worker: WorkerProcess, upstream: ScriptedUpstream, scheme: str
) -> None:
    secret = "sk-of-the-caller-0123456789"
    upstream.script(answer(f'{{"error":"no such key: {secret}"}}'.encode(), status="401 Unauthorized"))
    assert call(worker.port, request_bytes(headers={"authorization": scheme + secret})).status == 401
    (final,) = worker.recorded()
    assert worker.bodies(final.request_id).response == b'{"error":"no such key: [removed by headgate]"}'


def test_each_of_several_credentials_is_kept_from_the_log(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    secrets = ["sk-of-the-caller", "sk-of-the-caller-0123456789", "sk-another-0123456789", "AIza-0123456789"]
    upstream.script(answer(" ".join(secrets).encode(), media="text/plain"))
    names = ["authorization", "Authorization", "x-api-key", "x-goog-api-key"]
    assert call(worker.port, request_bytes(headers=dict(zip(names, secrets, strict=True)))).status == 200
    (final,) = worker.recorded()
    assert worker.bodies(final.request_id).response == b" ".join([b"[removed by headgate]"] * 4)
