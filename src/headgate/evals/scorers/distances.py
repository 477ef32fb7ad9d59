"""Scorers of likeness: edit distance and the longest common subsequence of words, both in whole machine words."""

import re
from collections.abc import Hashable, Sequence
from typing import Annotated

import msgspec

from headgate.evals.dataset import Row
from headgate.evals.output import Output
from headgate.evals.scorer import BaseScorer, Score, ScorerSpec, params_of, scored, unscored
from headgate.evals.scorers.aim import Aimed, NotThere, Unreadable, check_aim, expected_text, judged_text
from headgate.evals.scorers.texts import folded, plain

MAX_CHARS = 20_000
_WORD = re.compile(r"\w+")


class DistanceParams(Aimed, frozen=True, kw_only=True):
    """How texts are compared."""

    ignore_case: Annotated[bool, msgspec.Meta(description="letters of both cases are the same")] = False
    pass_at: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=1)] | None,
        msgspec.Meta(description="score 1 from this likeness on and 0 below it"),
    ] = None


class _Likeness(BaseScorer):
    params_type = DistanceParams

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, DistanceParams)
        check_aim(self._params)

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """From 0 (nothing alike) to 1 (the same); with pass_at 1 or 0. Texts beyond 20,000 characters are unscored."""
        try:
            wanted, given = expected_text(self._params, row), judged_text(self._params.extract, output)
        except NotThere as error:
            return unscored(str(error))
        except Unreadable as error:
            return scored(0, str(error))
        if max(len(wanted), len(given)) > MAX_CHARS:
            return unscored(f"a text has more than {MAX_CHARS:,} characters")
        form = folded if self._params.ignore_case else plain
        value, said = self._likeness(form(wanted), form(given))
        if self._params.pass_at is None:
            return scored(value, said)
        return scored(value >= self._params.pass_at, f"{said}; {self._params.pass_at:g} passes", likeness=value)

    def _likeness(self, wanted: str, given: str) -> tuple[float, str]:
        raise NotImplementedError


class EditDistance(_Likeness):
    """1 minus the Levenshtein distance over the longer length."""

    version = 2

    def _likeness(self, wanted: str, given: str) -> tuple[float, str]:
        longest = max(len(wanted), len(given))
        steps = edit_distance(wanted, given)
        value = 1 - steps / longest if longest else 1.0
        return value, f"{steps} edits apart, likeness {value:.4g}"


class RougeL(_Likeness):
    """The F-measure of the longest common subsequence of words (ROUGE-L), case ignored."""

    def _likeness(self, wanted: str, given: str) -> tuple[float, str]:
        one, other = _WORD.findall(folded(wanted)), _WORD.findall(folded(given))
        common = common_subsequence(one, other)
        value = 2 * common / (len(one) + len(other)) if one and other else float(one == other)
        return value, f"{common} words in common order, F {value:.4g}"


def edit_distance(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """The Levenshtein distance, a column at a time in the bits of an integer (Myers 1999, Hyyrö 2003)."""
    if not one or not other:
        return max(len(one), len(other))
    places = _places(one)
    all_bits, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    up, down, steps = all_bits, 0, len(one)
    for item in other:
        equal = places.get(item, 0)
        diagonal = equal | down
        across = (((equal & up) + up) ^ up) | equal
        more, less = down | ~(across | up), up & across
        steps += bool(more & last) - bool(less & last)
        more = (more << 1) | 1
        up = ((less << 1) | ~(diagonal | more)) & all_bits
        down = more & diagonal & all_bits
    return steps


def common_subsequence(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """The length of the longest common subsequence (Hyyrö 2004)."""
    if not one or not other:
        return 0
    places = _places(one)
    all_bits = (1 << len(one)) - 1
    rest = all_bits
    for item in other:
        matched = rest & places.get(item, 0)
        rest = ((rest + matched) | (rest - matched)) & all_bits
    return len(one) - rest.bit_count()


def _places(items: Sequence[Hashable]) -> dict[Hashable, int]:
    """For every item the bits of its positions."""
    at_of: dict[Hashable, list[int]] = {}
    for at, item in enumerate(items):
        at_of.setdefault(item, []).append(at)
    found: dict[Hashable, int] = {}
    for item, ats in at_of.items():
        bits = bytearray((ats[-1] >> 3) + 1)
        for at in ats:
            bits[at >> 3] |= 1 << (at & 7)
        found[item] = int.from_bytes(bits, "little")
    return found
