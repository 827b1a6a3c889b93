"""Which requests two resources can't both have, by the rules by which gateways merge routes."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.core.addresses import Claim, TakenAddress, asked_address, gateway_in_force, held_address
from serinus.core.gateways import GatewayState
from serinus.core.render import http_route
from tests.unit.core.situations import deployment

PUBLIC = ("edge", "public")
LISTENERS = {"http": "", "apps": "*.example.com", "one": "one.example.com"}
GATEWAYS = {PUBLIC: GatewayState("example.com/gateway", "public", listeners=LISTENERS)}


def claims(gateways: Any = GATEWAYS, section: str | None = "http", **gateway: Any) -> frozenset[Claim]:
    parent = {"name": "public", "namespace": "edge"} | ({"sectionName": section} if section else {})
    asked = asked_address(
        {
            "metadata": {"namespace": "models", "name": "fraud", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"traffic": {"gateway": {"parentRefs": [parent]} | gateway}},
        }
    )
    assert asked is not None
    return asked.claims(gateways)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"hostnames": ["a.example"]}, {"hostnames": ["a.example"]}),
        ({"hostnames": ["a.example", "b.example"]}, {"hostnames": ["c.example", "b.example"]}),
        ({"hostnames": ["*.example"]}, {"hostnames": ["*.example"]}),
        ({}, {}),
        ({"pathPrefix": "/"}, {}),
        ({"pathPrefix": "/fraud"}, {"pathPrefix": "/fraud/"}),
        ({"section": None, "hostnames": ["a.example"]}, {"section": "http", "hostnames": ["a.example"]}),
        ({"section": "one"}, {"section": "one", "hostnames": ["one.example.com"]}),
        ({"section": "one", "hostnames": ["*.example.com"]}, {"section": "one", "hostnames": ["one.example.com"]}),
        ({"section": "apps"}, {"section": "apps", "hostnames": ["*.example.com"]}),
    ],
)
def test_the_same_hostname_and_path_at_one_listener_is_a_conflict(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert claims(**first) & claims(**second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"hostnames": ["a.example"]}, {"hostnames": ["b.example"]}),
        ({"hostnames": ["*.example"]}, {"hostnames": ["a.example"]}),
        ({"hostnames": ["a.example"]}, {}),
        ({"pathPrefix": "/"}, {"pathPrefix": "/fraud"}),
        ({"pathPrefix": "/fraud"}, {"pathPrefix": "/fraudulent"}),
        ({"section": "http"}, {"section": "apps"}),
        ({"section": "apps", "hostnames": ["a.elsewhere"]}, {"section": "apps", "hostnames": ["a.elsewhere"]}),
    ],
)
def test_where_gateways_know_which_one_is_meant_there_is_none(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert not claims(**first) & claims(**second)


def test_of_a_gateway_that_is_not_there_what_is_written_counts() -> None:
    assert claims({}, hostnames=["a.example"]) & claims({}, hostnames=["a.example"])
    assert not claims({}, hostnames=["a.example"]) & claims({}, section="other", hostnames=["a.example"])


@pytest.mark.parametrize(
    "spec",
    [{}, None, {"traffic": None}, {"traffic": {}}, {"traffic": {"gateway": {"parentRefs": "public"}}}, {"traffic": []}],
)
def test_what_asks_for_no_gateway_or_makes_no_sense_claims_nothing(spec: Any) -> None:
    assert asked_address({"metadata": {"name": "fraud"}, "spec": spec}) is None


@pytest.mark.parametrize("rewrite", [None, "/"])
@pytest.mark.parametrize("matches", [{}, {"c": ((("x-cohort", "beta"),),)}], ids=["weights", "headers"])
def test_a_rendered_route_has_what_its_spec_asks_for_and_reads_back_as_it_was(
    rewrite: str | None, matches: Any
) -> None:
    parents = [{"name": "public", "namespace": "edge", "sectionName": "http"}, {"name": "inner"}]
    asked = {"parentRefs": parents, "hostnames": ["a.example", "*.b.example"], "pathPrefix": "/fraud"}
    of = deployment(traffic={"gateway": asked | ({"rewritePrefix": rewrite} if rewrite else {})})
    route = http_route(of, {"a": 95, "b": 5}, 1, matches=matches)
    route["metadata"]["namespace"] = "models"  # type: ignore[index]
    held = held_address(route)
    wanted = asked_address({"metadata": {"namespace": "models"}, "spec": of.raw_spec})
    assert held is not None
    assert wanted is not None
    assert held.claims(GATEWAYS) == wanted.claims(GATEWAYS)
    assert gateway_in_force(route) == of.spec.traffic.gateway
    assert http_route(of, {"a": 95, "b": 5}, 1, matches=matches, gateway=gateway_in_force(route)) == route


def test_the_message_names_hostname_path_gateway_and_who_has_it() -> None:
    told = str(TakenAddress(Claim(PUBLIC, "http", "a.example", "/fraud"), ("risk", "scores")))
    for part in ("a.example", "/fraud", "edge/public", "listener http", "ModelDeployment risk/scores", "pathPrefix"):
        assert part in told
    assert "any hostname" in str(TakenAddress(Claim(PUBLIC, "", "*", "/"), ("risk", "scores")))
