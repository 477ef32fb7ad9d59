"""Distributions by our own incomplete beta function: normal, Student's t (central and not), beta, binomial."""

import math
from collections.abc import Callable
from statistics import NormalDist

_NORMAL = NormalDist()
_TINY = 1e-300
_MOST_TERMS = 20_000
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def normal_cdf(z: float) -> float:
    """P(Z <= z)."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def normal_quantile(p: float) -> float:
    """The z with P(Z <= z) = p, for 0 < p < 1."""
    return _NORMAL.inv_cdf(p)


def incomplete_beta(a: float, b: float, x: float, y: float | None = None) -> float:
    """The regularised incomplete beta function I_x(a, b); ``y`` is 1 - x where the caller knows it more exactly."""
    y = 1 - x if y is None else y
    if x <= 0 or y <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _left_part(b, a, y, x)
    return _left_part(a, b, x, y)


def _left_part(a: float, b: float, x: float, y: float) -> float:
    """I_x(a, b) where the continued fraction converges fast: Numerical Recipes 6.4, modified Lentz."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    total = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _not_zero(1 + even * d)
        c = _not_zero(1 + even / c)
        total *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _not_zero(1 + odd * d)
        c = _not_zero(1 + odd / c)
        total *= d * c
        if abs(d * c - 1) < 1e-16:
            break
    return min(1.0, math.exp(_log_power_over_beta(a, b, x, y)) * total / a)


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _log_power_over_beta(a: float, b: float, x: float, y: float) -> float:
    """log(x^a y^b / B(a, b)) without the cancellation that three log-gammas of large numbers would bring."""
    whole = a + b
    at_p, at_q = a * _log_ratio(x, a / whole), b * _log_ratio(y, b / whole)
    scale = 0.5 * (math.log(a) + math.log(b / whole)) - _HALF_LOG_2PI
    return at_p + at_q + scale + _stirling_error(whole) - _stirling_error(a) - _stirling_error(b)


def _log_ratio(value: float, reference: float) -> float:
    change = (value - reference) / reference
    return math.log1p(change) if abs(change) < 0.5 else math.log(value / reference)


def _stirling_error(x: float) -> float:
    """log Γ(x) beyond Stirling's (x - ½) log x - x + ½ log 2π."""
    if x < 12:
        return math.lgamma(x) - ((x - 0.5) * math.log(x) - x + _HALF_LOG_2PI)
    inverse, square = 1 / x, 1 / (x * x)
    total = 0.0
    for term in reversed(_STIRLING):
        total = total * square + term
    return total * inverse


def t_upper(t: float, df: float) -> float:
    """P(T > t) of Student's t with ``df`` degrees of freedom."""
    square = t * t
    if math.isinf(square):
        return 0.0 if t > 0 else 1.0
    tail = 0.5 * incomplete_beta(df / 2, 0.5, df / (df + square), square / (df + square))
    return tail if t >= 0 else 1 - tail


def t_quantile(p: float, df: float) -> float:
    """The t with P(T <= t) = p, for 0 < p < 1 and ``df`` >= 1."""
    if p == 0.5:
        return 0.0
    if p < 0.5:
        return -_upper_t(p, df)
    return _upper_t(1 - p, df)


def _upper_t(tail: float, df: float) -> float:
    """The positive t with P(T > t) = tail: found on a logarithmic scale, since tails of small ``df`` reach far."""
    high = 1.0
    while t_upper(high, df) > tail and high < 1e150:
        high *= 4
    return _bisect(lambda t: tail - t_upper(t, df), 0.0, high)


def beta_quantile(p: float, a: float, b: float) -> float:
    """The x with I_x(a, b) = p, for 0 < p < 1."""
    return _bisect(lambda x: incomplete_beta(a, b, x) - p, 0.0, 1.0)


def _bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    """The root of a rising function between ``low`` and ``high``, to the last bit."""
    for _ in range(400):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def binomial_lower(k: int, n: int, p: float) -> float:
    """P(X <= k) of n trials with chance p."""
    if k < 0:
        return 0.0
    return 1.0 if k >= n else incomplete_beta(n - k, k + 1, 1 - p, p)


def noncentral_t_upper(t: float, df: float, shift: float) -> float:
    """P(T > t) when T has ``df`` degrees of freedom and noncentrality ``shift``: the power of a t bound.

    T = (Z + shift) / S, so the tail is the mean of Φ(shift - t·S) over S = √(χ²/df); integrated by Gauss-Legendre.
    """
    import numpy as np  # here alone: the control process shows intervals and does without it

    reach = 12 / math.sqrt(2 * df)
    low, high = max(0.0, 1 - reach), 1 + reach
    nodes, weights = np.polynomial.legendre.leggauss(240)
    s = 0.5 * (high - low) * nodes + 0.5 * (high + low)
    log_density = (
        math.log(2) + 0.5 * df * math.log(df / 2) - math.lgamma(df / 2) + (df - 1) * np.log(s) - 0.5 * df * s * s
    )
    tails = np.array([normal_cdf(value) for value in shift - t * s])
    return float(0.5 * (high - low) * np.sum(weights * np.exp(log_density) * tails))
