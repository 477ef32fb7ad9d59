"""Scorers that ask a judge: by a rubric, a reference, sources, and of two answers which is better, in both orders.

A judge is a stored prompt. What it is asked is made from the row and the logged answer alone, so that the control
process can make it again and compare. A verdict that cannot be read is unscored, never a tie and never a failure.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from headgate.evals.dataset import Row
from headgate.evals.output import Output
from headgate.evals.scorer import Ask, BaseScorer, Score, ScorerFault, ScorerSpec, params_of, scored, unscored
from headgate.evals.scorers.aim import Unreadable, json_of

MAX_TEXT_CHARS = 60_000
_WHOLE = (None, "stop", "end_turn", "completed")
_PASS_FAIL = {"pass": 1.0, "fail": 0.0}
_QUESTION_KEYS = ("question", "query", "input", "text", "message", "ticket")


class RubricParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rubric: Annotated[str, msgspec.Meta(description="what a good answer does; every point must be met")]
    question: Annotated[str | None, msgspec.Meta(description="the input that holds the question")] = None


class QuestionParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    question: Annotated[str | None, msgspec.Meta(description="the input that holds the question")] = None


class PairwiseParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    criteria: Annotated[str | None, msgspec.Meta(description="what makes an answer the better one")] = None
    question: Annotated[str | None, msgspec.Meta(description="the input that holds the question")] = None


def question_of(row: Row, key: str | None) -> str:
    """What was asked, as text: the named input, one by a usual name, or the whole input as JSON."""
    given: Any = row.input
    if isinstance(given, dict):
        names = (key,) if key is not None else _QUESTION_KEYS
        named = [given[name] for name in names if isinstance(given.get(name), str)]
        if named:
            return str(named[0])[:MAX_TEXT_CHARS]
    return json.dumps(given, ensure_ascii=False)[:MAX_TEXT_CHARS]


def judged_text(output: Output) -> str:
    """What of an answer a judge reads: its text, and the tools that it calls, one a line."""
    calls = [f"[calls {call.name} with {call.arguments_json}]" for call in output.tool_calls]
    return "\n".join([output.text, *calls] if output.text or not calls else calls)


def too_long(*outputs: Output | None) -> str | None:
    """Why answers cannot be judged whole: a judge that reads half of an answer says nothing about the other half."""
    longest = max((len(judged_text(output)) for output in outputs if output is not None), default=0)
    return f"an answer of {longest:,} characters is too long to be judged" if longest > MAX_TEXT_CHARS else None


def sources_of(row: Row, output: Output, *, first: Literal["row", "read"]) -> list[str]:
    """The texts that an answer rests on: the row's context, or what the answer read; ``first`` says which goes first
    where both are there.
    """
    read = [chunk.text for chunk in output.chunks if chunk.text is not None]
    given = [str(source) for source in row.context]
    return [text[:MAX_TEXT_CHARS] for text in ((given or read) if first == "row" else (read or given))]


def said_object(answer: Output | None) -> tuple[dict[str, Any] | None, str]:
    """The JSON object that a judge answered with, or why there is none that counts."""
    if answer is None:
        return None, "the judge did not answer"
    if answer.finish_reason not in _WHOLE:
        return None, f"the judge's answer ended by {answer.finish_reason}"
    try:
        found = json_of(answer.text.strip(), allow_fence=True, allow_repeats=False)
    except Unreadable as error:
        return None, f"the verdict cannot be read: {error}"
    return (found, "") if isinstance(found, dict) else (None, "the judge's answer is no JSON object")


def verdict_of(answer: Output | None, words: Sequence[str]) -> tuple[str | None, str]:
    """The verdict of a judge's answer (None: there is none that counts) and its reason, or why there is none."""
    found, why = said_object(answer)
    if found is None:
        return None, why
    if set(found) - {"reason", "verdict"}:
        return None, "the verdict is not {reason, verdict}"
    verdict, reason = found.get("verdict"), found.get("reason", "")
    if verdict not in words:
        return None, f"the verdict is none of {', '.join(words)}"
    return verdict, str(reason)[:2000]


