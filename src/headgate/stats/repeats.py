"""Repeats as attempts (F11): the chance that one of k succeeds, and that all of k do."""

from math import comb


def pass_at_k(n: int, passed: int, k: int) -> float | None:
    """1 - C(n-c, k)/C(n, k): the chance that at least one of k attempts passes; None when fewer than k were scored."""
    return None if k < 1 or n < k else 1 - comb(n - passed, k) / comb(n, k)


def pass_hat_k(n: int, passed: int, k: int) -> float | None:
    """C(c, k)/C(n, k): the chance that all of k attempts pass; None when fewer than k were scored."""
    return None if k < 1 or n < k else comb(passed, k) / comb(n, k)
