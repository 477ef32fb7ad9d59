"""The gate over HTTP: a pass on evidence of the log gives a receipt, and a protected alias moves with it alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.settings import Protect
from support.control_settings import OPENAI_SETTINGS
from support.eval_bench import SUITE, Bench
from support.pushed_prompts import GREET, push_prompt

Serve = Callable[..., Any]
CROWD = tuple(f"Person {number}" for number in range(24))
RULE = Protect(kind="prompt", policy="starter", where="headgate.toml line 31")
GATED = SUITE + '  - {id: by_name, type: regex, pattern: "Hello Person", role: primary}\n'
MINE = "schema: headgate/gate@1\nname: mine\ngrade: C\nabsolute: [{metric: must_pass, failures: 24}]\n"
PROTECTED = replace(OPENAI_SETTINGS, protect=(RULE,))


@pytest.fixture
def bench(serve: Serve) -> Bench:
    return Bench(serve(settings=PROTECTED), CROWD, GATED)


def gate(bench: Bench, candidate: str, baseline: str | None = None, **more: Any) -> Any:
    return bench.post("/api/evals/gate", {"candidate": candidate, "baseline": baseline, **more})


def test_versions_reach_production_by_their_evidence_and_a_worse_one_does_not(bench: Bench) -> None:
    refused = bench.promote(1)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "move_refused")
    first = bench.evaluated(1)
    passed = gate(bench, first, alias="production")
    assert (passed["verdict"]["verdict"], passed["receipt"]["baseline_sha256"]) == ("pass", None)
    moved = bench.promote(1).json()["move"]
    assert (moved["gate"], moved["receipt_id"]) == ("receipt", passed["receipt"]["receipt"])

    worse = bench.evaluated(2, bad=CROWD[:9], baseline_run=first)
    failed = gate(bench, worse, first, alias="production")
    assert (failed["verdict"]["verdict"], failed["receipt"], failed["no_receipt"]) == (
        "fail",
        None,
        "the gate was not passed",
    )
    assert bench.promote(2).status_code == 403

    push_prompt(bench.served, GREET.format(name="greet", system="Be warm."))
    better = bench.evaluated(3, baseline_run=first)
    passed = gate(bench, better, first, alias="production")
    assert passed["verdict"]["verdict"] == "pass"
    assert passed["receipt"]["baseline_sha256"] == bench.sha256(1)
    assert bench.promote(3).json()["aliases"] == {"production": 3}
    newest = bench.served.get("/api/history?object=prompt:greet")["entries"][0]
    assert (newest["action"], newest["detail"]["receipt"]) == ("alias.move", passed["receipt"]["receipt"])
    rows = bench.post("/api/sql", {"query": "SELECT to_version, gate, receipt_id FROM alias_moves ORDER BY moved_at"})
    assert rows["rows"][-1] == [3, "receipt", passed["receipt"]["receipt"]]
    assert "is for other content" in bench.promote(2).json()["error"]["message"]


def test_one_changed_byte_is_another_content_without_a_receipt(bench: Bench) -> None:
    gate(bench, bench.evaluated(1), alias="production")
    push_prompt(bench.served, GREET.format(name="greet", system="Be kind!"))
    refused = bench.promote(3).json()["error"]
    assert "is for other content" in refused["message"]
    assert "headgate eval gate greetings --prompt greet@3 (24 calls" in refused["hint"]


def test_a_receipt_of_another_policy_moves_nothing(bench: Bench) -> None:
    passed = gate(bench, bench.evaluated(1), policy=MINE)
    assert passed["receipt"]["policy"] == "mine"
    assert "was given under another policy, mine" in bench.promote(1).json()["error"]["message"]


def test_every_attempt_on_a_dataset_is_counted_and_kept(bench: Bench) -> None:
    run = bench.evaluated(1)
    verdicts = [gate(bench, run) for _ in range(3)]
    assert [one["verdict"]["attempts"] for one in verdicts] == [1, 2, 3]
    kept = bench.served.get(f"/api/evals/runs/{run}")["decisions"]
    assert [one["attempt"] for one in kept] == [3, 2, 1]
    shown = bench.served.get(f"/api/evals/decisions/{verdicts[0]['decision']}")
    assert shown["detail"] == verdicts[0]["verdict"]


def test_a_run_on_other_cases_is_no_baseline(bench: Bench) -> None:
    first = bench.evaluated(1)
    lines = "".join(json.dumps({"id": name, "input": {"person": name}}) + "\n" for name in CROWD[:20])
    bench.post("/api/datasets/push", {"name": "people", "rows_jsonl": lines})
    bench.people = CROWD[:20]
    answer = bench.served.ask("POST", "/api/evals/gate", body={"candidate": bench.evaluated(2), "baseline": first})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "baseline_differs")


def test_a_run_with_missing_cells_gets_no_receipt(bench: Bench) -> None:
    run = bench.start("greet@1")["run"]
    for name in CROWD[:-1]:
        bench.call(run, name, f"Hello {name}", number=1)
    bench.finish(run, [])
    answer = gate(bench, run)
    assert answer["receipt"] is None


def test_imported_results_are_judged_and_move_nothing(bench: Bench) -> None:
    lines = [
        {
            "run": "paper", "item": f"i{number}", "repeat": 0, "system": system, "scorer": "quality",
            "value": 0.5 + shift + (number % 7) / 50, "status": "ok", "output_sha256": f"{number:064x}",
        }
        for system, shift in (("old", 0.0), ("new", 0.2))
        for number in range(100)
    ]  # fmt: skip
    client_body = "\n".join(map(json.dumps, lines)).encode()
    made = bench.served.send("/api/evals/import?file=paper.jsonl", client_body, "application/x-ndjson").json()
    (run,) = made["runs"]
    assert (run["name"], run["systems"], run["rows"]) == ("paper", ["new", "old"], 200)
    answer = gate(bench, run["run"], run["run"], candidate_system="new", baseline_system="old", policy="starter")
    assert (answer["verdict"]["verdict"], answer["receipt"]) == ("pass", None)
    assert answer["no_receipt"] == "imported results are not evidence of this log"
    compared = bench.post(
        "/api/evals/compare", {"a": run["run"], "b": run["run"], "a_system": "new", "b_system": "old"}
    )
    assert compared["scorers"][0]["difference"] == pytest.approx(0.2)
    sent = bench.served.ask("GET", f"/api/evals/runs/{run['run']}/results").content
    assert [json.loads(line) for line in sent.splitlines()] == lines or len(sent.splitlines()) == 200


def test_the_suites_own_policy_must_pass_too(serve: Serve) -> None:
    bench = Bench(serve(settings=PROTECTED), CROWD, GATED + "policy: strict\n")
    answer = gate(bench, bench.evaluated(1), alias="production")
    assert answer["verdict"]["policy"] == "strict" and answer["verdict"]["verdict"] != "pass"
    assert [one["verdict"]["verdict"] for one in answer["others"]] == ["pass"]
    assert answer["receipt"] is None and bench.promote(1).status_code == 403


def test_two_people_are_needed_where_the_rule_says_so(serve: Serve) -> None:
    settings = replace(PROTECTED, protect=(replace(RULE, approvers=1),))
    served = serve(settings=settings, require_key=True)
    author, boss = served.key("approver"), served.key("approver", "other")
    bench = Bench(served, CROWD, GATED, key=author)
    gate(bench, bench.evaluated(1), alias="production")
    assert "asks for 1 approval" in bench.promote(1).json()["error"]["message"]
    own = served.ask("POST", "/api/prompts/greet/approve", key=author, body={"version": 1, "reason": "mine"})
    assert own.status_code == 403
    bench.post("/api/prompts/greet/approve", {"version": 1, "reason": "looks right"}, key=boss)
    assert bench.promote(1).json()["aliases"] == {"production": 1}
