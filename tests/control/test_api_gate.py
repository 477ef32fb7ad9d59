"""The gate over HTTP: a pass on evidence of the log gives a receipt, and a protected alias moves with it alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate.core.settings import Protect
from support.control_settings import OPENAI_SETTINGS
from support.eval_bench import SUITE, Bench, rows
from support.pushed_prompts import GREET, push_prompt

Serve = Callable[..., Any]
CROWD = tuple(f"Person {number}" for number in range(24))
FEW = CROWD[:6]
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


# A suite that was made weaker under the same name.

OWN = """\
schema: headgate/gate@1
grade: B
absolute: [{metric: must_pass, failures: 0}]
primary: [{metric: primary, no_significant_loss: {}}]
"""


@pytest.fixture
def kept(serve: Serve, tmp_path: Path) -> Bench:
    """A home whose rule has grade B, and in which version 1 is production by the receipt of its suite."""
    (tmp_path / "own.yaml").write_text(OWN)
    rule = Protect(
        kind="prompt", policy="own.yaml", where="headgate.toml line 31", policy_file=str(tmp_path / "own.yaml")
    )
    served = serve(settings=replace(OPENAI_SETTINGS, protect=(rule,)), require_key=True)
    author = served.key("approver")
    bench = Bench(served, FEW, GATED, key=author)
    gate(bench, bench.evaluated(1), alias="production")
    assert bench.promote(1).status_code == 200
    return bench


def boss(bench: Bench) -> str:
    """Someone else."""
    key: str = bench.served.key("approver", "other")
    return key


def on_suite(bench: Bench, text: str, *people: str) -> Any:
    """Version 2 judged against production by another text of the suite, on the people named."""
    bench.suite = bench.post("/api/evals/suites", {"file": "evals/greetings.yaml", "text": text})["sha256"]
    if people:
        bench.people = people
        bench.post("/api/datasets/push", {"name": "people", "rows_jsonl": rows(people)})
    before = bench.evaluated(1)
    return gate(bench, bench.evaluated(2, baseline_run=before), before, alias="production")


@pytest.mark.parametrize(
    ("text", "people", "said"),
    [
        (SUITE + '  - {id: any, type: regex, pattern: "."}\n', FEW, "the scorer by_name is gone"),
        (GATED.replace("Hello Person", ""), FEW, "the scorer by_name is not what it was"),
        (GATED.replace(", must_pass: true", ""), FEW, "the scorer named is not what it was"),
        (GATED, FEW[:4], "2 cases are gone (person 4, person 5)"),
    ],
)
def test_a_weakened_suite_passes_and_moves_nothing_without_a_second_person(
    kept: Bench, text: str, people: tuple[str, ...], said: str
) -> None:
    answer = on_suite(kept, text, *people)
    assert (answer["verdict"]["verdict"], answer["grade"], answer["receipt"]["grade"]) == ("pass", "C", "C")
    assert answer["receipt"]["weaker"] == [said] == answer["verdict"]["yardstick"]["weaker"]
    refused = kept.promote(2).json()["error"]
    assert refused["code"] == "move_refused"
    assert "asks for evidence no weaker than what production rests on" in refused["message"]
    assert said in refused["message"] and "headgate prompt approve greet@2" in refused["hint"]
    assert kept.served.get("/api/prompts/greet", key=kept.key)["aliases"] == {"production": 1}
    kept.post("/api/prompts/greet/approve", {"version": 2, "reason": "the case was wrong"}, key=boss(kept))
    assert kept.promote(2).json()["aliases"] == {"production": 2}
    newest = kept.served.get("/api/history?object=prompt:greet", key=kept.key)["entries"][0]
    assert newest["detail"]["weaker"] == [f"suite greetings: {said}"]


def test_a_suite_with_more_in_it_moves_as_before_and_becomes_what_the_next_one_is_held_against(kept: Bench) -> None:
    stronger = GATED + '  - {id: polite, type: regex, pattern: "Hello", role: primary}\n'
    answer = on_suite(kept, stronger)
    assert answer["verdict"]["yardstick"]["stronger"] == ["the scorer polite is new"]
    assert (answer["receipt"]["weaker"], answer["receipt"]["grade"]) == ([], "B")
    assert kept.promote(2).json()["aliases"] == {"production": 2}
    push_prompt(kept.served, GREET.format(name="greet", system="Be warm."), kept.key)
    kept.suite = kept.post("/api/evals/suites", {"file": "evals/greetings.yaml", "text": GATED})["sha256"]
    before = kept.evaluated(2)
    again = gate(kept, kept.evaluated(3, baseline_run=before), before, alias="production")
    assert again["receipt"]["weaker"] == ["the scorer polite is gone"]
    assert kept.promote(3).status_code == 403


def test_another_suite_does_not_stand_in_for_the_one_that_production_rests_on(kept: Bench) -> None:
    answer = on_suite(kept, GATED.replace("suite: greetings", "suite: easy"))
    assert (answer["verdict"]["yardstick"], answer["grade"]) == (None, "B")
    refused = kept.promote(2).json()["error"]["message"]
    assert "suite greetings, which production rests on, was not passed" in refused


def test_a_yes_that_is_older_than_the_weaker_evidence_does_not_count(kept: Bench) -> None:
    someone = boss(kept)
    kept.post("/api/prompts/greet/approve", {"version": 2, "reason": "looks right"}, key=someone)
    on_suite(kept, GATED, *FEW[:4])
    assert kept.promote(2).status_code == 403
    rule = kept.served.get("/api/evals/rule?prompt=greet&version=2", key=kept.key)
    assert rule["weaker"] == ["suite greetings: 2 cases are gone (person 4, person 5)"]
    assert "no weaker than what production rests on" in rule["missing"][0]["reason"]
    body = {"alias": "production", "version": 2}
    moved = kept.served.ask("POST", "/api/prompts/greet/aliases", body=body, key=someone)
    assert moved.status_code == 200, "an approver who is not the author says yes by moving it"


def test_an_override_sets_what_the_next_version_is_held_against(kept: Bench) -> None:
    answer = on_suite(kept, GATED, *FEW[:4])
    moved = kept.promote(2, override=True, reason="two cases were of a product that is gone").json()["move"]
    assert (moved["gate"], moved["receipt_id"]) == ("override", answer["receipt"]["receipt"])
    push_prompt(kept.served, GREET.format(name="greet", system="Be warm."), kept.key)
    before = kept.evaluated(2)
    again = gate(kept, kept.evaluated(3, baseline_run=before), before, alias="production")
    assert (again["receipt"]["weaker"], again["receipt"]["since"]) == ([], answer["receipt"]["receipt"])
    assert kept.promote(3).json()["aliases"] == {"production": 3}


def test_under_a_policy_of_grade_c_a_weakened_suite_is_said_and_moves(bench: Bench) -> None:
    gate(bench, bench.evaluated(1), alias="production")
    bench.promote(1)
    answer = on_suite(bench, GATED, *CROWD[:22])
    assert answer["receipt"]["weaker"] == ["2 cases are gone (person 22, person 23)"]
    assert any("weaker than rcpt_" in one for one in answer["verdict"]["warnings"])
    assert bench.promote(2).json()["aliases"] == {"production": 2}


def planned(bench: Bench, **more: Any) -> Any:
    body = {"suite": "greetings", "prompt": "greet", "cases": 24, "primary": ["by_name"], "must_pass": ["named"]}
    return bench.post("/api/evals/detect", {**body, **more})


def test_a_plan_takes_the_spread_from_earlier_runs_and_says_so(bench: Bench) -> None:
    first = planned(bench, policy="standard")
    (rule,) = first["rules"]
    assert (first["policy"], first["min_items"], rule["metric"], rule["margin"]) == ("standard", 60, "by_name", 0.05)
    assert rule["assumed"].startswith("no earlier run tells: 20% of the cases differ")
    assert rule["needed_items"] == 517 and rule["smallest"] > 0.2
    one = bench.evaluated(1, bad=CROWD[:3])
    (single,) = planned(bench, policy="standard")["rules"]
    assert single["assumed"].startswith(f"scores vary as in {one}")
    two = bench.evaluated(2, bad=CROWD[2:4])
    (pair,) = planned(bench, policy="standard")["rules"]
    assert pair["assumed"] == f"differences vary as between greet@2 and greet@1 ({two})"
    assert pair["smallest"] != single["smallest"] != rule["smallest"]


def test_a_plan_follows_the_rule_of_the_server_and_refuses_what_is_none(bench: Bench) -> None:
    assert planned(bench)["policy"] == "starter"
    (rule,) = planned(bench, clusters=4)["rules"]
    assert (rule["kind"], rule["power_at_margin"]) == ("no_significant_loss", None)
    refused = bench.served.ask("POST", "/api/evals/detect", body={"suite": "s", "prompt": "greet", "cases": 0})
    assert refused.status_code == 400
