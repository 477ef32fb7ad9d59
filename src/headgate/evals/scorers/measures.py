"""Scorers that measure an answer: its length, its end, its time and its price."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from headgate.evals.dataset import Row
from headgate.evals.output import Output
from headgate.evals.scorer import (
    BaseScorer,
    Direction,
    NoParams,
    Score,
    ScorerFault,
    ScorerSpec,
    params_of,
    scored,
    unscored,
)


class LimitParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    max: Annotated[float | None, msgspec.Meta(description="score 1 up to this value, 0 above it")] = None


class LengthParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    unit: Annotated[str, msgspec.Meta(description="characters or words")] = "characters"
    min: Annotated[int | None, msgspec.Meta(description="the fewest that pass")] = None
    max: Annotated[int | None, msgspec.Meta(description="the most that pass")] = None


class FinishParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    allowed: Annotated[tuple[str, ...], msgspec.Meta(description="the finish reasons that pass")] = (
        *("stop", "end_turn", "completed", "tool_calls", "tool_use"),
    )


class _Measure(BaseScorer):
    params_type = LimitParams
    direction: Direction = "lower"
    range = (0.0, None)
    role = "info"
    _unit = ""

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._limit = params_of(spec, LimitParams).max
        if self._limit is not None:
            self.direction = "higher"

    def _value(self, output: Output) -> float | None:
        raise NotThereYet

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """The value; with a limit, whether it is kept."""
        value = self._value(output)
        if value is None:
            return unscored(f"the log does not know the {self.spec.type} of this answer")
        if self._limit is None:
            return scored(value, f"{value:g} {self._unit}")
        return scored(value <= self._limit, f"{value:g} {self._unit}, at most {self._limit:g}")


class NotThereYet(TypeError):
    """A measure without a value: a defect of ours."""


class Latency(_Measure):
    """Milliseconds from the request to the last byte."""

    _unit = "ms"

    def _value(self, output: Output) -> float | None:
        return output.latency_ms


class Cost(_Measure):
    """US dollars, as the log priced the call."""

    _unit = "USD"

    def _value(self, output: Output) -> float | None:
        return None if output.cost_usd is None else float(output.cost_usd)


class Tokens(_Measure):
    """Tokens that the model wrote."""

    _unit = "tokens"

    def _value(self, output: Output) -> float | None:
        return None if output.output_tokens is None else float(output.output_tokens)


class Length(BaseScorer):
    """How long the answer is; with min or max, whether it is within."""

    params_type = LengthParams
    range = (0.0, None)
    role = "info"

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, LengthParams)
        if self._params.unit not in ("characters", "words"):
            raise ScorerFault("unit is characters or words", ("unit",))

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """The length, or 1 when it is within the bounds and 0 when not."""
        params = self._params
        value = len(output.text) if params.unit == "characters" else len(output.text.split())
        if params.min is None and params.max is None:
            return scored(value, f"{value} {params.unit}")
        is_kept = (params.min is None or value >= params.min) and (params.max is None or value <= params.max)
        return scored(is_kept, f"{value} {params.unit}; from {params.min or 0} to {params.max or 'any'} pass")


class FinishReason(BaseScorer):
    """The answer came to its own end."""

    params_type = FinishParams

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 when the reason is among those allowed."""
        allowed = params_of(self.spec, FinishParams).allowed
        if output.finish_reason is None:
            return unscored("the answer gives no finish reason")
        return scored(output.finish_reason in allowed, f"it ended by {output.finish_reason}")


class Answered(BaseScorer):
    """The answer is not empty: it has text or calls a tool."""

    params_type = NoParams

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 when there is anything in it."""
        is_there = bool(output.text.strip()) or bool(output.tool_calls)
        return scored(is_there, "there is an answer" if is_there else "the answer is empty")
