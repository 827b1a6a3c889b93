"""Whether a gateway lets a route in, as far as that is known before it is asked."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.traffic import GatewayReference
from serinus.core.gateways import GatewayState
from serinus.core.listeners import admits, refusing_gateway

LABELS = {"team": "ranking", "env": "prod"}


@pytest.mark.parametrize(
    ("allowed", "lets_in"),
    [
        (None, False),
        ({}, False),
        ({"from": "Same"}, False),
        ({"from": "All"}, True),
        ({"from": "SomethingNew"}, None),
        ({"from": "Selector"}, True),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "ranking"}}}, True),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "search"}}}, False),
        ({"from": "Selector", "selector": {"matchExpressions": [{"key": "env", "operator": "Exists"}]}}, True),
        ({"from": "Selector", "selector": {"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}}, False),
        (
            {"from": "Selector", "selector": {"matchExpressions": [{"key": "env", "operator": "In", "values": ["a"]}]}},
            False,
        ),
        (
            {
                "from": "Selector",
                "selector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["a"]}]},
            },
            True,
        ),
    ],
)
def test_a_listener_lets_in_the_namespaces_that_it_allows(allowed: dict[str, Any] | None, lets_in: bool | None) -> None:
    assert admits(allowed, "edge", "models", LABELS) is lets_in


def test_by_default_it_lets_in_routes_of_its_own_namespace() -> None:
    assert admits(None, "models", "models", LABELS) is True


def test_a_selector_over_labels_that_nobody_knows_decides_nothing() -> None:
    assert admits({"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}, "edge", "models", None) is None


def refusal(*references: GatewayReference, sees: bool = True, **allowed: dict[str, Any]) -> str | None:
    gateway = GatewayState("a.b/c", "shiny", listeners=dict.fromkeys(allowed, ""), allowed=allowed)
    return refusing_gateway(references, "models", LABELS, {("edge", "public"): gateway}, lambda _: sees)


PUBLIC = GatewayReference(name="public", namespace="edge")


def test_one_listener_that_lets_the_route_in_is_enough() -> None:
    assert refusal(PUBLIC, inner={"from": "Same"}, outer={"from": "All"}) is None
    assert "Gateway edge/public lets in no routes" in str(refusal(PUBLIC, inner={"from": "Same"}, outer={}))


def test_of_several_gateways_the_one_is_told_that_does_not_take_the_route() -> None:
    elsewhere = GatewayReference(name="elsewhere")
    assert "Gateway models/elsewhere is not there" in str(refusal(PUBLIC, elsewhere, outer={"from": "All"}))


def test_a_gateway_that_may_be_where_nobody_looks_is_not_missed() -> None:
    assert refusal(GatewayReference(name="elsewhere"), sees=False) is None


def test_a_gateway_whose_listeners_are_not_known_is_believed() -> None:
    assert refusal(PUBLIC) is None
    assert refusal(GatewayReference(name="public", namespace="edge", section_name="http")) is None


def test_listeners_that_there_are_stand_beside_one_that_is_not() -> None:
    told = str(refusal(PUBLIC.model_copy(update={"section_name": "htpp"}), http={"from": "All"}, tls={"from": "All"}))
    assert "Gateway edge/public has no listener htpp: it has http, tls" in told
