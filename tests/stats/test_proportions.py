"""Pass rates near the ends, against published figures and statsmodels."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from headgate.stats.proportions import clopper_pearson, effective_n, exact_lower, exact_upper, wilson, wilson_bounds
from support.later import Later

oracle = Later("statsmodels.stats.proportion")


@pytest.mark.parametrize(
    ("passed", "n", "low", "high"),
    [(230, 350, 0.605950, 0.704924), (0, 50, 0, 0.071348), (48, 50, 0.865399, 0.988961)],
)
def test_wilson_intervals_are_the_published_ones(passed: int, n: int, low: float, high: float) -> None:
    assert wilson(passed, n) == pytest.approx((low, high), abs=1e-6)


@given(n=some.integers(1, 3000), share=some.floats(0, 1), level=some.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_intervals_are_those_of_statsmodels(n: int, share: float, level: float) -> None:
    passed = int(share * n)
    theirs = oracle.proportion_confint(passed, n, alpha=1 - level, method="wilson")
    assert wilson(passed, n, level) == pytest.approx(theirs, abs=1e-9)
    exact = oracle.proportion_confint(passed, n, alpha=1 - level, method="beta")
    assert clopper_pearson(passed, n, level) == pytest.approx(exact, abs=1e-9)


def test_fifty_of_fifty_is_not_certainty() -> None:
    assert clopper_pearson(50, 50)[0] == pytest.approx(0.928878, abs=1e-6)
    assert clopper_pearson(50, 50)[1] == 1


def test_no_failure_in_n_leaves_about_three_in_n() -> None:
    assert exact_upper(0, 100, 0.05) == pytest.approx(1 - 0.05 ** (1 / 100), rel=1e-9)
    assert exact_upper(0, 100, 0.05) == pytest.approx(0.03, abs=0.001)
    assert exact_lower(0, 100, 0.05) == 0
    assert exact_upper(7, 7, 0.05) == 1


def test_one_sided_bounds_are_the_two_sided_ones_of_twice_the_error() -> None:
    assert wilson_bounds(37, 60, 0.05) == pytest.approx(wilson(37, 60, 0.9), rel=1e-12)


def test_clustered_passes_are_worth_fewer_cases_and_never_more() -> None:
    assert effective_n(0.5, 0.1, 100, 10) == pytest.approx(25)
    assert effective_n(0.5, 0.001, 100, 10) == 100
    assert effective_n(1.0, 0.0, 100, 10) == 10
    assert effective_n(1.0, None, 100, 1) == 1
