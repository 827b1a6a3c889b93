"""Waiting for what nobody tells: looks again and again, up to a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(look: Callable[[], Awaitable[bool]], deadline_seconds: float, pause_seconds: float) -> None:
    """Return when `look` finds it to be so. Raises TimeoutError after the deadline."""
    async with asyncio.timeout(deadline_seconds):
        while True:
            if await look():
                return
            await asyncio.sleep(pause_seconds)
