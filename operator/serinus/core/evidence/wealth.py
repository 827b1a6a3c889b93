"""Bookkeeping of e-processes: mixtures over bets and over starting times, in numbers that don't overflow.

Used by `betting` and `increase`. A *factor* is the e-value of one interval for one bet: non-negative, with an
expectation of at most 1 under the hypothesis given the past. Products of factors, and mixtures of such products with
fixed weights, are e-processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_AT_ONCE = 0.7
"""Share of the capital that is bet from the first interval on; the rest waits for a later start."""

_CEILING = 1e250
"""Wealth is cut here, which keeps it valid and keeps it from overflowing."""


_LOG_3 = math.log(3.0)


class Evidence(NamedTuple):
    """Evidence against a hypothesis, as natural logarithms of e-values."""

    now: float
    peak: float
    """The largest it ever was: by Ville's inequality the one to hold against log(1/alpha)."""


class Wealth:
    """Mixture over equally weighted bets and over the intervals at which one could have begun to bet.

    A candidate that turns bad after a long good time has lost almost all wealth that was bet on its being bad from the
    beginning. So 70 % of the capital is bet at once, and the remainder r(1) = 0.3 is released so that after interval t
    r(t) = 0.3 · log 3 / log(t + 2) is left; a mixture over starting times with these fixed weights (what is not bet
    counts as it is). The price is log(1/0.7) = 0.36 in the logarithm for a candidate that is bad from the beginning.
    """

    __slots__ = ("_bets", "_e_value", "_intervals", "_peak", "_reserve")

    def __init__(self, bets: int) -> None:
        self._bets = [0.0] * bets
        self._intervals = 0
        self._reserve = self._peak = self._e_value = 1.0

    def add(self, factors: Sequence[float]) -> None:
        """One more interval: one factor for each bet."""
        self._intervals += 1
        left = (1.0 - _AT_ONCE) * _LOG_3 / math.log(self._intervals + 2)
        released, self._reserve = self._reserve - left, left
        self._bets = [(each + released) * factor for each, factor in zip(self._bets, factors, strict=True)]
        total = sum(self._bets)
        if total > _CEILING:
            self._bets = [min(each, _CEILING) for each in self._bets]
            total = sum(self._bets)
        self._e_value = total / len(self._bets) + left
        self._peak = max(self._peak, self._e_value)

    @property
    def evidence(self) -> Evidence:
        """What the intervals so far say."""
        return Evidence(math.log(self._e_value), math.log(self._peak))


def log_mixture(logs: Sequence[float], weights: Sequence[float]) -> float:
    """The mixture log Σ wᵢ exp(logsᵢ), without overflow; logs may be -inf."""
    top = max(logs)
    if top == -math.inf:
        return -math.inf
    return top + math.log(sum([weight * math.exp(each - top) for each, weight in zip(logs, weights, strict=True)]))
