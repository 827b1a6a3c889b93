"""A queue of keys that are to be worked on, in the manner of client-go's workqueue.

A key waits in it once however often it is added, and is never with two workers at once: added while somebody works on
it, it comes again afterwards. Keys that are urgent come before the others, and within both, lanes take turns, so that a
thousand keys of one namespace do not keep a single one of another waiting. Used by `serinus.shell.loop` and
`serinus.shell.events`; not thread-safe, all of it runs in one event loop.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

URGENT_IN_A_ROW: Final = 8
"""After so many urgent keys one that is not has its turn: trouble everywhere must not stop the rest."""


class WorkQueue(Generic[K]):
    """Keys that are due now, and keys that are due later. An idle queue costs nothing."""

    def __init__(self, lane: Callable[[K], Hashable] = lambda _: None) -> None:
        """`lane` says with which others a key shares its turns, such as its namespace: within it they come in order."""
        self._urgent: _Turns[K] = _Turns(lane)
        self._others: _Turns[K] = _Turns(lane)
        self._urgent_in_a_row = 0
        self._due = asyncio.Semaphore(0)
        """One for each key that is due and that nobody works on."""
        self._dirty: dict[K, bool] = {}
        """Keys that have to be worked on, and whether that is urgent: those due now, and those added while in work."""
        self._waiting_since: dict[K, float] = {}
        """When each key that is due came to wait, by the monotonic clock; in that order."""
        self._in_work: set[K] = set()
        self._later: dict[K, float] = {}
        """When a key becomes due, in the event loop's time."""
        self._urgent_later: set[K] = set()
        self._heap: list[tuple[float, int, K]] = []
        """The same in order; entries that `_later` no longer confirms are skipped."""
        self._entries = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Keys that are due and that nobody works on yet."""
        return len(self._urgent) + len(self._others)

    @property
    def oldest_seconds(self) -> float:
        """How long the key that has waited longest has been due; 0 where none waits."""
        since = next(iter(self._waiting_since.values()), None)
        return 0.0 if since is None else time.monotonic() - since

    def add(self, key: K, *, urgent: bool = False) -> None:
        """The key is due now."""
        urgent = urgent or key in self._urgent_later
        self._forget_later(key)
        known = self._dirty.get(key)
        if known or (known is False and not urgent):
            return
        self._dirty[key] = urgent
        if key in self._in_work:
            return
        if known is None:
            self._put(key)
        else:  # waits already, and is urgent from now on
            self._others.remove(key)
            self._urgent.add(key)

    def add_after(self, key: K, seconds: float, *, urgent: bool = False) -> None:
        """The key is due in `seconds`, or earlier if it was added for earlier."""
        if seconds <= 0 or (urgent and key in self._dirty):
            self.add(key, urgent=urgent)
            return
        if key in self._dirty:
            return
        if urgent:
            self._urgent_later.add(key)
        at = asyncio.get_running_loop().time() + seconds
        known = self._later.get(key)
        if known is not None and known <= at:
            return
        self._later[key] = at
        self._entries += 1
        heapq.heappush(self._heap, (at, self._entries, key))
        self._set_timer()

    async def get(self) -> K:
        """Wait for a key that is due, and take it. `done` has to follow.

        What it was to be worked on for later is forgotten: whoever works on it now says anew when to come back.
        """
        await self._due.acquire()
        key = self._next()
        del self._dirty[key], self._waiting_since[key]
        self._forget_later(key)
        self._in_work.add(key)
        return key

    def done(self, key: K) -> None:
        """The work on a key has ended, well or badly."""
        self._in_work.discard(key)
        if key in self._dirty:
            self._put(key)

    def close(self) -> None:
        """Ring no more; what waits is forgotten with the queue."""
        self._later.clear()
        self._set_timer()

    def _put(self, key: K) -> None:
        (self._urgent if self._dirty[key] else self._others).add(key)
        self._waiting_since[key] = time.monotonic()
        self._due.release()

    def _next(self) -> K:
        others_turn = len(self._others) > 0 and self._urgent_in_a_row >= URGENT_IN_A_ROW
        if len(self._urgent) and not others_turn:
            self._urgent_in_a_row += 1
            return self._urgent.take()
        self._urgent_in_a_row = 0
        return self._others.take()

    def _forget_later(self, key: K) -> None:
        self._later.pop(key, None)
        self._urgent_later.discard(key)

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


class _Turns(Generic[K]):
    """Keys in lanes that take turns; in order of arrival within a lane."""

    def __init__(self, lane: Callable[[K], Hashable]) -> None:
        self._lane = lane
        self._lanes: dict[Hashable, dict[K, None]] = {}
        self._turns: deque[Hashable] = deque()
        """Lanes with keys; the first one is next."""
        self._keys = 0

    def __len__(self) -> int:
        return self._keys

    def add(self, key: K) -> None:
        lane = self._lane(key)
        if lane not in self._lanes:
            self._lanes[lane] = {}
            self._turns.append(lane)
        self._lanes[lane][key] = None
        self._keys += 1

    def remove(self, key: K) -> None:
        """Take a key out of turn. Its lane keeps its place until its turn comes."""
        del self._lanes[self._lane(key)][key]
        self._keys -= 1

    def take(self) -> K:
        while True:
            lane = self._turns.popleft()
            keys = self._lanes[lane]
            if keys:
                break
            del self._lanes[lane]
        key = next(iter(keys))
        del keys[key]
        self._keys -= 1
        if keys:
            self._turns.append(lane)
        else:
            del self._lanes[lane]
        return key
