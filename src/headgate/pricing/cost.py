"""The arithmetic: one row of prices times the counts of one usage, exact to 1e-12 USD, or a reason why not."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

import msgspec

from headgate.pricing.units import COUNTED, REQUESTS, Unit
from headgate.pricing.usage import Usage

CostSource = Literal["listed", "custom", "unpriced"]

_PICO_USD = Decimal("1e-12")
_COST_LIMIT_USD = Decimal(1_000_000)  # the column is DECIMAL(18,12)
_ZERO = Decimal(0)
_PLAN_LIMIT = 256  # there are few shapes of usage; a server that invents more gets them recomputed


class CostLine(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the arithmetic: ``tokens`` of ``unit`` at ``usd_per_mtok`` (USD per million of the unit)."""

    unit: str
    tokens: int
    usd_per_mtok: Decimal
    usd: Decimal


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a request cost. ``cost_usd`` is None exactly when ``source`` is ``unpriced``; then ``reason`` says why.

    The lines sum exactly to ``cost_usd``. A reason beside a cost says what the cost leaves out.
    """

    cost_usd: Decimal | None
    source: CostSource
    reason: str | None = None
    price_id: str | None = None
    lines: tuple[CostLine, ...] = ()


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """The price of one unit, in USD per million. The highest step the whole input lies above holds for every token."""

    unit: Unit
    usd_per_mtok: Decimal
    steps: tuple[tuple[int, Decimal], ...] = ()  # (input tokens above which, price), ascending

    def at(self, input_tokens: int) -> Decimal:
        """The price when the request has ``input_tokens`` in all."""
        price = self.usd_per_mtok
        for start, stepped in self.steps:
            if input_tokens <= start:
                break
            price = stepped
        return price


class _Step(msgspec.Struct, frozen=True):
    """One multiplication: the count of ``key`` less what was charged as its parts."""

    key: str
    label: str
    rate: Rate
    parts: tuple[int, ...]  # positions of earlier steps


class _Plan(msgspec.Struct, frozen=True):
    """How usages with the same keys are charged; ``problem``: why they cannot be."""

    steps: tuple[_Step, ...] = ()
    problem: str | None = None
    note: str | None = None


def unpriced(reason: str, price_id: str | None = None) -> Cost:
    """No cost, because of ``reason``."""
    return Cost(cost_usd=None, source="unpriced", reason=reason, price_id=price_id)


class PriceRow:
    """The prices that hold for one model at one time, ready to be multiplied."""

    def __init__(
        self,
        *,
        price_id: str,
        source: Literal["listed", "custom"],
        rates: Iterable[Rate],
        is_free: bool = False,
        note: str | None = None,
    ) -> None:
        """``is_free``: listed as free of charge, so no rates are needed. ``note``: what the prices leave out."""
        self.price_id = price_id
        self.source = source
        self.is_free = is_free
        self.note = note
        # Parts come before the wholes they are taken from; read backwards it is input, its parts, output, its parts.
        self._rates = sorted(rates, key=lambda rate: rate.unit.place)
        self._starts = sorted({start for rate in self._rates for start, _ in rate.steps}, reverse=True)
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def charge(self, usage: Usage) -> Cost:
        """The cost of ``usage`` at these prices; never raises."""
        if usage.problem is not None:
            return unpriced(usage.problem)
        counts = usage.counts()
        keys = tuple(counts)
        plan = self._plans.get(keys)
        if plan is None:
            if len(self._plans) >= _PLAN_LIMIT:
                self._plans.clear()
            plan = self._plans[keys] = self._plan(keys)
        if plan.problem is not None:
            return unpriced(plan.problem, self.price_id)
        input_tokens = counts.get("input_tokens", 0)
        counts[REQUESTS] = 1
        lines = _lines(plan, counts, input_tokens)
        if isinstance(lines, str):
            return unpriced(lines, self.price_id)
        total = _ZERO
        for line in lines:
            total += line.usd
        if total >= _COST_LIMIT_USD:
            return unpriced(f"unusable usage: it would cost {total:,.0f} USD", self.price_id)
        if total.as_tuple().exponent < -12:  # type: ignore[operator]  # finite, so a number
            total, lines = _rounded(total, lines)
        return Cost(
            cost_usd=total,
            source=self.source,
            reason=plan.note,
            price_id=self._id_at(input_tokens) if self._starts else self.price_id,
            lines=tuple(lines),
        )

    def _id_at(self, input_tokens: int) -> str:
        start = next((start for start in self._starts if input_tokens > start), None)
        return self.price_id if start is None else f"{self.price_id} >{start}"

    def _plan(self, keys: tuple[str, ...]) -> _Plan:
        if self.is_free:
            return _Plan()
        steps: list[_Step] = []
        for rate in self._rates:
            unit = rate.unit
            if unit.usage_key in keys or unit.usage_key == REQUESTS:
                parts = [i for i, step in enumerate(steps) if unit.dimensions < step.rate.unit.dimensions]
                steps.append(_Step(unit.usage_key, unit.label, rate, tuple(parts)))
            elif (implied_by := _implied_by(unit, keys)) is not None:
                return _Plan(problem=f"unusable usage: it counts {implied_by}, but not {unit.usage_key}")
        priced = {step.key for step in steps}
        for key in ("input_tokens", "output_tokens"):
            if key in keys and key not in priced:
                by = ", ".join(sorted(rate.unit.label for rate in self._rates)) or "nothing"
                name = key.replace("_", " ")
                return _Plan(problem=f"{self.price_id} has no price for {name} (it prices {by})")
        notes = [self.note] if self.note else []
        if "web_searches" in keys and "web_searches" not in priced:
            notes.append("web searches have no listed price and are not in the cost")
        return _Plan(steps=tuple(steps), note="; ".join(notes) or None)


def _lines(plan: _Plan, counts: dict[str, int], input_tokens: int) -> list[CostLine] | str:
    """The multiplications, input and wholes first, or the reason why the counts do not allow them."""
    charged: list[int] = []
    lines: list[CostLine] = []
    for step in plan.steps:
        tokens = whole = counts[step.key]
        for part in step.parts:
            tokens -= charged[part]
        if tokens < 0:
            return f"unusable usage: {whole - tokens} tokens counted as parts of {whole} {step.label} tokens"
        charged.append(tokens)
        if tokens:
            rate = step.rate
            price = rate.at(input_tokens) if rate.steps else rate.usd_per_mtok
            lines.append(CostLine(unit=step.label, tokens=tokens, usd_per_mtok=price, usd=(price * tokens).scaleb(-6)))
    lines.reverse()
    return lines


def _implied_by(unit: Unit, keys: tuple[str, ...]) -> str | None:
    """The counted units that make more than nothing of ``unit`` possible although it was not counted."""
    dimensions = [(key, COUNTED[key].dimensions) for key in keys]
    for key, parts in dimensions:
        if unit.dimensions < parts:
            return key
    for i, (key, left) in enumerate(dimensions):
        for other, right in dimensions[i + 1 :]:
            if not (left <= right or right <= left) and left | right == unit.dimensions:
                return f"{key} and {other}"
    return None


def _rounded(total: Decimal, lines: list[CostLine]) -> tuple[Decimal, list[CostLine]]:
    """``total`` and ``lines`` to 1e-12 USD; the largest line takes what keeps their sum exact."""
    total = total.quantize(_PICO_USD)
    rounded = [line.usd.quantize(_PICO_USD) for line in lines]
    largest = max(range(len(rounded)), key=rounded.__getitem__)
    rounded[largest] += total - sum(rounded, _ZERO)
    return total, [msgspec.structs.replace(line, usd=usd) for line, usd in zip(lines, rounded, strict=True)]
