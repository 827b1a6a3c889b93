"""A real API server for the integration tests: shared by all workers, with the CRD, and a namespace per test."""

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.cluster import tools
from e2e.cluster.controlplane import ControlPlane, control_plane
from serinus.api.kinds import HTTP_ROUTE, POLICY_KINDS
from tests.integration.established import wait_until_established
from tests.integration.second_api_server import SecondApiServer

ROOT = Path(__file__).parents[2]

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver on loopback; the workers of one run share them."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    with control_plane(shared / "plane") as running:
        yield running


def kubectl_of(plane: ControlPlane, cache: Path) -> Kubectl:
    """kubectl against a plane; its result is returned whatever the exit code, and never raised."""
    environment = os.environ | {"KUBECACHEDIR": str(cache)}

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(plane.kubectl), "--kubeconfig", str(plane.kubeconfig), *arguments],
            input=stdin,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def kubectl(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """kubectl against the plane; its result is returned whatever the exit code, and never raised."""
    return kubectl_of(plane, tmp_path_factory.mktemp("kubectl-cache"))


@pytest.fixture(scope="session")
def crd(kubectl: Kubectl) -> str:
    """The name of the ModelDeployment CRD, installed and established with those of the policies."""
    name = "modeldeployments.serinus.dev"
    applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    assert applied.returncode == 0, applied.stderr
    of_policies = (f"{kind.plural}.{kind.group}" for kind in POLICY_KINDS)
    wait_until_established(lambda *arguments: kubectl(*arguments).stdout, name, *of_policies)
    return name


@pytest.fixture(scope="session")
def gateway_api(kubectl: Kubectl) -> None:
    """The kinds of the Gateway API, established."""
    folder = str(tools.gateway_api_crds())
    applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", folder)
    assert applied.returncode == 0, applied.stderr
    name = f"{HTTP_ROUTE.plural}.{HTTP_ROUTE.group}"
    wait_until_established(lambda *arguments: kubectl(*arguments).stdout, name)


@pytest.fixture
def namespace(kubectl: Kubectl) -> str:
    """A namespace of the test's own; it goes with the plane."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    created = kubectl("create", "namespace", name)
    assert created.returncode == 0, created.stderr
    return name


@pytest.fixture
def second(plane: ControlPlane, tmp_path: Path) -> Iterator[SecondApiServer]:
    """Another API server on the same etcd, not started yet, which the test may kill."""
    server = SecondApiServer(plane, tmp_path / "kube-apiserver.log")
    yield server
    server.kill()
