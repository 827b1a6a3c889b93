"""From raw cumulative counters to counts per interval: differences, resets, pod starts, outages.

Called by `serinus.core.evidence.shares`. Works on the samples of a range query on a fixed grid, so that the same
readings always give the same intervals. An interval in which nothing could be read is not lost: its requests are in
the difference across the gap, which becomes one long interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from serinus.api.analysis import AbsentBad
from serinus.core.readings import Counters, CounterSeries, Grid, Missing, MissingReason, Part, PodStart

_ROUNDING = 1e-9
"""Relative excess of bad over total that is rounding of floating-point sums and not a contradiction."""
_AHEAD_REQUESTS, _AHEAD_SHARE = 3.0, 0.05
"""So many answers, or this share of the requests, may be counted in a window whose requests were counted before it."""


class Tally(NamedTuple):
    """Requests of one revision in one interval and stratum. Differences of counters: fractions are never rounded."""

    total: float
    surely_bad: float
    """Bad beyond doubt; of a latency, slower than the smallest bucket bound ≥ threshold. Used by Fail."""
    possibly_bad: float
    """Not shown to be good; of a latency, slower than the largest bucket bound ≤ threshold. Used by Pass."""
    refused: float
    """4xx answers that are not bad in themselves; only compared with stable's."""


NOTHING = Tally(0.0, 0.0, 0.0, 0.0)


class Interval(NamedTuple):
    """What one revision served between the last grid point that was read and `point`."""

    point: int
    """The grid point, counted from the anchor."""
    strata: Mapping[str, Tally]
    """By stratum; those with a total of zero are left out."""


def total_of(tallies: Iterable[Tally]) -> Tally:
    """The sum of tallies."""
    columns = tuple(zip(*tallies, strict=True))
    return Tally(*map(math.fsum, columns)) if columns else NOTHING


def intervals_of(
    counters: Counters,
    pods: Iterable[PodStart] = (),
    *,
    latency: bool = False,
    absent_bad: AbsentBad = AbsentBad.ZERO,
) -> tuple[Interval, ...] | Missing:
    """Counts of a revision per grid interval, all its pods summed, strata kept apart.

    A difference belongs to the interval in which it is seen. Where a counter falls its pod has restarted, and the new
    values of all its counters are what was counted since (those that did not fall as well: they may have caught up).
    A counter counts from zero if its pod started inside the window, or if it was absent from an earlier scrape that the
    pod did answer (a status code seen for the first time, or for the first time since a restart); otherwise its first
    sample is only the base of the next. An interval with more bad ones than requests (a scrape between two updates) is
    joined with its neighbours until it adds up. One with more good ones than requests (some were counted in an earlier
    scrape) has no bad ones, and what is left over makes up for as many bad ones in the next.

    Args:
        counters: the raw series of one revision.
        pods: the pods whose start is known; of others the first sample is a base.
        latency: whether good requests are counted instead of bad ones; where none was good, there is no such series.
        absent_bad: what it means that a pod has a total and no bad series: none yet, or no reading.

    Returns:
        Intervals with traffic in ascending order, or Missing: NotANumber, Empty (no total; or no bad series where its
        absence does not mean zero), Inconsistent (more bad ones than requests over the whole window).

    """
    nonsense = next((s for s in counters.series if any(not math.isfinite(p.value) for p in s.samples)), None)
    if nonsense is not None:
        return Missing(
            MissingReason.NOT_A_NUMBER, f"The {nonsense.part} counter of pod {nonsense.pod} is not a number."
        )
    if not any(series.part is Part.TOTAL and series.samples for series in counters.series):
        return Missing(MissingReason.EMPTY, "No series counts the requests. Check that the pods are scraped.")
    if absent_bad is AbsentBad.MISSING and not latency and (pod := _pod_without_bad(counters)) is not None:
        return Missing(MissingReason.EMPTY, f"Pod {pod} has a total and no series of bad ones.")

    histories = _histories(counters, {pod.pod: pod.started_at for pod in pods})
    sums: dict[tuple[str, Part], dict[int, float]] = {}
    for series in counters.series:
        by_point = sums.setdefault((series.stratum, series.part), {})
        for point, increase in _increases(series, counters.grid, histories[series.pod]):
            if increase:
                by_point[point] = by_point.get(point, 0.0) + increase
    return _reconciled(_tallies(sums, latency))


