"""A suite held against the one before: whatever is gone or other is said, whatever was added is not held against it."""

import json
from typing import Any

import pytest

from headgate.evals.dataset import Dataset, read_dataset
from headgate.evals.suite import load_suite
from headgate.evals.yardstick import Measure, held_against

TEXT = """\
suite: greetings
target: greet
dataset: people
run: {repeat: 2, cluster_by: tags.talk, slices: [tags.lang]}
scorers:
  - {id: named, type: regex, pattern: "Hello", must_pass: true}
  - {id: kind, type: judge.rubric, judge: main, rubric: it is kind}
judges:
  main: judge-rubric@production
"""
ROWS = [{"id": name, "input": {"person": name}, "expected": "Hello"} for name in ("Ada", "Bo", "Cy")]
JUDGES = {"main": {"ref": "judge-rubric@1", "sha256": "1" * 64, "model": "m"}}


def dataset(rows: list[dict[str, Any]]) -> Dataset:
    return read_dataset((json.dumps(row).encode() for row in rows), "people.jsonl")


def measure(text: str = TEXT, rows: list[dict[str, Any]] = ROWS, judges: dict[str, Any] = JUDGES) -> Measure:
    return Measure(suite=load_suite(text, "greetings.yaml"), rows=dataset(rows), judges=judges)


def test_the_same_suite_and_cases_are_as_strong_whatever_their_order() -> None:
    found = held_against("rcpt_1", measure(), measure(rows=ROWS[::-1]))
    assert (found.since, found.weaker, found.stronger) == ("rcpt_1", (), ())


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("repeat: 2", "repeat: 1", "each case is asked 1 and not 2 times"),
        ("cluster_by: tags.talk, ", "", "cases are clustered by nothing and not by tags.talk"),
        (", slices: [tags.lang]", "", "the slice tags.lang is gone"),
        ("rubric: it is kind", "rubric: it is text", "the scorer kind is not what it was"),
        ("rubric: it is kind", "rubric: it is kind, role: info", "the scorer kind is not what it was"),
        ("target: greet\n", "target: {prompt: greet, kb: easy}\n", "it reads from easy, not its own"),
    ],
)
def test_what_a_suite_lost_is_said(before: str, after: str, said: str) -> None:
    assert before in TEXT
    assert held_against("rcpt_1", measure(), measure(TEXT.replace(before, after))).weaker == (said,)


def test_a_judge_that_became_another_is_said() -> None:
    other = {"main": {"ref": "judge-rubric@2", "sha256": "2" * 64, "model": "m"}}
    found = held_against("rcpt_1", measure(), measure(judges=other))
    assert found.weaker == ("the judge main is judge-rubric@2 and was judge-rubric@1",)


def test_cases_that_are_gone_or_other_are_named_and_new_ones_are_no_fault() -> None:
    changed = {**ROWS[1], "expected": "anything"}
    noted = {**ROWS[2], "notes": "seen in May", "source": {"request_id": "r1"}}
    found = held_against("rcpt_1", measure(), measure(rows=[changed, noted, {"id": "Di", "input": {"person": "Di"}}]))
    assert found.weaker == ("1 case is gone (Ada)", "1 case is not what it was (Bo)")
    assert found.stronger == ("1 case is new",)


def test_more_scorers_and_more_repeats_are_no_fault() -> None:
    more = TEXT.replace("repeat: 2", "repeat: 3").replace("judges:", "  - {id: short, type: length, max: 9}\njudges:")
    found = held_against("rcpt_1", measure(), measure(more))
    assert found.weaker == ()
    assert found.stronger == ("the scorer short is new", "each case is asked 3 and not 2 times")
