"""The network between the operator and the API server is slow, cut, stuck or half-open; nobody else's is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e import operator_pods
from e2e.endurance import endure
from e2e.model import Model, model_in
from e2e.network import Network, network_of
from e2e.operator_pods import Logs
from e2e.stage import Stage

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def network(stage: Stage, logs: Logs) -> Iterator[Network]:
    logs.read()
    with network_of(stage) as network:
        yield network
        logs.read()


@pytest.fixture
def model(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Model]:
    with model_in(stage, f"e2e-network-{request.param}") as model:
        yield model


@pytest.mark.parametrize(
    ("model", "way", "seconds"),
    [("slow", "slow 0.2 200000", 60), ("cut", "cut", 20), ("stuck", "stuck", 20), ("half-open", "half-open", 0)],
    indirect=["model"],
    ids=["slow", "cut", "stuck", "half-open"],
)
def test_rollouts_go_on_by_themselves_over_a_bad_network_and_clients_notice_nothing(
    model: Model, network: Network, logs: Logs, way: str, seconds: int
) -> None:
    began = len(complaints(logs))
    endured = endure(model, lambda: network.spoilt(way), seconds)
    model.nobody_saw_a_failure(endured.report)
    noticed = complaints(logs)[began:]
    assert bool(noticed) is (not way.startswith("slow")), f"the operator said of its network: {noticed}"


def complaints(logs: Logs) -> list[str]:
    """What the operator's pods have said of a Lease that they could not renew."""
    logs.read()
    pods = sorted(operator_pods.names(logs.stage))
    return [line for pod in pods for line in logs.of(pod) if "was not renewed" in line]
