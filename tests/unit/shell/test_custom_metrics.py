"""Whether there are custom metrics is asked for where somebody needs them, and not else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from serinus.shell.custom_metrics import CustomMetrics, needs_custom_metrics
from tests.unit.kube.test_client import cluster_answering

NEEDS = {"spec": {"scaling": {"autoscaling": {"maxReplicas": 3, "targetInProgressPerPod": 4}}}}
DOES_NOT = {"spec": {"scaling": {"autoscaling": {"maxReplicas": 3}}}}


class Adapter:
    """An API server with or without an adapter, or not answering well."""

    def __init__(self) -> None:
        self.status = 404
        self.asked: list[str] = []
        self.told: list[bool | None] = []
        self.needed = True

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        return web.json_response({"kind": "APIGroup"}, status=self.status)


@asynccontextmanager
async def looking(adapter: Adapter) -> AsyncIterator[CustomMetrics]:
    async with cluster_answering(adapter.answer) as cluster:
        metrics = CustomMetrics(
            cluster,
            is_needed=lambda: adapter.needed,
            on_change=lambda: adapter.told.append(metrics.installed),
            recheck_seconds=0.01,
        )
        task = asyncio.create_task(metrics.run())
        try:
            yield metrics
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not met():  # noqa: ASYNC110 -- polls what nobody announces
            await asyncio.sleep(0.005)


async def test_nobody_is_asked_as_long_as_nobody_needs_them() -> None:
    adapter = Adapter()
    async with looking(adapter) as metrics:
        metrics.notice(DOES_NOT)
        await asyncio.sleep(0.05)
    assert adapter.asked == []
    assert metrics.installed is None


async def test_an_adapter_that_is_missing_is_found_missing_and_found_when_it_comes() -> None:
    adapter = Adapter()
    async with looking(adapter) as metrics:
        metrics.notice(NEEDS)
        await until(lambda: adapter.told == [False])
        assert not metrics.installed
        adapter.status = 200
        await until(lambda: adapter.told == [False, True])
        assert metrics.installed
    assert set(adapter.asked) == {"/apis/custom.metrics.k8s.io"}


async def test_an_api_server_in_trouble_says_nothing_about_it() -> None:
    adapter = Adapter()
    adapter.status = 500
    async with looking(adapter) as metrics:
        metrics.notice(NEEDS)
        await until(lambda: len(adapter.asked) > 2)
    assert metrics.installed is None
    assert adapter.told == []


async def test_when_nobody_needs_them_any_more_nobody_is_asked_any_more() -> None:
    adapter = Adapter()
    async with looking(adapter) as metrics:
        metrics.notice(NEEDS)
        await until(lambda: len(adapter.asked) > 1)
        adapter.needed = False
        await asyncio.sleep(0.05)
        before = len(adapter.asked)
        await asyncio.sleep(0.1)
        assert len(adapter.asked) == before


@pytest.mark.parametrize(
    ("spec", "needs"),
    [(NEEDS, True), (DOES_NOT, False), ({}, False), ({"spec": {"scaling": 3}}, False), ({"spec": None}, False)],
)
def test_what_needs_them(spec: dict[str, Any], needs: bool) -> None:
    assert needs_custom_metrics(spec) is needs
