"""Judge cards: figures from logged verdicts against people's labels, bound to judge, model and rubric."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.settings import Protect
from headgate.registry import prompts
from support.control_settings import OPENAI_SETTINGS
from support.eval_bench import Bench
from support.pushed_prompts import push_prompt

Serve = Callable[..., Any]
JUDGE = """\
name: judge-rubric
model: gpt-5-mini
input:
  question: {{type: string}}
  answer: {{type: string}}
  rubric: {{type: string}}
messages:
  - {{role: user, content: "{words} {{{{ question }}}} {{{{ answer }}}} {{{{ rubric }}}}"}}
"""
RUBRIC = "It greets the person by name."
SUITE = f"""\
suite: greetings
target: greet
dataset: people
scorers:
  - {{id: kind, type: judge.rubric, judge: main, rubric: "{RUBRIC}", role: primary}}
judges:
  main: {{prompt: judge-rubric@latest}}
"""
POLICY = """\
schema: headgate/gate@1
name: carded
grade: C
judge: {card: calibrated}
"""
PEOPLE = tuple(f"Person {number}" for number in range(20))


class Calibrated(Bench):
    """Twenty verdicts of the judge, of which people share eighteen."""

    def __init__(self, served: Any) -> None:
        push_prompt(served, JUDGE.format(words="Judge."))
        super().__init__(served, PEOPLE, SUITE)
        self.ids = [self.verdict(name, "pass" if place % 2 else "fail") for place, name in enumerate(PEOPLE)]

    def verdict(self, name: str, verdict: str, run: str = "", **fields: Any) -> str:
        sha256 = prompts.get_version(self.served.registry, "judge-rubric", 1).sha256
        variables = {"question": name, "answer": "Hello", "rubric": RUBRIC, **fields.pop("variables", {})}
        request_id: str = self.served.record(
            **{
                "answer": json.dumps({"reason": "so", "verdict": verdict}),
                "purpose": "judge",
                "prompt_name": "judge-rubric",
                "prompt_version": 1,
                "prompt_sha256": sha256,
                "prompt_vars": json.dumps(variables),
                "request_body": {"prompt": {"id": "judge-rubric", "version": "1", "variables": variables}},
                **fields,
            }
        )
        return request_id

    def card(self, ids: list[str] | None = None, **more: Any) -> Any:
        labels = [
            {"request_id": one, "label": "pass" if place % 2 or place in (0, 2) else "fail"}
            for place, one in enumerate(self.ids if ids is None else ids)
        ]
        body = {"suite_sha256": self.suite, "scorer": "kind", "labels": labels, **more}
        return self.served.ask("POST", "/api/judges/cards", body=body)


@pytest.fixture
def bench(serve: Serve) -> Calibrated:
    rule = Protect(kind="prompt", name="greet", policy="starter", where="headgate.toml line 31")
    return Calibrated(serve(settings=replace(OPENAI_SETTINGS, protect=(rule,))))


def test_a_card_has_the_figures_of_the_logged_verdicts(bench: Calibrated) -> None:
    card = bench.card().json()["card"]
    facts = card["facts"]
    assert (facts["judge"], facts["n"], facts["agreement"], facts["unreadable"]) == ("judge-rubric@1", 20, 0.9, 0)
    # People: 12 pass, 8 fail; the judge 10 and 10; chance agreement is a half.
    assert facts["kappa"] == pytest.approx((0.9 - 0.5) / 0.5)
    assert (facts["tpr"], facts["tnr"]) == (pytest.approx(10 / 12), 1.0)
    assert facts["kappa_interval"][0] < 0.8 < facts["kappa_interval"][1]
    assert bench.served.get("/api/judges/cards?judge=judge-rubric")["cards"] == [card]
    assert bench.served.get("/api/history?object=prompt:judge-rubric")["entries"][0]["action"] == "judge.calibrate"


@pytest.mark.parametrize(
    ("forged", "words"),
    [
        ({"purpose": "eval"}, "no evidence of this judge"),
        ({"prompt_sha256": "0" * 64}, "it called content 00000000"),
        ({"variables": {"rubric": "Anything goes."}}, "it judged by another rubric"),
        ({"capture": "none"}, "its content was not kept"),
    ],
)
def test_a_verdict_that_is_not_the_judges_is_refused(bench: Calibrated, forged: dict[str, Any], words: str) -> None:
    refused = bench.card([*bench.ids[:-1], bench.verdict("x", "pass", **forged)])
    assert refused.status_code == 400 and words in refused.json()["error"]["message"]
    assert bench.served.get("/api/judges/cards")["cards"] == []


def test_one_verdict_counts_once(bench: Calibrated) -> None:
    refused = bench.card([*bench.ids, bench.ids[0]])
    assert refused.status_code == 400 and "is there twice" in refused.json()["error"]["message"]


def gated(bench: Calibrated) -> Any:
    run = bench.start("greet@2")["run"]
    for name in PEOPLE:
        bench.call(run, name, f"Hello {name}")
    bench.finish(run, [])
    answer = bench.post("/api/evals/gate", {"candidate": run, "policy": POLICY})
    return next(rule for rule in answer["verdict"]["rules"] if rule["rule"] == "judge")


def test_a_policy_that_asks_for_a_card_is_satisfied_by_one_that_fits(bench: Calibrated) -> None:
    assert gated(bench)["outcome"] != "pass"
    assert bench.card().status_code == 200
    assert gated(bench)["outcome"] == "pass"


def test_a_changed_judge_is_no_longer_the_one_that_was_calibrated(bench: Calibrated) -> None:
    assert bench.card().status_code == 200
    push_prompt(bench.served, JUDGE.format(words="Judge strictly."))
    rule = gated(bench)
    assert rule["outcome"] != "pass" and "changed" in rule["sentence"]
