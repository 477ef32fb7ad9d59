"""The relay, seen from both sides and in the spool."""

import json
import signal
import socket
import time
import zlib
from collections.abc import Callable

import pytest

from headgate.core.settings import Log, Route, Server, Settings, Target, Upstream
from support.client import call, read_answer, request_bytes
from support.settings import QUICK, settings_for
from support.upstream import STREAM_HEAD, ScriptedUpstream, answer, chunk, stream
from support.worker import WorkerProcess

CHAT = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }
).encode()
EVENTS = (
    b'data: {"id":"c1","model":"gpt-x","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}\n\n',
    b'data: {"id":"c1","model":"gpt-x","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}\n\n',
    b'data: {"id":"c1","model":"gpt-x","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
)
STREAM_BODY = b'{"model":"m","stream":true,"messages":[]}'

Serve = Callable[[Settings], WorkerProcess]


def test_an_answer_passes_unchanged_and_its_usage_is_recorded(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(answer(CHAT, extra="x-request-id: req_7\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n"))
    body = b'{"model": "m",  "messages":[], "seed": 1.0, "big": 12345678901234567890, "seed": 1e400}'
    got = call(worker.port, request_bytes(body=body, headers={"X-Odd-Case": "Yes", "traceparent": _TRACE}))
    assert (got.status, got.body, got.is_whole) == (200, CHAT, True)
    assert [value for name, value in got.headers if name == "set-cookie"] == ["a=1", "b=2"]
    assert got.header("x-headgate-upstream") == "main"
    seen = upstream.seen[0]
    assert seen.body == body
    assert seen.request_line == b"POST /v1/chat/completions HTTP/1.1"
    assert b"X-Odd-Case: Yes" in seen.head
    assert seen.header("traceparent") == _TRACE
    assert seen.header("host") == f"127.0.0.1:{upstream.port}"
    (final,) = worker.recorded()
    assert got.header("x-headgate-request-id") == final.request_id
    assert (final.outcome, final.status, final.endpoint, final.upstream) == ("ok", 200, "openai.chat", "main")
    assert (final.model_requested, final.model, final.finish_reason) == ("m", "gpt-4o-mini-2024-07-18", "stop")
    assert json.loads(final.usage_raw or "")["prompt_tokens"] == 9
    assert (final.response_id, final.upstream_request_id) == ("chatcmpl-1", "req_7")
    assert final.trace_id == _TRACE[3:35]
    assert (final.request_bytes, final.response_bytes) == (len(body), len(CHAT))
    bodies = worker.bodies(final.request_id)
    assert (bodies.request, bodies.response) == (body, CHAT)


_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_stream_is_relayed_event_by_event_and_the_usage_we_asked_for_is_taken_out(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(stream(*EVENTS))
    got = call(worker.port, request_bytes(body=STREAM_BODY))
    assert got.is_whole
    assert got.body == EVENTS[0] + EVENTS[1] + EVENTS[3]
    sent = json.loads(upstream.seen[0].body)
    assert sent["stream_options"] == {"include_usage": True}
    (final,) = worker.recorded()
    assert final.stream
    assert json.loads(final.usage_raw or "") == {"prompt_tokens": 5, "completion_tokens": 2}
    assert final.ttft_us is not None
    bodies = worker.bodies(final.request_id)
    assert bodies.request == STREAM_BODY
    assert json.loads(bodies.sent)["stream_options"] == {"include_usage": True}
    assert bodies.response == b"".join(EVENTS)


def test_usage_asked_for_by_the_client_stays_in_its_stream(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(stream(*EVENTS))
    body = b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
    got = call(worker.port, request_bytes(body=body))
    assert got.body == b"".join(EVENTS)
    assert upstream.seen[0].body == body


def test_an_upstream_without_stream_options_is_asked_again_without_them(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    refusal = answer(b'{"error":{"message":"Unknown field: stream_options"}}', status="400 Bad Request")
    upstream.script(refusal, stream(*EVENTS[:2], EVENTS[3]))
    got = call(worker.port, request_bytes(body=STREAM_BODY))
    assert (got.status, got.body) == (200, EVENTS[0] + EVENTS[1] + EVENTS[3])
    assert upstream.seen[1].body == STREAM_BODY
    assert call(worker.port, request_bytes(body=STREAM_BODY)).status == 200
    assert upstream.seen[2].body == STREAM_BODY
    assert [final.outcome for final in worker.recorded(2)] == ["ok", "ok"]


def test_another_400_passes_through_byte_for_byte(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    body = b'{"detail": [{"loc": ["body"], "msg": "nope"}]}'
    upstream.script(answer(body, status="422 Unprocessable Entity", extra="x-odd: 1\r\n"))
    got = call(worker.port, request_bytes(body=STREAM_BODY))
    assert (got.status, got.body, got.header("x-odd")) == (422, body, "1")
    assert worker.recorded()[0].outcome == "upstream_error"


def test_the_first_piece_reaches_the_client_before_the_second_leaves_the_upstream(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script([STREAM_HEAD, chunk(EVENTS[0]), "wait-gone"])
    with worker.connect() as connection:
        connection.sendall(request_bytes(body=STREAM_BODY))
        received = b""
        while EVENTS[0] not in received:
            received += connection.recv(65536)
    assert upstream.gone.wait(30)  # the client left, so the upstream was told
    (final,) = worker.recorded()
    assert (final.outcome, final.output_chars) == ("client_closed", 3)
    assert worker.bodies(final.request_id).response == EVENTS[0]


@pytest.mark.parametrize("ending", ["reset", "close"])
def test_a_cut_stream_never_looks_complete(worker: WorkerProcess, upstream: ScriptedUpstream, ending: str) -> None:
    upstream.script([STREAM_HEAD, chunk(EVENTS[0]), 0.05, ending])
    got = call(worker.port, request_bytes(body=STREAM_BODY))
    assert (got.body, got.is_whole) == (EVENTS[0], False)
    assert b"[DONE]" not in got.raw
    (final,) = worker.recorded()
    assert (final.outcome, final.error_type) == ("upstream_aborted", "upstream_aborted")


def test_a_stream_framed_by_its_connection_counts_as_cut_without_its_last_event(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    upstream.script([head + EVENTS[0], 0.05, "close"])
    got = call(worker.port, request_bytes(body=STREAM_BODY))
    assert not got.is_whole
    upstream.script([head + b"".join(EVENTS), 0.05, "close"])
    assert call(worker.port, request_bytes(body=STREAM_BODY)).is_whole
    assert [final.outcome for final in worker.recorded(2)] == ["upstream_aborted", "ok"]


def test_a_short_body_is_broken_off(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(
        [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{", 0.05, "close"]
    )
    got = call(worker.port, request_bytes())
    assert (got.status, got.is_whole) == (200, False)
    assert worker.recorded()[0].outcome == "upstream_aborted"


def test_a_connection_closed_just_as_it_was_used_again_is_replaced_once(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(answer(CHAT), ["close"], answer(CHAT))
    assert call(worker.port, request_bytes()).status == 200
    assert call(worker.port, request_bytes()).status == 200
    assert [seen.connection for seen in upstream.seen] == [1, 1, 2]
    assert len(worker.recorded(2)) == 2


def test_a_fresh_connection_that_dies_is_not_tried_again(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(["close"])
    got = call(worker.port, request_bytes())
    assert got.status == 502
    assert got.error["message"].startswith('headgate: upstream "main" closed the connection')
    assert len(upstream.seen) == 1
    assert worker.recorded()[0].outcome == "upstream_error"


def test_nothing_is_sent_twice_after_an_answer_began(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(answer(CHAT), [b"HTTP/1.1 200 OK\r\nconte", 0.05, "reset"])
    call(worker.port, request_bytes())
    assert call(worker.port, request_bytes()).status == 502
    assert len(upstream.seen) == 2


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [([3.0], 504, "upstream_timeout"), ([STREAM_HEAD, chunk(EVENTS[0]), 3.0], 200, "upstream_stalled")],
)
def test_each_deadline_has_its_own_ending(
    worker: WorkerProcess, upstream: ScriptedUpstream, script: list[bytes | float | str], status: int, code: str
) -> None:
    upstream.script(script)
    got = call(worker.port, request_bytes(body=STREAM_BODY))
    assert got.status == status
    assert got.is_whole == (status == 504)
    (final,) = worker.recorded()
    assert (final.outcome, final.error_type) == ("timeout", code)


def test_an_upstream_that_is_not_there_gives_502_and_says_what_to_do(serve_with: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    worker = serve_with(settings_for(Upstream(name="gone", kind="openai", base_url=f"http://127.0.0.1:{port}/v1")))
    got = call(worker.port, request_bytes())
    assert got.status == 502
    assert "headgate doctor" in got.error["message"]
    (final,) = worker.recorded()
    assert (final.outcome, final.attempts[0].error_type) == ("upstream_error", "connect")


def test_a_route_falls_back_before_the_first_byte_and_says_so(
    serve_with: Serve, upstream: ScriptedUpstream, second_upstream: ScriptedUpstream
) -> None:
    first = Upstream(name="first", kind="openai", base_url=upstream.base_url, timeout=QUICK)
    second = Upstream(name="second", kind="openai", base_url=second_upstream.base_url, timeout=QUICK)
    route = Route(model="fast", targets=(Target(upstream="first", model="a"), Target(upstream="second", model="b")))
    worker = serve_with(settings_for(first, second, routes=(route,)))
    upstream.script(answer(b'{"error":{"message":"slow down"}}', status="429 Too Many Requests"))
    second_upstream.script(answer(CHAT))
    got = call(worker.port, request_bytes(body=b'{"model": "fast", "x": 1.0}'))
    assert (got.status, got.header("x-headgate-upstream")) == (200, "second")
    assert upstream.seen[0].body == b'{"model": "a", "x": 1.0}'
    assert second_upstream.seen[0].body == b'{"model": "b", "x": 1.0}'
    (final,) = worker.recorded()
    assert (final.fallback_from, final.route, final.upstream) == ("first", "fast", "second")
    assert [(attempt.upstream, attempt.status) for attempt in final.attempts] == [("first", 429), ("second", 200)]


def test_the_last_targets_refusal_is_passed_on(
    serve_with: Serve, upstream: ScriptedUpstream, second_upstream: ScriptedUpstream
) -> None:
    first = Upstream(name="first", kind="openai", base_url=upstream.base_url)
    second = Upstream(name="second", kind="openai", base_url=second_upstream.base_url)
    route = Route(model="fast", targets=(Target(upstream="first"), Target(upstream="second")))
    worker = serve_with(settings_for(first, second, routes=(route,)))
    upstream.script(["close"])
    second_upstream.script(answer(b'{"error":1}', status="503 Service Unavailable", extra="retry-after: 7\r\n"))
    got = call(worker.port, request_bytes(body=b'{"model":"fast"}'))
    assert (got.status, got.body, got.header("retry-after")) == (503, b'{"error":1}', "7")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (request_bytes(body=b'{"model": "m"'), 400, "invalid_json"),
        (request_bytes(body=b'{"model": 7}'), 400, "invalid_body"),
        (request_bytes(body=b"[]"), 400, "invalid_body"),
        (request_bytes(headers={"x-headgate-capture": "all"}), 400, "invalid_header"),
        (request_bytes(path="/v1/organization/users", body=b"", method="GET"), 403, "path_forbidden"),
    ],
)
def test_a_bad_request_is_refused_with_a_row_and_without_a_call(
    worker: WorkerProcess, upstream: ScriptedUpstream, data: bytes, status: int, code: str
) -> None:
    got = call(worker.port, data)
    assert (got.status, got.error["code"]) == (status, code)
    assert got.error["message"].startswith("headgate: ")
    assert not upstream.seen
    (final,) = worker.recorded()
    assert (final.outcome, final.status, final.error_type) == ("refused", status, code)


def test_an_unknown_model_is_refused_naming_routes_and_the_nearest(
    serve_with: Serve, upstream: ScriptedUpstream
) -> None:
    one = Upstream(name="main", kind="openai", base_url=upstream.base_url)
    route = Route(model="gpt-5-mini", targets=(Target(upstream="main"),))
    worker = serve_with(Settings(upstreams={"main": one}, routes=(route,)))
    got = call(worker.port, request_bytes(body=b'{"model":"o5-mini"}'))
    assert got.status == 404
    assert got.error["message"].startswith(
        'headgate: no route for model "o5-mini". Routes: gpt-5-mini. Nearest: gpt-5-mini.'
    )


def test_a_dialect_that_no_target_speaks_is_refused_in_that_dialect(worker: WorkerProcess) -> None:
    got = call(worker.port, request_bytes(path="/v1/messages", headers={"anthropic-version": "2023-06-01"}))
    assert got.status == 400
    assert got.json()["type"] == "error"
    assert "no target of route" in got.error["message"]


def test_a_body_over_the_limit_is_refused_before_it_is_read(serve_with: Serve, upstream: ScriptedUpstream) -> None:
    one = Upstream(name="main", kind="openai", base_url=upstream.base_url)
    worker = serve_with(settings_for(one, server=Server(max_body_mb=0.001, default_upstream={"openai": "main"})))
    with worker.connect() as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999\r\n\r\n")
        got = read_answer(connection)
    assert (got.status, got.error["code"]) == (413, "body_too_large")
    chunked = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    got = call(worker.port, chunked + chunk(b"x" * 1500) + b"0\r\n\r\n")
    assert got.status == 413
    assert [final.outcome for final in worker.recorded(2)] == ["refused", "refused"]


def test_capture_may_be_lowered_by_the_request_and_never_raised(serve_with: Serve, upstream: ScriptedUpstream) -> None:
    one = Upstream(name="main", kind="openai", base_url=upstream.base_url)
    worker = serve_with(settings_for(one, log=Log(capture="metadata")))
    upstream.script(answer(CHAT))
    call(worker.port, request_bytes(headers={"x-headgate-capture": "full", "x-headgate-session": "s1"}))
    call(worker.port, request_bytes(headers={"x-headgate-capture": "none", "x-headgate-session": "s1"}))
    by_capture = {final.capture: final for final in worker.recorded(2)}
    assert by_capture["metadata"].session_id == "s1"
    assert by_capture["none"].session_id is None
    for final in by_capture.values():
        assert worker.bodies(final.request_id).response == b""
        assert final.usage_raw is not None


def test_a_large_answer_is_kept_up_to_the_cap_and_marked(serve_with: Serve, upstream: ScriptedUpstream) -> None:
    one = Upstream(name="main", kind="openai", base_url=upstream.base_url)
    worker = serve_with(settings_for(one, log=Log(capture_mb=0.01)))
    body = b'{"model":"x","data":"' + b"y" * 50_000 + b'"}'
    upstream.script(answer(body))
    assert call(worker.port, request_bytes()).body == body
    (final,) = worker.recorded()
    assert (final.capture, final.response_bytes) == ("truncated", len(body))
    assert worker.bodies(final.request_id).response == body[: int(0.01 * 1024 * 1024)]


def test_a_coded_answer_passes_as_it_is_and_is_read_all_the_same(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(CHAT) + packer.flush()
    upstream.script(answer(packed, extra="content-encoding: gzip\r\n"))
    got = call(worker.port, request_bytes(headers={"accept-encoding": "gzip"}))
    assert (got.body, got.header("content-encoding")) == (packed, "gzip")
    assert upstream.seen[0].header("accept-encoding") == "gzip"
    (final,) = worker.recorded()
    assert (final.finish_reason, final.response_encoding) == ("stop", "gzip")


def test_an_unknown_path_below_v1_passes_raw_and_is_recorded(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(answer(b"\x00\x01binary", media="audio/mpeg"))
    got = call(worker.port, request_bytes(path="/v1/audio/speech%20x?b=%2F&a=1", body=b"\xff\xfe"))
    assert (got.status, got.body) == (200, b"\x00\x01binary")
    assert upstream.seen[0].request_line == b"POST /v1/audio/speech%20x?b=%2F&a=1 HTTP/1.1"
    assert upstream.seen[0].body == b"\xff\xfe"
    (final,) = worker.recorded()
    assert (final.endpoint, final.outcome, final.usage_raw, final.path) == ("other", "ok", None, "/v1/audio/speech%20x")


@pytest.mark.parametrize(("method", "head"), [("HEAD", b"content-length: 10"), ("DELETE", b""), ("GET", b"etag: 1")])
def test_bodiless_answers_pass(worker: WorkerProcess, upstream: ScriptedUpstream, method: str, head: bytes) -> None:
    status = {"HEAD": b"200 OK", "DELETE": b"204 No Content", "GET": b"304 Not Modified"}[method]
    upstream.script([b"HTTP/1.1 " + status + b"\r\n" + (head + b"\r\n" if head else b"") + b"\r\n"])
    got = call(worker.port, request_bytes(path="/v1/files/f1", body=b"", method=method), method=method)
    assert got.status == int(status[:3])
    assert got.header("transfer-encoding") is None
    assert worker.recorded()[0].outcome == "ok"


def test_expect_100_continue_is_answered_before_the_body_is_sent(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(answer(CHAT))
    with worker.connect() as connection:
        head = request_bytes(body=b'{"model":"m"}', headers={"Expect": "100-continue"})[:-13]
        connection.sendall(head)
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b'{"model":"m"}')
        assert read_answer(connection).body == CHAT
    assert upstream.seen[0].header("expect") is None


def test_one_connection_carries_api_calls_and_pages_in_turn(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(answer(CHAT))
    with worker.connect() as connection:
        for _ in range(3):
            connection.sendall(request_bytes())
            assert read_answer(connection).body == CHAT
            connection.sendall(request_bytes(path="/healthz", body=b"", method="GET"))
            assert read_answer(connection).json() == {"status": "ok"}
    assert {seen.connection for seen in upstream.seen} == {1}


def test_pipelined_calls_are_answered_in_order(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(answer(b'{"n":1}'), answer(b'{"n":2}'), answer(b'{"n":3}'))
    with worker.connect() as connection:
        connection.sendall(request_bytes() * 3)
        pieces = b""
        while pieces.count(b'{"n":') < 3:
            pieces += connection.recv(65536)
    assert [pieces.index(b'{"n":%d}' % n) for n in (1, 2, 3)] == sorted(
        pieces.index(b'{"n":%d}' % n) for n in (1, 2, 3)
    )
    assert len(worker.recorded(3)) == 3


def test_every_call_leaves_a_start_record_before_the_upstream_sees_it(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(["wait-gone"])
    with worker.connect() as connection:
        connection.sendall(request_bytes())
        deadline = time.monotonic() + 5
        while not upstream.seen and time.monotonic() < deadline:
            time.sleep(0.01)
        starts, finals = worker.entries()
        assert (len(starts), len(finals)) == (1, 0)
        worker.kill()
    assert len(worker.entries()[0]) == 1


def test_secrets_of_either_side_are_not_in_the_spool(
    start_worker: Serve, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_UPSTREAM_KEY", "upstream-secret-1234567890")
    one = Upstream(name="main", kind="openai", base_url=upstream.base_url, api_key_env="TEST_UPSTREAM_KEY")
    worker = start_worker(settings_for(one))  # reads its environment at its start
    upstream.script(answer(b'{"error":{"message":"bad key upstream-secret-1234567890"}}', status="401 Unauthorized"))
    body = b'{"model":"m","messages":[{"role":"user","content":"my key is client-secret-1234567890"}]}'
    call(worker.port, request_bytes(body=body, headers={"authorization": "Bearer client-secret-1234567890"}))
    assert upstream.seen[0].header("authorization") == "Bearer upstream-secret-1234567890"
    assert upstream.seen[0].body == body
    worker.recorded()
    for file in worker.home.path.rglob("*"):
        if file.is_file():
            assert b"secret-1234567890" not in file.read_bytes(), file


def test_the_callers_own_credential_travels_only_where_it_may(serve_with: Serve, upstream: ScriptedUpstream) -> None:
    one = Upstream(name="main", kind="openai", base_url=upstream.base_url, auth="caller")
    worker = serve_with(settings_for(one))
    upstream.script(answer(CHAT))
    call(worker.port, request_bytes(headers={"Authorization": "Bearer sk-mine", "x-headgate-session": "s"}))
    assert upstream.seen[0].header("authorization") == "Bearer sk-mine"
    assert b"x-headgate" not in upstream.seen[0].head.lower()


def test_a_replaced_worker_keeps_a_connection_whose_answer_said_that_it_goes_on(
    start_worker: Serve, upstream: ScriptedUpstream
) -> None:
    worker = start_worker(settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url, timeout=QUICK)))
    (whole,) = answer(CHAT)
    assert isinstance(whole, bytes)
    upstream.script([whole[:-9], 1.0, whole[-9:]], answer(CHAT))
    with worker.connect() as client:
        client.sendall(request_bytes())
        head = client.recv(65536)  # it waits for its body to the next sweep at most
        worker.process.send_signal(signal.SIGUSR2)
        assert b"connection: close" not in head
        rest = head.partition(b"\r\n\r\n")[2]
        while len(rest) < len(CHAT):
            rest += client.recv(65536)
        client.sendall(request_bytes())
        got = read_answer(client)
    assert (got.status, got.header("connection")) == (200, "close")
    assert worker.process.wait(30) == 0
    worker.kill()  # lets go of its listener
