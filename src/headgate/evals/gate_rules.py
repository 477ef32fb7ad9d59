"""The gate's rules on scores: absolute floors, paired comparisons, slices, power."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from math import ceil

import numpy as np

from headgate.evals.compare import Comparison, ScorerComparison, cluster_codes, side_of
from headgate.evals.detectable import needed_cases, power_at, spread_of
from headgate.evals.facts import RunFacts, ScorerFacts
from headgate.evals.policy import FloorRule, MetricRule, Policy
from headgate.evals.results import Result
from headgate.evals.verdict import Outcome, RuleOutcome
from headgate.stats.bounds import Bounds, Differences, difference_bounds
from headgate.stats.distributions import normal_quantile
from headgate.stats.means import estimate_mean
from headgate.stats.multiplicity import holm
from headgate.stats.power import needed_for_bound, needed_pairs
from headgate.stats.proportions import effective_n, exact_upper, wilson_bounds

POWER = 0.8


def chosen(metric: str, facts: RunFacts) -> list[ScorerFacts]:
    """The scorers that a rule's metric names: an id, a glob, `primary` or `must_pass`."""
    scorers = [facts.scorers[name] for name in sorted(facts.scorers)]
    if metric == "primary":
        return [scorer for scorer in scorers if scorer.role == "primary" and not scorer.must_pass]
    if metric == "must_pass":
        return [scorer for scorer in scorers if scorer.must_pass]
    return [scorer for scorer in scorers if fnmatchcase(scorer.id, metric)]


def rows_of(facts: RunFacts, scorer: str) -> list[Result]:
    """The rows of one scorer."""
    return [row for row in facts.results if row.scorer == scorer]


# Absolute.


def floors(policy: Policy, candidate: RunFacts, *, has_baseline: bool) -> Iterator[RuleOutcome]:
    """One outcome for each floor and scorer."""
    for rule in policy.absolute:
        if rule.only_first and has_baseline:
            continue
        scorers = chosen(rule.metric, candidate)
        if not scorers:
            yield _nothing("absolute", rule.metric, candidate)
        for scorer in scorers:
            yield (
                _failures(rule, scorer, candidate)
                if rule.failures is not None
                else _floor(rule, scorer, candidate, policy.alpha)
            )


def _nothing(rule: str, metric: str, candidate: RunFacts) -> RuleOutcome:
    """A selector without scorers asks nothing; a name without one asks for what is not there."""
    if metric in ("must_pass", "primary") or any(mark in metric for mark in "*?["):
        sentence = f"The suite has no scorer that {metric} means."
        outcome: Outcome = "not_applicable" if rule == "absolute" else "inconclusive"
    else:
        sentence, outcome = f'The run has no scorer "{metric}", which the policy asks for.', "fail"
    return RuleOutcome(rule=rule, metric=metric, outcome=outcome, sentence=sentence)


def _failures(rule: FloorRule, scorer: ScorerFacts, candidate: RunFacts) -> RuleOutcome:
    rows = rows_of(candidate, scorer.id)
    judged = [row for row in rows if row.status == "ok" and row.value is not None]
    failed = sorted({row.item for row in judged if row.value is not None and row.value < 1})
    unknown = len(rows) - len(judged)
    allowed = rule.failures or 0
    items = len({row.item for row in judged})
    upper = exact_upper(len(failed), items, 0.05) if items else None
    outcome: Outcome = "fail" if len(failed) > allowed else "inconclusive" if unknown or not items else "pass"
    more = f"; {unknown} could not be judged" if unknown else ""
    rate = "" if upper is None else f"; the true failure rate is below {upper:.1%} with 95 % confidence"
    named = f" ({', '.join(failed[:5])}{', …' if len(failed) > 5 else ''})" if failed else ""
    return RuleOutcome(
        rule="absolute",
        metric=scorer.id,
        outcome=outcome,
        observed=float(len(failed)),
        bound=upper,
        limit=float(allowed),
        n=items,
        method="Clopper-Pearson",
        sentence=f"{len(failed)} of {items} cases failed {scorer.id}{named}, {allowed} may{more}{rate}.",
    )


