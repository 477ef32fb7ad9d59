"""Upstreams that send HTTP badly, slowly or not to the end: clients get it as it came, or one clear error; a broken
answer never looks whole; the log says which it was.
"""

import gzip
import itertools
import json
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from headgate.core.settings import Settings, Timeout, Upstream
from headgate.spool.record import FinalRecord
from support.client import Got, call, read_answer, request_bytes
from support.settings import settings_for
from support.upstream import STREAM_HEAD, Script, ScriptedUpstream, Seen, answer, chunk
from support.worker import WorkerProcess

STREAMED = b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
INJECTED = b'{"model":"m","stream":true,"messages":[]}'
TEXTS = ("Grüße", " aus 東京", " 👩‍👩‍👧 ", "fin\u2028")


def event(value: Any) -> str:
    return "data: " + json.dumps(value, ensure_ascii=False)


EVENTS = [
    *(event({"id": "c1", "model": "mx", "choices": [{"index": 0, "delta": {"content": text}}]}) for text in TEXTS),
    event({"id": "c1", "model": "mx", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
]
USAGE = event({"id": "c1", "model": "mx", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 9}})
DONE = "data: [DONE]"
CHAT = json.dumps(
    {
        "id": "c1",
        "model": "mx",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "".join(TEXTS)}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 9},
    },
    ensure_ascii=False,
).encode()
HEAD = b"HTTP/1.1 200 OK\r\n"
JSON = b"content-type: application/json\r\n"
OK_AFTER = answer(b'{"after":1}', extra="connection: close\r\n")
"""Leaves no idle connection behind: one that breaks when it is used again is rightly replaced and tried once more."""


def sse(ending: str, *, with_usage: bool = True) -> bytes:
    """The stream with CR, LF or CRLF lines."""
    events = [*EVENTS, *([USAGE] if with_usage else []), DONE]
    return "".join(text + ending * 2 for text in events).encode()


def one_record(worker: WorkerProcess, got: Got) -> FinalRecord:
    """The record of the answer's request."""
    request_id = got.header("x-headgate-request-id")
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        for final in worker.entries()[1]:
            if final.request_id == request_id:
                return final
        time.sleep(0.02)
    raise AssertionError(f"{request_id} has no record")


def newest_record(worker: WorkerProcess, before: int) -> FinalRecord:
    (final,) = worker.recorded(before + 1)[before:]
    return final


