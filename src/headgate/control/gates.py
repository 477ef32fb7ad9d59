"""The gate: stored results and a policy to a verdict, every one of them kept, and a receipt for a pass that is ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.control import eval_runs
from headgate.control.access import Principal
from headgate.control.eval_shapes import Gate
from headgate.control.gate_subjects import Subject, chosen_subject, subjects_of
from headgate.control.policies import policy_of
from headgate.control.publish import name_of
from headgate.control.scoring import neutral, result_sha256
from headgate.control.state import ControlApp
from headgate.control.yardsticks import yardstick_of
from headgate.core.errors import MalformedRequest
from headgate.core.ids import now_us
from headgate.core.protection import PRODUCTION, SHIPPED_POLICIES, rule_for
from headgate.evals.facts import CardFacts, RunFacts, ScorerFacts
from headgate.evals.results import Result, read_results
from headgate.registry import judge_cards, receipts, runs, suites
from headgate.registry.database import Database
from headgate.registry.judge_cards import JudgeCard
from headgate.registry.receipts import Decision, Receipt
from headgate.registry.runs import Run
from headgate.registry.targets import Kind

if TYPE_CHECKING:
    from headgate.evals.policy import Policy
    from headgate.evals.verdict import Verdict
    from headgate.evals.yardstick import Yardstick

_WORST = ("pass", "inconclusive", "fail")
DEFAULT_POLICY = "standard"


@dataclass(frozen=True, kw_only=True)
class Gated:
    """What a gate answered: the decision by each policy, the first by the rule's, and the receipts if there are any."""

    decisions: tuple[Decision, ...]
    verdicts: tuple["Verdict", ...]
    receipts: tuple[Receipt, ...]
    no_receipt: str | None  # why a pass brought none

    @property
    def worst(self) -> int:
        """Which of the verdicts decides: both must pass."""
        marks = [_WORST.index(verdict.verdict) for verdict in self.verdicts]
        return marks.index(max(marks))


def gate(control: ControlApp, who: Principal, wanted: Gate) -> Gated:
    """Blocking: judge a run. Raises NotFound, MalformedRequest, PolicyFault, ConfigurationError."""
    from headgate.evals.gate import judge_gate

    registry = control.publisher.registry
    candidate = _finished(registry, wanted.candidate)
    baseline = None if wanted.baseline is None else _finished(registry, wanted.baseline)
    _check_same(candidate, baseline)
    subjects = subjects_of(registry, candidate, baseline)
    subject = chosen_subject(subjects, wanted.object)
    policies = _policies(control, wanted, candidate, subject)
    earlier = receipts.attempts(registry, candidate.dataset_sha256)
    facts = facts_of(registry, candidate, wanted.candidate_system, attempts=earlier + 1)
    other = None
    if baseline is not None:
        other = facts_of(registry, baseline, wanted.baseline_system, attempts=earlier + 1)
    against = yardstick_of(control, candidate, wanted.alias or PRODUCTION)
    verdicts = tuple(_held(judge_gate(policy, facts, other), against) for policy in policies)
    made = _Decided(who, wanted, candidate, baseline, facts, other, earlier + 1)
    decisions = tuple(made.decision(policy, verdict) for policy, verdict in zip(policies, verdicts, strict=True))
    is_passed = all(verdict.verdict == "pass" for verdict in verdicts)
    no_receipt = _no_receipt(candidate, baseline, facts, subjects) if is_passed else "the gate was not passed"
    given: tuple[Receipt, ...] = ()
    if no_receipt is None:
        cards = _cards_used(registry, candidate)
        given = tuple(
            made.receipt(one, policies[0], verdicts[0], decisions[0], cards)
            for one in subjects
            if one == subject or rule_for(control.settings, one.kind, one.name, wanted.alias or PRODUCTION) is not None
        )
    about = None if subject is None else f"{subject.kind}:{subject.name}"
    for number, decision in enumerate(decisions):
        receipts.store(registry, decision, given if number == 0 else (), about=about)
    return Gated(decisions=decisions, verdicts=verdicts, receipts=given, no_receipt=no_receipt)


def _held(verdict: "Verdict", against: "Yardstick | None") -> "Verdict":
    """The verdict with what its suite and cases lack beside those in force; what is weaker is worth grade C."""
    if against is None or not against.weaker:
        return verdict if against is None else msgspec.structs.replace(verdict, yardstick=against)
    said = f"grade C: weaker than {against.since}, which is in force: {'; '.join(against.weaker)}"
    return msgspec.structs.replace(verdict, yardstick=against, grade="C", warnings=(*verdict.warnings, said))


