"""Formulas against printed reference numbers and, where inputs are free, against scipy and statsmodels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.stats.distributions import beta_quantile, t_quantile, t_upper
from headgate.stats.means import clustered_se, estimate_mean
from headgate.stats.multiplicity import benjamini_hochberg, bonferroni, holm
from headgate.stats.paired import mcnemar_exact, tango_interval, tango_z
from headgate.stats.power import needed_n
from headgate.stats.proportions import clopper_pearson, exact_lower, wilson
from support.later import Later

proportion = Later("statsmodels.stats.proportion")
scipy_stats = Later("scipy.stats")

BH_1995 = (
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
    *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.000),
)


@pytest.mark.parametrize(
    ("passed", "n", "low", "high"),
    [(230, 350, 0.605950, 0.704924), (0, 50, 0.0, 0.071348), (48, 50, 0.865399, 0.988961)],
)
def test_wilson_gives_the_printed_intervals(passed: int, n: int, low: float, high: float) -> None:
    assert wilson(passed, n) == pytest.approx((low, high), abs=5e-7)


def test_the_exact_lower_bound_of_fifty_of_fifty_is_the_printed_one() -> None:
    assert clopper_pearson(50, 50)[0] == pytest.approx(0.928878, abs=5e-7)
    assert exact_lower(50, 50, 0.025) == pytest.approx(clopper_pearson(50, 50)[0], rel=1e-12)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_of_rates_equal_those_of_statsmodels(case: tuple[int, int]) -> None:
    passed, n = case
    assert wilson(passed, n) == pytest.approx(proportion.proportion_confint(passed, n, method="wilson"), abs=1e-9)
    assert clopper_pearson(passed, n) == pytest.approx(
        proportion.proportion_confint(passed, n, method="beta"), abs=1e-9
    )


@given(st.floats(0.001, 0.999), st.integers(1, 2000))
def test_quantiles_of_students_t_equal_those_of_scipy(p: float, df: int) -> None:
    assert t_quantile(p, df) == pytest.approx(scipy_stats.t.ppf(p, df), rel=1e-9, abs=1e-9)


@given(st.floats(-30, 30), st.integers(1, 2000))
def test_tails_of_students_t_equal_those_of_scipy(t: float, df: int) -> None:
    assert t_upper(t, df) == pytest.approx(scipy_stats.t.sf(t, df), rel=1e-9, abs=1e-12)


@given(st.floats(0.001, 0.999), st.integers(1, 300), st.integers(1, 300))
def test_quantiles_of_beta_equal_those_of_scipy(p: float, a: int, b: int) -> None:
    assert beta_quantile(p, a, b) == pytest.approx(scipy_stats.beta.ppf(p, a, b), abs=1e-9)


def test_the_clustered_error_of_twenty_scores_in_four_clusters_is_the_printed_one() -> None:
    values, clusters = np.arange(20.0), np.arange(20) % 4
    assert clustered_se(values, clusters) == pytest.approx(0.645, abs=5e-4)


def test_the_error_of_one_cluster_is_undefined_not_zero() -> None:
    found = estimate_mean(np.arange(5.0), np.zeros(5, dtype=np.int64))
    assert (found.se, found.interval()) == (None, None)


def test_the_thousand_question_rule_is_reproduced() -> None:
    assert needed_n(0.03, 1 / 9) == pytest.approx(968.998, abs=1e-3)


def test_tangos_example_is_reproduced() -> None:
    assert tango_interval(0, 1, 44) == pytest.approx((-0.118077, 0.059393), abs=5e-7)
    assert float(tango_z(0, 1, 44, -0.10)) == pytest.approx(1.708564, abs=5e-7)


@pytest.mark.parametrize(
    ("b", "c", "n", "p", "low", "high"),
    [(83, 61, 350, 0.07976, -0.00437, 0.12968), (117, 84, 1319, 0.0237612, 0.003985, 0.046305)],
)
def test_published_pairs_are_reproduced(b: int, c: int, n: int, p: float, low: float, high: float) -> None:
    assert mcnemar_exact(b, c) == pytest.approx(p, abs=5e-6)
    assert tango_interval(b, c, n) == pytest.approx((low, high), abs=6e-6)


def test_benjamini_and_hochbergs_example_is_reproduced() -> None:
    counts = [sum(p <= 0.05 for p in adjust(BH_1995)) for adjust in (bonferroni, holm, benjamini_hochberg)]
    assert counts == [3, 3, 4]
    assert benjamini_hochberg(BH_1995)[3] == pytest.approx(0.035625)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=60))
def test_means_and_intervals_equal_those_of_scipy(values: list[float]) -> None:
    given_values = np.array(values)
    found = estimate_mean(given_values)
    assert found.mean == pytest.approx(float(np.mean(given_values)))
    if found.se:
        assert found.se == pytest.approx(float(scipy_stats.sem(given_values)), rel=1e-6)
