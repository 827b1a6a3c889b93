"""Above an absolute limit: a betting e-process on the bad share of each interval. Valid however requests cluster.

Called by `serinus.core.evidence.comparison` for Fail, and for "stable itself breaks the limit".

Harmless means: given the past, the expected bad share Xₜ of each interval is at most the limit m. Nothing is assumed
about the requests inside an interval: they may fail alone, in bursts or all together. Then

    K = Π (1 + λₜ (Xₜ − m)),    0 ≤ λₜ < 1/m,  λₜ known before Xₜ,

is a non-negative supermartingale that starts at 1 (Waudby-Smith and Ramdas, "Estimating means of bounded random
variables by betting", JRSS B 2024, section 4), and so is a mixture of such products with fixed weights.

The bets are those that would grow the logarithm of the wealth fastest (Kelly 1956) if the true share were 1.2, 1.5, 2,
3, 5 or 10 times the limit. They depend on the number of requests in the interval, which is not part of the hypothesis:
it speaks of the share given that number. Fixed bets make the evidence rise whenever a bad request is added, and make
a cold evaluation the same as an incremental one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from serinus.core.evidence.wealth import Evidence, Wealth
from serinus.core.verdicts import Counts

_ALTERNATIVES = (1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Multiples of the limit that the bets are made for."""

_LARGEST_STAKE = 0.95
"""Largest λ·m: an interval without a bad request never costs more than this share of the wealth."""

_LARGEST_SHARE = 0.95
"""Alternatives above this share are cut to it."""

_BUCKETS_PER_OCTAVE = 2
_SMALL_MEAN = 40.0


class AboveLimit:
    """Evidence that the bad share is above `limit` (between 0 and 1, exclusive), from the counts of each interval.

    Fail when `evidence.peak` reaches log(1/alpha): a harmless candidate gets there with a chance of at most alpha, at
    any time.
    """

    __slots__ = ("_limit", "_wealth")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._wealth = Wealth(len(_ALTERNATIVES))

    def add(self, interval: Counts, most: Callable[[tuple[float, ...]], Sequence[float]] | None = None) -> None:
        """One more interval, with at least one request.

        `most`, asked with the multiples of the limit that the bets are made for, gives what each of them may gain at
        most; None: all that it gains.
        """
        gain = interval.bad / interval.total - self._limit
        factors = [1.0 + bet * gain for bet in _bets(self._limit, _bucket(interval.total))]
        self._wealth.add(factors if most is None else list(map(min, factors, most(_ALTERNATIVES))))

    @property
    def evidence(self) -> Evidence:
        """What the intervals so far say."""
        return self._wealth.evidence


def _bucket(total: float) -> int:
    """Numbers of requests within a factor of √2 share their bets, so that few need computing."""
    return round(_BUCKETS_PER_OCTAVE * math.log2(max(total, 1.0)))


@lru_cache(maxsize=4096)
def _bets(limit: float, bucket: int) -> tuple[float, ...]:
    requests = 2.0 ** (bucket / _BUCKETS_PER_OCTAVE)
    return tuple(_kelly(limit, min(multiple * limit, _LARGEST_SHARE), requests) for multiple in _ALTERNATIVES)


def _kelly(limit: float, share: float, requests: float) -> float:
    """The λ that maximises E log(1 + λ(X − limit)) if bad requests come alone at `share`; 0 ≤ λ ≤ 0.95/limit."""
    if share <= limit:
        return 0.0
    outcomes = _outcomes(share, requests)
    low, high = 0.0, _LARGEST_STAKE / limit

    def slope(bet: float) -> float:
        return sum(p * (x - limit) / (1.0 + bet * (x - limit)) for x, p in outcomes)

    if slope(high) >= 0:
        return high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return low


def _outcomes(share: float, requests: float) -> list[tuple[float, float]]:
    """Shares of an interval and their (unnormalised) chances: Poisson, or a normal on nine points when it is large."""
    mean = requests * share
    if mean > _SMALL_MEAN:
        deviation = math.sqrt(share * (1 - share) / requests)
        points = [(share + z * deviation, math.exp(-z * z / 2)) for z in range(-4, 5)]
        return [(min(max(x, 0.0), 1.0), p) for x, p in points]
    most = math.ceil(mean + 8 * math.sqrt(mean) + 8)
    chances = [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(most + 1)]
    return [(min(k / requests, 1.0), p) for k, p in enumerate(chances)]
