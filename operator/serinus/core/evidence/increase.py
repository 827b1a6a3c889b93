"""Above stable, and not above: one e-value per interval that needs no guess of stable's share.

Called by `serinus.core.evidence.shares`, for the increase over stable, for "above stable at all", and for Pass (where
an absolute limit is an increase over nothing).

**The bet.** In one interval the candidate has b bad of n requests and stable c bad of k. Stable's share q is unknown
and may be another one in each interval (incidents, time of day). The hypothesis is that the candidate's share is at
most q + δ (or, for Pass, at least). For any x > −1, which is positive to bet on "more" and negative to bet on "less",

    E = (1 + x)ᵇ · (1 − y)ᶜ · (1 + δx)⁻ⁿ     with  y = (n/k) · x / (1 + δx)

has an expectation of at most 1 under the hypothesis, whatever q is: as log(1 + (q+δ)x) ≤ log(1 + δx) + qx/(1 + δx) and
log(1 − qy) ≤ −qy,

    log E[E] = n log(1 + px) + k log(1 − qy) − n log(1 + δx) ≤ q · (nx/(1 + δx) − ky) = 0    for p = q + δ,

and for p < q + δ with x > 0, or p > q + δ with x < 0, it is smaller. For k → ∞ this is the likelihood ratio of
Bernoulli trials; the best x comes close to the bound log(1/α) / inf_q [KL(p ‖ q+δ) + (k/n)·KL(p_s ‖ q)] of two-sample
tests. With strata and the same x in each, the same sum shows that the hypothesis is about the increase averaged over
the candidate's own mix of strata; so a candidate that gets other endpoints than stable is compared like with like.
Where stable served nothing, k = 0, a bet on "less" is still valid (q ≥ 0), and one on "more" is not placed.

**Clustering.** E assumes that, given the past and q, requests fail independently inside an interval. If they fail
together it is too large. So each interval's evidence is divided by the running design effect D ≥ 1 of `clustering`
(the part of "variance at least the larger of the null's and the empirical one" in other sequential tests): an interval
for the hypothesis by D before it, one against it by the larger of D before and with it. E^(1/D) ≤ 1 in expectation by
Jensen's inequality, so under independence the error bound stays exact; under clustering it holds as far as clustering
has shown itself, which simulations back (tests/unit/core/evidence).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import add
from typing import NamedTuple

from serinus.core.evidence.pairs import Cell, Pair
from serinus.core.evidence.wealth import Evidence, log_mixture, peak_over_starts

_RISES = (1.15, 1.4, 2.0, 3.0, 6.0, 20.0)
"""Values of 1 + x that bet on "more"."""

_FALLS = (0.0, 0.2, 0.45, 0.75, 0.9)
"""Values of 1 + x that bet on "less"; the first is the best for a candidate without any failure."""

FALL_WEIGHTS = (0.35, 0.25, 0.3, 0.05, 0.05)
"""Capital of each bet on "less", in the order of `Shortfall.logs`."""

_FALLING_STAKES = tuple(fall - 1.0 for fall in _FALLS)

_LARGEST_STAKE = 0.9
"""Largest y: one failure of stable never costs more than this share of the wealth."""

FEWEST_INTERVALS = 7
"""Pass needs at least so many intervals, however many requests each has: no single quiet moment is proof."""

_CUTS_PER_OCTAVE = 8
_MOST_REQUESTS = 1e9
_LARGEST_LOG = 500.0


@dataclass(frozen=True, slots=True)
class Alone:
    """What is harmless where stable serves nothing at the same time."""

    share: float
    """The harmless share, for `above`; for `below`, the share that must not be reached."""
    since: int = 0
    """Position of the first pair for which this holds. Before it, a bet on "more" is not placed where stable serves
    nothing, and one on "less" takes stable for faultless."""


def above(pairs: Sequence[Pair], increase: float, clustering: Sequence[float], alone: Alone | None = None) -> Evidence:
    """Evidence that the candidate's share exceeds stable's by more than `increase`.

    Fail when `peak` reaches log(1/alpha). The hypothesis holds in each stratum by itself; bets are limited where
    stable has little traffic.

    Args:
        pairs: intervals since the evidence began, in order.
        increase: δ, the harmless increase, 0 to 1.
        clustering: design effect before the first pair and after each.
        alone: what is harmless where stable serves nothing; None: such intervals say nothing.

    """
    return peak_over_starts(_rising_factors(pairs, increase, clustering, alone), len(_RISES))


def _rising_factors(
    pairs: Sequence[Pair], increase: float, clustering: Sequence[float], alone: Alone | None
) -> Iterator[list[float]]:
    stakes = tuple(rise - 1.0 for rise in _RISES)
    beside = _bets(stakes, increase)
    for at, (pair, before, after) in enumerate(zip(pairs, clustering[:-1], clustering[1:], strict=True)):
        unseen = _bets(stakes, alone.share) if alone is not None and at >= alone.since else None
        logs = [0.0] * len(stakes)
        for cell in pair.cells:
            bets = _limited(beside, cell, increase) if cell.stable_total > 0 else unseen
            if bets is not None:
                logs = list(map(add, logs, _log_e_values(cell, bets)))
        gain, loss = 1 / max(before, after), 1 / before
        yield [math.exp(min(log * (gain if log > 0 else loss), _LARGEST_LOG)) for log in logs]


def _limited(bets: _Bets, cell: Cell, increase: float) -> _Bets:
    """The bets with stakes cut so that y stays at most `_LARGEST_STAKE`, cut in few places so that few are computed."""
    ratio = _LARGEST_STAKE * cell.stable_total / cell.total
    if ratio * increase >= 1 or bets.stakes[-1] * (1 - ratio * increase) <= ratio:
        return bets
    rounded = 2.0 ** (math.floor(_CUTS_PER_OCTAVE * math.log2(ratio)) / _CUTS_PER_OCTAVE)
    largest = rounded / (1 - rounded * increase)
    return _bets(tuple([min(stake, largest) for stake in bets.stakes]), increase)


class _Bets(NamedTuple):
    """Stakes x in ascending order, and what is needed of them again and again."""

    stakes: tuple[float, ...]
    gains: tuple[float, ...]
    """log(1 + x): per bad request."""
    costs: tuple[float, ...]
    """log(1 + δx): per request."""
    slopes: tuple[float, ...]
    """x/(1 + δx), which is y · k/n."""


@lru_cache(maxsize=1024)
def _bets(stakes: tuple[float, ...], increase: float) -> _Bets:
    return _Bets(
        stakes,
        tuple(math.log1p(stake) if stake > -1 else -math.inf for stake in stakes),
        tuple(math.log1p(increase * stake) for stake in stakes),
        tuple(stake / (1 + increase * stake) for stake in stakes),
    )


def _log_e_values(cell: Cell, bets: _Bets) -> list[float]:
    """The logarithms of E of one cell (see the module); of x = −1 it is −inf as soon as one request is bad."""
    total, bad, stable_bad = cell.total, cell.bad, cell.stable_bad
    if bad:
        logs = [bad * gain - total * cost for gain, cost in zip(bets.gains, bets.costs, strict=True)]
    else:
        logs = [-total * cost for cost in bets.costs]
    if stable_bad:
        ratio = -total / cell.stable_total
        logs = [log + stable_bad * math.log1p(ratio * slope) for log, slope in zip(logs, bets.slopes, strict=True)]
    return logs


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Evidence that the candidate's share is below a bound, and how it grows."""

    logs: tuple[float, ...]
    """Logarithm of the wealth of each bet."""
    growth: tuple[float, ...]
    """Expected gain of each bet per further request, if all goes on as it did in the pairs."""
    threshold: float
    """log(1/alpha)."""

    @property
    def log_e_value(self) -> float:
        """Logarithm of the e-value now."""
        return log_mixture(self.logs, FALL_WEIGHTS)

    @property
    def suffices(self) -> bool:
        """Whether it passes."""
        return self.log_e_value >= self.threshold

    @property
    def needed(self) -> int | None:
        """About how many more requests make it pass at this rate; None if it does not get there."""
        if self.suffices:
            return 0
        more = 1
        while not self._passes_after(more):
            more *= 2
            if more > _MOST_REQUESTS:
                return None
        low, high = more // 2, more
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._passes_after(middle) else (middle, high)
        return high

    def _passes_after(self, requests: int) -> bool:
        logs = [log + requests * rate for log, rate in zip(self.logs, self.growth, strict=True)]
        return log_mixture(logs, FALL_WEIGHTS) >= self.threshold


