"""A judge asked in both orders (F12), and what the order alone does to its answers (F13)."""

from collections.abc import Sequence
from typing import Literal

from headgate.stats.means import Floats, MeanEstimate, estimate_mean

SwapClass = Literal["consistent", "consistent_tie", "both_first", "both_second", "tie_mixed", "unparsable"]
SWAP_CLASSES: tuple[SwapClass, ...] = (
    "consistent", "consistent_tie", "both_first", "both_second", "tie_mixed", "unparsable",
)  # fmt: skip
Choice = Literal["first", "second", "tie"]
"""What a judge answered about the two texts in the order shown."""


def swap_class(shown: Choice | None, swapped: Choice | None) -> SwapClass:
    """How the two answers fit, ``swapped`` with the texts exchanged; None is an answer that could not be read."""
    if shown is None or swapped is None:
        return "unparsable"
    if shown == "tie" or swapped == "tie":
        return "consistent_tie" if shown == swapped else "tie_mixed"
    if shown == swapped:
        return "both_first" if shown == "first" else "both_second"
    return "consistent"


def swap_counts(pairs: Sequence[tuple[Choice | None, Choice | None]]) -> dict[SwapClass, int]:
    """How many pairs fall into each class, every class named."""
    counts: dict[SwapClass, int] = dict.fromkeys(SWAP_CLASSES, 0)
    for shown, swapped in pairs:
        counts[swap_class(shown, swapped)] += 1
    return counts


def swap_consistency(counts: dict[SwapClass, int]) -> float | None:
    """The share of pairs with the same answer in both orders, unreadable ones counted against; None without pairs."""
    total = sum(counts.values())
    return None if total == 0 else (counts["consistent"] + counts["consistent_tie"]) / total


def net_verdict(shown: Choice | None, swapped: Choice | None) -> float | None:
    """½(y_AB + y_BA) in [-1, 1] for the text shown first at first: both orders are one observation."""
    if shown is None or swapped is None:
        return None
    sign = {"first": 1.0, "second": -1.0, "tie": 0.0}
    return (sign[shown] - sign[swapped]) / 2


def position_effect(shown_first: Floats, shown_second: Floats) -> tuple[float, float | None]:
    """F13: mean score when shown first minus that when shown second, and its standard error (separate samples)."""
    first, second = estimate_mean(shown_first), estimate_mean(shown_second)
    return first.mean - second.mean, _joint_se(first, second)


def _joint_se(one: MeanEstimate, other: MeanEstimate) -> float | None:
    if one.se is None or other.se is None:
        return None
    return float((one.se**2 + other.se**2) ** 0.5)
