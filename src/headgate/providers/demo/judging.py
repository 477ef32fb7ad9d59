"""Judges by a plain stated rule: the share of words that the judged text and its basis have in common.

Against a reference, an answer passes when it holds at least half of the reference's content words; against a context,
when at least 60 % of its own content words are in the context; with neither, when it holds at least 30 % of the
question's. A number that the basis does not have halves the share. Of two answers the one nearer to the basis
wins, and within 5 points it is a tie. What a judged text says about its own grade is never read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headgate.providers.demo import retrieval, sections, words
from headgate.providers.demo.ask import Turn
from headgate.providers.demo.notes import READ_LIMIT

NOTICE = "This is Headgate's demo model."
NOT_IN_NOTES = "The notes do not say."
TIE_MARGIN = 0.05
THRESHOLDS = {"reference": 0.5, "context": 0.6, "question": 0.3}
Basis = Literal["reference", "context", "question"]

_GRADING = re.compile(
    r"\b(?:grad(?:e|es|ing|er)|judg(?:e|es|ing|ment)|scor(?:e|es|ing)|evaluat\w+|rat(?:e|ing)|assess\w*|verdict|compar\w+|"
    r"which (?:answer|response|assistant|candidate|of|one)|is (?:better|correct|faithful|supported|relevant))\b",
    re.I,
)
_FAITHFUL = re.compile(r"\b(?:faithful|grounded|support(?:ed|s)?|hallucinat|entail|attribut|contradict)", re.I)
_ABSTAINS = re.compile(
    r"\b(?:(?:do|does|did) not (?:say|know|contain|mention)|don't know|doesn't (?:say|mention)|cannot (?:answer|say)|"
    r"not (?:in|mentioned in|found in|covered by) the (?:notes|context|passages?)|no information)\b",
    re.I,
)
_PREFACE = re.compile(r"This is Headgate's demo model\.?|^According to the notes:?|Happy to help[!.]?", re.I | re.M)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is to be judged: one candidate, or two when ``second`` is given."""

    first: str
    second: str | None
    reference: str
    context: tuple[str, ...]
    question: str
    rubric: str
    instructions: str

    @property
    def is_pair(self) -> bool:
        """Whether two answers are compared."""
        return self.second is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The outcome: ``share`` of one answer (0 to 1) or the winner of two; ``reason`` states rule and numbers."""

    passed: bool
    share: float
    winner: Literal["A", "B", "tie"] | None
    reason: str
    second_share: float | None = None


def recognise(turns: Sequence[Turn], *, wants_verdict: bool) -> Case | None:
    """The case that the newest messages put, or None when they do not ask to judge a text.

    ``wants_verdict``: the asked-for output has a field such as "verdict", which makes a case without a candidate
    (context precision, context recall) recognisable.
    """
    asked = [turn.text for turn in turns if turn.role == "system"]
    asked += [turn.text for turn in turns if turn.role == "user"][-1:]
    text = "\n\n".join(asked)[:READ_LIMIT]
    if not _GRADING.search(text):
        return None
    parts = sections.cut(text)
    if not _GRADING.search(parts.instructions + " " + parts.joined("rubric")):
        return None
    candidates = [section for section in parts.sections if section.kind == "candidate"]
    first, second = _sides(candidates)
    if not candidates and not (
        wants_verdict and parts.texts("context") and (parts.texts("reference") or parts.texts("question"))
    ):
        return None
    return Case(
        first=first,
        second=second,
        reference=parts.joined("reference"),
        context=tuple(retrieval.passages(parts.texts("context"))),
        question=parts.joined("question") or _asked(parts.instructions),
        rubric=parts.joined("rubric"),
        instructions=parts.instructions,
    )


def _asked(instructions: str) -> str:
    found = re.search(r"\b(?:question|query|input)\s*:\s*([^\n]{1,2000})", instructions, re.I)
    return found.group(1) if found else ""


def _sides(candidates: list[sections.Section]) -> tuple[str, str | None]:
    by_side = {section.side: section.text for section in reversed(candidates) if section.side}
    if len(by_side) == 2:
        return by_side["A"], by_side["B"]
    if len(candidates) == 2 and not by_side:
        return candidates[0].text, candidates[1].text
    return "\n".join(section.text for section in candidates), None


def judge(case: Case) -> Verdict:
    """Applies the rule of this module to ``case``."""
    return _pair(case, case.second) if case.second is not None else _single(case)


def claims(case: Case) -> list[str]:
    """The sentences that a claim-by-claim judge looks at: the candidate's, or the reference's without one."""
    found = words.sentences(_PREFACE.sub("", case.first or case.reference), 100)
    return [sentence for sentence in found if words.content_words(words.without_citations(sentence))]


def supports(case: Case, claim: str) -> bool:
    """Whether the context (or the reference without one) holds enough of the claim's words and all its numbers."""
    basis = "\n".join(case.context) or case.reference
    return _coverage(plain(claim), basis) >= THRESHOLDS["context"]