def below(
    pairs: Sequence[Pair], bound: float, clustering: Sequence[float], alpha: float, alone: Alone | None = None
) -> Shortfall:
    """Evidence that the candidate's share exceeds stable's by less than `bound` (limit + tolerance).

    For an absolute limit, the pairs have no stable traffic and the bound is a share: a bet on Bernoulli trials then.

    Each interval's gain is cut at log(1/alpha)/6.5, which keeps the test valid: a Pass takes at least
    `FEWEST_INTERVALS` intervals, and what clusters inside an interval can't pass a candidate in a quiet moment.

    What the error bound covers: a candidate at the bound or above passes at any look with a chance of at most alpha if
    requests fail independently given the past, or cluster as much as `clustering` has seen. A candidate that is bad in
    rare bursts and has not shown one yet can't be told from a good one by any test of this length.

    Args:
        pairs: intervals since the step began, in order.
        bound: above 0 and below 1.
        clustering: design effect before the first pair and after each.
        alpha: chance of a false Pass.
        alone: the bound where stable serves nothing; None: `bound`, as if stable were faultless.

    """
    logs, plain = (0.0,) * len(_FALLS), (0.0,) * len(_FALLS)
    for logs, plain in _falling(pairs, bound, clustering, alpha, alone):  # noqa: B007 -- the last ones count
        pass
    total = sum(pair.candidate.total for pair in pairs)
    if total > 0:
        growth = tuple(min(log / clustering[-1], _cut(alpha) * len(pairs)) / total for log in plain)
    else:  # before the first request: as if nothing was bad
        growth = tuple(-cost for cost in _bets(_FALLING_STAKES, bound).costs)
    return Shortfall(logs, growth, math.log(1 / alpha))


