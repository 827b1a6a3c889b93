"""Leader election by a Lease: at most one process writes, and a standby takes over when it stops or falls silent.

Run by the shell from start to end. A leader holds the Lease as long as it renews it in time by its *own* clock; the
others believe it until they have seen the Lease unchanged for its whole duration by *theirs*. No two machines' clocks
are ever compared; the times in the Lease are for people. A standby watches the Lease, which costs nothing beside its
renewals, and takes it as soon as it is given back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from serinus.api.kinds import Kind
from serinus.api.status import format_instant
from serinus.core.plan import Manifest
from serinus.kube.client import WatchEvent
from serinus.kube.cluster import AlreadyExists, ApiError, Cluster, Conflict, NotFound, Unavailable

logger = logging.getLogger(__name__)

LEASE: Final = Kind("coordination.k8s.io", "v1", "Lease", "leases")
_WATCH_SECONDS: Final = 300
"""A standby opens its watch anew this often."""
_RENEW_SHARE: Final = 0.3
"""A leader renews when so much of its deadline has passed; an attempt that fails is followed by the next one sooner."""


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """Which Lease, and how patient everybody is. `retry` < `renew_deadline` < `duration`."""

    namespace: str
    name: str
    duration_seconds: float = 15.0
    """How long the others believe a leader that they hear nothing of."""
    renew_deadline_seconds: float = 10.0
    """How long the leader goes on without having renewed."""
    retry_seconds: float = 2.0


class LeaseStore(Protocol):
    """What `serinus.kube.client.HttpCluster` offers for the Lease. Every method may raise `ApiError`."""

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """The Lease as it is now."""

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> dict[str, Any]:
        """A new Lease; `AlreadyExists` if somebody was faster."""

    async def replace(self, kind: Kind, namespace: str, manifest: Manifest) -> dict[str, Any]:
        """The Lease with new contents; `Conflict` if somebody was faster."""

    def watch(
        self, kind: Kind, namespace: str | None, resource_version: str, *, name: str | None, timeout_seconds: int
    ) -> AsyncIterator[WatchEvent]:
        """Changes of the Lease after `resource_version`, for `timeout_seconds` at most."""


class Leadership:
    """One process's part in the election."""

    def __init__(
        self,
        store: LeaseStore,
        terms: LeaseTerms,
        identity: str,
        *,
        on_gained: Callable[[], None],
        on_lost: Callable[[str], None],
        marks: Manifest | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`identity` is unique to the process. The callbacks run in the event loop and must not block.

        `marks` are labels and annotations that the Lease has from then on when this process takes it. `on_lost` hears
        why, as soon as it is known; it is not called at an orderly stop.
        """
        self._store = store
        self._terms = terms
        self._identity = identity
        self._on_gained = on_gained
        self._on_lost = on_lost
        self._marks = marks or {}
        self._clock = clock
        self._lease: dict[str, Any] | None = None
        self._seen_at = 0.0
        """When the Lease was last seen to change."""
        self._renewed_at: float | None = None
        """When the last successful renewal was *sent*; None while not leading."""

    @property
    def leading(self) -> bool:
        """Whether this process may write now.

        False as soon as the renew deadline has passed, even if nothing has run since: a process that was frozen and
        thaws sees it before its first write.
        """
        return self._renewed_at is not None and self._clock() < self._renewed_at + self._terms.renew_deadline_seconds

    @property
    def renewal_age_seconds(self) -> float:
        """How long ago the leader last renewed the Lease; 0 while this process does not lead."""
        return 0.0 if self._renewed_at is None else self._clock() - self._renewed_at

    @property
    def holder(self) -> str | None:
        """Who held the Lease when it was last seen."""
        return _spec(self._lease).get("holderIdentity") or None

    async def run(self) -> None:
        """Take part until cancelled; then give the Lease back, so that a standby need not wait for it to run out."""
        try:
            while True:
                await self._attempt()
                if self._renewed_at is None and self._lease is not None:
                    await self._stand_by(self._lease)
                else:
                    await asyncio.sleep(self._pause_seconds())
        finally:
            await self._give_back()

    async def _attempt(self) -> None:
        started_at = self._clock()
        patience = self._patience_seconds()
        try:
            async with asyncio.timeout(patience):
                held = await self._take_or_renew()
        except TimeoutError:
            self._not_renewed(f"no answer within {patience:.1f} s")
            return
        except ApiError as error:
            self._not_renewed(str(error))
            return
        if not held:
            self._lose(f"{self.holder} holds Lease {self._terms.namespace}/{self._terms.name} now")
            return
        gained = self._renewed_at is None
        self._renewed_at = started_at
        if gained:
            logger.info("%s leads by Lease %s/%s", self._identity, self._terms.namespace, self._terms.name)
            self._on_gained()

    async def _stand_by(self, lease: Manifest) -> None:
        """Follow the Lease that another holds until it may be taken: given back, gone, or unchanged for too long.

        What is heard only says when to look: before it is taken it is always read again.
        """
        try:
            async with asyncio.timeout(self._seconds_until_free()) as patience:
                async for event in self._store.watch(
                    LEASE,
                    self._terms.namespace,
                    _version(lease),
                    name=self._terms.name,
                    timeout_seconds=_WATCH_SECONDS,
                ):
                    if event.type == "DELETED":
                        return
                    if event.type != "BOOKMARK":
                        self._see(event.manifest)
                    if self._is_free():
                        return
                    patience.reschedule(asyncio.get_running_loop().time() + self._seconds_until_free())
        except TimeoutError:
            return
        except ApiError as error:
            logger.info("Lease %s/%s can't be watched: %s", self._terms.namespace, self._terms.name, error)
        await asyncio.sleep(self._pause_seconds())  # a watch that ends at once must not make us spin

    async def _take_or_renew(self) -> bool:
        """Whether the Lease is ours after one attempt."""
        if self._renewed_at is not None and self._lease is not None:
            try:
                self._see(await self._store.replace(LEASE, self._terms.namespace, self._claim(self._lease)))
            except (Conflict, NotFound):
                self._lease = None  # somebody else wrote it; look below
            else:
                return True
        try:
            self._see(await self._store.get(LEASE, self._terms.namespace, self._terms.name))
        except NotFound:
            return await self._make()
        if not self._is_free():
            return False
        assert self._lease is not None  # noqa: S101 -- just seen
        try:
            self._see(await self._store.replace(LEASE, self._terms.namespace, self._claim(self._lease)))
        except Conflict:
            return False
        return True

    async def _make(self) -> bool:
        metadata = {"namespace": self._terms.namespace, "name": self._terms.name}
        lease = self._claim({"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata})
        try:
            self._see(await self._store.create(LEASE, self._terms.namespace, lease))
        except AlreadyExists:
            return False
        return True

    def _is_free(self) -> bool:
        """Whether the Lease as last seen may be taken: ours, given back, or unchanged for its whole duration."""
        return self.holder in {None, self._identity} or self._seconds_until_free() <= 0

    def _seconds_until_free(self) -> float:
        """How long its holder is still believed without another sign of life."""
        duration = float(_spec(self._lease).get("leaseDurationSeconds") or self._terms.duration_seconds)
        return self._seen_at + duration - self._clock()

    def _claim(self, lease: Manifest) -> dict[str, Any]:
        """The Lease with us as its holder from now on."""
        old, now = _spec(lease), format_instant(datetime.now(UTC))
        renewed = old.get("holderIdentity") == self._identity
        spec = {
            **old,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._terms.duration_seconds)),
            "acquireTime": old.get("acquireTime", now) if renewed else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if renewed or not old else 1),
        }
        metadata = dict(lease["metadata"])
        for kind, ours in self._marks.items():
            metadata[kind] = {**(metadata.get(kind) or {}), **ours}
        return {**lease, "metadata": metadata, "spec": spec}

    def _see(self, lease: dict[str, Any]) -> None:
        changed = self._lease is None or _version(lease) != _version(self._lease)
        self._lease = lease
        if changed:
            self._seen_at = self._clock()

    def _not_renewed(self, why: str) -> None:
        logger.warning("Lease %s/%s was not renewed: %s", self._terms.namespace, self._terms.name, why)
        if self._renewed_at is not None and not self.leading:
            self._lose(f"the Lease was not renewed for {self._terms.renew_deadline_seconds:g} s: {why}")

    def _lose(self, why: str) -> None:
        if self._renewed_at is None:
            return
        self._renewed_at = None
        logger.warning("%s does not lead any more: %s", self._identity, why)
        self._on_lost(why)

    def _patience_seconds(self) -> float:
        """How long one attempt may take: one that hangs leaves time for another, and none outlasts the deadline."""
        half = self._terms.renew_deadline_seconds / 2
        return half if self._renewed_at is None else min(half, self._remaining_seconds(self._renewed_at))

    def _remaining_seconds(self, renewed_at: float) -> float:
        return max(0.01, renewed_at + self._terms.renew_deadline_seconds - self._clock())

    def _pause_seconds(self) -> float:
        """The time to the next attempt, well before the deadline of a leader; standbys spread theirs."""
        if self._renewed_at is not None:
            due = self._renewed_at + _RENEW_SHARE * self._terms.renew_deadline_seconds - self._clock()
            pause = due if due > 0 else self._terms.retry_seconds  # the last renewal failed
            return min(pause, self._remaining_seconds(self._renewed_at) / 2)
        return self._terms.retry_seconds * (0.5 + 0.7 * random.random())  # noqa: S311 -- keeps no secret

    async def _give_back(self) -> None:
        led, self._renewed_at = self.leading, None  # from here on nobody in this process may write
        if not led:
            return
        try:
            async with asyncio.timeout(self._patience_seconds()):
                # Read first: the stop may have cut off a renewal that took effect.
                self._see(await self._store.get(LEASE, self._terms.namespace, self._terms.name))
                if self.holder == self._identity and self._lease is not None:
                    spec = {**_spec(self._lease), "holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._store.replace(LEASE, self._terms.namespace, {**self._lease, "spec": spec})
        except (ApiError, TimeoutError) as error:
            logger.warning("Lease %s/%s runs out by itself: %s", self._terms.namespace, self._terms.name, error)


class LeaderOnly:
    """A `Cluster` whose writes are refused as `Unavailable` while `may_write` is false; reads always pass."""

    def __init__(self, cluster: Cluster, may_write: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._may_write = may_write

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """The object as it is now."""
        return await self._cluster.get(kind, namespace, name)

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        """See `Cluster.create`."""
        self._check(f"create {kind.kind} {namespace}/{manifest['metadata']['name']}")
        return await self._cluster.create(kind, namespace, manifest)

    async def apply(
        self, kind: Kind, namespace: str, manifest: Manifest, resource_version: str, *, booked: bool = False
    ) -> Manifest:
        """See `Cluster.apply`."""
        self._check(f"apply {kind.kind} {namespace}/{manifest['metadata']['name']}")
        return await self._cluster.apply(kind, namespace, manifest, resource_version, booked=booked)

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int, resource_version: str) -> None:
        """See `Cluster.scale`."""
        self._check(f"scale {kind.kind} {namespace}/{name}")
        await self._cluster.scale(kind, namespace, name, replicas, resource_version)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """See `Cluster.delete`."""
        self._check(f"delete {kind.kind} {namespace}/{name}")
        await self._cluster.delete(kind, namespace, name, uid)

    async def write_status(self, namespace: str, name: str, status: Manifest, resource_version: str) -> Manifest:
        """See `Cluster.write_status`."""
        self._check(f"write the status of {namespace}/{name}")
        return await self._cluster.write_status(namespace, name, status, resource_version)

    def _check(self, attempt: str) -> None:
        if not self._may_write():
            raise Unavailable(f"{attempt}: not sent, since this process does not hold the Lease; the leader does it")


def _spec(lease: Manifest | None) -> dict[str, Any]:
    return dict((lease or {}).get("spec") or {})


def _version(lease: Manifest) -> str:
    return str(lease["metadata"]["resourceVersion"])
