"""Clients, the gateway's data plane and Prometheus: requests by the second, counters by the pod, readings on a grid."""

from __future__ import annotations

from dataclasses import dataclass, field

from serinus.core.readings import Counters, CounterSeries, Missing, MissingReason, Part, Reading, Sample
from serinus.metrics.source import ReadingRequest, SlowShare


@dataclass(frozen=True)
class Behaviour:
    """How the pods of an image behave."""

    startup_seconds: float = 4
    never_ready: bool = False
    unschedulable: bool = False
    """No node fits its pods."""
    error_share: float = 0.0
    slow_share: float = 0.0
    crash_every_seconds: float | None = None
    trouble: str | None = None


@dataclass
class PodCounters:
    """What one pod has counted so far: floats, so that shares are exact."""

    total: float = 0.0
    errors: float = 0.0
    slow: float = 0.0


@dataclass
class Prometheus:
    """Scrapes every pod's counters once a second and answers range queries, unless it is down."""

    series: dict[str, list[tuple[float, PodCounters]]] = field(default_factory=dict)
    down: bool = False
    deaf_to: frozenset[str] = frozenset()
    """Pods that it fails to scrape."""

    def scrape(self, at: float, pods: dict[str, PodCounters]) -> None:
        if self.down:
            return
        for name, seen in pods.items():
            if name not in self.deaf_to:
                copy = PodCounters(seen.total, seen.errors, seen.slow)
                self.series.setdefault(name, []).append((at, copy))

    def query(self, request: ReadingRequest) -> str:
        return f'requests{{pod=~"{request.pod_prefix}-.+"}}'

    async def read(self, request: ReadingRequest) -> Reading:
        if self.down:
            return Missing(MissingReason.SOURCE_UNAVAILABLE, "Prometheus does not answer")
        found: list[CounterSeries] = []
        slow = isinstance(request.measure, SlowShare)
        for pod, samples in self.series.items():
            if pod.startswith(request.pod_prefix + "-"):
                found += _series(pod, samples, request, slow=slow)
        return Counters(tuple(found), request.grid)


def _series(
    pod: str, samples: list[tuple[float, PodCounters]], request: ReadingRequest, *, slow: bool
) -> list[CounterSeries]:
    on_grid: list[tuple[float, PodCounters]] = []
    grid, position = request.grid, 0
    newest: tuple[float, PodCounters] | None = None
    count = 0
    while (at := grid.anchor + count * grid.step_seconds) <= request.end + 1e-6:
        while position < len(samples) and samples[position][0] <= at:
            newest = samples[position]
            position += 1
        if newest is not None and at - newest[0] <= 3:
            on_grid.append((at, newest[1]))
        count += 1
    if not on_grid:
        return []

    def one(part: Part, values: list[float]) -> CounterSeries:
        return CounterSeries(pod, part, "", tuple(Sample(at, v) for (at, _), v in zip(on_grid, values, strict=True)))

    total = [c.total for _, c in on_grid]
    if slow:
        good = [c.total - max(c.slow, c.errors) for _, c in on_grid]
        return [one(Part.TOTAL, total), one(Part.GOOD_BELOW_LOWER, good), one(Part.GOOD_BELOW_UPPER, good)]
    return [one(Part.TOTAL, total), one(Part.BAD, [c.errors for _, c in on_grid])]
