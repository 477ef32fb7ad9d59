"""How many items a decision needs, and how small a difference it can see (F6)."""

import math

from headgate.stats.distributions import noncentral_t_upper, normal_cdf, normal_quantile, t_quantile

MOST_ITEMS = 10_000_000


def _z(alpha: float, power: float, sides: int) -> float:
    return normal_quantile(1 - alpha / sides) + normal_quantile(power)


def needed_n(
    difference: float,
    between: float,
    *,
    within_a: float = 0.0,
    within_b: float = 0.0,
    repeats_a: int = 1,
    repeats_b: int = 1,
    alpha: float = 0.05,
    power: float = 0.8,
    sides: int = 2,
) -> float:
    """F6: (z_{1-α/2} + z_{power})² (ω² + σ_A²/K_A + σ_B²/K_B) / δ², not rounded; ``sides`` 1 for non-inferiority."""
    variance = between + within_a / repeats_a + within_b / repeats_b
    return _z(alpha, power, sides) ** 2 * variance / difference**2


def smallest_difference(se: float, *, alpha: float = 0.05, power: float = 0.8, sides: int = 2) -> float:
    """The difference found with chance ``power`` by a test whose difference has standard error ``se``."""
    return _z(alpha, power, sides) * se


def bound_power(distance: float, sd: float, n: int, alpha: float) -> float:
    """The chance that the one-sided t bound of n differences clears a limit that the truth is ``distance`` above."""
    if sd <= 0:
        return 1.0 if distance > 0 else 0.0
    if n < 2:
        return 0.0
    shift = distance * math.sqrt(n) / sd
    critical = t_quantile(1 - alpha, n - 1)
    if n > 500:
        return normal_cdf(shift - critical)
    return noncentral_t_upper(critical, n - 1, shift)


def needed_for_bound(distance: float, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """The fewest items whose t bound clears a limit ``distance`` away with chance ``power``; None beyond 10 million."""
    if distance <= 0:
        return None
    if sd <= 0:
        return 2
    rough = needed_n(distance, sd * sd, alpha=alpha, power=power, sides=1)
    if rough > MOST_ITEMS:
        return None
    n = max(2, math.ceil(rough))
    while bound_power(distance, sd, n, alpha) < power:
        n += 1
    return n
