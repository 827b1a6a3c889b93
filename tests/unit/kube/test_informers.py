"""A cache of a kind in which nothing happens stays alive, whether or not the API server sends bookmarks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

from serinus.api.kinds import SERVICE
from serinus.kube.client import WATCH_SILENCE_SECONDS
from serinus.kube.informers import Informer
from tests.unit.kube.test_client import cluster_answering

LONGEST_TEST_SECONDS = 10


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
