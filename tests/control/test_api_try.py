"""A replay: what production was asked, de-duplicated, on another version, judged blind in both orders from the log."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.settings import Protect
from headgate.evals.cells import ask_key
from headgate.evals.scorer import Ask
from headgate.registry import prompts
from support.control_settings import OPENAI_SETTINGS
from support.eval_bench import Bench
from support.pushed_prompts import GREET, push_prompt

Serve = Callable[..., Any]
JUDGE = """\
name: judge-pairwise
model: gpt-5-mini
input:
  question: {type: string}
  answer_a: {type: string}
  answer_b: {type: string}
messages:
  - {role: user, content: "{{ question }} {{ answer_a }} {{ answer_b }}"}
"""
ASKED = tuple(f"Person {number}" for number in range(24))
STARTER = Protect(kind="prompt", name="greet", policy="starter", where="headgate.toml line 31")


class Replay(Bench):
    """Version 1 in production with a day's calls; version 2 is tried."""

    def __init__(self, served: Any) -> None:
        super().__init__(served, ASKED)
        push_prompt(served, JUDGE)
        for name in (*ASKED, *ASKED[:4]):
            self.call("", name, f"Hello {name}.", number=1, purpose="traffic", tags={})
        body = {"alias": "production", "version": 1, "override": True, "reason": "first"}
        assert served.ask("POST", "/api/prompts/greet/aliases", body=body).status_code == 200

    def judged(self, run: str, name: str, other: tuple[str, str], verdict: str, **fields: Any) -> None:
        """One answer of the judge to a pair, in the log."""
        sha256 = prompts.get_version(self.served.registry, "judge-pairwise", 1).sha256
        variables = {"question": json.dumps({"person": name}), "answer_a": other[0], "answer_b": other[1]}
        key = ask_key(Ask(kind="judge", judge="main", variables=variables), sha256)
        variables = fields.pop("variables", variables)
        self.served.record(
            **{
                "answer": json.dumps({"reason": "warmer", "verdict": verdict}),
                "purpose": "judge",
                "prompt_name": "judge-pairwise",
                "prompt_version": 1,
                "prompt_sha256": sha256,
                "prompt_vars": json.dumps(variables),
                "tags": {"cell": key, "run": run},
                "request_body": {"prompt": {"id": "judge-pairwise", "version": "1", "variables": variables}},
                **fields,
            }
        )

    def both(self, run: str, name: str) -> tuple[str, str]:
        return f"Hello dear {name}!", f"Hello {name}."


@pytest.fixture
def replay(serve: Serve) -> Replay:
    return Replay(serve(settings=replace(OPENAI_SETTINGS, protect=(STARTER,))))


def started(replay: Replay) -> Any:
    return replay.post("/api/evals/try", {"prompt": "greet@2", "against": "production", "since": "1d"})


def test_real_calls_become_a_graded_receipt_without_a_test_written(replay: Replay) -> None:
    tried = started(replay)
    assert (tried["rows"], tried["cells"], tried["skipped"]) == (24, 24, {"the same was asked again": 4})
    baseline = replay.served.get(f"/api/evals/runs/{tried['baseline_run']}")
    assert (baseline["kind"], baseline["status"], baseline["system"]) == ("log", "complete", "greet@1")
    run = tried["run"]
    for name in ASKED:
        new, old = replay.both(run, name)
        replay.call(run, name, new)
        replay.judged(run, name, (new, old), "A")
        replay.judged(run, name, (old, new), "B")
    done = replay.finish(run, [])
    assert (done["status"], done["totals"]["asks"]) == ("complete", 48)
    answer = replay.post(
        "/api/evals/gate", {"candidate": run, "baseline": tried["baseline_run"], "alias": "production"}
    )
    assert answer["verdict"]["verdict"] == "pass", answer["verdict"]["rules"]
    assert (answer["receipt"]["grade"], answer["receipt"]["baseline_sha256"]) == ("C", replay.sha256(1))
    assert replay.promote(2).json()["move"]["gate"] == "receipt"


def test_a_judge_that_was_asked_something_else_is_not_heard(replay: Replay) -> None:
    run = started(replay)["run"]
    for name in ASKED:
        new, old = replay.both(run, name)
        replay.call(run, name, new)
        replay.judged(run, name, (new, old), "A", variables={"question": "1", "answer_a": "good", "answer_b": "bad"})
        replay.judged(run, name, (old, new), "B", finish_reason="length")
    done = replay.finish(run, [])
    reasons = {one["reason"].partition("evidence: ")[2] for one in done["missing"]}
    assert reasons == {"its variables are not those of the case", "its answer ended early (length)"}
    answer = replay.served.ask("GET", f"/api/evals/runs/{run}/results")
    better = [one for one in map(json.loads, answer.text.splitlines()) if one["scorer"] == "better"]
    assert {(one["status"], one["value"]) for one in better} == {("unscored", None)}


def test_after_a_promotion_the_calls_of_the_version_before_are_named_and_can_be_looked_at(replay: Replay) -> None:
    body = {"alias": "production", "version": 2, "override": True, "reason": "now"}
    assert replay.served.ask("POST", "/api/prompts/greet/aliases", body=body).status_code == 200
    push_prompt(replay.served, GREET.format(name="greet", system="Be warm."))
    wanted = {"prompt": "greet@3", "against": "production", "since": "1d"}
    error = replay.served.ask("POST", "/api/evals/try", body=wanted).json()["error"]
    assert error["code"] == "nothing_to_replay" and "no calls of greet@2" in error["message"]
    assert "production meant greet@1, which answered 28 calls" in error["hint"] and "--against 1" in error["hint"]
    tried = replay.post("/api/evals/try", {**wanted, "against": "1"})
    assert tried["rows"] == 24


def test_nothing_to_replay_is_said(replay: Replay) -> None:
    answer = replay.served.ask("POST", "/api/evals/try", body={"prompt": "greet@1", "against": "2"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "nothing_to_replay")
