"""Bad input is always 400 with `{"error": …}` that names what was expected; the runner lives on."""

import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.models import breast_cancer, infer_body
from support.server import RunningServer

EXPECTED = "X FP32 [-1, 30]"
ROW = [0.5] * 30


def tensor(**changed: Any) -> dict[str, Any]:
    return {"name": "X", "shape": [1, 30], "datatype": "FP32", "data": ROW, **changed}


def without(name: str) -> dict[str, Any]:
    found = tensor()
    del found[name]
    return found


BAD: dict[str, tuple[object, str]] = {
    "no JSON": ("{", "no valid JSON"),
    "NaN": ('{"inputs":[{"name":"X","shape":[1,30],"datatype":"FP32","data":[NaN]}]}', "no valid JSON"),
    "a list": ([], "does not fit the protocol"),
    "no inputs": ({}, "inputs"),
    "empty inputs": ({"inputs": []}, f"missing input: {EXPECTED}"),
    "no data": ({"inputs": [without("data")]}, EXPECTED),
    "no shape": ({"inputs": [without("shape")]}, "shape"),
    "another name": ({"inputs": [tensor(name="Y")]}, f'no input "Y". Its inputs: {EXPECTED}'),
    "twice": ({"inputs": [tensor(), tensor()]}, "given twice"),
    "another type": ({"inputs": [tensor(datatype="FP64")]}, f"given as FP64. Expected: {EXPECTED}"),
    "unknown type": ({"inputs": [tensor(datatype="FP99")]}, EXPECTED),
    "features lacking": ({"inputs": [tensor(shape=[1, 29], data=ROW[1:])]}, f"shape [1, 29]. Expected: {EXPECTED}"),
    "rank": ({"inputs": [tensor(shape=[30])]}, EXPECTED),
    "negative": ({"inputs": [tensor(shape=[-1, 30])]}, EXPECTED),
    "huge": ({"inputs": [tensor(shape=[10**18, 30])]}, "asks for"),
    "too few values": ({"inputs": [tensor(data=ROW[1:])]}, "29 values where shape [1, 30] asks for 30"),
    "nested otherwise": ({"inputs": [tensor(data=[ROW[:15], ROW[15:]])]}, "nested otherwise than shape [1, 30]"),
    "ragged": ({"inputs": [tensor(shape=[2, 30], data=[ROW, ROW[1:]])]}, "nested otherwise"),
    "text": ({"inputs": [tensor(data=["a"] * 30)]}, "FP32 takes numbers"),
    "a truth value": ({"inputs": [tensor(data=[True] * 30)]}, "FP32 takes numbers"),
    "an object": ({"inputs": [tensor(data={"a": 1})]}, "no list"),
    "no rows": ({"inputs": [tensor(shape=[0, 30], data=[])]}, "no rows"),
    "another output": (
        {"inputs": [tensor()], "outputs": [{"name": "z"}]},
        'no output "z". Its outputs: label INT64 [-1]',
    ),
    "an id that is none": ({"inputs": [tensor()], "id": 7}, "id"),
    "binary without bytes": ({"inputs": [{**without("data"), "parameters": {"binary_data_size": 120}}]}, "120 bytes"),
    "entity": ({"inputs": [tensor()], "parameters": {"entity": "[1,2]"}}, "2 keys for 1 rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_v2_call_that_does_not_fit_says_what_was_expected(server: RunningServer, name: str) -> None:
    body, words = BAD[name]
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    status, headers, raw = server.post("/v2/models/tumour/infer", data)
    assert status == 400, raw
    assert headers["content-type"] == "application/json"
    assert words in json.loads(raw)["error"]
    assert server.post("/v2/models/tumour/infer", infer_body(breast_cancer().rows[:1]))[0] == 200


@pytest.mark.parametrize(
    ("size", "sent", "words"),
    [(120, 119, "119 are left"), (116, 116, "116 bytes where FP32 [1, 30] takes 120"), (120, 124, "4 bytes follow")],
)
def test_binary_tensors_of_the_wrong_size_are_refused(server: RunningServer, size: int, sent: int, words: str) -> None:
    head = json.dumps({"inputs": [{**without("data"), "parameters": {"binary_data_size": size}}]}).encode()
    status, _, raw = server.post(
        "/v2/models/tumour/infer",
        head + bytes(sent),
        content_type="application/octet-stream",
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert (status, words in json.loads(raw)["error"]) == (400, True), raw


def test_a_json_length_beyond_the_body_is_refused(server: RunningServer) -> None:
    status, _, raw = server.post("/v2/models/tumour/infer", b"{}", headers={"Inference-Header-Content-Length": "99"})
    assert (status, "99" in json.loads(raw)["error"]) == (400, True)


Frame = dict[str, list[Any]]
BAD_SCORING: dict[str, tuple[Callable[[Frame], object], str]] = {
    "nothing": (lambda frame: {}, "none of dataframe_split"),
    "two forms": (lambda frame: {"instances": [ROW], "inputs": [ROW]}, "instances and inputs"),
    "column lacking": (
        lambda frame: {"dataframe_split": {"columns": frame["columns"][1:], "data": [ROW[1:]]}},
        "missing: mean radius",
    ),
    "column unknown": (
        lambda frame: {"dataframe_split": {"columns": [*frame["columns"], "z"], "data": [[*ROW, 1]]}},
        "unknown: z",
    ),
    "short row": (lambda frame: {"dataframe_split": {**frame, "data": [ROW[1:]]}}, "row 0 has 29 values"),
    "text": (lambda frame: {"dataframe_split": {**frame, "data": [["a", *ROW[1:]]]}}, "'a' does not fit"),
    "no records": (lambda frame: {"dataframe_records": []}, "empty"),
    "uneven records": (lambda frame: {"dataframe_records": [{"a": 1}, {"b": 1}]}, "other columns"),
    "instances of another width": (lambda frame: {"instances": [ROW[1:]]}, f"[1, 29]. Expected: {EXPECTED}"),
    "instances that are none": (lambda frame: {"instances": {"a": 1}}, "no list"),
    "inputs of another name": (lambda frame: {"inputs": {"Y": [ROW]}}, "missing or unknown"),
}


@pytest.mark.parametrize("name", BAD_SCORING)
def test_a_scoring_call_that_does_not_fit_says_what_was_expected(server: RunningServer, name: str) -> None:
    make, words = BAD_SCORING[name]
    body = make({"columns": list(breast_cancer().features), "data": [ROW]})
    status, _, raw = server.post("/models/tumour/invocations", json.dumps(body).encode())
    assert status == 400, raw
    assert words in json.loads(raw)["error"]


def test_methods_and_paths_that_are_none_are_told_apart(server: RunningServer) -> None:
    status, answer = server.ask("/v2/models/tumour/infer")
    assert (status, "takes POST" in answer["error"]) == (405, True)
    status, answer = server.ask("/v2/models/tumour/nothing")
    assert (status, "no such path" in answer["error"]) == (404, True)
    status, answer = server.ask("/v2/models/tumour/versions/9")
    assert (status, "tumour@9 does not exist" in answer["error"]) == (404, True)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "data", "name"]), inner, max_size=3)
    ),
    max_leaves=12,
)
_INPUT = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["X", "Y"]) | _JSON,
        "shape": st.lists(st.integers(-2, 31), max_size=3) | _JSON,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES"]) | _JSON,
        "data": st.lists(st.floats(width=32, allow_nan=False), max_size=31) | _JSON,
        "parameters": st.fixed_dictionaries({"binary_data_size": _JSON}) | _JSON,
    },
)
_BODY = st.fixed_dictionaries(
    {}, optional={"inputs": st.lists(_INPUT, max_size=3) | _JSON, "outputs": _JSON, "id": _JSON}
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_BODY, tail=st.binary(max_size=200), cut=st.integers(0, 300) | st.none())
def test_no_body_makes_a_server_error(server: RunningServer, body: object, tail: bytes, cut: int | None) -> None:
    headers = {} if cut is None else {"Inference-Header-Content-Length": str(cut)}
    status, _, raw = server.post("/v2/models/tumour/infer", json.dumps(body).encode() + tail, headers=headers)
    assert status in (200, 400), raw
    assert status == 200 or isinstance(json.loads(raw)["error"], str)


def test_texts_whose_lengths_do_not_add_up_are_no_texts() -> None:
    from headgate.wire.tensor_text import pack_texts, texts_of

    packed = pack_texts(["a", "", "ü"])
    assert texts_of(packed) == [b"a", b"", "ü".encode()]
    for damaged in (packed[:-1], packed + b"\0", struct.pack("<I", 2**31) + b"x"):
        with pytest.raises(ValueError, match="cut inside"):
            texts_of(damaged)