def assert_still_serves(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.reply_with = None
    upstream.script(OK_AFTER)
    assert worker.process.poll() is None
    assert call(worker.port, request_bytes()).body == b'{"after":1}'


# Valid, only odd.


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("framing", ["chunked", "sized", "to the end"])
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_stream_passes_byte_for_byte_however_it_is_cut(
    worker: WorkerProcess, upstream: ScriptedUpstream, ending: str, framing: str, step: int
) -> None:
    body = sse(ending)
    head = HEAD + b"content-type: text/event-stream\r\n"
    pieces = [body[at : at + step] for at in range(0, len(body), step)]
    if framing == "chunked":
        steps: Script = [STREAM_HEAD, *map(chunk, pieces), b"0\r\n\r\n"]
    elif framing == "sized":
        steps = [head + b"content-length: %d\r\n\r\n" % len(body), *pieces]
    else:
        steps = [head + b"\r\n", *pieces, "close"]
    upstream.script(steps)
    got = call(worker.port, request_bytes(body=STREAMED))
    assert (got.status, got.is_whole, got.body) == (200, True, body)
    final = one_record(worker, got)
    assert (final.outcome, final.stream, final.model, final.finish_reason) == ("ok", True, "mx", "stop")
    assert json.loads(final.usage_raw or "") == {"prompt_tokens": 5, "completion_tokens": 9}
    assert final.output_chars == len("".join(TEXTS))
    assert worker.bodies(final.request_id).response == body


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("step", [1, 13])
def test_only_the_usage_that_we_asked_for_is_taken_out_however_it_is_cut(
    worker: WorkerProcess, upstream: ScriptedUpstream, ending: str, step: int
) -> None:
    body = sse(ending)
    upstream.script([STREAM_HEAD, *(chunk(body[at : at + step]) for at in range(0, len(body), step)), b"0\r\n\r\n"])
    got = call(worker.port, request_bytes(body=INJECTED))
    assert (got.is_whole, got.body) == (True, sse(ending, with_usage=False))
    assert json.loads(one_record(worker, got).usage_raw or "")["completion_tokens"] == 9


def test_every_byte_of_an_answer_may_come_alone(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    whole = answer(CHAT, extra="x-request-id: r1\r\n")[0]
    assert isinstance(whole, bytes)
    upstream.script([bytes([byte]) for byte in whole])
    got = call(worker.port, request_bytes())
    assert (got.status, got.body) == (200, CHAT)
    final = one_record(worker, got)
    assert (final.outcome, final.upstream_request_id, final.model) == ("ok", "r1", "mx")


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nx-secret: 1\r\n\r\n",
    ],
)
@pytest.mark.parametrize("pause", [False, True])
def test_interim_answers_are_not_taken_for_the_answer(
    worker: WorkerProcess, upstream: ScriptedUpstream, interim: bytes, pause: bool
) -> None:
    upstream.script([interim, 0.05, *answer(CHAT)] if pause else [interim + bytes(answer(CHAT)[0])])  # type: ignore[arg-type]
    for _ in range(2):
        got = call(worker.port, request_bytes())
        assert (got.status, got.body) == (200, CHAT)
        assert got.header("link") is None and got.header("x-secret") is None
    assert one_record(worker, got).status == 200


