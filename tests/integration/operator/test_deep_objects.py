"""One manifest that is nested without end harms nobody else's model, whenever the operator meets it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.operator.conftest import StartOperator
from tests.integration.operator.operator_process import Cluster
from tests.integration.operator.test_operator_resources import deployed, model_deployment

LEVELS = (300, 9_000)
"""More than the encoder takes; more than the decoder does, and nearly as much as the API server."""
MODELS = "/apis/serinus.dev/v1alpha1/namespaces/{}/modeldeployments"
RECORDS = "/apis/apps/v1/namespaces/{}/controllerrevisions"


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def manifests(name: str, levels: int) -> dict[str, str]:
    """A ModelDeployment and a record that nobody of ours has written, in JSON, with the path of their kind."""
    model = model_deployment(name)
    model["spec"]["serving"]["podTemplate"] = {"spec": "DEEP"}
    metadata = {"name": name, "labels": {"serinus.dev/deployment": name}}
    record = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "revision": 1,
        "data": "DEEP",
    }
    deep = {MODELS: model, RECORDS: record}
    return {path: json.dumps(each).replace('"DEEP"', nested(levels)) for path, each in deep.items()}


def store(cluster: Cluster, namespace: str, suffix: str) -> list[str]:
    """Have the API server keep deep objects of both kinds; gives their names."""
    names = [f"deep-{levels}-{suffix}" for levels in LEVELS]
    for name, levels in zip(names, LEVELS, strict=True):
        for path, manifest in manifests(name, levels).items():
            cluster.kubectl("create", f"--raw={path.format(namespace)}", "-f", "-", stdin=manifest)
    return names


@pytest.fixture
def deep(cluster: Cluster, team: str) -> Iterator[list[str]]:
    """Names of deep objects that were there before the operator."""
    names = store(cluster, team, "before")
    yield names
    for kind in ("modeldeployments", "controllerrevisions"):
        cluster.kubectl("delete", kind, "--namespace", team, "--all", "--wait=false")


def test_others_are_served_beside_deep_objects_that_were_there_and_that_come(
    cluster: Cluster, operators: StartOperator, team: str, deep: list[str], name: str
) -> None:
    assert deep
    operator = operators()
    operator.start().until_leading()
    deployed(cluster, team, name)

    store(cluster, team, "after")
    deployed(cluster, team, f"{name}-2")
    assert operator.metric("serinus_crashes_total") == 0
