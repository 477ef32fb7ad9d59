"""The bounds of the gate where the plain t bound is wrong: few pairs that differ, constant, skewed, clustered."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from headgate.stats.bounds import Differences, critical_value, difference_bounds, skewness
from headgate.stats.distributions import t_quantile
from support.later import Later

oracle = Later("scipy.stats")

ALPHA, MARGIN = 0.05, 0.05


def exact_size(n: int, discordant: float, margin: float) -> tuple[float, float]:
    """How often our bound, and the plain t bound, pass a candidate that is worse by exactly the margin; enumerated."""
    worse, better = (discordant + margin) / 2, max((discordant - margin) / 2, 0.0)
    ours = plain = 0.0
    for c in range(n + 1):
        chance_c = oracle.binom.pmf(c, n, worse)
        for b in range(n - c + 1) if better > 0 else range(1):
            chance = chance_c * (oracle.binom.pmf(b, n - c, better / (1 - worse)) if better > 0 else 1.0)
            if chance < 1e-7:
                continue
            values = np.array([1.0] * b + [-1.0] * c + [0.0] * (n - b - c))
            found = difference_bounds(Differences(values=values, is_binary=True), ALPHA)
            assert found is not None
            ours += chance * (found.low > -margin)
            se = values.std(ddof=1) / np.sqrt(n)
            plain += chance * (values.mean() - t_quantile(1 - ALPHA, n - 1) * se > -margin)
    return ours, plain


def test_one_sided_losses_fool_the_plain_t_bound_and_not_ours() -> None:
    ours, plain = exact_size(60, 0.05, MARGIN)
    assert ours <= ALPHA
    assert plain > 0.15


@pytest.mark.parametrize("discordant", [0.08, 0.2])
def test_false_passes_of_pass_rates_stay_below_alpha(discordant: float) -> None:
    assert exact_size(40, discordant, MARGIN)[0] <= ALPHA


def test_nothing_that_varied_in_sixty_cases_just_clears_five_points() -> None:
    """The rule of three: that is why the standard policy asks for sixty cases at a margin of 0.05."""
    sixty = difference_bounds(Differences(values=np.zeros(60), is_binary=True), ALPHA)
    few = difference_bounds(Differences(values=np.zeros(50), is_binary=True), ALPHA)
    assert sixty is not None and few is not None
    assert sixty.low == pytest.approx(-(1 - 0.05 ** (1 / 60)), rel=1e-12)
    assert sixty.low > -0.05 > few.low


def test_identical_outputs_cannot_differ_however_few_they_are() -> None:
    found = difference_bounds(Differences(values=np.zeros(1), is_identical=True), ALPHA)
    assert found is not None
    assert (found.low, found.high, found.method) == (0, 0, "identical outputs")


def test_a_single_item_or_cluster_has_no_bounds() -> None:
    assert difference_bounds(Differences(values=np.array([0.4])), ALPHA) is None
    one = Differences(values=np.array([0.4, 0.1, 0.0]), clusters=np.zeros(3, dtype=np.int64))
    assert difference_bounds(one, ALPHA) is None


def test_a_constant_loss_in_clusters_counts_clusters() -> None:
    found = difference_bounds(Differences(values=np.full(40, -0.25), clusters=np.arange(40) // 4), ALPHA)
    assert found is not None
    assert found.low == pytest.approx(-0.25 - (1 - 0.05 ** (1 / 10)), rel=1e-12)


@given(values=some.lists(some.floats(-1, 1), min_size=2, max_size=50), alpha=some.sampled_from([0.01, 0.05, 0.1]))
def test_bounds_hold_the_mean_and_mirror_when_sides_change(values: list[float], alpha: float) -> None:
    there = difference_bounds(Differences(values=np.array(values)), alpha)
    back = difference_bounds(Differences(values=-np.array(values)), alpha)
    assert there is not None and back is not None
    assert there.low <= np.mean(values) + 1e-12 and there.high >= np.mean(values) - 1e-12
    assert (-back.high, -back.low) == pytest.approx((there.low, there.high), abs=1e-9)


def test_symmetric_differences_have_nearly_the_t_bound() -> None:
    values = np.concatenate([np.linspace(-0.3, 0.3, 61)])
    found = difference_bounds(Differences(values=values), ALPHA)
    assert found is not None
    assert found.low == pytest.approx(-t_quantile(0.95, 60) * values.std(ddof=1) / np.sqrt(61), rel=1e-9)


@pytest.mark.parametrize("kind", ["normal", "sparse", "clustered"])
def test_false_passes_of_scores_stay_near_alpha(kind: str) -> None:
    chance = np.random.default_rng(11)
    rounds, passed = 800, 0
    for _ in range(rounds):
        clusters = None
        if kind == "normal":
            values = chance.normal(-MARGIN, 0.2, 60)
        elif kind == "sparse":  # one in ten loses half a point, nothing is ever gained
            values = np.where(chance.random(60) < 0.1, -0.5, 0.0)
        else:
            values = -MARGIN + chance.normal(0, 0.15, 30).repeat(4) + chance.normal(0, 0.1, 120)
            clusters = np.arange(30).repeat(4)
        found = difference_bounds(Differences(values=values, clusters=clusters), ALPHA)
        passed += found is not None and found.low > -MARGIN
    assert passed / rounds <= ALPHA + 0.02  # twice the standard error of 800 rounds, and a little


def test_a_tail_of_losses_costs_more_the_longer_it_is_and_nothing_on_the_other_side() -> None:
    t = t_quantile(0.95, 59)
    values = [float(critical_value(t, lean, 60)) for lean in (-5.0, 0.0, 1e-7, 0.5, 1.0, 2.0, 4.0, 7.0)]
    assert values[0] == values[1] == t
    assert values == sorted(values) and values[-1] > values[1] + 1
    assert values[2] == pytest.approx(t, abs=1e-6)


@given(lean=some.floats(0, 7.5), units=some.integers(3, 3000))
def test_the_correction_is_never_below_the_textbooks(lean: float, units: int) -> None:
    t = t_quantile(0.95, units - 1)
    textbook = t + lean * (1 + 2 * t * t) / (6 * units**0.5)
    assert float(critical_value(t, lean, units)) >= textbook - 1e-12


@given(values=some.lists(some.floats(-1, 1), min_size=3, max_size=60))
def test_skewness_is_that_of_scipy(values: list[float]) -> None:
    given_values = np.array(values)
    spread = given_values - given_values.mean()
    if float(np.std(given_values)) > 1e-6:
        assert skewness(spread) == pytest.approx(float(oracle.skew(given_values)), rel=1e-6, abs=1e-6)


def test_scores_that_fall_far_and_seldom_pass_falsely_no_more_than_they_may() -> None:
    chance = np.random.default_rng(5)
    rounds, ours, plain = 600, 0, 0
    for _ in range(rounds):
        fell = chance.random(60) < 0.3
        values = np.where(fell, -MARGIN / 0.3 + 0.3 - chance.exponential(0.3, 60), 0.0)
        found = difference_bounds(Differences(values=values), ALPHA)
        assert found is not None
        ours += found.low > -MARGIN
        plain += values.mean() - t_quantile(0.95, 59) * values.std(ddof=1) / 60**0.5 > -MARGIN
    assert ours / rounds <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / rounds) ** 0.5
    assert plain / rounds > 0.09
