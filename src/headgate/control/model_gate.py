"""The gate of classic models: a version against what an alias means now, on labelled rows, all of it computed here.

The policy is that of prompts, held against scores per row (`model_scores`); beside it the stored sample must still be
answered as at registration, and callers of the version in force must be able to call the new one as they do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.control import model_scores
from headgate.control.access import Principal
from headgate.control.eval_runs import new_id
from headgate.control.gates import DEFAULT_POLICY, Gated
from headgate.control.model_runs import replay
from headgate.control.model_scores import CORRECT, METHOD, Scored
from headgate.control.policies import policy_of
from headgate.control.publish import name_of
from headgate.control.scoring import result_sha256
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest
from headgate.core.ids import now_us
from headgate.core.protection import SHIPPED_POLICIES, rule_for
from headgate.core.served_models import CHAMPION
from headgate.core.signature import changes_of_signature
from headgate.evals.facts import RunFacts, ScorerFacts
from headgate.evals.results import Result
from headgate.registry import datasets, models, receipts
from headgate.registry.datasets import DatasetVersion
from headgate.registry.model_rows import Evidence, ModelVersion
from headgate.registry.receipts import Decision, Receipt
from headgate.stats.proportions import wilson

if TYPE_CHECKING:
    from headgate.evals.dataset import Row
    from headgate.evals.policy import ModelRule, Policy
    from headgate.evals.verdict import RuleOutcome, Verdict

SCORER_TYPE = "model"


class GateModel(msgspec.Struct, forbid_unknown_fields=True):
    """What is judged: a version on a dataset (`name` or `name@3`), for becoming ``alias``; against what that means now
    unless ``against`` names another alias. ``policy``: a name that ships or a policy's text; else the server's rule."""

    version: int | str
    dataset: str
    alias: str = CHAMPION
    against: str | None = None
    policy: str | None = None


@dataclass(frozen=True, kw_only=True)
class GatedModel:
    """The gate's answer, and the scores it rests on as people read them."""

    gated: Gated
    metrics: list[dict[str, Any]]
    dataset: DatasetVersion
    candidate: ModelVersion
    baseline: ModelVersion | None


def gate(control: ControlApp, who: Principal, name: str, wanted: GateModel) -> GatedModel:
    """Blocking: judge a version. Raises NotFound, MalformedRequest, PolicyFault, ConfigurationError, Unavailable."""
    registry, home = control.publisher.registry, control.home.path
    candidate = models.get_version(registry, name, wanted.version)
    baseline = _baseline(control, name, wanted)
    policy = _policy(control, name, wanted)
    dataset = _dataset(control, wanted.dataset)
    rows = _rows(control, dataset)
    limits = control.settings.models
    attempt = receipts.attempts(registry, dataset.sha256) + 1
    test = new_id("mtest")
    facts = _facts(test, candidate, rows, model_scores.score(home, limits, candidate, rows), attempt)
    other = None
    if baseline is not None:
        other = _facts(test, baseline, rows, model_scores.score(home, limits, baseline, rows), attempt)
    verdict = _judged(policy, facts, other, _own_rules(control, candidate, baseline, policy.model))
    decision = _decision(who, wanted, dataset, facts, other, verdict)
    no_receipt = _no_receipt(candidate, baseline, verdict)
    given = (_receipt(decision, candidate, baseline, facts, policy),) if no_receipt is None else ()
    receipts.store(registry, decision, given, about=f"model:{candidate.name}")
    metrics = _metrics(facts, other, verdict)
    report = {
        "decision": decision.id,
        "receipt": given[0].id if given else None,
        "verdict": verdict.verdict,
        "dataset": f"{dataset.name}@{dataset.number}",
        "against": None if baseline is None else baseline.number,
        "metrics": metrics,
    }
    models.add_evidence(registry, name, candidate.number, "gate", verdict.verdict == "pass", report, who=name_of(who))
    gated = Gated(
        decisions=(decision,),
        verdicts=(verdict,),
        receipts=given,
        no_receipt=no_receipt,
    )
    return GatedModel(gated=gated, metrics=metrics, dataset=dataset, candidate=candidate, baseline=baseline)


# What is judged, on what, by which rules.


def _baseline(control: ControlApp, name: str, wanted: GateModel) -> ModelVersion | None:
    registry = control.publisher.registry
    model = models.get_model(registry, name)
    alias = wanted.against or wanted.alias
    if alias in model.aliases:
        return models.get_version(registry, name, alias)
    if wanted.against is not None and wanted.against != wanted.alias:
        raise MalformedRequest(
            f"{name} has no alias {wanted.against[:64]} to compare with. "
            f"Aliases: {', '.join(model.aliases) or 'none'}.",
            code="baseline_missing",
            hint="Leave it out: then the version is compared with what the alias means now.",
        )
    return None


def _policy(control: ControlApp, name: str, wanted: GateModel) -> "Policy":
    from headgate.evals.policy import load_policy, shipped_policy

    if wanted.policy is not None:
        is_name = wanted.policy in SHIPPED_POLICIES
        return shipped_policy(wanted.policy) if is_name else load_policy(wanted.policy, "policy")
    rule = rule_for(control.settings, "model", name, wanted.alias)
    return shipped_policy(DEFAULT_POLICY) if rule is None else policy_of(rule)


