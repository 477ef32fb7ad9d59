"""The gate's guards: what makes a run evidence at all, cost and latency, and the cards of its judges."""

from collections.abc import Iterator

import numpy as np

from headgate.evals.compare import Comparison, cluster_codes
from headgate.evals.facts import RunFacts
from headgate.evals.policy import Policy, RatioRule
from headgate.evals.results import Result
from headgate.evals.verdict import Outcome, RuleOutcome
from headgate.stats.means import Floats, estimate_mean
from headgate.stats.ratios import quantile_upper, ratio_of_means


def quality(policy: Policy, candidate: RunFacts, comparison: Comparison | None) -> Iterator[RuleOutcome]:
    """Too few cases, too many without a score, answers that do not differ."""
    wanted = policy.quality_of_run
    if wanted is None:
        return
    rows = [row for row in candidate.results if _counts(row, candidate)]
    items = {row.item for row in rows}
    n = len(items) if comparison is None else comparison.items_paired
    if wanted.min_items is not None:
        missing = max(0, wanted.min_items - n)
        yield _quality(
            "items", "inconclusive" if missing else "pass", n, wanted.min_items, n,
            f"{n} cases were compared; {wanted.min_items} are asked.", missing or None,
        )  # fmt: skip
    clusters = {row.cluster for row in rows if row.cluster is not None}
    if wanted.min_clusters is not None and clusters:
        missing = max(0, wanted.min_clusters - len(clusters))
        yield _quality(
            "clusters", "inconclusive" if missing else "pass", len(clusters), wanted.min_clusters, n,
            f"The cases come from {len(clusters)} clusters; {wanted.min_clusters} are asked.",
        )  # fmt: skip
    total = max(len(rows), 1)
    planned = candidate.items_planned or len(items)
    absent = max(0, planned - len(items))
    if wanted.max_unscored is not None:
        share = (sum(row.status == "unscored" for row in rows) + absent) / (total + absent)
        yield _share("unscored", share, wanted.max_unscored, n)
    if wanted.max_error is not None:
        yield _share("errors", sum(row.status == "error" for row in rows) / total, wanted.max_error, n)
    if wanted.distinct_outputs is not None:
        yield _distinct(candidate, wanted.distinct_outputs, n)


def asks_something(candidate: RunFacts) -> Iterator[RuleOutcome]:
    """An outcome where no scorer that decides anything scored any case: then there is nothing to pass."""
    deciding = {name for name, facts in candidate.scorers.items() if facts.must_pass or facts.role == "primary"}
    if not any(row.scorer in deciding and row.value is not None for row in candidate.results):
        yield _quality(
            "scorers", "inconclusive", 0, 1, 0,
            "No case has a score of a scorer that must pass or is primary: the suite asks nothing of an answer.",
        )  # fmt: skip


def _counts(row: Result, candidate: RunFacts) -> bool:
    facts = candidate.scorers.get(row.scorer)
    return facts is None or facts.role != "info" or facts.must_pass


def _distinct(candidate: RunFacts, limit: float, n: int) -> RuleOutcome:
    outputs = {row.item: row.output_sha256 for row in candidate.results if row.output_sha256 is not None}
    if not outputs:
        return _quality("distinct_outputs", "not_applicable", None, limit, n, "The results do not name their answers.")
    share = len(set(outputs.values())) / len(outputs)
    return _quality(
        "distinct_outputs", "fail" if share < limit and len(outputs) > 1 else "pass", share, limit, n,
        f"{share:.0%} of the answers differ from each other; at least {limit:.0%} is asked, as one text for all "
        "cases can please a judge.",
    )  # fmt: skip


def _share(name: str, share: float, limit: float, n: int) -> RuleOutcome:
    words = "have no score" if name == "unscored" else "ended in an error"
    return _quality(
        name, "inconclusive" if share > limit else "pass", share, limit, n,
        f"{share:.1%} of the scores {words}; at most {limit:.1%} may.",
    )  # fmt: skip


def _quality(
    metric: str,
    outcome: Outcome,
    observed: float | None,
    limit: float,
    n: int,
    sentence: str,
    needed: int | None = None,
) -> RuleOutcome:
    return RuleOutcome(
        rule="quality_of_run",
        metric=metric,
        outcome=outcome,
        observed=observed,
        limit=limit,
        n=n,
        needed_items=needed,
        sentence=sentence,
    )


# Cost and latency.


def ratios(policy: Policy, candidate: RunFacts, baseline: RunFacts | None) -> Iterator[RuleOutcome]:
    """One outcome for each guard on what an answer costs or takes."""
    for group, rules in (("cost", policy.cost), ("latency", policy.latency)):
        for rule in rules:
            yield _ratio(group, rule, candidate, baseline, policy.alpha)


def _cells(facts: RunFacts, group: str) -> dict[str, float]:
    """Each item's mean cost in USD, or latency in milliseconds, where known."""
    seen: dict[tuple[str, int], float] = {}
    for row in facts.results:
        value = row.cost_usd if group == "cost" else row.latency_ms
        if value is not None:
            seen[row.item, row.repeat] = float(value)
    found: dict[str, list[float]] = {}
    for (item, _), value in seen.items():
        found.setdefault(item, []).append(value)
    return {item: sum(values) / len(values) for item, values in found.items()}


