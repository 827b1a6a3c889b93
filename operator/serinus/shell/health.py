"""What the kubelet and Prometheus ask: `/healthz`, `/readyz`, `/metrics`.

Served by `serinus.shell.app` in the event loop that does the work, so that a hung loop does not answer and the liveness
probe fails by its time-out.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from serinus.shell.listening import listening
from serinus.shell.telemetry import Telemetry

ContactAt = Callable[[], float | None]
"""`time.monotonic()` of a watch's last sign of life; None before the first one."""


@dataclass(frozen=True, slots=True)
class Health:
    """What makes the process fit to live and to be counted on."""

    contacts: Mapping[str, ContactAt]
    """The watches, by the plural of what they watch."""
    stale_after_seconds: float
    """Longest silence of a watch, and longest duration of a pass."""
    longest_pass_seconds: Callable[[], float]
    defects: Sequence[Callable[[], str | None]]
    """Each says what is broken so that only a new process helps, if it is."""
    unready: Callable[[], str | None]
    """Why the caches are not filled, if they are not."""
    started_at: float = field(default_factory=time.monotonic)

    def silence_seconds(self, watch: str) -> float:
        """How long a watch has given no sign of life; since the start, where it never gave one."""
        contact_at = self.contacts[watch]()
        return time.monotonic() - (self.started_at if contact_at is None else contact_at)

    def problems(self) -> tuple[str, ...]:
        """Why the process should be started again; empty if it is well."""
        silences = {watch: self.silence_seconds(watch) for watch in self.contacts}
        found = [
            f"the watch of {watch} has been silent for {seconds:.0f} s, more than {self.stale_after_seconds:.0f} s"
            for watch, seconds in silences.items()
            if seconds > self.stale_after_seconds
        ]
        if (seconds := self.longest_pass_seconds()) > self.stale_after_seconds:
            found.append(f"a pass has taken {seconds:.0f} s and is not over")
        return (*found, *(defect for look in self.defects if (defect := look()) is not None))


@asynccontextmanager
async def serve(port: int, health: Health, telemetry: Telemetry, *, host: str | None = None) -> AsyncIterator[int]:
    """Answer on `host` (None: on all addresses) while the context lasts; gives the port, which the system picks for 0.

    Raises `SettingsError` where the port can't be had.
    """

    async def healthz(_: web.Request) -> web.Response:
        problems = health.problems()
        return web.Response(status=503 if problems else 200, text="\n".join(problems or ("ok",)) + "\n")

    async def readyz(_: web.Request) -> web.Response:
        why = health.unready()
        return web.Response(status=503 if why else 200, text=f"{why or 'ok'}\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=telemetry.exposition(), headers={"Content-Type": telemetry.content_type})

    routes = [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]
    async with listening(routes, host, port, "HTTP_PORT") as actual:
        yield actual
