"""The metric-source interface: one question about one revision in, one reading out.

`serinus.shell` asks, `serinus.metrics.prometheus` answers. A source never raises for a reading that it could not get
and never answers zero for one: that is `Missing`, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from serinus.api.analysis import Metric
from serinus.api.defaults import ERROR_CODES
from serinus.core.readings import Grid, Missing, Reading, SliceCounts


@dataclass(frozen=True, slots=True)
class ErrorShare:
    """Requests that were answered with a bad status, among all requests that BentoML counted."""

    codes: tuple[str, ...]
    """What is bad: three characters each, `.` for any digit, such as "5.." or "429"."""
    client_errors: bool
    """Whether the other 4xx answers are reported too, to be compared with stable's."""


@dataclass(frozen=True, slots=True)
class SlowShare:
    """Requests that took longer than a threshold, among all requests that BentoML counted."""

    threshold_seconds: float
    compared: bool
    """Whether it is judged against another revision: then both bucket bounds are ones that both revisions have."""


@dataclass(frozen=True, slots=True)
class EventRatio:
    """Bad events among all events, from two counters of the user's."""

    bad: str
    """Series selector with `%pods%` among its matchers."""
    total: str
    """Series selector with `%pods%` among its matchers."""


@dataclass(frozen=True, slots=True)
class QueryValue:
    """The value of a query of the user's."""

    query: str
    """PromQL with `%pods%` among the matchers of its selectors; gives one number."""


Measure = ErrorShare | SlowShare | EventRatio | QueryValue


@dataclass(frozen=True, slots=True)
class ReadingRequest:
    """One measurement of the pods of one revision over one window."""

    measure: Measure
    namespace: str
    pod_prefix: str
    """`<name>-<hash>`: the name of the revision's ReplicaSet, with which its pods' names begin."""
    grid: Grid
    """The window begins at the anchor. With a counter's differences in mind the step is at least twice the scrape
    interval."""
    end: float
    """Unix seconds: the last grid point is the latest one not after it. Scrapes are stored a moment after their time
    stamp, so an end some seconds in the past reads the same today and tomorrow."""
    peer_prefixes: tuple[str, ...] = ()
    """The same of the revisions that it is compared with: paths and bucket bounds are those that either knows."""
    route: str | None = None
    """The HTTPRoute that leads to the revision's Service, which is called as `pod_prefix`; None where none does."""
    pod_label: str | None = None
    """Label that holds the pod's name; None: the source's setting."""
    namespace_label: str | None = None
    """Label that holds the namespace; None: the source's setting."""
    slice_label: str | None = None
    """Label whose value every counter is told with (`CounterSeries.slice`); None: none."""


class MetricSource(Protocol):
    """Something that has readings."""

    async def read(self, request: ReadingRequest) -> Reading:
        """The reading, or why there is none. Never raises but for cancellation; several may be asked at once."""
        ...

    async def slices(self, request: ReadingRequest, *, most: int) -> SliceCounts | Missing:
        """What was served in the window by the values of `slice_label`: the `most` frequent ones, and all together.

        A survey, from which it is chosen what is judged by itself: not exact, and never evidence. Never raises.
        """
        ...

    def query(self, request: ReadingRequest) -> str:
        """What is read, in the source's own language: for status, so that people can look at the same."""
        ...


def measure_of(metric: Metric) -> Measure:
    """What a metric of the spec measures. Raises ValueError for one without a kind, which the API server refuses."""
    if metric.errors is not None:
        return ErrorShare(codes=metric.errors.codes or ERROR_CODES, client_errors=metric.errors.codes is None)
    if metric.latency is not None:
        return SlowShare(
            threshold_seconds=metric.latency.threshold_milliseconds / 1000,
            compared=metric.limit.max_increase_percent is not None,
        )
    if metric.ratio is not None:
        return EventRatio(bad=metric.ratio.bad, total=metric.ratio.total)
    if metric.value is not None:
        return QueryValue(query=metric.value.query)
    raise ValueError(f"metric {metric.name}: none of errors, latency, ratio and value is set")


def request_for(
    metric: Metric,
    *,
    namespace: str,
    pod_prefix: str,
    grid: Grid,
    end: float,
    peer_prefixes: tuple[str, ...] = (),
    route: str | None = None,
) -> ReadingRequest:
    """The question that a metric of the spec asks about one revision, with the metric's own label names."""
    labels = metric.labels
    return ReadingRequest(
        measure=measure_of(metric),
        namespace=namespace,
        pod_prefix=pod_prefix,
        grid=grid,
        end=end,
        peer_prefixes=peer_prefixes,
        route=route,
        pod_label=labels.pod if labels else None,
        namespace_label=labels.namespace if labels else None,
        slice_label=metric.per_slice,
    )
