"""The scorer of numbers: what an answer states as its result, against the expected value, within a tolerance."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

import msgspec

from headgate.evals.dataset import Row
from headgate.evals.output import Output
from headgate.evals.scorer import BaseScorer, Score, ScorerFault, ScorerSpec, params_of, scored, unscored
from headgate.evals.scorers import math_text
from headgate.evals.scorers.aim import Aimed, NotThere, Unreadable, check_aim, expected_text, judged_text
from headgate.evals.scorers.math_text import NoValue, Number, Several
from headgate.prompts.faults import quoted


class NumericParams(Aimed, frozen=True, kw_only=True):
    """How far a number may be off: the larger of the two tolerances counts."""

    abs: Annotated[float, msgspec.Meta(description="how far the number may be off", ge=0)] = 0.0
    rel: Annotated[float, msgspec.Meta(description="how far, as a share of the expected number", ge=0)] = 1e-9


class Numeric(BaseScorer):
    """The result that the answer states is the expected value."""

    params_type = NumericParams
    version = 2

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, NumericParams)
        check_aim(self._params)
        for name in ("abs", "rel"):
            if getattr(self._params, name) == float("inf"):
                raise ScorerFault(f"{name} is a finite number", (name,))

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 when equal within the tolerance (or written alike), else 0; an answer without a number is 0."""
        try:
            expected = expected_text(self._params, row)
            given = judged_text(self._params.extract, output)
        except NotThere as error:
            return unscored(str(error))
        except Unreadable as error:
            return scored(0, str(error))
        final = math_text.final_answer(given)
        if math_text.notation(final) == math_text.notation(expected):
            return scored(1, f"the answer is written as expected: {quoted(expected)}")
        try:
            wanted = math_text.value_of(math_text.final_answer(expected))
        except NoValue as error:
            return unscored(f"the expected value {quoted(expected)} is no number: {error}")
        try:
            found = math_text.answered(given)
        except NoValue as error:
            return scored(0, f"the answer states no number: {error}")
        said = f"expected {_shown(wanted)}, answered {_shown(found)}"
        return scored(math_text.are_near(found, wanted, self._near), said)

    def _near(self, found: Number, wanted: Number) -> bool:
        if isinstance(found, Fraction) and isinstance(wanted, Fraction):
            allowed = max(Fraction(self._params.abs), abs(wanted) * Fraction(self._params.rel))
            return abs(found - wanted) <= allowed
        try:
            one, other = float(found), float(wanted)
        except OverflowError:
            return False
        return abs(one - other) <= max(self._params.abs, abs(other) * self._params.rel)


def _shown(value: Number | Several) -> str:
    if isinstance(value, Several):
        return f"{{{', '.join(map(_shown, value.items))}}}"
    try:
        return f"{float(value):.10g}"
    except OverflowError:
        return "a number beyond 64-bit floats"
