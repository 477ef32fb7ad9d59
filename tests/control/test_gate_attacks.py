"""Whoever holds a developer's key and wants a worse version in production tries what the API offers, and stays where
they are.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate.core.settings import Protect
from headgate.evals.cells import ask_key
from headgate.evals.dataset import Row
from headgate.evals.output import Output
from headgate.evals.suite import load_suite, scorers_of
from headgate.registry import prompts
from support.control_settings import OPENAI_SETTINGS
from support.eval_bench import SUITE, Bench
from support.pushed_prompts import GREET, push_prompt

Serve = Callable[..., Any]
PEOPLE = tuple(f"Person {number}" for number in range(6))
GATED = SUITE + '  - {id: by_name, type: regex, pattern: "Hello Person", role: primary}\n'
POLICY = """\
schema: headgate/gate@1
grade: B
absolute: [{metric: must_pass, failures: 0}]
primary: [{metric: primary, no_significant_loss: {}}]
"""


def settings(folder: Path) -> Any:
    (folder / "own.yaml").write_text(POLICY)
    rule = Protect(
        kind="prompt", policy="own.yaml", where="headgate.toml line 31", policy_file=str(folder / "own.yaml")
    )
    return replace(OPENAI_SETTINGS, protect=(rule,))


@pytest.fixture
def bench(serve: Serve, tmp_path: Path) -> Bench:
    """Version 1 is production by its receipt; whoever attacks pushed all of it with a developer's key."""
    served = serve(settings=settings(tmp_path), require_key=True)
    bench = Bench(served, PEOPLE, GATED, key=served.key("developer"))
    assert gate(bench, bench.evaluated(1))["receipt"] is not None
    assert bench.promote(1).status_code == 200
    return bench


def gate(bench: Bench, candidate: str, baseline: str | None = None, **more: Any) -> Any:
    return bench.post("/api/evals/gate", {"candidate": candidate, "baseline": baseline, "alias": "production", **more})


def refused(bench: Bench, number: int = 2) -> str:
    """Why the version may not become production; fails when it may."""
    answer = bench.promote(number)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "move_refused"), answer.text
    assert bench.served.get("/api/prompts/greet", key=bench.key)["aliases"].get("production") != number
    words: str = answer.json()["error"]["message"]
    return words


def test_a_gate_without_a_baseline_is_no_evidence_against_production(bench: Bench) -> None:
    assert gate(bench, bench.evaluated(2))["receipt"] is not None
    assert "compared with nothing, and production means version 1" in refused(bench)


def test_a_worse_production_of_one_s_own_making_is_no_baseline(bench: Bench) -> None:
    push_prompt(bench.served, GREET.format(name="greet", system="Be rude."), bench.key)
    poor = bench.evaluated(3, bad=PEOPLE[:5])
    assert gate(bench, bench.evaluated(2, baseline_run=poor), poor)["receipt"] is not None
    assert "compared with content" in refused(bench)


def test_of_two_that_were_judged_against_the_same_production_one_moves(bench: Bench) -> None:
    push_prompt(bench.served, GREET.format(name="greet", system="Be warm."), bench.key)
    before = bench.evaluated(1)
    for number in (2, 3):
        assert gate(bench, bench.evaluated(number, baseline_run=before), before)["receipt"] is not None
    assert bench.promote(3).status_code == 200
    assert "and production means version 3" in refused(bench, 2)


def test_an_alias_cannot_be_ended_to_begin_without_a_baseline(bench: Bench) -> None:
    gate(bench, bench.evaluated(2))
    body = {"alias": "production"}
    ended = bench.served.ask("POST", "/api/prompts/greet/aliases/remove", key=bench.key, body=body)
    assert (ended.status_code, ended.json()["error"]["code"]) == (403, "move_refused")
    assert "compared with nothing" in refused(bench)


def test_what_production_means_is_not_archived_away(bench: Bench) -> None:
    gate(bench, bench.evaluated(2))
    bench.served.ask("POST", "/api/prompts/greet/archive", key=bench.key, body={"version": 1})
    assert "compared with nothing, and production means version 1" in refused(bench)


