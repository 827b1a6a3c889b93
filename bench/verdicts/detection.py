"""How soon the engine finds a broken limit while the candidate keeps its first weight, beside the bound."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.verdicts.attempt import ANALYSIS, POLICIES, Scraped, circumstances
from bench.verdicts.bounds import requests_above_limit, requests_above_stable
from bench.verdicts.kinds import INCREASE, LIMIT, REQUESTS, STABLE_FAILED
from bench.verdicts.traffic import WEIGHTS
from serinus.core.evidence.judge import Judge
from serinus.core.evidence.policy import SharePolicy, alpha_fail
from serinus.core.verdicts import Fail

TIMES: Final = (1.2, 1.5, 2.0, 3.0, 5.0, 20.0)
LOOKS_OF_BOUND: Final = 6
"""An attempt is given up after so many times the bound."""
_SHARE: Final = WEIGHTS[0] / 100
_FEWER_BELOW: Final = 1.4
"""Below this multiple attempts are so long that only a fifth of them is played."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit by itself, and how it must be found broken."""

    name: str
    policy: SharePolicy
    bounds: float
    """Multiple of the bound that the mean may take …"""
    looks: int
    """… and so many evaluations more."""

    def fewest(self, share: float) -> float:
        """Requests of the candidate that every test needs."""
        alpha = alpha_fail(ANALYSIS, watched=True)
        if self.policy.max_share is not None:
            return requests_above_limit(share, LIMIT, alpha)
        return requests_above_stable(share, STABLE_FAILED, INCREASE, (1 - _SHARE) / _SHARE, alpha)


@dataclass(frozen=True, slots=True)
class Detection:
    """What was measured of one limit and one share."""

    limit: str
    times: float
    """The candidate's share against the limit, or against stable's plus the allowed increase."""
    runs: int
    found: int
    """Attempts in which it was found within the looks that were drawn."""
    requests: float
    """Requests of the candidate until then, on average; those that were not found count in full."""
    median: float
    bound: float
    allowed: float


def _errors() -> SharePolicy:
    policy = POLICIES[0]
    assert isinstance(policy, SharePolicy)
    return dataclasses.replace(policy, max_refused_increase=None)


LIMITS: Final = (
    Limit("absolute", dataclasses.replace(_errors(), max_increase=None), 1.5, 3),
    Limit("increase", dataclasses.replace(_errors(), max_share=None), 3.0, 10),
)


def runs_of(times: float, runs: int) -> int:
    """How many of the wanted runs are played at this multiple."""
    return max(runs // 5, 1) if times < _FEWER_BELOW else runs


def detection(limit: Limit, times: float, requests: list[float]) -> Detection:
    """The figures of one limit and share, from the requests of each run; infinite where it was not found."""
    bound = limit.fewest(times * LIMIT)
    most = _looks(bound) * REQUESTS * _SHARE
    counted = np.minimum(requests, most)
    return Detection(
        limit=limit.name,
        times=times,
        runs=len(requests),
        found=int(np.isfinite(requests).sum()),
        requests=float(counted.mean()),
        median=float(np.median(counted)),
        bound=bound,
        allowed=limit.bounds * bound + limit.looks * REQUESTS * _SHARE,
    )


def requests_until_fail(limit: Limit, times: float, seed: int, run: int) -> float:
    """Requests of the candidate until the engine fails it; infinite where it does not."""
    random = np.random.default_rng([seed, LIMITS.index(limit), round(10 * times), run])
    looks = _looks(limit.fewest(times * LIMIT))
    own, other = REQUESTS * _SHARE, REQUESTS * (1 - _SHARE)
    totals, stable_totals = random.poisson(own, looks), random.poisson(other, looks)
    bad, stable_bad = random.binomial(totals, times * LIMIT), random.binomial(stable_totals, STABLE_FAILED)
    judge, candidate, stable = Judge(limit.policy), Scraped("candidate-0", 1), Scraped("stable-0", 1)
    candidate.scrape(0)
    stable.scrape(0)
    for look in range(1, looks + 1):
        candidate.count(np.array([[totals[look - 1], bad[look - 1], 0, 0]], dtype=float))
        stable.count(np.array([[stable_totals[look - 1], stable_bad[look - 1], 0, 0]], dtype=float))
        candidate.scrape(look)
        stable.scrape(look)
        verdict = judge.judge(
            candidate.reading(limit.policy), stable.reading(limit.policy), circumstances(look)
        ).verdict
        if isinstance(verdict, Fail):
            return float(totals[:look].sum())
    return math.inf


def _looks(bound: float) -> int:
    return 30 + math.ceil(LOOKS_OF_BOUND * bound / (REQUESTS * _SHARE))
