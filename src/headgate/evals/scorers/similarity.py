"""The scorer of meaning: how near the embeddings of answer and expected text are."""

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec

from headgate.evals.dataset import Row
from headgate.evals.output import Output
from headgate.evals.scorer import Ask, BaseScorer, Score, ScorerFault, ScorerSpec, params_of, scored, unscored
from headgate.evals.scorers.aim import Aimed, NotThere, Unreadable, check_aim, expected_text, judged_text

MAX_CHARS = 30_000


class SimilarityParams(Aimed, frozen=True, kw_only=True):
    """Whose embeddings, and from where on they are near enough."""

    model: Annotated[str, msgspec.Meta(description="the embedding model, as the gateway routes it")]
    pass_at: Annotated[
        Annotated[float, msgspec.Meta(ge=-1, le=1)] | None,
        msgspec.Meta(description="score 1 from this cosine on and 0 below it"),
    ] = None


class Similarity(BaseScorer):
    """The cosine between the embeddings of the answer and of the expected text."""

    params_type = SimilarityParams
    range: tuple[float | None, float | None] = (-1.0, 1.0)

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, SimilarityParams)
        check_aim(self._params)
        if not self._params.model.strip():
            raise ScorerFault("model is empty: name an embedding model", ("model",))
        if self._params.pass_at is not None:
            self.range = (0.0, 1.0)

    def asks(self, row: Row, output: Output, baseline: Output | None) -> tuple[Ask, ...]:
        """One call for both texts; none when there is nothing to compare, or when they are the same."""
        try:
            given, wanted = judged_text(self._params.extract, output), expected_text(self._params, row)
        except (NotThere, Unreadable):
            return ()
        if given == wanted or not given.strip() or not wanted.strip():
            return ()
        return (Ask(kind="embedding", model=self._params.model, input=(given[:MAX_CHARS], wanted[:MAX_CHARS])),)

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """The cosine from -1 to 1; with pass_at 1 or 0. An empty answer is 0; without embeddings it is unscored."""
        try:
            given, wanted = judged_text(self._params.extract, output), expected_text(self._params, row)
        except NotThere as error:
            return unscored(str(error))
        except Unreadable as error:
            return scored(0, str(error))
        if not wanted.strip():
            return unscored("the expected text is empty")
        if not given.strip():
            return scored(0, "the answer is empty")
        if given == wanted:
            return self._scored(1.0)
        vectors = answers[0].vectors if answers and answers[0] is not None else ()
        cosine = cosine_of(vectors[0], vectors[1]) if len(vectors) == 2 else None
        if cosine is None:
            return unscored("there are no embeddings to compare")
        return self._scored(cosine)

    def _scored(self, cosine: float) -> Score:
        said = f"cosine {cosine:.6g} of {self._params.model}"
        if self._params.pass_at is None:
            return scored(cosine, said)
        return scored(cosine >= self._params.pass_at, f"{said}; {self._params.pass_at:g} passes", cosine=cosine)


def cosine_of(one: Sequence[float], other: Sequence[float]) -> float | None:
    """The cosine of two vectors; None when one has no direction or their lengths differ."""
    if len(one) != len(other):
        return None
    length = math.hypot(*one) * math.hypot(*other)
    if not length or not math.isfinite(length):
        return None
    value = math.fsum(a * b for a, b in zip(one, other, strict=True)) / length
    return max(-1.0, min(1.0, value)) if math.isfinite(value) else None
