"""What a number of cases could show is what the gate's own bound then shows, however it is asked."""

import numpy as np
import pytest

from headgate.evals.detectable import (
    Spread,
    default_spread,
    detectable,
    needed_cases,
    power_at,
    smallest_difference,
    spread_of,
)
from headgate.evals.policy import MetricRule
from headgate.stats.bounds import Differences, difference_bounds
from headgate.stats.power import needed_pairs

STANDARD = MetricRule(metric="primary", kind="non_inferior", margin=0.05)


@pytest.mark.parametrize("spread", [default_spread(), Spread(sd=0.2, skew=0.0), Spread(sd=0.2, skew=-2.0)])
def test_the_smallest_difference_is_where_the_power_is_reached_and_needs_these_cases(spread: Spread) -> None:
    smallest = smallest_difference(spread, 200, alpha=0.05, power=0.8)
    assert smallest is not None
    assert power_at(smallest, spread, 200, 0.05) >= 0.8 > power_at(smallest * 0.99, spread, 200, 0.05)
    needed = needed_cases(smallest, spread, alpha=0.05, power=0.8)
    reserve = 1.08 if spread.skew < 0 else 1.0
    assert needed == pytest.approx(200 * reserve, abs=3)


def test_a_plan_says_margin_power_cases_and_what_it_assumed() -> None:
    (found,) = detectable([(STANDARD, "right", default_spread(), "nothing ran")], 60, alpha=0.05, power=0.8)
    assert (found.metric, found.kind, found.margin, found.assumed) == ("right", "non_inferior", 0.05, "nothing ran")
    assert found.needed_items == needed_pairs(0.05, 0.2)
    assert found.power_at_margin is not None and found.power_at_margin < 0.3
    assert found.smallest is not None and found.smallest > 0.1
    loss = MetricRule(metric="primary", kind="no_significant_loss", margin=0.0)
    (other,) = detectable([(loss, "right", default_spread(), "")], 60, alpha=0.05, power=0.8)
    assert (other.power_at_margin, other.needed_items) == (None, None) and other.smallest == found.smallest


def test_a_handful_of_cases_can_show_nothing() -> None:
    assert smallest_difference(default_spread(), 2, alpha=0.05, power=0.8) is None


def test_in_clusters_the_cases_that_are_needed_come_with_their_clusters() -> None:
    chance = np.random.default_rng(3)
    shared = chance.normal(0, 0.2, 30).repeat(4)
    values, clusters = shared + chance.normal(0, 0.02, 120), np.arange(30).repeat(4)
    clustered = spread_of(Differences(values=values, clusters=clusters))
    loose = spread_of(Differences(values=values))
    assert clustered is not None and loose is not None and clustered.cases_per_unit == 4
    with_them = needed_cases(0.05, clustered, alpha=0.05, power=0.8)
    without = needed_cases(0.05, loose, alpha=0.05, power=0.8)
    assert with_them is not None and without is not None and with_them > 3 * without


def test_a_pilots_power_is_what_the_bound_then_does() -> None:
    chance, units, rounds = np.random.default_rng(9), 150, 1000
    spread = Spread(sd=0.2, skew=0.0)
    margin = smallest_difference(spread, units, alpha=0.05, power=0.8)
    assert margin is not None
    passed = 0
    for _ in range(rounds):
        found = difference_bounds(Differences(values=chance.normal(0, 0.2, units)), 0.05)
        passed += found is not None and found.low > -margin
    assert passed / rounds == pytest.approx(0.8, abs=0.04)  # three standard errors


def test_one_unit_has_no_spread() -> None:
    assert spread_of(Differences(values=np.array([0.4]))) is None
