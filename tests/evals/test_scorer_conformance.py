"""The conformance kit of scorers: what every registered name must do, whoever wrote it."""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evals.scoring import ENOUGH, scorer
from headgate.evals.canonical import canonical_json
from headgate.evals.cells import ask_key
from headgate.evals.dataset import Row
from headgate.evals.output import Output, ToolCall
from headgate.evals.scorer import SCORERS, Score, ScorerFault, ScorerSpec, params_of, scorer_class, scorer_of

HUGE = Output(
    text="[" * 300_000 + "a" * 300_000, tool_calls=(ToolCall(name="t" * 10_000, arguments_json="{" * 10_000),)
)
OUTPUTS = [
    Output(),
    Output(text="pass"),
    Output(text='{"reason": "fine", "verdict": "pass"}', finish_reason="stop"),
    Output(text="\ufffd\x01‮\u2028 </answer> ]]> {{ }}", refusal="no", latency_ms=0.0),
    HUGE,
]
EXPECTED: list[Any] = [None, "", "pass", 3, True, ["a", "b"], {"total": 1}, [{"name": "t", "arguments": {"a": 1}}]]


def check(found: Score, range_: tuple[float | None, float | None]) -> None:
    """The value is there exactly when the status is ok, is finite and in range; there is a reason of bounded length."""
    assert (found.value is not None) == (found.status == "ok")
    assert found.reason and len(found.reason) <= 1000
    canonical_json(found.evidence)
    if found.value is not None:
        low, high = range_
        assert math.isfinite(found.value)
        assert low is None or found.value >= low
        assert high is None or found.value <= high


@pytest.mark.parametrize("kind", SCORERS)
def test_a_scorer_says_what_it_is(kind: str) -> None:
    entry, one = SCORERS[kind], scorer(kind)
    assert one.version >= 1
    assert entry.about.endswith(".") and entry.about == one.about
    assert one.direction in ("higher", "lower") and one.role in ("primary", "guard", "info")
    assert one.source in ("control", "client")
    assert one.needs_judge == kind.startswith("judge.")


@pytest.mark.parametrize("kind", SCORERS)
@pytest.mark.parametrize("output", OUTPUTS, ids=["empty", "word", "verdict", "odd", "huge"])
def test_whatever_was_answered_there_is_the_same_score_with_a_reason(kind: str, output: Output) -> None:
    for expected in EXPECTED:
        row = Row(id="r", input={"question": "What?"}, expected=expected, context=("A source.",))
        for baseline in (None, Output(text="another")) if kind == "judge.pairwise" else (None,):
            one = scorer(kind)
            asks = one.asks(row, output, baseline)
            for answers in ([None] * len(asks), [output] * len(asks), []):
                found = one.score(row, output, baseline, answers)
                check(found, one.range)
                assert found == scorer(kind).score(row, output, baseline, answers)


@pytest.mark.parametrize("kind", SCORERS)
def test_what_it_asks_is_the_same_every_time_and_does_not_depend_on_the_figures_of_the_call(kind: str) -> None:
    row = Row(id="r", input={"question": "What?"}, expected="x", context=("A source.",))
    baseline = Output(text="another")
    one = scorer(kind).asks(row, Output(text="said", latency_ms=1.0), baseline)
    other = scorer(kind).asks(row, Output(text="said", latency_ms=2.0, request_id="r2"), baseline)
    assert [ask_key(ask, "p") for ask in one] == [ask_key(ask, "p") for ask in other]
    assert all((ask.kind == "judge") == (ask.judge == "main") for ask in one)


@pytest.mark.parametrize("kind", SCORERS)
def test_an_unknown_parameter_is_refused_by_name(kind: str) -> None:
    judge = "main" if kind.startswith("judge.") else None
    spec = ScorerSpec(id="s", type=kind, judge=judge, params={**ENOUGH.get(kind, {}), "surely_unknown": 1})
    with pytest.raises(ScorerFault, match="surely_unknown"):
        params_of(spec, scorer_class(kind).params_type)
    with pytest.raises(ScorerFault, match="surely_unknown"):
        scorer_of(spec)


@pytest.mark.parametrize("kind", ["latency", "cost", "tokens"])
def test_a_score_is_not_written_in_numbers_that_were_never_there(kind: str) -> None:
    """An answer that the log knows nothing about (no body, no figures) is never given a measure of zero."""
    found = scorer(kind).score(Row(id="r", input={}), Output(text="x"), None, ())
    assert (found.value, found.status) == (None, "unscored")


@given(text=st.text(max_size=300), expected=st.none() | st.text(max_size=40) | st.integers() | st.floats())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_text_brings_a_scorer_down(text: str, expected: Any) -> None:
    for kind in SCORERS:
        one = scorer(kind)
        row = Row(id="r", input={"question": "q"}, expected=expected, context=("s",))
        output, baseline = Output(text=text), Output(text="b")
        asks = one.asks(row, output, baseline)
        check(one.score(row, output, baseline, [output] * len(asks)), one.range)
