"""A spec names a gateway that does not let its route in: who is served goes on being served, and the reason is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from serinus.core.gateways import GatewayState
from tests.world.invariants import check, no_request_is_lost
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import ABLE, NAME, NAMESPACE, World, spec_of

EDGE = ("edge", "inner")
SAME: dict[str, Any] = {"from": "Same"}
TEAM: dict[str, Any] = {"from": "Selector", "selector": {"matchLabels": {"team": "ranking"}}}


def listening(**allowed: dict[str, Any]) -> GatewayState:
    """A gateway with these listeners, each with its `allowedRoutes.namespaces`."""
    return replace(ABLE, listeners=dict.fromkeys(allowed, ""), allowed=allowed)


def at(image: str, **parent: str) -> dict[str, Any]:
    namespace, name = EDGE
    parents = [{"name": name, "namespace": namespace, **parent}]
    return spec_of(image, traffic={"gateway": {"parentRefs": parents, "hostnames": ["a.example"]}})


def set_up(world: World, gateway: GatewayState | None) -> None:
    """The cluster's gateways change: beside the one that the world has, there is this one."""
    others = {key: each for key, each in world.capabilities.gateways.items() if key != EDGE}
    gateways = others | ({EDGE: gateway} if gateway is not None else {})
    world.capabilities = replace(world.capabilities, gateways=gateways)
    world.caches.on_change()


def parents(world: World) -> list[str]:
    route = world.api.find("HTTPRoute", NAMESPACE, NAME)
    return [each["name"] for each in route["spec"]["parentRefs"]] if route else []


def told(world: World, condition: str) -> str:
    return next(each.message for each in world.status.conditions if each.type == condition)


@pytest.mark.parametrize(
    ("gateway", "parent", "words"),
    [
        (None, {}, "Gateway edge/inner is not there"),
        (listening(http={"from": "All"}), {"sectionName": "https"}, "Gateway edge/inner has no listener https"),
        (listening(http=SAME), {}, "Gateway edge/inner lets in no routes from namespace models"),
        (
            listening(http={"from": "All"}, https=TEAM),
            {"sectionName": "https"},
            "listener https of Gateway edge/inner lets in no routes from namespace models",
        ),
    ],
    ids=["not there", "no such listener", "its own namespace only", "other namespaces"],
)
def test_a_route_is_not_moved_to_a_gateway_that_does_not_let_it_in(
    gateway: GatewayState | None, parent: dict[str, str], words: str
) -> None:
    world = serving().run(5)
    set_up(world, gateway)
    world.deploy(at("model:2", **parent))
    world.run(60)
    assert world.condition("Stalled") == ("True", "RouteNotAccepted")
    assert words in told(world, "Stalled")
    assert world.condition("Available") == ("True", "Serving")
    assert parents(world) == ["public"]
    assert world.revision_of("model:2") == "", "nothing begins"
    writes = len(world.api.writes)
    world.run(120)
    assert len(world.api.writes) == writes, "it waits without a write"

    set_up(world, listening(http={"from": "All"}, https={"from": "All"}))
    world.run_until(lambda: stable_is(world, "model:2"))
    assert parents(world) == ["inner"]
    assert world.condition("Stalled") == ("False", "NotStalled")
    no_request_is_lost(world.moments)
    check(world)


def test_a_gateway_whose_selector_has_the_namespace_or_that_says_nothing_is_believed() -> None:
    for gateway in (listening(http={"from": "Selector", "selector": {}}), ABLE, listening(http={"from": "Newer"})):
        world = serving().run(5)
        set_up(world, gateway)
        world.deploy(at("model:1"))
        world.run_until(lambda w=world: parents(w) == ["inner"], 5)
        no_request_is_lost(world.moments)


def test_in_a_rollout_the_weights_are_looked_after_where_the_requests_come_in() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: world.weights().get(world.revision_of("model:2")) == 5).run(5)
    world.deploy(at("model:2"))
    world.run(120)
    assert world.condition("Stalled") == ("True", "RouteNotAccepted")
    assert world.status.rollout.step == "five", "nothing advances"
    world.behaviours["model:2"] = Behaviour(error_share=0.5)
    world.run_until(lambda: world.weights() == {world.revision_of("model:1"): 100})
    world.run(60)
    assert world.status.candidate is None
    assert parents(world) == ["public"]


def test_a_plain_service_goes_on_when_a_gateway_is_named_that_is_not_there() -> None:
    world = World()
    rollout = {"watchSeconds": 30, "progressDeadlineSeconds": 120}
    world.deploy(spec_of("model:1", traffic={}, rollout=rollout))
    world.run_until(lambda: stable_is(world, "model:1")).run(10)
    world.deploy(at("model:1") | {"rollout": rollout})
    world.run(60)
    service = world.api.find("Service", NAMESPACE, NAME)
    assert service is not None
    assert service["spec"]["selector"]["serinus.dev/revision"] == world.revision_of("model:1")
    assert world.moments[-1].ready[world.revision_of("model:1")] == 3


def test_a_first_revision_at_a_gateway_that_is_not_there_says_so_and_serves_as_soon_as_it_is() -> None:
    world = World(gateway_accepts=False)
    world.deploy(at("model:1"))
    world.run(60)
    assert world.condition("Available") == ("False", "RouteNotAccepted")
    assert "Gateway edge/inner is not there" in told(world, "Available")
    assert parents(world) == ["inner"], "nobody is served elsewhere"
    world.gateway_accepts = True
    set_up(world, ABLE)
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"))
    check(world)
