"""From raw cumulative counters to counts per interval: differences, resets, pod starts, outages.

Called by `serinus.core.evidence.shares`. Works on the samples of a range query on a fixed grid, so that the same
readings always give the same intervals, whether they are read at once (`intervals_of`) or as they grow (`Tallying`). An
interval in which nothing could be read is not lost: its requests are in the difference across the gap, which becomes
one long interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from serinus.api.analysis import AbsentBad
from serinus.core.readings import Counters, CounterSeries, Grid, Missing, MissingReason, Part, PodStart, Sample

_ROUNDING = 1e-9
"""Relative excess of bad over total that is rounding of floating-point sums and not a contradiction."""
_SEALED_AT_ONCE = 32
"""So many of a counter's samples are kept at most, to be compared one by one; the ones before are kept as a hash."""
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
    tallying = Tallying(latency=latency, absent_bad=absent_bad)
    found = tallying.read(counters, tallying.beginning(counters, pods))
    return found if isinstance(found, Missing) else tallying.settled(found)


@dataclass(slots=True)
class _Pod:
    """What is known of one pod from all its series together."""

    first: int
    """The grid point at which it was first read."""
    newest: int = -1
    """The last one of those at which it was read before."""
    answered: set[int] = field(default_factory=set)
    """Grid points at which it was read now: where any of its series has a sample."""
    restarted: set[int] = field(default_factory=set)
    """Those of them by which it had restarted: where any of its series had fallen."""

    def was_absent(self, last: int, point: int) -> bool:
        """Whether the pod was read between two samples of a series, and did not have the series then."""
        if point <= last + 1:
            return False
        return self.newest > last or any(between in self.answered for between in range(last + 1, point))

    def close(self) -> None:
        """What was read now was read before from now on."""
        self.newest = max(self.answered, default=self.newest)
        self.answered.clear()
        self.restarted.clear()


@dataclass(slots=True)
class _Counter:
    """How far one counter has been read."""

    key: tuple[str, Part, str]
    from_start: bool
    """Whether its first sample counts from zero because its pod started inside the window."""
    samples: int = 0
    """How many have been read."""
    sealed: int = 0
    """How many of them `digest` stands for; the rest is in `newest`."""
    digest: int = 0
    newest: tuple[Sample, ...] = ()

    def is_continued_by(self, series: CounterSeries) -> bool:
        """Whether a series begins with all that was read of the counter."""
        return (
            self.samples <= len(series.samples)
            and self.newest == series.samples[self.sealed : self.samples]
            and (not self.sealed or self.digest == hash(series.samples[: self.sealed]))
        )

    def advance(self, series: CounterSeries) -> None:
        """All of the series has been read."""
        self.samples = len(series.samples)
        if self.samples - self.sealed > _SEALED_AT_ONCE:
            self.sealed, self.digest = self.samples - 1, hash(series.samples[:-1])
        self.newest = series.samples[self.sealed :]


Matched = Sequence[tuple[_Counter, CounterSeries]]
"""Each series that has samples, beside how far it has been read; series stay in their order."""


