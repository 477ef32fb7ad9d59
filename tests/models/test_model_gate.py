"""What the gate of models computes and what it refuses, by calls of the API."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.control.model_scores import auc_parts, label_of, number_of
from support.commands import run_cli
from support.models import breast_cancer, diabetes, labelled, register
from support.server import RunningServer


def pushed(server: RunningServer, name: str, rows_jsonl: str) -> str:
    found = server.api("/api/datasets/push", body={"name": name, "rows_jsonl": rows_jsonl})
    return f"{found['name']}@{found['number']}"


def judged(server: RunningServer, model: str, version: int, dataset: str, **more: Any) -> Any:
    return server.api(f"/api/models/{model}/gate", body={"version": version, "dataset": dataset, **more})


def rules(answer: Any) -> dict[str, tuple[str, str]]:
    return {
        f"{rule['rule']} {rule['metric']}": (rule["outcome"], rule["sentence"]) for rule in answer["verdict"]["rules"]
    }


@settings(max_examples=50, deadline=None)
@given(cases=st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=4, max_size=60))
def test_the_parts_of_the_area_have_its_mean_and_its_variance(cases: list[tuple[int, bool]]) -> None:
    from sklearn.metrics import roc_auc_score

    hits = np.array([hit for _, hit in cases])
    scores = np.array([score for score, _ in cases], dtype=float)
    parts = np.array(auc_parts([(score, bool(hit)) for score, hit in zip(scores, hits, strict=True)]))
    if hits.all() or not hits.any():
        assert len(parts) == 0
        return
    assert float(parts.mean()) == pytest.approx(float(roc_auc_score(hits, scores)))
    above = (scores[hits][:, None] > scores[~hits]) + 0.5 * (scores[hits][:, None] == scores[~hits])
    delong = (
        above.mean(1).var() / hits.sum() + above.mean(0).var() / (~hits).sum()
    )  # biased, as sums over all cases are
    assert float(parts.var() / len(parts)) == pytest.approx(float(delong))


def test_labels_are_read_as_predictions_are_written() -> None:
    assert [label_of(value) for value in (1, 1.0, "1", True, 0.5, "yes", None, "", [1])] == [
        *("1", "1", "1", "1", "0.5", "yes", None, None, None)
    ]
    assert [number_of(value) for value in (1, "2.5", "x", None, float("inf"))] == [1.0, 2.5, None, None, None]


def test_a_classifier_is_scored_as_scikit_learn_does_it(server: RunningServer) -> None:
    from sklearn.metrics import roc_auc_score

    good = breast_cancer()
    register(server, "churn-scored", good.onnx, features=list(good.features), classes=["0", "1"], positive="1")
    dataset = pushed(server, "scored", labelled(good))
    answer = judged(server, "churn-scored", 1, dataset)
    metrics = {one["name"]: one for one in answer["metrics"]}
    label, scores = good.local(good.rows)
    assert metrics["correct"]["value"] == pytest.approx(float(np.mean(label == good.truth)))
    assert metrics["roc_auc"]["value"] == pytest.approx(float(roc_auc_score(good.truth, scores[:, 1])))
    assert metrics["brier"]["value"] == pytest.approx(float(np.mean((scores[:, 1] - good.truth) ** 2)), rel=1e-5)
    assert metrics["correct"]["low"] < metrics["correct"]["value"] and metrics["correct"]["baseline"] is None
    assert rules(answer)["primary primary"][0] == "not_applicable"
    assert rules(answer)["parity sample"][0] == "pass"
    assert rules(answer)["parity training"][0] == "not_applicable"
    (held,) = server.api("/api/models/churn-scored", {"version": 1})["receipts"]
    assert (held["receipt"], held["dataset"]) == (answer["receipt"]["receipt"], "scored")


def test_a_regression_is_scored_by_its_errors(server: RunningServer) -> None:
    from sklearn.metrics import mean_absolute_error

    found = diabetes()
    register(server, "churn-regression", found.onnx, features=list(found.features), task="regression")
    answer = judged(server, "churn-regression", 1, pushed(server, "progress", labelled(found)))
    metrics = {one["name"]: one["value"] for one in answer["metrics"]}
    mae = float(mean_absolute_error(found.truth, found.local(found.rows)[0].ravel()))
    assert metrics["abs_error"] == pytest.approx(mae, rel=1e-5)
    spread = float(np.mean(np.abs(found.truth - sorted(found.truth)[len(found.truth) // 2])))
    assert metrics["closeness"] == pytest.approx(1 - mae / spread, rel=1e-5)


def test_a_policy_may_ask_for_parity_with_the_training_process_and_for_a_floor(server: RunningServer) -> None:
    good = breast_cancer()
    register(server, "churn-policy", good.onnx, features=list(good.features), classes=["0", "1"], positive="1")
    dataset = pushed(server, "scored", labelled(good))
    policy = "grade: B\nabsolute: [{metric: roc_auc, min: 0.9, only_first: true}]\nmodel: {parity: required}\n"
    answer = judged(server, "churn-policy", 1, dataset, policy=policy)
    assert answer["verdict"]["verdict"] == "fail" and answer["receipt"] is None
    assert rules(answer)["parity training"] == (
        "fail",
        "The training process sent no predictions to compare with; headgate.register_model sends them.",
    )
    assert rules(answer)["absolute roc_auc"][0] == "pass"


def test_another_signature_is_refused_and_few_rows_decide_nothing(server: RunningServer) -> None:
    good = breast_cancer()
    register(server, "churn-narrow", good.onnx, features=list(good.features), classes=["0", "1"])
    server.api("/api/models/churn-narrow/aliases", body={"version": 1, "alias": "staging"})
    other = diabetes()
    register(server, "churn-narrow", other.onnx, features=list(other.features), task="regression")
    status, told = server.ask(
        "/api/models/churn-narrow/gate",
        body={"version": 2, "dataset": pushed(server, "progress", labelled(other)), "against": "staging"},
    )
    assert status == 400 and "do not fit churn-narrow@1: " in json.dumps(told)
    register(server, "churn-narrow", breast_cancer(0.5).onnx, features=list(good.features)[::-1], classes=["0", "1"])
    answer = judged(server, "churn-narrow", 3, pushed(server, "few", labelled(good, rows=20)), against="staging")
    found = rules(answer)
    assert (
        found["signature callers"][0] == "fail" and "features differ: in another order" in found["signature callers"][1]
    )
    assert found["quality_of_run items"][0] == "inconclusive"
    assert answer["verdict"]["verdict"] == "fail"


def test_what_cannot_be_judged_says_why(server: RunningServer) -> None:
    good = breast_cancer()
    dataset = pushed(server, "scored", labelled(good))
    for body, status, words in (
        ({"version": 1, "dataset": "nothing"}, 404, "There is no dataset"),
        ({"version": 9, "dataset": dataset}, 404, "tumour has no version 9"),
        ({"version": 1, "dataset": dataset, "against": "gone"}, 400, "has no alias gone to compare with"),
        ({"version": 1, "dataset": dataset, "policy": "grade: Z"}, 400, "grade is one of A, B, C"),
    ):
        found, told = server.ask("/api/models/tumour/gate", body=body)
        assert (found, words in json.dumps(told)) == (status, True), told
    register(server, "churn-unknown", diabetes().onnx, task="other")
    status, told = server.ask("/api/models/churn-unknown/gate", body={"version": 1, "dataset": dataset})
    assert (status, told["error"]["code"]) == (400, "model_task_unknown")


def test_a_table_is_judged_by_its_label_column(server: RunningServer) -> None:
    good = breast_cancer()
    lines = [",".join([*good.features, "Benign"])]
    lines += [",".join(map(str, [*row, truth])) for row, truth in zip(good.rows.tolist(), good.truth, strict=True)]
    (server.directory / "table.csv").write_text("\n".join(lines))
    command = ("model", "test", "tumour@1", "--dataset", "table.csv")
    environ = {"HEADGATE_URL": server.url}
    done = run_cli(*command, cwd=server.directory, environ=environ)
    assert (done.returncode, "--label COLUMN" in done.stderr) == (2, True)
    done = run_cli(*command, "--label", "Benign", "--json", cwd=server.directory, environ=environ)
    assert done.returncode == 0, done.stderr
    correct = next(one for one in json.loads(done.stdout)["metrics"] if one["name"] == "correct")
    assert correct["value"] == pytest.approx(float(np.mean(good.local(good.rows)[0] == good.truth)))
