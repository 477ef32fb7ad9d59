"""What a planned run could show: the policy's paired rules over the spread of an earlier run, or of an assumption."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.control.eval_shapes import Detect
from headgate.control.gates import facts_of, policy_named
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest
from headgate.registry import runs
from headgate.registry.runs import Run

if TYPE_CHECKING:
    from headgate.evals.detectable import Spread
    from headgate.evals.facts import RunFacts
    from headgate.stats.bounds import Differences

DEFAULT_POWER = 0.8
_LOOK_AT = 50


def detect(control: ControlApp, wanted: Detect) -> dict[str, Any]:
    """Blocking: `{policy, alpha, power, cases, clusters, min_items, rules}`; raises MalformedRequest, PolicyFault."""
    from headgate.evals.detectable import detectable
    from headgate.evals.facts import RunFacts, ScorerFacts
    from headgate.evals.gate_rules import chosen

    if wanted.cases < 1 or (wanted.clusters is not None and not 1 <= wanted.clusters <= wanted.cases):
        raise MalformedRequest(f"cases={wanted.cases} and clusters={wanted.clusters} are no plan.")
    policy = policy_named(control, wanted.policy, wanted.prompt, wanted.alias)
    power = policy.power_min or DEFAULT_POWER
    scorers = {name: ScorerFacts(id=name) for name in wanted.primary}
    scorers |= {name: ScorerFacts(id=name, must_pass=True) for name in wanted.must_pass}
    planned = RunFacts(run="", system="", results=(), scorers=scorers)
    pilot = _Pilot(control, wanted)
    asked = []
    for rule in policy.primary:
        for scorer in chosen(rule.metric, planned):
            spread, assumed = pilot.spread(scorer.id)
            asked.append((rule, scorer.id, spread, assumed))
    found = detectable(asked, wanted.clusters or wanted.cases, alpha=policy.alpha, power=power)
    return {
        "policy": policy.name,
        "alpha": policy.alpha,
        "power": power,
        "cases": wanted.cases,
        "clusters": wanted.clusters,
        "min_items": None if policy.quality_of_run is None else policy.quality_of_run.min_items,
        "rules": msgspec.to_builtins(found),
    }


class _Pilot:
    """The newest complete runs of a suite, for what they tell of how differences vary."""

    def __init__(self, control: ControlApp, wanted: Detect) -> None:
        self._registry = control.publisher.registry
        listed = runs.list_runs(self._registry, suite=wanted.suite, prompt=wanted.prompt, limit=_LOOK_AT)
        self._runs = [run for run in listed if run.kind == "eval" and run.status == "complete"]
        self._facts: dict[str, RunFacts] = {}

    def spread(self, scorer: str) -> "tuple[Spread, str]":
        """How a scorer's differences vary, and in words what that rests on."""
        from headgate.evals.detectable import DEFAULT_DISCORDANT, default_spread, spread_of
        from headgate.evals.gate_rules import differences_of

        for one, other in self._pairs():
            mine, theirs = self._of(one), self._of(other)
            found = differences_of(mine.scorers[scorer], mine, theirs) if scorer in mine.scorers else None
            if found is not None and (seen := spread_of(found)) is not None and seen.sd > 0:
                return seen, f"differences vary as between {one.system} and {other.system} ({one.id})"
        for one in self._runs:
            mine = self._of(one)
            if scorer not in mine.scorers or mine.scorers[scorer].equal_at is not None:
                continue
            scores = _scores(mine, scorer)
            seen = spread_of(scores) if len(scores.values) else None
            if seen is not None and seen.sd > 0:
                # Of two versions correlated by a half, the difference varies as much as one of them.
                return replace(
                    seen, skew=0.0
                ), f"scores vary as in {one.id}, and those of two versions go together by a half"
        share = f"{DEFAULT_DISCORDANT:.0%}"
        return default_spread(), f"no earlier run tells: {share} of the cases differ, each by a whole point"

    def _pairs(self) -> list[tuple[Run, Run]]:
        """Two runs on the same cases, suite and judges, of different contents; the newest first."""
        return [
            (one, other)
            for at, one in enumerate(self._runs)
            for other in self._runs[at + 1 :]
            if one.prompt_sha256 != other.prompt_sha256
            and (one.dataset_sha256, one.suite_sha256) == (other.dataset_sha256, other.suite_sha256)
        ][:5]

    def _of(self, run: Run) -> "RunFacts":
        if run.id not in self._facts:
            self._facts[run.id] = facts_of(self._registry, run, None)
        return self._facts[run.id]


def _scores(facts: "RunFacts", scorer: str) -> "Differences":
    """One side's scores, as if held against nothing; their skewness says nothing about that of differences."""
    import numpy as np

    from headgate.evals.compare import cluster_codes, side_of
    from headgate.evals.gate_rules import rows_of
    from headgate.stats.bounds import Differences

    rows = rows_of(facts, scorer)
    means = side_of(rows).means
    clusters = {row.item: row.cluster for row in rows}
    items = sorted(means)
    values = np.array([means[item] for item in items])
    return Differences(values=values, clusters=cluster_codes([clusters[item] for item in items]))