def _dataset(control: ControlApp, reference: str) -> DatasetVersion:
    name, _, version = reference.partition("@")
    return datasets.get(control.publisher.registry, name, version or None)


def _rows(control: ControlApp, dataset: DatasetVersion) -> "Sequence[Row]":
    from headgate.evals.dataset import read_dataset

    data = datasets.rows_of(control.home.path, dataset)
    return read_dataset(data.splitlines(), dataset.name, name=dataset.name).rows


def _facts(test: str, version: ModelVersion, rows: "Sequence[Row]", scored: Scored, attempt: int) -> RunFacts:
    """One side as the gate is told of it."""
    system = f"{version.name}@{version.number}"
    results = [
        Result(
            run=test,
            item=row.id,
            system=system,
            scorer=scorer.id,
            value=found.values.get(scorer.id),
            status="ok" if scorer.id in found.values else "unscored",
            tags=row.tags,
            cluster=row.cluster,
            reason=found.problem,
        )
        for row, found in zip(rows, scored.rows, strict=True)
        for scorer in scored.scorers
    ]
    scorers = {
        scorer.id: ScorerFacts(id=scorer.id, type=SCORER_TYPE, direction=scorer.direction, role=scorer.role)
        for scorer in scored.scorers
    }
    return RunFacts(
        run=test,
        system=system,
        results=results,
        scorers=scorers,
        items_planned=len(rows),
        attempts=attempt,
        now_us=now_us(),
    )


# Rules that models have beside those of the policy.


def _judged(policy: "Policy", facts: RunFacts, other: RunFacts | None, own: "Sequence[RuleOutcome]") -> "Verdict":
    from headgate.evals.gate import judge_gate

    found = judge_gate(policy, facts, other)
    rules = (*own, *(rule for rule in found.rules if rule.metric != "must_pass"))  # what only a suite can have
    outcomes = {rule.outcome for rule in rules}
    return msgspec.structs.replace(
        found,
        rules=rules,
        verdict="fail" if "fail" in outcomes else "inconclusive" if "inconclusive" in outcomes else "pass",
    )


def _own_rules(
    control: ControlApp, candidate: ModelVersion, baseline: ModelVersion | None, rule: "ModelRule | None"
) -> "list[RuleOutcome]":
    return [
        _replayed(control, candidate),
        _parity(control, candidate, is_required=rule is not None and rule.parity == "required"),
        _signature(candidate, baseline, is_any=rule is not None and rule.signature == "any"),
    ]


def _replayed(control: ControlApp, candidate: ModelVersion) -> "RuleOutcome":
    """The stored sample, run again now."""
    bundle = control.home.path / "models" / candidate.sha256
    report = replay(bundle, control.settings.models, check=True)
    found = report.get("parity") or {}
    return _outcome(
        "parity",
        "sample",
        bool(found.get("passed")),
        f"The stored sample is answered as at registration in {found.get('rows_equal')} of {found.get('rows')} rows.",
        observed=found.get("max_difference"),
        limit=found.get("tolerance"),
        n=found.get("rows"),
    )


def _parity(control: ControlApp, candidate: ModelVersion, *, is_required: bool) -> "RuleOutcome":
    """What the training process answered, against what is served."""
    from headgate.evals.verdict import RuleOutcome

    found = newest(models.evidence(control.publisher.registry, candidate.name, candidate.number), "parity")
    if found is None:
        sentence = "The training process sent no predictions to compare with; headgate.register_model sends them."
        outcome = "fail" if is_required else "not_applicable"
        return RuleOutcome(rule="parity", metric="training", outcome=outcome, sentence=sentence)  # type: ignore[arg-type]
    report = found.report
    return _outcome(
        "parity",
        "training",
        found.passed,
        f"{report.get('rows_equal')} of {report.get('rows')} rows are what the training process predicted.",
        observed=report.get("max_difference"),
        limit=report.get("tolerance"),
        n=report.get("rows"),
    )


def _signature(candidate: ModelVersion, baseline: ModelVersion | None, *, is_any: bool) -> "RuleOutcome":
    from headgate.evals.verdict import RuleOutcome

    if baseline is None:
        sentence = "Nothing is in force yet to compare with."
        return RuleOutcome(rule="signature", metric="callers", outcome="not_applicable", sentence=sentence)
    changes = changes_of_signature(baseline.signature, candidate.signature)
    if changes and is_any:
        sentence = f"Callers of version {baseline.number} will notice, which the policy allows: {'; '.join(changes)}."
        return RuleOutcome(rule="signature", metric="callers", outcome="not_applicable", sentence=sentence)
    return _outcome(
        "signature",
        "callers",
        not changes,
        f"Callers of version {baseline.number} would have to change: {'; '.join(changes)}."
        if changes
        else f"It can be called as version {baseline.number} is.",
    )


