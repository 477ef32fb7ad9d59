"""Runs judged from the log: what was really asked counts, the first time it was asked, and nothing that is posted."""

from collections.abc import Callable
from typing import Any

import pytest

from headgate.evals.cells import cell_key
from headgate.evals.dataset import Row
from support.eval_bench import PEOPLE, Bench, rows

Serve = Callable[..., Any]


@pytest.fixture
def bench(serve: Serve) -> Bench:
    return Bench(serve())


def test_a_run_is_scored_from_the_log_and_its_results_are_the_same_bytes_each_time(bench: Bench) -> None:
    run = bench.start()
    assert (run["status"], run["system"], run["cells"], run["resumed"]) == ("running", "greet@2", 3, False)
    ids = [bench.call(run["run"], name, f"Hello {name}") for name in PEOPLE[:2]]
    ids.append(bench.call(run["run"], "Cy", "Go away."))
    done = bench.finish(run["run"], ids)
    assert (done["status"], done["results"], done["missing"]) == ("complete", 3, [])
    assert (done["totals"]["calls"], done["totals"]["cached"], done["totals"]["answered"]) == (3, 0, 3)
    found = bench.results(run["run"])
    assert {item: one["value"] for item, one in found.items()} == {"ada": 1.0, "bo": 1.0, "cy": 0.0}
    assert all(one["output_sha256"] and one["tags"] == {"lang": "en"} for one in found.values())
    first = bench.served.ask("GET", f"/api/evals/runs/{run['run']}/results").content
    bench.finish(run["run"], ids)
    assert bench.served.ask("GET", f"/api/evals/runs/{run['run']}/results").content == first


def test_what_is_missing_is_named_and_the_run_goes_on_where_it_was(bench: Bench) -> None:
    run = bench.start()["run"]
    bench.call(run, "Ada")
    done = bench.finish(run, [], stopped="budget")
    assert (done["status"], done["stopped"]) == ("partial", "budget")
    assert [(one["item"], one["reason"]) for one in sorted(done["missing"], key=lambda one: one["item"])] == [
        ("bo", "it was not asked"),
        ("cy", "it was not asked"),
    ]
    again = bench.start()
    assert (again["run"], again["resumed"]) == (run, True)
    for name in PEOPLE[1:]:
        bench.call(run, name)
    assert bench.finish(run, [])["status"] == "complete"
    other = bench.start()
    assert (other["resumed"], other["run"] == run) == (False, False)
    done = bench.finish(other["run"], [])
    assert (done["status"], done["totals"]["calls"], done["totals"]["cached"]) == ("complete", 0, 3)
    assert done["totals"]["cost_usd"] == "0"


@pytest.mark.parametrize(
    ("forged", "words"),
    [
        ({"variables": {"person": "Someone easy"}}, "its variables are not those of the case"),
        ({"prompt_sha256": "0" * 64}, "it called content 00000000"),
        ({"prompt_name": "other"}, "it called other, not greet"),
        ({"body": {"messages": [{"role": "user", "content": "Say Hello."}]}}, "it sent other messages along"),
        ({"body": {"max_output_tokens": 3}}, "it set max_output_tokens"),
        ({"outcome": "upstream_error", "status": 500}, "it ended upstream_error"),
        ({"capture": "metadata"}, "its content was not kept (capture metadata)"),
        ({"capture": "none"}, "its content was not kept (capture none)"),
        ({"capture": "truncated"}, "its body was cut"),
    ],
)
def test_a_call_that_is_not_the_case_is_no_evidence_and_the_cell_says_why(
    bench: Bench, forged: dict[str, Any], words: str
) -> None:
    run = bench.start()["run"]
    for name in PEOPLE[1:]:
        bench.call(run, name)
    bench.call(run, "Ada", **forged)
    done = bench.finish(run, [])
    (missing,) = done["missing"]
    assert missing["item"] == "ada" and words in missing["reason"]
    assert bench.results(run)["ada"]["status"] == "error" and bench.results(run)["ada"]["value"] is None
    bench.call(run, "Ada", "Hello, at last", age_s=1)
    assert bench.finish(run, [])["missing"] == []
    assert bench.results(run)["ada"]["value"] == 1.0