def results_of(registry: Database, run: Run, system: str | None = None) -> list[Result]:
    """The results of a run in their neutral form, of one system where it holds several."""
    if run.kind == "import":
        lines = (line.encode() for line in runs.imported_lines(registry, run.id))
        found = read_results(lines, run.id)
    else:
        found = neutral(run, runs.cells_of(registry, run.id), runs.results_of(registry, run.id))
    systems = sorted({result.system for result in found})
    if system is None and len(systems) > 1:
        raise MalformedRequest(
            f"{run.id} holds results of {len(systems)} systems: {', '.join(systems[:10])}.",
            code="system_needed",
            hint="Name the one that is meant.",
        )
    if system is not None and system not in systems:
        raise MalformedRequest(
            f'{run.id} holds no results of "{system[:100]}". Systems: {", ".join(systems[:10]) or "none"}.',
            code="system_missing",
        )
    return [result for result in found if system is None or result.system == system]


def facts_of(registry: Database, run: Run, system: str | None, *, attempts: int = 1) -> RunFacts:
    """A run as the gate is told of it."""
    found = results_of(registry, run, system)
    if run.kind == "import":
        from headgate.evals.gate import facts_of_import

        return facts_of_import(found)
    now = now_us()
    items = {cell.item for cell in runs.cells_of(registry, run.id)}
    return RunFacts(
        run=run.id,
        system=run.system,
        results=found,
        scorers={name: _scorer_facts(facts) for name, facts in run.scorers.items()},
        items_planned=len(items) or None,
        judges={name: _card_facts(registry, run, name, now) for name in _judges_used(run)},
        attempts=attempts,
        now_us=now,
    )


def rubric_sha256(run_scorers: Mapping[str, Any], judge: str) -> str:
    """What the scorers of a judge ask it beside its prompt: their types, versions and parameters."""
    from headgate.evals.canonical import digest

    asked = [
        {"type": one["type"], "version": one["version"], "params": one.get("params_sha256")}
        for _, one in sorted(run_scorers.items())
        if one.get("judge") == judge
    ]
    return digest(asked)


def _scorer_facts(stored: Mapping[str, Any]) -> ScorerFacts:
    return ScorerFacts(**{name: value for name, value in stored.items() if name != "params_sha256"})


def _finished(registry: Database, run_id: str) -> Run:
    run = runs.get(registry, run_id)
    if run.kind != "import" and run.finished_at_us is None:
        raise MalformedRequest(
            f"{run_id} is not finished.", code="run_unfinished", hint=f"Go on with it: headgate eval resume {run_id}"
        )
    return run


def _check_same(candidate: Run, baseline: Run | None) -> None:
    if baseline is None or "import" in (candidate.kind, baseline.kind):
        return
    if candidate.dataset_sha256 != baseline.dataset_sha256:
        raise MalformedRequest(
            f"{candidate.id} ran dataset {candidate.dataset}@{candidate.dataset_number}, {baseline.id} ran "
            f"{baseline.dataset}@{baseline.dataset_number}; only the same cases can be compared.",
            code="baseline_differs",
            hint="Run the baseline on the candidate's dataset.",
        )
    if candidate.suite_sha256 != baseline.suite_sha256 or candidate.judges != baseline.judges:
        raise MalformedRequest(
            f"{candidate.id} and {baseline.id} were not scored alike: the suite or its judges differ.",
            code="baseline_differs",
            hint="Run the baseline again with the candidate's suite; answers that are in the log are not asked again.",
        )


def _policies(control: ControlApp, wanted: Gate, candidate: Run, subject: Subject | None) -> "list[Policy]":
    """The policy asked for (else the rule's, else standard), and the suite's own beside it."""
    kind = "prompt" if subject is None else subject.kind
    name = (candidate.prompt or candidate.system.rpartition("@")[0]) if subject is None else subject.name
    found = [policy_named(control, wanted.policy, name, wanted.alias or PRODUCTION, kind=kind)]
    own = _suite_policy(control.publisher.registry, candidate)
    if own is None:
        return found
    if own not in SHIPPED_POLICIES and "\n" not in own:
        if wanted.policy is None:
            raise MalformedRequest(
                f"The suite {candidate.suite} names the policy {own[:100]}, a file that is not here.",
                code="policy_needed",
                hint="Send its text as policy.",
            )
        return found
    beside = _policy_text(own, f"policy of suite {candidate.suite}")
    return found if beside.sha256 == found[0].sha256 else [*found, beside]


def policy_named(control: ControlApp, text: str | None, name: str, alias: str, *, kind: Kind = "prompt") -> "Policy":
    """The policy asked for by a shipped name or a text; else that of the rule covering the alias; else standard.

    Raises PolicyFault, ConfigurationError.
    """
    from headgate.evals.policy import shipped_policy

    if text is not None:
        return _policy_text(text, "policy")
    rule = rule_for(control.settings, kind, name, alias)
    return shipped_policy(DEFAULT_POLICY) if rule is None else policy_of(rule)


def _policy_text(text: str, file: str) -> "Policy":
    from headgate.evals.policy import load_policy, shipped_policy

    return shipped_policy(text) if text in SHIPPED_POLICIES else load_policy(text, file)


def _suite_policy(registry: Database, run: Run) -> str | None:
    kept = None if run.text_sha256 is None else suites.by_text(registry, run.text_sha256)
    if kept is None:
        return None
    from headgate.evals.suite import load_suite

    return load_suite(kept.text, kept.file).policy


