"""How well a search found what it should: recall, reciprocal rank, discounted gain. Pure functions of ids.

``found`` are ids, best first, each once; ``relevant`` are the ids that should be found. Where nothing is relevant the
answer is None: it is undefined, not 0.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RetrievalScores:
    """Means over questions; ``questions`` counts those that could be scored."""

    questions: int
    recall_at_k: float | None
    mrr: float | None
    ndcg_at_k: float | None
    k: int


def recall_at_k(found: Sequence[str], relevant: Collection[str], k: int) -> float | None:
    """The share of what is relevant among the first ``k``."""
    wanted = set(relevant)
    return len(wanted.intersection(found[:k])) / len(wanted) if wanted else None


def precision_at_k(found: Sequence[str], relevant: Collection[str], k: int) -> float | None:
    """The share of the first ``k`` places that hold something relevant."""
    return sum(one in relevant for one in found[:k]) / k if relevant else None


def reciprocal_rank(found: Sequence[str], relevant: Collection[str]) -> float | None:
    """1 / the rank of the first relevant one; 0 when none was found."""
    if not relevant:
        return None
    return next((1 / rank for rank, one in enumerate(found, 1) if one in relevant), 0.0)


def ndcg_at_k(found: Sequence[str], gains: Mapping[str, float], k: int) -> float | None:
    """Normalised discounted cumulative gain: sum of gain / log2(rank + 1), over that of the best order."""
    ideal = _discounted(sorted((gain for gain in gains.values() if gain > 0), reverse=True)[:k])
    return _discounted(gains.get(one, 0.0) for one in found[:k]) / ideal if ideal else None


def scores(questions: Iterable[tuple[Sequence[str], Collection[str]]], k: int) -> RetrievalScores:
    """The means over pairs of (found, relevant); a question where nothing is relevant is left out."""
    pairs = [(found, relevant) for found, relevant in questions if relevant]
    if not pairs:
        return RetrievalScores(questions=0, recall_at_k=None, mrr=None, ndcg_at_k=None, k=k)
    return RetrievalScores(
        questions=len(pairs),
        recall_at_k=_mean(recall_at_k(found, relevant, k) for found, relevant in pairs),
        mrr=_mean(reciprocal_rank(found, relevant) for found, relevant in pairs),
        ndcg_at_k=_mean(ndcg_at_k(found, dict.fromkeys(relevant, 1.0), k) for found, relevant in pairs),
        k=k,
    )


def _discounted(gains: Iterable[float]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known)
