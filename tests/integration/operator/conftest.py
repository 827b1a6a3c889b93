"""A control plane with its controllers, and operators on it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.cluster import tools
from e2e.cluster.controlplane import control_plane
from tests.integration.established import wait_until_established
from tests.integration.operator.network import Network
from tests.integration.operator.operator_process import ROOT, Cluster, OperatorProcess

StartOperator = Callable[..., OperatorProcess]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """etcd, kube-apiserver and kube-controller-manager, with the CRD; the workers of one run share them."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    with control_plane(shared / "plane-with-controllers", controller_manager=True) as plane:
        cluster = Cluster(plane, tmp_path_factory.mktemp("kubectl-cache"))
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(tools.gateway_api_crds()))
        kinds = ("modeldeployments.serinus.dev", "httproutes.gateway.networking.k8s.io")
        wait_until_established(cluster.kubectl, *kinds)
        yield cluster


def new_namespace(cluster: Cluster) -> str:
    name = f"test-{uuid.uuid4().hex[:10]}"
    cluster.kubectl("create", "namespace", name)
    return name


@pytest.fixture
def team(cluster: Cluster) -> str:
    """A namespace of the test's own."""
    return new_namespace(cluster)


@pytest.fixture
def operators(cluster: Cluster, team: str, tmp_path: Path) -> Iterator[StartOperator]:
    """Makes operators of the test's own, not started yet, that serve its namespace only.

    They reach the API server at `server`, where one is given; the rest are settings.
    """
    made: list[OperatorProcess] = []

    def make(*, server: str | None = None, **settings: str) -> OperatorProcess:
        path = tmp_path / f"kubeconfig-{len(made)}"
        kubeconfig = cluster.kubeconfig_for_operator(team, path, watch=(team,), server=server)
        log = tmp_path / f"operator-{len(made)}.log"
        made.append(OperatorProcess(kubeconfig, log, team, WATCH_NAMESPACES=team, **settings))
        return made[-1]

    yield make
    for operator in made:
        operator.close()


@pytest.fixture
def network(cluster: Cluster, tmp_path: Path) -> Iterator[Network]:
    """A network of the test's own before the API server."""
    with Network(cluster.plane.server, tmp_path) as network:
        yield network


@pytest.fixture(scope="session")
def served(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A namespace that one operator serves for all tests of this worker: they keep to names of their own."""
    namespace, folder = new_namespace(cluster), tmp_path_factory.mktemp("operator")
    kubeconfig = cluster.kubeconfig_for_operator(namespace, folder / "kubeconfig", watch=(namespace,))
    operator = OperatorProcess(kubeconfig, folder / "operator.log", namespace, WATCH_NAMESPACES=namespace)
    try:
        operator.start().until_leading()
        yield namespace
        assert operator.metric("serinus_crashes_total") == 0, folder / "operator.log"
        assert operator.forbidden() == [], "the chart's rights suffice"
    finally:
        operator.close()


@pytest.fixture
def name() -> str:
    """A name for a ModelDeployment."""
    return f"iris-{uuid.uuid4().hex[:6]}"
