"""What the operator tells of itself: Prometheus metrics, and its decisions as Events and log lines.

Everything else of the shell reports here; `serinus.shell.health` serves the metrics. Names begin with `serinus_`, the
process's own with `process_`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
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
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

import serinus
from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import MODEL_DEPLOYMENT, Kind
from serinus.core.plan import Manifest, Note
from serinus.core.readings import Missing, Reading
from serinus.kube.cluster import ApiError, Cluster
from serinus.metrics.source import MetricSource, ReadingRequest
from serinus.shell.events import EventRecorder, Regarding

logger = logging.getLogger(__name__)

_PASS_SECONDS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0)


class Telemetry:
    """The metrics of one process."""

    content_type: Final = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, identity: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for every counter; untyped function
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.pass_seconds = Histogram(
            "serinus_pass_seconds",
            "Duration of passes over one ModelDeployment; the count is the number of passes.",
            buckets=_PASS_SECONDS,
            registry=registry,
        )
        self.crashes = Counter(
            "serinus_crashes_total",
            "Passes and readings that ended with an exception nobody expected. Any is a defect.",
            ["of"],
            registry=registry,
        )
        self.writes = Counter(
            "serinus_writes_total",
            "Writes to the API server, by result: Done, CutOff, or the kind of error.",
            ["verb", "kind", "result"],
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
        self.corrections = Counter(
            "serinus_watch_corrections_total",
            "ModelDeployments that an audit's list knew better than the watch.",
            registry=registry,
        )
        for what in ("pass", "reading"):
            self.crashes.labels(what)
        build = Gauge("serinus_build_info", "Always 1.", ["version", "identity"], registry=registry)
        build.labels(serinus.__version__, identity).set(1)

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """A number that is looked up when it is asked for."""
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def gauge_per_kind(self, name: str, meaning: str, values: Mapping[str, Callable[[], float]]) -> None:
        """The same, one for each kind."""
        gauge = Gauge(name, meaning, ["kind"], registry=self._registry)
        for kind, value in values.items():
            gauge.labels(kind).set_function(value)

    def exposition(self) -> bytes:
        """All metrics, as Prometheus scrapes them."""
        return generate_latest(self._registry)


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells what happened with a ModelDeployment: an Event for its users, a line for engineers."""

    recorder: EventRecorder
    telemetry: Telemetry

    def tell(self, deployment: ModelDeployment, note: Note) -> None:
        """Tell it; never waits and never fails."""
        metadata = deployment.metadata
        regarding = Regarding(metadata.namespace, metadata.name, metadata.uid, metadata.resource_version)
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
        result = reading.reason.value if isinstance(reading, Missing) else "Present"
        self.telemetry.readings.labels(result).inc()
        return reading

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
