"""ConfigMaps and Secrets are read when they are named and when they change, and nothing is kept of them but digests."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from serinus.core.configuration import NOT_ALLOWED
from serinus.settings import SettingsError
from serinus.shell.configuration import Configurations, digests, read_key
from serinus.shell.reconciler import Key
from tests.unit.kube.test_client import cluster_answering

IRIS: Key = ("team", "iris")
KEY = b"0123456789abcdef"
SECRET_CONTENT = base64.b64encode(b"hunter2").decode()


def model(*sources: dict[str, Any], checksum: str = "Auto") -> dict[str, Any]:
    return {"spec": {"serving": {"image": "a/b:1", "configChecksum": checksum, "envFrom": list(sources)}}}


NAMES_BOTH = model({"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "token"}})


class Server:
    """An API server with ConfigMaps and Secrets, which tells what it was asked for."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        """Path and accepted types."""
        self.forbidden: set[str] = set()
        self.down = False
        self._watches: dict[str, list[web.StreamResponse]] = {}
        self._version = 10

    def write(self, plural: str, name: str, **data: str) -> dict[str, Any]:
        self._version += 1
        metadata = {"namespace": "team", "name": name, "uid": name, "resourceVersion": str(self._version)}
        kind = {"configmaps": "ConfigMap", "secrets": "Secret"}[plural]
        written = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}
        self.objects[f"{plural}/{name}"] = written
        return written

    async def tell(self, plural: str, kind: str, manifest: dict[str, Any]) -> None:
        """To the watch, as metadata."""
        event = {"type": kind, "object": {"kind": "PartialObjectMetadata", "metadata": manifest["metadata"]}}
        async with asyncio.timeout(10):
            while plural not in self._watches:  # noqa: ASYNC110 -- polls what nobody announces
                await asyncio.sleep(0.005)
        for response in self._watches[plural]:
            await response.write(json.dumps(event).encode() + b"\n")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, request.headers["Accept"]))
        plural, _, name = request.path.partition("/namespaces/team/")[2].partition("/")
        if self.down:
            return web.json_response({"message": "busy"}, status=503)
        if plural in self.forbidden:
            return web.json_response({"message": f"cannot get {plural}", "reason": "Forbidden"}, status=403)
        if name:
            found = self.objects.get(f"{plural}/{name}")
            return web.json_response(found or {"reason": "NotFound"}, status=200 if found else 404)
        if "watch" not in request.query:
            of_kind = [each for path, each in self.objects.items() if path.startswith(plural)]
            items = [{"metadata": each["metadata"]} for each in of_kind]
            return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})
        response = web.StreamResponse()
        await response.prepare(request)
        self._watches.setdefault(plural, []).append(response)
        await asyncio.sleep(30)
        return response


@pytest.fixture
def server() -> Server:
    return Server()


@asynccontextmanager
async def reading(server: Server, heard: list[Key], **how: Any) -> AsyncIterator[Configurations]:
    async with cluster_answering(server.answer) as cluster:
        given: dict[str, Any] = {"key": KEY, "secrets": True, "namespaces": ("team",), "retry_seconds": 0.01}
        configurations = Configurations(cluster, heard.append, **(given | how))
        task = asyncio.create_task(configurations.run())
        try:
            yield configurations
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not met():  # noqa: ASYNC110 -- polls what nobody announces
            await asyncio.sleep(0.005)


def digest_of(configurations: Configurations, key: Key = IRIS) -> str | None:
    found = configurations.of(key)
    return found.digest if found is not None else None


async def test_what_is_named_is_read_and_a_change_is_noticed_by_metadata(server: Server) -> None:
    heard: list[Key] = []
    server.write("configmaps", "settings", threshold="0.5")
    server.write("secrets", "token", token=SECRET_CONTENT)
    server.write("secrets", "of-somebody-else", token=SECRET_CONTENT)
    async with reading(server, heard) as configurations:
        configurations.put(IRIS, NAMES_BOTH)
        first = configurations.of(IRIS)
        assert first is not None
        assert (first.digest, first.message) == (None, ""), "it is being read"
        await until(lambda: digest_of(configurations) is not None)
        before = digest_of(configurations)
        heard.clear()
        await server.tell("configmaps", "MODIFIED", server.write("configmaps", "settings", threshold="0.9"))
        await until(lambda: digest_of(configurations) != before)
        assert heard == [IRIS]
        changed = digest_of(configurations)
        await server.tell("configmaps", "MODIFIED", server.write("configmaps", "settings", threshold="0.9"))
        reads = len(server.asked)
        await until(lambda: len(server.asked) > reads)
        await asyncio.sleep(0.02)
        assert digest_of(configurations) == changed
        assert heard == [IRIS], "the same content is no news"
        lists = [accepted for path, accepted in server.asked if path.endswith(("/configmaps", "/secrets"))]
        assert lists
        assert all("as=PartialObjectMetadata" in accepted for accepted in lists), "no content of what nobody names"
        assert not any(path.endswith("/of-somebody-else") for path, _ in server.asked)


async def test_a_secret_is_in_memory_as_a_keyed_digest_only(server: Server) -> None:
    server.write("secrets", "token", token=SECRET_CONTENT)
    async with reading(server, []) as configurations:
        configurations.put(IRIS, model({"secretRef": {"name": "token"}}))
        await until(lambda: digest_of(configurations) is not None)
        kept = repr(configurations._known)
        assert SECRET_CONTENT not in kept
        assert "hunter2" not in kept


async def test_one_that_comes_and_goes_is_told(server: Server) -> None:
    heard: list[Key] = []
    async with reading(server, heard) as configurations:
        configurations.put(IRIS, model({"configMapRef": {"name": "settings"}}))
        await until(lambda: "not there" in getattr(configurations.of(IRIS), "message", ""))
        made = server.write("configmaps", "settings", a="1")
        await server.tell("configmaps", "ADDED", made)
        await until(lambda: digest_of(configurations) is not None)
        del server.objects["configmaps/settings"]
        gone = {"metadata": made["metadata"] | {"resourceVersion": "99"}}
        await server.tell("configmaps", "DELETED", gone)
        await until(lambda: "not there" in getattr(configurations.of(IRIS), "message", ""))
        assert heard == [IRIS] * 3


async def test_a_right_that_is_missing_is_told_in_the_words_of_the_api_server(server: Server) -> None:
    server.forbidden = {"secrets"}
    async with reading(server, []) as configurations:
        configurations.put(IRIS, model({"secretRef": {"name": "token"}}))
        await until(lambda: "cannot get secrets" in getattr(configurations.of(IRIS), "message", ""))


async def test_without_the_right_to_secrets_they_are_not_asked_for(server: Server) -> None:
    server.write("configmaps", "settings", a="1")
    async with reading(server, [], secrets=False) as configurations:
        configurations.put(IRIS, NAMES_BOTH)
        await until(lambda: "configChecksum.secrets" in getattr(configurations.of(IRIS), "message", ""))
        assert not any("secrets" in path for path, _ in server.asked)


async def test_switched_off_nothing_is_read(server: Server) -> None:
    async with reading(server, [], key=None) as configurations:
        configurations.put(IRIS, NAMES_BOTH)
        assert configurations.of(IRIS) is NOT_ALLOWED
        await asyncio.sleep(0.05)
        assert server.asked == []


async def test_an_api_server_that_is_busy_is_asked_again(server: Server) -> None:
    server.write("configmaps", "settings", a="1")
    server.down = True
    async with reading(server, []) as configurations:
        configurations.put(IRIS, model({"configMapRef": {"name": "settings"}}))
        await until(lambda: len(server.asked) > 4)
        assert digest_of(configurations) is None
        server.down = False
        await until(lambda: digest_of(configurations) is not None)


async def test_what_nobody_names_any_more_is_forgotten(server: Server) -> None:
    server.write("configmaps", "settings", a="1")
    async with reading(server, []) as configurations:
        other: Key = ("team", "other")
        for key in (IRIS, other):
            configurations.put(key, model({"configMapRef": {"name": "settings"}}))
        await until(lambda: digest_of(configurations) is not None)
        configurations.put(IRIS, None)
        assert configurations.of(IRIS) is None
        assert digest_of(configurations, other) is not None
        configurations.put(other, model(checksum="Ignore"))
        assert configurations.of(other) is None
        assert configurations._known == {}


def test_equal_content_has_other_digests_in_other_places_and_with_other_keys() -> None:
    def digest(namespace: str = "team", name: str = "token", entry: str = "a", key: bytes = KEY) -> str:
        metadata = {"namespace": namespace, "name": name}
        return digests({"kind": "Secret", "metadata": metadata, "data": {entry: SECRET_CONTENT}}, key)[entry]

    found = {digest(), digest("other"), digest(name="other"), digest(entry="b"), digest(key=b"another key, too")}
    assert len(found) == 5


def test_a_key_has_to_be_there_and_long_enough(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(SettingsError, match="SERINUS_CONFIG_KEY_FILE"):
        read_key(path)
    path.write_text("short\n")
    with pytest.raises(SettingsError, match="16 bytes"):
        read_key(path)
    path.write_bytes(KEY + b"\n")
    assert read_key(path) == KEY
