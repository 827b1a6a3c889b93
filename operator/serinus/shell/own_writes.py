"""Read your own writes: what the API server answers goes into the caches before a watch tells of it.

A pass that follows a write closely would else not see it: it would make the object again, and be refused. And what the
watch tells later is no news then, and no reason for another pass. The answers are put where the watches put what they
tell; which of the two is newer is for the cache to say. Put between `serinus.shell.reconciler` and the cluster by
`serinus.shell.app`, and by the simulated world of the tests.
"""

from __future__ import annotations

from collections.abc import Callable

from serinus.api.kinds import MODEL_DEPLOYMENT, Kind
from serinus.core.plan import Manifest
from serinus.kube.cluster import Cluster

Learn = Callable[[Kind, Manifest], None]
"""Takes an object as the API server has just answered it."""


class ToldCluster:
    """A `Cluster` that tells the caches what it is answered. Scales and deletions answer no object."""

    def __init__(self, cluster: Cluster, learn: Learn) -> None:
        self._cluster = cluster
        self._learn = learn

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """See `Cluster.get`."""
        return self._told(kind, await self._cluster.get(kind, namespace, name))

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        """See `Cluster.create`."""
        return self._told(kind, await self._cluster.create(kind, namespace, manifest))

    async def apply(
        self, kind: Kind, namespace: str, manifest: Manifest, resource_version: str, *, booked: bool = False
    ) -> Manifest:
        """See `Cluster.apply`."""
        return self._told(kind, await self._cluster.apply(kind, namespace, manifest, resource_version, booked=booked))

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int, resource_version: str) -> None:
        """See `Cluster.scale`."""
        await self._cluster.scale(kind, namespace, name, replicas, resource_version)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """See `Cluster.delete`."""
        await self._cluster.delete(kind, namespace, name, uid)

    async def write_status(self, namespace: str, name: str, status: Manifest, resource_version: str) -> Manifest:
        """See `Cluster.write_status`."""
        written = await self._cluster.write_status(namespace, name, status, resource_version)
        return self._told(MODEL_DEPLOYMENT, written)

    def _told(self, kind: Kind, answer: Manifest) -> Manifest:
        self._learn(kind, answer)
        return answer
