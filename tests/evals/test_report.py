"""The report's model: what is counted, who won, what identical inputs give, and what stays within its bounds."""

import random
from dataclasses import replace
from decimal import Decimal

import pytest

from headgate.core.errors import MalformedRequest
from headgate.evals.facts import RunFacts, ScorerFacts
from headgate.evals.output import Output
from headgate.evals.report import Side, answer_of, build, json_bytes, plain, read_report
from headgate.evals.report.cases import MOST_CASES_WITH_OUTPUTS, MOST_OUTPUT_CHARS, cut
from headgate.evals.report.figures import figure, interval, signed
from headgate.evals.report.model import Number
from headgate.evals.results import Result
from support.reports import ITEMS, sample, side


def test_cases_are_won_and_lost_by_the_scorers_that_decide() -> None:
    report = sample()
    by_item = {case.item: case for case in report.cases}
    assert (report.wins, report.ties, report.losses, report.mixed, report.uncompared) == (2, 6, 4, 0, 0)
    assert by_item["case-00"].outcome == "loss" and by_item["case-05"].outcome == "win"
    latency = {score.scorer: score for score in by_item["case-01"].scores}["latency"]
    assert latency.outcome == "loss" and by_item["case-01"].outcome == "tie"  # what is only shown decides nothing
    assert [case.item for case in report.cases][:3] == ["case-04", "case-00", "case-03"]
    assert by_item["case-04"].is_new_failure and not by_item["case-00"].is_new_failure


def test_an_unscored_case_is_neither_lost_nor_zero() -> None:
    report = sample()
    score = {one.scorer: one for case in report.cases if case.item == "case-10" for one in case.scores}["faithful"]
    assert score.candidate is not None
    assert (score.candidate.value, score.candidate.status, score.outcome, score.change) == (
        None,
        "unscored",
        None,
        None,
    )
    faithful = next(metric for metric in report.metrics if metric.scorer == "faithful")
    assert faithful.difference is not None and faithful.difference.n == ITEMS - 1
    assert (faithful.unscored, faithful.errors) == (1, 0)


def test_the_columns_of_a_metric_differ_by_its_difference() -> None:
    for metric in sample().metrics:
        assert metric.difference is not None and metric.difference.value is not None
        ours, theirs = metric.candidate.value, 0.0 if metric.baseline is None else metric.baseline.value
        assert ours is not None and theirs is not None
        assert metric.difference.value == pytest.approx(ours - theirs)
        assert metric.difference.method and metric.difference.low is not None


def test_a_judge_of_pairs_is_laid_against_equal() -> None:
    better = next(metric for metric in sample().metrics if metric.scorer == "better")
    assert better.is_difference and better.baseline is None
    assert (better.wins, better.ties, better.losses) == (2, 6, 3)
    assert better.difference is not None and better.difference.value == pytest.approx(-1 / 11)


def test_a_rule_has_the_last_word_on_its_metric() -> None:
    outcomes = {metric.scorer: metric.outcome for metric in sample().metrics}
    assert outcomes == {"schema": "pass", "faithful": "fail", "better": "unclear", "latency": "worse"}
    without = {metric.scorer: metric.outcome for metric in sample(None).metrics}
    assert without["faithful"] == "unclear"


def test_a_run_alone_has_means_with_intervals_and_no_winners() -> None:
    report = build(side("support-answer@8", {"schema": [1.0] * ITEMS, "faithful": [0.5, None]}), suite="s")
    assert report.baseline is None and report.wins == report.losses == 0
    schema = next(metric for metric in report.metrics if metric.scorer == "schema")
    assert (schema.candidate.value, schema.candidate.method) == (1.0, "Wilson")
    assert schema.candidate.low == pytest.approx(0.757, abs=1e-3)  # 12 of 12, Wilson at 95 %
    assert schema.difference is None and schema.outcome == "unknown"


def test_repeats_are_averaged_and_a_failed_repeat_is_a_failed_case() -> None:
    rows = [
        Result(
            run="r", item="a", repeat=repeat, system="s@1", scorer="check", value=value, status="ok", reason=str(value)
        )
        for repeat, value in enumerate([1.0, 0.0, 1.0])
    ]
    facts = RunFacts(run="r", system="s@1", results=rows, scorers={"check": ScorerFacts(id="check", must_pass=True)})
    (case,) = build(Side(facts=facts), suite="s").cases
    word = case.scores[0].candidate
    assert word is not None
    assert word.value == pytest.approx(2 / 3)
    assert (word.repeats, word.is_failed, word.reason) == (3, True, "0.0")