def _floor(rule: FloorRule, scorer: ScorerFacts, candidate: RunFacts, alpha: float) -> RuleOutcome:
    is_min = rule.min is not None
    limit = rule.min if rule.min is not None else rule.max
    assert limit is not None
    side = side_of(rows_of(candidate, scorer.id))
    if not side.means:
        return RuleOutcome(
            rule="absolute", metric=scorer.id, outcome="inconclusive", limit=limit,
            sentence=f"No case has a score of {scorer.id}.",
        )  # fmt: skip
    items = sorted(side.means)
    values = np.array([side.means[item] for item in items])
    about = {row.item: row for row in candidate.results}
    found = estimate_mean(values, cluster_codes([about[item].cluster for item in items]))
    is_rate = bool(np.all(np.isin(values, (0.0, 1.0))))
    if rule.bound == "mean":
        low = high = found.mean
        method = "observed mean"
    elif is_rate or rule.bound == "wilson_lower":
        worth = float(found.n) if found.clusters is None else effective_n(found.mean, found.se, found.n, found.clusters)
        low, high = wilson_bounds(found.mean * worth, worth, alpha)
        method = "Wilson" if found.clusters is None else "Wilson, clustered"
    else:
        bounds = found.bounds(alpha)
        low, high = bounds if bounds is not None else (float("-inf"), float("inf"))
        method = found.method
    is_met, is_broken = (low >= limit, high < limit) if is_min else (high <= limit, low > limit)
    outcome: Outcome = "pass" if is_met else "fail" if is_broken else "inconclusive"
    bound = low if is_min else high
    # Either way: more cases would show that the floor is kept, or that it is not.
    sd = 0.0 if found.se is None else found.se * (found.clusters or found.n) ** 0.5
    units = needed_for_bound(abs(found.mean - limit), sd, alpha=alpha) if outcome == "inconclusive" and sd else None
    needed = None if units is None else ceil(units * found.n / (found.clusters or found.n))
    if outcome == "inconclusive" and not sd and found.mean in (0.0, 1.0) and 0 < limit < 1:
        # Wilson's bound of a rate that was 1 (or 0) all along: n/(n + z²) is at the limit.
        odds = limit / (1 - limit) if found.mean == 1 else (1 - limit) / limit
        needed = ceil(odds * normal_quantile(1 - alpha) ** 2)
    return RuleOutcome(
        rule="absolute",
        metric=scorer.id,
        outcome=outcome,
        observed=found.mean,
        bound=_finite(bound),
        limit=limit,
        n=found.n,
        clusters=found.clusters,
        method=method,
        needed_items=_more(needed, found.n),
        sentence=f"{scorer.id} is {found.mean:.4g} over {found.n} cases, {'lower' if is_min else 'upper'} bound "
        f"{bound:.4g}; {'at least' if is_min else 'at most'} {limit:g} is asked.{_more_words(needed, found.n)}",
    )


# Paired.


def paired(
    policy: Policy, candidate: RunFacts, baseline: RunFacts | None, comparison: Comparison | None
) -> Iterator[RuleOutcome]:
    """One outcome for each paired rule and scorer."""
    for rule in policy.primary:
        scorers = chosen(rule.metric, candidate)
        if baseline is None or comparison is None:
            yield RuleOutcome(
                rule="primary", metric=rule.metric, outcome="not_applicable",
                sentence="Nothing is in force yet to compare with.",
            )  # fmt: skip
            continue
        if not scorers:
            yield _nothing("primary", rule.metric, candidate)
        for scorer in scorers:
            found = differences_of(scorer, candidate, baseline)
            if found is None:
                yield RuleOutcome(
                    rule="primary", metric=scorer.id, outcome="inconclusive",
                    sentence=f"No case has a score of {scorer.id} on both sides.",
                )  # fmt: skip
            else:
                yield _paired(rule, scorer, found, policy.alpha)


