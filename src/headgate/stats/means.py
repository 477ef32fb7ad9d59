"""Means with their standard errors: plain, over clusters, over repeats (F1, F3, F4 of docs/design/gate.md)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.stats.distributions import t_quantile, t_upper

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
FEW_CLUSTERS = 20
"""Below this many clusters the clustered standard error is too small on average, and its user is warned."""


@dataclass(frozen=True, kw_only=True)
class MeanEstimate:
    """A mean and how far it may be off. ``se`` and ``df`` are None where they are undefined (one item, one cluster)."""

    mean: float
    se: float | None
    df: int | None
    n: int
    clusters: int | None
    method: str

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """The two-sided interval by Student's t."""
        return self._around((1 + level) / 2)

    def bounds(self, alpha: float) -> tuple[float, float] | None:
        """The one-sided lower and upper bound, each missed with chance ``alpha``."""
        return self._around(1 - alpha)

    def _around(self, p: float) -> tuple[float, float] | None:
        if self.se is None or self.df is None:
            return None
        reach = 0.0 if self.se == 0 else t_quantile(p, self.df) * self.se
        return self.mean - reach, self.mean + reach

    def p_below(self, reference: float) -> float | None:
        """One-sided p: how surprising a mean this low would be if the truth were ``reference``."""
        if self.se is None or self.df is None:
            return None
        if self.se == 0:
            return 0.0 if self.mean < reference else 1.0
        return t_upper((reference - self.mean) / self.se, self.df)

    def p_two_sided(self, reference: float = 0.0) -> float | None:
        """Two-sided p against ``reference``."""
        if self.se is None or self.df is None:
            return None
        if self.se == 0:
            return 1.0 if self.mean == reference else 0.0
        return 2 * t_upper(abs(self.mean - reference) / self.se, self.df)


def estimate_mean(values: Floats, clusters: Codes | None = None) -> MeanEstimate:
    """The mean of at least one value; ``clusters`` numbers each value's cluster from 0 without gaps."""
    n = len(values)
    mean = float(np.mean(values))
    if clusters is None:
        se = None if n < 2 else float(_spread(values)) / math.sqrt(n)
        return MeanEstimate(mean=mean, se=se, df=None if n < 2 else n - 1, n=n, clusters=None, method="t")
    count = int(clusters.max()) + 1
    found = None if count < 2 else clustered_se(values, clusters, count)
    df = None if count < 2 else count - 1
    return MeanEstimate(mean=mean, se=found, df=df, n=n, clusters=count, method="t, clustered")


def _spread(values: Floats) -> Any:
    # Equal values have no spread; their computed mean may differ from them in the last bit.
    return 0.0 if np.all(values == values[0]) else np.std(values, ddof=1)


def clustered_se(values: Floats, clusters: Codes, count: int | None = None) -> float | None:
    """F3: √(C/(C-1) · Σ_c (Σ_i (s_i - s̄))²) / n; None for a single cluster, whose error nobody can know."""
    count = int(clusters.max()) + 1 if count is None else count
    if count < 2:
        return None
    if np.all(values == values[0]):
        return 0.0
    sums = np.bincount(clusters, weights=values - np.mean(values), minlength=count)
    return float(math.sqrt(count / (count - 1) * float(np.sum(sums * sums))) / len(values))


@dataclass(frozen=True, kw_only=True)
class RepeatParts:
    """F4: the variance of scores split into that between items (ω²) and that within an item (σ²)."""

    within: float  # σ², mean variance of the repeats of one item
    between: float  # ω², never below 0
    repeats: float  # K, the harmonic mean where items differ
    most_gain: float  # by which fraction endless repeats would cut the standard error


def repeat_parts(groups: list[Floats]) -> RepeatParts | None:
    """The parts for items with their repeats' scores; None without two items of two repeats each."""
    repeated = [group for group in groups if len(group) > 1]
    if len(repeated) < 2:
        return None
    within = float(np.mean([np.var(group, ddof=1) for group in repeated]))
    repeats = len(repeated) / sum(1 / len(group) for group in repeated)
    total = float(np.var([np.mean(group) for group in repeated], ddof=1))
    between = max(0.0, total - within / repeats)
    gain = 0.0 if total == 0 else 1 - math.sqrt(min(1.0, between / total))
    return RepeatParts(within=within, between=between, repeats=repeats, most_gain=gain)
