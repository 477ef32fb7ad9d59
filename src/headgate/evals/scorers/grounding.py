"""Scorers of grounded answers that ask a judge: claims and their support, the worth of what was read, and whether the
answer is to the question.

A judge is a stored prompt that answers in JSON; an answer of another shape is unscored. Texts that are judged are given
as inputs: the prompt fences them.
"""

import json
import math
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from headgate.evals.dataset import Row
from headgate.evals.output import Output
from headgate.evals.scorer import Ask, BaseScorer, Score, ScorerFault, ScorerSpec, params_of, scored, unscored
from headgate.evals.scorers.judges import (
    MAX_TEXT_CHARS,
    QuestionParams,
    judged_text,
    question_of,
    said_object,
    sources_of,
    too_long,
)
from headgate.evals.scorers.similarity import cosine_of

MOST_CLAIMS = 200
MOST_QUESTIONS = 10


class RelevanceParams(QuestionParams, frozen=True, kw_only=True):
    model: Annotated[str, msgspec.Meta(description="the embedding model, as the gateway routes it")]


class _Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    claim: str
    supported: bool


class _Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    claims: Annotated[list[_Claim], msgspec.Meta(max_length=MOST_CLAIMS)]


class _Useful(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    useful: list[bool]
    reason: str = ""


class _Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    question: str
    noncommittal: bool = False


class _Questions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    questions: Annotated[list[_Question], msgspec.Meta(min_length=1, max_length=MOST_QUESTIONS)]


def average_precision(useful: Sequence[bool]) -> float:
    """Context precision: the mean of precision@k over the places k of what is useful; 0 where nothing is."""
    hits, total = 0, 0.0
    for place, is_useful in enumerate(useful, 1):
        hits += is_useful
        total += is_useful * hits / place
    return total / hits if hits else 0.0


def expected_answer(row: Row) -> str | None:
    """The expected answer as text; None when the row has none."""
    if row.expected is None:
        return None
    return (row.expected if isinstance(row.expected, str) else json.dumps(row.expected, ensure_ascii=False))[
        :MAX_TEXT_CHARS
    ]


class _Grounding(BaseScorer):
    params_type: type[QuestionParams] = QuestionParams
    needs_judge = True
    reads_chunks = True

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, self.params_type)

    def _lacks(self, row: Row, output: Output) -> str | None:
        """What is not there and the judge needs."""
        raise NotImplementedError

    def _variables(self, row: Row, output: Output) -> dict[str, Any]:
        raise NotImplementedError

    def _value(self, row: Row, output: Output, found: dict[str, Any], answers: Sequence[Output | None]) -> Score:
        raise NotImplementedError

    def asks(self, row: Row, output: Output, baseline: Output | None) -> tuple[Ask, ...]:
        """One call of the judge; none where there is nothing to judge."""
        if self._lacks(row, output) or too_long(output):
            return ()
        return (Ask(kind="judge", judge=self.spec.judge, variables=self._variables(row, output)),)

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """What the judge's answer comes to; unscored when it cannot be read."""
        if lacks := self._lacks(row, output) or too_long(output):
            return unscored(lacks)
        found, why = said_object(answers[0] if answers else None)
        if found is None:
            return unscored(why)
        try:
            return self._value(row, output, found, answers)
        except msgspec.ValidationError as error:
            return unscored(f"the judge's answer has another shape: {error}")


class Claims(_Grounding):
    """The share of the answer's claims that what it read supports: faithfulness, claim by claim."""

    def _lacks(self, row: Row, output: Output) -> str | None:
        return None if row.context or output.kb is not None else "the answer read nothing and the row has no context"

    def _variables(self, row: Row, output: Output) -> dict[str, Any]:
        return {
            "question": question_of(row, self._params.question),
            "answer": judged_text(output),
            "sources": sources_of(row, output, first="read"),
        }

    def _value(self, row: Row, output: Output, found: dict[str, Any], answers: Sequence[Output | None]) -> Score:
        claims = msgspec.convert(found, _Claims).claims
        if not claims:
            return unscored("the judge found no claim")
        without = [one.claim for one in claims if not one.supported]
        said = f"{len(claims) - len(without)} of {len(claims)} claims are supported"
        first = f"; not: {without[0][:300]}" if without else ""
        return scored(1 - len(without) / len(claims), said + first, unsupported=[one[:300] for one in without[:10]])


