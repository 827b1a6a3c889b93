"""Listening for HTTP, with an error that names the setting where a port can't be had.

Used by `serinus.shell.health` and `serinus.shell.profiling`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from serinus.settings import PREFIX, SettingsError


@asynccontextmanager
async def listening(routes: list[web.RouteDef], host: str | None, port: int, setting: str) -> AsyncIterator[int]:
    """Answer on `host` (None: on all addresses) while the context lasts; gives the port, which the system picks for 0.

    `setting` names the port's variable, without prefix. Raises `SettingsError` where the port can't be had.
    """
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(
                f"{PREFIX}{setting}={port}: can't listen there ({error.strerror}); name a port that is free"
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
