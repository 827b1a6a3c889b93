"""What the operator tells of itself: Prometheus metrics, and its decisions as Events and log lines.

Everything else of the shell reports here; `serinus.shell.health` serves the metrics. Names begin with `serinus_`, the
process's own with `process_`. No label carries a name that a user gave, so that their number stays the same however
many resources there are. `docs/operate.md` lists them, in the words of this module; a contract test compares.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

import serinus
from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import MODEL_DEPLOYMENT, Kind
from serinus.core.plan import Manifest, Note
from serinus.core.readings import Missing, Reading, SliceCounts
from serinus.kube.calls import Call
from serinus.kube.cluster import ApiError, Cluster
from serinus.metrics.source import MetricSource, ReadingRequest
from serinus.shell.events import EventRecorder, Regarding

logger = logging.getLogger(__name__)

_PASS_SECONDS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0)
_CALL_SECONDS: Final = (0.005, 0.02, 0.1, 0.5, 2.0, 5.0, 15.0)
_PROMETHEUS_SECONDS: Final = (0.01, 0.05, 0.2, 1.0, 2.0, 5.0, 15.0)


class Telemetry:
    """The metrics of one process."""

    content_type: Final = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, identity: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for every counter; untyped function
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.pass_seconds = Histogram(
            "serinus_pass_seconds",
            "Duration of passes over one ModelDeployment, by how they ended.",
            ["outcome"],
            buckets=_PASS_SECONDS,
            registry=registry,
        )
        self.crashes = Counter(
            "serinus_crashes_total",
            "Passes, readings and notifications that ended with an exception nobody expected. Any is a defect.",
            ["of"],
            registry=registry,
        )
        self.writes = Counter(
            "serinus_writes_total",
            "Writes to the API server, by result: Done, CutOff, or the kind of error.",
            ["verb", "kind", "result"],
            registry=registry,
        )
        self.api_requests = Counter(
            "serinus_api_requests_total",
            "Requests to the API server, by HTTP status or why there was none: timeout, unreachable, cancelled.",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self.api_request_seconds = Histogram(
            "serinus_api_request_duration_seconds",
            "Time until the answer to a request to the API server began.",
            ["verb"],
            buckets=_CALL_SECONDS,
            registry=registry,
        )
        self.lease_changes = Counter(
            "serinus_lease_changes_total",
            "How often this process came to lead, and lost the Lease other than by its own end: Gained, Lost.",
            ["change"],
            registry=registry,
        )
        self.prometheus_request_seconds = Histogram(
            "serinus_prometheus_request_duration_seconds",
            "Duration of calls to Prometheus, by how they ended: Answered, CutOff, or why the reading is missing.",
            ["outcome"],
            buckets=_PROMETHEUS_SECONDS,
            registry=registry,
        )
        self.readings = Counter(
            "serinus_readings_total",
            "Readings from the metric source, by result: Present, or why it is missing.",
            ["result"],
            registry=registry,
        )
        self.happenings = Counter(
            "serinus_happenings_total",
            "What was decided or noticed, by the reason of the Event that tells it.",
            ["happening"],
            registry=registry,
        )
        self.notifications = Counter(
            "serinus_notifications_total",
            "Attempts to tell a receiver of a decision, by result: Sent, Failed (to be tried again), Dropped, Crashed.",
            ["receiver", "result"],
            registry=registry,
        )
        self.corrections = Counter(
            "serinus_watch_corrections_total",
            "ModelDeployments that an audit's list knew better than the watch.",
            registry=registry,
        )
        for what in ("pass", "reading", "notification"):
            self.crashes.labels(what)
        for change in ("Gained", "Lost"):
            self.lease_changes.labels(change)
        labels = ["version", "python_version", "identity"]
        build = Gauge("serinus_build_info", "Always 1; the labels say what runs.", labels, registry=registry)
        build.labels(serinus.__version__, platform.python_version(), identity).set(1)

    def count_call(self, call: Call) -> None:
        """A request to the API server has been answered, or was given up."""
        self.api_requests.labels(call.verb, call.resource, call.code).inc()
        self.api_request_seconds.labels(call.verb).observe(call.seconds)

    def count_question(self, outcome: str, seconds: float) -> None:
        """A call to Prometheus has been answered, or was given up."""
        self.prometheus_request_seconds.labels(outcome).observe(seconds)

    def count_notification(self, receiver: str, result: str) -> None:
        """An attempt to tell a receiver has ended."""
        self.notifications.labels(receiver, result).inc()
        if result == "Crashed":
            self.crashes.labels("notification").inc()

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """A number that is looked up when it is asked for."""
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def gauge_per_resource(self, name: str, meaning: str, values: Mapping[str, Callable[[], float]]) -> None:
        """The same, one for each resource, by its plural."""
        gauge = Gauge(name, meaning, ["resource"], registry=self._registry)
        for resource, value in values.items():
            gauge.labels(resource).set_function(value)

    def counter(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """A number that only rises, and is looked up when it is asked for."""
        self._registry.register(_LookedUp(name, meaning, value))

    def exposition(self) -> bytes:
        """All metrics, as Prometheus scrapes them."""
        return generate_latest(self._registry)


@dataclass(frozen=True, slots=True)
class _LookedUp(Collector):
    """A counter that somebody else keeps."""

    name: str
    meaning: str
    value: Callable[[], float]

    def collect(self) -> Iterable[Metric]:
        """The counter as it is now."""
        yield CounterMetricFamily(self.name, self.meaning, value=self.value())


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells what happened with a ModelDeployment: a line for engineers, and mostly an Event for its users."""

    recorder: EventRecorder
    telemetry: Telemetry

    def tell(self, deployment: ModelDeployment, note: Note) -> None:
        """Tell it; never waits and never fails."""
        metadata = deployment.metadata
        regarding = Regarding(metadata.namespace, metadata.name, metadata.uid, metadata.resource_version)
        if note.as_event:
            self.recorder.record(regarding, note)
        self.telemetry.happenings.labels(note.happening.value).inc()
        level = logging.WARNING if note.severity == "Warning" else logging.INFO
        pairs = {
            "namespace": metadata.namespace,
            "deployment": metadata.name,
            "happening": note.happening.value,
            "because": note.message,
        }
        logger.log(level, "decided", extra=pairs)


