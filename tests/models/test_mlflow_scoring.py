"""MLflow's scoring in each of its forms gives what onnxruntime does; what does not fit is 400 and says why."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from support.models import breast_cancer
from support.server import RunningServer

Body = tuple[bytes, str]


def _json(value: Any) -> Body:
    return json.dumps(value).encode(), "application/json"


def _csv(names: list[str], values: list[list[float]]) -> Body:
    lines = [",".join(names), *(",".join(map(repr, row)) for row in values)]
    return "\n".join(lines).encode(), "text/csv"


FORMS: dict[str, Callable[[list[str], list[list[float]]], Body]] = {
    "dataframe_split": lambda names, values: _json({"dataframe_split": {"columns": names, "data": values}}),
    "columns in another order": lambda names, values: _json(
        {"dataframe_split": {"columns": names[::-1], "data": [row[::-1] for row in values]}}
    ),
    "dataframe_records": lambda names, values: _json(
        {"dataframe_records": [dict(zip(names, row, strict=True)) for row in values]}
    ),
    "instances": lambda names, values: _json({"instances": values}),
    "inputs": lambda names, values: _json({"inputs": values}),
    "inputs beside nulls": lambda names, values: _json({"inputs": values, "instances": None, "params": {}}),
    "csv": _csv,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_answered_as_onnxruntime_does(server: RunningServer, form: str) -> None:
    rows = breast_cancer().rows[:4]
    body, kind = FORMS[form](list(breast_cancer().features), [[float(value) for value in row] for row in rows])
    status, headers, answer = server.post("/models/tumour/invocations", body, content_type=kind)
    assert status == 200, answer
    assert json.loads(answer) == {"predictions": breast_cancer().local(rows)[0].tolist()}
    assert headers["x-headgate-model"] == "tumour@1"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "none of dataframe_split, dataframe_records, instances, inputs"),
        ({"inputs": None}, "none of dataframe_split"),
        ({"inputs": [[1.0]], "instances": [[1.0]]}, "instances and inputs"),
        ({"inputs": [[1.0, 2.0]]}, "30"),
        ({"inputs": "text"}, "Expected"),
        ({"instances": [[float(at) for at in range(29)] + ["x"]]}, "Expected"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1.0]]}}, "missing"),
    ],
)
def test_what_does_not_fit_is_400_and_says_what_was_expected(server: RunningServer, body: Any, said: str) -> None:
    status, _, answer = server.post("/models/tumour/invocations", json.dumps(body).encode())
    assert status == 400
    assert said in json.loads(answer)["error"]
