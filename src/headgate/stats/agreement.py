"""Agreement of judges and people (F15): Cohen's kappa, Fleiss' kappa, Krippendorff's alpha, per-class rates."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headgate.stats.distributions import normal_quantile
from headgate.stats.means import Floats

Level = Literal["nominal", "ordinal", "interval", "ratio"]


@dataclass(frozen=True, kw_only=True)
class Kappa:
    """Agreement beyond chance; ``se`` by Fleiss, Cohen and Everitt (1969), None where kappa is undefined."""

    n: int
    agreement: float
    kappa: float | None
    se: float | None

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """The two-sided normal interval, cut at -1 and 1."""
        if self.kappa is None or self.se is None:
            return None
        reach = normal_quantile((1 + level) / 2) * self.se
        return max(-1.0, self.kappa - reach), min(1.0, self.kappa + reach)


def confusion(one: Sequence[Hashable], other: Sequence[Hashable]) -> tuple[list[Hashable], Floats]:
    """The labels in order of their text, and the table of counts: rows ``one``, columns ``other``."""
    labels = sorted({*one, *other}, key=lambda label: (str(type(label)), str(label)))
    place = {label: index for index, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)))
    for left, right in zip(one, other, strict=True):
        table[place[left], place[right]] += 1
    return labels, table


def cohen_kappa(table: Floats) -> Kappa:
    """Kappa of a square table of counts; undefined (None) when chance alone would agree always."""
    n = float(table.sum())
    if n == 0:
        return Kappa(n=0, agreement=0.0, kappa=None, se=None)
    share = table / n
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    seen, chance = float(np.trace(share)), float(rows @ columns)
    if chance >= 1:
        return Kappa(n=int(n), agreement=seen, kappa=None, se=None)
    kappa = (seen - chance) / (1 - chance)
    diagonal = np.diag(share)
    on = float(np.sum(diagonal * (1 - (rows + columns) * (1 - kappa)) ** 2))
    sums = (columns[:, None] + rows[None, :]) ** 2 * share
    off = (1 - kappa) ** 2 * float(sums.sum() - np.trace(sums))
    variance = (on + off - (kappa - chance * (1 - kappa)) ** 2) / (n * (1 - chance) ** 2)
    return Kappa(n=int(n), agreement=seen, kappa=kappa, se=math.sqrt(max(0.0, variance)))


def fleiss_kappa(counts: Floats) -> float | None:
    """Fleiss' kappa of a table items × categories, every item rated equally often; None where undefined."""
    raters = counts.sum(axis=1)
    if len(counts) == 0 or raters[0] < 2 or not np.all(raters == raters[0]):
        return None
    each = float(raters[0])
    shares = counts.sum(axis=0) / counts.sum()
    seen = float(np.mean((np.sum(counts * counts, axis=1) - each) / (each * (each - 1))))
    chance = float(shares @ shares)
    return None if chance >= 1 else (seen - chance) / (1 - chance)


def krippendorff_alpha(ratings: NDArray[np.float64], level: Level = "nominal") -> float | None:
    """Alpha of a table raters × items, NaN where a rater said nothing; None where no item has two ratings or no
    two ratings differ.
    """
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = np.stack([np.sum(ratings == value, axis=0) for value in values], axis=1) if len(values) else None
    if counts is None:
        return None
    counts = counts[counts.sum(axis=1) >= 2].astype(float)
    return _alpha(counts, values, level)


def _alpha(counts: Floats, values: Floats, level: Level) -> float | None:
    if len(counts) == 0:
        return None
    pairs = counts.sum(axis=1) - 1
    together = (counts / pairs[:, None]).T @ counts - np.diag((counts / pairs[:, None]).sum(axis=0))
    margins = together.sum(axis=1)
    apart = _DISTANCES[level](values, margins)
    expected = float(np.sum(np.outer(margins, margins) * apart)) / (margins.sum() - 1)
    return None if expected <= 0 else 1 - float(np.sum(together * apart)) / expected


def _nominal(values: Floats, margins: Floats) -> Floats:
    return 1.0 - np.eye(len(values))


def _ordinal(values: Floats, margins: Floats) -> Floats:
    middle = np.cumsum(margins) - margins / 2
    return np.asarray((middle[:, None] - middle[None, :]) ** 2)


def _interval(values: Floats, margins: Floats) -> Floats:
    return np.asarray((values[:, None] - values[None, :]) ** 2)


def _ratio(values: Floats, margins: Floats) -> Floats:
    sums = values[:, None] + values[None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sums == 0, 0.0, ((values[:, None] - values[None, :]) / sums) ** 2)


_DISTANCES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "nominal": _nominal, "ordinal": _ordinal, "interval": _interval, "ratio": _ratio,
}  # fmt: skip


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float | None],
    n: int,
    *,
    level: float = 0.95,
    rounds: int = 1000,
    seed: int,
) -> tuple[float, float] | None:
    """The percentile interval over resampled items; ``statistic`` gets the indices of one resample."""
    chance = np.random.default_rng(seed)
    found = [value for _ in range(rounds) if (value := statistic(chance.integers(0, n, n))) is not None]
    if len(found) < rounds / 2:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class Macro:
    """Precision, recall and F1, averaged over the labels of the truth; a label never predicted counts 0."""

    accuracy: float
    precision: float
    recall: float
    f1: float


def macro_scores(table: Floats) -> Macro:
    """From a table of counts, rows truth, columns prediction; labels that neither side uses are left out."""
    right = np.diag(table)
    truth, said = table.sum(axis=1), table.sum(axis=0)
    precision = np.divide(right, said, out=np.zeros_like(right), where=said > 0)
    recall = np.divide(right, truth, out=np.zeros_like(right), where=truth > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(right), where=both > 0)
    return Macro(
        accuracy=float(right.sum() / table.sum()),
        precision=float(precision.mean()),
        recall=float(recall.mean()),
        f1=float(f1.mean()),
    )
