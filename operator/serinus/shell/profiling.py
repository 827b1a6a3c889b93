"""What the process spends its time and memory on, for engineers: `/debug/profile` and `/debug/heap`.

Served by `serinus.shell.app` only where a setting names a port, and then on loopback unless another setting says
otherwise: who may forward a port to the pod may ask. Nothing is measured until somebody does. Both are of the standard
library; an ADR says why.
"""

from __future__ import annotations

import asyncio
import cProfile
import marshal
import re
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from serinus.shell.listening import listening

DEFAULT_SECONDS: Final = 30
LONGEST_SECONDS: Final = 300
_LINES: Final = 100


@asynccontextmanager
async def serve(address: str, port: int) -> AsyncIterator[int]:
    """Answer on this address while the context lasts; gives the port, which the system picks for 0.

    Raises `SettingsError` where the port can't be had.
    """
    turn = asyncio.Lock()

    def asked_for(
        measure: Callable[[int], Awaitable[web.Response]],
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            seconds = _seconds(request.query.get("seconds", str(DEFAULT_SECONDS)))
            if seconds is None:
                return web.Response(status=400, text=f"seconds: write a whole number from 1 to {LONGEST_SECONDS}\n")
            if turn.locked():
                return web.Response(status=409, text="somebody else is measuring; ask again when they are done\n")
            async with turn:
                return await measure(seconds)

        return answer

    routes = [web.get("/debug/profile", asked_for(_profile)), web.get("/debug/heap", asked_for(_heap))]
    async with listening(routes, address, port, "PROFILE_PORT") as actual:
        yield actual


async def _profile(seconds: int) -> web.Response:
    """Calls and times of all functions of the event loop's thread, as `pstats` reads them."""
    profile = cProfile.Profile()
    profile.enable()
    try:
        await asyncio.sleep(seconds)
    finally:
        profile.disable()
    profile.create_stats()
    return web.Response(
        body=marshal.dumps(profile.stats),
        content_type="application/octet-stream",
        headers={"Content-Disposition": 'attachment; filename="serinus.pstats"'},
    )


async def _heap(seconds: int) -> web.Response:
    """What was allocated meanwhile and is still held, by the line that allocated it."""
    tracemalloc.start()
    try:
        await asyncio.sleep(seconds)
        taken = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    found = taken.filter_traces((tracemalloc.Filter(inclusive=False, filename_pattern=tracemalloc.__file__),))
    statistics = found.statistics("lineno")
    held = sum(statistic.size for statistic in statistics)
    head = f"{held / 2**20:.2f} MiB of what was allocated in {seconds} s are held at its end, by line:"
    return web.Response(text="\n".join((head, *(str(statistic) for statistic in statistics[:_LINES]), "")))


def _seconds(text: str) -> int | None:
    if not re.fullmatch(r"[0-9]{1,4}", text):
        return None
    seconds = int(text)
    return seconds if 1 <= seconds <= LONGEST_SECONDS else None
