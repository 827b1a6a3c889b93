"""Policies as the caches know them: where they hold, and whom a change of one wakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from serinus.api.traffic import GatewayTraffic
from serinus.shell.caches import Caches
from serinus.shell.reconciler import Key
from tests.unit.kube.test_client import cluster_answering
from tests.unit.shell.test_caches import until

A, B, C = ("team-a", "iris"), ("team-b", "iris"), ("team-b", "rose")
NULLS = {"name": "nulls", "errors": {}, "limit": {"maxPercent": "1"}}
PROD = {"namespaceSelector": {"matchLabels": {"env": "prod"}}}


@dataclass
class Cluster:
    """An API server that has policies and namespaces, and tells of changes."""

    objects: dict[str, list[dict[str, Any]]]
    missing: frozenset[str] = frozenset()
    heard: list[Key] = field(default_factory=list)
    watches: dict[str, list[asyncio.Queue[dict[str, Any]]]] = field(default_factory=dict)
    version: int = 10

    def hear(self, key: Key, *, urgent: bool = False) -> None:
        self.heard.append(key)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        plural = request.path.rsplit("/", 1)[-1]
        if plural in self.missing:
            return web.json_response({"message": "not found"}, status=404)
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "10"}, "items": self.objects.get(plural, [])})
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.watches.setdefault(plural, []).append(queue)
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(json.dumps(await queue.get()).encode() + b"\n")

    def tell(self, plural: str, manifest: dict[str, Any], kind: str = "MODIFIED") -> None:
        self.version += 1
        changed = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": str(self.version)}}
        self.watches[plural][-1].put_nowait({"type": kind, "object": changed})


def policy(spec: dict[str, Any], namespace: str | None = None, **metadata: Any) -> dict[str, Any]:
    where = {"namespace": namespace} if namespace else {}
    return {"metadata": {"name": "house", "uid": "p", "resourceVersion": "2", **where, **metadata}, "spec": spec}


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": "3", "labels": labels}}


def deployment(key: Key, **analysis: Any) -> dict[str, Any]:
    metadata = {"namespace": key[0], "name": key[1], "uid": "/".join(key), "resourceVersion": "5"}
    return {"metadata": metadata, "spec": {"analysis": analysis}}


@asynccontextmanager
async def following(
    world: Cluster, *deployments: dict[str, Any], gateways_in: tuple[str, ...] = ()
) -> AsyncIterator[Caches]:
    async with cluster_answering(world.answer) as cluster:
        caches = Caches(cluster, world.hear, namespaces=(), metric_source=False, gateways_in=gateways_in)
        keeping = asyncio.create_task(caches.run(asyncio.Event()))
        watched = {"clusterrolloutpolicies", "rolloutpolicies", "namespaces"} - world.missing
        try:
            await until(lambda: caches.synced and watched <= world.watches.keys())
            for each in deployments:
                caches.deployments.put(each)
            world.heard.clear()
            yield caches
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


def names(caches: Caches, where: str) -> list[str]:
    return [f"{each.kind} {each.name}" for each in caches.policies(where)]


async def test_a_policy_holds_where_it_is_or_where_it_selects() -> None:
    objects = {
        "clusterrolloutpolicies": [policy(PROD)],
        "rolloutpolicies": [policy({}, "team-b", name="own")],
        "namespaces": [namespace("team-a", env="prod"), namespace("team-b", env="test")],
    }
    async with following(Cluster(objects)) as caches:
        assert names(caches, "team-a") == ["ClusterRolloutPolicy house"]
        assert names(caches, "team-b") == ["RolloutPolicy own"]
        assert names(caches, "unknown") == []


async def test_without_the_kinds_there_are_no_policies() -> None:
    world = Cluster({}, missing=frozenset({"clusterrolloutpolicies", "rolloutpolicies"}))
    async with following(world, deployment(A)) as caches:
        assert caches.policies("team-a") == ()


async def test_a_change_wakes_those_that_it_concerns_before_or_after_and_nobody_else() -> None:
    objects = {"namespaces": [namespace("team-a", env="prod"), namespace("team-b", env="test")]}
    world = Cluster(objects)
    async with following(world, deployment(A), deployment(B), deployment(C)) as caches:
        world.tell("clusterrolloutpolicies", policy(PROD), "ADDED")
        await until(lambda: world.heard == [A])
        other = {"namespaceSelector": {"matchLabels": {"env": "test"}}}
        world.tell("clusterrolloutpolicies", policy(other, generation=2))
        await until(lambda: len(world.heard) == 4)
        assert sorted(world.heard) == [A, A, B, C]
        assert names(caches, "team-b") == ["ClusterRolloutPolicy house"]
        world.heard.clear()
        world.tell("rolloutpolicies", policy({}, "team-a", name="own"), "ADDED")
        await until(lambda: world.heard == [A])


async def test_a_change_of_labels_of_a_policy_wakes_nobody() -> None:
    world = Cluster({"clusterrolloutpolicies": [policy({})]})
    async with following(world, deployment(A)):
        world.tell("clusterrolloutpolicies", policy({}, labels={"a": "b"}))
        world.tell("clusterrolloutpolicies", policy({"bounds": {"mode": "Audit"}}, generation=2))
        await until(lambda: world.heard == [A])


async def test_the_definition_of_a_metric_wakes_those_that_may_be_judged_by_it() -> None:
    own = {"name": "own", "errors": {}, "limit": {"maxPercent": "1"}}
    deployments = [deployment(A, sharedMetrics=["nulls"]), deployment(B, metrics=[own]), deployment(C)]
    world = Cluster({"clusterrolloutpolicies": [policy({"metrics": [NULLS]})]})
    async with following(world, *deployments):
        looser = {**NULLS, "limit": {"maxPercent": "2"}}
        world.tell("clusterrolloutpolicies", policy({"metrics": [looser]}, generation=2))
        await until(lambda: sorted(world.heard) == [A, C])  # a default may give the last one its name


async def test_a_namespace_that_gets_another_label_wakes_its_resources_where_policies_select_by_it() -> None:
    objects = {
        "clusterrolloutpolicies": [policy(PROD)],
        "namespaces": [namespace("team-a"), namespace("team-b", env="prod")],
    }
    world = Cluster(objects)
    async with following(world, deployment(A), deployment(B)) as caches:
        assert names(caches, "team-a") == []
        world.tell("namespaces", namespace("team-b", env="prod", owner="x"))
        world.tell("namespaces", namespace("team-a", env="prod"))
        await until(lambda: world.heard == [A])
        assert names(caches, "team-a") == ["ClusterRolloutPolicy house"]


async def test_a_policy_that_is_gone_wakes_those_that_it_held_for() -> None:
    world = Cluster({"clusterrolloutpolicies": [policy({})]})
    async with following(world, deployment(A)) as caches:
        world.tell("clusterrolloutpolicies", policy({}), "DELETED")
        await until(lambda: world.heard == [A])
        assert caches.policies("team-a") == ()


async def test_labels_of_a_namespace_wake_those_whose_route_a_gateway_did_not_let_in_before() -> None:
    allowed = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "ranking"}}}}
    listeners = [{"name": "http", "allowedRoutes": allowed}]
    metadata = {"namespace": "edge", "name": "public", "uid": "g", "resourceVersion": "4"}
    public = {"metadata": metadata, "spec": {"gatewayClassName": "shiny", "listeners": listeners}}
    world = Cluster({"gateways": [public], "namespaces": [namespace("team-a"), namespace("team-b", team="ranking")]})
    asked = GatewayTraffic.model_validate({"parentRefs": [{"name": "public", "namespace": "edge"}]})
    async with following(world, deployment(A), deployment(B)) as caches:
        assert caches.refusing_gateway(B, asked) is None
        assert "Gateway edge/public lets in no routes from namespace team-a" in str(caches.refusing_gateway(A, asked))
        world.tell("namespaces", namespace("team-b", team="search"))
        world.tell("namespaces", namespace("team-a", team="ranking"))
        await until(lambda: bool(world.heard))
        assert world.heard == [A]
        assert caches.refusing_gateway(A, asked) is None


async def test_a_gateway_that_is_not_there_is_told_only_where_gateways_are_looked_for() -> None:
    elsewhere = GatewayTraffic.model_validate({"parentRefs": [{"name": "public", "namespace": "elsewhere"}]})
    inner = GatewayTraffic.model_validate({"parentRefs": [{"name": "public", "namespace": "edge"}]})
    async with following(Cluster({})) as caches:
        assert caches.refusing_gateway(A, elsewhere) is not None
    async with following(Cluster({}), gateways_in=("edge",)) as caches:
        assert caches.refusing_gateway(A, elsewhere) is None
        assert caches.refusing_gateway(A, inner) is not None
