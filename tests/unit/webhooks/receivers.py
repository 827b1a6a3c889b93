"""A receiver of notifications on loopback that answers as a test says, and the files that lead to it."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Received:
    """One POST as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class LocalReceiver:
    port: int = 0
    received: list[Received] = field(default_factory=list)


@asynccontextmanager
async def receiving(
    answer: Callable[[Received], web.Response] = lambda _: web.Response(text="ok"),
    *,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[LocalReceiver]:
    receiver = LocalReceiver()

    async def take(request: web.Request) -> web.Response:
        taken = Received(request.path_qs, {k.lower(): v for k, v in request.headers.items()}, await request.read())
        receiver.received.append(taken)
        return answer(taken)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()


def mounted(folder: Path, name: str, url: str, *, key: str | None = KEY) -> Path:
    """The files of a receiver as its Secret puts them there; gives the folder of all receivers."""
    there = folder / name
    there.mkdir(parents=True, exist_ok=True)
    (there / "url").write_text(url + "\n")
    if key is not None:
        (there / "signing-key").write_text(key + "\n")
    return folder
