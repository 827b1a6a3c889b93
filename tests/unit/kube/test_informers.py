"""A cache of a kind in which nothing happens stays alive, whether or not the API server sends bookmarks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from serinus.api.kinds import SERVICE
from serinus.core.plan import Manifest
from serinus.kube.client import WATCH_SILENCE_SECONDS
from serinus.kube.informers import Informer
from tests.unit.kube.test_client import cluster_answering

LONGEST_TEST_SECONDS = 60


async def test_a_silent_watch_is_renewed_before_it_counts_as_dead_and_its_renewal_is_a_sign_of_life():
    asked: list[Mapping[str, str]] = []
    renewed_twice = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})
        asked.append(request.query)
        if len(asked) > 2:
            renewed_twice.set()
        response = web.StreamResponse()
        await response.prepare(request)  # no event and no bookmark, then the end that was asked for
        return response

    async with cluster_answering(handler) as cluster:
        informer = Informer(cluster, SERVICE, lambda _old, _new: None)
        keeping = asyncio.create_task(informer.run())
        try:
            async with asyncio.timeout(LONGEST_TEST_SECONDS):
                await informer.synced.wait()
                listed_at = informer.last_contact_at
                await renewed_twice.wait()
        finally:
            keeping.cancel()

        assert listed_at is not None
        assert informer.last_contact_at is not None
        assert informer.last_contact_at > listed_at
    assert all(float(query["timeoutSeconds"]) < WATCH_SILENCE_SECONDS - 10 for query in asked)
    assert {query["resourceVersion"] for query in asked} == {"7"}


async def test_a_watch_that_is_throttled_is_tried_again_after_the_time_the_server_asks_for():
    asked: list[float] = []
    asked_again = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})
        asked.append(asyncio.get_running_loop().time())
        if len(asked) > 1:
            asked_again.set()
        return web.json_response({"kind": "Status"}, status=429, headers={"Retry-After": "1"})

    async with cluster_answering(handler) as cluster:
        keeping = asyncio.create_task(Informer(cluster, SERVICE, lambda _old, _new: None).run())
        try:
            async with asyncio.timeout(LONGEST_TEST_SECONDS):
                await asked_again.wait()
        finally:
            keeping.cancel()

    assert asked[1] - asked[0] >= 1


class Told:
    """An API server with an empty list, and a watch that tells what a test hands it, when it does."""

    def __init__(self) -> None:
        self._to_tell: asyncio.Queue[bytes] = asyncio.Queue()
        self.changes: list[tuple[str | None, str | None]] = []
        """Versions before and after."""
        self.there: list[dict[str, Any]] = []
        """What the list of some ModelDeployments' objects has."""
        self.selectors: list[str] = []
        self.before_fetch_is_answered: Callable[[], Awaitable[None]] | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        selector = request.query.get("labelSelector", "")
        if " in (" in selector:
            self.selectors.append(selector)
            if self.before_fetch_is_answered is not None:
                await self.before_fetch_is_answered()
            return web.json_response({"metadata": {"resourceVersion": "9"}, "items": self.there})
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(await self._to_tell.get())

    def hear(self, old: Manifest | None, new: Manifest | None) -> None:
        self.changes.append((old and old["metadata"]["resourceVersion"], new and new["metadata"]["resourceVersion"]))

    async def tell(self, informer: Informer, *events: tuple[str, int]) -> None:
        """Tell of the Service `iris` and wait until that has arrived."""
        for kind, version in events:
            self._to_tell.put_nowait(orjson.dumps({"type": kind, "object": service(version)}) + b"\n")
        last = service(events[-1][1] + 1, name="after-that", deployment="held")
        self._to_tell.put_nowait(orjson.dumps({"type": "ADDED", "object": last}) + b"\n")
        async with asyncio.timeout(LONGEST_TEST_SECONDS):
            while cached(informer, "after-that") != last:  # noqa: ASYNC110 -- polls what nobody announces
                await asyncio.sleep(0.005)


def service(version: int, name: str = "iris", deployment: str | None = None) -> dict[str, Any]:
    labels = {"serinus.dev/deployment": deployment or "iris"}
    metadata = {"namespace": "team", "name": name, "resourceVersion": str(version), "uid": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata}


def cached(informer: Informer, name: str) -> Manifest | None:
    return next((each for each in informer if each["metadata"]["name"] == name), None)


def version_of(informer: Informer) -> str | None:
    known = cached(informer, "iris")
    return known and known["metadata"]["resourceVersion"]