class Tallying:
    """Reads the counters of one revision as they grow, and turns what is new into intervals.

    What a fresh one makes of a reading is what one that saw it grow made of it, bit by bit.
    """

    __slots__ = ("_absent_bad", "_carried", "_counters", "_grid", "_latency", "_pods", "_requests", "until")

    def __init__(self, *, latency: bool, absent_bad: AbsentBad) -> None:
        self._latency, self._absent_bad = latency, absent_bad
        self._grid: Grid | None = None
        self._counters: list[_Counter] = []
        self._pods: dict[str, _Pod] = {}
        self._carried: dict[str, Tally] = {}
        self._requests: dict[str, float] = {}
        self.until = -1
        """The last grid point that was read."""

    def continuation(self, counters: Counters, pods: Iterable[PodStart], after: int) -> Matched | None:
        """What there is to read, if these counters are what was read so far and samples beyond the grid point `after`.

        None where they are not: then a fresh one has to read them from the beginning.
        """
        grid = counters.grid
        if self._grid is not None and self._grid != grid:
            return None
        matched = self._matched(counters, _starts(pods))
        if sum(counter.samples > 0 for counter, _ in matched) < len(self._counters):
            return None
        is_new = all(
            counter.samples == len(series.samples) or _point(series.samples[counter.samples], grid) > after
            for counter, series in matched
        )
        return matched if is_new else None

    def beginning(self, counters: Counters, pods: Iterable[PodStart]) -> Matched:
        """What a fresh one has to read: everything."""
        return self._matched(counters, _starts(pods))

    def read(self, counters: Counters, matched: Matched) -> tuple[Interval, ...] | Missing:
        """The intervals that are new; Missing as in `intervals_of`, and after that it is of no further use."""
        missing = self._missing(counters)
        if missing is not None:
            return missing
        self._grid = counters.grid
        self._counters = [counter for counter, _ in matched]
        point, risen = self._next(matched, counters.grid)
        if risen is not None:
            self.until = point
            return self._reconciled(_tallies(risen, self._latency))
        fresh = [(*each, points) for each in matched if (points := _new_points(*each, counters.grid))]
        for counter, series, points in fresh:
            if not all(math.isfinite(value) for _, value in series.samples[counter.samples :]):
                detail = f"The {series.part} counter of pod {series.pod} is not a number."
                return Missing(MissingReason.NOT_A_NUMBER, detail)
            self._note(counter, series, points)
        sums: dict[tuple[str, Part], dict[int, float]] = {}
        for counter, series, points in fresh:
            by_point = sums.setdefault((series.stratum, series.part), {})
            for point, increase in self._increases(counter, series, points, counters.grid):
                if increase:
                    by_point[point] = by_point.get(point, 0.0) + increase
        for counter, series, points in fresh:
            counter.advance(series)
            self.until = max(self.until, points[-1])
        for pod in self._pods.values():
            pod.close()
        return self._reconciled(_tallies(sums, self._latency))

    def _next(self, matched: Matched, grid: Grid) -> tuple[int, dict[tuple[str, Part], dict[int, float]] | None]:
        """By how much the counters rose up to the next grid point, in the usual case: each has one more sample there.

        None where it is not that simple (a first reading, a gap, a restart): nothing has happened then.
        """
        point = self.until + 1
        for counter, series in matched:
            at = counter.samples
            if not at or len(series.samples) != at + 1 or _point(counter.newest[-1], grid) != point - 1:
                return point, None
            newest = series.samples[at]
            if not counter.newest[-1].value <= newest.value < math.inf or _point(newest, grid) != point:
                return point, None
        risen: dict[tuple[str, Part], dict[int, float]] = {}
        for counter, series in matched:
            increase = series.samples[-1].value - counter.newest[-1].value
            if increase:
                by_point = risen.setdefault((series.stratum, series.part), {})
                by_point[point] = by_point.get(point, 0.0) + increase
            counter.advance(series)
        for pod in self._pods.values():
            pod.newest = point
        return point, risen

    @property
    def is_settled(self) -> bool:
        """Whether all that was read is in the intervals, but for what may be left over."""
        return all(_is_small_debt(rest, self._requests.get(stratum, 0.0)) for stratum, rest in self._carried.items())

    def settled(self, intervals: Iterable[Interval]) -> tuple[Interval, ...] | Missing:
        """All intervals since the first reading, with what does not add up yet joined with the last ones before."""
        return _settled(list(intervals), self._carried, self._requests)

    def _missing(self, counters: Counters) -> Missing | None:
        if not any(series.part is Part.TOTAL and series.samples for series in counters.series):
            return Missing(MissingReason.EMPTY, "No series counts the requests. Check that the pods are scraped.")
        if self._absent_bad is not AbsentBad.MISSING or self._latency:
            return None
        pod = _pod_without_bad(counters)
        return (
            None if pod is None else Missing(MissingReason.EMPTY, f"Pod {pod} has a total and no series of bad ones.")
        )

    def _matched(self, counters: Counters, starts: Mapping[str, float]) -> Matched:
        grid = counters.grid
        result: list[tuple[_Counter, CounterSeries]] = []
        known = iter(self._counters)
        expected = next(known, None)
        for series in counters.series:
            if not series.samples:
                continue
            key = series.pod, series.part, series.stratum
            from_start = grid.anchor <= starts.get(series.pod, -math.inf) <= series.samples[0].at
            is_known = expected is not None and (expected.key, expected.from_start) == (key, from_start)
            if expected is not None and is_known and expected.is_continued_by(series):
                result.append((expected, series))
                expected = next(known, None)
            else:
                result.append((_Counter(key, from_start), series))
        return result

    def _note(self, counter: _Counter, series: CounterSeries, points: Sequence[int]) -> None:
        """Let the pod of a counter know at which points it was read, and where the counter fell."""
        pod = self._pods.setdefault(series.pod, _Pod(points[0]))
        pod.first = min(pod.first, points[0])
        pod.answered.update(points)
        last = counter.newest[-1].value if counter.newest else -math.inf
        for point, (_, value) in zip(points, series.samples[counter.samples :], strict=True):
            if value < last:
                pod.restarted.add(point)
            last = value

    def _increases(
        self, counter: _Counter, series: CounterSeries, points: Sequence[int], grid: Grid
    ) -> Iterator[tuple[int, float]]:
        """By how much a counter rose up to each grid point at which it was read."""
        pod = self._pods[series.pod]
        samples = zip(points, series.samples[counter.samples :], strict=True)
        if counter.newest:
            last, last_value = _point(counter.newest[-1], grid), counter.newest[-1].value
        else:
            last, (_, last_value) = next(samples)
            yield last, last_value if counter.from_start or pod.first < last else 0.0
        for point, (_, value) in samples:
            from_zero = point in pod.restarted or pod.was_absent(last, point)
            yield point, value if from_zero else value - last_value
            last, last_value = point, value

    def _reconciled(self, by_index: Mapping[int, Mapping[str, Tally]]) -> tuple[Interval, ...]:
        """Intervals that add up, each stratum by itself: what does not is carried into its stratum's next interval."""
        carried, result = self._carried, []
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
            for stratum, tally in sound.items():
                self._requests[stratum] = self._requests.get(stratum, 0.0) + tally.total
            if sound:
                result.append(Interval(index, sound))
        return tuple(result)


