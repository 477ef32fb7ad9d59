"""One-sided bounds of a mean difference that hold where the plain t bound does not: skewed, sparse or constant ones."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from headgate.stats.distributions import t_quantile
from headgate.stats.means import Codes, Floats, estimate_mean
from headgate.stats.paired import tango_bounds
from headgate.stats.proportions import exact_upper

FEW_DIFFERENT = 10
"""With fewer units that differ at all, among twice as many or more, a variance says little about what was not seen."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What the true mean difference is above and below, each statement wrong with chance at most about alpha."""

    low: float
    high: float
    method: str


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Differences of the same items on two sides, signed so that more is better."""

    values: Floats
    clusters: Codes | None = None
    span: float = 1.0  # the most that one item can differ by
    is_binary: bool = False  # every value is -1, 0 or 1
    is_identical: bool = False  # both sides gave the same output everywhere: nothing could have differed

    @property
    def units(self) -> int:
        """How many independent observations there are."""
        return len(self.values) if self.clusters is None else int(self.clusters.max()) + 1


def difference_bounds(differences: Differences, alpha: float) -> Bounds | None:
    """The one-sided bounds; None where nothing can be said: a single item, a single cluster."""
    values, units = differences.values, differences.units
    mean = float(np.mean(values))
    if differences.is_identical:
        return Bounds(low=mean, high=mean, method="identical outputs")
    if units < 2:
        return None
    if np.all(values == values[0]):
        return _of_constant(float(values[0]), differences.span, units, alpha)
    if differences.is_binary and differences.clusters is None:
        b, c = int(np.sum(values > 0)), int(np.sum(values < 0))
        low, high = tango_bounds(b, c, len(values), alpha)
        return Bounds(low=low, high=high, method="Tango score")
    return _of_any(differences, mean, alpha)


def _of_constant(value: float, span: float, units: int, alpha: float) -> Bounds:
    """Nothing varied in ``units`` observations: more than 1 - α^(1/units) of others could differ only with chance α."""
    reach = span * (1 - alpha ** (1 / units))
    return Bounds(low=value - reach, high=value + reach, method="exact, no variation")


def _of_any(differences: Differences, mean: float, alpha: float) -> Bounds | None:
    values, clusters, units = differences.values, differences.clusters, differences.units
    found = estimate_mean(values, clusters)
    if found.se is None or found.df is None:
        return None
    t = t_quantile(1 - alpha, found.df)
    sums = values - mean if clusters is None else np.bincount(clusters, weights=values - mean)
    lean = skewness(np.asarray(sums, dtype=np.float64))
    low = mean - float(critical_value(t, -lean, units)) * found.se
    high = mean + float(critical_value(t, lean, units)) * found.se
    method = "t" if clusters is None else "t, clustered"
    totals = values if clusters is None else np.bincount(clusters, weights=values)
    worse, better = int(np.sum(totals < 0)), int(np.sum(totals > 0))
    if worse + better < min(FEW_DIFFERENT, units / 2):
        low = min(low, -differences.span * exact_upper(worse, units, alpha))
        high = max(high, differences.span * exact_upper(better, units, alpha))
        method = f"{method}; exact, few differ"
    return Bounds(low=low, high=high, method=method)


def skewness(residuals: Floats) -> float:
    """γ of values around their mean; 0 where nothing varies."""
    largest = float(np.max(np.abs(residuals)))
    if largest == 0:
        return 0.0
    scaled = residuals / largest  # cubes of very small or large numbers leave the range of floats
    return float(np.mean(scaled**3) / np.mean(scaled * scaled) ** 1.5)


CAUTION = 2.5
"""How many times the textbook's correction for skewness is made. A sample in which the large losses did not turn up
shows too little skewness as well, so once is too little: docs/gate-validation.md has the figures."""


def critical_value(t: float, lean: Any, units: int) -> Any:
    """What replaces ``t`` in a bound on whose far side the differences have the longer tail; numbers or arrays.

    ``lean`` is their skewness, counted towards the bound; at 0 and below it is t. Above, it is the larger of Johnson's
    shift t + γ(1 + 2t²)/(6√n) (1978), made with caution, and of Hall's (1992), which is exact to the third order.
    """
    lean = np.maximum(lean, 0.0)
    johnson = t + CAUTION * lean * (1 + 2 * t * t) / (6 * math.sqrt(units))
    a = np.maximum(lean / math.sqrt(units), 1e-9)
    hall = 3 / a * (1 - np.cbrt(1 - a * (t + a / 6)))
    return np.where(lean > 1e-6, np.maximum(johnson, hall), johnson)