@dataclass(frozen=True, slots=True)
class CountedSource:
    """A metric source whose readings are counted."""

    source: MetricSource
    telemetry: Telemetry

    async def read(self, request: ReadingRequest) -> Reading:
        """See `MetricSource.read`."""
        reading = await self.source.read(request)
        self._count(reading)
        return reading

    async def slices(self, request: ReadingRequest, *, most: int) -> SliceCounts | Missing:
        """See `MetricSource.slices`."""
        found = await self.source.slices(request, most=most)
        self._count(found)
        return found

    def _count(self, found: Reading | SliceCounts) -> None:
        result = found.reason.value if isinstance(found, Missing) else "Present"
        self.telemetry.readings.labels(result).inc()

    def query(self, request: ReadingRequest) -> str:
        """See `MetricSource.query`."""
        return self.source.query(request)


class CountedCluster:
    """A `Cluster` whose writes are counted; reads pass."""

    def __init__(self, cluster: Cluster, telemetry: Telemetry) -> None:
        self._cluster = cluster
        self._telemetry = telemetry

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """The object as it is now."""
        return await self._cluster.get(kind, namespace, name)

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        """See `Cluster.create`."""
        with self._counted("create", kind):
            return await self._cluster.create(kind, namespace, manifest)

    async def apply(
        self, kind: Kind, namespace: str, manifest: Manifest, resource_version: str, *, booked: bool = False
    ) -> Manifest:
        """See `Cluster.apply`."""
        with self._counted("apply", kind):
            return await self._cluster.apply(kind, namespace, manifest, resource_version, booked=booked)

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int, resource_version: str) -> None:
        """See `Cluster.scale`."""
        with self._counted("scale", kind):
            await self._cluster.scale(kind, namespace, name, replicas, resource_version)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """See `Cluster.delete`."""
        with self._counted("delete", kind):
            await self._cluster.delete(kind, namespace, name, uid)

    async def write_status(self, namespace: str, name: str, status: Manifest, resource_version: str) -> Manifest:
        """See `Cluster.write_status`."""
        with self._counted("status", MODEL_DEPLOYMENT):
            return await self._cluster.write_status(namespace, name, status, resource_version)

    @contextmanager
    def _counted(self, verb: str, kind: Kind) -> Iterator[None]:
        result = "CutOff"
        try:
            yield
            result = "Done"
        except ApiError as error:
            result = type(error).__name__
            raise
        finally:
            self._telemetry.writes.labels(verb, kind.kind, result).inc()
