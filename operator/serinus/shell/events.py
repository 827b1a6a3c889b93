"""Kubernetes Events on ModelDeployments, through events.k8s.io/v1.

The reconcile loop hands notes over and goes on; tasks of the shell send them. The same note again makes a count on one
Event instead of many: while it waits, and for minutes after it was sent. A few Events are on their way at once, those
of one resource in order, and only one while passes wait: Events never delay a rollback. They are a courtesy, since what
has to be remembered stands in `status.history`; one that can't be sent is let go, counted, and told in the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from serinus.api.kinds import GROUP, MODEL_DEPLOYMENT, Kind
from serinus.api.status import format_instant
from serinus.core.plan import Manifest, Note
from serinus.kube.cluster import AlreadyExists, ApiError, NotFound, Unavailable
from serinus.shell.work_queue import WorkQueue

logger = logging.getLogger(__name__)

EVENT: Final = Kind("events.k8s.io", "v1", "Event", "events")
REPORTING_CONTROLLER: Final = f"{GROUP}/operator"

_LONGEST_NOTE_BYTES: Final = 1024
_LONGEST_INSTANCE: Final = 128
_SERIES_END_SECONDS: Final = 360.0
"""A note that has been silent for this long begins a new Event."""
_MOST_SERIES: Final = 4096
_FIRST_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 30.0
_GIVE_UP_SECONDS: Final = 900.0
"""A note that could not be sent for this long is let go: API servers drop Events after an hour themselves."""
_YIELD_SECONDS: Final = 0.1
_TELL_LOSSES_SECONDS: Final = 10.0

EVENT_CALLS: Final = 4
"""Events on their way at once."""


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


_Key = tuple[str, str, str]
"""Severity, happening and message: what makes two notes about a resource the same."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A note that waits, once or more often."""

    regarding: Regarding
    note: Note
    first_at: datetime
    last_at: datetime
    count: int = 1
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    """Of the Event: one that was made, and whose answer was lost, is not made again."""

    @property
    def key(self) -> _Key:
        return self.note.severity, self.note.happening, self.note.message

    def again(self, later: _Entry) -> _Entry:
        """With a later one on the same Event, in its words."""
        return replace(self, note=later.note, last_at=later.last_at, count=self.count + later.count)


@dataclass(slots=True)
class _Series:
    namespace: str
    name: str
    last_at: datetime
    count: int = 1
    """How often the note was given, the Event itself included."""
    sent_count: int = 1