@dataclass(frozen=True, slots=True)
class _History:
    """What is known of one pod from all its series together."""

    started_at: float
    """Unix seconds; -inf where unknown."""
    answered: frozenset[int]
    """Grid points at which it was read: where any of its series has a sample."""
    restarted: frozenset[int]
    """Grid points by which it had restarted: where any of its series had fallen."""

    def was_absent(self, last: int, point: int) -> bool:
        """Whether the pod was read between two samples of a series, and did not have the series then."""
        return point > last + 1 and any(between in self.answered for between in range(last + 1, point))

    def restarted_between(self, last: int, point: int) -> bool:
        """Whether the pod restarted between two samples of a series."""
        return bool(self.restarted) and any(between in self.restarted for between in range(last + 1, point + 1))


def _histories(counters: Counters, starts: Mapping[str, float]) -> dict[str, _History]:
    answered: dict[str, set[int]] = {}
    restarted: dict[str, set[int]] = {}
    for series in counters.series:
        points = _points(series, counters.grid)
        answered.setdefault(series.pod, set()).update(points)
        values = [sample.value for sample in series.samples]
        falls = [point for point, (last, value) in zip(points[1:], pairwise(values), strict=False) if value < last]
        restarted.setdefault(series.pod, set()).update(falls)
    return {
        pod: _History(starts.get(pod, -math.inf), frozenset(answered[pod]), frozenset(restarted[pod]))
        for pod in answered
    }


def _points(series: CounterSeries, grid: Grid) -> list[int]:
    anchor, step = grid.anchor, grid.step_seconds
    return [round((sample.at - anchor) / step) for sample in series.samples]


def _increases(series: CounterSeries, grid: Grid, pod: _History) -> list[tuple[int, float]]:
    """By how much a counter rose up to each grid point at which it was read."""
    points = _points(series, grid)
    if not points:
        return []
    first, value = points[0], series.samples[0].value
    started_inside = grid.anchor <= pod.started_at <= series.samples[0].at
    result = [(first, value if started_inside or min(pod.answered) < first else 0.0)]
    last, last_value = first, value
    for point, sample in zip(points[1:], series.samples[1:], strict=True):
        value = sample.value
        from_zero = pod.restarted_between(last, point) or pod.was_absent(last, point)
        result.append((point, value if from_zero else value - last_value))
        last, last_value = point, value
    return result


def _pod_without_bad(counters: Counters) -> str | None:
    with_total = {series.pod for series in counters.series if series.part is Part.TOTAL and series.samples}
    with_bad = {series.pod for series in counters.series if series.part is Part.BAD and series.samples}
    return min(with_total - with_bad, default=None)


def _tallies(sums: Mapping[tuple[str, Part], Mapping[int, float]], latency: bool) -> dict[int, dict[str, Tally]]:
    """Tallies by grid point and stratum, in order."""
    nothing: dict[int, float] = {}
    by_stratum: dict[str, dict[int, Tally]] = {}
    for stratum in sorted({stratum for stratum, _ in sums}):
        total, bad, refused, below_lower, below_upper = (
            sums.get((stratum, part), nothing)
            for part in (Part.TOTAL, Part.BAD, Part.CLIENT_ERROR, Part.GOOD_BELOW_LOWER, Part.GOOD_BELOW_UPPER)
        )
        tallies = by_stratum.setdefault(stratum, {})
        for point in {*total, *bad, *refused, *below_lower, *below_upper}:
            requests = total.get(point, 0.0)
            if latency:
                fast, faster = below_upper.get(point, 0.0), below_lower.get(point, 0.0)
                tallies[point] = Tally(requests, requests - fast, requests - faster, 0.0)
            else:
                failed = bad.get(point, 0.0)
                tallies[point] = Tally(requests, failed, failed, refused.get(point, 0.0))
    points = sorted({point for tallies in by_stratum.values() for point in tallies})
    return {
        point: {stratum: tallies[point] for stratum, tallies in by_stratum.items() if point in tallies}
        for point in points
    }


