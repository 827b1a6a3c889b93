"""Bounds of a share: for people to read, and for a baseline that can't be had at the same time any more.

Called by `serinus.core.evidence.shares`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from serinus.core.verdicts import Counts

_HALVINGS = 50
_MOST_STEPS = 50
_STEP_ENOUGH = 1e-13


def always_valid_interval(
    counts: Counts, alpha_lower: float, alpha_upper: float, clustering: float = 1.0
) -> tuple[float, float]:
    """A confidence sequence of the share: over all times together, each end errs with at most its own chance.

    All shares p that the mixture over Beta(½, ½) of Bernoulli likelihood ratios does not reject (Robbins,
    "Statistical methods related to the law of the iterated logarithm", 1970):
    B(b+½, n−b+½) / B(½, ½) < pᵇ (1−p)ⁿ⁻ᵇ / alpha, at the lower end with one alpha and at the upper with another.
    Requests are divided by their `clustering` first (approximate then).
    """
    bad, total = counts.bad / clustering, counts.total / clustering
    if total <= 0:
        return 0.0, 1.0
    good = total - bad
    evidence = _log_beta(bad + 0.5, good + 0.5) - _log_beta(0.5, 0.5)
    lower = _lower_root(evidence + math.log(alpha_lower), bad, good)
    return lower, 1.0 - _lower_root(evidence + math.log(alpha_upper), good, bad)


def _lower_root(excess: float, bad: float, good: float) -> float:
    """The smaller share p with excess − bad · log p − good · log(1−p) = 0; 0 where there is none.

    By Newton's method in u = log p. The function is convex in u, and positive at u = excess/bad, left of the root: so
    every step stays left of it.
    """
    if bad <= 0:
        return 0.0
    u = excess / bad
    for _ in range(_MOST_STEPS):
        share = math.exp(u)
        if share >= 1:
            return 1.0
        value = excess - bad * u - good * math.log1p(-share)
        slope = good * share / (1 - share) - bad
        if value <= 0 or slope >= 0:
            break
        step = value / -slope
        u += step
        if step < _STEP_ENOUGH:
            break
    return math.exp(u)


def upper_bound(counts: Counts, alpha: float) -> float:
    """The share that is not exceeded with confidence 1 − alpha, for a fixed window of independent requests.

    By Chernoff's bound: the largest q with n · KL(b/n ‖ q) ≤ log(1/alpha). 1 where there were none.
    """
    return _chernoff(counts, alpha, 1.0)


def lower_bound(counts: Counts, alpha: float) -> float:
    """The share that is reached with confidence 1 − alpha, as in `upper_bound`. 0 where there were none."""
    return _chernoff(counts, alpha, 0.0)


def highest_share(hits: int, runs: int, alpha: float = 0.05) -> float:
    """The exact upper bound of a share after so many of so many runs (Clopper and Pearson 1934); 1 without runs."""
    if hits >= runs:
        return 1.0
    places = [math.lgamma(runs + 1) - math.lgamma(k + 1) - math.lgamma(runs - k + 1) for k in range(hits + 1)]

    def rejected(share: float) -> bool:
        if share >= 1:
            return True
        logs = (at + k * math.log(share) + (runs - k) * math.log1p(-share) for k, at in enumerate(places))
        return math.fsum(map(math.exp, logs)) < alpha

    return _edge(rejected, 1.0, max(hits, 0.5) / runs)


def _chernoff(counts: Counts, alpha: float, end: float) -> float:
    share = counts.share
    if share is None:
        return end
    good = counts.total - counts.bad
    best = _log_likelihood(counts.bad, good, share)

    def rejected(q: float) -> bool:
        return best - _log_likelihood(counts.bad, good, q) >= math.log(1 / alpha)

    return _edge(rejected, end, share)


def _edge(rejected: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where rejection begins between a share that is not rejected and one end of the scale."""
    if not rejected(outside):
        return outside
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if rejected(middle) else (outside, middle)
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_likelihood(bad: float, good: float, share: float) -> float:
    result = 0.0
    if bad > 0:
        result += bad * math.log(share) if share > 0 else -math.inf
    if good > 0:
        result += good * math.log1p(-share) if share < 1 else -math.inf
    return result
