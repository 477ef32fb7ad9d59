"""Pass rates with intervals that hold near 0 and 1 (F2): Wilson, Clopper-Pearson, and Wilson over clusters."""

import math

from headgate.stats.distributions import beta_quantile, normal_quantile


def wilson(passed: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """The two-sided Wilson interval of ``passed`` of ``n``; both may be effective (fractional) counts."""
    return _wilson(passed / n, n, normal_quantile((1 + level) / 2))


def wilson_bounds(passed: float, n: float, alpha: float) -> tuple[float, float]:
    """The one-sided Wilson bounds, lower and upper, each missed with chance about ``alpha``."""
    return _wilson(passed / n, n, normal_quantile(1 - alpha))


def _wilson(rate: float, n: float, z: float) -> tuple[float, float]:
    square = z * z
    centre = rate + square / (2 * n)
    reach = z * math.sqrt(rate * (1 - rate) / n + square / (4 * n * n))
    whole = 1 + square / n
    low = 0.0 if rate == 0 else max(0.0, (centre - reach) / whole)
    high = 1.0 if rate == 1 else min(1.0, (centre + reach) / whole)
    return low, high


def clopper_pearson(passed: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval: never misses more often than it says."""
    half = (1 - level) / 2
    return exact_lower(passed, n, half), exact_upper(passed, n, half)


def exact_lower(passed: int, n: int, alpha: float) -> float:
    """The exact one-sided lower bound of a rate."""
    return 0.0 if passed == 0 else beta_quantile(alpha, passed, n - passed + 1)


def exact_upper(passed: int, n: int, alpha: float) -> float:
    """The exact one-sided upper bound of a rate; with 0 of n it is about 3/n at 5 %, the rule of three."""
    return 1.0 if passed == n else beta_quantile(1 - alpha, passed + 1, n - passed)


def effective_n(rate: float, se: float | None, n: int, clusters: int) -> float:
    """How many independent cases a clustered pass rate is worth: no more than n; where nothing varies, its clusters."""
    if se is None or se == 0 or rate in (0, 1):
        return float(min(n, clusters))
    return max(1.0, min(float(n), rate * (1 - rate) / (se * se)))
