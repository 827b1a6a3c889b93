"""Whose children are held, where a selector leaves some ModelDeployments to other operators.

Children do not carry the labels of their ModelDeployment: a label that moves a resource from one operator to another
would have to be written to all of them first. So the informers keep what belongs to a member and let the rest go; and
the children of one that joins later are listed once, before a pass may see it: a pass over a resource whose children
are not known yet would take its pods for lost. Used by `serinus.shell.caches`, only where there is a selector.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from serinus.kube.cluster import ApiError
from serinus.shell.reconciler import Key

logger = logging.getLogger(__name__)

GATHER_SECONDS: Final = 0.05
"""Those that join together are listed together."""
_BATCH: Final = 50
"""So many names fit into a selector in a URL."""
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 10.0


class Held(Protocol):
    """What `serinus.kube.informers.Informer` offers."""

    async def fetch(self, namespace: str, deployments: Sequence[str]) -> None:
        """List the objects of these ModelDeployments, which are held from now on. May raise `ApiError`."""

    def release(self, namespace: str, deployment: str) -> None:
        """Let the objects of a ModelDeployment go."""


class OnComplete(Protocol):
    """Hears who has joined, and may be passed over."""

    def __call__(self, key: Key) -> None:
        """All children of this ModelDeployment are known."""


@dataclass(slots=True, eq=False)
class _Member:
    complete: bool = False


class Shard:
    """The ModelDeployments of this operator. `run` completes those that join; all else may be called at any time."""

    def __init__(self, on_complete: OnComplete) -> None:
        self._on_complete = on_complete
        self._members: dict[Key, _Member] = {}
        self._informers: tuple[Held, ...] = ()
        self._joining: dict[Key, _Member] = {}
        """Those whose children are not all known, in the order in which they came."""
        self._woken = asyncio.Event()

    def holds(self, namespace: str, deployment: str) -> bool:
        """Whether the children of a ModelDeployment are held."""
        return (namespace, deployment) in self._members

    def complete(self, key: Key) -> bool:
        """Whether all children of a ModelDeployment are known."""
        member = self._members.get(key)
        return member is not None and member.complete

    def join(self, key: Key) -> None:
        """A ModelDeployment is one of ours now; nothing happens if it was before."""
        if key not in self._members:
            self._members[key] = self._joining[key] = _Member()
            self._woken.set()

    def leave(self, key: Key) -> None:
        """A ModelDeployment is gone, or another operator's now."""
        if self._members.pop(key, None) is not None:
            self._joining.pop(key, None)
            for informer in self._informers:
                informer.release(*key)

    async def run(self, informers: Iterable[Held], *, first_lists: Awaitable[None]) -> None:
        """Complete whoever joins, until cancelled.

        The children of all that are members now come with the first lists of the informers, which begin after this has
        been called; `first_lists` returns when these are through.
        """
        self._informers = tuple(informers)
        first, self._joining = self._joining, {}
        await first_lists
        self._completed(first)
        failures = 0
        while True:
            await self._woken.wait()
            await asyncio.sleep(GATHER_SECONDS)
            batch = self._batch()
            try:
                await self._fetch(batch)
            except ApiError as error:
                failures += 1
                self._put_behind_others(batch)
                logger.warning("children of resources that joined could not be listed; trying on: %s", error)
                await asyncio.sleep(min(_FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10), _LONGEST_PAUSE_SECONDS))
                continue
            failures = 0
            for key, member in batch.items():
                if self._joining.get(key) is member:  # else it has left, and maybe joined anew
                    del self._joining[key]
            self._completed(batch)

    def _batch(self) -> dict[Key, _Member]:
        """Those of one namespace, that of who has waited longest; none if nobody waits."""
        if not self._joining:
            self._woken.clear()
            return {}
        namespace = next(iter(self._joining))[0]
        together = [(key, member) for key, member in self._joining.items() if key[0] == namespace]
        return dict(together[:_BATCH])

    def _put_behind_others(self, batch: dict[Key, _Member]) -> None:
        """Those of a namespace in which a right is missing must not keep others waiting."""
        for key, member in batch.items():
            if self._joining.get(key) is member:
                self._joining[key] = self._joining.pop(key)

    async def _fetch(self, batch: dict[Key, _Member]) -> None:
        if not batch:
            return
        namespace, names = next(iter(batch))[0], [name for _, name in batch]
        fetches = (informer.fetch(namespace, names) for informer in self._informers)
        for result in await asyncio.gather(*fetches, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    def _completed(self, members: dict[Key, _Member]) -> None:
        for key, member in members.items():
            if self._members.get(key) is member:
                member.complete = True
                self._on_complete(key)