class EventRecorder:
    """Takes notes without ever waiting, and sends them while `run` runs."""

    def __init__(
        self,
        store: EventStore,
        instance: str,
        *,
        capacity: int = 10_000,
        series_interval_seconds: float = 15.0,
        give_way: Callable[[], bool] = lambda: False,
    ) -> None:
        """`instance` names this process. A series is updated once an interval.

        At most `capacity` Events wait, the last tenth of them Warnings; from half of it on, notes of the same kind
        about the same resource share one. While `give_way` says so, one Event at a time is sent.
        """
        self._store = store
        self._instance = instance[:_LONGEST_INSTANCE]
        self._capacity = capacity
        self._give_way = give_way
        self._resources: WorkQueue[str] = WorkQueue()
        self._waiting: dict[str, dict[_Key, _Entry]] = {}
        """By the resource's uid, in the order of their first note."""
        self._count = 0
        self._series: OrderedDict[tuple[str, _Key], _Series] = OrderedDict()
        self._series_interval_seconds = series_interval_seconds
        self._untold = 0
        self._told_at = float("-inf")
        self.sent = 0
        """Notes that have reached the API server, alone or in a series."""
        self.lost = 0
        """Notes that were let go: too many waited, or the API server did not take them."""

    @property
    def waiting(self) -> int:
        """Events that wait to be sent."""
        return self._count

    def record(self, regarding: Regarding, note: Note) -> None:
        """Have the note sent soon."""
        now = datetime.now(UTC)
        entry = _Entry(regarding, note, now, now)
        series = self._series.get((regarding.uid, entry.key))
        if series is not None and (now - series.last_at).total_seconds() < _SERIES_END_SECONDS:
            series.count, series.last_at = series.count + 1, now
            return
        waiting = self._waiting.get(regarding.uid, {})
        same = entry.key if entry.key in waiting else self._alike(entry, waiting)
        if same is not None:
            waiting[same] = waiting[same].again(entry)
            return
        room = self._capacity - (0 if note.severity == "Warning" else self._capacity // 10)
        if self._count >= room:
            self._lose(1, f"{self._count} are waiting to be sent already")
            return
        self._waiting.setdefault(regarding.uid, {})[entry.key] = entry
        self._count += 1
        self._resources.add(regarding.uid)

    async def run(self) -> None:
        """Send what is recorded until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._update_series_again_and_again(), name="series of Events")
                for number in range(EVENT_CALLS):
                    group.create_task(self._send_again_and_again(yields=number > 0), name=f"Events {number}")
        finally:
            self._resources.close()
            left = sum(entry.count for entries in self._waiting.values() for entry in entries.values())
            if left:
                self._lose(left, "the process ends", at_once=True)

    def _alike(self, entry: _Entry, waiting: dict[_Key, _Entry]) -> _Key | None:
        """Where so many wait that Events have to be shared: the newest of the same kind about the same resource."""
        if self._count < self._capacity // 2:
            return None
        return next((key for key in reversed(waiting) if key[:2] == entry.key[:2]), None)

    async def _send_again_and_again(self, *, yields: bool) -> None:
        failures = 0
        while True:
            uid = await self._resources.get()
            if yields and self._give_way():
                self._resources.done(uid)
                self._resources.add(uid)
                await asyncio.sleep(_YIELD_SECONDS)
                continue
            unavailable = await self._send_one(uid)
            if uid in self._waiting:
                self._resources.add(uid)
            self._resources.done(uid)
            if unavailable is None:
                failures = 0
                continue
            pause = min(_FIRST_RETRY_SECONDS * 2.0 ** min(failures, 10), _LONGEST_RETRY_SECONDS)
            failures += 1
            await asyncio.sleep(max(pause, unavailable.retry_after_seconds or 0.0))

    async def _send_one(self, uid: str) -> Unavailable | None:
        """Send the oldest note about a resource. It is put back if the API server is away or busy."""
        entries = self._waiting.get(uid)
        if not entries:
            return None
        key, entry = next(iter(entries.items()))
        self._take(uid, key)
        try:
            await self._store.create(EVENT, entry.regarding.namespace, self._event(entry))
        except AlreadyExists:
            pass  # made before, and its answer lost
        except Unavailable as error:
            if (datetime.now(UTC) - entry.first_at).total_seconds() < _GIVE_UP_SECONDS:
                self._put_back(uid, key, entry)
            else:
                self._lose(entry.count, str(error))
            return error
        except ApiError as error:
            self._lose(entry.count, str(error))
            return None
        except asyncio.CancelledError:
            self._put_back(uid, key, entry)  # to be counted among what is left
            raise
        self.sent += entry.count
        self._begin_series(uid, entry)
        return None

    def _take(self, uid: str, key: _Key) -> None:
        entries = self._waiting[uid]
        del entries[key]
        self._count -= 1
        if not entries:
            del self._waiting[uid]

    def _put_back(self, uid: str, key: _Key, entry: _Entry) -> None:
        """Before all others about its resource, with what came meanwhile."""
        others = self._waiting.get(uid, {})
        if key in others:
            entry = entry.again(others.pop(key))
            self._count -= 1
        self._waiting[uid] = {key: entry, **others}
        self._count += 1

    def _begin_series(self, uid: str, entry: _Entry) -> None:
        key, namespace, name = (uid, entry.key), entry.regarding.namespace, _event_name(entry)
        ended = self._series.pop(key, None)
        self._series[key] = _Series(namespace, name, entry.last_at, entry.count, entry.count)
        if len(self._series) > _MOST_SERIES:
            _, ended = self._series.popitem(last=False)
        if ended is not None and ended.count > ended.sent_count:
            self._lose(ended.count - ended.sent_count, f"the series of Event {ended.name} ended before it was counted")

    async def _update_series_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(self._series_interval_seconds)
            await self._update_series()
            self._tell_losses()

    async def _update_series(self) -> None:
        now = datetime.now(UTC)
        for key, series in list(self._series.items()):
            more = series.count - series.sent_count
            if more:
                await self._update_one(key, series, more)
            elif (now - series.last_at).total_seconds() >= _SERIES_END_SECONDS:
                self._series.pop(key, None)

    async def _update_one(self, key: tuple[str, _Key], series: _Series, more: int) -> None:
        count = series.count
        patch = {"series": {"count": count, "lastObservedTime": format_instant(series.last_at)}}
        try:
            await self._store.merge(EVENT, series.namespace, series.name, patch)
        except Unavailable:
            return  # its count waits for the next time
        except NotFound:  # API servers drop Events after an hour: the next note makes a new one
            self._series.pop(key, None)
            self._lose(series.count - series.sent_count, f"Event {series.namespace}/{series.name} is gone")
        except ApiError as error:
            series.sent_count = count
            self._lose(more, str(error))
        else:
            series.sent_count = count
            self.sent += more

    def _event(self, entry: _Entry) -> dict[str, Any]:
        about = entry.regarding
        series = {"count": entry.count, "lastObservedTime": format_instant(entry.last_at)}
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"namespace": about.namespace, "name": _event_name(entry)},
            "eventTime": format_instant(entry.first_at),
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
            **({"series": series} if entry.count > 1 else {}),
        }

    def _lose(self, count: int, why: str, *, at_once: bool = False) -> None:
        """Count them, and tell of them: at once or, where many are lost, together."""
        self.lost += count
        self._untold += count
        if at_once or time.monotonic() >= self._told_at + _TELL_LOSSES_SECONDS:
            self._tell_losses(why)

    def _tell_losses(self, why: str = "the same as before") -> None:
        if self._untold:
            logger.warning("%d Event(s) lost, %d since the start: %s", self._untold, self.lost, why)
            self._untold, self._told_at = 0, time.monotonic()


def _event_name(entry: _Entry) -> str:
    return f"{entry.regarding.name[:200]}.{entry.id}"


def _cut(text: str) -> str:
    data = text.encode()
    if len(data) <= _LONGEST_NOTE_BYTES:
        return text
    return data[: _LONGEST_NOTE_BYTES - 3].decode(errors="ignore") + "…"