def test_clustered_items_say_how_many_clusters_they_are() -> None:
    rows = [
        Result(run="r", item=f"i{n}", system="s@1", scorer="x", value=n / 10, status="ok", cluster=f"c{n % 3}")
        for n in range(9)
    ]
    report = build(Side(facts=RunFacts(run="r", system="s@1", results=rows, scorers={})), suite="s")
    assert (report.metrics[0].candidate.n, report.metrics[0].candidate.clusters) == (9, 3)


def test_identical_inputs_give_identical_bytes_whatever_their_order() -> None:
    report = sample()
    assert json_bytes(report) == json_bytes(sample())
    one = side("support-answer@8", {"faithful": [0.1, 0.2, 1 / 3]})
    rows = list(one.facts.results)
    random.Random(7).shuffle(rows)
    other = replace(one, facts=replace(one.facts, results=rows), answers=dict(reversed(list(one.answers.items()))))
    assert json_bytes(build(one, suite="s")) == json_bytes(build(other, suite="s"))
    assert b"0.3333333333333333" in json_bytes(build(one, suite="s"))


def test_a_report_is_read_back_as_it_was() -> None:
    report = sample("pass")
    assert read_report(json_bytes(report)) == report
    assert b'"total_cost_usd": "0.0312"' in json_bytes(report)
    with pytest.raises(MalformedRequest, match="eval-report@1"):
        read_report(b'{"schema": "other"}')


def test_many_long_outputs_stay_within_the_report_and_every_case_is_still_there() -> None:
    count = MOST_CASES_WITH_OUTPUTS + 40
    rows = [Result(run="r", item=f"i{n:04}", system="s@1", scorer="x", value=0.5, status="ok") for n in range(count)]
    answers = {row.item: answer_of(Output(text="word " * 20_000)) for row in rows}
    made = build(Side(facts=RunFacts(run="r", system="s@1", results=rows, scorers={}), answers=answers), suite="s")
    shown = [case for case in made.cases if case.candidate is not None and case.candidate.text is not None]
    assert len(made.cases) == count and 0 < len(shown) <= MOST_CASES_WITH_OUTPUTS
    assert (
        sum(len(case.candidate.text.text) for case in shown if case.candidate and case.candidate.text)
        <= MOST_OUTPUT_CHARS
    )
    first = shown[0].candidate
    assert first is not None and first.text is not None and first.text.chars == 100_000 and first.text.left_out > 90_000
    assert any("without their outputs" in note for note in made.notes)


def test_half_a_surrogate_is_replaced_before_any_file_is_written() -> None:
    assert cut("a\ud800b").text == "a?b"


def test_a_partial_run_says_what_is_missing() -> None:
    one = side("s@1", {"faithful": [0.5] * 10})
    made = build(replace(one, status="partial", missing=("case-10", "case-11")), suite="s")
    assert "2 of 12 cases have no result." in made.notes
    assert made.candidate.missing == ("case-10", "case-11")
    assert "This run is partial." in plain(made)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "", "–"), (0.0, "", "0.000"), (-0.1234, "", "−0.123"), (812.4, "ms", "812 ms"),
        (12_345.0, "ms", "12.35 s"),
        (0.000212345, "usd", "$0.000212"), (0.0, "usd", "$0"), (1234.5, "count", "1,234.5"),
    ],
)  # fmt: skip
def test_figures_have_their_units_and_unknown_is_said(value: float | None, unit: str, shown: str) -> None:
    assert figure(value, unit) == shown  # type: ignore[arg-type]


def test_differences_show_their_sign_and_open_ends_are_open() -> None:
    assert (signed(0.031), signed(-0.031), signed(0.0), signed(None)) == ("+0.031", "−0.031", "0.000", "–")
    assert interval(Number(value=1.0, low=None, high=2.0)) == "[−∞, 2.000]"
    assert interval(Number(value=1.0)) == "–"


def test_money_unknown_is_unpriced() -> None:
    report = build(replace(side("s@1", {"faithful": [1.0]}), total_cost_usd=None, judge_cost_usd=Decimal(0)), suite="s")
    assert "spent unpriced, judges $0" in plain(report)