def _outcome(rule: str, metric: str, is_passed: bool, sentence: str, **figures: Any) -> "RuleOutcome":
    from headgate.evals.verdict import RuleOutcome

    return RuleOutcome(rule=rule, metric=metric, outcome="pass" if is_passed else "fail", sentence=sentence, **figures)


def newest(evidence: Sequence[Evidence], kind: str) -> Evidence | None:
    """The newest piece of a kind, of a list that begins with the newest."""
    return next((one for one in evidence if one.kind == kind), None)


# What is kept.


def _decision(
    who: Principal,
    wanted: GateModel,
    dataset: DatasetVersion,
    facts: RunFacts,
    other: RunFacts | None,
    verdict: "Verdict",
) -> Decision:
    return Decision(
        id=new_id("gate"),
        at_us=facts.now_us,
        candidate_run=facts.run,
        candidate_system=facts.system,
        baseline_run=None if other is None else other.run,
        baseline_system=None if other is None else other.system,
        alias=wanted.against or wanted.alias,
        suite=dataset.name,
        suite_sha256=_method_sha256(facts),
        dataset=dataset.name,
        dataset_sha256=dataset.sha256,
        policy=verdict.policy,
        policy_sha256=verdict.policy_sha256,
        verdict=verdict.verdict,
        grade=verdict.grade,
        attempt=facts.attempts,
        detail=msgspec.to_builtins(verdict),
        who=name_of(who),
    )


def _no_receipt(candidate: ModelVersion, baseline: ModelVersion | None, verdict: "Verdict") -> str | None:
    """Why there is nothing to promote; None when there is."""
    if verdict.verdict != "pass":
        return "the gate was not passed"
    if baseline is not None and baseline.sha256 == candidate.sha256:
        return "it is in force already, and was compared with itself"
    return None


def _receipt(
    decision: Decision, candidate: ModelVersion, baseline: ModelVersion | None, facts: RunFacts, policy: "Policy"
) -> Receipt:
    assert decision.suite and decision.suite_sha256 and decision.dataset and decision.dataset_sha256
    expires_s = policy.receipt_expires_s
    return Receipt(
        id=new_id("rcpt"),
        decision=decision.id,
        kind="model",
        object=candidate.name,
        number=candidate.number,
        sha256=candidate.sha256,
        alias=decision.alias,
        policy=decision.policy,
        policy_sha256=decision.policy_sha256,
        suite=decision.suite,
        suite_sha256=decision.suite_sha256,
        dataset=decision.dataset,
        dataset_sha256=decision.dataset_sha256,
        judge_cards=(),
        baseline_sha256=None if baseline is None else baseline.sha256,
        result_sha256=result_sha256(facts.results),
        grade=decision.grade,
        issued_at_us=decision.at_us,
        expires_at_us=None if expires_s is None else decision.at_us + round(expires_s * 1e6),
        who=decision.who,
    )


def _method_sha256(facts: RunFacts) -> str:
    """What the scores of a model are: the method and the scorers that applied."""
    from headgate.evals.canonical import digest

    return digest({"method": METHOD, "scorers": sorted(facts.scorers)})


def _metrics(facts: RunFacts, other: RunFacts | None, verdict: "Verdict") -> list[dict[str, Any]]:
    """`[{name, better, value, low, high, n, baseline, difference, difference_low, difference_high, wins, losses}]`:
    95 % intervals, the difference's from the pairs; what needs a baseline is null without one."""
    if verdict.comparison is None:
        return [_alone(name, facts) for name in facts.scorers]
    found = []
    for one in verdict.comparison.scorers:
        mine, apart = one.a.interval, one.tango or one.interval
        low, high = (None, None) if mine is None else (mine.low, mine.high)
        if one.scorer == CORRECT.id:  # a share: its interval stays between 0 and 1
            low, high = wilson(round(one.a.mean * one.n), one.n)
        found.append(
            {
                "name": one.scorer,
                "better": one.direction,
                "value": one.a.mean,
                "low": low,
                "high": high,
                "n": one.n,
                "baseline": one.b.mean,
                "difference": one.difference,
                "difference_low": None if apart is None else apart.low,
                "difference_high": None if apart is None else apart.high,
                "wins": one.wins,
                "losses": one.losses,
            }
        )
    return found


def _alone(name: str, facts: RunFacts) -> dict[str, Any]:
    import numpy as np

    from headgate.stats.means import estimate_mean

    values = [row.value for row in facts.results if row.scorer == name and row.value is not None]
    mean = estimate_mean(np.array(values, dtype=float)) if values else None
    bounds = None if mean is None else mean.bounds(0.025)
    if mean is not None and name == CORRECT.id:
        bounds = wilson(round(sum(values)), len(values))
    return {
        "name": name,
        "better": facts.scorers[name].direction,
        "value": None if mean is None else mean.mean,
        "low": None if bounds is None else bounds[0],
        "high": None if bounds is None else bounds[1],
        "n": len(values),
        "baseline": None,
        "difference": None,
        "difference_low": None,
        "difference_high": None,
        "wins": None,
        "losses": None,
    }
