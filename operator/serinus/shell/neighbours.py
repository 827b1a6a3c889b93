"""Other operators in the cluster, by their Leases: of two that serve the same, the younger stands back.

Each leader writes into its Lease what it serves (`claim`). Before it takes part in its election, and again and again
while it does, an operator looks at the Leases of the others. Nobody's clock is compared with another's: who is older is
said by the API server, which made the Leases, and whether somebody still leads by whether the Lease changes while it is
looked at. Where the right to look is missing nothing is known, and the operator goes on. Used by `serinus.shell.app`,
and by `serinus.shell.check`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

from serinus.api.kinds import GROUP, Kind
from serinus.core.plan import Manifest
from serinus.core.shards import Neighbour, Shard, in_the_way, read_shard
from serinus.kube.client import Page
from serinus.kube.cluster import ApiError, Forbidden, NotFound
from serinus.shell.leadership import LEASE

logger = logging.getLogger(__name__)

LABEL_OPERATOR: Final = f"{GROUP}/operator"
"""On the Leases of operators."""
ANNOTATION_SERVES: Final = f"{GROUP}/serves"
"""On such a Lease: `Shard.written`."""
_RECHECK_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 30.0


class LeaseReader(Protocol):
    """What `serinus.kube.client.HttpCluster` offers. Both methods may raise `ApiError`."""

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """The Lease as it is now."""

    def list_pages(self, kind: Kind, namespace: str | None, *, label_selector: str | None) -> AsyncIterator[Page]:
        """The Leases of a namespace, or of all."""


def claim(shard: Shard) -> Manifest:
    """What a leader writes into the metadata of its Lease, for others to see."""
    return {"labels": {LABEL_OPERATOR: "true"}, "annotations": {ANNOTATION_SERVES: shard.written()}}


class Neighbours:
    """Looks for an older operator that serves the same."""

    def __init__(
        self,
        leases: LeaseReader,
        shard: Shard,
        own: tuple[str, str],
        *,
        look_in: str | None = None,
        recheck_seconds: float = _RECHECK_SECONDS,
        look_seconds: float = _LOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`own` is namespace and name of the Lease of this operator, which serves `shard`.

        Leases are looked at in the namespace `look_in` (None: in all): every `look_seconds`, or every `recheck_seconds`
        while somebody is in the way.
        """
        self.obstacle: str | None = None
        """Who is in the way, and what to do about it; None while nobody is."""
        self._leases = leases
        self._shard = shard
        self._own = own
        self._look_in = look_in
        self._recheck_seconds = recheck_seconds
        self._look_seconds = look_seconds
        self._clock = clock
        self._seen: dict[str, tuple[str, float]] = {}
        """For each Lease its version, and when it was first seen in that."""
        self._may_look = True

    async def until_none(self) -> None:
        """Return when nobody is in the way; says in the log who is."""
        while True:
            try:
                await self.look()
            except ApiError as error:
                logger.info("the Leases of other operators can't be read; trying on: %s", error)
            else:
                if self.obstacle is None:
                    return
            await asyncio.sleep(self._recheck_seconds)

    async def until_one(self) -> str:
        """Return when somebody is in the way, and who. What can't be looked at is nobody."""
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                await self.look()
            except ApiError as error:
                logger.info("the Leases of other operators can't be read; trying on: %s", error)
            if self.obstacle is not None:
                return self.obstacle

    async def look(self) -> None:
        """Look once: `obstacle` says who is in the way. May raise `ApiError`."""
        found = in_the_way(self._shard, await self._born(), [each async for each in self._others()])
        obstacle = None if found is None else self._told(found)
        if obstacle != self.obstacle and obstacle is not None:
            logger.warning("standing back for an older operator", extra={"because": obstacle})
        if obstacle is None and self.obstacle is not None:
            logger.info("no older operator serves the same any more")
        self.obstacle = obstacle

    def _told(self, other: Neighbour) -> str:
        return (
            f"the operator of Lease {other.lease} is older and serves {other.shard}; "
            f"this one would serve {self._shard}: uninstall one of the two, or give them watchNamespaces or "
            "selectors that have nothing in common"
        )

    async def _born(self) -> tuple[str, str] | None:
        """When our Lease was made; None where it is still to be made."""
        try:
            return _born(await self._leases.get(LEASE, *self._own))
        except NotFound:
            return None

    async def _others(self) -> AsyncIterator[Neighbour]:
        """Those that lead somewhere, but for our own."""
        try:
            async for page in self._leases.list_pages(LEASE, self._look_in, label_selector=LABEL_OPERATOR):
                for lease in page.items:
                    place = lease["metadata"]["namespace"], lease["metadata"]["name"]
                    shard = read_shard((lease["metadata"].get("annotations") or {}).get(ANNOTATION_SERVES, ""))
                    if place != self._own and shard is not None and self._is_held("/".join(place), lease):
                        yield Neighbour("/".join(place), shard, _born(lease))
        except Forbidden as error:
            if self._may_look:
                logger.warning("other operators can't be seen; going on", extra={"because": str(error)})
            self._may_look = False

    def _is_held(self, place: str, lease: Manifest) -> bool:
        """Whether somebody leads by this Lease, or is still believed to."""
        spec, now, version = lease.get("spec") or {}, self._clock(), str(lease["metadata"]["resourceVersion"])
        if self._seen.get(place, ("", 0.0))[0] != version:
            self._seen[place] = version, now
        silent_seconds = now - self._seen[place][1]
        return bool(spec.get("holderIdentity")) and silent_seconds <= float(spec.get("leaseDurationSeconds") or 0)


def _born(lease: Manifest) -> tuple[str, str]:
    return str(lease["metadata"]["creationTimestamp"]), str(lease["metadata"]["uid"])
