"""What carrying out a plan relies on, shown on a real API server and on the simulated world alike.

A world that answered otherwise than Kubernetes would prove nothing; so every case runs on both.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from serinus.api.kinds import CONTROLLER_REVISION, HTTP_ROUTE, MODEL_DEPLOYMENT, REPLICA_SET, SERVICE, Kind
from serinus.kube.client import open_cluster
from serinus.kube.cluster import AlreadyExists, Cluster, Conflict, NotFound
from serinus.kube.credentials import from_kubeconfig
from tests.world.api_server import ApiServer

LABELS = {"serinus.dev/deployment": "iris", "serinus.dev/revision": "0123456789"}


@asynccontextmanager
async def real_or_world(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    if request.param == "world":
        yield ApiServer()
        return
    request.getfixturevalue("crd")
    request.getfixturevalue("gateway_api")
    plane = request.getfixturevalue("plane")
    async with open_cluster(from_kubeconfig(plane.kubeconfig)) as real:
        yield real


@pytest.fixture(params=["real", "world"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    async with real_or_world(request) as each:
        yield each


def service(name: str = "iris", port: int = 80) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": dict(LABELS)},
        "spec": {"selector": dict(LABELS), "ports": [{"name": "http", "port": port, "protocol": "TCP"}]},
    }


def replica_set(replicas: int | None = 2, image: str = "registry.example.com/iris:1") -> dict[str, Any]:
    spec: dict[str, Any] = {
        "selector": {"matchLabels": dict(LABELS)},
        "template": {
            "metadata": {"labels": dict(LABELS)},
            "spec": {"containers": [{"name": "model", "image": image}]},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "iris-0123456789", "labels": dict(LABELS)},
        "spec": spec if replicas is None else {"replicas": replicas, **spec},
    }


def deployment() -> dict[str, Any]:
    return {
        "apiVersion": MODEL_DEPLOYMENT.api_version,
        "kind": MODEL_DEPLOYMENT.kind,
        "metadata": {"name": "iris"},
        "spec": {"serving": {"image": "registry.example.com/iris:1"}},
    }


def route(weights: dict[str, int], hostnames: list[str]) -> dict[str, Any]:
    backends = [{"group": "", "kind": "Service", "name": n, "port": 80, "weight": w} for n, w in weights.items()]
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.kind,
        "metadata": {"name": "iris", "labels": dict(LABELS)},
        "spec": {
            "parentRefs": [{"group": HTTP_ROUTE.group, "kind": "Gateway", "name": "public"}],
            "hostnames": hostnames,
            "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": backends}],
        },
    }


def version(manifest: Any) -> str:
    return str(manifest["metadata"]["resourceVersion"])


def of(manifest: dict[str, Any], observed: Any) -> dict[str, Any]:
    """The manifest, meant for the observed object and for no other."""
    return {**manifest, "metadata": {**manifest["metadata"], "uid": observed["metadata"]["uid"]}}


async def test_a_second_create_leaves_the_first_object_as_it_is(cluster: Cluster, namespace: str):
    made = await cluster.create(SERVICE, namespace, service())

    with pytest.raises(AlreadyExists):
        await cluster.create(SERVICE, namespace, service(port=8080))

    assert version(await cluster.get(SERVICE, namespace, "iris")) == version(made)


async def test_what_is_not_there_is_not_found(cluster: Cluster, namespace: str):
    with pytest.raises(NotFound):
        await cluster.get(SERVICE, namespace, "iris")


async def test_an_apply_changes_what_it_names_and_nothing_else(cluster: Cluster, namespace: str):
    made = await cluster.create(REPLICA_SET, namespace, replica_set(replicas=4))

    changed = await cluster.apply(
        REPLICA_SET, namespace, of(replica_set(replicas=None, image="registry.example.com/iris:2"), made), version(made)
    )

    assert changed["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.com/iris:2"
    assert changed["spec"]["replicas"] == 4
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]
    assert version(changed) != version(made)


async def test_an_apply_of_what_is_there_already_keeps_the_version(cluster: Cluster, namespace: str):
    made = await cluster.create(SERVICE, namespace, service())
    applied = await cluster.apply(SERVICE, namespace, of(service(), made), version(made))

    again = await cluster.apply(SERVICE, namespace, of(service(), made), version(applied))

    assert version(again) == version(applied)


async def test_an_apply_on_an_old_version_is_a_conflict_even_if_it_would_change_nothing(
    cluster: Cluster, namespace: str
):
    made = await cluster.create(SERVICE, namespace, service())
    changed = await cluster.apply(SERVICE, namespace, of(service(port=81), made), version(made))
    await cluster.apply(SERVICE, namespace, of(service(), made), version(changed))

    with pytest.raises(Conflict):
        await cluster.apply(SERVICE, namespace, of(service(), made), version(made))


async def test_versions_are_numbers_that_rise(cluster: Cluster, namespace: str):
    made = await cluster.create(SERVICE, namespace, service())
    changed = await cluster.apply(SERVICE, namespace, of(service(port=81), made), version(made))

    assert int(version(changed)) > int(version(made))


async def test_an_apply_replaces_the_selector_of_a_service_whole(cluster: Cluster, namespace: str):
    made = await cluster.create(SERVICE, namespace, service())
    other = service()
    other["spec"]["selector"] = {"serinus.dev/revision": "9876543210", "also": "this"}

    changed = await cluster.apply(SERVICE, namespace, of(other, made), version(made))

    assert changed["spec"]["selector"] == other["spec"]["selector"]


async def test_an_apply_takes_away_what_serinus_named_before_and_names_no_longer(cluster: Cluster, namespace: str):
    with_more = replica_set()
    with_more["metadata"] |= {"labels": LABELS | {"team": "a"}, "annotations": {"note": "first"}}
    with_more["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "fast"}
    made = await cluster.create(REPLICA_SET, namespace, with_more)

    changed = await cluster.apply(REPLICA_SET, namespace, of(replica_set(replicas=None), made), version(made))

    assert changed["metadata"]["labels"] == LABELS
    assert changed["metadata"].get("annotations", {}) == {}
    assert "nodeSelector" not in changed["spec"]["template"]["spec"]
    assert changed["spec"]["replicas"] == 2


@pytest.mark.parametrize("booked", [False, True])
async def test_an_apply_replaces_backends_and_hostnames_of_a_route_whole(
    cluster: Cluster, namespace: str, booked: bool
):
    """Whoever is booked as their owner: they are atomic."""
    made = await cluster.create(HTTP_ROUTE, namespace, route({"a": 95, "b": 5}, ["a.example.com", "b.example.com"]))

    changed = await cluster.apply(HTTP_ROUTE, namespace, of(route({"b": 100}, []), made), version(made), booked=booked)

    backends = changed["spec"]["rules"][0]["backendRefs"]
    assert [(backend["name"], backend["weight"]) for backend in backends] == [("b", 100)]
    assert changed["spec"].get("hostnames", []) == []
    assert len(changed["spec"]["rules"]) == 1


async def test_the_generation_rises_with_the_spec_and_with_nothing_else(cluster: Cluster, namespace: str):
    made = await cluster.create(HTTP_ROUTE, namespace, route({"a": 95, "b": 5}, []))
    relabelled = route({"a": 95, "b": 5}, [])
    relabelled["metadata"]["labels"]["team"] = "a"

    labelled = await cluster.apply(HTTP_ROUTE, namespace, of(relabelled, made), version(made))
    changed = await cluster.apply(HTTP_ROUTE, namespace, of(route({"a": 100}, []), made), version(labelled))

    generation = made["metadata"]["generation"]
    assert labelled["metadata"]["generation"] == generation
    assert changed["metadata"]["generation"] == generation + 1


@pytest.mark.parametrize("booked", [False, True])
async def test_an_apply_on_an_old_version_is_a_conflict(cluster: Cluster, namespace: str, booked: bool):
    made = await cluster.create(SERVICE, namespace, service())
    await cluster.apply(SERVICE, namespace, of(service(port=81), made), version(made))

    with pytest.raises(Conflict):
        await cluster.apply(SERVICE, namespace, of(service(port=82), made), version(made), booked=booked)

    assert (await cluster.get(SERVICE, namespace, "iris"))["spec"]["ports"][0]["port"] == 81


@pytest.mark.parametrize("booked", [False, True])
async def test_an_apply_never_makes_a_vanished_object_anew(cluster: Cluster, namespace: str, booked: bool):
    made = await cluster.create(SERVICE, namespace, service())
    await cluster.delete(SERVICE, namespace, "iris", made["metadata"]["uid"])

    with pytest.raises((Conflict, NotFound)):
        await cluster.apply(SERVICE, namespace, of(service(port=81), made), version(made), booked=booked)
    with pytest.raises(NotFound):
        await cluster.get(SERVICE, namespace, "iris")


async def test_scaling_sets_the_replicas_and_nothing_else(cluster: Cluster, namespace: str):
    made = await cluster.create(REPLICA_SET, namespace, replica_set(replicas=1))

    await cluster.scale(REPLICA_SET, namespace, made["metadata"]["name"], 5, version(made))

    scaled = await cluster.get(REPLICA_SET, namespace, made["metadata"]["name"])
    assert scaled["spec"] == {**made["spec"], "replicas": 5}
    assert scaled["metadata"]["generation"] == made["metadata"]["generation"] + 1


async def test_scaling_again_to_what_it_is_keeps_the_version(cluster: Cluster, namespace: str):
    made = await cluster.create(REPLICA_SET, namespace, replica_set(replicas=2))
    name = made["metadata"]["name"]
    await cluster.scale(REPLICA_SET, namespace, name, 3, version(made))
    scaled = await cluster.get(REPLICA_SET, namespace, name)

    await cluster.scale(REPLICA_SET, namespace, name, 3, version(scaled))

    assert version(await cluster.get(REPLICA_SET, namespace, name)) == version(scaled)


async def test_scaling_on_an_old_version_is_a_conflict(cluster: Cluster, namespace: str):
    made = await cluster.create(REPLICA_SET, namespace, replica_set(replicas=1))
    name = made["metadata"]["name"]
    await cluster.scale(REPLICA_SET, namespace, name, 2, version(made))

    with pytest.raises(Conflict):
        await cluster.scale(REPLICA_SET, namespace, name, 3, version(made))

    assert (await cluster.get(REPLICA_SET, namespace, name))["spec"]["replicas"] == 2


async def test_scaling_what_is_gone_is_refused(cluster: Cluster, namespace: str):
    with pytest.raises((Conflict, NotFound)):
        await cluster.scale(REPLICA_SET, namespace, "iris-0123456789", 3, "1")


@pytest.mark.parametrize("kind", [SERVICE, REPLICA_SET], ids=lambda kind: kind.kind)
async def test_deleting_takes_exactly_the_object_that_was_meant(cluster: Cluster, namespace: str, kind: Kind):
    manifest = service() if kind is SERVICE else replica_set()
    made = await cluster.create(kind, namespace, manifest)
    name = made["metadata"]["name"]

    await cluster.delete(kind, namespace, name, "another-uid")
    assert (await cluster.get(kind, namespace, name))["metadata"]["uid"] == made["metadata"]["uid"]
    await cluster.delete(kind, namespace, name, made["metadata"]["uid"])
    with pytest.raises(NotFound):
        await cluster.get(kind, namespace, name)


async def test_deleting_what_is_gone_is_no_error(cluster: Cluster, namespace: str):
    await cluster.delete(SERVICE, namespace, "iris", "any-uid")


async def test_the_data_of_a_controller_revision_comes_back_as_it_was_sent(cluster: Cluster, namespace: str):
    manifest = {
        "apiVersion": CONTROLLER_REVISION.api_version,
        "kind": CONTROLLER_REVISION.kind,
        "metadata": {"name": "iris-0123456789", "labels": dict(LABELS)},
        "revision": 1,
        "data": {
            "fields": {"serving": {"image": "registry.example.com/iris:1"}},
            "template": {"spec": {"x": [1, "a"]}},
        },
    }
    await cluster.create(CONTROLLER_REVISION, namespace, manifest)

    held = await cluster.get(CONTROLLER_REVISION, namespace, "iris-0123456789")

    assert held["data"] == manifest["data"]


async def test_a_status_is_replaced_whole_and_the_spec_left_alone(cluster: Cluster, namespace: str):
    made = await cluster.create(MODEL_DEPLOYMENT, namespace, deployment())
    first = await cluster.write_status(
        namespace, "iris", {"moves": 1, "rollout": {"phase": "Holding", "step": "five"}}, version(made)
    )

    second = await cluster.write_status(namespace, "iris", {"moves": 2, "rollout": {"phase": "Idle"}}, version(first))

    assert second["status"] == {"moves": 2, "rollout": {"phase": "Idle"}}
    assert second["spec"] == made["spec"]
    assert second["metadata"]["generation"] == made["metadata"]["generation"]


async def test_a_status_that_says_nothing_new_keeps_the_version(cluster: Cluster, namespace: str):
    made = await cluster.create(MODEL_DEPLOYMENT, namespace, deployment())
    first = await cluster.write_status(namespace, "iris", {"moves": 1}, version(made))

    second = await cluster.write_status(namespace, "iris", {"moves": 1}, version(first))

    assert version(second) == version(first)


async def test_a_status_for_an_old_version_is_a_conflict_and_changes_nothing(cluster: Cluster, namespace: str):
    made = await cluster.create(MODEL_DEPLOYMENT, namespace, deployment())
    await cluster.write_status(namespace, "iris", {"moves": 1}, version(made))

    with pytest.raises(Conflict):
        await cluster.write_status(namespace, "iris", {"moves": 7}, version(made))

    assert (await cluster.get(MODEL_DEPLOYMENT, namespace, "iris"))["status"]["moves"] == 1


async def test_of_two_writers_of_a_status_one_wins(cluster: Cluster, namespace: str):
    made = await cluster.create(MODEL_DEPLOYMENT, namespace, deployment())

    results = await asyncio.gather(
        *(cluster.write_status(namespace, "iris", {"moves": n}, version(made)) for n in range(1, 6)),
        return_exceptions=True,
    )

    assert sum(isinstance(result, Conflict) for result in results) == 4


async def test_a_status_of_what_is_gone_is_refused(cluster: Cluster, namespace: str):
    with pytest.raises((Conflict, NotFound)):
        await cluster.write_status(namespace, "iris", {"moves": 1}, "1")
