"""Paired differences and discordant pairs against published tables and scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from headgate.stats.means import estimate_mean
from headgate.stats.paired import (
    mcnemar_exact,
    mcnemar_one_sided,
    pairing,
    tango_bounds,
    tango_interval,
    tango_p,
    tango_z,
)
from support.later import Later

oracle = Later("scipy.stats")

# crux-eval/eval-arena data/gsm8k/summary.csv, 1,319 problems: wins, losses, exact p, standard error.
GSM8K = [(117, 84, 0.0237612, 0.0107265), (99, 117, 0.247333, None)]


@pytest.mark.parametrize(("b", "c", "p", "se"), GSM8K)
def test_pairs_of_models_on_gsm8k_have_the_listed_figures(b: int, c: int, p: float, se: float | None) -> None:
    assert mcnemar_exact(b, c) == pytest.approx(p, abs=5e-7)
    if se is not None:
        n = 1319
        values = np.array([1.0] * b + [-1.0] * c + [0.0] * (n - b - c))
        found = estimate_mean(values).se or 0.0
        assert found * math.sqrt((n - 1) / n) == pytest.approx(se, abs=5e-8)
        assert tango_interval(b, c, n) == pytest.approx((0.003985, 0.046305), abs=1e-6)


def test_judges_on_judgebench_differ_by_the_published_interval() -> None:
    low, high = tango_interval(83, 61, 350)
    assert (low * 100, high * 100) == pytest.approx((-0.437, 12.968), abs=1e-3)
    assert mcnemar_exact(83, 61) == pytest.approx(0.07976, abs=1e-5)


def test_tangos_own_example_gives_his_figures() -> None:
    assert tango_interval(0, 1, 44) == pytest.approx((-0.118077, 0.059393), abs=1e-6)
    assert float(tango_z(0, 1, 44, -0.10)) == pytest.approx(1.708564, abs=1e-6)
    assert tango_p(0, 1, 44, -0.10) == pytest.approx(0.0438, abs=5e-5)


@given(b=some.integers(0, 400), c=some.integers(0, 400))
def test_the_exact_p_is_scipys_sign_test(b: int, c: int) -> None:
    if b + c == 0:
        assert mcnemar_exact(b, c) == 1
        return
    assert mcnemar_exact(b, c) == pytest.approx(oracle.binomtest(b, b + c).pvalue, rel=1e-8, abs=1e-200)
    less = oracle.binomtest(b, b + c, alternative="less").pvalue
    assert mcnemar_one_sided(b, c) == pytest.approx(less, rel=1e-8, abs=1e-200)


@given(b=some.integers(0, 60), c=some.integers(0, 60), tied=some.integers(0, 200))
def test_the_score_interval_holds_the_difference_and_mirrors_when_sides_change(b: int, c: int, tied: int) -> None:
    n = b + c + tied
    if n == 0:
        return
    low, high = tango_interval(b, c, n)
    assert -1 <= low <= (b - c) / n + 1e-12 and (b - c) / n - 1e-12 <= high <= 1
    assert tango_interval(c, b, n) == pytest.approx((-high, -low), abs=1e-9)
    careful_low, careful_high = tango_bounds(b, c, n, 0.025)
    assert careful_low <= low + 1e-12 and careful_high >= high - 1e-12


@given(b=some.integers(0, 60), c=some.integers(0, 60), tied=some.integers(1, 100))
def test_the_statistic_falls_as_the_difference_rises(b: int, c: int, tied: int) -> None:
    found = [float(tango_z(b, c, b + c + tied, delta)) for delta in np.linspace(-0.99, 0.99, 41)]
    assert all(later <= earlier + 1e-9 for earlier, later in zip(found, found[1:], strict=False))


def test_pairing_is_worth_what_the_correlation_says() -> None:
    chance = np.random.default_rng(5)
    b = chance.normal(0, 1, 300)
    a = 0.8 * b + chance.normal(0, 0.5, 300)
    found = pairing(a, b)
    one, other = estimate_mean(a).se or 0, estimate_mean(b).se or 0
    assert found.correlation is not None
    paired = math.sqrt(one**2 + other**2 - 2 * found.correlation * one * other)
    assert paired == pytest.approx(estimate_mean(a - b).se, rel=1e-9)
    assert found.se_unpaired == pytest.approx(math.hypot(oracle.sem(a), oracle.sem(b)), rel=1e-9)


def test_the_published_pair_of_alpaca_eval_fits_its_own_correlation() -> None:
    # gpt-3.5 verbose and plain, 805 items: SE of the difference 0.8315 pp, 1.3723 unpaired, ρ 0.641.
    ratio = 1.3723 / 0.8315
    assert ratio**2 == pytest.approx(2.7, abs=0.05)
    assert oracle.t.ppf(0.975, 804) * 0.8315 == pytest.approx((5.2174 - 1.9530) / 2, abs=1e-3)


def test_a_side_that_never_varies_has_no_correlation() -> None:
    found = pairing(np.ones(5), np.array([0.0, 1, 0, 1, 1]))
    assert found.correlation is None
    assert pairing(np.ones(1), np.ones(1)).se_unpaired is None
