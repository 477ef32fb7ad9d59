"""Means, clusters and repeats against published figures and statsmodels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from headgate.stats.means import clustered_se, estimate_mean, repeat_parts
from support import pandalm
from support.later import Later

oracle = Later("scipy.stats")
models = Later("statsmodels.api")

VALUES = some.lists(some.integers(-(10**9), 10**9).map(lambda units: units / 1000), min_size=2, max_size=40)


def judge_is_right() -> np.ndarray:
    """1 where the gpt-3.5 judge agrees with the majority of people; unreadable answers count as ties, as published."""
    said = [{"Tie": "0", "garbage": "0"}.get(label, label) for label in pandalm.column("judge_gpt35")]
    return np.array([float(a == b) for a, b in zip(said, pandalm.majority(), strict=True)])


def prompts() -> np.ndarray:
    return np.array([int(prompt) for prompt in pandalm.column("prompt")])


@given(values=VALUES)
def test_a_plain_interval_is_scipys(values: list[float]) -> None:
    found = estimate_mean(np.array(values))
    if len(set(values)) == 1:
        assert found.se == 0
        return
    assert found.se == pytest.approx(oracle.sem(values), rel=1e-9, abs=1e-12)
    low, high = oracle.t.interval(0.95, len(values) - 1, np.mean(values), oracle.sem(values))
    assert found.interval(0.95) == pytest.approx((low, high), rel=1e-8, abs=1e-8)


def test_twenty_scores_in_four_clusters_give_the_figure_of_inspect_ai() -> None:
    assert clustered_se(np.arange(20.0), np.arange(20) % 4) == pytest.approx(0.645, abs=5e-4)


def test_pandalm_judge_accuracy_has_the_published_naive_and_clustered_errors() -> None:
    right = judge_is_right()
    assert right.mean() == pytest.approx(0.710711, abs=1e-6)
    assert estimate_mean(right).se == pytest.approx(0.014353, abs=1e-6)
    assert estimate_mean(right, prompts()).se == pytest.approx(0.0216986, abs=1e-7)
    first = np.array([{"1": 1.0, "0": 0.5, "2": 0.0}[label] for label in pandalm.majority()])
    assert estimate_mean(first, prompts()).se == pytest.approx(0.019514, abs=1e-6)
    assert estimate_mean(first).se == pytest.approx(0.014951, abs=1e-6)


def test_the_clustered_error_is_that_of_statsmodels() -> None:
    right, groups = judge_is_right(), prompts()
    model = models.OLS(right, np.ones(len(right))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    n, clusters = len(right), 170
    # statsmodels' factor is C/(C-1) · (n-1)/(n-k); with one regressor the second part is 1.
    assert estimate_mean(right, groups).se == pytest.approx(model.bse[0] * math.sqrt((n - 1) / (n - 1)), rel=1e-9)
    assert estimate_mean(right, groups).df == clusters - 1


@given(values=VALUES)
def test_clusters_of_one_are_no_clusters(values: list[float]) -> None:
    plain, alone = estimate_mean(np.array(values)), estimate_mean(np.array(values), np.arange(len(values)))
    assert alone.se == pytest.approx(plain.se, rel=1e-6, abs=1e-6)
    assert alone.df == plain.df


def test_one_cluster_has_no_error_that_anybody_could_know() -> None:
    found = estimate_mean(np.array([1.0, 0.0, 1.0]), np.zeros(3, dtype=np.int64))
    assert (found.se, found.df, found.interval(), found.bounds(0.05), found.p_below(0.0)) == (None,) * 5


def test_one_item_has_no_error() -> None:
    found = estimate_mean(np.array([0.4]))
    assert (found.mean, found.se, found.interval(), found.p_two_sided()) == (0.4, None, None, None)


def test_equal_scores_have_no_spread_even_where_their_mean_is_rounded() -> None:
    found = estimate_mean(np.full(7, 0.1))
    assert found.se == 0
    assert found.interval() == (found.mean, found.mean)
    assert (found.p_below(0.5), found.p_two_sided(0.5)) == (0.0, 0.0)


def test_the_p_values_are_scipys() -> None:
    values = np.array([0.1, -0.2, 0.4, 0.3, 0.0, 0.25])
    found = estimate_mean(values)
    assert found.p_two_sided() == pytest.approx(oracle.ttest_1samp(values, 0).pvalue, rel=1e-9)
    assert found.p_below(0.2) == pytest.approx(oracle.ttest_1samp(values, 0.2, alternative="less").pvalue, rel=1e-9)


def test_the_variance_of_repeats_is_split_between_items_and_within() -> None:
    chance = np.random.default_rng(3)
    items = chance.normal(0, 2, 4000)
    parts = repeat_parts([item + chance.normal(0, 1, 4) for item in items])
    assert parts is not None
    assert (parts.within, parts.between) == pytest.approx((1, 4), rel=0.08)
    assert parts.most_gain == pytest.approx(1 - math.sqrt(4 / 4.25), abs=0.01)
    groups = [np.array([0.0, 1.0]), np.array([1.0, 1.0]), np.array([0.0, 0.0])]
    exact = repeat_parts(groups)
    assert exact is not None
    means = np.array([0.5, 1.0, 0.0])
    assert exact.between + exact.within / 2 == pytest.approx(means.var(ddof=1), rel=1e-12)


def test_single_answers_say_nothing_about_repeats() -> None:
    assert repeat_parts([np.array([1.0]), np.array([0.0])]) is None
