"""A queue of keys that are to be worked on, in the manner of client-go's workqueue.

A key waits in it once however often it is added, and is never with two workers at once: added while somebody works on
it, it comes again afterwards. Used by `serinus.shell.loop`; not thread-safe, all of it runs in one event loop.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Keys that are due now, in order of arrival, and keys that are due later. An idle queue costs nothing."""

    def __init__(self) -> None:
        self._due: asyncio.Queue[K] = asyncio.Queue()
        self._dirty: set[K] = set()
        """Keys that have to be worked on: those in `_due`, and those that were added while in work."""
        self._in_work: set[K] = set()
        self._later: dict[K, float] = {}
        """When a key becomes due, in the event loop's time."""
        self._heap: list[tuple[float, int, K]] = []
        """The same in order; entries that `_later` no longer confirms are skipped."""
        self._entries = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Keys that are due and that nobody works on yet."""
        return self._due.qsize()

    def add(self, key: K) -> None:
        """The key is due now."""
        self._later.pop(key, None)
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._in_work:
            self._due.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """The key is due in `seconds`, or earlier if it was added for earlier."""
        if seconds <= 0:
            self.add(key)
            return
        at = asyncio.get_running_loop().time() + seconds
        known = self._later.get(key)
        if key in self._dirty or (known is not None and known <= at):
            return
        self._later[key] = at
        self._entries += 1
        heapq.heappush(self._heap, (at, self._entries, key))
        self._set_timer()

    async def get(self) -> K:
        """Wait for a key that is due, and take it. `done` has to follow.

        What it was to be worked on for later is forgotten: whoever works on it now says anew when to come back.
        """
        key = await self._due.get()
        self._dirty.discard(key)
        self._later.pop(key, None)
        self._in_work.add(key)
        return key

    def done(self, key: K) -> None:
        """The work on a key has ended, well or badly."""
        self._in_work.discard(key)
        if key in self._dirty:
            self._due.put_nowait(key)

    def close(self) -> None:
        """Ring no more; what waits is forgotten with the queue."""
        self._later.clear()
        self._set_timer()

    def _set_timer(self) -> None:
        """One timer, for the earliest key."""
        while self._heap and self._later.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        earliest = self._heap[0][0] if self._heap else None
        if self._timer is not None:
            if self._timer.when() == earliest:
                return
            self._timer.cancel()
            self._timer = None
        if earliest is not None:
            self._timer = asyncio.get_running_loop().call_at(earliest, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._later.get(key) == at:
                self.add(key)
        self._set_timer()
