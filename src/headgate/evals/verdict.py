"""The answer of the gate: one outcome for each rule, and the verdict that follows from them."""

from typing import Literal

import msgspec

from headgate.evals.compare import Comparison
from headgate.evals.policy import Grade
from headgate.evals.yardstick import Yardstick

Outcome = Literal["pass", "fail", "inconclusive", "not_applicable"]


class RuleOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule of the policy found on one metric."""

    rule: str  # absolute | primary | slices | cost | latency | quality_of_run | judge | power
    metric: str
    outcome: Outcome
    observed: float | None = None
    bound: float | None = None  # the confidence bound that was held against the limit
    limit: float | None = None
    n: int | None = None
    clusters: int | None = None
    method: str = ""
    needed_items: int | None = None  # for an inconclusive rule: how many more cases would probably decide it
    sentence: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's answer: fail when a rule fails, else inconclusive when one is, else pass."""

    verdict: Literal["pass", "fail", "inconclusive"]
    grade: Grade
    policy: str
    policy_sha256: str
    candidate: str
    baseline: str | None
    rules: tuple[RuleOutcome, ...]
    comparison: Comparison | None
    attempts: int = 1
    warnings: tuple[str, ...] = ()
    yardstick: Yardstick | None = None  # None: nothing in force rests on a receipt of this suite
