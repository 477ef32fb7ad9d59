"""Scorer by scorer and slice by slice: both means, the paired difference, and the word that follows from them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from headgate.evals.facts import ScorerFacts
from headgate.evals.report.cases import scorer_order
from headgate.evals.report.grouped import Grouped, is_check, mean_number, scorer_facts, unit_of
from headgate.evals.report.model import Case, Metric, MetricOutcome, Number, Point, Slice
from headgate.evals.verdict import Outcome, Verdict
from headgate.stats.multiplicity import holm

if TYPE_CHECKING:
    from headgate.evals.compare import Comparison, Interval, Moments, ScorerComparison

MOST_SLICES = 60
_NO_CASE_DIFFERS = "no case differs"
_MOST_SLICE_POINTS = 12
_SMALLEST_SLICE = 2
_GRAVITY: tuple[Outcome, ...] = ("fail", "inconclusive", "pass")


def metrics_of(
    candidate: Grouped,
    baseline: Grouped | None,
    comparison: "Comparison | None",
    verdict: Verdict | None,
    cases: Sequence[Case],
) -> tuple[Metric, ...]:
    """One for each scorer, primary ones first, then as the suite lists them."""
    compared = {} if comparison is None else {one.scorer: one for one in comparison.scorers}
    level = None if comparison is None else comparison.level
    names = scorer_order(candidate, baseline)
    made = [_metric(scorer_facts(candidate, name), candidate, baseline, compared.get(name), level) for name in names]
    counts = _counts(cases)
    rank = {"primary": 0, "guard": 1, "info": 2}
    made.sort(key=lambda metric: (not metric.must_pass and rank.get(metric.role, 3), names.index(metric.scorer)))
    return tuple(_with_outcome(metric, counts, verdict) for metric in made)


def _metric(
    facts: ScorerFacts,
    candidate: Grouped,
    baseline: Grouped | None,
    found: "ScorerComparison | None",
    level: float | None,
) -> Metric:
    name, is_difference = facts.id, facts.equal_at is not None
    check = is_check(facts, [candidate] if baseline is None else [candidate, baseline])
    ours = mean_number(candidate.values(name), candidate.clusters, check=check)
    theirs = None
    if baseline is not None and not is_difference and name in baseline.by_scorer:
        theirs = mean_number(baseline.values(name), baseline.clusters, check=check)
    if found is not None and not is_difference:
        # The pairs' own means, so that the difference is what the two columns differ by.
        ours, theirs = _moments(found.a, found, level), _moments(found.b, found, level)
    return Metric(
        scorer=name,
        type=facts.type,
        role=facts.role,
        direction=facts.direction,
        must_pass=facts.must_pass,
        source=facts.source,
        unit=unit_of(facts),
        is_difference=is_difference,
        candidate=ours,
        baseline=theirs,
        difference=_difference(facts, found, ours, level),
        p=None if found is None else found.p,
        wins=0,
        ties=0,
        losses=0,
        failed=0,
        unscored=candidate.with_status(name, "unscored"),
        errors=candidate.with_status(name, "error"),
        baseline_unscored=0 if baseline is None else baseline.with_status(name, "unscored"),
        baseline_errors=0 if baseline is None else baseline.with_status(name, "error"),
        outcome="unknown",
    )


def _moments(moments: "Moments", found: "ScorerComparison", level: float | None) -> Number:
    return Number(
        value=moments.mean,
        **_ends(moments.interval, level),
        se=moments.se,
        n=found.n,
        clusters=found.clusters,
        method="mean over pairs" if moments.interval is None else f"{moments.interval.method}, over pairs",
    )


def _difference(
    facts: ScorerFacts, found: "ScorerComparison | None", ours: Number, level: float | None
) -> Number | None:
    if found is not None:
        is_same = _is_same(found.difference, found.se, found.n)
        return Number(
            value=found.difference,
            **_ends(None if is_same else found.interval, level),
            se=found.se,
            n=found.n,
            clusters=found.clusters,
            method=_NO_CASE_DIFFERS if is_same else found.method,
        )
    if facts.equal_at is None or ours.value is None:
        return None
    equal = facts.equal_at
    return Number(
        value=ours.value - equal,
        low=None if ours.low is None else ours.low - equal,
        high=None if ours.high is None else ours.high - equal,
        level=ours.level,
        se=ours.se,
        n=ours.n,
        clusters=ours.clusters,
        method=f"{ours.method}, judged in pairs",
    )


def _is_same(difference: float | None, se: float | None, n: int) -> bool:
    """Whether no pair differs: the formulas then give an interval of no width, as if the truth were known."""
    return n > 1 and difference == 0 and se == 0


def _ends(interval: "Interval | None", level: float | None) -> dict[str, Any]:
    if interval is None:
        return {"low": None, "high": None, "level": None}
    return {"low": interval.low, "high": interval.high, "level": level}


def _counts(cases: Sequence[Case]) -> dict[tuple[str, str], int]:
    """How many cases each scorer calls a win, a tie, a loss, and failed."""
    found: Counter[tuple[str, str]] = Counter()
    for case in cases:
        for score in case.scores:
            if score.outcome is not None:
                found[score.scorer, score.outcome] += 1
            if score.candidate is not None and score.candidate.is_failed:
                found[score.scorer, "failed"] += 1
    return found


def _with_outcome(metric: Metric, counts: Mapping[tuple[str, str], int], verdict: Verdict | None) -> Metric:
    said = [] if verdict is None else [rule.outcome for rule in verdict.rules if rule.metric == metric.scorer]
    gravest = next((outcome for outcome in _GRAVITY if outcome in said), None)
    return replace(
        metric,
        outcome=gravest or _word(metric),
        wins=counts.get((metric.scorer, "win"), 0),
        ties=counts.get((metric.scorer, "tie"), 0),
        losses=counts.get((metric.scorer, "loss"), 0),
        failed=counts.get((metric.scorer, "failed"), 0),
    )


def _word(metric: Metric) -> MetricOutcome:
    """What the interval alone says."""
    number = metric.difference
    if number is None or number.value is None:
        return "unknown"
    if number.low is None or number.high is None or number.low <= 0 <= number.high:
        return "unclear"
    return "better" if (number.value > 0) == (metric.direction == "higher") else "worse"


def slices_of(comparison: "Comparison | None", candidate: Grouped) -> tuple[tuple[Slice, ...], int]:
    """The slices of the scorers that decide (of all, when none does) and how many more there are."""
    if comparison is None:
        return (), 0
    primary = [one for one in comparison.scorers if scorer_facts(candidate, one.scorer).role == "primary"]
    found = [
        (_slice(one, part.tag, part.value, comparison.level, index, scorer_facts(candidate, one.scorer)), part.p_loss)
        for one in primary or comparison.scorers
        for index, part in enumerate(one.slices)
    ]
    alarms = _alarms([p for _, p in found], 1 - comparison.level)
    made = [replace(one, p=p, is_alarm=index in alarms) for index, (one, p) in enumerate(found)]
    made.sort(key=lambda one: (not one.is_alarm, _loss(one) if len(made) > MOST_SLICES else 0.0))
    kept = made[:MOST_SLICES]
    kept.sort(key=lambda one: (one.scorer, one.by, one.value))
    return tuple(kept), len(made) - len(kept)


def _slice(found: "ScorerComparison", tag: str, value: str, level: float, index: int, facts: ScorerFacts) -> Slice:
    part = found.slices[index]
    is_same = _is_same(part.difference, part.se, part.n)
    return Slice(
        by=tag,
        value=value,
        scorer=found.scorer,
        direction=facts.direction,
        unit=unit_of(facts),
        difference=Number(
            value=part.difference,
            **_ends(None if is_same else part.interval, level),
            se=part.se,
            n=part.n,
            clusters=part.clusters,
            method=_NO_CASE_DIFFERS if is_same else "one case" if part.interval is None else part.interval.method,
        ),
        p=part.p_loss,
        is_alarm=False,
    )


def _loss(one: Slice) -> float:
    change = one.difference.value or 0.0
    return change if one.direction == "higher" else -change


def _alarms(p_values: Sequence[float | None], alpha: float) -> set[int]:
    """The places whose p stays below ``alpha`` although this many were looked at."""
    known = [(index, p) for index, p in enumerate(p_values) if p is not None]
    adjusted = holm([p for _, p in known])
    return {index for (index, _), p in zip(known, adjusted, strict=True) if p <= alpha}


def points_of(candidate: Grouped, baseline: Grouped | None, scorer: str | None) -> tuple[Point, ...]:
    """Mean cost and mean score of both sides, overall and in the slices of each tag with few values."""
    if scorer is None:
        return ()
    found: list[Point] = []
    for name, side in (("candidate", candidate), ("baseline", baseline)):
        if side is None:
            continue
        found.append(_point(side, name, scorer, None, side.items))
        found += [
            _point(side, name, scorer, label, items)
            for label, items in _tag_slices(side)
            if len(items) >= _SMALLEST_SLICE
        ]
    return tuple(found)


def _tag_slices(side: Grouped) -> list[tuple[str, list[str]]]:
    by_value: dict[tuple[str, str], list[str]] = {}
    for item in side.items:
        for tag, value in side.tags[item].items():
            by_value.setdefault((tag, value), []).append(item)
    counts: dict[str, int] = {}
    for tag, _ in by_value:
        counts[tag] = counts.get(tag, 0) + 1
    few = [(key, items) for key, items in sorted(by_value.items()) if 2 <= counts[key[0]] <= _MOST_SLICE_POINTS]
    return [(f"{tag} = {value}", items) for (tag, value), items in few[:_MOST_SLICE_POINTS]]


def _point(side: Grouped, name: str, scorer: str, label: str | None, items: Sequence[str]) -> Point:
    clusters: Mapping[str, str] = side.clusters
    return Point(
        label=side.facts.system if label is None else f"{side.facts.system}, {label}",
        side="candidate" if name == "candidate" else "baseline",
        slice=label,
        cost_usd=mean_number(cost_by_item(side, items), clusters),
        quality=mean_number(side.values(scorer, items), clusters),
    )


def cost_by_item(side: Grouped, items: Sequence[str] | None = None) -> dict[str, float]:
    """Item to the mean price of an answer in US dollars; unpriced ones are left out."""
    return side.figures(lambda row: None if row.cost_usd is None else float(row.cost_usd), items)
