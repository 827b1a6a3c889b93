"""Tells watches on which nobody is there any more from those in which nothing happens.

Networks forget connections without a word to either end. A watch on such a connection is silent, as any watch is where
nothing changes, and it takes long to be sure; but a call on one is not answered. So a call without an answer puts the
open watches in doubt: those that then stay silent for as long as a call may take are given up, and opened anew.
Used by `client`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import aiohttp

_DOUBTS_APART_SECONDS: Final = 60.0
"""A busy API server that leaves calls unanswered is not asked for many more watches than it grants in any case."""
_TELLING_SECONDS: Final = 1.5
"""A call that its caller gave up says something if it had been under way for so long."""


class SilentError(TimeoutError):
    """A watch was given up."""


class OpenWatch:
    """A watch that was granted."""

    __slots__ = ("content", "heard")

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self.content = content
        self.heard = True
        """Whether it gave a sign of life since it was last in doubt; its reader says so."""


class Silence:
    """What is known of it; shared by all calls and watches of one API server, in one event loop."""

    def __init__(self, seconds: float) -> None:
        """Watches in doubt are given up after this time."""
        self._seconds = seconds
        self._watches: set[OpenWatch] = set()
        self._doubted_at = -math.inf

    @contextmanager
    def watched(self, content: aiohttp.StreamReader) -> Iterator[OpenWatch]:
        """A watch, while it is read. To read from it raises `SilentError` once it is given up."""
        watch = OpenWatch(content)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    @asynccontextmanager
    async def answered(self) -> AsyncIterator[None]:
        """Around a call, which raises TimeoutError when there is no answer in time."""
        begun_at = time.monotonic()
        try:
            yield
        except TimeoutError:
            self._not_answered()
            raise
        except asyncio.CancelledError:
            if time.monotonic() >= begun_at + _TELLING_SECONDS:
                self._not_answered()
            raise

    def doubt(self) -> None:
        """From now on every open watch has to give a sign of life in time."""
        for watch in self._watches:
            watch.heard = False
        asyncio.get_running_loop().call_later(self._seconds, self._give_up)

    def _not_answered(self) -> None:
        now = time.monotonic()
        if now >= self._doubted_at + _DOUBTS_APART_SECONDS:
            self._doubted_at = now
            self.doubt()

    def _give_up(self) -> None:
        for watch in self._watches:
            if not watch.heard:
                watch.content.set_exception(
                    SilentError(f"no sign of life within {self._seconds:g} s of being in doubt")
                )
