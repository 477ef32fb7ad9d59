"""The gate: a policy held against two runs gives pass, fail or inconclusive, rule by rule.

A rule passes only when a confidence bound proves it, fails when a bound disproves it, and is inconclusive between. All
rules must pass, which is an intersection-union test: no correction is needed for a false pass (docs/design/gate.md).
"""

from collections.abc import Sequence

from headgate.evals import gate_guards, gate_rules
from headgate.evals.compare import Comparison, compare
from headgate.evals.facts import RunFacts, ScorerFacts
from headgate.evals.policy import Grade, Policy
from headgate.evals.results import Result
from headgate.evals.verdict import Verdict


def judge_gate(policy: Policy, candidate: RunFacts, baseline: RunFacts | None) -> Verdict:
    """What the policy says of the candidate; without a baseline its comparative rules do not apply."""
    comparison: Comparison | None = None
    if baseline is not None:
        directions = {name: facts.direction for name, facts in candidate.scorers.items()}
        comparison = compare(
            candidate.results, baseline.results, directions=directions, slices=policy.slices.by if policy.slices else ()
        )
    rules = (
        *gate_guards.asks_something(candidate),
        *gate_guards.quality(policy, candidate, comparison),
        *gate_rules.floors(policy, candidate, has_baseline=baseline is not None),
        *gate_rules.paired(policy, candidate, baseline, comparison),
        *gate_rules.sliced(policy, candidate, comparison),
        *gate_guards.ratios(policy, candidate, baseline),
        *gate_guards.judges(policy, candidate),
        *gate_rules.power(policy, candidate, baseline, comparison),
    )
    outcomes = {rule.outcome for rule in rules}
    grade, warnings = _grade(policy, candidate)
    return Verdict(
        verdict="fail" if "fail" in outcomes else "inconclusive" if "inconclusive" in outcomes else "pass",
        grade=grade,
        policy=policy.name,
        policy_sha256=policy.sha256,
        candidate=candidate.system,
        baseline=None if baseline is None else baseline.system,
        rules=rules,
        comparison=comparison,
        attempts=candidate.attempts,
        warnings=(*warnings, *(comparison.warnings if comparison else ())),
    )


def facts_of_import(results: Sequence[Result], *, run: str | None = None) -> RunFacts:
    """Imported results as a side of the gate: every scorer is primary, and higher is better."""
    names = sorted({result.scorer for result in results})
    return RunFacts(
        run=run or (results[0].run if results else ""),
        system=results[0].system if results else "",
        results=results,
        scorers={name: ScorerFacts(id=name, source="client") for name in names},
    )


def _grade(policy: Policy, candidate: RunFacts) -> tuple[Grade, tuple[str, ...]]:
    """The policy's grade; C where values of a client decided, as nobody could check them."""
    given = sorted(
        name for name, facts in candidate.scorers.items() if facts.source == "client" and facts.role != "info"
    )
    if not given or policy.grade == "C":
        return policy.grade, ()
    return "C", (f"grade C: a client computed {', '.join(given[:5])}",)
