"""How far stated confidence is true (F20): negative log-likelihood, Brier score, calibration error, temperature."""

from dataclasses import dataclass

import numpy as np

from headgate.stats.means import Floats

_LEAST = 1e-15


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Figures of chances against what happened (0 or 1)."""

    n: int
    nll: float  # natural logarithm, mean over cases
    brier: float
    ece: float  # 10 equal bins of the confidence in the likelier answer


def calibration(chances: Floats, happened: Floats, bins: int = 10) -> Calibration:
    """The figures for at least one case; a chance of exactly 0 or 1 counts as 1e-15 away from it."""
    safe = np.clip(chances, _LEAST, 1 - _LEAST)
    nll = -float(np.mean(happened * np.log(safe) + (1 - happened) * np.log1p(-safe)))
    brier = float(np.mean((chances - happened) ** 2))
    confidence = np.maximum(chances, 1 - chances)
    right = np.where(chances >= 0.5, happened, 1 - happened)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return Calibration(n=len(chances), nll=nll, brier=brier, ece=float(np.sum(np.abs(gaps))) / len(chances))


def fit_temperature(margins: Floats, happened: Floats) -> float:
    """The t > 0 that makes σ(t·margin) likeliest, by Newton's method on log t; refuses nothing, stops at 1e±6."""
    log_t = 0.0
    for _ in range(200):
        t = float(np.exp(log_t))
        p = sigmoid(t * margins)
        slope = float(np.sum((p - happened) * margins)) * t
        curve = float(np.sum(p * (1 - p) * margins * margins)) * t * t + slope
        step = slope / curve if curve > 1e-12 else float(np.sign(slope))
        log_t = float(np.clip(log_t - np.clip(step, -1, 1), -13.8, 13.8))
        if abs(step) < 1e-14:
            break
    return float(np.exp(log_t))


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + e^-x) without overflow."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + small), small / (1 + small)))