def _starts(pods: Iterable[PodStart]) -> dict[str, float]:
    return {pod.pod: pod.started_at for pod in pods}


def _new_points(counter: _Counter, series: CounterSeries, grid: Grid) -> list[int]:
    return [_point(sample, grid) for sample in series.samples[counter.samples :]]


def _point(sample: Sample, grid: Grid) -> int:
    return round((sample.at - grid.anchor) / grid.step_seconds)


def _pod_without_bad(counters: Counters) -> str | None:
    with_total = {series.pod for series in counters.series if series.part is Part.TOTAL and series.samples}
    with_bad = {series.pod for series in counters.series if series.part is Part.BAD and series.samples}
    return min(with_total - with_bad, default=None)


def _tallies(sums: Mapping[tuple[str, Part], Mapping[int, float]], latency: bool) -> dict[int, dict[str, Tally]]:
    """Tallies by grid point and stratum, in order."""
    nothing: dict[int, float] = {}
    by_stratum: dict[str, dict[int, Tally]] = {}
    for stratum in sorted({stratum for stratum, _ in sums}):
        total, bad, refused, at_gateway, below_lower, below_upper = (
            sums.get((stratum, part), nothing)
            for part in (
                Part.TOTAL,
                Part.BAD,
                Part.CLIENT_ERROR,
                Part.AT_GATEWAY,
                Part.GOOD_BELOW_LOWER,
                Part.GOOD_BELOW_UPPER,
            )
        )
        tallies = by_stratum.setdefault(stratum, {})
        for point in {*total, *bad, *refused, *at_gateway, *below_lower, *below_upper}:
            unanswered = at_gateway.get(point, 0.0)
            requests = total.get(point, 0.0) + unanswered
            if latency:
                fast, faster = below_upper.get(point, 0.0), below_lower.get(point, 0.0)
                tallies[point] = Tally(requests, requests - fast, requests - faster, 0.0)
            else:
                failed = bad.get(point, 0.0) + unanswered
                tallies[point] = Tally(requests, failed, failed, refused.get(point, 0.0))
    points = sorted({point for tallies in by_stratum.values() for point in tallies})
    return {
        point: {stratum: tallies[point] for stratum, tallies in by_stratum.items() if point in tallies}
        for point in points
    }


def _settled(
    intervals: list[Interval], carried: Mapping[str, Tally], requests: Mapping[str, float]
) -> tuple[Interval, ...] | Missing:
    """Join what is still carried at the end with the last intervals of its stratum."""
    for stratum, rest in carried.items():
        if _is_small_debt(rest, requests.get(stratum, 0.0)):
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
