"""The API server as the benchmark's own processes see it: plain calls, and a list that is followed by its watch.

Not the operator's client: what plays the cluster must not share the mistakes of what is measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import aiohttp
import orjson

from serinus.kube.credentials import from_kubeconfig, open_session

Manifest = dict[str, Any]

JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC_MERGE: Final = "application/strategic-merge-patch+json"

_PAGE_SIZE: Final = 500
_PAUSE_SECONDS: Final = 0.5
_LONGEST_LINE_BYTES: Final = 8 * 1024 * 1024


class CallError(Exception):
    """The API server did not do what it was asked for."""

    def __init__(self, method: str, path: str, status: int, said: str) -> None:
        super().__init__(f"{method} {path}: HTTP {status}: {said[:500]}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Change:
    """What a watch tells. A list tells `ADDED` for all that there is."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    manifest: Manifest


class Api:
    """One session with an API server, with a bounded number of calls at once."""

    def __init__(self, session: aiohttp.ClientSession, server: str, concurrency: int) -> None:
        self._session = session
        self._server = server.rstrip("/")
        self._slots = asyncio.Semaphore(concurrency)

    async def call(
        self, method: str, path: str, body: object = None, *, content_type: str = JSON, query: Mapping[str, str] = {}
    ) -> Manifest:
        """The decoded answer. Raises `CallError` for all but 2xx."""
        data = None if body is None else orjson.dumps(body)
        headers = {"Accept": JSON, "Content-Type": content_type}
        async with (
            self._slots,
            self._session.request(method, self._server + path, data=data, params=query, headers=headers) as response,
        ):
            answer = await response.read()
            if response.status >= 300:
                raise CallError(method, path, response.status, answer.decode(errors="replace"))
            decoded: Manifest = orjson.loads(answer)
            return decoded

    async def call_if_there(self, method: str, path: str, body: object = None, *, content_type: str = JSON) -> None:
        """The same for an object that may have gone or moved on meanwhile: then there is nothing to do."""
        try:
            await self.call(method, path, body, content_type=content_type)
        except CallError as error:
            if error.status not in {404, 409}:
                raise

    async def follow(self, path: str, query: Mapping[str, str] = {}) -> AsyncIterator[Change]:
        """All objects of a list, and from then on every change, without end. What vanished in a gap is not told."""
        while True:
            version, page = "", ""
            while not version or page:
                more = {"limit": str(_PAGE_SIZE), **({"continue": page} if page else {})}
                listed = await self.call("GET", path, query={**query, **more})
                version, page = listed["metadata"]["resourceVersion"], listed["metadata"].get("continue", "")
                for manifest in listed["items"]:
                    yield Change("ADDED", manifest)
            async for change in self._watch(path, query, version):
                yield change
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _watch(self, path: str, query: Mapping[str, str], version: str) -> AsyncIterator[Change]:
        """Changes from a version on, until the API server has forgotten where the watch stood."""
        timeout = aiohttp.ClientTimeout(total=None)
        fixed = {**query, "watch": "true", "allowWatchBookmarks": "true"}
        while True:
            async with self._session.get(
                self._server + path, params={**fixed, "resourceVersion": version}, timeout=timeout
            ) as response:
                if response.status != 200:
                    return
                try:
                    async for line in _lines(response.content):
                        told = orjson.loads(line)
                        if told["type"] == "ERROR":
                            return
                        version = told["object"]["metadata"]["resourceVersion"]
                        if told["type"] != "BOOKMARK":
                            yield Change(told["type"], told["object"])
                except aiohttp.ClientError:
                    await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def open_api(kubeconfig: Path, *, concurrency: int = 32) -> AsyncIterator[Api]:
    """The API server of a kubeconfig."""
    credentials = from_kubeconfig(kubeconfig)
    async with open_session(credentials) as session:
        yield Api(session, credentials.server, concurrency)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in content.iter_any():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line
        if len(rest) > _LONGEST_LINE_BYTES:
            raise ValueError(f"a watch sends a line longer than {_LONGEST_LINE_BYTES} bytes")
