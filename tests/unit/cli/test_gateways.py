"""What is told of the gateways that a file names."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.deployment import ModelDeployment
from serinus.cli.gateways import checks
from tests.unit.api.bad_specs import IMAGE

MATCH = {"name": "testers", "match": {"headers": [{"name": "x-cohort", "value": "beta"}]}}
SHADOW = {"name": "shadow", "shadowPercent": 50}


def gateway(*, allowed: dict[str, Any] | None = None, hostname: str | None = None, **conditions: str) -> dict[str, Any]:
    listener: dict[str, Any] = {"name": "http", "port": 80, "protocol": "HTTP"}
    listener |= {"allowedRoutes": {"namespaces": allowed}} if allowed else {}
    listener |= {"hostname": hostname} if hostname else {}
    said = {"Accepted": "True", "Programmed": "True"} | conditions
    return {
        "metadata": {"name": "public", "namespace": "gateways"},
        "spec": {"gatewayClassName": "some", "listeners": [listener]},
        "status": {
            "conditions": [
                {"type": kind, "status": status, "reason": "AsTold", "message": "no address"}
                for kind, status in said.items()
            ]
        },
    }


ALL = gateway(allowed={"from": "All"})


def wrong(
    *gateways: dict[str, Any],
    steps: tuple[dict[str, Any], ...] = (),
    controller: str = "traefik.io/gateway-controller",
    labels: dict[str, str] | None = None,
    **reference: str,
) -> list[str]:
    refs = [{"name": "public", "namespace": "gateways", **reference}]
    spec: dict[str, Any] = {
        "serving": {"image": IMAGE},
        "traffic": {"gateway": {"parentRefs": refs, "hostnames": ["iris.example.com"]}},
    }
    spec |= {"rollout": {"canary": {"steps": [*steps, {"name": "half", "weightPercent": 50}]}}} if steps else {}
    deployment = ModelDeployment.parse({"metadata": {"name": "iris", "namespace": "models"}, "spec": spec})
    classes = [{"metadata": {"name": "some"}, "spec": {"controllerName": controller}}]
    return [each.message for each in checks(deployment, gateways, classes, labels or {}) if not each.fine]


def test_a_gateway_that_takes_the_route_is_fine():
    assert wrong(ALL) == []
    assert wrong(ALL, sectionName="http", steps=(MATCH,)) == []


def test_a_gateway_that_is_not_there_comes_with_the_one_that_was_meant():
    assert wrong(ALL, name="pubic") == ["Gateway gateways/pubic is not there; did you mean gateways/public?"]
    assert wrong() == ["Gateway gateways/public is not there; there are none"]


def test_a_gateway_without_an_address_or_a_controller_is_told():
    (told,) = wrong(gateway(allowed={"from": "All"}, Programmed="False"))
    assert told == "Gateway gateways/public says Programmed=False, AsTold: no address"
    silent = ALL | {"status": {}}
    assert "has not been accepted by a controller" in wrong(silent)[0]


def test_a_listener_that_is_not_there_or_lets_nobody_in_is_told():
    assert wrong(ALL, sectionName="https") == ["Gateway gateways/public has no listener https"]
    for allowed in (None, {"from": "Same"}, {"from": "None"}):
        assert "lets in no routes from namespace models" in wrong(gateway(allowed=allowed))[0]


@pytest.mark.parametrize(
    ("selector", "admits"),
    [
        ({"matchLabels": {"team": "a"}}, True),
        ({"matchLabels": {"team": "b"}}, False),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}, False),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, False),
        ({}, True),
    ],
)
def test_a_selector_of_namespaces_is_understood(selector: dict[str, Any], admits: bool):
    found = wrong(gateway(allowed={"from": "Selector", "selector": selector}), labels={"team": "a"})
    assert (found == []) is admits


@pytest.mark.parametrize(
    ("listener", "serves"),
    [
        ("iris.example.com", True),
        ("*.example.com", True),
        ("example.com", False),
        ("*.iris.example.com", False),
        ("rose.example.com", False),
    ],
)
def test_a_listeners_hostname_has_to_cover_the_routes(listener: str, serves: bool):
    found = wrong(gateway(allowed={"from": "All"}, hostname=listener))
    assert (found == []) is serves


def test_a_step_that_asks_for_more_than_the_gateway_is_known_to_do_is_told():
    (told,) = wrong(ALL, steps=(SHADOW,))
    assert told.startswith("step shadow waits: Gateway gateways/public (traefik.io/gateway-controller) is not known to")
    assert wrong(ALL, steps=(SHADOW,), controller="gateway.envoyproxy.io/gatewayclass-controller") == []