def test_odd_but_valid_heads_pass(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    for head, status in (
        (b"HTTP/1.1 200\r\n", 200),
        (b"HTTP/1.1 299 Odd\r\n", 299),
        (b"HTTP/1.0 200 OK\r\n", 200),
        (b"HTTP/1.1 418 I'm a teapot \xfc\r\n", 418),
        (b"HTTP/1.1 599 \r\n", 599),
    ):
        upstream.script([head + JSON + b"Content-Length: 2\r\nX-Empty:\r\nX-Latin: \xfc\r\n\r\n{}"])
        got = call(worker.port, request_bytes())
        assert (got.status, got.body, got.header("x-latin")) == (status, b"{}", "ü"), head
        assert_still_serves(worker, upstream)


def test_an_http_1_0_upstream_that_closes_is_served_again_and_again(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script([b"HTTP/1.0 200 OK\r\n" + JSON + b"\r\n" + CHAT, "close"])
    for _ in range(3):
        got = call(worker.port, request_bytes())
        assert (got.status, got.body, got.is_whole) == (200, CHAT, True)
    assert len({seen.connection for seen in upstream.seen}) == 3


def test_slow_heads_within_the_deadline_are_waited_for(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script([b"HTTP/1.1 20", 0.3, b"0 OK\r\ncontent-", 0.3, b"length: 2\r\n", 0.3, b"\r\n{", 0.3, b"}"])
    assert call(worker.port, request_bytes()).body == b"{}"


# No HTTP, or not one answer.

BEFORE_ANY_ANSWER: dict[str, Script] = {
    "garbage": [b"\x00\xff\xfe\r\n\r\n"],
    "another protocol": [b"SSH-2.0-OpenSSH_9.2\r\n"],
    "TLS alert": [b"\x15\x03\x01\x00\x02\x02\x46"],
    "misspelt": [b"HTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
    "ICY": [b"ICY 200 OK\r\n\r\n"],
    "version 3": [b"HTTP/3.0 200 OK\r\ncontent-length: 0\r\n\r\n"],
    "status in letters": [b"HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n"],
    "status of two digits": [b"HTTP/1.1 99 OK\r\ncontent-length: 0\r\n\r\n"],
    "status of four digits": [b"HTTP/1.1 1000 OK\r\ncontent-length: 0\r\n\r\n"],
    "switching protocols": [b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc"],
    "only interim": [b"HTTP/1.1 100 Continue\r\n\r\n", "close"],
    "lengths differ": [HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}x"],
    "length list": [HEAD + b"content-length: 2, 2\r\n\r\n{}"],
    "length negative": [HEAD + b"content-length: -2\r\n\r\n{}"],
    "length in letters": [HEAD + b"content-length: two\r\n\r\n{}"],
    "length with plus": [HEAD + b"content-length: +2\r\n\r\n{}"],
    "length of 30 digits": [HEAD + b"content-length: " + b"9" * 30 + b"\r\n\r\n{}"],
    "length and chunked": [HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
    "coding gzip, chunked": [HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
    "coding after chunked": [HEAD + b"transfer-encoding: chunked, gzip\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "close"],
    "folded header": [HEAD + b"x-a: 1\r\n 2\r\ncontent-length: 2\r\n\r\n{}"],
    "space before colon": [HEAD + b"content-length : 2\r\n\r\n{}"],
    "no colon": [HEAD + b"nonsense\r\ncontent-length: 2\r\n\r\n{}"],
    "NUL in a value": [HEAD + b"x-a: a\x00b\r\ncontent-length: 2\r\n\r\n{}"],
    "CR in a value": [HEAD + b"x-a: a\rset-cookie: b\r\ncontent-length: 2\r\n\r\n{}"],
    "bare LF": [b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}"],
    "header of 100 KB": [HEAD + b"x-a: " + b"a" * 100_000 + b"\r\ncontent-length: 2\r\n\r\n{}"],
    "20,000 headers": [HEAD + b"x-a: 1\r\n" * 20_000 + b"content-length: 2\r\n\r\n{}"],
    "header without end": [HEAD + b"x-a: ", *([b"a" * 10_000] * 20)],
    "first chunk size 0x2": [HEAD + b"transfer-encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n"],
    "first chunk size -2": [HEAD + b"transfer-encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n"],
    "first chunk size of 20 digits": [
        HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n{}\r\n0\r\n\r\n"
    ],
    "reset before the head": ["reset"],
    "reset within the head": [b"HTTP/1.1 200 OK\r\nconte", 0.05, "reset"],
    "end within the head": [b"HTTP/1.1 200 OK\r\nconte", 0.05, "close"],
}


@pytest.mark.parametrize("name", BEFORE_ANY_ANSWER)
def test_what_is_no_answer_is_502_said_plainly_and_called_once(
    worker: WorkerProcess, upstream: ScriptedUpstream, name: str
) -> None:
    before = len(worker.entries()[1])
    upstream.script(BEFORE_ANY_ANSWER[name])
    got = call(worker.port, request_bytes())
    assert got.status == 502, got.raw[:500]
    assert got.error["message"].startswith('headgate: upstream "main" ')
    assert got.error["code"] == "upstream_unreachable"
    final = newest_record(worker, before)
    assert (final.outcome, final.status, final.attempts[0].error_type) == ("upstream_error", 502, "no_answer")
    assert len(upstream.seen) == 1, "sent again"
    assert_still_serves(worker, upstream)


SLOW_START: Script = [HEAD + JSON + b"transfer-encoding: chunked\r\n\r\n", chunk(b'{"a":'), 0.05]
IN_THE_MIDDLE: dict[str, Script] = {
    "chunk size garbage": [*SLOW_START, b"zz\r\n1}\r\n0\r\n\r\n"],
    "chunk size 0x2": [*SLOW_START, b"0x2\r\n1}\r\n0\r\n\r\n"],
    "chunk size with sign": [*SLOW_START, b"+2\r\n1}\r\n0\r\n\r\n"],
    "chunk size empty": [*SLOW_START, b"\r\n1}\r\n0\r\n\r\n"],
    "chunk longer than said": [*SLOW_START, b"2\r\n1}}\r\n0\r\n\r\n"],
    "chunk line by LF": [*SLOW_START, b"2\n1}\n0\n\n"],
    "end without the last chunk": [*SLOW_START, chunk(b"1}"), 0.05, "close"],
    "end within a chunk": [*SLOW_START, b"2\r\n1", 0.05, "close"],
    "end within the last chunk": [*SLOW_START, chunk(b"1}") + b"0\r\n", 0.05, "close"],
    "reset": [*SLOW_START, "reset"],
    "reset after the data": [*SLOW_START, chunk(b"1}"), 0.05, "reset"],
    "sized, short": [HEAD + JSON + b"content-length: 7\r\n\r\n", b'{"a":', 0.05, "close"],
    "sized, reset": [HEAD + JSON + b"content-length: 7\r\n\r\n", b'{"a":', 0.05, "reset"],
    "event stream, end without its end": [STREAM_HEAD, chunk(EVENTS[0].encode() + b"\n\n"), 0.05, "close"],
    "event stream, reset": [STREAM_HEAD, chunk(EVENTS[0].encode() + b"\n\n"), 0.05, "reset"],
    "event stream, cut within a sign": [STREAM_HEAD, chunk(EVENTS[0].encode()[:-8]), 0.05, "reset"],
    "event stream of no known length, cut": [
        HEAD + b"content-type: text/event-stream\r\n\r\n" + EVENTS[0].encode() + b"\n\n",
        0.05,
        "close",
    ],
}


@pytest.mark.parametrize("name", IN_THE_MIDDLE)
def test_an_answer_that_breaks_off_never_looks_whole(
    worker: WorkerProcess, upstream: ScriptedUpstream, name: str
) -> None:
    upstream.script(IN_THE_MIDDLE[name])
    got = call(worker.port, request_bytes(body=STREAMED if "event" in name else b'{"model":"m"}'))
    assert (got.status, got.is_whole) == (200, False)
    assert b"[DONE]" not in got.body
    final = one_record(worker, got)
    assert (final.outcome, final.error_type, final.status) == ("upstream_aborted", "upstream_aborted", 200)
    assert final.error_message is not None and final.error_message.startswith('upstream "main" ')
    assert len(upstream.seen) == 1, "sent again"
    assert_still_serves(worker, upstream)


@pytest.mark.parametrize(
    "extra",
    [b"\r\n", b"x", b"\x00" * 100, b'HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{"stolen":true}', b"HTTP/1.1 500"],
    ids=["line", "byte", "zeros", "answer", "half"],
)
@pytest.mark.parametrize("pause", [False, True])
def test_bytes_after_an_answer_never_reach_the_next_client(
    worker: WorkerProcess, upstream: ScriptedUpstream, extra: bytes, pause: bool
) -> None:
    whole = bytes(answer(b'{"own":1}')[0])  # type: ignore[arg-type]
    upstream.script([whole, 0.05, extra] if pause else [whole + extra], answer(b'{"own":2}'))
    first = call(worker.port, request_bytes())
    assert (first.status, first.body) == (200, b'{"own":1}')
    if pause:
        time.sleep(0.1)  # let the stray bytes arrive while the connection is idle
    second = call(worker.port, request_bytes())
    assert (second.status, second.body) == (200, b'{"own":2}')
    assert one_record(worker, first).outcome == one_record(worker, second).outcome == "ok"


@pytest.mark.parametrize(("method", "status"), [("HEAD", b"200 OK"), ("GET", b"204 No Content"), ("GET", b"304 N")])
def test_a_body_where_none_belongs_is_dropped(
    worker: WorkerProcess, upstream: ScriptedUpstream, method: str, status: bytes
) -> None:
    head = b"HTTP/1.1 " + status + b"\r\n" + (b"content-length: 5\r\n" if method == "HEAD" else b"") + b"\r\n"
    upstream.script([head + b"extra"], answer(b'{"own":2}'))
    got = call(worker.port, request_bytes("/v1/files/f", b"", method=method), method=method)
    assert (got.status, b"extra" in got.raw) == (int(status[:3]), False)
    assert call(worker.port, request_bytes()).body == b'{"own":2}'


# Content codings.


def test_a_coded_stream_that_is_cut_passes_as_it_is_and_keeps_what_could_be_read(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    packed = gzip.compress(sse("\n"))
    head = HEAD + b"content-type: text/event-stream\r\ncontent-encoding: gzip\r\n"
    upstream.script([head + b"transfer-encoding: chunked\r\n\r\n", chunk(packed[:-40]), 0.05, "reset"])
    accepts = {"accept-encoding": "gzip"}
    got = call(worker.port, request_bytes(body=STREAMED, headers=accepts))
    assert (got.is_whole, got.body, got.header("content-encoding")) == (False, packed[:-40], "gzip")
    final = one_record(worker, got)
    assert (final.outcome, final.model) == ("upstream_aborted", "mx")
    upstream.script([head + b"content-length: %d\r\n\r\n" % (len(packed) - 40) + packed[:-40]])
    got = call(worker.port, request_bytes(body=STREAMED, headers=accepts))
    assert (got.is_whole, got.body) == (True, packed[:-40])
    assert one_record(worker, got).status == 200


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"this is no gzip"),
        ("gzip", gzip.compress(CHAT)[:20]),
        ("br", b"\x0b\x02\x80abc\x03"),
        ("deflate", b"\xff\xff\xff"),
        ("gzip, gzip", gzip.compress(gzip.compress(CHAT))),
        ("x-odd", CHAT),
        ("gzip", gzip.compress(bytes(60 << 20), 1)),
    ],
    ids=["no gzip", "cut gzip", "brotli", "no deflate", "twice", "unknown", "bomb"],
)
def test_a_body_that_cannot_be_decoded_passes_and_the_log_says_why(
    worker: WorkerProcess, upstream: ScriptedUpstream, coding: str, body: bytes
) -> None:
    upstream.script(answer(body, extra=f"content-encoding: {coding}\r\n"))
    got = call(worker.port, request_bytes(headers={"accept-encoding": "gzip, br"}))
    assert (got.status, got.body, got.is_whole) == (200, body, True)
    final = one_record(worker, got)
    assert (final.outcome, final.usage_raw, final.response_encoding) == ("ok", None, coding)
    assert final.fold_note
    assert worker.bodies(final.request_id).response == body


# Content that lies.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"usage": "many"}',
        b'{"usage": {"prompt_tokens": -5, "completion_tokens": 1e400}}',
        b'{"usage": {"prompt_tokens": "5"}}',
        b'{"model": {"a": 1}, "id": [], "choices": {"0": 1}, "usage": []}',
        b"[" * 100_000,
        b'{"choices":[{"message":{"content":"\\ud800"}}]}',
        b"\xff\xfe{}",
    ],
    ids=lambda body: repr(body[:30]),
)
@pytest.mark.parametrize("media", ["application/json", "text/event-stream", "text/html", ""])
def test_content_of_any_kind_passes_unread_where_it_makes_no_sense(
    worker: WorkerProcess, upstream: ScriptedUpstream, body: bytes, media: str
) -> None:
    upstream.script(answer(body, media=media))
    got = call(worker.port, request_bytes(body=STREAMED))
    assert (got.status, got.body, got.is_whole) == (200, body, True)
    assert one_record(worker, got).status == 200


def test_an_event_stream_of_garbage_is_bounded_and_passes(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    numbers = random.Random(4)
    noise = b"".join(
        numbers.choice((b"data:", b"data: {", b"\n", b"\r", b"\r\n", b"event: x", b"\xff", b":", b"id: 1", b"}"))
        for _ in range(20_000)
    )
    upstream.script([STREAM_HEAD, *(chunk(noise[at : at + 500]) for at in range(0, len(noise), 500)), b"0\r\n\r\n"])
    got = call(worker.port, request_bytes(body=STREAMED))
    assert (got.status, got.body, got.is_whole) == (200, noise, True)
    assert one_record(worker, got).status == 200


# Connections that come and go.


@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_calls_to_an_upstream_that_drops_idle_connections_all_succeed_and_are_sent_once(
    worker: WorkerProcess, upstream: ScriptedUpstream, seed: int
) -> None:
    numbers = random.Random(seed)

    def reply(seen: Seen) -> Script:
        found = re.search(rb"call-\d+", seen.body)
        assert found is not None
        endings: list[Script] = [[], ["close"], ["reset"], [0.001, "close"], [0.002, "reset"]]
        ending = numbers.choice(endings)
        return [*answer(b'{"name":"%b"}' % found[0]), *ending]

    upstream.reply_with = reply
    before = len(worker.entries()[1])
    with worker.connect() as connection:
        for number in range(200):
            connection.sendall(request_bytes(body=b'{"model":"call-%d"}' % number))
            got = read_answer(connection)
            assert (got.status, got.body) == (200, b'{"name":"call-%d"}' % number)
    assert Counter(seen.body for seen in upstream.seen) == {b'{"model":"call-%d"}' % n: 1 for n in range(200)}
    assert {final.outcome for final in worker.recorded(before + 200)[before:]} == {"ok"}


def test_an_upstream_that_never_keeps_a_promise_to_stay_open_costs_each_call_one_retry_at_most(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    counter = itertools.count()
    # Every second request of a connection is read and dropped without an answer.
    upstream.reply_with = lambda seen: ["close"] if next(counter) % 2 else answer(b"{}")
    statuses = [call(worker.port, request_bytes()).status for _ in range(20)]
    assert set(statuses) == {200}
    assert len(upstream.seen) <= 40


def test_an_answer_before_the_whole_request_was_read_reaches_the_client(
    start_worker: Callable[[Settings], WorkerProcess],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        worker = start_worker(settings_for(Upstream(name="main", kind="openai", base_url=base_url)))
        with worker.connect() as client:
            client.sendall(request_bytes(body=b'{"model":"m","x":"' + b"y" * (8 << 20) + b'"}'))
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
                got = read_answer(client)
    assert (got.status, got.body) == (413, b"{}")
    assert worker.recorded()[0].outcome == "upstream_error"


def test_an_upstream_that_reads_nothing_is_given_up_at_the_deadline(
    start_worker: Callable[[Settings], WorkerProcess],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        quick = Timeout(connect_s=1.0, first_byte_s=0.5, between_bytes_s=0.5)
        worker = start_worker(settings_for(Upstream(name="main", kind="openai", base_url=base_url, timeout=quick)))
        got = call(worker.port, request_bytes(body=b'{"model":"m","x":"' + b"y" * (8 << 20) + b'"}'))
    assert (got.status, got.error["code"]) == (504, "upstream_timeout")
    assert worker.recorded()[0].outcome == "timeout"


def test_a_client_that_reads_slowly_holds_the_upstream_back_and_takes_no_memory(
    start_worker: Callable[[Settings], WorkerProcess],
) -> None:
    upstream = ScriptedUpstream()
    worker = start_worker(settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url)))
    piece = chunk(b": " + b"x" * 65534)
    total = 2000  # 128 MB
    upstream.script([STREAM_HEAD, *([piece] * total), b"0\r\n\r\n"])
    call_before = resident_bytes(worker)
    with worker.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(request_bytes("/v1/other/stream"))
        peak, received = 0, 0
        while received < total * 65536:
            got = client.recv(1 << 20)
            assert got
            received += len(got)
            if received % 7 == 0:
                peak = max(peak, resident_bytes(worker))
    assert peak - call_before < 48 << 20  # the captured part, 16 MB, is there twice while it is stored
    upstream.close()


def resident_bytes(worker: WorkerProcess) -> int:
    with open(f"/proc/{worker.process.pid}/statm") as file:
        return int(file.read().split()[1]) * 4096
