"""How many items a decision needs, and how small a difference it can see (F6)."""

import math

from headgate.stats.bounds import critical_value
from headgate.stats.distributions import noncentral_t_upper, normal_cdf, normal_quantile, t_quantile
from headgate.stats.paired import QUARTER_PAIR, tango_variance

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


def bound_power(distance: float, sd: float, n: int, alpha: float, skew: float | None = None) -> float:
    """The chance that the one-sided lower bound of n differences clears a limit that the truth is ``distance`` above.

    ``skew`` is the skewness of the differences, below 0 where losses are the longer tail; with it, the answer is about
    the gate's own bound, and approximate. None: about the plain t bound, and exact for normal differences.
    """
    if sd <= 0:
        return 1.0 if distance > 0 else 0.0
    if n < 2:
        return 0.0
    shift = distance * math.sqrt(n) / sd
    critical = t_quantile(1 - alpha, n - 1)
    if skew is not None:
        # Even symmetric differences look skewed in a sample, by about √(6/n), and the bound cannot know.
        noise = math.sqrt(6 / n)
        seen = noise * _density(skew / noise) - skew * normal_cdf(-skew / noise)
        critical = float(critical_value(critical, seen, n))
        if skew < 0:
            return _power_of_skewed(distance / sd, shift, critical, skew, n)
        # Johnson and Welch's approximation (1940) of the noncentral t: good to a thousandth, and quick.
        return normal_cdf((shift - critical * (1 - 1 / (4 * n - 4))) / math.sqrt(1 + critical * critical / (2 * n - 2)))
    if n > 500:
        return normal_cdf(shift - critical)
    return noncentral_t_upper(critical, n - 1, shift)


def _density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _power_of_skewed(effect: float, shift: float, critical: float, skew: float, n: int) -> float:
    """Means and their standard errors vary together: where a loss is missing, the one is high and the other low.

    Kurtosis is taken as 1.5·γ², that of a gamma distribution.
    """
    tails = 2 + 1.5 * skew * skew
    mean = shift * (1 + 3 / 8 * tails / n) - skew / (2 * math.sqrt(n))
    variance = 1 - skew * effect + tails / 4 * effect * effect
    return normal_cdf((mean - critical) / math.sqrt(variance))


SKEW_RESERVE = 1.08
"""Cases planned beyond the approximation for differences with a long tail of losses, whose own skewness is a guess."""


def needed_for_bound(
    distance: float, sd: float, *, alpha: float = 0.05, power: float = 0.8, skew: float | None = None
) -> int | None:
    """The fewest items whose bound clears a limit ``distance`` away with chance ``power``; None beyond 10 million.

    ``skew`` as in :func:`bound_power`.
    """
    if distance <= 0:
        return None
    if sd <= 0:
        return 2
    rough = needed_n(distance, sd * sd, alpha=alpha, power=power, sides=1)
    if rough > MOST_ITEMS:
        return None
    low = max(2, math.ceil(rough) // 4 if skew is not None and skew < 0 else math.ceil(rough))
    high = low
    while bound_power(distance, sd, high, alpha, skew) < power:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if bound_power(distance, sd, middle, alpha, skew) < power:
            low = middle
        else:
            high = middle
    return math.ceil(high * SKEW_RESERVE) if skew is not None and skew < 0 else high


def needed_pairs(margin: float, discordant: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """The fewest pass-or-fail pairs whose score bound clears -``margin`` when nothing changed and a share
    ``discordant`` of pairs differs by chance; None beyond 10 million.

    (z_{1-α}·s₀ + z_{power}·s₁)² / (δ - ¼/n)², s₀ the spread at the margin (Tango's restricted one), s₁ the true one.
    """
    if discordant <= 0:
        return max(2, math.ceil(math.log(alpha) / math.log1p(-margin)))
    at_margin = math.sqrt(tango_variance(discordant / 2, discordant / 2, 1.0, -margin))
    reach = normal_quantile(1 - alpha) * at_margin + normal_quantile(power) * math.sqrt(discordant)
    # n(δ - ¼/n)² = reach², solved for √n.
    root = (reach + math.sqrt(reach * reach + 4 * margin * QUARTER_PAIR)) / (2 * margin)
    return None if root * root > MOST_ITEMS else max(2, math.ceil(root * root))


def pairs_power(margin: float, discordant: float, n: int, alpha: float) -> float:
    """The chance that the score bound of n pass-or-fail pairs clears -``margin`` when nothing changed and a share
    ``discordant`` differs by chance: what :func:`needed_pairs` solves for n.
    """
    if discordant <= 0:
        return 1.0 if (1 - margin) ** n <= alpha else 0.0
    at_margin = math.sqrt(tango_variance(discordant / 2, discordant / 2, 1.0, -margin))
    reach = margin * math.sqrt(n) - QUARTER_PAIR / math.sqrt(n)
    return normal_cdf((reach - normal_quantile(1 - alpha) * at_margin) / math.sqrt(discordant))