def differences_of(scorer: ScorerFacts, candidate: RunFacts, baseline: RunFacts) -> Differences | None:
    """Each item's difference, signed so that more is better; None when no item has a score on both sides."""
    a, rows_b = side_of(rows_of(candidate, scorer.id)), rows_of(baseline, scorer.id)
    # A score that compares with the baseline by itself has a value that means "equal".
    means_b = side_of(rows_b).means if scorer.equal_at is None else dict.fromkeys(a.means, scorer.equal_at)
    items = sorted(a.means.keys() & means_b.keys())
    if not items:
        return None
    sign = 1.0 if scorer.direction == "higher" else -1.0
    left, right = np.array([a.means[item] for item in items]), np.array([means_b[item] for item in items])
    about = {row.item: row for row in candidate.results}
    both = np.concatenate((left, right))
    is_binary = bool(np.all(np.isin(both, (0.0, 1.0))))
    span = 1.0 if both.min() >= 0 and both.max() <= 1 else float(both.max() - both.min()) or 1.0
    return Differences(
        values=(left - right) * sign,
        clusters=cluster_codes([about[item].cluster for item in items]),
        span=span,
        is_binary=is_binary,
        is_identical=_outputs(candidate, items) == _outputs(baseline, items),
    )


def _outputs(facts: RunFacts, items: list[str]) -> object:
    """What was answered, by item and repeat; a value equal to nothing else where an answer's hash is unknown."""
    wanted = set(items)
    found = {(row.item, row.repeat): row.output_sha256 for row in facts.results if row.item in wanted}
    return object() if not found or None in found.values() else found


def _paired(rule: MetricRule, scorer: ScorerFacts, found: Differences, alpha: float) -> RuleOutcome:
    mean, n = float(np.mean(found.values)), len(found.values)
    bounds = difference_bounds(found, alpha)
    low, high = (bounds.low, bounds.high) if bounds is not None else (float("-inf"), float("inf"))
    outcome, limit = _decide(rule, low, high)
    needed = _needed(rule, found, mean, limit, alpha) if outcome == "inconclusive" else None
    clusters = None if found.clusters is None else found.units
    sentence = (
        f"{scorer.id} changed by {mean:+.4g} over {n} cases, one-sided {1 - alpha:.0%} bounds "
        f"[{low:+.4g}, {high:+.4g}]; {_asked(rule)}."
    )
    if outcome == "pass" and rule.kind == "non_inferior" and high < 0:
        sentence += " It is a real loss, within the margin."
    return RuleOutcome(
        rule="primary",
        metric=scorer.id,
        outcome=outcome,
        observed=mean,
        bound=_finite(high if rule.kind == "no_significant_loss" else low),
        limit=limit,
        n=n,
        clusters=clusters,
        method=_method(bounds),
        needed_items=_more(needed, n),
        sentence=sentence + _more_words(needed, n),
    )


def _needed(rule: MetricRule, found: Differences, mean: float, limit: float, alpha: float) -> int | None:
    """The cases in all that would probably decide a paired rule, whichever way the difference seen points."""
    spread = spread_of(found)
    if spread is None or rule.kind == "no_significant_loss":
        return None
    if mean > limit:
        if spread.sd == 0:  # nothing varied: the exact bound needs this many units
            units = needed_pairs(min((mean - limit) / found.span, 0.999), 0.0, alpha=alpha)
            return None if units is None else ceil(units * spread.cases_per_unit)
        return needed_cases(mean - limit, spread, alpha=alpha, power=POWER)
    failing = limit if rule.kind == "superiority" else 0.0
    return needed_cases(failing - mean, spread, alpha=alpha, power=POWER, towards="fail")


def _decide(rule: MetricRule, low: float, high: float) -> tuple[Outcome, float]:
    if rule.kind == "no_significant_loss":
        return ("inconclusive" if high == float("inf") else "fail" if high < 0 else "pass"), 0.0
    limit = rule.margin if rule.kind == "superiority" else -rule.margin
    is_met = low > limit or (low == high == limit == 0 and rule.kind == "non_inferior")
    failing = limit if rule.kind == "superiority" else 0.0
    return ("pass" if is_met else "fail" if high < failing else "inconclusive"), limit