def test_a_rollback_leads_to_no_version_that_never_stood_there(bench: Bench) -> None:
    bench.post("/api/prompts/greet/aliases", {"alias": "candidate", "version": 2})
    answer = bench.served.ask("POST", "/api/prompts/greet/rollback", key=bench.key, body={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_earlier_version")


def test_a_developer_overrides_nothing(bench: Bench) -> None:
    answer = bench.promote(2, override=True, reason="trust me")
    assert answer.status_code == 403 and "may not override" in answer.json()["error"]["message"]


def test_an_answer_that_was_asked_for_cannot_be_deleted_and_asked_for_again(bench: Bench) -> None:
    """The first whole answer counts, so it must not be in the hands of whoever asks."""
    run = bench.start("greet@2")["run"]
    bad = bench.call(run, "Person 0", "Go away.", user_id="u-1")
    for chosen in ({"ids": [bad]}, {"filter": {"user": "u-1"}}, {"filter": {"before": "0s"}}):
        bench.served.ask("POST", "/api/requests/delete", key=bench.key, body=chosen)
    for name in PEOPLE:
        bench.call(run, name, f"Hello {name}")
    bench.finish(run, [])
    assert bench.results(run)["person 0"]["value"] == 0


def test_an_answer_that_was_left_half_way_and_asked_for_again_is_counted_and_costs_the_grade(bench: Bench) -> None:
    before = bench.evaluated(1)
    run = bench.start("greet@2", baseline_run=before)["run"]
    bench.call(run, "Person 0", "Go aw", outcome="client_closed", age_s=9, response_bytes=80)
    bench.call(run, "Person 1", outcome="client_closed", age_s=9)  # before anything came
    for name in PEOPLE:
        bench.call(run, name, f"Hello {name}")
    assert bench.finish(run, [])["totals"]["left"] == 1
    answer = gate(bench, run, before)
    assert (answer["verdict"]["verdict"], answer["receipt"]["grade"]) == ("pass", "C")
    assert "grade C: the client left 1 of 6 answers and asked again" in answer["verdict"]["warnings"]
    assert "or picked its answers" in refused(bench)


def test_traffic_of_people_is_still_deleted_by_a_developer(bench: Bench) -> None:
    bench.call("", "Person 0", user_id="u-1", purpose="traffic")
    kept = bench.call("run_1", "Person 0", user_id="u-1")
    body: dict[str, Any] = {"filter": {"user": "u-1"}}
    assert bench.post("/api/requests/delete", body) == {"deleted": 1, "kept": 1}
    answer = bench.served.ask("POST", "/api/requests/delete", key=bench.key, body={"ids": [kept]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "evidence_kept")
    admin = bench.served.key("admin")
    assert bench.post("/api/requests/delete", body, key=admin) == {"deleted": 1}


OWN = """\
  - id: own
    type: python
    role: ROLE
    file: scorers/own.py
    code: "def score(row, output):\\n    return 1.0\\n"
"""


def posted(bench: Bench, number: int, **more: Any) -> str:
    """A finished run whose own scorer was computed by whoever posts it: always the best value."""
    run: str = bench.start(f"greet@{number}", **more)["run"]
    for name in PEOPLE:
        bench.call(run, name, f"Hello {name}", number=number)
    own = [
        {"item": name.lower(), "repeat": 0, "scorer": "own", "value": 1.0, "status": "ok", "reason": "mine"}
        for name in PEOPLE
    ]
    bench.finish(run, [], own_scores=own)
    return run


def with_own(bench: Bench, role: str) -> Any:
    text = GATED + OWN.replace("ROLE", role)
    bench.suite = bench.post("/api/evals/suites", {"file": "evals/greetings.yaml", "text": text})["sha256"]
    before = posted(bench, 1)
    return gate(bench, posted(bench, 2, baseline_run=before), before)


def test_scores_that_a_client_posts_move_nothing_under_a_policy_of_a_better_grade(bench: Bench) -> None:
    answer = with_own(bench, "primary")
    assert (answer["verdict"]["verdict"], answer["receipt"]["grade"]) == ("pass", "C")
    assert "suite greetings: a client computed scores that decide in it" in refused(bench)
    someone = bench.served.key("approver", "other")
    bench.post("/api/prompts/greet/approve", {"version": 2, "reason": "ran the scorer myself"}, key=someone)
    assert bench.promote(2).status_code == 200


def test_a_client_s_scores_that_decide_nothing_cost_no_grade(bench: Bench) -> None:
    answer = with_own(bench, "info")
    assert answer["receipt"]["grade"] == "B"
    assert bench.promote(2).status_code == 200


JUDGE = """\
name: kind-judge
model: gpt-5-mini
input:
  question: {type: string}
  answer: {type: string}
  rubric: {type: string}
messages:
  - {role: user, content: "MOOD {{ question }} {{ answer }} {{ rubric }}"}
"""
JUDGED = (
    GATED
    + '  - {id: kind, type: judge.rubric, judge: main, role: info, rubric: "Is it kind?"}\n'
    + "judges: {main: {prompt: kind-judge}}\n"
)


def judged(bench: Bench, number: int, judge: int, **more: Any) -> str:
    """A finished run whose judge, in the version given, found every answer kind."""
    run: str = bench.start(f"greet@{number}", **more)["run"]
    sha256 = prompts.get_version(bench.served.control.publisher.registry, "kind-judge", judge).sha256
    (scorer,) = [one for one in scorers_of(load_suite(JUDGED, "greetings.yaml")) if one.spec.id == "kind"]
    for name in PEOPLE:
        answer = f"Hello {name}"
        bench.call(run, name, answer, number=number)
        (ask,) = scorer.asks(Row(input={"person": name}), Output(text=answer), None)
        bench.served.record(
            answer=json.dumps({"reason": "warm", "verdict": "pass"}),
            purpose="judge",
            prompt_name="kind-judge",
            prompt_version=judge,
            prompt_sha256=sha256,
            prompt_vars=json.dumps(ask.variables),
            tags={"cell": ask_key(ask, sha256), "run": run},
            request_body={"prompt": {"id": "kind-judge", "version": str(judge), "variables": ask.variables}},
        )
    assert bench.finish(run, [])["status"] == "complete"
    return run


def test_a_judge_of_one_s_own_is_not_slipped_in_by_a_gate_for_another_alias(bench: Bench) -> None:
    """For an alias that means nothing yet there is no yardstick; the receipt must not count as if it had been held
    against production's.
    """
    push_prompt(bench.served, JUDGE.replace("MOOD", "Be strict."), bench.key)
    bench.suite = bench.post("/api/evals/suites", {"file": "evals/greetings.yaml", "text": JUDGED})["sha256"]
    push_prompt(bench.served, GREET.format(name="greet", system="Be warm."), bench.key)
    before = judged(bench, 1, 1)
    assert gate(bench, judged(bench, 3, 1, baseline_run=before), before)["receipt"]["weaker"] == []
    assert bench.promote(3).status_code == 200
    push_prompt(bench.served, JUDGE.replace("MOOD", "Pass everything."), bench.key)
    lenient = judged(bench, 3, 2)
    answer = gate(bench, judged(bench, 2, 2, baseline_run=lenient), lenient, alias="staging", policy=POLICY)
    assert (answer["receipt"]["weaker"], answer["receipt"]["grade"]) == ([], "B")
    assert "was never held against" in refused(bench, 2)


def test_a_policy_that_asks_for_a_second_person_asks_the_author_s_second_key_in_vain(
    serve: Serve, tmp_path: Path
) -> None:
    wanted = settings(tmp_path)
    (tmp_path / "own.yaml").write_text(POLICY + "approvals: 1\n")
    served = serve(settings=wanted, require_key=True)
    bench = Bench(served, PEOPLE, GATED, key=served.key("approver"))
    assert gate(bench, bench.evaluated(1))["receipt"] is not None
    assert "asks for 1 approval by someone other than the author" in refused(bench, 1)
    own = served.ask("POST", "/api/prompts/greet/approve", key=bench.key, body={"version": 1, "reason": "mine"})
    assert own.status_code == 403
    body = {"alias": "production", "version": 1, "override": True, "reason": "hurry"}
    forced = served.ask("POST", "/api/prompts/greet/aliases", key=bench.key, body=body)
    assert forced.status_code == 403 and "may not override" in forced.json()["error"]["message"]
    someone = served.key("approver", "other")
    assert served.ask("POST", "/api/prompts/greet/aliases", key=someone, body=body).status_code == 200
    newest = served.get("/api/history?object=prompt:greet", key=bench.key)["entries"][0]
    assert (newest["reason"], newest["detail"]["gate"]) == ("hurry", "receipt")
