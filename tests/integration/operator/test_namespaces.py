"""Operators of a list of namespaces: with rights in these only, with one missing, and two of the same."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.operator.conftest import new_namespace
from tests.integration.operator.operator_process import Cluster, OperatorProcess, eventually, release_of
from tests.integration.operator.test_operator_resources import model_deployment

Start = Callable[..., OperatorProcess]


@pytest.fixture
def start(cluster: Cluster, team: str, tmp_path: Path) -> Iterator[Start]:
    """Starts an operator with a Lease of its own in the test's namespace; all end with the test."""
    made: list[OperatorProcess] = []

    def started(name: str, watch: tuple[str, ...], *, namespaced: bool = False) -> OperatorProcess:
        path, release = tmp_path / f"{name}.yaml", release_of(team, name)
        kubeconfig = cluster.kubeconfig_for_operator(team, path, watch=watch, name=release, namespaced=namespaced)
        settings = {"LEASE_NAME": release, "IDENTITY": name, "WATCH_NAMESPACES": ",".join(watch)}
        settings["NAMESPACED"] = str(namespaced).lower()
        made.append(OperatorProcess(kubeconfig, tmp_path / f"{name}.log", team, **settings))
        return made[-1].start()

    yield started
    for operator in made:
        operator.close()


def serves(cluster: Cluster, namespace: str, name: str) -> Callable[[], bool]:
    """Plays the kubelet; whether the resource is Ready."""

    def ready() -> bool:
        cluster.make_pods_ready(namespace, name)
        return cluster.condition(name, namespace, "Ready").get("status") == "True"

    return ready


def test_with_rights_in_namespaces_only_it_serves_all_of_these_and_asks_for_nothing_else(
    cluster: Cluster, team: str, start: Start
) -> None:
    other = new_namespace(cluster)
    operator = start("namespaced", (team, other), namespaced=True).until_leading()
    for namespace in (team, other):
        cluster.apply(model_deployment("iris", "registry.example.com/iris:1.0.0"), namespace=namespace)
        eventually(serves(cluster, namespace, "iris"), doing=f"iris serves in {namespace}")
    assert operator.forbidden() == []
    assert operator.metric("serinus_refused_namespaces") == 0
    assert operator.metric("serinus_api_requests_total", resource="gatewayclasses") == 0
    assert operator.metric("serinus_api_requests_total", resource="customresourcedefinitions") == 0


@pytest.mark.full
def test_a_namespace_whose_rights_are_taken_away_is_left_alone_until_they_are_back(
    cluster: Cluster, team: str, start: Start
) -> None:
    other = new_namespace(cluster)
    operator = start("namespaced", (team, other), namespaced=True).until_leading()
    name = release_of(team, "namespaced")
    binding = cluster.get("rolebinding", name, other)
    assert binding is not None
    cluster.kubectl("delete", "rolebinding", name, "-n", other)
    refused = "serinus_refused_namespaces"
    eventually(lambda: operator.metric(refused) == 1, seconds=180, doing="its watches are renewed in vain")
    for namespace in (team, other):
        cluster.apply(model_deployment("iris", "registry.example.com/iris:1.0.0"), namespace=namespace)
    eventually(serves(cluster, team, "iris"), doing="the namespaces beside it are served")
    assert cluster.list("replicasets", other) == []
    assert operator.get("/healthz")[0] == 200

    again = {key: binding[key] for key in ("apiVersion", "kind", "roleRef", "subjects")}
    cluster.apply(again | {"metadata": {"name": name}}, namespace=other)
    eventually(serves(cluster, other, "iris"), doing="it is served again")
    assert operator.metric(refused) == 0


def test_of_two_that_serve_the_same_the_younger_stands_back_until_the_older_is_gone(
    cluster: Cluster, team: str, start: Start
) -> None:
    older = start("older", (team,)).until_leading()
    younger = start("younger", (team,))

    def told() -> bool:
        code, why = younger.get("/readyz")
        return code == 503 and f"the operator of Lease {team}/{release_of(team, 'older')} is older" in why

    eventually(told, doing="the younger one is not ready")
    assert [line for line in younger.lines() if line["message"] == "standing back for an older operator"]
    assert not younger.leads()
    assert [each["metadata"]["name"] for each in cluster.list("leases", team)] == [release_of(team, "older")]

    older.end(signal.SIGTERM)
    younger.until_leading()
    eventually(lambda: younger.get("/readyz")[0] == 200)


@pytest.mark.full
def test_an_older_one_that_comes_back_leads_again(cluster: Cluster, team: str, start: Start) -> None:
    older = start("older", (team,)).until_leading()
    younger = start("younger", (team,))
    older.end(signal.SIGTERM)
    younger.until_leading()
    older.start().until_leading()
    eventually(lambda: not younger.leads(), doing="the younger one finds the older one within half a minute")
    assert older.leads()