@pytest.mark.parametrize("purpose", ["traffic", "judge", "probe"])
def test_a_call_of_another_purpose_is_not_even_looked_at(bench: Bench, purpose: str) -> None:
    run = bench.start()["run"]
    bench.call(run, "Ada", purpose=purpose)
    reasons = {one["item"]: one["reason"] for one in bench.finish(run, [])["missing"]}
    assert reasons["ada"] == "it was not asked"


def test_the_first_answer_counts_whatever_came_after(bench: Bench) -> None:
    run = bench.start()["run"]
    bench.call(run, "Ada", "Go away.", age_s=9)
    bench.call(run, "Ada", "Hello!", age_s=3)
    bench.finish(run, [])
    assert bench.results(run)["ada"]["value"] == 0.0


def test_scores_posted_for_a_scorer_of_ours_change_nothing(bench: Bench) -> None:
    run = bench.start()["run"]
    for name in PEOPLE:
        bench.call(run, name, "Go away.")
    own = [{"item": name.lower(), "scorer": "named", "value": 1.0} for name in PEOPLE]
    bench.finish(run, [], own_scores=own)
    assert {one["value"] for one in bench.results(run).values()} == {0.0}


def test_the_log_tells_which_cells_need_no_call(bench: Bench) -> None:
    run = bench.start()["run"]
    request_id = bench.call(run, "Ada", "Hello Ada")
    bench.call(run, "Bo", variables={"person": "Someone easy"})
    keys = [cell_key(bench.sha256(2), None, Row(input={"person": name}), 0) for name in PEOPLE]
    found = bench.post("/api/evals/find", {"keys": keys})["found"]
    assert list(found) == keys[:1]
    assert (found[keys[0]]["request_id"], found[keys[0]]["output"]["text"]) == (request_id, "Hello Ada")


def test_cells_show_answers_with_scores_until_the_request_is_deleted(bench: Bench) -> None:
    run = bench.start()["run"]
    request_id = bench.call(run, "Ada", "Hello Ada")
    bench.finish(run, [])
    shown = bench.served.get(f"/api/evals/runs/{run}/cells")["cells"]
    ada = next(one for one in shown if one["item"] == "ada")
    assert (ada["output"]["text"], ada["scores"][0]["value"]) == ("Hello Ada", 1.0)
    sql = "SELECT item, value FROM eval_results"
    assert bench.post("/api/sql", {"query": sql})["rows"] == [["ada", 1.0]]
    bench.post("/api/requests/delete", {"ids": [request_id]})
    assert bench.post("/api/sql", {"query": sql})["rows"] == []
    shown = bench.served.get(f"/api/evals/runs/{run}/cells")["cells"]
    ada = next(one for one in shown if one["item"] == "ada")
    assert (ada["output"], ada["scores"], ada["problem"]) == (None, [], "the request was deleted")


def test_a_dataset_is_the_same_version_in_any_order_and_a_changed_file_is_noticed(bench: Bench) -> None:
    again = bench.post("/api/datasets/push", {"name": "people", "rows_jsonl": rows(PEOPLE[::-1])})
    assert (again["number"], again["is_new"]) == (1, False)
    more = bench.post("/api/datasets/push", {"name": "people", "rows_jsonl": rows((*PEOPLE, "Di"))})
    assert (more["number"], more["is_new"], more["rows"]) == (2, True, 4)
    changes = bench.served.get("/api/datasets/people/diff?from=1&to=2")
    assert ([row["id"] for row in changes["added"]], changes["same"]) == (["di"], 3)
    for file in (bench.served.control.home.path / "datasets").glob("*.jsonl"):
        file.write_text(file.read_text().replace("Ada", "Eve"))
    answer = bench.served.ask("GET", "/api/datasets/people/rows")
    assert answer.status_code == 500 and "was changed" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/datasets/push", {"name": "x", "rows_jsonl": "{}"}),
        ("/api/evals/runs", {"suite_sha256": "x", "prompt": "greet@1"}),
        ("/api/evals/gate", {"candidate": "run_1"}),
    ],
)
def test_an_app_key_may_not_evaluate(serve: Serve, path: str, body: Any) -> None:
    served = serve(require_key=True)
    assert served.ask("POST", path, key=served.key("app"), body=body).status_code == 403


def test_a_developer_may_not_approve(serve: Serve) -> None:
    served = serve(require_key=True)
    body = {"version": 1, "reason": "fine"}
    assert served.ask("POST", "/api/prompts/greet/approve", key=served.key("developer"), body=body).status_code == 403
