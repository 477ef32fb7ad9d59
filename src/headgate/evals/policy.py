"""The rules a version must satisfy: policy files, checked by line, and the three that ship."""

from importlib.resources import files
from typing import Literal

import msgspec

from headgate.evals.faults import PolicyFault

SHIPPED = ("starter", "standard", "strict")

Grade = Literal["A", "B", "C"]
"""How much a receipt under a policy is worth; A is the most."""


class MetricRule(msgspec.Struct, frozen=True, kw_only=True):
    """A paired rule: the candidate against the baseline on the metric. ``margin`` is in units of the score."""

    metric: str
    kind: Literal["superiority", "non_inferior", "no_significant_loss"]
    margin: float


class FloorRule(msgspec.Struct, frozen=True, kw_only=True):
    """An absolute rule: a bound on the candidate's own mean, or a number of failures."""

    metric: str
    min: float | None = None
    max: float | None = None
    bound: Literal["lower", "wilson_lower", "mean"] = "lower"
    failures: int | None = None
    only_first: bool = False  # judged only while nothing is in force to compare with


class SliceRule(msgspec.Struct, frozen=True, kw_only=True):
    """Alarms over slices: a loss larger than ``max_drop`` that stays significant after Holm's correction."""

    by: tuple[str, ...] = ()  # empty: every tag with 2 to 20 values
    min_n: int = 40
    max_drop: float = 0.05


class RatioRule(msgspec.Struct, frozen=True, kw_only=True):
    """A guard on what an answer costs or takes."""

    metric: Literal["mean_usd", "mean_usd_ratio", "mean_ms", "mean_ms_ratio", "p95_ms", "p95_ratio"]
    max: float
    bound: Literal["upper", "observed"] = "upper"


class RunQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a run count as evidence at all."""

    max_unscored: float | None = None
    max_error: float | None = None
    min_items: int | None = None
    min_clusters: int | None = None
    distinct_outputs: float | None = None


class JudgeRule(msgspec.Struct, frozen=True, kw_only=True):
    """What every judge of the run must have shown against human labels."""

    card: Literal["calibrated"] = "calibrated"
    kappa_lower: float | None = None
    beats_longest: bool = False
    swap_consistency: float | None = None
    max_age_s: float | None = None


class ModelRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a classic model must show beside its scores."""

    parity: Literal["required", "given"] = "given"  # given: held where the training process sent its predictions
    signature: Literal["compatible", "any"] = "compatible"  # with what the alias means now


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as read; ``sha256`` is that of its rules, whatever the file's layout."""

    name: str
    sha256: str
    grade: Grade
    description: str = ""
    alpha: float = 0.05
    primary: tuple[MetricRule, ...] = ()
    absolute: tuple[FloorRule, ...] = ()
    slices: SliceRule | None = None
    cost: tuple[RatioRule, ...] = ()
    latency: tuple[RatioRule, ...] = ()
    quality_of_run: RunQuality | None = None
    judge: JudgeRule | None = None
    power_min: float | None = None
    approvals: int = 0
    suites: tuple[str, ...] = ()
    receipt_expires_s: float | None = None
    model: ModelRule | None = None


def load_policy(text: str, file: str) -> Policy:
    """The policy that a file holds, named by it or else by ``file``; PolicyFault has each fault as `file:line what`."""
    from headgate.evals.policy_file import read_policy

    return read_policy(text, file)


def shipped_policy(name: str) -> Policy:
    """One of the three that ship: starter, standard, strict. Raises PolicyFault for another name."""
    folder = files("headgate.evals") / "policies"
    if name not in SHIPPED:
        raise PolicyFault([f'there is no policy "{name[:60]}"; there are {", ".join(SHIPPED)}, or name a file'])
    return load_policy((folder / f"{name}.yaml").read_text(encoding="utf-8"), name)
