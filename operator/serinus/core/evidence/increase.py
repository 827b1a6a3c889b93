"""Above stable, and not above: one e-value per interval that needs no guess of stable's share.

Called by `serinus.core.evidence.comparison`, for the increase over stable, for "above stable at all", and for Pass
(where an absolute limit is an increase over nothing).

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
has shown itself, which simulations back (tests/unit/core/evidence). What has not shown itself yet is guarded against by
a cut: one interval gains at most a part of log(1/alpha), so a verdict of either kind rests on several intervals. A cut
gain is a smaller e-value, so the error bound stays exact. For Fail the cut is wider the more intervals with failures
there were before, as those have shown how they cluster: who turns bad after an hour is found as soon as without it.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import lru_cache
from operator import add
from typing import NamedTuple

from serinus.core.evidence.pairs import Cell, Pair
from serinus.core.evidence.wealth import Evidence, Wealth, log_mixture

_RISES = (1.15, 1.4, 2.0, 3.0, 6.0, 20.0)
"""Values of 1 + x that bet on "more"."""

_FALLS = (0.0, 0.2, 0.45, 0.75, 0.9)
"""Values of 1 + x that bet on "less"; the first is the best for a candidate without any failure."""

FALL_WEIGHTS = (0.35, 0.25, 0.3, 0.05, 0.05)
"""Capital of each bet on "less", in the order of `Shortfall.logs`."""

_RISING_STAKES = tuple(rise - 1.0 for rise in _RISES)
_NEUTRAL = (1.0,) * len(_RISES)
_FALLING_STAKES = tuple(fall - 1.0 for fall in _FALLS)

_LARGEST_STAKE = 0.9
"""Largest y: one failure of stable never costs more than this share of the wealth."""

FEWEST_INTERVALS = 7
"""Pass needs at least so many intervals, however many requests each has: no single quiet moment is proof."""

FEWEST_INTERVALS_ABOVE = 4
"""Fail of an increase needs at least so many at first: failures that come together, rarely, are no proof either."""

_CUT_DOUBLES_AFTER = 120
"""Intervals with bad requests, of either revision, after which a Fail may gain twice as much in one."""

_CUTS_PER_OCTAVE = 8
_MOST_REQUESTS = 1e9
_LARGEST_LOG = 500.0


class AboveStable:
    """Evidence that the candidate's share exceeds stable's by more than `increase` (δ, 0 to 1).

    Fail when `evidence.peak` reaches log(1/alpha). The hypothesis holds in each stratum by itself; bets are limited
    where stable has little traffic. With an alpha, each interval's gain is cut at log(1/alpha)/3.5 at first, so that it
    takes at least `FEWEST_INTERVALS_ABOVE` of them; without one, as a part of another test, one interval may suffice.
    """

    __slots__ = ("_cut", "_increase", "_largest", "_telling", "_wealth")

    def __init__(self, increase: float, alpha: float | None = None) -> None:
        self._increase = increase
        self._cut = _LARGEST_LOG if alpha is None else math.log(1 / alpha) / (FEWEST_INTERVALS_ABOVE - 0.5)
        self._telling = 0
        self._largest = 0.0
        self._wealth = Wealth(len(_RISES))

    def add(self, pair: Pair, before: float, after: float, alone: float | None = None) -> None:
        """One more interval.

        Args:
            pair: the interval.
            before: design effect of the intervals before this one.
            after: design effect with it.
            alone: the harmless share where stable serves nothing; None: such intervals say nothing.

        """
        logs = _rising_logs(pair, _RISING_STAKES, self._increase, alone)
        cut = self._next_cut(pair)
        if logs is None:
            self._wealth.add(_NEUTRAL)
            return
        gain, loss = 1 / max(before, after), 1 / before
        self._wealth.add([math.exp(min(log * gain, cut) if log > 0 else log * loss) for log in logs])

    def _next_cut(self, pair: Pair) -> float:
        """The most that this interval may gain: one of many requests, across a gap in the readings, is as several."""
        requests = pair.candidate.total
        several = max(requests / (2 * self._largest), 1.0) if self._largest else 1.0
        cut = self._cut * (1 + self._telling / _CUT_DOUBLES_AFTER) * several
        self._telling += pair.candidate.bad > 0 or pair.stable.bad > 0
        self._largest = max(self._largest, requests)
        return min(cut, _LARGEST_LOG)

    @property
    def evidence(self) -> Evidence:
        """What the intervals so far say."""
        return self._wealth.evidence

    def copy(self) -> AboveStable:
        """The same, to be continued apart."""
        return copy.deepcopy(self)


def _rising_logs(pair: Pair, stakes: tuple[float, ...], increase: float, alone: float | None) -> list[float] | None:
    """The logarithms of E of all cells of a pair together, for each stake on "more"; None where nothing is bet."""
    logs: list[float] | None = None
    beside = _bets(stakes, increase)
    for cell in pair.cells:
        if cell.stable_total > 0:
            bets = _limited(beside, cell, increase)
        elif alone is not None:
            bets = _bets(stakes, alone)
        else:
            continue
        seen = _log_e_values(cell, bets)
        logs = seen if logs is None else list(map(add, logs, seen))
    return logs


def factors_above_stable(pair: Pair, rises: tuple[float, ...], alone: float) -> list[float]:
    """The e-value of one interval against "not above stable", for each value of 1 + x, as if nothing clustered.

    Where stable serves nothing, the hypothesis is that the share is at most `alone`.
    """
    logs = _rising_logs(pair, tuple(rise - 1.0 for rise in rises), 0.0, alone)
    return [math.exp(min(log, _LARGEST_LOG)) for log in logs] if logs is not None else [1.0] * len(rises)


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
        low, high = 0, self._enough
        if high is None:
            return None
        while high - low > 1:
            middle = max(low + 1, min(self._nearer(high), high - 1))
            low, high = (low, middle) if self._passes_after(middle) else (middle, high)
        return high

    def _nearer(self, requests: int) -> int:
        """A number of requests between the one that just passes and this one, which does.

        By Newton's method: the logarithm of a mixture is convex in the requests, so a tangent meets the threshold above
        the curve's own crossing.
        """
        terms = [
            (log + requests * rate + math.log(weight), rate)
            for log, rate, weight in zip(self.logs, self.growth, FALL_WEIGHTS, strict=True)
            if log > -math.inf
        ]
        top = max(term for term, _ in terms)
        parts = [(math.exp(term - top), rate) for term, rate in terms]
        total = sum([part for part, _ in parts])
        excess, slope = top + math.log(total) - self.threshold, sum([part * rate for part, rate in parts]) / total
        return requests - math.floor(excess / slope) if slope > 0 else 0

    @property
    def _enough(self) -> int | None:
        """So many more requests that a single bet passes by itself; None if none does within reason."""
        more = min(
            (
                (self.threshold - log - math.log(weight)) / rate
                for log, rate, weight in zip(self.logs, self.growth, FALL_WEIGHTS, strict=True)
                if rate > 0 and log > -math.inf
            ),
            default=math.inf,
        )
        return max(math.ceil(more), 1) if more <= _MOST_REQUESTS else None

    def _passes_after(self, requests: int) -> bool:
        logs = [log + requests * rate for log, rate in zip(self.logs, self.growth, strict=True)]
        return log_mixture(logs, FALL_WEIGHTS) >= self.threshold


class BelowBound:
    """Evidence that the candidate's share exceeds stable's by less than `bound` (limit + tolerance), above 0, below 1.

    For an absolute limit, the pairs have no stable traffic and the bound is a share: a bet on Bernoulli trials then.

    Each interval's gain is cut at log(1/alpha)/6.5, which keeps the test valid: a Pass takes at least
    `FEWEST_INTERVALS` intervals, and what clusters inside an interval can't pass a candidate in a quiet moment.

    What the error bound covers: a candidate at the bound or above passes at any look with a chance of at most alpha if
    requests fail independently given the past, or cluster as much as the design effects say. A candidate that is bad in
    rare bursts and has not shown one yet can't be told from a good one by any test of this length.
    """

    __slots__ = ("_beside", "_bound", "_cut", "_intervals", "_logs", "_plain", "_requests")

    def __init__(self, bound: float, alpha: float) -> None:
        self._bound = bound
        self._beside = _bets(_FALLING_STAKES, bound)
        self._cut = math.log(1 / alpha) / (FEWEST_INTERVALS - 0.5)
        self._logs = self._plain = (0.0,) * len(_FALLS)
        self._requests = 0.0
        self._intervals = 0

    def add(self, pair: Pair, before: float, after: float, alone: float | None = None) -> None:
        """One more interval.

        Args:
            pair: the interval.
            before: design effect of the intervals before this one.
            after: design effect with it.
            alone: the bound where stable serves nothing; None: the same, as if stable were faultless.

        """
        unseen = self._beside if alone is None else _bets(_FALLING_STAKES, alone)
        cells = [_log_e_values(cell, self._beside if cell.stable_total else unseen) for cell in pair.cells]
        seen = cells[0] if len(cells) == 1 else [sum(column) for column in zip(*cells, strict=True)]
        gain, loss, cut = 1 / max(before, after), 1 / before, self._cut
        self._logs = tuple(
            [
                have + min(log * gain, cut) if log > 0 else have + log * loss
                for have, log in zip(self._logs, seen, strict=True)
            ]
        )
        self._plain = tuple(map(add, self._plain, seen))
        self._requests += pair.candidate.total
        self._intervals += 1

    def shortfall(self, alpha: float, effect: float) -> Shortfall:
        """How far it is from being shown at this alpha, if failures go on clustering by `effect`."""
        if self._requests > 0:
            most = self._cut * self._intervals
            growth = tuple(min(log / effect, most) / self._requests for log in self._plain)
        else:  # before the first request: as if nothing was bad
            growth = tuple(-cost for cost in self._beside.costs)
        return Shortfall(self._logs, growth, math.log(1 / alpha))

    def copy(self) -> BelowBound:
        """The same, to be continued apart."""
        return copy.copy(self)
