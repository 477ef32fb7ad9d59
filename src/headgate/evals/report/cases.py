"""Case by case: what each scorer said on both sides, who won, and the outputs of those a reader will want to see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from headgate.evals.facts import ScorerFacts
from headgate.evals.report.grouped import Grouped, is_check, scored, scorer_facts
from headgate.evals.report.model import Answer, Case, CaseScore, Outcome, Text

MOST_CASES_WITH_OUTPUTS = 300
MOST_OUTPUT_CHARS = 1_200_000
"""Characters of all outputs together; beyond, cases are told without."""
_MAX_TEXT_CHARS = 6000
_SAME = 1e-12
_ORDER: Mapping[Outcome | None, int] = {"loss": 0, "mixed": 1, "win": 2, "tie": 3, None: 4}


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What is known of the texts of a run: inputs by item, answers by item (its first repeat that is there)."""

    inputs: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)  # input, expected
    candidate: Mapping[str, Answer] = field(default_factory=dict)
    baseline: Mapping[str, Answer] = field(default_factory=dict)


def cut(text: str, most: int = _MAX_TEXT_CHARS) -> Text:
    """A text for the report; half surrogates, which no file can hold, become question marks."""
    whole = text.encode("utf-8", "replace").decode()
    return Text(text=whole[:most], chars=len(whole))


def cases_of(candidate: Grouped, baseline: Grouped | None, wording: Wording) -> tuple[Case, ...]:
    """Every item of either side: regressions first, then by item."""
    sides = [candidate] if baseline is None else [candidate, baseline]
    scorers = {name: scorer_facts(candidate, name) for name in scorer_order(candidate, baseline)}
    checks = {name: is_check(facts, sides) for name, facts in scorers.items()}
    ranges = {name: _range(sides, name) for name in scorers}
    deciding = deciding_scorers(scorers)
    items = sorted({item for side in sides for item in side.items})
    found = [_case(item, candidate, baseline, scorers, checks, ranges, deciding) for item in items]
    found.sort(key=lambda case: (not case.is_new_failure, _ORDER[case.outcome], _rank(case), case.item))
    return _with_outputs(found, wording)


def scorer_order(candidate: Grouped, baseline: Grouped | None) -> list[str]:
    """The scorers as the suite lists them, then those that only the results have."""
    listed = list(candidate.facts.scorers)
    present = {*candidate.by_scorer, *(baseline.by_scorer if baseline is not None else ())}
    return [*(name for name in listed if name in present), *sorted(present - set(listed))]


def deciding_scorers(scorers: Mapping[str, ScorerFacts]) -> set[str]:
    """The scorers by which a case is won or lost: primary ones and those that must pass, else all of them."""
    found = {name for name, facts in scorers.items() if facts.role == "primary" or facts.must_pass}
    return found or set(scorers)


def _range(sides: Sequence[Grouped], scorer: str) -> float:
    values = [value for side in sides for value in side.values(scorer).values()]
    return (max(values) - min(values) if values else 0.0) or 1.0


def _case(
    item: str,
    candidate: Grouped,
    baseline: Grouped | None,
    scorers: Mapping[str, ScorerFacts],
    checks: Mapping[str, bool],
    ranges: Mapping[str, float],
    deciding: set[str],
) -> Case:
    scores = tuple(
        score
        for name, facts in scorers.items()
        if (score := _case_score(item, candidate, baseline, facts, checks[name])) is not None
    )
    decided = [score for score in scores if score.scorer in deciding and score.change is not None]
    changes = [(score.change or 0.0) / ranges[score.scorer] for score in decided]
    side = candidate if item in candidate.tags or baseline is None else baseline
    return Case(
        item=item,
        outcome=_case_outcome({score.outcome for score in decided}),
        change=sum(changes) / len(changes) if changes else None,
        is_new_failure=any(_is_new_failure(score, scorers[score.scorer]) for score in scores),
        scores=scores,
        tags=dict(side.tags[item]),
        cluster=side.clusters.get(item),
    )


def _case_score(
    item: str, candidate: Grouped, baseline: Grouped | None, facts: ScorerFacts, check: bool
) -> CaseScore | None:
    ours = scored(candidate.by_scorer.get(facts.id, {}).get(item, ()), facts, check)
    theirs = None if baseline is None else scored(baseline.by_scorer.get(facts.id, {}).get(item, ()), facts, check)
    if ours is None and theirs is None:
        return None
    change = None
    if ours is not None and ours.value is not None:
        other = facts.equal_at if facts.equal_at is not None else None if theirs is None else theirs.value
        change = None if other is None else (ours.value - other) * (1 if facts.direction == "higher" else -1)
    outcome: Outcome | None = None
    if change is not None:
        outcome = "tie" if abs(change) <= _SAME else "win" if change > 0 else "loss"
    return CaseScore(scorer=facts.id, candidate=ours, baseline=theirs, outcome=outcome, change=change)


def _case_outcome(outcomes: set[Outcome | None]) -> Outcome | None:
    if not outcomes:
        return None
    if {"win", "loss"} <= outcomes:
        return "mixed"
    return "win" if "win" in outcomes else "loss" if "loss" in outcomes else "tie"


def _is_new_failure(score: CaseScore, facts: ScorerFacts) -> bool:
    if not facts.must_pass or score.candidate is None or not score.candidate.is_failed:
        return False
    return score.baseline is None or not score.baseline.is_failed


def _rank(case: Case) -> float:
    """Largest losses first, and largest wins first among the wins."""
    change = case.change or 0.0
    return -change if case.outcome == "win" else change


def _with_outputs(cases: Sequence[Case], wording: Wording) -> tuple[Case, ...]:
    shown: list[Case] = []
    room, left = MOST_OUTPUT_CHARS, MOST_CASES_WITH_OUTPUTS
    for case in cases:
        parts = _texts(case, wording)
        size = sum(len(text.text) for text in _all_texts(parts))
        if left and size <= room and any(part is not None for part in parts):
            room, left = room - size, left - 1
            given, expected, ours, theirs = parts
            shown.append(
                replace(case, has_outputs=True, input=given, expected=expected, candidate=ours, baseline=theirs)
            )
        else:
            shown.append(case)
    return tuple(shown)


_Texts = tuple[Text | None, Text | None, Answer | None, Answer | None]


def _texts(case: Case, wording: Wording) -> _Texts:
    given, expected = wording.inputs.get(case.item, (None, None))
    return (
        None if given is None else cut(given),
        None if expected is None else cut(expected),
        wording.candidate.get(case.item),
        wording.baseline.get(case.item),
    )


def _all_texts(parts: _Texts) -> list[Text]:
    given, expected, *answers = parts
    found = [text for text in (given, expected) if text is not None]
    for answer in answers:
        if answer is not None:
            found += [text for text in (answer.text, *answer.tool_calls) if text is not None]
    return found
