"""The tests of the verdicts over whole sequences of intervals: what they say after all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from serinus.core.evidence.betting import AboveLimit
from serinus.core.evidence.clustering import ComparisonClustering, DifferenceClustering, TimeClustering
from serinus.core.evidence.increase import AboveStable, BelowBound, Shortfall
from serinus.core.evidence.pairs import Pair, without_stable
from serinus.core.evidence.wealth import Evidence, Wealth
from serinus.core.verdicts import Counts


class Discounts(NamedTuple):
    """What one interval's evidence for a Fail is divided by."""

    before: float
    """… as far as it speaks for the candidate,"""
    after: float
    """… and as far as it speaks against it."""


def peak_over_starts(factors: Iterable[Sequence[float]], bets: int) -> Evidence:
    wealth = Wealth(bets)
    for row in factors:
        wealth.add(row)
    return wealth.evidence


def above_limit(intervals: Iterable[Counts], limit: float) -> Evidence:
    test = AboveLimit(limit)
    for interval in intervals:
        test.add(interval)
    return test.evidence


def of_differences(seen: Iterable[Pair]) -> list[float]:
    """Design effects before the first pair and after each."""
    return _factors(DifferenceClustering(), seen)


def of_shares(seen: Iterable[Pair]) -> list[float]:
    """Design effects before the first pair and after each."""
    return _factors(TimeClustering(), seen)


def none(seen: Iterable[Pair]) -> list[float]:
    """No clustering."""
    return [1.0, *(1.0 for _ in seen)]


def for_fail(seen: Iterable[Pair]) -> list[Discounts]:
    """What each interval's evidence for a Fail is divided by."""
    clustering, result = ComparisonClustering(), []
    for pair in seen:
        before = clustering.steady(pair)
        clustering.add(pair)
        result.append(Discounts(before, max(before, clustering.with_newest(pair))))
    return result


def undivided(seen: Iterable[Pair]) -> list[Discounts]:
    """No clustering."""
    return [Discounts(1.0, 1.0) for _ in seen]


def _factors(clustering: DifferenceClustering | TimeClustering, seen: Iterable[Pair]) -> list[float]:
    result = [clustering.factor]
    for pair in seen:
        clustering.add(pair)
        result.append(clustering.factor)
    return result


def above(
    seen: Sequence[Pair],
    increase: float,
    discounts: Sequence[Discounts],
    alone: float | None = None,
    alpha: float = 0.01,
) -> Evidence:
    """Evidence for "more than stable by `increase`"."""
    test = AboveStable(increase, alpha)
    for pair, discount in zip(seen, discounts, strict=True):
        test.add(pair, *discount, alone)
    return test.evidence


def shortfalls(seen: Sequence[Pair], bound: float, effects: Sequence[float], alpha: float) -> Iterator[Shortfall]:
    """How far "less than stable and `bound`" is from being shown, before the first pair and after each."""
    test = BelowBound(bound, alpha)
    yield test.shortfall(alpha, effects[0])
    for pair, before, after in zip(seen, effects[:-1], effects[1:], strict=True):
        test.add(pair, before, after)
        yield test.shortfall(alpha, after)


def below(seen: Sequence[Pair], bound: float, effects: Sequence[float], alpha: float) -> Shortfall:
    """The last of `shortfalls`."""
    return list(shortfalls(seen, bound, effects, alpha))[-1]


def alone(seen: Iterable[Pair]) -> tuple[Pair, ...]:
    """The candidate by itself."""
    return tuple(without_stable(pair) for pair in seen)
