"""Retrieval metrics against figures worked out by hand, and their bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.retrieval.metrics import ndcg_at_k, recall_at_k, reciprocal_rank, scores


def test_figures_by_hand() -> None:
    found = ["a", "b", "c", "d"]
    assert recall_at_k(found, {"b", "d", "x"}, 3) == pytest.approx(1 / 3)
    assert reciprocal_rank(found, {"c"}) == pytest.approx(1 / 3)
    assert reciprocal_rank(found, {"x"}) == 0
    assert ndcg_at_k(found, {"b": 1.0, "d": 1.0}, 4) == pytest.approx(
        (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    )
    assert ndcg_at_k(["b", "a"], {"a": 3.0, "b": 1.0}, 2) == pytest.approx(
        (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
    )


def test_nothing_relevant_is_undefined_and_not_zero() -> None:
    assert recall_at_k(["a"], set(), 1) is None
    assert reciprocal_rank(["a"], set()) is None
    assert ndcg_at_k(["a"], {}, 1) is None
    assert ndcg_at_k(["a"], {"a": 0.0}, 1) is None
    none = scores([(["a"], [])], 5)
    assert (none.questions, none.recall_at_k, none.mrr, none.ndcg_at_k) == (0, None, None, None)


def test_means_leave_out_what_cannot_be_scored() -> None:
    found = scores([(["a"], ["a"]), (["b"], ["a"]), (["b"], [])], 1)
    assert (found.questions, found.recall_at_k, found.mrr, found.ndcg_at_k) == (2, 0.5, 0.5, 0.5)


IDS = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)


@given(found=IDS, relevant=IDS, k=st.integers(1, 9))
def test_all_lie_between_0_and_1_and_the_best_order_has_1(found: list[str], relevant: list[str], k: int) -> None:
    for value in (
        recall_at_k(found, relevant, k),
        reciprocal_rank(found, relevant),
        ndcg_at_k(found, dict.fromkeys(relevant, 1.0), k),
    ):
        assert value is None if not relevant else value is not None and -1e-12 <= value <= 1 + 1e-12
    if relevant:
        assert ndcg_at_k(relevant, dict.fromkeys(relevant, 1.0), k) == pytest.approx(1)
