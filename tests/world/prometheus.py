"""Prometheus: it scrapes, answers, is away, is slow, and lies.

What it would send goes through the operator's own reading of answers (`serinus.metrics.series`), so that copies,
silence and nonsense meet the code that has to see through them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from serinus.api.defaults import ERROR_CODES
from serinus.core.readings import Counters, CounterSeries, Missing, MissingReason, Part, Reading, SliceCounts
from serinus.metrics import series
from serinus.metrics.answers import Series, UnreadableError
from serinus.metrics.series import Scrapes
from serinus.metrics.source import ReadingRequest, SlowShare
from tests.world.traffic import COUNTRIES, PodCounters

LOOKBACK_SECONDS = 300.0
"""An instant query finds a series for so long after its last scrape, unless that was marked as its end."""
TIMEOUT_SECONDS = 10


class Lie(StrEnum):
    """What is wrong with its answers. None of them invents an error: good revisions must not fail by them."""

    NAN = "gives NaN"
    EMPTY = "gives no series"
    STALE = "has stopped to scrape, and repeats what it has"
    SEVERAL = "gives each series twice, once a little older"
    WARNING = "warns that its answer is partial"
    NONSENSE = "answers with something that is no counter"
    FLAPPING = "is two of which every other answer comes from the one that lags"


class _Counted(NamedTuple):
    """What one scrape of a pod has seen."""

    total: float
    errors: float
    slow: float
    errors_in: Mapping[str, float]

    def of(self, country: str) -> _Counted:
        """The part of one country."""
        part, alone = COUNTRIES[country], sum(self.errors_in.values())
        own = self.errors_in.get(country, 0.0)
        return _Counted(
            self.total * part, (self.errors - alone) * part + own, (self.slow - alone) * part + own, self.errors_in
        )


@dataclass
class _Scraped:
    """What is stored of one pod; None where Prometheus noted that it could not be scraped any more."""

    at: list[float] = field(default_factory=list)
    values: list[_Counted | None] = field(default_factory=list)

    def before(self, at: float) -> tuple[float, _Counted] | None:
        """Time and value of the newest scrape that a query at `at` finds."""
        position = bisect_right(self.at, at) - 1
        if position < 0 or at - self.at[position] > LOOKBACK_SECONDS:
            return None
        value = self.values[position]
        return None if value is None else (self.at[position], value)


@dataclass
class Prometheus:
    """Scrapes every pod's counters once a second and answers range queries."""

    down: bool = False
    deaf_to: frozenset[str] = frozenset()
    """Pods that it fails to scrape."""
    slow_seconds: int = 0
    """Its answers take so long; more than `TIMEOUT_SECONDS` is too long."""
    lie: Lie | None = None
    _scraped: dict[str, _Scraped] = field(default_factory=dict)
    _heard: frozenset[str] = frozenset()
    _answers: int = 0

    def scrape(self, at: float, pods: Mapping[str, PodCounters]) -> None:
        """Once a second: what the pods that are there have counted."""
        if self.down or self.lie is Lie.STALE:
            return
        heard = frozenset(name for name in pods if name not in self.deaf_to)
        for name in heard:
            counted, stored = pods[name], self._scraped.setdefault(name, _Scraped())
            stored.at.append(at)
            stored.values.append(_Counted(counted.total, counted.errors, counted.slow, dict(counted.errors_in)))
        for name in self._heard - heard:
            self._scraped[name].at.append(at)
            self._scraped[name].values.append(None)
        self._heard = heard

    def forget(self) -> None:
        """Its volume is gone."""
        self._scraped.clear()
        self._heard = frozenset()

    async def slices(self, request: ReadingRequest, *, most: int) -> SliceCounts | Missing:
        """What the pods of a revision counted in the window, by country."""
        away = self._away()
        if away is not None:
            return away
        served = 0.0
        for pod, scraped in self._scraped.items():
            counted = [each for each in (scraped.before(request.grid.anchor), scraped.before(request.end)) if each]
            if pod.startswith(f"{request.pod_prefix}-") and counted:
                served += counted[-1][1].total - (counted[0][1].total if len(counted) > 1 else 0.0)
        of_countries = [(country, served * part) for country, part in COUNTRIES.items()]
        return SliceCounts(served, dict(of_countries[:most]))

    def query(self, request: ReadingRequest) -> str:
        """What is read."""
        return f'requests{{pod=~"{request.pod_prefix}-.+"}}'

    async def read(self, request: ReadingRequest) -> Reading:
        """The reading, through what the operator makes of raw answers."""
        self._answers += 1
        away = self._away()
        if away is not None:
            return away
        try:
            return Counters(tuple(self._counters(request)), request.grid)
        except UnreadableError as error:
            return error.missing

    def _away(self) -> Missing | None:
        """Why it does not answer, or nothing that can be believed."""
        if self.down:
            return Missing(MissingReason.SOURCE_UNAVAILABLE, "Prometheus does not answer")
        if self.slow_seconds > TIMEOUT_SECONDS:
            return Missing(MissingReason.TIMEOUT, "Prometheus did not answer in time")
        if self.lie is Lie.WARNING:
            return Missing(MissingReason.WARNING, "Prometheus warns that the answer may be partial")
        return None

    def _counters(self, request: ReadingRequest) -> list[CounterSeries]:
        slow = isinstance(request.measure, SlowShare)
        behind = 15.0 if self.lie is Lie.FLAPPING and self._answers % 2 else 0.0
        last = request.grid.anchor + _points(request) * request.grid.step_seconds
        total: list[Series] = []
        good: list[Series] = []
        newest: dict[str, float] = {}
        for pod, scraped in self._scraped.items():
            if not pod.startswith(f"{request.pod_prefix}-"):
                continue
            found = scraped.before(last - behind)
            if found is not None:
                newest[pod] = found[0]
            answers, buckets = _answers(pod, scraped, request, behind, slow=slow)
            total += answers
            good += buckets
        scrapes = Scrapes(grid=request.grid, pod_label="pod", newest=newest, slice_label=request.slice_label)
        requests = series.bentoml_counters(self._told(total), scrapes)
        if not slow:
            return series.request_parts(requests, ERROR_CODES, client_errors=True)
        bound = request.measure.threshold_seconds  # type: ignore[union-attr]
        fast = series.bentoml_counters(self._told(good), scrapes)
        return series.parts(requests, Part.TOTAL) + series.good_parts(fast, bound, bound)

    def _told(self, found: list[Series]) -> list[Series]:
        match self.lie:
            case Lie.EMPTY:
                return []
            case Lie.NAN:
                return [Series(each.labels, (*each.points[:-1], (each.points[-1][0], float("nan")))) for each in found]
            case Lie.NONSENSE:
                return [Series(each.labels, tuple((at, -value - 1) for at, value in each.points)) for each in found]
            case Lie.SEVERAL:
                older = [Series({**each.labels, "job": "other"}, _one_step_behind(each.points)) for each in found]
                return [*older, *found]
            case _:
                return found


