"""The cache of ModelDeployments: what the watch tells, what an audit mends, and both at once."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from serinus.api.gateways import GatewayFeature
from serinus.kube.client import open_cluster
from serinus.kube.credentials import Credentials
from serinus.kube.observation import without_status
from serinus.shell.caches import Caches, DeploymentCache
from serinus.shell.reconciler import Key
from tests.unit.kube.test_client import cluster_answering

IRIS: Key = ("team", "iris")


def deployment(version: int, uid: str = "1", name: str = "iris") -> dict[str, Any]:
    metadata = {"namespace": "team", "name": name, "uid": uid, "resourceVersion": str(version)}
    return {"metadata": {**metadata, "managedFields": [{"manager": "kubectl"}]}, "spec": {}}


async def listing(*manifests: dict[str, Any], meanwhile: Callable[[], None] = lambda: None) -> AsyncIterator[Any]:
    """A list whose answer is on its way while `meanwhile` happens."""
    meanwhile()
    for manifest in manifests:
        yield manifest


@pytest.fixture
def changed() -> list[Key]:
    return []


@pytest.fixture
def cache(changed: list[Key]) -> DeploymentCache:
    def hear(key: Key, *, urgent: bool = False) -> None:
        assert not urgent
        changed.append(key)

    return DeploymentCache(hear)


def version_of(cache: DeploymentCache) -> str | None:
    manifest = cache.get(IRIS)
    return manifest and manifest["metadata"]["resourceVersion"]


def test_every_new_version_is_reported_once(cache: DeploymentCache, changed: list[Key]) -> None:
    cache.put(deployment(1))
    cache.put(deployment(1))
    cache.put(deployment(2))
    assert changed == [IRIS, IRIS]
    assert version_of(cache) == "2"


def test_a_write_of_our_own_is_reported_once_and_its_echo_is_no_news(
    cache: DeploymentCache, changed: list[Key]
) -> None:
    cache.put(deployment(1))
    cache.learn(deployment(4))
    assert version_of(cache) == "4"
    cache.put(deployment(2))  # on its way when the write was answered
    cache.put(deployment(4))
    assert version_of(cache) == "4"
    assert changed == [IRIS, IRIS]
    cache.put(deployment(5))
    assert version_of(cache) == "5"


def test_a_version_is_overtaken_by_a_later_one_a_successor_or_its_end(cache: DeploymentCache) -> None:
    cache.put(deployment(5))
    assert not cache.is_overtaken(deployment(5))
    assert not cache.is_overtaken(deployment(6)), "the answer to a write, which the watch has yet to tell"
    assert cache.is_overtaken(deployment(4))
    assert cache.is_overtaken(deployment(6, uid="2"))
    cache.drop(deployment(7))
    assert cache.is_overtaken(deployment(5))


def test_an_answer_does_not_bring_back_one_that_is_gone_or_was_replaced(cache: DeploymentCache) -> None:
    cache.put(deployment(1))
    cache.drop(deployment(3))
    cache.learn(deployment(2))
    assert cache.get(IRIS) is None
    cache.put(deployment(4, uid="2"))
    cache.learn(deployment(2))
    assert version_of(cache) == "4"


async def test_an_audit_does_not_undo_what_was_learned_meanwhile_and_mends_versions_that_went_back(
    cache: DeploymentCache,
) -> None:
    cache.put(deployment(7))
    await cache.audit(listing(deployment(7), meanwhile=lambda: cache.learn(deployment(9))))
    assert version_of(cache) == "9"
    await cache.audit(listing(deployment(3)))  # etcd was restored
    assert version_of(cache) == "3"


def test_managed_fields_are_not_kept(cache: DeploymentCache) -> None:
    cache.put(deployment(1))
    assert "managedFields" not in cache.get(IRIS)["metadata"]  # type: ignore[index]


def test_one_that_is_gone_is_forgotten_and_reported(cache: DeploymentCache, changed: list[Key]) -> None:
    cache.put(deployment(1))
    cache.drop(deployment(2))
    assert cache.get(IRIS) is None
    assert changed == [IRIS, IRIS]


def test_late_end_of_a_predecessor_leaves_its_successor(cache: DeploymentCache) -> None:
    cache.put(deployment(1))
    cache.put(deployment(3, uid="2"))
    cache.drop(deployment(2))
    assert version_of(cache) == "3"


async def test_audit_adds_changes_and_removes(cache: DeploymentCache, changed: list[Key]) -> None:
    cache.put(deployment(1))
    cache.put(deployment(1, uid="9", name="vanished"))
    changed.clear()
    assert await cache.audit(listing(deployment(2), deployment(1, uid="7", name="missed"))) == 3
    assert set(cache.names()) == {IRIS, ("team", "missed")}
    assert version_of(cache) == "2"
    assert sorted(changed) == [IRIS, ("team", "missed"), ("team", "vanished")]


async def test_audit_that_finds_nothing_reports_nothing(cache: DeploymentCache, changed: list[Key]) -> None:
    cache.put(deployment(1))
    changed.clear()
    assert await cache.audit(listing(deployment(1))) == 0
    assert changed == []


async def test_what_the_watch_tells_during_an_audit_is_newer_than_its_list(cache: DeploymentCache) -> None:
    cache.put(deployment(1))
    await cache.audit(listing(deployment(2), meanwhile=lambda: cache.put(deployment(3))))
    assert version_of(cache) == "3"


async def test_one_deleted_during_an_audit_does_not_come_back(cache: DeploymentCache) -> None:
    def meanwhile() -> None:
        cache.put(deployment(2))
        cache.drop(deployment(3))

    await cache.audit(listing(deployment(2), meanwhile=meanwhile))
    assert cache.get(IRIS) is None


async def test_one_created_during_an_audit_is_not_swept(cache: DeploymentCache) -> None:
    await cache.audit(listing(meanwhile=lambda: cache.put(deployment(5))))
    assert version_of(cache) == "5"


async def test_audit_whose_list_breaks_off_sweeps_nothing(cache: DeploymentCache) -> None:
    cache.put(deployment(1))

    async def broken() -> AsyncIterator[dict[str, Any]]:
        yield deployment(1, uid="7", name="another")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await cache.audit(broken())
    assert version_of(cache) == "1"


def test_rollouts_that_are_under_way_are_known(cache: DeploymentCache) -> None:
    for name, phase in (("idle", "Idle"), ("rejected", "Rejected"), ("holding", "Holding"), ("back", "RollingBack")):
        cache.put({**deployment(1, name=name), "status": {"rollout": {"phase": phase}}})
    cache.put(deployment(1, name="new"))
    assert cache.under_way() == {("team", "holding"), ("team", "back")}


def replica_set(ready: int, version: int = 1) -> dict[str, Any]:
    labels = {"serinus.dev/deployment": "iris"}
    metadata = {"namespace": "team", "name": "iris-1", "resourceVersion": str(version), "labels": labels}
    return {
        "kind": "ReplicaSet",
        "metadata": metadata,
        "spec": {"replicas": 3},
        "status": {"readyReplicas": ready},
    }


async def test_pods_that_are_lost_make_the_change_urgent() -> None:
    heard: list[tuple[Key, bool]] = []

    def hear(key: Key, *, urgent: bool = False) -> None:
        heard.append((key, urgent))

    async with open_cluster(Credentials("http://127.0.0.1:1")) as unreachable:
        caches = Caches(unreachable, hear, namespaces=(), metric_source=False)
        caches._child_changed(None, replica_set(3))
        caches._child_changed(replica_set(3), replica_set(2))
        caches._child_changed(replica_set(2), replica_set(3))

    assert heard == [(IRIS, False), (IRIS, True), (IRIS, False)]


async def test_what_changes_in_nothing_that_is_kept_is_no_reason_for_a_pass() -> None:
    heard: list[Key] = []

    async def nothing(_: web.Request) -> web.StreamResponse:
        return web.Response()

    async with cluster_answering(nothing) as cluster:
        caches = Caches(cluster, lambda key, urgent=False: heard.append(key), namespaces=(), metric_source=False)
        caches._child_changed(None, replica_set(3, version=1))
        caches._child_changed(replica_set(3, version=1), replica_set(3, version=2))
        assert heard == [IRIS]
        caches._child_changed(replica_set(3, version=2), replica_set(2, version=3))
        caches._child_changed(replica_set(2, version=3), None)
    assert heard == [IRIS, IRIS, IRIS]


async def test_a_resource_of_a_shard_is_seen_only_when_its_children_are_known() -> None:
    heard: list[Key] = []

    def hear(key: Key, *, urgent: bool = False) -> None:
        heard.append(key)

    async def empty(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            await asyncio.sleep(30)
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})

    async with cluster_answering(empty) as cluster:
        caches = Caches(cluster, hear, namespaces=(), metric_source=False, sharded=True)
        listed = asyncio.Event()
        keeping = asyncio.create_task(caches.run(listed))
        try:
            caches.deployments.put(deployment(1))
            await asyncio.sleep(0.05)
            assert not caches.synced, "whose children to keep is not known yet"
            listed.set()
            await until(lambda: caches.deployment(IRIS) is not None)
            caches.deployments.put(deployment(2, name="later"))
            assert caches.deployment(("team", "later")) is None
            await until(lambda: caches.deployment(("team", "later")) is not None)
            assert heard == [IRIS, ("team", "later")]

            caches.deployments.drop(deployment(3))
            assert caches.deployment(IRIS) is None
            assert heard[-1] == IRIS
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def test_a_gateway_that_is_known_better_is_news_to_every_resource_and_one_that_has_more_routes_is_not() -> None:
    heard: list[Key] = []

    def hear(key: Key, *, urgent: bool = False) -> None:
        heard.append(key)

    def public(version: int, class_name: str = "shiny", routes: int = 0) -> dict[str, Any]:
        metadata = {"namespace": "edge", "name": "public", "uid": "1", "resourceVersion": str(version)}
        status = {"listeners": [{"name": "http", "attachedRoutes": routes}]}
        return {"metadata": metadata, "spec": {"gatewayClassName": class_name}, "status": status}

    def shiny(version: int, *features: str) -> dict[str, Any]:
        status = {"supportedFeatures": [{"name": feature} for feature in features]}
        metadata = {"name": "shiny", "uid": "2", "resourceVersion": str(version)}
        return {"metadata": metadata, "spec": {"controllerName": "a.b/c"}, "status": status}

    told: dict[str, list[asyncio.Queue[dict[str, Any]]]] = {}

    async def answering(request: web.Request) -> web.StreamResponse:
        items = {"gateways": [public(1)], "gatewayclasses": [shiny(2)]}.get(request.path.rsplit("/", 1)[-1], [])
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": items})
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        told.setdefault(request.path.rsplit("/", 1)[-1], []).append(queue)
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            event = {"type": "MODIFIED", "object": await queue.get()}
            await response.write(json.dumps(event).encode() + b"\n")

    overrules = {"a.b/c": {GatewayFeature.MIRROR: True}}
    async with cluster_answering(answering) as cluster:
        caches = Caches(cluster, hear, namespaces=("team",), metric_source=False, gateway_features=overrules)
        keeping = asyncio.create_task(caches.run(asyncio.Event()))
        try:
            await until(lambda: caches.synced and {"gateways", "gatewayclasses"} <= told.keys())
            caches.deployments.put(deployment(1))
            assert caches.capabilities().gateways["edge", "public"].features == {GatewayFeature.MIRROR}
            heard.clear()

            told["gateways"][-1].put_nowait(public(8, routes=3))
            told["gatewayclasses"][-1].put_nowait(shiny(9, "HTTPRoute"))
            both = {GatewayFeature.MIRROR, GatewayFeature.HEADERS}
            await until(lambda: caches.capabilities().gateways["edge", "public"].features == both)
            told["gateways"][-1].put_nowait(public(10, "dull"))
            await until(lambda: caches.capabilities().gateways["edge", "public"].controller is None)
            assert heard == [IRIS, IRIS]
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def test_who_waits_for_an_address_is_woken_when_the_route_that_has_it_is_gone() -> None:
    heard: list[Key] = []
    watches: asyncio.Queue[web.StreamResponse] = asyncio.Queue()

    def hear(key: Key, *, urgent: bool = False) -> None:
        heard.append(key)

    asked = {"parentRefs": [{"name": "public"}], "hostnames": ["a.example"]}
    metadata = {"namespace": "team", "name": "other", "uid": "9", "labels": {"serinus.dev/deployment": "other"}}
    metadata |= {"resourceVersion": "5", "creationTimestamp": "2026-01-01T00:00:00Z"}
    route = {"kind": "HTTPRoute", "metadata": metadata, "spec": {**asked, "rules": [{"backendRefs": []}]}}

    async def answering(request: web.Request) -> web.StreamResponse:
        is_route = request.path.endswith("/httproutes")
        if "watch" not in request.query:
            items = [route] if is_route else []
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": items})
        response = web.StreamResponse()
        await response.prepare(request)
        if is_route:
            watches.put_nowait(response)
        await asyncio.sleep(30)
        return response

    async with cluster_answering(answering) as cluster:
        caches = Caches(cluster, hear, namespaces=("team",), metric_source=False)
        keeping = asyncio.create_task(caches.run(asyncio.Event()))
        try:
            await until(lambda: caches.synced)
            caches.deployments.put({**deployment(6), "spec": {"traffic": {"gateway": asked}}})
            taken = caches.taken_address(IRIS)
            assert taken is not None
            assert taken.by == ("team", "other")
            heard.clear()
            gone = {"type": "DELETED", "object": {**route, "metadata": {**metadata, "resourceVersion": "8"}}}
            await (await watches.get()).write(json.dumps(gone).encode() + b"\n")
            await until(lambda: IRIS in heard)
            assert caches.taken_address(IRIS) is None
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def test_pods_of_a_preflight_are_told_to_the_resource_that_is_tried_and_are_none_of_its_own() -> None:
    heard: list[Key] = []

    def hear(key: Key, *, urgent: bool = False) -> None:
        heard.append(key)

    labels = {"serinus.dev/deployment": "iris", "serinus.dev/revision": "5c1e0a9b77"}
    owner = [{"kind": "ModelDeployment", "name": "iris", "uid": "1", "controller": True}]
    place = {"namespace": "team", "resourceVersion": "5"}
    job = {"metadata": {**place, "name": "try", "uid": "9", "labels": labels, "ownerReferences": owner}}
    of_job = [{"kind": "Job", "name": "try", "uid": "9", "controller": True}]
    waiting = {"name": "evaluate", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    pod = {
        "metadata": {
            **place,
            "name": "try-x",
            "uid": "10",
            "labels": {"serinus.dev/preflight": "iris"},
            "ownerReferences": of_job,
        },
        "status": {"containerStatuses": [waiting]},
    }

    async def answering(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            await asyncio.sleep(30)
        selected = request.query.get("labelSelector") == "serinus.dev/preflight"
        items = {"jobs": [job], "pods": [pod] if selected else []}.get(request.path.rsplit("/", 1)[-1], [])
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": items})

    async with cluster_answering(answering) as cluster:
        caches = Caches(cluster, hear, namespaces=("team",), metric_source=False)
        keeping = asyncio.create_task(caches.run(asyncio.Event()))
        try:
            await until(lambda: caches.synced)
            assert set(heard) == {IRIS}
            children = caches.children(IRIS, "1")
            assert children.pods == ()
            assert children.jobs["try"].words == "pod try-x: container evaluate: ImagePullBackOff: no such image"
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not met():  # noqa: ASYNC110 -- polls what nobody announces
            await asyncio.sleep(0.005)


def disruption_budget(version: int, allowed: int, most: int = 1) -> dict[str, Any]:
    metadata = {"namespace": "team", "name": "iris-1", "labels": {"serinus.dev/deployment": "iris"}}
    return {
        "kind": "PodDisruptionBudget",
        "metadata": metadata | {"resourceVersion": str(version), "managedFields": [{"manager": f"at {version}"}]},
        "spec": {"maxUnavailable": most},
        "status": {"disruptionsAllowed": allowed},
    }


async def test_the_status_of_a_disruption_budget_wakes_nobody() -> None:
    heard: list[Key] = []

    def hear(key: Key, *, urgent: bool = False) -> None:
        heard.append(key)

    async with open_cluster(Credentials("http://127.0.0.1:1")) as unreachable:
        caches = Caches(unreachable, hear, namespaces=(), metric_source=False)
        seen = [disruption_budget(1, 1), disruption_budget(2, 0), disruption_budget(3, 0, most=0)]
        first, told, edited = (without_status(each) for each in seen)
        caches._child_changed(first, told)
        assert heard == []
        caches._child_changed(told, edited)

    assert heard == [IRIS]
    assert "status" not in first
    assert "managedFields" not in first["metadata"]


async def test_who_scales_by_custom_metrics_hears_that_there_are_none_and_nobody_else() -> None:
    heard: list[Key] = []

    def hear(key: Key, *, urgent: bool = False) -> None:
        heard.append(key)

    async def nothing(request: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "not found"}, status=404)

    async with cluster_answering(nothing) as cluster:
        caches = Caches(cluster, hear, namespaces=(), metric_source=False)
        keeping = asyncio.create_task(caches.run(asyncio.Event()))
        try:
            caches.deployments.put(deployment(1, name="other"))
            assert caches.capabilities().custom_metrics is None
            scaling = {"autoscaling": {"maxReplicas": 3, "targetInProgressPerPod": 4}}
            await until(lambda: caches.synced)
            heard.clear()
            caches.deployments.put({**deployment(2), "spec": {"scaling": scaling}})
            await until(lambda: caches.capabilities().custom_metrics is False)
            assert heard == [IRIS, IRIS], "it is there, and cannot be scaled"
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
