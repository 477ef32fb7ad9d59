"""Scorers of a search: what the answer read, as the log has it, against what the row says should be found."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import msgspec

from headgate.evals.dataset import Row
from headgate.evals.output import Output, ReadChunk
from headgate.evals.scorer import BaseScorer, Score, ScorerSpec, params_of, scored, unscored
from headgate.retrieval import metrics

Measure = Callable[[Sequence[str], Mapping[str, float], int], float | None]
"""Labels of what was read (a chunk of nothing relevant has one of its own), gains by label, how many count."""


class RetrievalParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    k: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=100)] | None,
        msgspec.Meta(description="how many of what was read count, best first; all unless told"),
    ] = None


def gains_of(row: Row) -> dict[str, float]:
    """What should be found, with its worth."""
    relevant = row.relevant
    return dict(relevant) if isinstance(relevant, dict) else dict.fromkeys(relevant, 1.0)


def labels_of(chunks: Sequence[ReadChunk], gains: Mapping[str, float]) -> list[str]:
    """For each chunk the label it fits: its id, its `document#heading`, or its document; else one that nothing has."""
    return [next((name for name in _names(chunk) if name in gains), f"\0{place}") for place, chunk in enumerate(chunks)]


def _names(chunk: ReadChunk) -> list[str]:
    if chunk.source is None:
        return [chunk.id]
    last = chunk.heading.rpartition(" › ")[2]
    return [chunk.id, f"{chunk.source}#{chunk.heading}", f"{chunk.source}#{last}", chunk.source]


class _Retrieval(BaseScorer):
    params_type = RetrievalParams
    reads_chunks = True
    measure: Measure

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, RetrievalParams)

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """From 0 to 1; unscored where the row names nothing, or where what was read is not known."""
        gains = gains_of(row)
        if not gains:
            return unscored("the row names nothing relevant")
        if output.kb is None:
            return unscored("the answer read no knowledge base")
        if any(chunk.source is None for chunk in output.chunks):
            return unscored(f"the chunks of {output.kb} cannot be read")
        found = labels_of(output.chunks, gains)
        k = self._params.k or len(found) or 1
        value = type(self).measure(found, gains, k)
        hits = [label for label in dict.fromkeys(found[:k]) if label in gains]
        said = f"of {len(gains)} relevant {len(hits)} among the first {min(k, len(found))} read from {output.kb}"
        return unscored("nothing has any worth") if value is None else scored(value, said, found=hits[:20])


def _once(found: Sequence[str]) -> list[str]:
    """A document that was found by an earlier chunk is no second find; it keeps its place in the order."""
    return [label if label not in found[:place] else f"\0again {place}" for place, label in enumerate(found)]


class Recall(_Retrieval):
    """The share of what is relevant that was read."""

    measure = staticmethod(lambda found, gains, k: metrics.recall_at_k(found, gains, k))


class Precision(_Retrieval):
    """The share of what was read that is relevant."""

    measure = staticmethod(lambda found, gains, k: metrics.precision_at_k(found, gains, k))


class ReciprocalRank(_Retrieval):
    """1 / the place of the first relevant chunk; the mean over cases is the MRR."""

    measure = staticmethod(lambda found, gains, k: metrics.reciprocal_rank(found[:k], gains))


class Ndcg(_Retrieval):
    """How near the order of what was read is to the best one, by the worth of each."""

    measure = staticmethod(lambda found, gains, k: metrics.ndcg_at_k(_once(found), gains, k))
