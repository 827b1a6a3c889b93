"""Policies of a platform team, read by the operator with the chart's rights from a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from serinus.api.kinds import LABEL_NAMESPACE_NAME
from tests.integration.operator.conftest import StartOperator
from tests.integration.operator.operator_process import Cluster, OperatorProcess, eventually
from tests.integration.operator.test_operator_resources import deployed, model_deployment, revision_of

BOUND = {"bounds": {"rollout": {"allowedAutomation": ["Supervised"]}}}


def policy(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "serinus.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def operator(operators: StartOperator) -> Iterator[OperatorProcess]:
    """One that serves the namespace `team`."""
    started = operators()
    started.start().until_leading()
    yield started
    assert started.forbidden() == [], "the chart's rights suffice"


def stalled(cluster: Cluster, namespace: str, name: str) -> str:
    """Reason and message of Stalled; empty where it is not."""
    said = cluster.condition(name, namespace, "Stalled")
    return f"{said['reason']}: {said['message']}" if said.get("status") == "True" else ""


@pytest.mark.usefixtures("operator")
def test_a_policy_of_the_namespace_is_heeded_and_let_go(cluster: Cluster, team: str, name: str) -> None:
    first = deployed(cluster, team, name)
    cluster.apply(policy("RolloutPolicy", "own", BOUND), namespace=team)
    eventually(lambda: stalled(cluster, team, name))
    assert "spec.rollout.automation: RolloutPolicy own allows Supervised" in stalled(cluster, team, name)
    cluster.apply(model_deployment(name, "registry.example.com/iris:2.0.0"), namespace=team)
    eventually(lambda: (cluster.get("mdep", name, team) or {})["status"]["observedGeneration"] == 2)
    assert revision_of(cluster, team, name) == first
    cluster.kubectl("delete", "rolloutpolicy", "own", "-n", team)
    eventually(lambda: revision_of(cluster, team, name) != first)
    assert stalled(cluster, team, name) == ""


@pytest.mark.usefixtures("operator")
def test_a_policy_of_the_cluster_holds_where_its_selector_says_as_soon_as_it_says_so(
    cluster: Cluster, team: str, name: str
) -> None:
    deployed(cluster, team, name)
    label = {"metadata": {"labels": {"serinus-test": team}}}
    selector = {"matchLabels": {"serinus-test": team}}
    given = {"defaults": {"rollout": {"watchSeconds": 7}}, "namespaceSelector": selector}
    cluster.apply(policy("ClusterRolloutPolicy", team, given))
    try:

        def held() -> list[dict[str, Any]]:
            return list((cluster.get("mdep", name, team) or {})["status"].get("policies", []))

        assert held() == []
        cluster.patch("namespace", team, "default", label)
        (found,) = eventually(held)
        assert (found["kind"], found["name"]) == ("ClusterRolloutPolicy", team)
        assert found["fields"] == [{"field": "spec.rollout.watchSeconds", "value": "7"}]
        elsewhere = {**given, "namespaceSelector": {"matchLabels": {LABEL_NAMESPACE_NAME: "elsewhere"}}}
        cluster.apply(policy("ClusterRolloutPolicy", team, elsewhere))
        eventually(lambda: not held())
    finally:
        cluster.kubectl("delete", "clusterrolloutpolicy", team)
