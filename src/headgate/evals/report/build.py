"""From runs, verdict and texts to the report: everything is arranged and counted here, nothing is measured again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from headgate.evals.compare import Comparison
from headgate.evals.facts import CardFacts, RunFacts
from headgate.evals.output import Output
from headgate.evals.report.cases import Wording, cases_of, cut, scorer_order
from headgate.evals.report.grouped import Grouped, grouped, mean_number, scorer_facts
from headgate.evals.report.metrics import cost_by_item, metrics_of, points_of, slices_of
from headgate.evals.report.model import Answer, Card, Case, Decision, Hash, Number, Outcome, Report, System
from headgate.evals.verdict import Verdict

_MOST_MISSING = 50
_MOST_TOOL_CALLS = 20


@dataclass(frozen=True, kw_only=True)
class Side:
    """One run as a report is told of it. ``facts`` hold its results; the rest is None where it is not known."""

    facts: RunFacts
    status: str = "complete"
    answers: Mapping[str, Answer] = field(default_factory=dict)  # by item
    total_cost_usd: Decimal | None = None
    judge_cost_usd: Decimal | None = None
    calls: int | None = None
    cached: int | None = None
    missing: Sequence[str] = ()
    started_at: str | None = None
    finished_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class Gated:
    """A verdict with what became of it."""

    verdict: Verdict
    id: str | None = None
    alias: str | None = None
    receipt: str | None = None
    expires_at: str | None = None


def build(
    candidate: Side,
    baseline: Side | None = None,
    *,
    suite: str,
    description: str = "",
    dataset: str | None = None,
    comparison: Comparison | None = None,
    gated: Gated | None = None,
    inputs: Mapping[str, tuple[str, str | None]] | None = None,
    hashes: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """The report of ``candidate``, against ``baseline`` where there is one.

    ``comparison`` is candidate minus baseline; without it the verdict's own is taken. ``inputs`` gives the input and
    the expected answer of each item as text, ``hashes`` what the result is bound to, by name. The order of results and
    mappings changes nothing.
    """
    ours, theirs = grouped(candidate.facts), None if baseline is None else grouped(baseline.facts)
    verdict = None if gated is None else gated.verdict
    compared = comparison or (None if verdict is None else verdict.comparison)
    wording = Wording(
        inputs=inputs or {},
        candidate=candidate.answers,
        baseline={} if baseline is None else baseline.answers,
    )
    cases = cases_of(ours, theirs, wording)
    main = _main_scorer(ours, theirs)
    slices, slices_left_out = slices_of(compared, ours)
    counts = _counts(cases)
    return Report(
        suite=suite,
        description=description,
        dataset=dataset,
        candidate=_system(candidate, ours),
        baseline=None if baseline is None or theirs is None else _system(baseline, theirs),
        decision=None if gated is None else _decision(gated),
        metrics=metrics_of(ours, theirs, compared, verdict, cases),
        main_scorer=main,
        slices=slices,
        slices_left_out=slices_left_out,
        points=points_of(ours, theirs, main),
        cases=cases,
        wins=counts["win"],
        ties=counts["tie"],
        losses=counts["loss"],
        mixed=counts["mixed"],
        uncompared=counts[None],
        cards=tuple(_card(name, card) for name, card in sorted(candidate.facts.judges.items())),
        hashes=tuple(Hash(name=name, value=value) for name, value in (hashes or {}).items()),
        notes=(*notes, *_notes(candidate, ours, compared, cases)),
    )


def answer_of(output: Output | None, reason: str | None = None) -> Answer:
    """An output as a report shows it: long texts cut; None: ``reason`` says why it is not there."""
    if output is None:
        return Answer(text=None, reason=reason or "its text is not kept")
    return Answer(
        text=cut(output.text if output.text or not output.refusal else output.refusal),
        tool_calls=tuple(cut(f"{one.name} {one.arguments_json}") for one in output.tool_calls[:_MOST_TOOL_CALLS]),
        request_id=output.request_id,
        output_sha256=output.sha256,
        finish_reason=output.finish_reason,
        cost_usd=output.cost_usd,
        latency_ms=output.latency_ms,
    )


def _main_scorer(ours: Grouped, theirs: Grouped | None) -> str | None:
    """The scorer that cost is laid against: the first primary one with values of its own on both sides."""
    names = scorer_order(ours, theirs)
    own = [name for name in names if scorer_facts(ours, name).equal_at is None]
    primary = [name for name in own if scorer_facts(ours, name).role == "primary"]
    return next(iter([*primary, *own]), None)


def _system(side: Side, found: Grouped) -> System:
    hashes = [row.output_sha256 for row in found.cells.values() if row.output_sha256 is not None]
    missing = sorted(side.missing)
    return System(
        run=side.facts.run,
        ref=side.facts.system,
        status=side.status,
        items=len(found.items),
        planned=side.facts.items_planned,
        repeats=1 + max((repeat for _, repeat in found.cells), default=0),
        cost_usd=_known(mean_number(cost_by_item(found), found.clusters), "no answer has a price"),
        latency_ms=_known(
            mean_number(found.figures(lambda row: row.latency_ms), found.clusters), "no answer has a latency"
        ),
        total_cost_usd=side.total_cost_usd,
        judge_cost_usd=side.judge_cost_usd,
        calls=side.calls,
        cached=side.cached,
        distinct_outputs=len(set(hashes)) / len(hashes) if hashes else None,
        missing=tuple(missing[:_MOST_MISSING]),
        started_at=side.started_at,
        finished_at=side.finished_at,
    )


def _known(number: Number, reason: str) -> Number:
    return number if number.value is not None else Number(value=None, reason=reason)


def _decision(gated: Gated) -> Decision:
    verdict = gated.verdict
    needed = [rule.needed_items for rule in verdict.rules if rule.needed_items and rule.outcome == "inconclusive"]
    return Decision(
        verdict=verdict.verdict,
        grade=verdict.grade,
        policy=verdict.policy,
        policy_sha256=verdict.policy_sha256,
        rules=verdict.rules,
        id=gated.id,
        alias=gated.alias,
        receipt=gated.receipt,
        expires_at=gated.expires_at,
        needed_items=max(needed, default=None),
        attempts=verdict.attempts,
        warnings=verdict.warnings,
    )


def _counts(cases: Sequence[Case]) -> dict[Outcome | None, int]:
    counts: dict[Outcome | None, int] = {"win": 0, "tie": 0, "loss": 0, "mixed": 0, None: 0}
    for case in cases:
        counts[case.outcome] += 1
    return counts


def _card(name: str, card: CardFacts | None) -> Card:
    if card is None:
        return Card(judge=name, name=name, state="none", n=None)
    return Card(
        name=name,
        judge=card.judge,
        state=card.state,
        n=card.n,
        agreement=_share(card.agreement, card.n, "share of labels"),
        kappa=Number(
            value=card.kappa,
            low=None if card.kappa_interval is None else card.kappa_interval[0],
            high=None if card.kappa_interval is None else card.kappa_interval[1],
            level=None if card.kappa_interval is None else 0.95,
            n=card.n,
            method="Cohen's kappa",
        ),
        true_pass=_share(card.tpr, card.n, "share of what people passed"),
        true_fail=_share(card.tnr, card.n, "share of what people failed"),
        swap_consistency=_share(card.swap_consistency, card.n, "share of pairs judged alike in both orders"),
        position_effect=_share(card.position_effect, card.n, "shown first minus shown second"),
        beats_longest=card.beats_longest,
        unreadable=card.unreadable,
        cost_usd=card.cost_usd,
        note=card.reason or None,
    )


def _share(value: float | None, n: int, method: str) -> Number | None:
    return None if value is None else Number(value=value, n=n, method=method)


def _notes(candidate: Side, ours: Grouped, comparison: Comparison | None, cases: Sequence[Case]) -> list[str]:
    notes: list[str] = []
    planned = candidate.facts.items_planned
    if planned is not None and planned > len(ours.items):
        notes.append(f"{planned - len(ours.items):,} of {planned:,} cases have no result.")
    client = [name for name in ours.by_scorer if scorer_facts(ours, name).source == "client"]
    if client:
        notes.append(f"Computed by the client, so graded C at most: {', '.join(sorted(client))}.")
    if candidate.facts.attempts > 1:
        notes.append(
            f"Gate attempt {candidate.facts.attempts} on this version of the dataset: the more attempts, the more a "
            "pass may be luck."
        )
    untold = sum(not case.has_outputs for case in cases)
    if candidate.answers and untold:
        notes.append(f"{untold:,} cases are shown without their outputs, to keep the report small.")
    if comparison is not None:
        notes += comparison.warnings
        notes += [f"{one.scorer}: {warning}" for one in comparison.scorers for warning in one.warnings]
    return list(dict.fromkeys(notes))
