"""Two operators with Leases of their own share the ModelDeployments of a namespace by their labels."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.operator.operator_process import Cluster, OperatorProcess, eventually, release_of
from tests.integration.operator.test_operator_resources import model_deployment, revision_of

Shards = dict[str, OperatorProcess]
SELECTORS = {"a": "shard=a", "rest": "shard!=a"}


@pytest.fixture
def shards(cluster: Cluster, team: str, tmp_path: Path) -> Iterator[Shards]:
    """Both operators, leading, in the test's own namespace, as two releases of the chart."""
    made: Shards = {}
    try:
        for name, selector in SELECTORS.items():
            release = release_of(team, name)
            kubeconfig = cluster.kubeconfig_for_operator(team, tmp_path / f"{name}.yaml", watch=(team,), name=release)
            settings = {"LEASE_NAME": release, "IDENTITY": name, "SELECTOR": selector, "WATCH_NAMESPACES": team}
            made[name] = OperatorProcess(kubeconfig, tmp_path / f"{name}.log", team, **settings).start()
        for operator in made.values():
            operator.until_leading()
        yield made
        for operator in made.values():
            assert operator.metric("serinus_crashes_total") == 0
            assert operator.forbidden() == [], "the chart's rights suffice"
    finally:
        for operator in made.values():
            operator.close()


def labelled(
    name: str, shard: str | None, image: str = "registry.example.com/iris:1.0.0", **spec: Any
) -> dict[str, Any]:
    labels = {} if shard is None else {"shard": shard}
    return model_deployment(name, image, **spec) | {"metadata": {"name": name, "labels": labels}}


