"""Bounds: what no test can beat, and what a number of runs can tell."""

from __future__ import annotations

import math

import scipy


def kl(a: float, b: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli shares, a from b, in nats per request; 0 < b < 1."""
    return (a * math.log(a / b) if a > 0 else 0.0) + ((1 - a) * math.log((1 - a) / (1 - b)) if a < 1 else 0.0)


def requests_above_limit(share: float, limit: float, alpha: float) -> float:
    """Fewest requests, on average, to show at this alpha that a share is above a limit: log(1/α)/KL(p ‖ limit).

    For any sequential test, by Wald's lower bound on the expected sample size.
    """
    return math.log(1 / alpha) / kl(share, limit)


def requests_above_stable(
    share: float, stable_share: float, increase: float, per_candidate: float, alpha: float
) -> float:
    """The same for "more than stable by an increase": log(1/α) / inf_q [KL(p ‖ q+δ) + (n_s/n_c)·KL(p_s ‖ q)].

    Args:
        share: the candidate's.
        stable_share: stable's.
        increase: δ.
        per_candidate: n_s/n_c, requests of stable for each of the candidate's.
        alpha: chance of a false alarm.

    """

    def information(q: float) -> float:
        return kl(share, q + increase) + per_candidate * kl(stable_share, q)

    found = scipy.optimize.minimize_scalar(information, bounds=(1e-9, share), method="bounded", options={"xatol": 1e-9})
    return math.log(1 / alpha) / float(found.fun)


def upper_share(hits: int, runs: int, confidence: float = 0.95) -> float:
    """The one-sided upper bound of a share after Clopper and Pearson (1934): exact, 1 where there were no runs."""
    return float(scipy.stats.beta.ppf(confidence, hits + 1, runs - hits)) if hits < runs else 1.0
