"""Ratios of means (cost, latency) on the logarithmic scale, and quantiles with upper bounds (F24)."""

import math
from dataclasses import dataclass

import numpy as np

from headgate.stats.distributions import binomial_lower, t_quantile
from headgate.stats.means import Codes, Floats, estimate_mean

FEWEST_FOR_P95 = 200
"""With fewer values the upper bound of the 95th percentile is the largest value seen, or beyond it."""


@dataclass(frozen=True, kw_only=True)
class RatioEstimate:
    """mean(a) / mean(b) over the same items; ``se_log`` is the standard error of its logarithm."""

    ratio: float
    se_log: float | None
    df: int | None

    def bounds(self, alpha: float) -> tuple[float, float] | None:
        """The one-sided lower and upper bound of the ratio."""
        if self.se_log is None or self.df is None:
            return None
        reach = 0.0 if self.se_log == 0 else t_quantile(1 - alpha, self.df) * self.se_log
        return self.ratio * math.exp(-min(reach, 700.0)), self.ratio * math.exp(min(reach, 700.0))


def ratio_of_means(a: Floats, b: Floats, clusters: Codes | None = None) -> RatioEstimate | None:
    """The ratio by the delta method: log(ā/b̄) varies as the mean of a_i/ā - b_i/b̄; None unless both means are > 0."""
    mean_a, mean_b = float(np.mean(a)), float(np.mean(b))
    if mean_a <= 0 or mean_b <= 0:
        return None
    found = estimate_mean(a / mean_a - b / mean_b, clusters)
    return RatioEstimate(ratio=mean_a / mean_b, se_log=found.se, df=found.df)


@dataclass(frozen=True, kw_only=True)
class QuantileEstimate:
    """A quantile and its one-sided upper bound by order statistics; None where n is too small for one."""

    value: float
    upper: float | None


def quantile_upper(values: Floats, q: float, alpha: float) -> QuantileEstimate:
    """F24: the smallest order statistic that is above the true ``q`` quantile with confidence 1 - ``alpha``."""
    ordered = np.sort(values)
    n = len(ordered)
    rank = max(1, math.ceil(q * n))
    point = float(ordered[rank - 1])
    while rank <= n and binomial_lower(rank - 1, n, q) < 1 - alpha:
        rank += 1
    return QuantileEstimate(value=point, upper=float(ordered[rank - 1]) if rank <= n else None)