def _asked(rule: MetricRule) -> str:
    if rule.kind == "superiority":
        return f"more than {rule.margin:+g} must be shown"
    if rule.kind == "non_inferior":
        return f"a loss of {rule.margin:g} or more must be ruled out"
    return "it must not be significantly worse"


# Slices and power.


def sliced(policy: Policy, candidate: RunFacts, comparison: Comparison | None) -> Iterator[RuleOutcome]:
    """One outcome for all slices of all primary scorers: Holm over the family."""
    if policy.slices is None:
        return
    if comparison is None:
        yield RuleOutcome(
            rule="slices", metric="primary", outcome="not_applicable", sentence="Nothing is in force to compare with."
        )
        return
    names = {scorer.id for scorer in chosen("primary", candidate)}
    family = [
        (scorer, one)
        for scorer in comparison.scorers
        if scorer.scorer in names
        for one in scorer.slices
        if one.n >= policy.slices.min_n and one.p_loss is not None
    ]
    if not family:
        yield RuleOutcome(
            rule="slices", metric="primary", outcome="not_applicable",
            sentence=f"No slice has {policy.slices.min_n} cases.",
        )  # fmt: skip
        return
    adjusted = holm([one.p_loss or 0.0 for _, one in family])
    alarms = [
        f"{scorer.scorer} on {one.tag}={one.value} ({_loss(scorer, one.difference):+.4g}, p {p:.3g})"
        for (scorer, one), p in zip(family, adjusted, strict=True)
        if p <= policy.alpha and -_loss(scorer, one.difference) > policy.slices.max_drop
    ]
    yield RuleOutcome(
        rule="slices",
        metric="primary",
        outcome="fail" if alarms else "pass",
        observed=min(adjusted),
        limit=policy.alpha,
        n=len(family),
        method="paired t, Holm",
        sentence=f"Of {len(family)} slices {len(alarms)} lost significantly more than {policy.slices.max_drop:g}"
        + (f": {'; '.join(alarms[:5])}." if alarms else "."),
    )


def _loss(scorer: ScorerComparison, difference: float) -> float:
    return difference if scorer.direction == "higher" else -difference


def power(
    policy: Policy, candidate: RunFacts, baseline: RunFacts | None, comparison: Comparison | None
) -> Iterator[RuleOutcome]:
    """Whether the run could have shown what the primary rules ask, were nothing changed."""
    if policy.power_min is None:
        return
    if baseline is None or comparison is None:
        yield RuleOutcome(
            rule="power", metric="primary", outcome="not_applicable", sentence="Nothing is in force to compare with."
        )
        return
    for rule in policy.primary:
        for scorer in chosen(rule.metric, candidate):
            found = differences_of(scorer, candidate, baseline)
            if found is None or rule.margin <= 0:
                continue
            spread = spread_of(found)
            reached = 0.0 if spread is None else power_at(rule.margin, spread, found.units, policy.alpha)
            needed = None
            if spread is not None:
                needed = needed_cases(rule.margin, spread, alpha=policy.alpha, power=policy.power_min)
            is_met = reached >= policy.power_min
            yield RuleOutcome(
                rule="power",
                metric=scorer.id,
                outcome="pass" if is_met else "inconclusive",
                observed=reached,
                limit=policy.power_min,
                n=len(found.values),
                clusters=None if found.clusters is None else found.units,
                method="t, one-sided" if spread is None or spread.discordant is None else "Tango score, one-sided",
                needed_items=None if is_met else _more(needed, len(found.values)),
                sentence=f"Were nothing changed, this run would show it for {scorer.id} with chance {reached:.0%}; "
                f"{policy.power_min:.0%} is asked.",
            )


def _method(bounds: Bounds | None) -> str:
    return "undefined: one case or one cluster" if bounds is None else bounds.method


def _finite(value: float) -> float | None:
    return value if abs(value) != float("inf") else None


def _more(needed: int | None, n: int) -> int | None:
    return None if needed is None else max(1, needed - n)


def _more_words(needed: int | None, n: int) -> str:
    more = _more(needed, n)
    return "" if more is None else f" About {more} more cases would probably decide it."
