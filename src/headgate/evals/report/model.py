"""The one model behind every rendering of a report: figures with what they rest on, cases, rules, hashes."""

from decimal import Decimal
from typing import Literal

import msgspec

from headgate.evals.verdict import Outcome as RuleResult
from headgate.evals.verdict import RuleOutcome

SCHEMA: Literal["headgate/eval-report@1"] = "headgate/eval-report@1"
Outcome = Literal["win", "tie", "loss", "mixed"]
"""How a case, or one score of it, moved from the baseline to the candidate."""
MetricOutcome = RuleResult | Literal["better", "worse", "unclear", "unknown"]
"""The gravest word of the policy's rules on a scorer, else that of the interval alone."""
Unit = Literal["", "ms", "usd", "count"]


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """A figure and what it rests on. ``value`` None: unknown, ``reason`` says why; never shown as 0."""

    value: float | None
    low: float | None = None  # of the interval of `level`, None: there is none
    high: float | None = None
    level: float | None = None
    se: float | None = None
    n: int = 0  # items, after repeats were averaged
    clusters: int | None = None  # None: items count as independent
    method: str = ""
    reason: str | None = None


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One scorer over all cases: both sides, and the paired difference in the scorer's own unit."""

    scorer: str
    type: str | None
    role: str
    direction: Literal["higher", "lower"]
    must_pass: bool
    source: str  # who computed it: control, client, or import
    unit: Unit
    is_difference: bool  # the values compare with the baseline already: 0 is equal, above 0 the candidate is better
    candidate: Number
    baseline: Number | None
    difference: Number | None
    p: float | None  # two-sided, of the difference
    wins: int
    ties: int
    losses: int
    failed: int  # cases of the candidate that a pass-or-fail scorer failed
    unscored: int  # of the candidate; of the baseline below
    errors: int
    baseline_unscored: int
    baseline_errors: int
    outcome: MetricOutcome


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """The difference of one scorer within the cases that share a tag."""

    by: str
    value: str
    scorer: str
    direction: Literal["higher", "lower"]
    unit: Unit
    difference: Number
    p: float | None
    is_alarm: bool  # a loss that stays significant after Holm's correction over all slices shown


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's word, with every rule behind it. ``receipt`` None: none was written."""

    verdict: Literal["pass", "fail", "inconclusive"]
    grade: str
    policy: str
    policy_sha256: str
    rules: tuple[RuleOutcome, ...]
    id: str | None = None
    alias: str | None = None
    receipt: str | None = None
    expires_at: str | None = None
    needed_items: int | None = None  # the most that any undecided rule asks for
    attempts: int = 1  # how often a gate was asked over this version of the dataset
    warnings: tuple[str, ...] = ()


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """Text from outside; what is beyond the limit is left out and counted."""

    text: str
    chars: int  # of the whole

    @property
    def left_out(self) -> int:
        """How many characters are not here."""
        return self.chars - len(self.text)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a system answered in one case. ``text`` None: ``reason`` says why it is not here."""

    text: Text | None
    tool_calls: tuple[Text, ...] = ()
    reason: str | None = None
    request_id: str | None = None
    output_sha256: str | None = None
    finish_reason: str | None = None
    cost_usd: Decimal | None = None
    latency_ms: float | None = None


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """What one scorer said about one system in one case, its repeats averaged."""

    value: float | None
    status: Literal["ok", "unscored", "error"]
    reason: str | None
    repeats: int
    is_failed: bool  # a pass-or-fail scorer failed it in at least one repeat
    unscored: int = 0  # repeats
    errors: int = 0


class CaseScore(msgspec.Struct, frozen=True, kw_only=True):
    """One scorer's word on both systems; ``change`` is above 0 where the candidate is better."""

    scorer: str
    candidate: Scored | None
    baseline: Scored | None
    outcome: Outcome | None  # None: the two cannot be compared
    change: float | None


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One item of the dataset. Without ``has_outputs`` its texts are left out, which happens beyond a limit."""

    item: str
    outcome: Outcome | None
    change: float | None  # mean over the primary scorers, each divided by its range
    is_new_failure: bool  # it fails a must-pass scorer that the baseline passed
    scores: tuple[CaseScore, ...]
    tags: dict[str, str] = {}
    cluster: str | None = None
    has_outputs: bool = False
    input: Text | None = None
    expected: Text | None = None
    candidate: Answer | None = None
    baseline: Answer | None = None


class System(msgspec.Struct, frozen=True, kw_only=True):
    """One side: a run of one prompt version over a dataset."""

    run: str
    ref: str
    status: str  # complete, partial, imported …
    items: int
    planned: int | None
    repeats: int
    cost_usd: Number  # per item
    latency_ms: Number
    total_cost_usd: Decimal | None
    judge_cost_usd: Decimal | None
    calls: int | None
    cached: int | None
    distinct_outputs: float | None  # distinct answers to answers, None: unknown
    missing: tuple[str, ...] = ()
    started_at: str | None = None
    finished_at: str | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """How far a judge agreed with people; state ``none``: nobody calibrated it."""

    name: str  # in the suite
    judge: str  # prompt name@version
    state: str
    n: int | None
    agreement: Number | None = None
    kappa: Number | None = None
    true_pass: Number | None = None
    true_fail: Number | None = None
    swap_consistency: Number | None = None
    position_effect: Number | None = None
    beats_longest: bool | None = None
    unreadable: int | None = None
    cost_usd: str | None = None
    note: str | None = None


class Hash(msgspec.Struct, frozen=True, kw_only=True):
    """What the result is bound to."""

    name: str
    value: str


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the plane of cost and quality: a system, or a system within one slice."""

    label: str
    side: Literal["candidate", "baseline"]
    slice: str | None
    cost_usd: Number
    quality: Number


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that any rendering shows; identical inputs give identical bytes."""

    schema: Literal["headgate/eval-report@1"] = SCHEMA
    suite: str
    description: str
    dataset: str | None
    candidate: System
    baseline: System | None
    decision: Decision | None
    metrics: tuple[Metric, ...]
    main_scorer: str | None  # the first primary one: cost is laid against its values
    slices: tuple[Slice, ...]
    slices_left_out: int
    points: tuple[Point, ...]
    cases: tuple[Case, ...]  # regressions first, then by item
    wins: int
    ties: int
    losses: int
    mixed: int
    uncompared: int
    cards: tuple[Card, ...]
    hashes: tuple[Hash, ...]
    notes: tuple[str, ...] = ()  # what a reader must know: what is missing, left out, or weakens the evidence