class ContextRecall(Claims):
    """The share of the expected answer's claims that are in what the answer read."""

    def _lacks(self, row: Row, output: Output) -> str | None:
        if expected_answer(row) is None:
            return "the row has no expected answer"
        return None if row.context or output.kb is not None else "the answer read nothing and the row has no context"

    def _variables(self, row: Row, output: Output) -> dict[str, Any]:
        return {**super()._variables(row, output), "answer": expected_answer(row)}


class ContextPrecision(_Grounding):
    """Whether what is of use for the answer stands before what is not, in what was read."""

    def _lacks(self, row: Row, output: Output) -> str | None:
        return None if sources_of(row, output, first="read") else "nothing was read and the row has no context"

    def _variables(self, row: Row, output: Output) -> dict[str, Any]:
        return {
            "question": question_of(row, self._params.question),
            "answer": expected_answer(row) or judged_text(output),
            "sources": sources_of(row, output, first="read"),
        }

    def _value(self, row: Row, output: Output, found: dict[str, Any], answers: Sequence[Output | None]) -> Score:
        useful = msgspec.convert(found, _Useful).useful
        wanted = len(sources_of(row, output, first="read"))
        if len(useful) != wanted:
            return unscored(f"the judge spoke of {len(useful)} sources; {wanted} were read")
        places = ", ".join(str(place) for place, is_useful in enumerate(useful, 1) if is_useful) or "none"
        return scored(average_precision(useful), f"of {wanted} sources useful: {places}", useful=useful)


class AnswerRelevance(_Grounding):
    """How near the questions that the answer would answer are to the one that was asked, by embeddings."""

    params_type = RelevanceParams
    reads_chunks = False
    range: tuple[float | None, float | None] = (-1.0, 1.0)

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._model = params_of(spec, RelevanceParams).model
        if not self._model.strip():
            raise ScorerFault("model is empty: name an embedding model", ("model",))

    def _lacks(self, row: Row, output: Output) -> str | None:
        return None if judged_text(output).strip() else "the answer is empty"

    def _variables(self, row: Row, output: Output) -> dict[str, Any]:
        return {"answer": judged_text(output)}

    def follow_ups(self, row: Row, output: Output, answers: Sequence[Output | None]) -> tuple[Ask, ...]:
        """The embeddings of the question and of those that the judge wrote."""
        found, _ = said_object(answers[0] if answers else None)
        try:
            written = [] if found is None else msgspec.convert(found, _Questions).questions
        except msgspec.ValidationError:
            written = []
        texts = [one.question.strip() for one in written]
        if not texts or not all(texts):
            return ()
        return (Ask(kind="embedding", model=self._model, input=(question_of(row, self._params.question), *texts)),)

    def _value(self, row: Row, output: Output, found: dict[str, Any], answers: Sequence[Output | None]) -> Score:
        written = msgspec.convert(found, _Questions).questions
        if not all(one.question.strip() for one in written):
            return unscored("the judge wrote an empty question")
        if all(one.noncommittal for one in written):
            return scored(0, "the answer commits itself to nothing")
        vectors = answers[1].vectors if len(answers) > 1 and answers[1] is not None else ()
        if len(vectors) != len(written) + 1:
            return unscored("there are no embeddings to compare")
        cosines = [cosine_of(vectors[0], vector) for vector in vectors[1:]]
        known = [one for one in cosines if one is not None]
        if len(known) != len(cosines):
            return unscored("an embedding has no direction")
        value = max(-1.0, min(1.0, math.fsum(known) / len(known)))
        return scored(value, f"mean cosine of {len(known)} questions; the first: {written[0].question[:300]}")
