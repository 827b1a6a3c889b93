"""The end of a term, on a Lease that is kept in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from serinus.api.kinds import Kind
from serinus.core.plan import Manifest
from serinus.kube.client import WatchEvent
from serinus.kube.cluster import NotFound
from serinus.shell.leadership import Leadership, LeaseTerms

TERMS = LeaseTerms("serinus-system", "serinus", duration_seconds=90, renew_deadline_seconds=60, retry_seconds=0.1)


class Leases:
    """One Lease, whose API server takes its time once it is told to."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.answers_after_seconds = 0.0

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        await asyncio.sleep(self.answers_after_seconds)
        if self.lease is None:
            raise NotFound(f"read Lease {namespace}/{name}")
        return self.lease

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> dict[str, Any]:
        return await self.replace(kind, namespace, manifest)

    async def replace(self, kind: Kind, namespace: str, manifest: Manifest) -> dict[str, Any]:
        await asyncio.sleep(self.answers_after_seconds)
        version = int(self.lease["metadata"]["resourceVersion"]) + 1 if self.lease else 1
        self.lease = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": str(version)}}
        return self.lease

    def watch(
        self, kind: Kind, namespace: str | None, resource_version: str, *, name: str | None, timeout_seconds: int
    ) -> AsyncIterator[WatchEvent]:
        raise AssertionError("a leader watches nothing")


async def test_the_lease_is_given_back_even_if_the_api_server_takes_longer_than_the_pause_between_two_attempts() -> (
    None
):
    leases = Leases()
    leading = asyncio.Event()
    leadership = Leadership(leases, TERMS, "one", on_gained=leading.set, on_lost=lambda _: None)
    task = asyncio.create_task(leadership.run())
    async with asyncio.timeout(30):
        await leading.wait()
    assert 0 < leadership.renewal_age_seconds < TERMS.renew_deadline_seconds
    leases.answers_after_seconds = 5 * TERMS.retry_seconds
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == ""


async def test_what_the_lease_shall_show_stands_beside_what_others_wrote_there() -> None:
    leases = Leases()
    others = {"labels": {"team": "ml"}, "name": "serinus", "resourceVersion": "1"}
    leases.lease = {"metadata": others, "spec": {"holderIdentity": ""}}
    leading = asyncio.Event()
    marks = {"labels": {"a": "b"}, "annotations": {"c": "d"}}
    leadership = Leadership(leases, TERMS, "one", on_gained=leading.set, on_lost=lambda _: None, marks=marks)
    task = asyncio.create_task(leadership.run())
    async with asyncio.timeout(30):
        await leading.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    metadata = leases.lease["metadata"]
    assert metadata["labels"] == {"team": "ml", "a": "b"}
    assert metadata["annotations"] == {"c": "d"}
