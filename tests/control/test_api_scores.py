"""Scores: by request id, kept with the log, an app's own requests only; corrections become expected answers."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Serve = Callable[..., Any]


def pushing(served: Any, *scores: Any, key: str | None = None) -> Any:
    return served.ask("POST", "/api/scores", key=key, body={"scores": list(scores)})


def test_a_score_is_seen_with_its_request_and_by_sql(serve: Serve) -> None:
    served = serve()
    request_id = served.record()
    assert pushing(
        served,
        {"request_id": request_id, "name": "thumbs", "value": 1, "comment": "good"},
        {"request_id": request_id, "name": "tone", "label": "kind", "source": "human", "correction": "Hi!"},
    ).json() == {"stored": 3}
    shown = served.get(f"/api/requests/{request_id}")["scores"]
    assert [(one["name"], one["value"], one["label"], one["comment"]) for one in shown] == [
        ("thumbs", 1.0, None, "good"),
        ("tone", None, "kind", None),
        ("correction", None, None, "Hi!"),
    ]
    answer = served.ask("POST", "/api/sql", body={"query": "SELECT name, source FROM scores ORDER BY name"})
    assert answer.json()["rows"] == [["correction", "human"], ["thumbs", "user"], ["tone", "human"]]


@pytest.mark.parametrize(
    "fields",
    [{}, {"label": "x" * 201}, {"comment": "x" * 20_001}, {"value": "1"}, {"value": 1, "source": "nobody"}],
)
def test_a_score_that_says_nothing_or_too_much_is_refused_and_none_is_stored(serve: Serve, fields: Any) -> None:
    served = serve()
    request_id = served.record()
    good = {"request_id": request_id, "name": "thumbs", "value": 1}
    assert pushing(served, good, {"request_id": request_id, "name": "thumbs", **fields}).status_code == 400
    assert served.get(f"/api/requests/{request_id}")["scores"] == []


def test_an_app_judges_its_own_requests_and_learns_nothing_of_others(serve: Serve) -> None:
    served = serve(require_key=True)
    mine, other = served.key("app"), served.key("app", "other")
    key_id = served.control.keyring.entry(mine).id
    request_id = served.record(key_id=key_id)
    score = {"request_id": request_id, "name": "thumbs", "value": 0}
    assert pushing(served, score, key=mine).status_code == 200
    hidden = pushing(served, score, key=other)
    unknown = pushing(served, {**score, "request_id": "0198f2c4-0000-7000-8000-000000000000"}, key=other)
    assert (hidden.status_code, hidden.json()["error"]["code"]) == (404, unknown.json()["error"]["code"])


def test_calls_become_rows_once_each_and_a_correction_is_what_was_expected(serve: Serve) -> None:
    served = serve()
    stored = {"prompt_name": "greet", "prompt_version": 1, "prompt_sha256": "a" * 64}

    def call(person: str, **more: Any) -> str:
        variables = {"person": person}
        body = {"prompt": {"id": "greet", "variables": variables}, **more}
        request_id: str = served.record(prompt_vars=json.dumps(variables), request_body=body, **stored)
        return request_id

    first, _ = call("Ada"), call("Ada")
    call("Bo")
    call("Cy", temperature=0.1)
    pushing(served, {"request_id": first, "name": "correction", "comment": "Hello Ada."})
    body = {"filter": {"prompt": "greet"}, "name": "replayed"}
    made = served.ask("POST", "/api/datasets/from-log", body=body).json()
    rows = [json.loads(line) for line in made["rows_jsonl"].splitlines()]
    assert {row["input"]["person"]: row.get("expected") for row in rows} == {"Ada": "Hello Ada.", "Bo": None}
    assert (made["rows"], made["dataset"]["number"]) == (2, 1)
    assert made["skipped"] == {"the same was asked again": 1, "it changed parameters of the prompt": 1}
