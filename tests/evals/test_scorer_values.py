"""Scorers against cases whose right answer is known."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.scoring import score, scorer
from headgate.evals.dataset import Row
from headgate.evals.output import Output, ToolCall
from headgate.evals.scorer import ScorerFault
from headgate.evals.scorers import patterns
from headgate.evals.scorers.distances import common_subsequence, edit_distance

# From inspect_ai (UK AI Security Institute, MIT), tests/scorer/math_cases.json at commit 499e6152e7b8.
MATH = json.loads((Path(__file__).parents[1] / "data/math_cases.json").read_text())
QUEUE = {"field": "/queue", "extract": {"json_pointer": "/queue"}}
NEEDS_ALGEBRA = {("\\boxed{x^2 - x^2}", "0"), ("x<2", "2>x")}
"""Cases out of reach: one needs symbols to cancel, one an inequality turned round."""


@pytest.mark.parametrize("case", MATH, ids=[case["output"][:30] for case in MATH])
def test_mathematical_answers_are_judged_as_published(case: dict[str, str]) -> None:
    found = score("numeric", case["output"], case["target"])
    if (case["output"], case["target"]) in NEEDS_ALGEBRA:
        assert found.value != 1  # known not to be reached, and never right by luck
    else:
        assert (found.value == 1) == (case["expected"] == "C"), found.reason


def test_two_of_the_published_mathematical_cases_are_out_of_reach() -> None:
    assert len(MATH) == 33
    assert len([case for case in MATH if (case["output"], case["target"]) in NEEDS_ALGEBRA]) == 2


@pytest.mark.parametrize(
    ("text", "expected", "value"),
    [
        ("It costs $1,234.50 in all.", 1234.5, 1),
        ("About 1 in 4, so 25%.", "0.25", 1),
        ("1/3", "0.333", 0),
        ("\\frac{2}{4}", "1/2", 1),
        ("1 1/2", "1.5", 1),
        ("-5", "−5", 1),
        ("minus five", "-5", 0),
        ("1e3", "1000", 1),
        ("The answer is 7. I am sure since 9 > 7.", "7", 1),
        ("\\boxed{x^2}", "2", 0),
        ("\\boxed{42 apples}", "42", 1),
        ("first \\boxed{1}, then \\boxed{2}", "2", 1),
        ("10/0", "3", 0),
        ("9" * 5000, "9", 0),
        ("2^2^2^2^2^2^2^2", "1", 0),
        ("99999999!", "1", 0),
        ("(" * 3000, "1", 0),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, expected: Any, value: float) -> None:
    assert score("numeric", text, expected).value == value


def test_a_number_may_be_off_by_the_larger_tolerance() -> None:
    assert score("numeric", "101", 100, rel=0.01).value == 1
    assert score("numeric", "101.1", 100, rel=0.01).value == 0
    assert score("numeric", "103", 100, rel=0.01, abs=3).value == 1
    assert score("numeric", "five", 5).value == 0
    assert score("numeric", "5", "five").status == "unscored"


@pytest.mark.parametrize(
    ("kind", "text", "expected", "params", "value"),
    [
        ("exact", " delivery\n", "delivery", {}, 1),
        ("exact", " delivery", "delivery", {"strip": False}, 0),
        ("exact", "Delivery", "delivery", {}, 0),
        ("exact", "3", 3, {}, 1),
        ("exact", "e\u0301", "é", {}, 1),
        ("exact", '{"queue": "delivery"}', {"queue": "delivery"}, QUEUE, 1),
        ("exact", "So: 4\nANSWER: B", "B", {"extract": {"after": "ANSWER:"}}, 1),
        ("exact", "no marker", "B", {"extract": {"after": "ANSWER:"}}, 0),
        ("exact", "id=1 id=22", "22", {"extract": {"regex": "id=(\\d+)"}}, 1),
        ("iequals", "STRASSE", "straße", {}, 1),
        ("contains", "within three working days", ["three", "days"], {}, 1),
        ("contains", "within three days", ["three", "weeks"], {}, 0),
        ("contains", "Three", "three", {"ignore_case": True}, 1),
        ("contains_any", "within three days", ["weeks", "days"], {}, 1),
        ("not_contains", "I cannot say", ["password"], {}, 1),
        ("not_contains", "the password is x", ["password"], {}, 0),
        ("regex", "order A-10432", None, {"pattern": "[A-Z]-\\d{5}"}, 1),
        ("regex", "order A-10432", None, {"pattern": "[A-Z]-\\d{5}", "whole": True}, 0),
        ("regex", "order A-10432", None, {"pattern": "secret", "negate": True}, 1),
        ("choice", "B", "B", {"choices": ["A", "B"]}, 1),
        ("choice", "The answer is (B).", "B", {"choices": ["A", "B"]}, 1),
        ("choice", "A good question! Answer: B", "B", {"choices": ["A", "B"]}, 1),
        ("choice", "delivery or return", "delivery", {"choices": ["delivery", "return"]}, 0),
        ("choice", "It is **Delivery**.", "delivery", {"choices": ["delivery", "return"]}, 1),
        ("choice", "deliveryman", "delivery", {"choices": ["delivery", "return"]}, 0),
        ("json_match", '{"b": [1, 2.0], "a": true}', {"a": True, "b": [1.0, 2]}, {}, 1),
        ("json_match", '{"a": 1}', {"a": True}, {}, 0),
        ("json_match", "[2, 1]", [1, 2], {}, 0),
        ("json_match", "not json", {"a": 1}, {}, 0),
        ("json_match", '```json\n{"a": 1}\n```', '{"a": 1}', {}, 1),
        ("json_path", '{"total": 1.0}', 1, {"path": "/total"}, 1),
        ("json_path", '{"a": [{"b": "x"}]}', {"b": "x"}, {"path": "/a/0"}, 1),
        ("json_path", '{"a": []}', "x", {"path": "/a/0"}, 0),
        ("json_schema", '{"total": 3}', None, {"schema": {"type": "object", "required": ["total"]}}, 1),
        ("json_schema", '{"sum": 3}', None, {"schema": {"type": "object", "required": ["total"]}}, 0),
        ("json_schema", '{"total": NaN}', None, {"schema": {"type": "object"}}, 0),
        ("json_schema", '```\n{"a": 1}\n```', None, {"schema": {"type": "object"}}, 0),
        ("json_schema", '```\n{"a": 1}\n```', None, {"schema": {"type": "object"}, "allow_fence": True}, 1),
        ("edit_distance", "kitten", "sitting", {}, 1 - 3 / 7),
        ("edit_distance", "same", "same", {}, 1),
        ("edit_distance", "kitten", "sitting", {"pass_at": 0.5}, 1),
        ("rouge_l", "police kill the gunman", "police killed the gunman", {}, 0.75),
        ("rouge_l", "the gunman kill police", "police killed the gunman", {}, 0.5),
        ("refusal", "I'm sorry, I can't help with that.", None, {}, 0),
        ("refusal", "Parcels arrive on Monday.", None, {}, 1),
        ("answered", " \n", None, {}, 0),
        ("length", "three words here", None, {"unit": "words"}, 3),
        ("length", "three words here", None, {"unit": "words", "max": 2}, 0),
    ],
)  # fmt: skip
def test_a_case_gets_the_value_it_deserves(
    kind: str, text: str, expected: Any, params: dict[str, Any], value: float
) -> None:
    assert score(kind, text, expected, **params).value == pytest.approx(value)


@pytest.mark.parametrize(
    "kind", ["exact", "iequals", "contains", "choice", "json_match", "json_path", "numeric", "rouge_l"]
)
def test_a_case_without_an_expectation_is_unscored(kind: str) -> None:
    found = score(kind, "text")
    assert (found.value, found.status) == (None, "unscored")


def test_a_pattern_that_explodes_is_stopped_and_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "TIMEOUT_S", 0.1)
    found = score("regex", "a" * 5000 + "!", pattern="^(a|aa|a?)+$")
    assert (found.value, found.status) == (None, "error") and "took longer" in found.reason
    assert score("exact", "a" * 5000 + "!", "x", extract={"regex": "^(a|aa|a?)+$"}).value == 0


@pytest.mark.parametrize(
    ("kind", "params", "said"),
    [
        ("regex", {"pattern": "("}, "this is no pattern"),
        ("regex", {"pattern": "a" * 2001}, "at most 2,000"),
        ("choice", {"choices": ["A", "a"]}, "two different labels"),
        ("exact", {"extract": {"regex": "a", "after": "b"}}, "one of json_pointer, regex and after"),
        ("exact", {"field": "queue"}, "begins with /"),
        ("json_schema", {"schema": {"typo": "object"}}, "typo"),
        ("numeric", {"abs": -1}, "abs"),
        ("tool_calls", {"match": "some"}, "ordered, unordered, subset or f1"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(kind: str, params: dict[str, Any], said: str) -> None:
    with pytest.raises(ScorerFault, match=said):
        scorer(kind, **params)


def called(*calls: tuple[str, Any]) -> Output:
    return Output(tool_calls=tuple(ToolCall(name=name, arguments_json=json.dumps(given)) for name, given in calls))


FIND = {"name": "find", "arguments": {"id": 1}}
SEND = {"name": "send", "arguments": {"to": "a", "text": "b"}}


@pytest.mark.parametrize(
    ("made", "expected", "params", "value"),
    [
        ([("find", {"id": 1.0})], [FIND], {}, 1),
        ([("find", {"id": True})], [FIND], {}, 0),
        ([("find", {"id": 1}), ("send", {"text": "b", "to": "a"})], [FIND, SEND], {}, 1),
        ([("send", {"to": "a", "text": "b"}), ("find", {"id": 1})], [FIND, SEND], {}, 0),
        ([("send", {"to": "a", "text": "b"}), ("find", {"id": 1})], [FIND, SEND], {"match": "unordered"}, 1),
        ([("find", {"id": 1}), ("more", {})], [FIND], {"match": "unordered"}, 0),
        ([("find", {"id": 1}), ("more", {})], [FIND], {"match": "subset"}, 1),
        ([("find", {"id": 1})], [FIND, FIND], {"match": "subset"}, 0),
        ([("find", {"id": 1, "why": "x"})], [FIND], {"args": "subset"}, 1),
        ([("find", {"id": 2})], [FIND], {"args": "ignore"}, 1),
        ([("find", {"id": 2})], [{"name": "find"}], {}, 1),
        ([("find", {"id": 1}), ("more", {}), ("other", {})], [FIND, SEND], {"match": "f1"}, 2 / 5),
        ([], [], {"match": "f1"}, 1),
        ([], [FIND], {"match": "f1"}, 0),
    ],
)
def test_tool_calls_are_matched_as_asked(
    made: list[tuple[str, Any]], expected: list[Any], params: dict[str, Any], value: float
) -> None:
    found = scorer("tool_calls", **params).score(Row(id="r", input={}, expected=expected), called(*made), None, ())
    assert found.value == pytest.approx(value), found.reason


def test_arguments_that_are_no_json_never_match() -> None:
    output = Output(tool_calls=(ToolCall(name="find", arguments_json='{"id": 1'),))
    assert score("tool_calls", expected=[FIND], output=output).value == 0


def slow_distance(one: str, other: str) -> int:
    before = list(range(len(other) + 1))
    for at, left in enumerate(one, 1):
        row = [at]
        for column, right in enumerate(other, 1):
            row.append(min(before[column] + 1, row[-1] + 1, before[column - 1] + (left != right)))
        before = row
    return before[-1]


def slow_common(one: str, other: str) -> int:
    rows = [[0] * (len(other) + 1)]
    for left in one:
        before, row = rows[-1], [0]
        for column, right in enumerate(other, 1):
            row.append(before[column - 1] + 1 if left == right else max(before[column], row[-1]))
        rows.append(row)
    return rows[-1][-1]


@given(st.text("abc", max_size=90), st.text("abcd", max_size=90))
def test_distances_are_those_of_the_plain_algorithm(one: str, other: str) -> None:
    assert edit_distance(one, other) == slow_distance(one, other)
    assert common_subsequence(one, other) == slow_common(one, other)
