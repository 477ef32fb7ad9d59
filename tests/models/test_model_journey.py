"""From a trained estimator to realised metrics and back: what a user does, in order, by commands and calls."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headgate
from support.commands import run_cli
from support.models import breast_cancer, infer_body
from support.server import RunningServer, eventually

CONFIG = """
[upstreams.main]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"

[[protect]]
kind = "model"
name = "guarded"
alias = "champion"
approvers = 1
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("journey"), CONFIG)
    try:
        yield running.start()
    finally:
        running.close()


def command(served: RunningServer, *arguments: str, expect: int = 0) -> Any:
    """One command against the server; its JSON where it prints some."""
    done = run_cli(*arguments, cwd=served.directory, environ={"HEADGATE_URL": served.url})
    assert done.returncode == expect, (done.stdout, done.stderr)
    return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr


def test_an_estimator_is_registered_served_labelled_measured_and_rolled_back(
    served: RunningServer, tmp_path: Path
) -> None:
    first = breast_cancer()
    answer = headgate.register_model(
        "tumour",
        first.estimator,
        first.rows[:50],
        features=first.features,
        metrics={"auc": 0.99},
        entity="patient",
        message="first",
        url=served.url,
    )
    parity = answer["report"]["parity"]
    assert (answer["version"]["ref"], parity["rows"], parity["rows_equal"], parity["passed"]) == (
        "tumour@1",
        50,
        50,
        True,
    )
    assert answer["version"]["signature"]["features"] == list(first.features)
    assert command(served, "model", "promote", "tumour@1").startswith("tumour@champion is now version 1.")

    rows, truth = first.rows[:40], first.truth[:40]
    keys = [f"p{number}" for number in range(len(rows))]
    status, headers, body = served.post(
        "/v2/models/tumour/infer", infer_body(rows, parameters={"entity": json.dumps(keys)})
    )
    assert status == 200, body
    request_id = headers["x-headgate-request-id"]
    served.row(request_id)
    labels = tmp_path / "labels.jsonl"
    lines = [{"request_id": request_id, "row": n, "label": int(truth[n])} for n in range(20)]
    lines += [{"entity": keys[n], "label": int(truth[n])} for n in range(20, 30)]
    labels.write_text("\n".join(map(json.dumps, lines)))
    assert command(served, "label", "push", str(labels), "--model", "tumour") == "30 labels stored.\n"

    found = command(served, "model", "performance", "tumour", "--json")
    (version,) = found["versions"]
    assert (version["version"], version["rows"], version["labelled"]) == (1, 40, 30)
    accuracy = next(metric for metric in version["metrics"] if metric["name"] == "accuracy")
    predicted = first.local(rows)[0]
    assert accuracy["value"] == pytest.approx(float(np.mean(predicted[:30] == truth[:30])))
    assert accuracy["low"] < accuracy["value"] and accuracy["n"] == 30

    second = tmp_path / "model.onnx"
    second.write_bytes(breast_cancer(0.001).onnx)
    (tmp_path / "metrics.json").write_text('{"auc": 0.9}')
    told = command(served, "model", "register", "tumour", str(second), "--metrics", str(tmp_path / "metrics.json"))
    assert "tumour@2 is registered" in told
    command(served, "model", "promote", "tumour@2")
    status, headers, _ = served.post("/v2/models/tumour/infer", infer_body(rows))
    assert (status, headers["x-headgate-model"]) == (200, "tumour@2")
    assert command(served, "model", "rollback", "tumour").startswith("tumour@champion is now version 1 (was 2).")
    status, headers, _ = served.post("/v2/models/tumour/infer", infer_body(rows))
    assert (status, headers["x-headgate-model"]) == (200, "tumour@1")
    assert "champion=1" in command(served, "model", "show", "tumour")
    assert "replay passed" in command(served, "model", "test", "tumour@2")


def test_the_same_content_is_the_same_version(served: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "same.onnx"
    file.write_bytes(breast_cancer().onnx)
    first = command(served, "model", "register", "same", str(file), "--json")
    again = command(served, "model", "register", "same", str(file), "--json")
    assert (first["is_new"], again["is_new"]) == (True, False)
    assert first["version"]["ref"] == again["version"]["ref"] == "same@1"


def test_a_protected_champion_moves_by_no_ones_word_alone(served: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "guarded.onnx"
    file.write_bytes(breast_cancer().onnx)
    command(served, "model", "register", "guarded", str(file))
    told = command(served, "model", "promote", "guarded@1", expect=1)
    assert "Refused: guarded@1 may not become champion" in told
    second = served.api("/api/keys", body={"name": "second", "role": "approver"})["plaintext"]
    served.key = second
    try:
        made = served.api("/api/models/guarded/approve", body={"version": 1, "reason": "looked at it"})["approval"]
    finally:
        served.key = None
    assert (made["version"], made["alias"]) == (1, "champion")


def test_labels_may_come_early_twice_and_corrected(served: RunningServer) -> None:
    first = breast_cancer()
    served_name = "early"
    headgate.register_model(served_name, first.estimator, first.rows[:5], entity="who", url=served.url)

    def labelled() -> tuple[int, dict[tuple[str, str], int]]:
        (found,) = served.api(f"/api/models/{served_name}/performance")["versions"]
        table = {(one["predicted"], one["true"]): one["rows"] for one in found["confusion"]}
        return found["labelled"], table

    push = served.api(  # before there is any prediction of it
        "/api/labels", body={"labels": [{"model": served_name, "entity": "a", "label": "7"}]}
    )
    assert push["stored"] == 1
    _, headers, _ = served.post(
        f"/v2/models/{served_name}/infer", infer_body(first.rows[:1], parameters={"entity": "a"})
    )
    request_id = headers["x-headgate-request-id"]
    eventually(lambda: served.api(f"/api/models/{served_name}/performance")["versions"], within_s=5, what="predictions")
    predicted = str(first.local(first.rows[:1])[0][0])
    assert labelled() == (1, {(predicted, "7"): 1})
    for label in ("8", "8", "9"):  # twice, then corrected
        served.api("/api/labels", body={"labels": [{"request_id": request_id, "label": label}]})
    assert labelled() == (1, {(predicted, "9"): 1})
    _, headers, _ = served.post(
        f"/v2/models/{served_name}/infer", infer_body(first.rows[:1], parameters={"entity": "a"})
    )
    served.row(headers["x-headgate-request-id"])
    eventually(lambda: labelled()[0] == 1 or None, within_s=5, what="the later prediction has no label yet")
    later = {"model": served_name, "entity": "a", "label": "3", "as_of": "2099-01-01T00:00:00Z"}
    served.api("/api/labels", body={"labels": [later]})
    assert labelled() == (2, {(predicted, "9"): 1, (predicted, "3"): 1})
