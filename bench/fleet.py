"""The resources of a run: made, changed, watched until they are what they should be. Used by `bench.phases`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from bench import polling
from bench.api import MERGE, Api, CallError, Manifest
from bench.subject import Key, Subject, Wanted

_PER_NAMESPACE: Final = 50
_NAMESPACE_SECONDS: Final = 60


def keys(size: int) -> tuple[Key, ...]:
    """Namespaces and names of so many resources, spread evenly."""
    namespaces = max(2, -(-size // _PER_NAMESPACE))
    return tuple((f"team-{number % namespaces}", f"model-{number}") for number in range(size))


@dataclass(frozen=True, slots=True)
class Finish:
    """How a change of many resources went."""

    wall_seconds: float
    """From the first change until the last one was done, or until the deadline."""
    seconds: Mapping[Key, float]
    """From each resource's own change to its being what was wanted; those that were in time."""
    unfinished: tuple[Key, ...]


@dataclass(slots=True)
class _Wish:
    wanted: Wanted
    generation: int
    """What was so before this generation does not count."""
    met_at: asyncio.Future[float]

    def look(self, found: Manifest) -> None:
        met = found["metadata"]["generation"] >= self.generation and self.wanted(found)
        if met and not self.met_at.done():
            self.met_at.set_result(time.monotonic())


@dataclass(slots=True)
class Fleet:
    """All resources of a subject, as the watch tells of them."""

    api: Api
    subject: Subject
    seen: dict[Key, Manifest] = field(default_factory=dict)
    _wishes: dict[Key, _Wish] = field(default_factory=dict)

    async def create(self, every: Iterable[Key], version: str, deadline_seconds: float) -> Finish:
        """Make them all and wait until they serve."""
        chosen = tuple(every)
        companions = (companion for key in chosen for companion in self.subject.companions(key))
        await asyncio.gather(*(self.api.call("POST", path, manifest) for path, manifest in companions))

        async def make(key: Key) -> Manifest:
            return await self.api.call("POST", self._path(key[0]), self.subject.manifest(key, version))

        return await self._carried_out(chosen, make, lambda _: self.subject.serves(version), deadline_seconds)

    async def change(
        self, every: Iterable[Key], spec: Mapping[str, Any], wanted: Callable[[Key], Wanted], deadline_seconds: float
    ) -> Finish:
        """Merge something into every spec and wait until each resource is as wanted."""

        async def patch(key: Key) -> Manifest:
            path = f"{self._path(key[0])}/{key[1]}"
            return await self.api.call("PATCH", path, {"spec": spec}, content_type=MERGE)

        return await self._carried_out(every, patch, wanted, deadline_seconds)

    async def until(self, every: Iterable[Key], wanted: Wanted, deadline_seconds: float) -> Finish:
        """Wait until each resource is as wanted, without a change."""

        async def look(key: Key) -> Manifest:
            return self.seen[key]

        return await self._carried_out(every, look, lambda _: wanted, deadline_seconds)

    async def make_namespaces(self, every: Iterable[Key]) -> None:
        """Make the namespaces, and wait for what pods need in them."""
        for namespace in sorted({key[0] for key in every}):
            made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            await self.api.call("POST", "/api/v1/namespaces", made)
            await polling.until(partial(self._has_account, namespace), _NAMESPACE_SECONDS, 0.1)

    async def follow(self) -> None:
        """Keep `seen` up to date, and fulfil wishes, until cancelled."""
        async for change in self.api.follow(f"{self.subject.root}/{self.subject.plural}"):
            metadata = change.manifest["metadata"]
            key = metadata["namespace"], metadata["name"]
            self.seen[key] = change.manifest
            if key in self._wishes:
                self._wishes[key].look(change.manifest)

    async def _carried_out(
        self,
        every: Iterable[Key],
        act: Callable[[Key], Awaitable[Manifest]],
        wanted: Callable[[Key], Wanted],
        deadline_seconds: float,
    ) -> Finish:
        started_at = time.monotonic()
        seconds: dict[Key, float] = {}

        async def one(key: Key) -> None:
            begun_at = time.monotonic()
            generation = (await act(key))["metadata"]["generation"]
            wish = self._wishes[key] = _Wish(wanted(key), generation, asyncio.get_running_loop().create_future())
            if key in self.seen:  # the watch may have been faster than the answer
                wish.look(self.seen[key])
            seconds[key] = await wish.met_at - begun_at

        chosen = tuple(every)
        tasks = [asyncio.create_task(one(key)) for key in chosen]
        done, late = await asyncio.wait(tasks, timeout=deadline_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in done:
            task.result()
        self._wishes.clear()
        unfinished = tuple(key for key in chosen if key not in seconds)
        return Finish(time.monotonic() - started_at, seconds, unfinished)

    def _path(self, namespace: str) -> str:
        return f"{self.subject.root}/namespaces/{namespace}/{self.subject.plural}"

    async def _has_account(self, namespace: str) -> bool:
        try:
            await self.api.call("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
        except CallError as error:
            if error.status != 404:
                raise
            return False
        return True


@asynccontextmanager
async def fleet(api: Api, subject: Subject) -> AsyncIterator[Fleet]:
    """A fleet that is watched."""
    followed = Fleet(api, subject)
    watch = asyncio.create_task(followed.follow())
    try:
        yield followed
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
