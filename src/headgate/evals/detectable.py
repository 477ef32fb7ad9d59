"""What a number of cases can show, and how many more a decision needs: one answer for plans, rules and power."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import msgspec
import numpy as np

from headgate.evals.policy import MetricRule
from headgate.stats.bounds import Differences, skewness
from headgate.stats.means import estimate_mean
from headgate.stats.power import bound_power, needed_for_bound, needed_pairs, pairs_power

DEFAULT_DISCORDANT = 0.2
"""Without an earlier run: one case in five ends differently, by the whole range of the score."""
_WIDEST = 1000.0


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How the differences of two sides vary, for one independent unit (a case, a cluster); ``discordant`` is the share
    of pairs that end differently where every score is pass or fail and no cases depend on each other.
    """

    sd: float
    skew: float
    discordant: float | None = None
    cases_per_unit: float = 1.0


class Detectable(msgspec.Struct, frozen=True, kw_only=True):
    """What a paired rule can show about one scorer with the planned cases."""

    metric: str
    kind: str
    margin: float
    smallest: float | None  # the least difference found with the wanted power; None: none, however large
    power_at_margin: float | None  # were nothing changed; None where the rule has no margin
    needed_items: int | None  # cases in all for the wanted power at the margin
    assumed: str


def spread_of(found: Differences) -> Spread | None:
    """The spread that was seen; None for a single unit."""
    values, units = found.values, found.units
    estimate = estimate_mean(values, found.clusters)
    if estimate.se is None:
        return None
    residuals = values - estimate.mean
    sums = residuals if found.clusters is None else np.bincount(found.clusters, weights=residuals)
    share = float(np.mean(values != 0)) if found.is_binary and found.clusters is None else None
    return Spread(
        sd=estimate.se * units**0.5,
        skew=skewness(np.asarray(sums, dtype=np.float64)),
        discordant=share,
        cases_per_unit=len(values) / units,
    )


def default_spread(span: float = 1.0) -> Spread:
    """What is assumed of a suite that never ran."""
    return Spread(sd=span * DEFAULT_DISCORDANT**0.5, skew=0.0, discordant=DEFAULT_DISCORDANT if span == 1 else None)


def power_at(margin: float, spread: Spread, units: int, alpha: float) -> float:
    """The chance that a loss of ``margin`` is ruled out, were nothing changed."""
    if spread.discordant is not None and margin < 1:
        return pairs_power(margin, spread.discordant, units, alpha)
    return bound_power(margin, spread.sd, units, alpha, spread.skew)


def needed_cases(
    distance: float, spread: Spread, *, alpha: float, power: float, towards: Literal["pass", "fail"] = "pass"
) -> int | None:
    """Cases in all, so that a bound ``distance`` away is cleared with that power; None: no number would do."""
    if spread.discordant is not None and towards == "pass" and 0 < distance < 1:
        return needed_pairs(distance, spread.discordant, alpha=alpha, power=power)
    skew = spread.skew if towards == "pass" else -spread.skew
    units = needed_for_bound(distance, spread.sd, alpha=alpha, power=power, skew=skew)
    return None if units is None else ceil(units * spread.cases_per_unit)


def smallest_difference(spread: Spread, units: int, *, alpha: float, power: float) -> float | None:
    """The least margin whose loss is ruled out with that power, to a thousandth of itself; None: none is."""
    low, high = 0.0, 1e-3
    while power_at(high, spread, units, alpha) < power:
        low, high = high, high * 2
        if high > _WIDEST or (spread.discordant is not None and high >= 1):
            return None
    while high - low > high / 1000:
        middle = (low + high) / 2
        if power_at(middle, spread, units, alpha) < power:
            low = middle
        else:
            high = middle
    return high


def detectable(
    rules: Sequence[tuple[MetricRule, str, Spread, str]], units: int, *, alpha: float, power: float
) -> tuple[Detectable, ...]:
    """One answer for each rule with a scorer, its spread, and what was assumed of it."""
    return tuple(_one(rule, metric, spread, said, units, alpha, power) for rule, metric, spread, said in rules)


def _one(
    rule: MetricRule, metric: str, spread: Spread, assumed: str, units: int, alpha: float, power: float
) -> Detectable:
    has_margin = rule.margin > 0
    return Detectable(
        metric=metric,
        kind=rule.kind,
        margin=rule.margin,
        smallest=smallest_difference(spread, units, alpha=alpha, power=power),
        power_at_margin=power_at(rule.margin, spread, units, alpha) if has_margin else None,
        needed_items=needed_cases(rule.margin, spread, alpha=alpha, power=power) if has_margin else None,
        assumed=assumed,
    )
