"""Candidate and stable side by side: the counts of the same interval and stratum.

Built by `serinus.core.evidence.comparison` from the intervals of both revisions, used by the tests of `increase` and
the estimates of `clustering`.
"""

from __future__ import annotations

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


def pair_of(candidate: Interval, stable: Interval | None, severity: Severity) -> Pair:
    """An interval in which the candidate had traffic, with what stable did in the same interval and stratum."""
    others = stable.strata if stable is not None else {}
    cells = []
    for stratum, tally in candidate.strata.items():
        other = others.get(stratum, NOTHING)
        cells.append(Cell(stratum, tally.total, tally[severity], other.total, other[severity]))
    return pair(candidate.point, tuple(cells))


def without_stable(pair: Pair) -> Pair:
    """The candidate's interval by itself, all strata together."""
    counts = pair.candidate
    return Pair(pair.point, (Cell("", counts.total, counts.bad, 0.0, 0.0),), counts, Counts(0.0, 0.0))


def counts_of(interval: Interval, severity: Severity) -> Counts:
    """Counts of one revision in an interval, all strata together."""
    strata = interval.strata.values()
    if len(strata) == 1:
        (tally,) = strata
        return Counts(tally[severity], tally.total)
    return Counts(sum(tally[severity] for tally in strata), sum(tally.total for tally in strata))
