"""Agreement against PandaLM's published figures, scikit-learn, statsmodels and the krippendorff package."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from headgate.stats.agreement import (
    bootstrap_interval,
    cohen_kappa,
    confusion,
    fleiss_kappa,
    krippendorff_alpha,
    macro_scores,
)
from support import pandalm
from support.later import Later

inter_rater = Later("statsmodels.stats.inter_rater")
krippendorff = Later("krippendorff")
metrics = Later("sklearn.metrics")

NO = np.nan
# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability": 4 observers, 12 units.
FOUR_BY_TWELVE = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NO, NO, NO],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NO, 3],
    [NO, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NO],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NO],
])  # fmt: skip


def judge(name: str) -> list[str]:
    """A judge's labels; what is no label counts as a tie, as in the published figures."""
    return [label if label in ("0", "1", "2") else "0" for label in pandalm.column(name)]


def test_annotators_of_pandalm_agree_as_published() -> None:
    wanted = {"annotator1-annotator2": (0.852023, 0.912913), "annotator1-annotator3": (0.878944, 0.928929),
              "annotator2-annotator3": (0.861662, 0.917918)}  # fmt: skip
    for one, other in combinations(pandalm.HUMANS, 2):
        found = cohen_kappa(confusion(pandalm.column(one), pandalm.column(other))[1])
        assert (found.kappa, found.agreement) == pytest.approx(wanted[f"{one}-{other}"], abs=1e-6)


def test_the_people_of_pandalm_together_agree_as_published() -> None:
    table = np.array([[float(label) for label in pandalm.column(name)] for name in pandalm.HUMANS])
    counts = np.stack([(table == value).sum(axis=0) for value in (0, 1, 2)], axis=1).astype(float)
    assert fleiss_kappa(counts) == pytest.approx(0.864175, abs=1e-6)
    assert krippendorff_alpha(table) == pytest.approx(0.864221, abs=1e-6)
    for name, alpha in (("judge_gpt35", 0.675385), ("judge_pandalm7b", 0.644156)):
        more = np.vstack([table, [float(label) for label in judge(name)]])
        assert krippendorff_alpha(more) == pytest.approx(alpha, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "accuracy", "precision", "recall", "f1", "kappa"),
    [
        ("judge_gpt35", 0.710711, 0.5879, 0.5736, 0.5755, 0.495784),
        ("judge_pandalm7b", 0.667668, 0.5738, 0.5750, 0.5743, 0.435355),
    ],
)
def test_judges_of_pandalm_have_the_published_figures(
    name: str, accuracy: float, precision: float, recall: float, f1: float, kappa: float
) -> None:
    table = confusion(list(pandalm.majority()), judge(name))[1]
    found = macro_scores(table)
    assert found.accuracy == pytest.approx(accuracy, abs=1e-6)
    assert (found.precision, found.recall, found.f1) == pytest.approx((precision, recall, f1), abs=5e-5)
    agreement = cohen_kappa(table)
    assert agreement.kappa == pytest.approx(kappa, abs=1e-6)
    theirs = metrics.precision_recall_fscore_support(pandalm.majority(), judge(name), average="macro")
    assert (found.precision, found.recall, found.f1) == pytest.approx(theirs[:3], abs=1e-9)


def test_the_interval_of_kappa_is_that_of_statsmodels_and_of_the_bootstrap() -> None:
    truth, said = np.array(pandalm.majority()), np.array(judge("judge_gpt35"))
    table = confusion(list(truth), list(said))[1]
    found = cohen_kappa(table)
    assert found.se == pytest.approx(float(inter_rater.cohens_kappa(table).std_kappa), rel=1e-9)

    def kappa_of(indices: Any) -> float | None:
        return cohen_kappa(confusion(list(truth[indices]), list(said[indices]))[1]).kappa

    low, high = bootstrap_interval(kappa_of, len(truth), rounds=400, seed=2) or (0.0, 0.0)
    assert (low, high) == pytest.approx((0.446, 0.538), abs=0.012)
    assert found.interval() == pytest.approx((low, high), abs=0.012)


def test_the_textbook_table_has_kappa_four_tenths() -> None:
    assert cohen_kappa(np.array([[20.0, 5], [10, 15]])).kappa == pytest.approx(0.4, abs=1e-12)


@given(pairs=some.lists(some.tuples(some.sampled_from("abc"), some.sampled_from("abc")), min_size=1, max_size=60))
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    found = cohen_kappa(confusion(one, other)[1])
    if len({*one, *other}) == 1:
        assert found.kappa is None and found.interval() is None
        return
    assert found.kappa == pytest.approx(metrics.cohen_kappa_score(one, other), abs=1e-9)
    low, high = found.interval() or (-1, 1)
    assert low - 1e-9 <= (found.kappa or 0) <= high + 1e-9


@given(table=some.lists(some.lists(some.integers(0, 3), min_size=3, max_size=3), min_size=2, max_size=30))
def test_fleiss_kappa_is_that_of_statsmodels(table: list[list[int]]) -> None:
    counts, _ = inter_rater.aggregate_raters(np.array(table))
    found = fleiss_kappa(counts.astype(float))
    if counts.shape[1] == 1:
        assert found is None
    else:
        assert found == pytest.approx(inter_rater.fleiss_kappa(counts), abs=1e-9)


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.743421), ("ordinal", 0.815388), ("interval", 0.849107), ("ratio", 0.797403)]
)
def test_krippendorffs_example_has_his_alphas(level: Any, alpha: float) -> None:
    assert krippendorff_alpha(FOUR_BY_TWELVE, level) == pytest.approx(alpha, abs=1e-6)


@given(
    table=some.lists(
        some.lists(some.sampled_from([NO, 1.0, 2.0, 3.0, 5.0]), min_size=6, max_size=6), min_size=2, max_size=4
    ),
    level=some.sampled_from(["nominal", "ordinal", "interval", "ratio"]),
)
def test_alpha_is_that_of_the_krippendorff_package(table: list[list[float]], level: Any) -> None:
    ratings = np.array(table)
    found = krippendorff_alpha(ratings, level)
    paired = ratings[:, (~np.isnan(ratings)).sum(axis=0) >= 2]
    if len(np.unique(paired[~np.isnan(paired)])) < 2:
        assert found is None
        return
    theirs = krippendorff.alpha(reliability_data=ratings, level_of_measurement=level)
    assert found == pytest.approx(theirs, abs=1e-9)


def test_ratings_of_nobody_agree_on_nothing() -> None:
    assert krippendorff_alpha(np.full((2, 3), NO)) is None
    assert fleiss_kappa(np.zeros((0, 3))) is None
    assert cohen_kappa(np.zeros((2, 2))).kappa is None
