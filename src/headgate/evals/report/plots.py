"""Where marks stand in a plot, in per cent of its width and height, so that no size has to be known."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from headgate.evals.report.figures import figure, signed
from headgate.evals.report.model import Number, Point, Unit

_EDGE = 3.0  # per cent that stay free on either side
_STEPS = 5
_FEW_STEPS = 3  # side by side, words must fit a telephone's width


@dataclass(frozen=True, kw_only=True)
class Whisker:
    """An interval and its middle along one axis; None: not known, or cut off at the edge."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A place on an axis with its words."""

    at: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One point of the scatter with its two intervals."""

    label: str
    side: str
    is_slice: bool
    x: Whisker
    y: Whisker
    words: str


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """Cost to the right, quality upwards."""

    marks: tuple[Mark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    left_out: int


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Values along one line; ``flip`` for upwards."""

    low: float
    high: float
    flip: bool = False

    def at(self, value: float) -> float:
        """The place of a value, kept inside the plot."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        place = _EDGE + (100 - 2 * _EDGE) * share
        return round(100 - place if self.flip else place, 2)

    def whisker(self, number: Number) -> Whisker | None:
        """The place of a figure and its interval; None when it is unknown."""
        if number.value is None:
            return None
        low = number.value if number.low is None else number.low
        high = number.value if number.high is None else number.high
        return Whisker(low=self.at(low), middle=self.at(number.value), high=self.at(high))

    def ticks(self, unit: Unit, *, is_signed: bool = False, steps: int = _STEPS) -> tuple[Tick, ...]:
        """A few round values."""
        show = signed if is_signed else figure
        step = _round_step((self.high - self.low) / steps)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        values = [index * step for index in range(first, last + 1)]
        return tuple(Tick(at=self.at(value), words=show(value, unit)) for value in values)


def difference_axis(numbers: Iterable[Number]) -> Axis:
    """An axis with zero in its middle that holds every interval."""
    ends = [abs(end) for number in numbers for end in (number.value, number.low, number.high) if _is_known(end)]
    most = max(ends, default=0.0) or 1.0
    return Axis(low=-most, high=most)


def value_axis(numbers: Sequence[Number], *, flip: bool = False, least: float | None = None) -> Axis:
    """An axis that holds every interval; nothing below ``least`` where no value is."""
    ends = [end for number in numbers for end in (number.value, number.low, number.high) if _is_known(end)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if low == high:
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    if least is not None and all(number.value is None or number.value >= least for number in numbers):
        low = max(low, least)
    return Axis(low=low, high=high, flip=flip)


def scatter(points: Sequence[Point], unit: Unit) -> Scatter | None:
    """Cost against quality; None when no point has both."""
    known = [point for point in points if _is_known(point.cost_usd.value) and _is_known(point.quality.value)]
    if not known:
        return None
    # Slices are drawn as dots, so that their wide intervals must not squeeze the plot.
    x_axis = value_axis([_drawn(point.cost_usd, point) for point in known], least=0.0)
    y_axis = value_axis([_drawn(point.quality, point) for point in known], flip=True)
    marks = []
    for point in sorted(known, key=lambda one: (one.slice is None, one.side == "candidate")):
        x, y = x_axis.whisker(point.cost_usd), y_axis.whisker(point.quality)
        if x is not None and y is not None:
            words = (
                f"{point.label}: {figure(point.cost_usd.value, 'usd')} per case, {figure(point.quality.value, unit)}"
            )
            marks.append(
                Mark(label=point.label, side=point.side, is_slice=point.slice is not None, x=x, y=y, words=words)
            )
    return Scatter(
        marks=tuple(marks),
        x_ticks=x_axis.ticks("usd", steps=_FEW_STEPS),
        y_ticks=y_axis.ticks(unit),
        left_out=len(points) - len(known),
    )


def _drawn(number: Number, point: Point) -> Number:
    return number if point.slice is None else Number(value=number.value)


def _is_known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _round_step(raw: float) -> float:
    """1, 2 or 5 times a power of ten, not below ``raw``."""
    if raw <= 0 or not math.isfinite(raw):
        return 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next((factor * power for factor in (1.0, 2.0, 5.0) if factor * power >= raw * (1 - 1e-9)), 10.0 * power)
