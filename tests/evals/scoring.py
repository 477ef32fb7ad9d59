"""Scores outside of a run: a scorer of a suite's entry on one case."""

from collections.abc import Sequence
from typing import Any

from headgate.evals.dataset import Row
from headgate.evals.output import Output
from headgate.evals.scorer import Score, Scorer, ScorerSpec, scorer_of

ENOUGH: dict[str, dict[str, Any]] = {
    "choice": {"choices": ["yes", "no"]},
    "regex": {"pattern": "a+"},
    "json_schema": {"schema": {"type": "object"}},
    "json_path": {"path": "/total"},
    "judge.rubric": {"rubric": "It is right."},
    "similarity": {"model": "demo-embed"},
    "judge.answer_relevance": {"model": "demo-embed"},
    "python": {"code": "def score(row, output):\n    return 1\n"},
}
"""The least parameters of the types that need any."""


def scorer(kind: str, **params: Any) -> Scorer:
    given = params or ENOUGH.get(kind, {})
    judge = "main" if kind.startswith("judge.") else None
    return scorer_of(ScorerSpec(id="s", type=kind, judge=judge, params=given))


def score(
    kind: str,
    text: str = "",
    expected: Any = None,
    *,
    answers: Sequence[Output | None] = (),
    baseline: Output | None = None,
    output: Output | None = None,
    context: tuple[str, ...] = (),
    **params: Any,
) -> Score:
    row = Row(id="r", input={"question": "What?"}, expected=expected, context=context)
    given = output if output is not None else Output(text=text)
    return scorer(kind, **params).score(row, given, baseline, answers)
