"""Many tests at once (F9): Bonferroni, Holm for alarms, Benjamini-Hochberg for looking around."""

from collections.abc import Sequence


def bonferroni(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given."""
    return [min(1.0, p * len(p_values)) for p in p_values]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: reject those <= α and the chance of any false rejection is at most α."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(_ascending(p_values)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: reject those <= α and at most about α of the rejections are false."""
    adjusted = [0.0] * len(p_values)
    running, total = 1.0, len(p_values)
    for rank, index in reversed(list(enumerate(_ascending(p_values), 1))):
        running = min(running, p_values[index] * total / rank)
        adjusted[index] = running
    return adjusted


def _ascending(p_values: Sequence[float]) -> list[int]:
    return sorted(range(len(p_values)), key=lambda index: (p_values[index], index))