def _ratio(group: str, rule: RatioRule, candidate: RunFacts, baseline: RunFacts | None, alpha: float) -> RuleOutcome:
    mine = _cells(candidate, group)
    if rule.metric in ("mean_usd", "mean_ms", "p95_ms"):
        return _own_limit(group, rule, np.array(list(mine.values())), alpha)
    if baseline is None:
        return _not_applicable(group, rule, "Nothing is in force to compare with.")
    theirs = _cells(baseline, group)
    items = sorted(mine.keys() & theirs.keys())
    if len(items) < 2:
        return _not_applicable(group, rule, f"The {group} of both sides is known for {len(items)} cases.")
    a, b = np.array([mine[item] for item in items]), np.array([theirs[item] for item in items])
    if rule.metric == "p95_ratio":
        low, high = float(np.percentile(b, 95)), float(np.percentile(a, 95))
        if low <= 0:
            return _not_applicable(group, rule, "The baseline took no time.")
        return _decided(group, rule, high / low, high / low, len(items), "ratio of the 95th percentiles, observed")
    about = {row.item: row for row in candidate.results}
    found = ratio_of_means(a, b, cluster_codes([about[item].cluster for item in items]))
    if found is None:
        return _not_applicable(group, rule, f"A side's {group} is 0.")
    bounds = found.bounds(alpha)
    bound = found.ratio if rule.bound == "observed" or bounds is None else bounds[1]
    low_bound = found.ratio if bounds is None else bounds[0]
    return _decided(group, rule, found.ratio, bound, len(items), "ratio of means, log scale", low_bound)


def _own_limit(group: str, rule: RatioRule, values: Floats, alpha: float) -> RuleOutcome:
    if len(values) == 0:
        return _not_applicable(group, rule, f"The {group} of no answer is known.")
    if rule.metric == "p95_ms":
        found = quantile_upper(values, 0.95, alpha)
        bound = found.value if rule.bound == "observed" else found.upper
        if bound is None:
            return _decided(group, rule, found.value, float("inf"), len(values), "order statistics", found.value)
        return _decided(group, rule, found.value, bound, len(values), "order statistics")
    mean = estimate_mean(values)
    bounds = mean.bounds(alpha)
    bound = mean.mean if rule.bound == "observed" or bounds is None else bounds[1]
    return _decided(group, rule, mean.mean, bound, len(values), "t", None if bounds is None else bounds[0])


def _decided(
    group: str, rule: RatioRule, observed: float, bound: float, n: int, method: str, low: float | None = None
) -> RuleOutcome:
    floor = observed if low is None else low
    outcome: Outcome = "pass" if bound <= rule.max else "fail" if floor > rule.max else "inconclusive"
    return RuleOutcome(
        rule=group,
        metric=rule.metric,
        outcome=outcome,
        observed=observed,
        bound=None if bound == float("inf") else bound,
        limit=rule.max,
        n=n,
        method=method,
        sentence=f"{rule.metric} is {observed:.4g} over {n} cases (upper bound {bound:.4g}); "
        f"at most {rule.max:g} is asked.",
    )


def _not_applicable(group: str, rule: RatioRule, sentence: str) -> RuleOutcome:
    return RuleOutcome(rule=group, metric=rule.metric, outcome="not_applicable", limit=rule.max, sentence=sentence)


# Judges.


def judges(policy: Policy, candidate: RunFacts) -> Iterator[RuleOutcome]:
    """One outcome for each judge that the run asked."""
    wanted = policy.judge
    if wanted is None:
        return
    if not candidate.judges:
        yield RuleOutcome(rule="judge", metric="judge", outcome="not_applicable", sentence="The suite asks no judge.")
    for name, card in sorted(candidate.judges.items()):
        problems = ["it has no card: headgate judge calibrate"]
        if card is not None:
            problems = []
            kappa_low = None if card.kappa_interval is None else card.kappa_interval[0]
            if card.state != "calibrated":
                problems.append(f"its card has expired ({card.reason})")
            if wanted.max_age_s is not None and card.age_s(candidate.now_us) > wanted.max_age_s:
                problems.append(f"its card is older than {wanted.max_age_s / 86_400:g} days")
            if wanted.kappa_lower is not None and (kappa_low is None or kappa_low < wanted.kappa_lower):
                problems.append(f"the lower bound of its kappa is {_shown(kappa_low)}, {wanted.kappa_lower:g} is asked")
            if wanted.beats_longest and card.beats_longest is not True:
                problems.append("it was not shown to beat the rule of the longest answer")
            if wanted.swap_consistency is not None and (
                card.swap_consistency is None or card.swap_consistency < wanted.swap_consistency
            ):
                problems.append(f"its swap consistency is {_shown(card.swap_consistency)}")
        yield RuleOutcome(
            rule="judge",
            metric=name,
            outcome="fail" if problems else "pass",
            observed=None if card is None else card.kappa,
            limit=wanted.kappa_lower,
            n=None if card is None else card.n,
            method="Cohen's kappa",
            sentence=f"The judge {name} is calibrated."
            if not problems
            else f"The judge {name}: {'; '.join(problems)}.",
        )


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
