"""A remote Open Inference server as an upstream: relayed byte for byte, JSON and binary, logged as a model's call."""

import json
from collections.abc import Iterator

import pytest

from headgate.core.settings import Route, Settings, Target, Upstream
from headgate.spool.record import FinalRecord
from support.client import Got, call, request_bytes
from support.settings import QUICK
from support.upstream import ScriptedUpstream, answer
from support.worker import WorkerProcess

ANSWER = b'{"model_name":"fraud","outputs":[{"name":"y","shape":[1],"datatype":"FP32","data":[0.5]}]}'


@pytest.fixture(scope="module")
def triton() -> Iterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    yield scripted
    scripted.close()


@pytest.fixture(scope="module")
def worker(triton: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """`fraud…` goes to the remote server, `renamed` too by another name, `gone` to a port where nobody listens."""
    remote = Upstream(
        name="triton", kind="v2", base_url=f"http://127.0.0.1:{triton.port}/v2", timeout=QUICK, headers={"x-team": "a"}
    )
    gone = Upstream(name="gone", kind="v2", base_url="http://127.0.0.1:9/v2", timeout=QUICK)
    routes = (
        Route(model="fraud*", targets=(Target(upstream="triton"),)),
        Route(model="renamed", targets=(Target(upstream="triton", model="fraud-eu"),)),
        Route(model="gone", targets=(Target(upstream="gone"),)),
    )
    started = WorkerProcess(
        tmp_path_factory.mktemp("v2"), Settings(upstreams={"triton": remote, "gone": gone}, routes=routes)
    )
    yield started
    started.stop()


def ask(worker: WorkerProcess, path: str, body: bytes = b"{}", *, method: str = "POST", **headers: str) -> Got:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(worker.port, request_bytes(f"/v2/models/{path}", body, method=method, headers=named))


def recorded(worker: WorkerProcess, got: Got) -> FinalRecord:
    wanted = got.header("x-headgate-request-id")
    return next(final for final in worker.entries()[1] if final.request_id == wanted)


def test_a_call_in_json_is_relayed_and_logged_as_a_models(worker: WorkerProcess, triton: ScriptedUpstream) -> None:
    triton.script(answer(ANSWER))
    body = b'{"inputs": [{"name": "x",  "shape": [1], "datatype": "FP32", "data": [1.50]}]}'
    got = ask(worker, "fraud/versions/3/infer", body)
    assert (got.status, got.body) == (200, ANSWER)
    seen = triton.seen[-1]
    assert seen.request_line == b"POST /v2/models/fraud/versions/3/infer HTTP/1.1"
    assert (seen.body, seen.header("x-team")) == (body, "a")
    final = recorded(worker, got)
    assert (final.endpoint, final.upstream, final.model_requested) == ("model.infer", "triton", "fraud@3")
    assert (final.status, final.outcome, final.prediction) == (200, "ok", None)
    assert worker.bodies(final.request_id).request == body


def test_binary_tensors_pass_both_ways_with_the_length_of_their_json(
    worker: WorkerProcess, triton: ScriptedUpstream
) -> None:
    head = b'{"outputs":[{"name":"y","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}'
    reply = head + b"\x00\x00\x80\x3f"
    extra = f"Inference-Header-Content-Length: {len(head)}\r\n"
    triton.script(answer(reply, media="application/octet-stream", extra=extra))
    body = b'{"inputs":[]}\x00\xff\x80\n'
    got = ask(worker, "fraud/infer", body, Inference_Header_Content_Length="13")
    assert (got.status, got.body, got.header("inference-header-content-length")) == (200, reply, str(len(head)))
    seen = triton.seen[-1]
    assert (seen.body, seen.header("inference-header-content-length")) == (body, "13")


def test_what_it_refuses_and_says_of_its_models_passes_unchanged(
    worker: WorkerProcess, triton: ScriptedUpstream
) -> None:
    triton.script(answer(b'{"error":"unexpected shape"}', status="400 Bad Request"), answer(b'{"name":"fraud"}'))
    got = ask(worker, "fraud/infer")
    assert (got.status, got.body) == (400, b'{"error":"unexpected shape"}')
    got = ask(worker, "fraud", b"", method="GET")
    assert (got.status, got.body) == (200, b'{"name":"fraud"}')
    assert triton.seen[-1].request_line == b"GET /v2/models/fraud HTTP/1.1"


def test_a_route_may_rename_the_model(worker: WorkerProcess, triton: ScriptedUpstream) -> None:
    triton.script(answer(ANSWER))
    got = ask(worker, "renamed/versions/2/infer")
    assert triton.seen[-1].request_line == b"POST /v2/models/fraud-eu/versions/2/infer HTTP/1.1"
    final = recorded(worker, got)
    assert (final.model_requested, final.model) == ("renamed@2", "fraud-eu")


def test_no_route_and_an_upstream_that_is_gone_are_errors_in_the_protocols_form(
    worker: WorkerProcess, triton: ScriptedUpstream
) -> None:
    before = len(triton.seen)
    got = ask(worker, "churn/infer")
    assert got.status == 404 and 'There is no model "churn"' in json.loads(got.body)["error"]
    got = ask(worker, "gone/infer")
    assert got.status == 502 and isinstance(json.loads(got.body)["error"], str)
    assert len(triton.seen) == before
