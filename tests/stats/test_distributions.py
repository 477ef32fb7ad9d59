"""Our distributions beside scipy's."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from headgate.stats import distributions as ours
from support.later import Later

oracle = Later("scipy.stats")

CLOSE = 1e-10


@pytest.mark.parametrize("df", [1, 2, 3, 7.5, 30, 170, 1e3, 1e6])
def test_t_quantiles_are_scipys(df: float) -> None:
    for p in (1e-8, 0.001, 0.025, 0.3, 0.95, 0.999):
        assert ours.t_quantile(p, df) == pytest.approx(oracle.t.ppf(p, df), rel=1e-9)
    assert ours.t_quantile(0.5, df) == 0


@given(t=some.floats(-200, 200), df=some.floats(1, 1e5))
def test_t_tails_are_scipys(t: float, df: float) -> None:
    assert ours.t_upper(t, df) == pytest.approx(oracle.t.sf(t, df), rel=1e-9, abs=1e-300)


@given(a=some.floats(0.3, 5000), b=some.floats(0.3, 5000), x=some.floats(0, 1))
def test_the_incomplete_beta_function_is_scipys(a: float, b: float, x: float) -> None:
    assert ours.incomplete_beta(a, b, x) == pytest.approx(oracle.beta.cdf(x, a, b), rel=1e-8, abs=1e-13)


@given(p=some.floats(1e-6, 1 - 1e-6), a=some.integers(1, 3000), b=some.integers(1, 3000))
def test_a_beta_quantile_is_where_the_distribution_reaches_it(p: float, a: int, b: int) -> None:
    assert ours.incomplete_beta(a, b, ours.beta_quantile(p, a, b)) == pytest.approx(p, rel=1e-7)


@pytest.mark.parametrize(("a", "b", "p"), [(1, 50, 0.025), (0.5, 0.5, 0.3), (300, 2, 0.9), (5000, 4000, 0.5)])
def test_beta_quantiles_are_scipys(a: float, b: float, p: float) -> None:
    assert ours.beta_quantile(p, a, b) == pytest.approx(oracle.beta.ppf(p, a, b), rel=CLOSE)


@pytest.mark.parametrize("z", [-8.0, -1.96, 0.0, 0.3, 2.5])
def test_the_normal_distribution_is_scipys(z: float) -> None:
    assert ours.normal_cdf(z) == pytest.approx(oracle.norm.cdf(z), rel=CLOSE)
    assert ours.normal_quantile(oracle.norm.cdf(z)) == pytest.approx(z, abs=1e-9)


@given(n=some.integers(1, 2000), share=some.floats(0, 1), p=some.floats(0.001, 0.999))
def test_binomial_sums_are_scipys(n: int, share: float, p: float) -> None:
    k = int(share * n)
    assert ours.binomial_lower(k, n, p) == pytest.approx(oracle.binom.cdf(k, n, p), rel=1e-8, abs=1e-250)


def test_no_success_at_all_is_impossible_below_zero_and_certain_at_n() -> None:
    assert ours.binomial_lower(-1, 5, 0.5) == 0
    assert ours.binomial_lower(5, 5, 0.5) == 1


@pytest.mark.parametrize(
    ("t", "df", "shift"), [(1.9, 5, 2), (1.67, 59, 2.8), (2.9, 2, 1), (1.64, 500, 3), (0.5, 9, -1)]
)
def test_noncentral_t_tails_are_scipys(t: float, df: float, shift: float) -> None:
    assert ours.noncentral_t_upper(t, df, shift) == pytest.approx(oracle.nct.sf(t, df, shift), abs=1e-9)


def test_tails_beyond_all_numbers_are_nought() -> None:
    assert ours.t_upper(math.inf, 3) == 0
    assert ours.t_upper(-1e200, 3) == 1
