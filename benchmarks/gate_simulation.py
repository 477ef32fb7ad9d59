"""Ten thousand simulated promotions a scenario: how often the gate passes what it must not, and what it should.

    python benchmarks/gate_simulation.py [--promotions 10000] [--seed 20261123] [--markdown]

Every scenario has a true difference between candidate and production and draws the scores of both. At the margin a
pass is a false pass, allowed in 5 % of promotions; with no difference, at the planned number of cases, at least 80 %
shall pass. Beside it a plain threshold gate: candidate's mean at least production's mean minus the margin.
The decisions are computed for all promotions at once; `check` runs the real gate on the first of each scenario.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.evals.facts import RunFacts, ScorerFacts
from headgate.evals.gate import judge_gate
from headgate.evals.policy import Policy, load_policy
from headgate.evals.results import Result
from headgate.stats.bounds import FEW_DIFFERENT, critical_value
from headgate.stats.distributions import normal_quantile, t_quantile
from headgate.stats.paired import QUARTER_PAIR, tango_z
from headgate.stats.power import needed_for_bound, needed_pairs
from headgate.stats.proportions import exact_upper

ALPHA, POWER, SEED = 0.05, 0.8, 20261123
FEW = 60  # what the policy `standard` asks for at least
Table = NDArray[np.float64]  # promotions × items
Draw = Callable[[np.random.Generator, int, int, float], tuple[Table, Table]]  # chance, promotions, items, difference


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of suite. ``draw`` gives production's and the candidate's scores for a true difference."""

    name: str
    margin: float
    items: int
    draw: Draw
    per_cluster: int = 1
    is_binary: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How often of all promotions."""

    scenario: Scenario
    false_pass: float
    power: float
    threshold_false_pass: float
    threshold_false_block: float
    plain_t_false_pass: float
    few_false_pass: float  # with FEW cases only


def binary(rate: float, discordant: float) -> Draw:
    """Pass or fail: production passes with ``rate``, a share ``discordant`` of cases ends differently."""

    def draw(chance: np.random.Generator, promotions: int, items: int, difference: float) -> tuple[Table, Table]:
        better = max((discordant + difference) / 2, 0.0)
        worse = better - difference
        base = chance.random((promotions, items)) < rate
        # A case can get better only where production failed it, and worse only where production passed.
        flips = np.where(base, worse / rate, better / (1 - rate))
        other = base ^ (chance.random((promotions, items)) < flips)
        return base.astype(float), other.astype(float)

    return draw


def scores(spread: float, *, per_cluster: int = 1, shared: float = 0.0) -> Draw:
    """Scores around 0.6; the differences have ``spread``, of whose variance a part ``shared`` is its cluster's."""

    def draw(chance: np.random.Generator, promotions: int, items: int, difference: float) -> tuple[Table, Table]:
        base = chance.normal(0.6, 0.2, (promotions, items))
        of_cluster = chance.normal(0, spread * math.sqrt(shared), (promotions, items // per_cluster))
        own = chance.normal(0, spread * math.sqrt(1 - shared), (promotions, items))
        return base, base + difference + of_cluster.repeat(per_cluster, axis=1) + own

    return draw


def sparse(share: float, loss: float) -> Draw:
    """A ``share`` of cases loses ``loss`` whatever happens, the others waver a little around what makes up for it."""

    def draw(chance: np.random.Generator, promotions: int, items: int, difference: float) -> tuple[Table, Table]:
        base = chance.uniform(0.4, 0.6, (promotions, items))
        falls = np.where(chance.random((promotions, items)) < share, loss, 0.0)
        return base, base + chance.normal(difference + share * loss, 0.05, (promotions, items)) - falls

    return draw


def lognormal(sigma: float) -> Draw:
    """Every case changes, by a log-normal loss of 0.1 in the middle against an even gain."""

    def draw(chance: np.random.Generator, promotions: int, items: int, difference: float) -> tuple[Table, Table]:
        base = chance.uniform(0.4, 0.6, (promotions, items))
        gain = 0.1 * math.exp(sigma * sigma / 2)
        return base, base + difference + gain - 0.1 * chance.lognormal(0, sigma, (promotions, items))

    return draw


def skewed(share: float) -> Draw:
    """Most cases are the same; a ``share`` of them changes, to the worse by more than to the better."""

    def draw(chance: np.random.Generator, promotions: int, items: int, difference: float) -> tuple[Table, Table]:
        base = chance.uniform(0.4, 0.6, (promotions, items))
        changed = chance.random((promotions, items)) < share
        size = chance.exponential(0.3, (promotions, items)) - 0.3
        return base, base + np.where(changed, difference / share - size, 0.0)

    return draw


def scenarios() -> list[Scenario]:
    """Planned for 80 % power at no difference, by the functions that `headgate eval plan` uses."""
    found = []
    for rate, discordant, margin in ((0.8, 0.2, 0.05), (0.9, 0.1, 0.05), (0.93, 0.1, 0.02)):
        items = needed_pairs(margin, discordant) or 0
        name = f"pass or fail, production {rate:.0%}, {discordant:.0%} differ"
        draw = binary(rate, discordant)
        found.append(Scenario(name=name, margin=margin, items=items, draw=draw, is_binary=True))
    for spread, margin in ((0.15, 0.05), (0.3, 0.05), (0.1, 0.02)):
        items = needed_for_bound(margin, spread, skew=0.0) or 0
        found.append(Scenario(name=f"scores, differences ±{spread:g}", margin=margin, items=items, draw=scores(spread)))
    found += _long_losses()
    for clusters, size, shared in ((0, 5, 0.4), (0, 3, 0.7)):
        spread = 0.2
        of_mean = spread * math.sqrt(shared + (1 - shared) / size)
        clusters = needed_for_bound(0.05, of_mean, skew=0.0) or 0
        draw = scores(spread, per_cluster=size, shared=shared)
        name = f"scores in {clusters} clusters of {size}, {shared:.0%} shared"
        found.append(Scenario(name=name, margin=0.05, items=clusters * size, draw=draw, per_cluster=size))
    return found


def _long_losses() -> list[Scenario]:
    """Suites whose losses have a long tail: most cases stay as they are, or gain a little, and a few fall far."""
    found = []
    for share in (0.3, 0.1):
        items = needed_for_bound(0.05, 0.3 * math.sqrt(share), skew=-2 / math.sqrt(share)) or 0
        name = f"scores, {share:.0%} change, a few fall far"
        found.append(Scenario(name=name, margin=0.05, items=items, draw=skewed(share)))
    variance = 0.1 * 0.9 * 0.5**2 + 0.05**2
    items = needed_for_bound(0.05, math.sqrt(variance), skew=-(0.5**3) * 0.1 * 0.9 * 0.8 / variance**1.5) or 0
    found.append(Scenario(name="scores, one in ten loses a half", margin=0.05, items=items, draw=sparse(0.1, 0.5)))
    grown = math.exp(0.8**2)
    sd, skew = 0.1 * math.sqrt((grown - 1) * grown), -(grown + 2) * math.sqrt(grown - 1)
    items = needed_for_bound(0.05, sd, skew=skew) or 0
    found.append(Scenario(name="scores, all change, log-normal losses", margin=0.05, items=items, draw=lognormal(0.8)))
    return found


def passes(scenario: Scenario, base: Table, other: Table) -> NDArray[np.bool_]:
    """Whether the gate's lower bound is above -margin, for each promotion."""
    differences, margin = other - base, scenario.margin
    if scenario.is_binary:
        b, c = (differences > 0).sum(axis=1), (differences < 0).sum(axis=1)
        n = differences.shape[1]
        clears = np.asarray(tango_z(b - QUARTER_PAIR, c, n, -margin) > normal_quantile(1 - ALPHA))
        return np.where(b + c == 0, 1 - ALPHA ** (1 / n) < margin, clears)
    return _score_lows(scenario, differences, span_of(base, other)) > -margin


def span_of(base: Table, other: Table) -> Table:
    """The most by which one case can differ, as the gate takes it, for each promotion."""
    low = np.minimum(base.min(axis=1), other.min(axis=1))
    high = np.maximum(base.max(axis=1), other.max(axis=1))
    return np.where((low >= 0) & (high <= 1), 1.0, high - low)


def _score_lows(scenario: Scenario, differences: Table, span: Table) -> Table:
    promotions, items = differences.shape
    sums = differences.reshape(promotions, -1, scenario.per_cluster).sum(axis=2)
    units = sums.shape[1]
    mean = differences.mean(axis=1)
    centred = sums - mean[:, None] * scenario.per_cluster
    square = (centred**2).mean(axis=1)
    se = np.sqrt(units / (units - 1) * square * units) / items
    t = t_quantile(1 - ALPHA, units - 1)
    gamma = (centred**3).mean(axis=1) / np.where(square > 0, square, 1.0) ** 1.5
    lows = mean - critical_value(t, -gamma, units) * se
    lows = np.where(square > 0, lows, mean - span * (1 - ALPHA ** (1 / units)))
    worse, changed = (sums < 0).sum(axis=1), (sums != 0).sum(axis=1)
    for at in np.flatnonzero(changed < min(FEW_DIFFERENT, units / 2)):
        lows[at] = min(lows[at], -span[at] * exact_upper(int(worse[at]), units, ALPHA))
    return lows


def plain_t_passes(scenario: Scenario, base: Table, other: Table) -> NDArray[np.bool_]:
    """What the textbook t bound over items would say, clusters and skewness unseen."""
    differences = other - base
    n = differences.shape[1]
    se = differences.std(axis=1, ddof=1) / math.sqrt(n)
    return np.asarray(differences.mean(axis=1) - t_quantile(1 - ALPHA, n - 1) * se > -scenario.margin)


def threshold_passes(scenario: Scenario, base: Table, other: Table) -> NDArray[np.bool_]:
    """What a plain threshold says: the candidate's mean is at least production's minus the margin."""
    return np.asarray(other.mean(axis=1) >= base.mean(axis=1) - scenario.margin)


def simulate(scenario: Scenario, promotions: int, seed: int) -> Outcome:
    """Promotions at the margin, then as many without a difference."""
    chance = np.random.default_rng(seed)
    sums = np.zeros(6)
    done = 0
    while done < promotions:
        batch = min(1000, promotions - done)
        worse = scenario.draw(chance, batch, scenario.items, -scenario.margin)
        same = scenario.draw(chance, batch, scenario.items, 0.0)
        few = scenario.draw(chance, batch, FEW, -scenario.margin)
        sums += [
            passes(scenario, *worse).sum(),
            passes(scenario, *same).sum(),
            threshold_passes(scenario, *worse).sum(),
            batch - threshold_passes(scenario, *same).sum(),
            plain_t_passes(scenario, *worse).sum(),
            passes(scenario, *few).sum(),
        ]
        done += batch
    shares = [float(value) for value in sums / promotions]
    return Outcome(
        scenario=scenario,
        false_pass=shares[0],
        power=shares[1],
        threshold_false_pass=shares[2],
        threshold_false_block=shares[3],
        plain_t_false_pass=shares[4],
        few_false_pass=shares[5],
    )


def policy_of(scenario: Scenario) -> Policy:
    """The one rule that is simulated."""
    text = f"grade: B\nprimary:\n  - {{metric: score, non_inferior: {{margin: {scenario.margin}}}}}\n"
    return load_policy(text, "simulated.yaml")


def check(scenario: Scenario, promotions: int, seed: int) -> int:
    """Runs the real gate on promotions beside the vectorised decision; returns how many disagree."""
    chance = np.random.default_rng(seed)
    policy, disagreed = policy_of(scenario), 0
    for difference in (-scenario.margin, 0.0):
        base, other = scenario.draw(chance, promotions, scenario.items, difference)
        decided = passes(scenario, base, other)
        for at in range(promotions):
            candidate, production = _facts(scenario, other[at], "p@2"), _facts(scenario, base[at], "p@1")
            found = judge_gate(policy, candidate, production).verdict == "pass"
            disagreed += found != bool(decided[at])
    return disagreed


def _facts(scenario: Scenario, values: Table, system: str) -> RunFacts:
    rows = [
        Result(
            run=system,
            item=f"{at:06}",
            system=system,
            scorer="score",
            value=float(value),
            status="ok",
            cluster=None if scenario.per_cluster == 1 else f"c{at // scenario.per_cluster}",
        )
        for at, value in enumerate(values)
    ]
    return RunFacts(run=system, system=system, results=rows, scorers={"score": ScorerFacts(id="score")})


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The table of docs/gate-validation.md."""
    lines = [
        "| scenario | margin | cases | gate: false passes | gate: power | gate, 60 cases: false passes "
        "| threshold: false passes | threshold: good ones blocked | plain t: false passes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.scenario.name} | {one.scenario.margin:g} | {one.scenario.items} | {one.false_pass:.2%} "
        f"| {one.power:.1%} | {one.few_false_pass:.2%} | {one.threshold_false_pass:.1%} "
        f"| {one.threshold_false_block:.1%} | {one.plain_t_false_pass:.2%} |"
        for one in outcomes
    ]
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--promotions", type=int, default=10_000)
    arguments.add_argument("--seed", type=int, default=SEED)
    arguments.add_argument("--check", type=int, default=50, help="promotions a scenario that the real gate judges too")
    chosen = arguments.parse_args()
    started = time.process_time()
    found = [simulate(one, chosen.promotions, chosen.seed + at) for at, one in enumerate(scenarios())]
    print(markdown(found))
    print(
        f"\n{chosen.promotions:,} promotions a cell, seed {chosen.seed}, {time.process_time() - started:.0f} s of CPU"
    )
    if chosen.check:
        disagreed = sum(check(one, chosen.check, chosen.seed) for one in scenarios())
        total = 2 * chosen.check * len(scenarios())
        print(f"The real gate judged {total} of them; it disagreed with the simulation on {disagreed}.")


if __name__ == "__main__":
    main()
