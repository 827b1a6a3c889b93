"""What the stable revision has served, in counts per interval: read from CSV or from its counters.

Pure; read by `serinus.core.replay`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple

from serinus.core.evidence.intervals import Interval, total_of

COLUMNS: Final = ("time", "metric", "total", "bad")
"""Of a CSV; `refused` may be there as well."""
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

    def of(self, metric: str) -> Served:
        """The sum over all intervals."""
        columns = tuple(zip(*self.metrics.get(metric, {}).values(), strict=True))
        return Served(*map(math.fsum, columns)) if columns else Served(0.0, 0.0)


def from_csv(lines: Iterable[str]) -> History:
    """The history in a CSV with the columns time, metric, total, bad and perhaps refused.

    `time` is the end of an interval, in Unix seconds or after ISO 8601 (in UTC unless it says otherwise); intervals are
    equally long, and some may be missing. `metric` is a name of the spec.

    Raises:
        UnreadableHistory: with the number of the line.

    """
    rows = csv.DictReader(lines)
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise UnreadableHistory(f"line 1: no column {', '.join(missing)}; expected {', '.join(COLUMNS)} (and refused)")
    found: list[tuple[int, float, str, Served]] = []
    for row in rows:
        at, line = rows.line_num, f"line {rows.line_num}"
        served = Served(*(_count(row, column, line) for column in ("total", "bad", "refused")))
        if served.bad + served.refused > served.total:
            raise UnreadableHistory(f"{line}: {served.bad:g} bad and {served.refused:g} refused of {served.total:g}")
        found.append((at, _time(row["time"] or "", line), (row["metric"] or "").strip(), served))
    return _on_grid(found)


def from_intervals(
    begins_at: float, interval_seconds: float, length: int, metrics: Mapping[str, Iterable[Interval]]
) -> History:
    """The history in intervals of counters. Only what is surely bad counts; strata are summed."""
    return History(
        begins_at,
        interval_seconds,
        length,
        {name: {each.point - 1: _summed(each) for each in intervals} for name, intervals in metrics.items()},
    )


def _summed(interval: Interval) -> Served:
    tally = total_of(interval.strata.values())
    return Served(tally.total, tally.surely_bad, tally.refused)


def _on_grid(rows: list[tuple[int, float, str, Served]]) -> History:
    times = sorted({time for _, time, _, _ in rows})
    if len(times) < 2:
        raise UnreadableHistory("there have to be at least two intervals")
    interval = min(after - before for before, after in pairwise(times))
    length = round((times[-1] - times[0]) / interval) + 1
    if length > _MOST_INTERVALS:
        raise UnreadableHistory(f"{length:,} intervals of {interval:g} s; at most {_MOST_INTERVALS:,} can be read")
    metrics: dict[str, dict[int, Served]] = {}
    for line, time, metric, served in rows:
        place = (time - times[0]) / interval
        if abs(place - round(place)) > _OFF_THE_GRID:
            raise UnreadableHistory(f"line {line}: the time is not a multiple of {interval:g} s after the first one")
        by_interval = metrics.setdefault(metric, {})
        if round(place) in by_interval:
            raise UnreadableHistory(f"line {line}: a second row for {metric!r} at this time")
        by_interval[round(place)] = served
    return History(times[0] - interval, interval, length, metrics)


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