def _points(request: ReadingRequest) -> int:
    return int((request.end - request.grid.anchor) / request.grid.step_seconds + 1e-6)


def _answers(
    pod: str, scraped: _Scraped, request: ReadingRequest, behind: float, *, slow: bool
) -> tuple[list[Series], list[Series]]:
    """The request counters of a pod by status code, and its bucket at the threshold."""
    grid = request.grid
    times = [grid.anchor + point * grid.step_seconds for point in range(_points(request) + 1)]
    found = [(at, at_scrape[1]) for at in times if (at_scrape := scraped.before(at - behind)) is not None]
    if not found:
        return [], []
    labels = {"pod": pod, "job": "pods", "endpoint": "/predict"}
    if request.slice_label is None:
        return _of_labels(found, labels, request, slow=slow)
    answers: list[Series] = []
    buckets: list[Series] = []
    for country in COUNTRIES:
        of_country = [(at, seen.of(country)) for at, seen in found]
        more = _of_labels(of_country, {**labels, request.slice_label: country}, request, slow=slow)
        answers, buckets = answers + more[0], buckets + more[1]
    return answers, buckets


def _of_labels(
    found: list[tuple[float, _Counted]], labels: dict[str, str], request: ReadingRequest, *, slow: bool
) -> tuple[list[Series], list[Series]]:
    points = tuple((at, seen.total - seen.errors) for at, seen in found)
    answers = [Series({**labels, "http_response_code": "200"}, points)]
    if any(seen.errors for _, seen in found):
        points = tuple((at, seen.errors) for at, seen in found if seen.errors)
        answers.append(Series({**labels, "http_response_code": "500"}, points))
    if not slow:
        return answers, []
    bound = request.measure.threshold_seconds  # type: ignore[union-attr]
    points = tuple((at, seen.total - max(seen.slow, seen.errors)) for at, seen in found)
    return answers, [Series({**labels, "http_response_code": "200", "le": str(bound)}, points)]


def _one_step_behind(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    earlier = (points[0][1], *(value for _, value in points))
    return tuple((at, value) for (at, _), value in zip(points, earlier, strict=False))