def is_relevant(case: Case, passage: str) -> bool:
    """Whether a passage holds enough of the words of the reference or, without one, of the question."""
    wanted = case.reference or case.question
    return _coverage(wanted, passage, check_numbers=False) >= THRESHOLDS["question"]


def abstains(text: str) -> bool:
    """Whether a text says that it has no answer."""
    return NOT_IN_NOTES in text or bool(_ABSTAINS.search(text))


def plain(text: str) -> str:
    """What a text says without the demo model's notice and without citation marks."""
    return words.without_citations(_PREFACE.sub("", text)).strip()


def _coverage(wanted: str, given: str, *, check_numbers: bool = True) -> float:
    """Which share of the content words of ``wanted`` is in ``given``; halved when a number of it is not."""
    share = words.share_found(words.content_words(wanted), words.content_words(given))
    if check_numbers and words.numbers(wanted) - words.numbers(given):
        share /= 2
    return share


def _basis(case: Case) -> tuple[Basis, str]:
    context = "\n".join(case.context)
    prefers_context = _FAITHFUL.search(case.instructions + case.rubric) and context
    if case.reference and not prefers_context:
        return "reference", case.reference
    if context:
        return "context", context
    return "question", case.question or case.rubric


def _single(case: Case) -> Verdict:
    basis, text = _basis(case)
    candidate = plain(case.first)
    threshold = THRESHOLDS[basis]
    if not words.content_words(candidate) and case.first.strip() in ("", NOTICE):
        share, fact = 0.0, "the answer is empty"
    elif basis == "context" and abstains(candidate):
        answerable = bool(retrieval.best(case.question, case.context))
        share = 0.0 if answerable else 1.0
        fact = f"the answer abstains and the context {'does' if answerable else 'does not'} touch the question"
    elif basis == "context":
        share = _coverage(candidate, text + "\n" + case.question)
        fact = f"{share:.0%} of the answer's content words (and its numbers) are in the context"
    else:
        share = words.share_found(words.content_words(text), words.content_words(candidate))
        stray = words.numbers(candidate) - words.numbers(f"{text}\n{case.question}\n{' '.join(case.context)}")
        share = share / 2 if stray and basis == "reference" else share
        fact = f"the answer holds {share:.0%} of the content words of the {basis}"
        fact += f", halved for the number {min(stray)}" if stray and basis == "reference" else ""
    passed = share >= threshold
    reason = f"Demo judge, rule by word overlap with the {basis}: {fact}; {threshold:.0%} is needed."
    return Verdict(passed=passed, share=share, winner=None, reason=reason)


def _pair(case: Case, second: str) -> Verdict:
    if case.reference:
        basis, text = "the reference", case.reference
    elif nearest := retrieval.best(case.question, case.context):
        basis, text = "the context's sentences nearest to the question", " ".join(hit.text for hit in nearest)
    elif case.context:
        basis, text = "the context", " ".join(case.context)
    else:
        basis, text = "the question", case.question or case.rubric
    a, b = _nearness(plain(case.first), text), _nearness(plain(second), text)
    winner: Literal["A", "B", "tie"] = "tie" if abs(a - b) <= TIE_MARGIN else "A" if a > b else "B"
    reason = (
        f"Demo judge, rule by word overlap with {basis}: A {a:.0%}, B {b:.0%}; the larger wins, "
        f"within {TIE_MARGIN:.0%} it is a tie."
    )
    return Verdict(passed=winner == "A", share=a, winner=winner, reason=reason, second_share=b)


def _nearness(candidate: str, text: str) -> float:
    """The harmonic mean of both coverages, so that padding does not win; halved for a number of its own."""
    wanted, given = words.content_words(text), words.content_words(candidate)
    recall, precision = words.share_found(wanted, given), words.share_found(given, wanted)
    if recall + precision == 0:
        return 0.0
    nearness = 2 * recall * precision / (recall + precision)
    return nearness / 2 if words.numbers(candidate) - words.numbers(text) else nearness