def _reconciled(by_index: Mapping[int, Mapping[str, Tally]]) -> tuple[Interval, ...] | Missing:
    """Intervals that add up, each stratum by itself: what does not is carried into the next interval of its stratum."""
    carried: dict[str, Tally] = {}
    result: list[Interval] = []
    for index, strata in by_index.items():
        sound: dict[str, Tally] = {}
        for stratum, seen in strata.items():
            before = carried.pop(stratum, None)
            tally = total_of((before, seen)) if before else seen
            if _adds_up(tally):
                if tally.total > 0:
                    sound[stratum] = _clamped(tally)
            elif tally.total > 0 and _adds_up(without_debt := _without_debt(tally)):
                sound[stratum] = _clamped(without_debt)
                carried[stratum] = Tally(0.0, min(tally.surely_bad, 0.0), min(tally.possibly_bad, 0.0), 0.0)
            else:
                carried[stratum] = tally
        if sound:
            result.append(Interval(index, sound))
    return _settled(result, carried)


def _settled(intervals: list[Interval], carried: Mapping[str, Tally]) -> tuple[Interval, ...] | Missing:
    """Join what is still carried at the end with the last intervals of its stratum."""
    for stratum, rest in carried.items():
        if _is_small_debt(rest, math.fsum(each.strata[stratum].total for each in intervals if stratum in each.strata)):
            continue
        tally = rest
        while not _adds_up(tally):
            at = next((i for i in reversed(range(len(intervals))) if stratum in intervals[i].strata), None)
            if at is None:
                what = f"of {stratum} " if stratum else ""
                return Missing(
                    MissingReason.INCONSISTENT,
                    f"The counters {what}show {tally.surely_bad:g} bad ones among {tally.total:g}: "
                    "`bad` has to count a part of what `total` counts.",
                )
            tally = total_of((tally, intervals[at].strata[stratum]))
            others = {name: each for name, each in intervals[at].strata.items() if name != stratum}
            intervals[at] = Interval(intervals[at].point, others)
            if _adds_up(tally):
                intervals[at] = Interval(intervals[at].point, {**others, stratum: _clamped(tally)})
    return tuple(interval for interval in intervals if interval.strata)


def _without_debt(tally: Tally) -> Tally:
    """The tally with nothing less than no bad ones."""
    return Tally(tally.total, max(tally.surely_bad, 0.0), max(tally.possibly_bad, 0.0), tally.refused)


def _is_small_debt(rest: Tally, requests: float) -> bool:
    """Whether what is carried is no more than the answers that requests of before the window may have in it."""
    most = max(_AHEAD_REQUESTS, _AHEAD_SHARE * requests)
    paid = rest.total == 0 and rest.refused == 0 and max(rest.surely_bad, rest.possibly_bad) <= 0
    return requests > 0 and paid and -min(rest.surely_bad, rest.possibly_bad) <= most


def _adds_up(tally: Tally) -> bool:
    ceiling = tally.total * (1 + _ROUNDING)
    floor = -tally.total * _ROUNDING
    return (
        tally.surely_bad <= ceiling
        and tally.possibly_bad <= ceiling
        and tally.refused <= ceiling
        and tally.surely_bad >= floor
        and tally.possibly_bad >= floor
    )


def _clamped(tally: Tally) -> Tally:
    """The tally without the rounding that `_adds_up` forgives, and never surely more than possibly bad."""
    possibly = min(max(tally.possibly_bad, 0.0), tally.total)
    return Tally(tally.total, min(max(tally.surely_bad, 0.0), possibly), possibly, min(tally.refused, tally.total))
