"""Request bodies that must be undone before they can be read, and bodies cut very small."""

import gzip
import json
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.settings import Log, Settings, Upstream
from headgate.gateway.copies import Copies, Copy
from headgate.gateway.head import ResponseHead
from headgate.gateway.tee import Tee
from support.client import call, read_answer, request_bytes
from support.memory import most_resident_bytes
from support.settings import QUICK, settings_for
from support.upstream import ScriptedUpstream, answer
from support.worker import WorkerProcess

CHAT = b'{"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[]}'


def test_a_coded_request_keeps_no_secret_of_its_caller_in_the_log(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    secret = "sk-of-the-caller-0123456789"
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": f"my key is {secret}"}]}).encode()
    packed = gzip.compress(body)
    upstream.script(answer(CHAT))
    headers = {"content-encoding": "gzip", "authorization": f"Bearer {secret}"}
    assert call(worker.port, request_bytes(body=packed, headers=headers)).status == 200
    assert upstream.seen[0].body == packed
    (final,) = worker.recorded()
    kept = worker.bodies(final.request_id).request
    assert (kept, final.request_encoding) == (body.replace(secret.encode(), b"[removed by headgate]"), None)


@pytest.mark.parametrize("cut", [None, 40], ids=["whole", "in two pieces"])
def test_a_coded_answer_keeps_no_secret_in_the_log(
    worker: WorkerProcess, upstream: ScriptedUpstream, cut: int | None
) -> None:
    secret = "sk-of-the-caller-0123456789"
    said = {"error": {"message": f"Incorrect API key provided: {secret}", "code": "invalid_api_key"}}
    body = json.dumps(said).encode()
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(body[:cut]) + packer.flush(zlib.Z_SYNC_FLUSH)
    pieces = [packed, packer.compress(body[len(body) if cut is None else cut :]) + packer.flush()]
    length = sum(map(len, pieces))
    head = (
        b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
        b"content-length: %d\r\n\r\n" % length
    )
    upstream.script([head, *pieces])
    got = call(worker.port, request_bytes(headers={"authorization": f"Bearer {secret}"}))
    assert (got.status, got.body) == (401, b"".join(pieces))
    (final,) = worker.recorded()
    kept = worker.bodies(final.request_id).response
    assert (kept, final.response_encoding) == (body.replace(secret.encode(), b"[removed by headgate]"), None)
    assert final.response_bytes == length


_AB = st.text("ab", max_size=40).map(str.encode)


@given(_AB, st.lists(st.text("ab", min_size=8, max_size=12).map(str.encode), max_size=3), st.lists(st.integers(0, 40)))
def test_a_secret_of_a_coded_answer_is_seen_however_it_is_cut(
    plain: bytes, secrets: list[bytes], at: list[int]
) -> None:
    head = ResponseHead([(b"content-encoding", b"gzip")])
    tee = Tee("other", head, Copy(Copies(Path()), 0), tuple(secrets))
    packer = zlib.compressobj(wbits=31)
    places = sorted({min(place, len(plain)) for place in at})
    for begin, end in zip([0, *places], [*places, len(plain)], strict=True):
        tee.feed(packer.compress(plain[begin:end]) + packer.flush(zlib.Z_SYNC_FLUSH))
    assert tee.has_secret == any(secret in plain for secret in secrets)


def test_the_log_says_all_that_is_missing_of_a_coded_answer_that_tells_a_secret(
    start_worker: Callable[[Settings], WorkerProcess], upstream: ScriptedUpstream
) -> None:
    main = Upstream(name="main", kind="openai", base_url=upstream.base_url, timeout=QUICK)
    worker = start_worker(settings_for(main, log=Log(capture_mb=0.01)))
    secret = "sk-of-the-caller-0123456789"
    body = b'{"error":"%b","text":"%b"}' % (secret.encode(), random.Random(1).randbytes(30_000).hex().encode())
    packed = gzip.compress(body)
    upstream.script(answer(packed, status="401 Unauthorized", extra="content-encoding: gzip\r\n"))
    assert call(worker.port, request_bytes(headers={"authorization": f"Bearer {secret}"})).body == packed
    (final,) = worker.recorded()
    kept = worker.bodies(final.request_id).response
    assert kept == body[: int(0.01 * (1 << 20))].replace(secret.encode(), b"[removed by headgate]")
    assert (final.capture, final.response_encoding) == ("truncated", None)
    assert final.fold_note is not None
    assert f"of {len(packed)} bytes kept, sha256 " in final.fold_note
    assert "decoded bytes kept" in final.fold_note


def test_a_long_answer_in_brotli_is_read_to_its_end(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    said = {"model": "m-1", "choices": [{"message": {"content": "word " * 60_000}}], "usage": {"total_tokens": 7}}
    packed = brotli.compress(json.dumps(said).encode())
    upstream.script(answer(packed, extra="content-encoding: br\r\n"))
    assert call(worker.port, request_bytes()).body == packed
    (final,) = worker.recorded()
    assert (final.model, final.usage_raw, final.fold_note) == ("m-1", '{"total_tokens": 7}', None)


def test_a_body_in_chunks_of_two_bytes_takes_memory_by_its_bytes(
    worker: WorkerProcess, upstream: ScriptedUpstream
) -> None:
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n"
    body = b'{"model":"m","input":"' + b"x" * 800_000 + b'"}'
    chunks = b"".join(b"2\r\n%b\r\n" % body[at : at + 2] for at in range(0, len(body), 2))
    upstream.script(answer(CHAT))
    before = most_resident_bytes(worker.process.pid)
    with worker.connect() as connection:
        connection.sendall(head + chunks)
        connection.sendall(b"0\r\n\r\n")
        assert read_answer(connection).status == 200
    assert upstream.seen[0].body == body
    assert most_resident_bytes(worker.process.pid) - before < 8 << 20


def test_a_request_coded_twice_by_two_headers_is_refused(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    packed = gzip.compress(b'{"model":"m","messages":[]}')
    headers = {"content-encoding": "deflate", "Content-Encoding": "gzip"}
    got = call(worker.port, request_bytes(body=packed, headers=headers))
    assert (got.status, got.error["code"]) == (400, "unreadable_coding")
    assert not upstream.seen


@pytest.mark.parametrize("part", [gzip.compress(b""), zstandard.compress(b"")], ids=["gzip", "zstd"])
def test_a_coded_request_of_thousands_of_empty_parts_is_refused(
    worker: WorkerProcess, upstream: ScriptedUpstream, part: bytes
) -> None:
    coding = "gzip" if part.startswith(b"\x1f\x8b") else "zstd"
    packed = part * 5000 + (gzip.compress if coding == "gzip" else zstandard.compress)(b'{"model":"m"}')
    got = call(worker.port, request_bytes(body=packed, headers={"content-encoding": coding}))
    assert (got.status, got.error["code"]) == (400, "unreadable_coding")
    assert "4096 parts" in got.error["message"]
    assert not upstream.seen
