"""Gateways and GatewayClasses as their controllers write them."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.gateways import GatewayFeature
from serinus.kube.gateways import gateway_states, only_its_features, only_what_is_known


def gateway(class_name: str = "shiny", namespace: str = "edge") -> dict[str, Any]:
    return {
        "metadata": {
            "name": "public",
            "namespace": namespace,
            "uid": "1",
            "resourceVersion": "7",
            "labels": {"a": "b"},
        },
        "spec": {"gatewayClassName": class_name, "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
        "status": {"listeners": [{"name": "http", "attachedRoutes": 3}]},
    }


def gateway_class(features: list[Any] | None, controller: str = "example.com/gateway") -> dict[str, Any]:
    status = {"conditions": [{"type": "Accepted"}]} | ({} if features is None else {"supportedFeatures": features})
    return {
        "metadata": {"name": "shiny", "uid": "2", "resourceVersion": "8"},
        "spec": {"controllerName": controller},
        "status": status,
    }


@pytest.mark.parametrize(
    ("features", "known"),
    [
        (None, set()),
        ([{"name": "HTTPRoute"}, {"name": "HTTPRouteRequestMirror"}], {GatewayFeature.HEADERS, GatewayFeature.MIRROR}),
        (["HTTPRoute"], {GatewayFeature.HEADERS}),
        ([{"name": "Gateway"}, {}, "Mesh"], set()),
    ],
)
def test_published_features_are_read_in_both_of_their_shapes(features: list[Any] | None, known: set[Any]) -> None:
    states = gateway_states([only_what_is_known(gateway())], [only_its_features(gateway_class(features))], {})
    assert states["edge", "public"].features == known
    assert states["edge", "public"].controller == "example.com/gateway"


def test_a_class_that_is_not_there_tells_nothing() -> None:
    state = gateway_states([only_what_is_known(gateway("dull"))], [only_its_features(gateway_class(None))], {})
    assert (state["edge", "public"].controller, state["edge", "public"].class_name) == (None, "dull")
    assert state["edge", "public"].features == frozenset()


def test_routes_that_come_and_go_change_nothing_that_is_kept_of_a_gateway() -> None:
    before, after = gateway(), gateway()
    after["status"]["listeners"][0]["attachedRoutes"] = 4
    assert only_what_is_known(before) == only_what_is_known(after)


def test_of_a_gateway_is_kept_whose_routes_its_listeners_let_in() -> None:
    manifest = gateway()
    allowed = {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}
    listener = {"name": "tls", "hostname": "A.example", "allowedRoutes": {"namespaces": allowed, "kinds": []}}
    manifest["spec"]["listeners"].append(listener)
    state = gateway_states([only_what_is_known(manifest)], [], {})["edge", "public"]
    assert state.listeners == {"http": "", "tls": "a.example"}
    assert state.allowed == {"tls": allowed}