class _Judge(BaseScorer):
    needs_judge = True

    def _variables(self, row: Row, output: Output) -> dict[str, Any]:
        raise NotImplementedError

    def _lacks(self, row: Row, output: Output) -> str | None:
        """What is not there and the judge needs."""
        return None

    def asks(self, row: Row, output: Output, baseline: Output | None) -> tuple[Ask, ...]:
        """One call: the judge's prompt with what is to be judged; none for what cannot be judged."""
        if self._lacks(row, output) or too_long(output):
            return ()
        return (Ask(kind="judge", judge=self.spec.judge, variables=self._variables(row, output)),)

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 for pass, 0 for fail."""
        if lacks := self._lacks(row, output) or too_long(output):
            return unscored(lacks)
        verdict, reason = verdict_of(answers[0] if answers else None, tuple(_PASS_FAIL))
        return unscored(reason) if verdict is None else scored(_PASS_FAIL[verdict], reason, verdict=verdict)


class Rubric(_Judge):
    """A judge says whether the answer meets every point of a rubric."""

    version = 2
    params_type = RubricParams

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, RubricParams)
        if not self._params.rubric.strip():
            raise ScorerFault("rubric is empty", ("rubric",))

    def _variables(self, row: Row, output: Output) -> dict[str, Any]:
        return {
            "question": question_of(row, self._params.question),
            "answer": judged_text(output),
            "rubric": self._params.rubric,
        }


class Reference(_Judge):
    """A judge says whether the answer says what the row's expected answer says."""

    version = 2
    params_type = QuestionParams
    _RUBRIC = "The answer says what the reference says: nothing of it is missing, nothing contradicts it."

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, QuestionParams)

    def _lacks(self, row: Row, output: Output) -> str | None:
        return "the row has no expected answer" if row.expected is None else None

    def _variables(self, row: Row, output: Output) -> dict[str, Any]:
        expected = row.expected if isinstance(row.expected, str) else json.dumps(row.expected, ensure_ascii=False)
        return {
            "question": question_of(row, self._params.question),
            "answer": judged_text(output),
            "rubric": self._RUBRIC,
            "reference": expected[:MAX_TEXT_CHARS],
        }


class Faithfulness(_Judge):
    """A judge says whether every claim of the answer is supported by the row's context, else by what it read."""

    version = 3
    reads_chunks = True
    params_type = QuestionParams

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, QuestionParams)

    def _lacks(self, row: Row, output: Output) -> str | None:
        return None if sources_of(row, output, first="row") else "the row has no context and the answer read nothing"

    def _variables(self, row: Row, output: Output) -> dict[str, Any]:
        return {
            "question": question_of(row, self._params.question),
            "answer": judged_text(output),
            "sources": sources_of(row, output, first="row"),
        }


class Pairwise(BaseScorer):
    """A judge says which of two answers is better, asked in both orders: 1 candidate, -1 baseline, 0 neither."""

    version = 2
    params_type = PairwiseParams
    range = (-1.0, 1.0)
    needs_baseline = True
    needs_judge = True

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, PairwiseParams)

    def asks(self, row: Row, output: Output, baseline: Output | None) -> tuple[Ask, ...]:
        """Two calls, the answers swapped; none without a baseline, or where both answers are the same."""
        if baseline is None or output.sha256 == baseline.sha256 or too_long(output, baseline):
            return ()
        shared: dict[str, Any] = {"question": question_of(row, self._params.question)}
        if self._params.criteria is not None:
            shared["criteria"] = self._params.criteria
        one, other = judged_text(output), judged_text(baseline)
        orders = ((one, other), (other, one))
        return tuple(
            Ask(kind="judge", judge=self.spec.judge, variables={**shared, "answer_a": first, "answer_b": second})
            for first, second in orders
        )

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """Half the sum of both orders, so that a pair is one observation; unscored when either cannot be read."""
        if baseline is None:
            return unscored("there is no baseline to compare with")
        if output.sha256 == baseline.sha256:
            return scored(0, "both answers are the same", swap="same")
        if lacks := too_long(output, baseline):
            return unscored(lacks)
        read = [verdict_of(answer, ("A", "B", "tie")) for answer in answers]
        if len(read) != 2 or any(verdict is None for verdict, _ in read):
            why = next((reason for verdict, reason in read if verdict is None), "the judge was not asked twice")
            return unscored(why, swap="unparsable")
        first = {"A": 1.0, "B": -1.0, "tie": 0.0}[read[0][0] or "tie"]
        second = {"A": -1.0, "B": 1.0, "tie": 0.0}[read[1][0] or "tie"]
        return scored((first + second) / 2, read[0][1], swap=_swap_class(first, second), second=read[1][1])


def _swap_class(first: float, second: float) -> str:
    if first == second:
        return "consistent" if first else "consistent_tie"
    if first == -second:
        return "both_first" if first > 0 else "both_second"
    return "tie_mixed"