def status(cluster: Cluster, name: str, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = (cluster.get("modeldeployment", name, namespace) or {}).get("status", {})
    return found


def serve(cluster: Cluster, team: str, name: str, *, gateway: bool = False) -> None:
    """Play kubelet and gateway until it serves."""

    def ready() -> bool:
        cluster.make_pods_ready(team, name)
        if gateway and cluster.get("httproute", name, team):
            cluster.accept_route(team, name)
        return cluster.condition(name, team, "Ready").get("status") == "True"

    eventually(ready, doing=f"{name} serves")


def tellers(cluster: Cluster, team: str, name: str) -> set[str]:
    """The processes that sent Events about a ModelDeployment. Controllers send some about a Service of its name."""
    events = cluster.list("events.events.k8s.io", team)
    about = {"kind": "ModelDeployment", "name": name}
    return {each["reportingInstance"] for each in events if about.items() <= each["regarding"].items()}


def held(operator: OperatorProcess, resource: str) -> int:
    return int(operator.metric("serinus_cached_objects", resource=resource))


def test_each_serves_what_its_selector_matches_and_holds_no_child_of_the_others(
    cluster: Cluster, team: str, shards: Shards
) -> None:
    for name, shard in (("iris", "a"), ("rose", "b"), ("lily", None)):
        cluster.apply(labelled(name, shard), namespace=team)
    for name in ("iris", "rose", "lily"):
        serve(cluster, team, name)
    for kind, each in (("modeldeployments", 1), ("replicasets", 1), ("services", 1), ("controllerrevisions", 1)):
        assert held(shards["a"], kind) == each, kind
        assert held(shards["rest"], kind) == 2 * each, kind
    eventually(lambda: tellers(cluster, team, "iris") == {"a"})
    eventually(lambda: tellers(cluster, team, "rose") == tellers(cluster, team, "lily") == {"rest"})
    leases = {each["metadata"]["name"]: each["spec"]["holderIdentity"] for each in cluster.list("leases", team)}
    assert leases == {release_of(team, "a"): "a", release_of(team, "rest"): "rest"}

    shards["a"].end(signal.SIGTERM)
    shards["a"].start().until_leading()
    shards["a"].until_quiet()
    assert shards["a"].metric("serinus_writes_total") == 0, "it knows all children before it passes over their resource"
    assert held(shards["a"], "replicasets") == 1

    cluster.kubectl("delete", "modeldeployment", "iris", "-n", team, "--timeout=50s")
    eventually(lambda: held(shards["a"], "modeldeployments") == held(shards["a"], "replicasets") == 0)


def test_resource_whose_label_changes_in_the_middle_of_a_canary_is_taken_over_as_it_is(
    cluster: Cluster, team: str, shards: Shards
) -> None:
    gateway = {"parentRefs": [{"name": "public", "namespace": "gateways"}], "hostnames": ["iris.example.com"]}
    spec: dict[str, Any] = {
        "traffic": {"gateway": gateway},
        "analysis": {"disabled": True},
        "rollout": {"canary": {"steps": [{"name": "half", "weightPercent": 50, "holdSeconds": 3600}]}},
    }
    cluster.apply(labelled("iris", "a", **spec), namespace=team)
    serve(cluster, team, "iris", gateway=True)
    old = revision_of(cluster, team, "iris")
    cluster.apply(labelled("iris", "a", "registry.example.com/iris:2.0.0", **spec), namespace=team)

    def holding() -> bool:
        cluster.make_pods_ready(team, "iris")
        cluster.accept_route(team, "iris")
        rollout = status(cluster, "iris", team).get("rollout", {})
        return rollout.get("phase") == "Holding" and rollout.get("countingSince") is not None

    eventually(holding, doing="the canary holds at half of the traffic")
    shards["a"].until_quiet()
    before, traffic = status(cluster, "iris", team), traffic_of(cluster, team)
    wrote = {name: operator.metric("serinus_writes_total") for name, operator in shards.items()}
    assert wrote["rest"] == 0

    cluster.kubectl("label", "modeldeployment", "iris", "-n", team, "--overwrite", "shard=b")
    eventually(lambda: held(shards["rest"], "replicasets") == 2, doing="the new operator holds its children")
    eventually(lambda: held(shards["a"], "replicasets") == 0, doing="the old operator has let them go")
    until = time.monotonic() + 2
    while time.monotonic() < until:
        assert traffic_of(cluster, team) == traffic, "no route, Service or number of pods is touched"
    shards["rest"].until_quiet()
    after = status(cluster, "iris", team)
    for field in ("stable", "candidate"):
        assert after[field] == before[field]
    assert (after["rollout"]["phase"], after["rollout"]["step"]) == ("Holding", "half")
    assert after["rollout"]["startedAt"] == before["rollout"]["startedAt"]
    writes = shards["rest"].metric("serinus_writes_total")
    assert writes == shards["rest"].metric("serinus_writes_total", verb="status"), "at most the clock of the hold"
    assert shards["a"].metric("serinus_writes_total") == wrote["a"], "the old operator has written no more"

    new = after["candidate"]["revision"]
    cluster.kubectl("annotate", "modeldeployment", "iris", "-n", team, f"serinus.dev/promote={new}#1")

    def promoted() -> bool:
        cluster.make_pods_ready(team, "iris")
        cluster.accept_route(team, "iris")
        return bool(status(cluster, "iris", team)["stable"]["revision"] == new)

    eventually(promoted, doing="the new operator promotes")
    assert new != old
    assert shards["a"].metric("serinus_writes_total") == wrote["a"]

    cluster.kubectl("label", "modeldeployment", "iris", "-n", team, "--overwrite", "shard=a")
    eventually(lambda: held(shards["a"], "replicasets") == 2, doing="and back")
    cluster.kubectl("delete", "service", "iris", "-n", team)
    eventually(lambda: cluster.get("service", "iris", team), doing="it looks after it again")
    assert shards["a"].metric("serinus_writes_total") > wrote["a"]


def traffic_of(cluster: Cluster, team: str) -> dict[tuple[str, str], Any]:
    """What decides where requests go: the generation of routes and ReplicaSets, the spec of Services."""
    found = cluster.list("httproutes,replicasets,services", team)
    return {
        (each["kind"], each["metadata"]["name"]): each["metadata"].get("generation") or each["spec"] for each in found
    }


def test_write_that_is_late_because_the_old_operator_was_frozen_does_not_undo_what_the_new_one_did(
    cluster: Cluster, team: str, shards: Shards
) -> None:
    cluster.apply(labelled("iris", "a", rollout={"watchSeconds": 0}), namespace=team)
    serve(cluster, team, "iris")
    shards["a"].until_quiet()
    wrote = shards["a"].metric("serinus_writes_total")
    os.kill(shards["a"].pid, signal.SIGSTOP)
    moved = labelled("iris", "b", "registry.example.com/iris:2.0.0", rollout={"watchSeconds": 0})
    cluster.apply(moved, namespace=team)

    def switched() -> bool:
        cluster.make_pods_ready(team, "iris")
        version = status(cluster, "iris", team)["stable"]["version"]
        return bool(version == "2.0.0") and cluster.condition("iris", team, "Ready")["status"] == "True"

    eventually(switched, doing="the new operator rolls out")
    shards["rest"].until_quiet()
    settled, traffic = status(cluster, "iris", team), traffic_of(cluster, team)
    os.kill(shards["a"].pid, signal.SIGCONT)
    eventually(lambda: held(shards["a"], "modeldeployments") == 0, doing="it hears that the resource is not its own")
    eventually(shards["a"].leads, doing="it leads again")
    shards["a"].until_quiet()
    assert shards["a"].metric("serinus_writes_total", result="Done") == wrote
    assert traffic_of(cluster, team) == traffic
    assert status(cluster, "iris", team)["stable"] == settled["stable"]
