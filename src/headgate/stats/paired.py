"""Two systems on the same items: paired differences, discordant pairs, and bounds that hold when few pairs differ."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from headgate.stats.distributions import binomial_lower, normal_cdf, normal_quantile
from headgate.stats.means import Floats, estimate_mean


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """What pairing is worth: the standard error that two separate samples would have had, and the correlation."""

    se_unpaired: float | None
    correlation: float | None


def pairing(a: Floats, b: Floats) -> Pairing:
    """F5: SE_d² = SE_A² + SE_B² - 2ρ·SE_A·SE_B; ρ is None where a side does not vary."""
    if len(a) < 2:
        return Pairing(se_unpaired=None, correlation=None)
    one, other = estimate_mean(a).se or 0.0, estimate_mean(b).se or 0.0
    varies = one > 0 and other > 0
    correlation = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1)) if varies else None
    return Pairing(se_unpaired=math.hypot(one, other), correlation=correlation)


def mcnemar_exact(b: int, c: int) -> float:
    """F7: the two-sided exact p of b against c discordant pairs; 1 where there are none."""
    if b + c == 0:
        return 1.0
    return min(1.0, 2 * binomial_lower(min(b, c), b + c, 0.5))


def mcnemar_one_sided(better: int, worse: int) -> float:
    """The exact chance of this many losses or more among the discordant pairs, were both sides equally good."""
    return binomial_lower(better, better + worse, 0.5)


def tango_z(b: Any, c: Any, n: Any, delta: float) -> Any:
    """Tango's score statistic of (b - c)/n against the difference ``delta``; numbers or arrays of them."""
    b, c = np.asarray(b, dtype=float), np.asarray(c, dtype=float)
    linear = (2 * n - b + c) * delta - b - c
    constant = -c * delta * (1 - delta)
    share = (np.sqrt(np.maximum(linear * linear - 8 * n * constant, 0)) - linear) / (4 * n)
    variance = n * (2 * share + delta * (1 - delta))
    top = b - c - n * delta
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(variance > 1e-300, top / np.sqrt(np.maximum(variance, 1e-300)), np.sign(top) * np.inf)
    return np.where(top == 0, 0.0, found)


def tango_interval(b: int, c: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """F7: the two-sided score interval of (b - c)/n."""
    z = normal_quantile((1 + level) / 2)
    return _tango_root(b, c, n, z), _tango_root(b, c, n, -z)


QUARTER_PAIR = 0.25
"""What the one-sided bounds give away, in pairs: without it their exact size at the margin reaches 5.7 % of 5 %."""


def tango_bounds(b: int, c: int, n: int, alpha: float) -> tuple[float, float]:
    """The one-sided score bounds of (b - c)/n, corrected by a quarter of a pair: missed with chance <= ``alpha``."""
    z = normal_quantile(1 - alpha)
    return _tango_root(b - QUARTER_PAIR, c, n, z), _tango_root(b, c - QUARTER_PAIR, n, -z)


def _tango_root(b: float, c: float, n: int, z: float) -> float:
    """The difference at which the statistic, which falls as the difference rises, is ``z``."""
    low, high = -1.0, 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if float(tango_z(b, c, n, middle)) > z:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def tango_p(b: int, c: int, n: int, delta: float) -> float:
    """The one-sided p of the test that (b - c)/n is above ``delta``."""
    return 1 - normal_cdf(float(tango_z(b, c, n, delta)))
