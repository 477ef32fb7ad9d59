"""The real tritonclient[http], unmodified: JSON and binary tensors, metadata, health, the repository's index."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from support.later import Later
from support.models import breast_cancer
from support.server import RunningServer

triton = Later("tritonclient.http")


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Any]:
    made = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield made
    made.close()


def asked(rows: Any, *, binary: bool) -> list[Any]:
    tensor = triton.InferInput("X", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    return [tensor]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_its_answers_equal_those_of_onnxruntime_bit_for_bit(client: Any, binary_in: bool, binary_out: bool) -> None:
    rows = breast_cancer().rows[:8]
    wanted = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("probabilities", "label")]
    answer = client.infer("tumour", asked(rows, binary=binary_in), outputs=wanted, request_id="r-1")
    labels, scores = breast_cancer().local(rows)
    assert answer.as_numpy("label").tobytes() == labels.tobytes()
    assert answer.as_numpy("probabilities").tobytes() == scores.tobytes()
    assert (answer.get_response()["id"], answer.get_response()["model_version"]) == ("r-1", "1")


def test_its_default_is_binary_both_ways(client: Any) -> None:
    rows = breast_cancer().rows[:2]
    answer = client.infer("tumour", asked(rows, binary=True))
    assert answer.as_numpy("probabilities").tobytes() == breast_cancer().local(rows)[1].tobytes()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_are_read(client: Any, algorithm: str) -> None:
    rows = breast_cancer().rows[:2]
    answer = client.infer("tumour", asked(rows, binary=True), request_compression_algorithm=algorithm)
    assert answer.as_numpy("label").tolist() == breast_cancer().local(rows)[0].tolist()


def test_health_metadata_and_index_are_what_it_expects(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("tumour")
    assert client.is_model_ready("tumour", "1") and not client.is_model_ready("nothing")
    assert client.get_server_metadata()["name"] == "headgate"
    about = client.get_model_metadata("tumour")
    assert about["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 30]}]
    assert about["versions"] == ["1"]
    index = {(entry["name"], entry["version"]): entry["state"] for entry in client.get_model_repository_index()}
    assert index["tumour", "1"] == "READY"


def test_its_errors_carry_our_words(client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match=r'There is no model "tumor". Nearest: tumour'):
        client.infer("tumor", asked(breast_cancer().rows[:1], binary=True))
    with pytest.raises(triton.InferenceServerException, match=r"shape \[1, 29\]. Expected: X FP32 \[-1, 30\]"):
        client.infer("tumour", asked(np.ascontiguousarray(breast_cancer().rows[:1, :29]), binary=True))
