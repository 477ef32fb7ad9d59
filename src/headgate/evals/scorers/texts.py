"""Scorers that compare texts: equality, containment, a listed choice, a pattern."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec

from headgate.evals.dataset import Row
from headgate.evals.output import Output
from headgate.evals.scorer import BaseScorer, Score, ScorerFault, ScorerSpec, failed, params_of, scored, unscored
from headgate.evals.scorers import patterns
from headgate.evals.scorers.aim import (
    Aimed,
    Extract,
    ExtractHelp,
    NotThere,
    Unreadable,
    check_aim,
    check_extract,
    expected_text,
    expected_texts,
    judged_text,
)
from headgate.prompts.faults import quoted


class EqualParams(Aimed, frozen=True, kw_only=True):
    strip: Annotated[bool, msgspec.Meta(description="space at both ends does not count")] = True


class ContainsParams(Aimed, frozen=True, kw_only=True):
    ignore_case: Annotated[bool, msgspec.Meta(description="letters of both cases are the same")] = False


class RegexParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pattern: Annotated[str, msgspec.Meta(description="what must be found, in the syntax of the regex package")]
    whole: Annotated[bool, msgspec.Meta(description="the whole answer must match")] = False
    ignore_case: Annotated[bool, msgspec.Meta(description="letters of both cases are the same")] = False
    negate: Annotated[bool, msgspec.Meta(description="the pattern must not be found")] = False
    extract: Annotated[Extract | None, ExtractHelp] = None


class ChoiceParams(Aimed, frozen=True, kw_only=True):
    choices: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="the labels or letters to choose from; the answer must hold exactly one of them"),
    ]


def plain(text: str) -> str:
    """Text in one Unicode form, with line ends as \\n."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n"))


def folded(text: str) -> str:
    """Text without case, for comparison."""
    return unicodedata.normalize("NFC", plain(text).casefold())


class _Equal(BaseScorer):
    params_type = EqualParams
    _form: Callable[[str], str] = staticmethod(plain)

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, EqualParams)
        check_aim(self._params)

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 when equal, else 0."""
        try:
            wanted = type(self)._form(expected_text(self._params, row))
            given = type(self)._form(judged_text(self._params.extract, output))
        except NotThere as error:
            return unscored(str(error))
        except Unreadable as error:
            return scored(0, str(error))
        if self._params.strip:
            wanted, given = wanted.strip(), given.strip()
        if wanted == given:
            return scored(1, "the answer is what was expected")
        return scored(0, f"expected {quoted(wanted)}, answered {quoted(given)}")


class Exact(_Equal):
    """The answer is the expected text."""


class Iequals(_Equal):
    """The answer is the expected text, whatever its case."""

    _form = staticmethod(folded)


class _Contains(BaseScorer):
    params_type = ContainsParams

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, ContainsParams)
        check_aim(self._params)

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """By which of the expected texts are in the answer."""
        form = folded if self._params.ignore_case else plain
        try:
            wanted = expected_texts(self._params, row)
            given = form(judged_text(self._params.extract, output))
        except NotThere as error:
            return unscored(str(error))
        except Unreadable as error:
            return scored(0, str(error))
        missing = [text for text in wanted if form(text) not in given]
        return self.judged(wanted, missing)

    def judged(self, wanted: list[str], missing: list[str]) -> Score:
        """1 when every text is there."""
        if not missing:
            return scored(1, f"the answer holds {_listed(wanted)}")
        return scored(0, f"the answer does not hold {_listed(missing)}", missing=missing[:20])


class ContainsAll(_Contains):
    """Every expected text is in the answer."""


class ContainsAny(_Contains):
    """At least one expected text is in the answer."""

    def judged(self, wanted: list[str], missing: list[str]) -> Score:
        """1 when one text is there."""
        found = [text for text in wanted if text not in missing]
        if found:
            return scored(1, f"the answer holds {_listed(found)}", found=found[:20])
        return scored(0, f"the answer holds none of {_listed(wanted)}")


class NotContains(_Contains):
    """None of the texts is in the answer."""

    def judged(self, wanted: list[str], missing: list[str]) -> Score:
        """1 when no text is there."""
        found = [text for text in wanted if text not in missing]
        if found:
            return scored(0, f"the answer holds {_listed(found)}", found=found[:20])
        return scored(1, f"the answer holds none of {_listed(wanted)}")


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return ", ".join(map(quoted, texts[:5])) + more


class Regex(BaseScorer):
    """A pattern is found in the answer, within a time limit."""

    params_type = RegexParams

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, RegexParams)
        if self._params.extract is not None:
            check_extract(self._params.extract)
        try:
            patterns.compiled(self._params.pattern, ignores_case=self._params.ignore_case)
        except patterns.BadPattern as error:
            raise ScorerFault(f"pattern: {error}", ("pattern",)) from None

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 when found (with negate: when not), else 0; an error when the pattern takes too long."""
        params = self._params
        try:
            given = judged_text(params.extract, output)
            found = patterns.found_in(params.pattern, given, whole=params.whole, ignores_case=params.ignore_case)
        except Unreadable as error:
            return scored(0, str(error))
        except patterns.TooSlow:
            return failed(f"the pattern took longer than {patterns.TIMEOUT_S:g} s on this answer; make it simpler")
        said = "the pattern was not found" if found is None else f"the pattern matched {quoted(found)}"
        return scored((found is None) == params.negate, said)


class Choice(BaseScorer):
    """Of the listed choices the answer names exactly one, and it is the expected one."""

    params_type = ChoiceParams

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, ChoiceParams)
        check_aim(self._params)
        forms = [folded(choice).strip() for choice in self._params.choices]
        if len(forms) < 2 or len(set(forms)) != len(forms) or not all(forms):
            raise ScorerFault("choices lists at least two different labels", ("choices",))
        self._forms = dict(zip(forms, self._params.choices, strict=True))

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 for the expected choice, 0 for another, none or several."""
        try:
            wanted = folded(expected_text(self._params, row)).strip()
            given = judged_text(self._params.extract, output)
        except NotThere as error:
            return unscored(str(error))
        except Unreadable as error:
            return scored(0, str(error))
        if wanted not in self._forms:
            return unscored(f"the expected value {quoted(wanted)} is not one of the choices")
        chosen = self._chosen(given)
        if len(chosen) != 1:
            what = f"several choices: {_listed(chosen)}" if chosen else f"none of {_listed(list(self._forms.values()))}"
            return scored(0, f"the answer names {what}")
        if folded(chosen[0]) == wanted:
            return scored(1, f"the answer chose {quoted(chosen[0])}", chosen=chosen[0])
        return scored(0, f"expected {quoted(self._forms[wanted])}, chose {quoted(chosen[0])}", chosen=chosen[0])

    def _chosen(self, given: str) -> list[str]:
        text = folded(given).strip().strip(" .:;,!()[]\"'`*")
        if text in self._forms:
            return [self._forms[text]]
        shown = plain(given)
        if all(len(form) == 1 for form in self._forms):
            # A letter in prose is a word (`A`, `I`); as a choice it is written `(B)`, `B.` or `answer: B`.
            marked = re.findall(r"(?:\banswer(?:\s+is)?\s*:?\s*|\()\**([^\W_])\**\)?(?![\w'’])", shown, re.IGNORECASE)
            found = [folded(one) for one in marked]
        else:
            lowered = folded(shown)
            found = [form for form in self._forms if re.search(rf"(?<!\w){re.escape(form)}(?!\w)", lowered)]
        return [choice for form, choice in self._forms.items() if form in found]
