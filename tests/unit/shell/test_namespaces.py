"""A list of namespaces: one watch for each kind in each, and one that may not be looked into harms no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from serinus.api.gateways import GatewayFeature
from serinus.core.gateways import TRAEFIK
from serinus.kube.credentials import Credentials
from serinus.shell.caches import Caches, DeploymentCache
from serinus.shell.reconciler import Key
from serinus.shell.telemetry import Telemetry
from serinus.shell.watching import DeploymentWatch
from tests.unit.kube.test_client import cluster_answering
from tests.unit.shell.namespaced_server import NamespacedServer

IRIS: Key = ("team-a", "iris")
ROSE: Key = ("team-b", "rose")


def deployment(key: Key) -> dict[str, Any]:
    metadata = {"namespace": key[0], "name": key[1], "uid": key[1], "resourceVersion": "5"}
    return {"apiVersion": "serinus.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata, "spec": {}}


async def until(met: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110 -- polls what nobody announces
            await asyncio.sleep(0.005)


@pytest.fixture
def server() -> NamespacedServer:
    return NamespacedServer()


class Marked:
    """Who was told to have changed."""

    def __init__(self) -> None:
        self.keys: list[Key] = []

    def __call__(self, key: Key, *, urgent: bool = False) -> None:
        self.keys.append(key)


@asynccontextmanager
async def caches_of(server: NamespacedServer, marked: Marked, **options: Any) -> AsyncIterator[Caches]:
    async with cluster_answering(server.answer) as cluster:
        caches = Caches(cluster, marked, namespaces=("team-a", "team-b"), metric_source=False, **options)
        keeping = asyncio.create_task(caches.run(asyncio.Event()))
        try:
            await until(lambda: caches.synced)
            for key in (IRIS, ROSE):
                caches.deployments.put(deployment(key))
            yield caches
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def test_there_is_one_list_and_one_watch_of_each_kind_in_each_namespace(server: NamespacedServer) -> None:
    rights: dict[str, Any] = {
        "gateways_in": ("team-a", "team-b", "edge"),
        "gateway_classes": {"traefik": TRAEFIK},
        "cluster_policies": False,
    }
    async with caches_of(server, Marked(), **rights) as caches:
        kinds = [informer.kind.plural for informer in caches.informers]
        await until(lambda: sum(server.asked.values()) >= 2 * (2 * len(kinds) + 1))
        await asyncio.sleep(0.2)
    assert sorted(kinds) == sorted([*set(kinds), "pods"]), "pods of a preflight have a label of their own, and a watch"
    assert {asked for asked in server.asked.items() if asked[1] > 1} == {
        ((verb, namespace, "pods"), 2) for verb in ("list", "watch") for namespace in ("team-a", "team-b")
    }, "nobody asks twice"
    looked_at = {(namespace, plural) for _, namespace, plural in server.asked}
    assert looked_at == {(namespace, plural) for namespace in ("team-a", "team-b") for plural in kinds} | {
        ("edge", "gateways")
    }, "nothing of the whole cluster"


async def test_classes_that_cannot_be_read_are_those_that_are_named(server: NamespacedServer) -> None:
    metadata = {"namespace": "edge", "name": "public", "uid": "1", "resourceVersion": "3"}
    server.there["edge", "gateways"] = [{"metadata": metadata, "spec": {"gatewayClassName": "traefik"}}]
    rights = {"gateways_in": ("edge",), "gateway_classes": {"traefik": TRAEFIK}}
    async with caches_of(server, Marked(), **rights) as caches:
        public = caches.capabilities().gateways["edge", "public"]
    assert public.controller == TRAEFIK
    assert public.features == {GatewayFeature.HEADERS}


async def test_a_namespace_whose_gateways_may_not_be_seen_keeps_nobody_waiting(server: NamespacedServer) -> None:
    server.close("edge", "gateways")
    async with caches_of(server, Marked(), gateways_in=("team-a", "edge"), gateway_classes={}) as caches:
        assert caches.deployment(IRIS) is not None
        assert caches.refused == {}


@pytest.mark.parametrize("plural", ["pods", "replicasets", "httproutes"])
async def test_a_namespace_in_which_one_right_is_missing_is_left_alone_until_it_is_there(
    server: NamespacedServer, plural: str
) -> None:
    server.close("team-b", plural)
    marked = Marked()
    async with caches_of(server, marked) as caches:
        assert caches.deployment(IRIS) is not None
        assert caches.deployment(ROSE) is None, "without its pods it would be taken for broken"
        assert caches.is_overtaken(deployment(ROSE)), "a pass under way is not carried out"
        assert f"{plural} is forbidden in team-b" in caches.refused["team-b"]
        assert all(informer.last_contact_at is not None for informer in caches.informers), "it is no dead watch"
        marked.keys.clear()

        server.open("team-b")
        await until(lambda: caches.deployment(ROSE) is not None)
        assert marked.keys == [ROSE]
        assert caches.refused == {}


async def test_a_right_that_is_taken_away_ends_the_work_in_that_namespace_alone(server: NamespacedServer) -> None:
    marked = Marked()
    async with caches_of(server, marked) as caches:
        await until(lambda: server.asked["watch", "team-b", "services"] == 1)
        marked.keys.clear()
        server.close("team-b", "services", "pods")
        await until(lambda: caches.deployment(ROSE) is None)
        await until(lambda: len(caches._refusals.get("team-b", ())) == 2)
        assert marked.keys == [ROSE]
        assert caches.deployment(IRIS) is not None


# The ModelDeployments themselves -------------------------------------------------------------------------------------


@asynccontextmanager
async def watch_of(server: NamespacedServer) -> AsyncIterator[tuple[DeploymentWatch, DeploymentCache]]:
    cache = DeploymentCache(Marked())
    async with cluster_answering(server.answer) as cluster:
        watch = DeploymentWatch(
            cluster,
            Credentials(cluster._server),
            cache,
            Telemetry("test"),
            namespaces=("team-a", "team-b"),
            selector="",
            on_kopf_started=lambda: None,
        )
        keeping = asyncio.create_task(watch.run())
        try:
            yield watch, cache
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def test_modeldeployments_of_one_namespace_are_watched_while_another_may_not_be(server: NamespacedServer) -> None:
    plural = "modeldeployments"
    for key in (IRIS, ROSE):
        server.there[key[0], plural] = [deployment(key)]
    server.close("team-b", plural)
    async with watch_of(server) as (watch, cache):
        await until(watch.synced.is_set)
        await until(lambda: server.asked["watch", "team-a", plural] > 0 and watch.contact_at is not None)
        assert cache.names() == (IRIS,)
        assert "forbidden" in watch.refused["team-b"].lower()

        server.open("team-b")
        await until(lambda: set(cache.names()) == {IRIS, ROSE})
        await until(lambda: server.asked["watch", "team-b", plural] > 0)
        assert watch.refused == {}
        assert server.asked["watch", "team-a", plural] <= 3, "opened anew only when the namespaces change"

        server.close("team-b", plural)
        await until(lambda: cache.names() == (IRIS,))
        assert set(watch.refused) == {"team-b"}


async def test_a_namespace_whose_policies_may_not_be_looked_at_is_left_alone(server: NamespacedServer) -> None:
    """Its models would be rolled out without the bounds that hold for them."""
    server.close("team-b", "rolloutpolicies")
    async with caches_of(server, Marked()) as caches:
        assert set(caches.refused) == {"team-b"}
        assert caches.deployment(IRIS) is not None
        assert caches.deployment(ROSE) is None
        server.open("team-b")
        await until(lambda: caches.deployment(ROSE) is not None)


async def test_only_with_rights_in_the_cluster_are_policies_of_the_cluster_looked_at(server: NamespacedServer) -> None:
    async with caches_of(server, Marked()):
        asked = {(namespace, plural) for _, namespace, plural in server.asked}
    assert {("", "clusterrolloutpolicies"), ("", "namespaces"), ("team-a", "rolloutpolicies")} <= asked
