"""Streams of any framing, cut anywhere: untouched at the client, at once, and understood in the log."""

import json
import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.core.settings import Timeout, Upstream
from headgate.spool.record import FinalRecord
from support.client import Got, call, read_answer, request_bytes
from support.settings import settings_for
from support.upstream import STREAM_HEAD, Script, ScriptedUpstream, answer, chunk, stream
from support.worker import WorkerProcess

STREAMED = b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
INJECTED = b'{"model":"m","stream":true,"messages":[]}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
PATIENT = Timeout(connect_s=2.0, first_byte_s=20.0, between_bytes_s=20.0)


@pytest.fixture(scope="module")
def between(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, ScriptedUpstream]]:
    """One worker and its upstream for the whole module."""
    upstream = ScriptedUpstream()
    one = Upstream(name="main", kind="demo", provider="x", base_url=upstream.base_url, timeout=PATIENT)
    worker = WorkerProcess(tmp_path_factory.mktemp("worker"), settings_for(one))
    yield worker, upstream
    worker.stop()
    upstream.close()


def record_of(worker: WorkerProcess, got: Got) -> FinalRecord:
    """The record of the answer's request, once it is in the spool."""
    request_id = got.header("x-headgate-request-id")
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        for final in reversed(worker.entries()[1]):
            if final.request_id == request_id:
                return final
        time.sleep(0.01)
    raise AssertionError(f"{request_id} has no record")


def delta(text: str, **more: object) -> bytes:
    return json.dumps(
        {"id": "c1", "model": "mx", "choices": [{"index": 0, "delta": {"content": text}}], **more}
    ).encode()


