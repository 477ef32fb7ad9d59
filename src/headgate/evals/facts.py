"""What the gate is told about a run: its scorers, its results, the cards of its judges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from headgate.evals.results import Result

Direction = Literal["higher", "lower"]
"""Which way a score is better."""
Role = Literal["primary", "guard", "info"]
"""primary: what the gate decides on; guard: watched by rules that name it; info: shown only."""
Source = Literal["control", "client"]
"""Who computed the values: the control process from logged answers, or a client (own scorers, imported files)."""


@dataclass(frozen=True, kw_only=True)
class ScorerFacts:
    """One scorer of a run."""

    id: str
    type: str = "imported"
    version: str = "1"
    direction: Direction = "higher"
    must_pass: bool = False
    role: Role = "primary"
    source: Source = "control"
    judge: str | None = None  # the suite's name of the judge it asks
    equal_at: float | None = None  # for a scorer that compares with the baseline itself: the value that means "equal"


class CardFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What calibration against human labels found about a judge; shares are fractions, None means not measured."""

    judge: str  # prompt name@version
    n: int
    agreement: float | None
    kappa: float | None
    kappa_interval: tuple[float, float] | None = None
    tpr: float | None = None
    tnr: float | None = None
    swap: dict[str, int] = msgspec.field(default_factory=dict)  # swap class to number of pairs
    swap_consistency: float | None = None
    position_effect: float | None = None
    beats_longest: bool | None = None
    unreadable: int = 0
    cost_usd: str | None = None
    created_at_us: int = 0
    state: Literal["calibrated", "expired"] = "calibrated"
    reason: str = ""  # why it expired

    def age_s(self, now_us: int) -> float:
        """How old the calibration is."""
        return max(0.0, (now_us - self.created_at_us) / 1e6)


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """What is known of a run's cases beside their results."""

    in_prompt: tuple[str, ...] = ()  # items whose text stands in the prompt's own text
    left: int = 0  # cells whose answer counts only since the client left an earlier one that had begun
    distinct_expected: int | None = None  # how many different answers are expected; None: some case expects none


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """One side of a gate: a run of one system over a dataset, with what is known about its scorers and judges."""

    run: str
    system: str
    results: Sequence[Result]
    scorers: Mapping[str, ScorerFacts]
    items_planned: int | None = None  # None: as many as have results (imported files)
    judges: Mapping[str, CardFacts | None] = field(default_factory=dict)  # name in the suite; None: no card
    attempts: int = 1  # gate attempts on this dataset version, this one included
    now_us: int = 0  # for the age of judge cards
    cases: CaseFacts = field(default_factory=CaseFacts)