@asynccontextmanager
async def following(told: Told, **options: Any) -> AsyncIterator[Informer]:
    async with cluster_answering(told.answer) as cluster:
        informer = Informer(cluster, SERVICE, told.hear, **options)
        keeping = asyncio.create_task(informer.run())
        try:
            async with asyncio.timeout(LONGEST_TEST_SECONDS):
                await informer.synced.wait()
            yield informer
        finally:
            keeping.cancel()


async def test_an_answered_write_is_seen_before_the_watch_tells_of_it_and_told_once():
    told = Told()
    async with following(told) as informer:
        informer.learn(service(8))
        assert version_of(informer) == "8"
        assert [each["metadata"]["name"] for each in informer.of_deployment("team", "iris")] == ["iris"]
        await told.tell(informer, ("ADDED", 8))
        assert told.changes[0] == (None, "8")
        assert ("8", "8") not in told.changes
        await told.tell(informer, ("MODIFIED", 10))
        assert version_of(informer) == "10"


async def test_older_events_do_not_undo_what_was_learned():
    told = Told()
    async with following(told) as informer:
        informer.learn(service(12))
        await told.tell(informer, ("ADDED", 8), ("MODIFIED", 9))
        assert version_of(informer) == "12"


async def test_the_end_of_a_predecessor_does_not_take_what_was_made_after_it():
    told = Told()
    async with following(told) as informer:
        await told.tell(informer, ("ADDED", 8))
        informer.learn(service(13))
        await told.tell(informer, ("DELETED", 10))
        assert version_of(informer) == "13"
        await told.tell(informer, ("DELETED", 14))
        assert version_of(informer) is None


async def test_an_answer_that_comes_late_does_not_bring_back_what_is_gone():
    told = Told()
    async with following(told) as informer:
        await told.tell(informer, ("ADDED", 8), ("DELETED", 9))
        informer.learn(service(8))
        assert version_of(informer) is None


async def test_what_the_label_does_not_select_is_not_learned():
    told = Told()
    async with following(told) as informer:
        foreign = service(8)
        del foreign["metadata"]["labels"]
        informer.learn(foreign)
        assert version_of(informer) is None


# Where another operator serves the rest ------------------------------------------------------------------------------


async def test_objects_that_are_not_held_are_let_go_until_they_are_fetched():
    told, ours = Told(), {("team", "held")}
    async with following(told, holds=lambda *key: key in ours, label_selector="serinus.dev/deployment") as informer:
        await told.tell(informer, ("ADDED", 8))
        assert version_of(informer) is None
        assert len(informer) == 1, "the one that ends the telling"
        ours.add(("team", "iris"))
        told.there = [service(8), service(6, name="iris-1")]
        await informer.fetch("team", ["iris", "rose"])
        assert told.selectors == ["serinus.dev/deployment,serinus.dev/deployment in (iris,rose)"]
        assert [each["metadata"]["name"] for each in informer.of_deployment("team", "iris")] == ["iris", "iris-1"]
        await told.tell(informer, ("MODIFIED", 20))
        assert version_of(informer) == "20"

        ours.remove(("team", "iris"))
        informer.release("team", "iris")
        assert informer.of_deployment("team", "iris") == ()
        assert told.changes[-1] == ("6", None)
        await told.tell(informer, ("MODIFIED", 30))
        assert version_of(informer) is None


async def test_what_the_watch_tells_while_objects_are_fetched_is_newer_than_what_the_list_has():
    told = Told()
    async with following(told, holds=lambda *_: True) as informer:

        async def goes_meanwhile() -> None:
            await told.tell(informer, ("MODIFIED", 10), ("DELETED", 11))

        told.there, told.before_fetch_is_answered = [service(9)], goes_meanwhile
        await informer.fetch("team", ["iris"])
        assert version_of(informer) is None

        async def changes_meanwhile() -> None:
            await told.tell(informer, ("ADDED", 14))

        told.there, told.before_fetch_is_answered = [service(13)], changes_meanwhile
        await informer.fetch("team", ["iris"])
        assert version_of(informer) == "14"


async def test_object_that_moves_to_one_that_is_not_held_is_let_go():
    told = Told()
    async with following(told, holds=lambda _, deployment: deployment != "another") as informer:
        await told.tell(informer, ("ADDED", 8))
        informer.learn(service(30, deployment="another"))
        assert version_of(informer) is None
        assert informer.of_deployment("team", "another") == ()