def tool_delta(text: str) -> bytes:
    call = {"index": 0, "function": {"name": None, "arguments": text}}
    return json.dumps({"id": "c1", "model": "mx", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).encode()


FINISH = json.dumps(
    {"id": "c1", "model": "mx", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
).encode()
USAGE = b'{"id":"c1","model":"mx","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9}}'


# Any framing, any cut.

ENDS = st.sampled_from(["\n", "\r\n", "\r"])
NOISE = st.sampled_from(["", ": ping", ": ", "id: 7", "retry: 10", "event: message", "data"])
TEXTS = st.lists(st.tuples(st.booleans(), st.text(max_size=12)), max_size=6)
CUTS = st.lists(st.floats(0, 1, exclude_max=True), max_size=8)
FRAMINGS = st.sampled_from(["chunked", "chunks in pieces", "sized", "to the end"])


def event_stream(texts: list[tuple[bool, str]], ends: list[str], noise: list[str]) -> bytes:
    """The events of an answer, every line with an end of its own kind, comments and blank lines between."""
    turn = iter(range(10**6))

    def end() -> str:
        return ends[next(turn) % len(ends)]

    out = []
    payloads = [tool_delta(text) if is_tool else delta(text) for is_tool, text in texts]
    for number, payload in enumerate([*payloads, FINISH, USAGE, b"[DONE]"]):
        extra = noise[number % len(noise)]
        if extra == "data":  # an event over several data lines, which are joined by a line feed
            first, _, rest = payload.decode().partition(",")
            lines = [f"data: {first},", f"data:{rest}"] if rest else [f"data: {first}"]
        else:
            lines = [*([extra] if extra else []), f"data: {payload.decode()}"]
        out += [line + end() for line in lines]
        out.append("\n" if out[-1].endswith("\n") else "\r")  # CR and LF of two lines would be one line end
    return "".join(out).encode()


def framed(body: bytes, framing: str, cuts: list[float]) -> Script:
    at = [0, *sorted({int(cut * len(body)) for cut in cuts}), len(body)]
    pieces = [body[a:b] for a, b in zip(at, at[1:], strict=False) if b > a]
    if framing == "sized":
        return [HEAD + b"content-length: %d\r\n\r\n" % len(body), *pieces]
    if framing == "to the end":
        return [HEAD + b"\r\n", *pieces, "close"]
    if framing == "chunked":
        return [STREAM_HEAD, *map(chunk, pieces), b"0\r\n\r\n"]
    whole = b"".join(map(chunk, pieces)) + b"0\r\n\r\n"  # the borders of chunks and of segments differ
    return [STREAM_HEAD, *(whole[a : a + 1 + len(whole) // 5] for a in range(0, len(whole), 1 + len(whole) // 5))]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=TEXTS,
    ends=st.lists(ENDS, min_size=1, max_size=4),
    noise=st.lists(NOISE, min_size=1, max_size=4),
    framing=FRAMINGS,
    cuts=CUTS,
)
def test_any_framing_cut_at_any_byte_passes_untouched_and_is_understood(
    between: tuple[WorkerProcess, ScriptedUpstream],
    texts: list[tuple[bool, str]],
    ends: list[str],
    noise: list[str],
    framing: str,
    cuts: list[float],
) -> None:
    worker, upstream = between
    body = event_stream(texts, ends, noise)
    upstream.script(framed(body, framing, cuts))
    got = call(worker.port, request_bytes(body=STREAMED))
    assert (got.status, got.is_whole, got.body) == (200, True, body)
    final = record_of(worker, got)
    assert (final.outcome, final.stream, final.model, final.finish_reason) == ("ok", True, "mx", "stop")
    assert json.loads(final.usage_raw or "") == {"prompt_tokens": 5, "completion_tokens": 9}
    assert final.output_chars == sum(len(text) for _, text in texts)
    assert final.response_bytes == len(body)
    assert final.fold_note is None


# Large events, and many at once.


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("asked", [STREAMED, INJECTED], ids=["usage asked for", "usage added by us"])
def test_an_event_of_eight_megabytes_passes_and_what_follows_it_is_read(
    between: tuple[WorkerProcess, ScriptedUpstream], path: str, asked: bytes
) -> None:
    worker, upstream = between
    if path == "/v1/responses":
        image = b'{"type":"response.image_generation_call.partial_image","partial_image_b64":"%b"}' % (
            b"iVBO" * (2 << 20)
        )
        done = {"id": "r1", "model": "mx", "status": "completed", "usage": {"input_tokens": 5, "output_tokens": 9}}
        events = [image, json.dumps({"type": "response.completed", "response": done}).encode()]
        expected = events
    else:
        events = [delta("x" * (8 << 20)), FINISH, USAGE, b"[DONE]"]
        expected = events if asked is STREAMED else [event for event in events if event is not USAGE]
    whole = b"".join(b"data: %b\n\n" % event for event in events)
    upstream.script(
        [STREAM_HEAD, *(chunk(whole[at : at + 99_991]) for at in range(0, len(whole), 99_991)), b"0\r\n\r\n"]
    )
    got = call(worker.port, request_bytes(path, asked))
    assert got.is_whole
    assert got.body == b"".join(b"data: %b\n\n" % event for event in expected)
    final = record_of(worker, got)
    assert (final.outcome, final.capture, final.response_bytes) == ("ok", "full", len(whole))
    assert sorted(json.loads(final.usage_raw or "").values()) == [5, 9]
    if path != "/v1/responses":
        assert final.output_chars == 8 << 20


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_five_hundred_events_in_one_segment_are_all_read(
    between: tuple[WorkerProcess, ScriptedUpstream], end: str
) -> None:
    worker, upstream = between
    payloads = [*(delta(f"{number} ") for number in range(500)), FINISH, USAGE, b"[DONE]"]
    body = b"".join(b"data: %b%b" % (payload, end.encode() * 2) for payload in payloads)
    upstream.script([STREAM_HEAD + chunk(body) + b"0\r\n\r\n"])
    got = call(worker.port, request_bytes(body=INJECTED))
    assert got.body == body.replace(b"data: %b%b" % (USAGE, end.encode() * 2), b"")
    final = record_of(worker, got)
    assert final.output_chars == sum(len(f"{number} ") for number in range(500))
    assert json.loads(final.usage_raw or "")["completion_tokens"] == 9


# At once.


@pytest.fixture
def by_hand(
    between: tuple[WorkerProcess, ScriptedUpstream],
) -> Iterator[tuple[socket.socket, "threading.Semaphore", list[bytes]]]:
    """A client whose upstream sends the next of a list of pieces only when it is told to."""
    worker, upstream = between
    may_send, pieces = threading.Semaphore(0), list[bytes]()

    class Paced(list[bytes | float | str]):
        def __iter__(self) -> Iterator[bytes | float | str]:
            for piece in pieces:
                assert may_send.acquire(timeout=10)
                yield piece

    upstream.reply_with = lambda seen: Paced()
    with worker.connect() as client:
        yield client, may_send, pieces
    upstream.reply_with = None


@pytest.mark.parametrize("asked", [STREAMED, INJECTED], ids=["usage asked for", "usage added by us"])
def test_the_first_byte_is_out_when_the_first_byte_is_in(
    by_hand: tuple[socket.socket, threading.Semaphore, list[bytes]], asked: bytes
) -> None:
    client, may_send, pieces = by_hand
    first = b'data: {"choices":[{"delta":{"content":"Hel'  # not the whole of an event
    pieces += [STREAM_HEAD, chunk(first), chunk(b'lo"}}]}\n\ndata: [DONE]\n\n') + b"0\r\n\r\n"]
    client.sendall(request_bytes(body=asked))
    may_send.release()
    head = b""
    while b"\r\n\r\n" not in head:  # before any byte of the body
        head += client.recv(65536)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.endswith(b"\r\n\r\n")
    may_send.release()
    assert client.recv(65536) == chunk(first)
    may_send.release()
    rest = b""
    while not rest.endswith(b"0\r\n\r\n"):
        rest += client.recv(65536)


def test_the_head_of_a_sized_answer_does_not_wait_for_its_body(
    by_hand: tuple[socket.socket, threading.Semaphore, list[bytes]],
) -> None:
    client, may_send, pieces = by_hand
    pieces += [b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 4\r\n\r\n", b"\xff", b"\xfb\x00\x01"]
    client.sendall(request_bytes("/v1/audio/speech"))
    may_send.release()
    head = client.recv(65536)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.endswith(b"\r\n\r\n")
    for expected in pieces[1:]:
        may_send.release()
        assert client.recv(65536) == expected


# The reader is chosen by what came, not by what was asked.

WHOLE = json.dumps(
    {
        "id": "c1",
        "model": "mx",
        "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5},
    }
).encode()


@pytest.mark.parametrize(
    "body", [b'{"model":"m","messages":[]}', STREAMED], ids=["whole asked for", "stream asked for"]
)
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole came", "a stream came"])
def test_an_answer_is_read_as_what_its_content_type_says(
    between: tuple[WorkerProcess, ScriptedUpstream], body: bytes, is_stream: bool
) -> None:
    worker, upstream = between
    events = [b"data: %b\n\n" % data for data in (delta("Hi"), FINISH, USAGE, b"[DONE]")]
    upstream.script(stream(*events) if is_stream else answer(WHOLE, media="application/json; charset=utf-8"))
    got = call(worker.port, request_bytes(body=body))
    assert got.body == (b"".join(events) if is_stream else WHOLE)
    final = record_of(worker, got)
    assert (final.outcome, final.stream) == ("ok", is_stream or body is STREAMED)
    assert (final.model, final.finish_reason) == ("mx", "stop")
    assert json.loads(final.usage_raw or "")["prompt_tokens"] == 5


def test_a_stream_that_calls_itself_json_passes_untouched_and_the_log_says_that_it_could_not_be_read(
    between: tuple[WorkerProcess, ScriptedUpstream],
) -> None:
    worker, upstream = between
    body = b"data: %b\n\ndata: [DONE]\n\n" % delta("Hi")
    upstream.script(answer(body))
    got = call(worker.port, request_bytes(body=STREAMED))
    assert got.body == body
    assert record_of(worker, got).fold_note == "the answer is not whole JSON"


@pytest.mark.slow
def test_many_large_streams_at_once_are_all_read(between: tuple[WorkerProcess, ScriptedUpstream]) -> None:
    worker, upstream = between
    numbers = random.Random(7)
    for _ in range(20):
        events = [
            delta("y" * numbers.randrange(1, 6 << 20)),
            *(delta("z") for _ in range(500)),
            FINISH,
            USAGE,
            b"[DONE]",
        ]
        body = b"".join(b"data: %b\n\n" % event for event in events)
        step = numbers.randrange(1000, 300_000)
        upstream.script([STREAM_HEAD, *(chunk(body[a : a + step]) for a in range(0, len(body), step)), b"0\r\n\r\n"])
        with worker.connect() as client:
            client.sendall(request_bytes(body=STREAMED))
            got = read_answer(client)
        assert got.body == body
        assert json.loads(record_of(worker, got).usage_raw or "")["completion_tokens"] == 9