def _falling(
    pairs: Sequence[Pair], bound: float, clustering: Sequence[float], alpha: float, alone: Alone | None
) -> Iterator[tuple[tuple[float, ...], tuple[float, ...]]]:
    """The logarithms of the wealth of each bet after each pair, as they count and as if nothing clustered."""
    cut = _cut(alpha)
    logs = plain = (0.0,) * len(_FALLS)
    for at, (pair, before, after) in enumerate(zip(pairs, clustering[:-1], clustering[1:], strict=True)):
        seen = _falling_logs(pair, at, bound, alone)
        gain, loss = 1 / max(before, after), 1 / before
        logs = tuple(
            [
                have + min(log * gain, cut) if log > 0 else have + log * loss
                for have, log in zip(logs, seen, strict=True)
            ]
        )
        plain = tuple(map(add, plain, seen))
        yield logs, plain


def _cut(alpha: float) -> float:
    """The most that one interval can add to the logarithm of the wealth."""
    return math.log(1 / alpha) / (FEWEST_INTERVALS - 0.5)


def _falling_logs(pair: Pair, at: int, bound: float, alone: Alone | None) -> list[float]:
    """The logarithms of E of all cells of a pair together, for each bet on "less"."""
    beside = _bets(_FALLING_STAKES, bound)
    unseen = _bets(_FALLING_STAKES, alone.share) if alone is not None and at >= alone.since else beside
    return _sum(_log_e_values(cell, beside if cell.stable_total else unseen) for cell in pair.cells)


def _sum(logs: Iterable[list[float]]) -> list[float]:
    """The sums of the columns of at least one row."""
    rows = iter(logs)
    result = next(rows)
    for row in rows:
        result = list(map(add, result, row))
    return result
