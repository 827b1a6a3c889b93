"""Kubernetes Events on ModelDeployments, through events.k8s.io/v1.

The reconcile loop hands notes over and goes on; a task of the shell sends them. The same note again within minutes
makes a series of one Event instead of many. Events are a courtesy: what has to be remembered stands in
`status.history`, so one that can't be sent is counted and let go.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from serinus.api.kinds import GROUP, MODEL_DEPLOYMENT, Kind
from serinus.api.status import format_instant
from serinus.core.plan import Manifest, Note
from serinus.kube.cluster import ApiError, NotFound, Unavailable

logger = logging.getLogger(__name__)

EVENT: Final = Kind("events.k8s.io", "v1", "Event", "events")
REPORTING_CONTROLLER: Final = f"{GROUP}/operator"

_LONGEST_NOTE_BYTES: Final = 1024
_LONGEST_INSTANCE: Final = 128
_SERIES_END_SECONDS: Final = 360.0
"""A note that has been silent for this long begins a new Event."""
_MOST_SERIES: Final = 4096
_ATTEMPTS: Final = 3
_RETRY_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Regarding:
    """The ModelDeployment that an Event is about."""

    namespace: str
    name: str
    uid: str
    resource_version: str = ""


class EventStore(Protocol):
    """What `serinus.kube.client.HttpCluster` offers for Events. Every method may raise `ApiError`."""

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> dict[str, Any]:
        """A new Event."""

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> dict[str, Any]:
        """More of the same."""


@dataclass(frozen=True, slots=True)
class _Entry:
    regarding: Regarding
    note: Note
    at: datetime

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.regarding.uid, self.note.severity, self.note.happening, self.note.message


@dataclass(slots=True)
class _Series:
    namespace: str
    name: str
    last_at: datetime
    count: int = 1
    """How often the note was given, the Event itself included."""
    sent_count: int = 1


class EventRecorder:
    """Takes notes without ever waiting, and sends them in order while `run` runs."""

    def __init__(
        self, store: EventStore, instance: str, *, capacity: int = 1000, series_interval_seconds: float = 15.0
    ) -> None:
        """`instance` names this process. At most `capacity` notes wait; a series is updated once an interval."""
        self._store = store
        self._instance = instance[:_LONGEST_INSTANCE]
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(capacity)
        self._series: OrderedDict[tuple[str, str, str, str], _Series] = OrderedDict()
        self._series_interval_seconds = series_interval_seconds
        self.sent = 0
        """Notes that have reached the API server, alone or in a series."""
        self.lost = 0
        """Notes that were let go: the queue was full, or the API server did not take them."""

    def record(self, regarding: Regarding, note: Note) -> None:
        """Have the note sent soon."""
        try:
            self._queue.put_nowait(_Entry(regarding, note, datetime.now(UTC)))
        except asyncio.QueueFull:
            self._lose(1, f"{self._queue.maxsize} Events are waiting to be sent already")

    async def run(self) -> None:
        """Send what is recorded until cancelled."""
        loop = asyncio.get_running_loop()
        flush_at = loop.time() + self._series_interval_seconds
        while True:
            try:
                async with asyncio.timeout_at(flush_at):
                    entry = await self._queue.get()
            except TimeoutError:
                await self._update_series()
                flush_at = loop.time() + self._series_interval_seconds
            else:
                await self._send(entry)

    async def _send(self, entry: _Entry) -> None:
        series = self._series.get(entry.key)
        if series is not None and (entry.at - series.last_at).total_seconds() < _SERIES_END_SECONDS:
            series.count, series.last_at = series.count + 1, entry.at
            return
        event = self._event(entry)
        try:
            await _persist(lambda: self._store.create(EVENT, entry.regarding.namespace, event))
        except ApiError as error:
            self._lose(1, str(error))
            return
        self.sent += 1
        self._series[entry.key] = _Series(entry.regarding.namespace, event["metadata"]["name"], entry.at)
        self._series.move_to_end(entry.key)
        if len(self._series) > _MOST_SERIES:
            self._series.popitem(last=False)

    async def _update_series(self) -> None:
        now = datetime.now(UTC)
        for key, series in list(self._series.items()):
            more = series.count - series.sent_count
            if more:
                await self._update_one(key, series, more)
            elif (now - series.last_at).total_seconds() >= _SERIES_END_SECONDS:
                del self._series[key]

    async def _update_one(self, key: tuple[str, str, str, str], series: _Series, more: int) -> None:
        patch = {"series": {"count": series.count, "lastObservedTime": format_instant(series.last_at)}}
        try:
            await _persist(lambda: self._store.merge(EVENT, series.namespace, series.name, patch))
        except NotFound:  # API servers drop Events after an hour: the next note makes a new one
            self._series.pop(key, None)
            self._lose(more, f"Event {series.namespace}/{series.name} is gone")
        except ApiError as error:
            series.sent_count = series.count
            self._lose(more, str(error))
        else:
            series.sent_count = series.count
            self.sent += more

    def _event(self, entry: _Entry) -> dict[str, Any]:
        about = entry.regarding
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"namespace": about.namespace, "name": f"{about.name[:200]}.{uuid.uuid4().hex[:16]}"},
            "eventTime": format_instant(entry.at),
            "reportingController": REPORTING_CONTROLLER,
            "reportingInstance": self._instance,
            "action": "Reconcile",
            "reason": str(entry.note.happening),
            "type": entry.note.severity,
            "note": _cut(entry.note.message),
            "regarding": {
                "apiVersion": MODEL_DEPLOYMENT.api_version,
                "kind": MODEL_DEPLOYMENT.kind,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
                "resourceVersion": about.resource_version,
            },
        }

    def _lose(self, count: int, why: str) -> None:
        self.lost += count
        logger.warning("%d Event(s) lost, %d since the start: %s", count, self.lost, why)


async def _persist(send: Callable[[], Awaitable[object]]) -> None:
    """Try a few times while the API server is away or busy."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await send()
        except Unavailable as error:
            if attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(max(_RETRY_SECONDS, error.retry_after_seconds or 0.0))
        else:
            return


def _cut(text: str) -> str:
    data = text.encode()
    if len(data) <= _LONGEST_NOTE_BYTES:
        return text
    return data[: _LONGEST_NOTE_BYTES - 3].decode(errors="ignore") + "…"
