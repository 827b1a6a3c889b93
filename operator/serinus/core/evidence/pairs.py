"""Candidate and stable side by side: the counts of the same interval and stratum.

Built by `serinus.core.evidence.shares` from the intervals of both revisions, used by the tests of `increase` and the
estimates of `clustering`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from serinus.core.evidence.intervals import NOTHING, Interval
from serinus.core.verdicts import Counts


class Severity(IntEnum):
    """Which requests count as bad; the value is the column of `Tally`."""

    SURELY_BAD = 1
    POSSIBLY_BAD = 2
    REFUSED = 3


class Cell(NamedTuple):
    """Counts of both revisions in one interval and stratum."""

    stratum: str
    total: float
    """Requests of the candidate."""
    bad: float
    stable_total: float
    """Zero where stable served nothing, or is not compared with."""
    stable_bad: float


class Pair(NamedTuple):
    """One interval of both revisions."""

    point: int
    """The grid point, as in `Interval`."""
    cells: tuple[Cell, ...]
    """One per stratum in which the candidate had traffic; at least one."""

    candidate: Counts
    """The candidate's counts over all strata."""
    stable: Counts
    """Stable's counts over the strata in which the candidate had traffic."""


def pair(point: int, cells: tuple[Cell, ...]) -> Pair:
    """One interval, with its sums."""
    if len(cells) == 1:
        (_, total, bad, stable_total, stable_bad) = cells[0]
        return Pair(point, cells, Counts(bad, total), Counts(stable_bad, stable_total))
    own = Counts(sum(cell.bad for cell in cells), sum(cell.total for cell in cells))
    stable = Counts(sum(cell.stable_bad for cell in cells), sum(cell.stable_total for cell in cells))
    return Pair(point, cells, own, stable)


def pairs_of(candidate: Iterable[Interval], stable: Iterable[Interval], severity: Severity) -> tuple[Pair, ...]:
    """Intervals in which the candidate had traffic, with what stable did in the same interval and stratum."""
    beside = {interval.point: interval.strata for interval in stable}
    result = []
    for point, strata in candidate:
        others = beside.get(point, {})
        cells = []
        for stratum, tally in strata.items():
            other = others.get(stratum, NOTHING)
            cells.append(Cell(stratum, tally.total, tally[severity], other.total, other[severity]))
        result.append(pair(point, tuple(cells)))
    return tuple(result)


def without_stable(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """The candidate's intervals by themselves, all strata together."""
    return tuple(pair(each.point, (Cell("", each.candidate.total, each.candidate.bad, 0.0, 0.0),)) for each in pairs)


def counts_of(intervals: Iterable[Interval], severity: Severity) -> tuple[Counts, ...]:
    """Counts of one revision per interval, all strata together."""
    return tuple(
        Counts(
            math.fsum(tally[severity] for tally in strata.values()), math.fsum(tally.total for tally in strata.values())
        )
        for _, strata in intervals
    )


def sum_of(counts: Iterable[Counts]) -> Counts:
    """All of them together."""
    listed = tuple(counts)
    return Counts(math.fsum(each.bad for each in listed), math.fsum(each.total for each in listed))