def _no_receipt(candidate: Run, baseline: Run | None, facts: RunFacts, subjects: Sequence[Subject]) -> str | None:
    """Why a pass is no evidence for a move; None when it is."""
    if candidate.kind != "eval" or (baseline is not None and baseline.kind == "import"):
        return "imported results are not evidence of this log"
    if candidate.status != "complete":
        return "the run is not complete"
    if not any(scorer.source == "control" for scorer in facts.scorers.values()):
        return "every score came from the client"
    return None if subjects else "the two sides differ in more than the version that is judged"


def _judges_used(run: Run) -> list[str]:
    return sorted({str(one["judge"]) for one in run.scorers.values() if one.get("judge")} & set(run.judges))


def card_for(registry: Database, run: Run, judge: str, at_us: int) -> tuple[JudgeCard | None, str]:
    """The newest card that speaks for a run's judge, or why the newest does not."""
    known = run.judges[judge]
    name = str(known["ref"]).rpartition("@")[0]
    rubric = rubric_sha256(run.scorers, judge)
    reason = ""
    for card in judge_cards.list_cards(registry, name):
        fault = card.fault(known["sha256"], known["model"], rubric, at_us)
        if fault is None:
            return card, ""
        reason = reason or fault
    return None, reason


def _card_facts(registry: Database, run: Run, judge: str, at_us: int) -> CardFacts | None:
    card, reason = card_for(registry, run, judge, at_us)
    if card is not None:
        return msgspec.convert({**card.facts, "created_at_us": card.created_at_us}, CardFacts)
    if not reason:
        return None
    newest = judge_cards.list_cards(registry, str(run.judges[judge]["ref"]).rpartition("@")[0], 1)[0]
    found = msgspec.convert({**newest.facts, "created_at_us": newest.created_at_us}, CardFacts)
    return msgspec.structs.replace(found, state="expired", reason=reason)


def _cards_used(registry: Database, run: Run) -> tuple[str, ...]:
    found = (card_for(registry, run, judge, now_us())[0] for judge in _judges_used(run))
    return tuple(card.id for card in found if card is not None)


class _Decided:
    """Makes the records of one gate."""

    def __init__(
        self,
        who: Principal,
        wanted: Gate,
        candidate: Run,
        baseline: Run | None,
        facts: RunFacts,
        other: RunFacts | None,
        attempt: int,
    ) -> None:
        self._who, self._wanted, self._candidate, self._baseline = name_of(who), wanted, candidate, baseline
        self._facts, self._other, self._attempt, self._at_us = facts, other, attempt, now_us()

    def decision(self, policy: "Policy", verdict: "Verdict") -> Decision:
        """The verdict of one policy as it is kept."""
        one = self._candidate
        return Decision(
            id=eval_runs.new_id("gate"),
            at_us=self._at_us,
            candidate_run=one.id,
            candidate_system=self._facts.system,
            baseline_run=None if self._baseline is None else self._baseline.id,
            baseline_system=None if self._other is None else self._other.system,
            alias=self._wanted.alias,
            suite=one.suite,
            suite_sha256=one.suite_sha256,
            dataset=one.dataset,
            dataset_sha256=one.dataset_sha256,
            policy=policy.name,
            policy_sha256=policy.sha256,
            verdict=verdict.verdict,
            grade=self._grade(verdict.grade),
            attempt=self._attempt,
            detail=msgspec.to_builtins(verdict),
            who=self._who,
        )

    def receipt(
        self, subject: Subject, policy: "Policy", verdict: "Verdict", decision: Decision, cards: Sequence[str]
    ) -> Receipt:
        """What a pass is worth; the caller has seen to it that it rests on the log."""
        one = self._candidate
        assert one.suite and one.suite_sha256
        assert one.dataset and one.dataset_sha256 and one.result_sha256
        expires = policy.receipt_expires_s
        return Receipt(
            id=eval_runs.new_id("rcpt"),
            decision=decision.id,
            kind=subject.kind,
            object=subject.name,
            number=subject.number,
            sha256=subject.sha256,
            alias=self._wanted.alias,
            policy=policy.name,
            policy_sha256=policy.sha256,
            suite=one.suite,
            suite_sha256=one.suite_sha256,
            dataset=one.dataset,
            dataset_sha256=one.dataset_sha256,
            judge_cards=tuple(cards),
            baseline_sha256=subject.baseline_sha256,
            result_sha256=result_sha256(self._facts.results),
            grade=self._grade(verdict.grade),
            issued_at_us=self._at_us,
            expires_at_us=None if expires is None else self._at_us + round(expires * 1e6),
            who=self._who,
            since=None if verdict.yardstick is None else verdict.yardstick.since,
            weaker=() if verdict.yardstick is None else verdict.yardstick.weaker,
        )

    def _grade(self, grade: str) -> str:
        """Scores that the client computed itself are worth grade C at most."""
        own = any(scorer.source == "client" for scorer in self._facts.scorers.values())
        return "C" if own and self._candidate.kind != "import" else grade
