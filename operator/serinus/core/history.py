"""What the stable revision has served, in counts per interval: read from CSV or from its counters.

Pure; read by `serinus.core.replay`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple

from serinus.core.evidence.intervals import Interval, total_of

COLUMNS: Final = ("time", "metric", "total", "bad")
"""Of a CSV; `refused` and `slice` may be there as well."""
_OFF_THE_GRID: Final = 0.05
"""Share of an interval by which a time may lie beside the grid."""
_MOST_INTERVALS: Final = 1_000_000


class UnreadableHistory(Exception):  # noqa: N818 -- it names a state of the data, as InvalidSpec does
    """A history that can't be read; the message says where and why."""


class Served(NamedTuple):
    """What a revision served in one interval, by one metric. Counts may be fractions."""

    total: float
    bad: float
    refused: float = 0.0
    """4xx answers that are not bad in themselves."""


@dataclass(frozen=True, slots=True)
class History:
    """Counts of one revision, all requests together."""

    begins_at: float
    """Unix seconds of the beginning of the first interval."""
    interval_seconds: float
    length: int
    """Intervals, with those of which nothing is known."""
    metrics: Mapping[str, Mapping[int, Served]]
    """By name and by number of the interval; those of which nothing is known are absent."""
    slices: Mapping[str, Mapping[str, Mapping[int, Served]]] = field(default_factory=dict)
    """The same by metric and by value of the label that divides its requests (`perSlice`); "" is every other value."""

    def of(self, metric: str) -> Served:
        """The sum over all intervals."""
        return _total(self.metrics.get(metric, {}).values())

    def of_slice(self, metric: str, value: str) -> Served:
        """The sum over all intervals of one value."""
        return _total(self.slices[metric][value].values())

    def of_slices(self, metric: str) -> dict[str, float]:
        """All requests of a metric by the values that divide them; empty where it is not divided."""
        return {value: _total(counted.values()).total for value, counted in self.slices.get(metric, {}).items()}


def from_csv(lines: Iterable[str]) -> History:
    """The history in a CSV with the columns time, metric, total, bad and perhaps refused and slice.

    `time` is the end of an interval, in Unix seconds or after ISO 8601 (in UTC unless it says otherwise); intervals are
    equally long, and some may be missing. `metric` is a name of the spec. With a column `slice` there is a row for each
    value of the label that divides the requests of a metric.

    Raises:
        UnreadableHistory: with the number of the line.

    """
    rows = csv.DictReader(lines)
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise UnreadableHistory(
            f"line 1: no column {', '.join(missing)}; expected {', '.join(COLUMNS)} (and refused, slice)"
        )
    found: list[_Row] = []
    for row in rows:
        at, line = rows.line_num, f"line {rows.line_num}"
        served = Served(*(_count(row, column, line) for column in ("total", "bad", "refused")))
        if served.bad + served.refused > served.total:
            raise UnreadableHistory(f"{line}: {served.bad:g} bad and {served.refused:g} refused of {served.total:g}")
        time, metric, value = (row.get(column) or "" for column in ("time", "metric", "slice"))
        found.append(_Row(at, _time(time, line), metric.strip(), value.strip(), served))
    return _on_grid(found, divided="slice" in (rows.fieldnames or ()))


def from_intervals(
    begins_at: float,
    interval_seconds: float,
    length: int,
    metrics: Mapping[str, Iterable[Interval]],
    slices: Mapping[str, Mapping[str, Iterable[Interval]]] | None = None,
) -> History:
    """The history in intervals of counters. Only what is surely bad counts; strata are summed."""
    return History(
        begins_at,
        interval_seconds,
        length,
        {name: _by_number(intervals) for name, intervals in metrics.items()},
        {
            name: {value: _by_number(intervals) for value, intervals in by_value.items()}
            for name, by_value in (slices or {}).items()
        },
    )


def _by_number(intervals: Iterable[Interval]) -> dict[int, Served]:
    return {each.point - 1: _summed(each) for each in intervals}


def _summed(interval: Interval) -> Served:
    tally = total_of(interval.strata.values())
    return Served(tally.total, tally.surely_bad, tally.refused)


class _Row(NamedTuple):
    line: int
    time: float
    metric: str
    slice: str
    served: Served


def _on_grid(rows: list[_Row], *, divided: bool) -> History:
    times = sorted({row.time for row in rows})
    if len(times) < 2:
        raise UnreadableHistory("there have to be at least two intervals")
    interval = min(after - before for before, after in pairwise(times))
    length = round((times[-1] - times[0]) / interval) + 1
    if length > _MOST_INTERVALS:
        raise UnreadableHistory(f"{length:,} intervals of {interval:g} s; at most {_MOST_INTERVALS:,} can be read")
    slices: dict[str, dict[str, dict[int, Served]]] = {}
    for row in rows:
        place = (row.time - times[0]) / interval
        if abs(place - round(place)) > _OFF_THE_GRID:
            raise UnreadableHistory(
                f"line {row.line}: the time is not a multiple of {interval:g} s after the first one"
            )
        by_interval = slices.setdefault(row.metric, {}).setdefault(row.slice, {})
        if round(place) in by_interval:
            of_slice = f" and the slice {row.slice!r}" if divided else ""
            raise UnreadableHistory(f"line {row.line}: a second row for {row.metric!r}{of_slice} at this time")
        by_interval[round(place)] = row.served
    metrics = {metric: _together(by_value.values()) for metric, by_value in slices.items()}
    return History(times[0] - interval, interval, length, metrics, slices if divided else {})


def _together(parts: Iterable[Mapping[int, Served]]) -> dict[int, Served]:
    """The sum of all slices, by number of the interval."""
    found: dict[int, list[Served]] = {}
    for part in parts:
        for at, served in part.items():
            found.setdefault(at, []).append(served)
    return {at: _total(each) for at, each in found.items()}


def _total(counted: Iterable[Served]) -> Served:
    columns = tuple(zip(*counted, strict=True))
    return Served(*map(math.fsum, columns)) if columns else Served(0.0, 0.0)


def _count(row: Mapping[str, str | None], column: str, line: str) -> float:
    text = (row.get(column) or "").strip()
    if not text and column == "refused":
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UnreadableHistory(f"{line}: {column} is {text!r}, not a number from zero on")
    return value


def _time(text: str, line: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UnreadableHistory(f"{line}: the time {text!r} is neither Unix seconds nor ISO 8601") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
