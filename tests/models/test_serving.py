"""A registered model answers both protocols as onnxruntime does here, and every row is in the log."""

import json

import numpy as np

from support.models import breast_cancer, diabetes, infer_body
from support.server import RunningServer, eventually


def test_a_call_in_json_answers_bit_for_bit_what_onnxruntime_does_and_is_logged(server: RunningServer) -> None:
    rows = breast_cancer().rows[:3]
    status, headers, body = server.post("/v2/models/tumour/infer", infer_body(rows, id="call-7"))
    assert status == 200, body
    answer = json.loads(body)
    labels, scores = breast_cancer().local(rows)
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tumour", "1", "call-7")
    by_name = {output["name"]: output for output in answer["outputs"]}
    assert by_name["label"]["data"] == labels.tolist()
    got = np.array(by_name["probabilities"]["data"], dtype=np.float32).reshape(by_name["probabilities"]["shape"])
    assert got.tobytes() == scores.tobytes()
    assert headers["x-headgate-model"] == "tumour@1"

    request_id = headers["x-headgate-request-id"]
    row = server.row(request_id)
    assert (row["endpoint"], row["model"], row["model_requested"], row["status"], row["outcome"]) == (
        "model.infer",
        "tumour",
        "tumour",
        200,
        "ok",
    )
    query = f"""SELECT p.row, p.version, p.predicted, p.score,
                (p.features->>'mean radius')::FLOAT, (p.output->'probabilities'->>1)::FLOAT
                FROM predictions AS p JOIN requests AS r USING (request_id) WHERE r.request_id = '{request_id}'
                ORDER BY p.row"""
    found = eventually(
        lambda: server.api("/api/sql", body={"query": query})["rows"], within_s=5, what="the predictions are stored"
    )
    assert [row[:3] for row in found] == [[number, 1, str(label)] for number, label in enumerate(labels)]
    assert np.array([row[3] for row in found], dtype=np.float32).tobytes() == scores.max(axis=1).tobytes()
    assert np.array([row[4] for row in found], dtype=np.float32).tobytes() == rows[:, 0].tobytes()
    assert np.array([row[5] for row in found], dtype=np.float32).tobytes() == scores[:, 1].tobytes()


def test_a_model_without_an_alias_is_started_by_its_first_call(server: RunningServer) -> None:
    rows = diabetes().rows[:2]
    status, _, body = server.post("/v2/models/progress/versions/1/infer", infer_body(rows))
    assert status == 200, body
    (output,) = json.loads(body)["outputs"]
    got = np.array(output["data"], dtype=np.float32).reshape(output["shape"])
    assert got.tobytes() == diabetes().local(rows)[0].tobytes()
