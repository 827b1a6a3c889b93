"""Which Services there are: those of revisions only where a route leads to them, and no route before they have pods."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.kinds import LABEL_DEPLOYMENT, LABEL_REVISION
from tests.world.invariants import check, no_request_is_lost
from tests.world.test_rollouts import stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of

PLAIN: dict[str, Any] = {"traffic": {}}
TIMES = {"watchSeconds": 30, "scaleDownDelaySeconds": 30, "progressDeadlineSeconds": 120}
BLUE_GREEN: dict[str, Any] = {"rollout": {**TIMES, "blueGreen": {}}}
RECREATE: dict[str, Any] = {"rollout": {**TIMES, "recreate": {}}}


def serving(**sections: Any) -> World:
    world = World()
    world.deploy(spec_of("model:1", **sections))
    return world.run_until(lambda: world.condition("Ready") == ("True", "Stable")).run(15)


def services(world: World) -> set[str]:
    return {each["metadata"]["name"] for each in world.api.of("Service")}


def of_revision(world: World, image: str) -> str:
    return f"{NAME}-{world.revision_of(image)}"


def a_route_led_to_a_service_with_all_ready_pods(world: World) -> bool:
    """Whether the route, when it was made, found the pods of all whom it gave a share to."""
    route = world.api.find("HTTPRoute", NAMESPACE, NAME)
    if route is None:
        return False
    for ref in route["spec"]["rules"][0]["backendRefs"]:
        (found,) = (each for each in world.api.of("EndpointSlice") if each["metadata"]["name"] == ref["name"])
        ready = [each for each in found["endpoints"] if each["conditions"]["ready"]]
        assert len(ready) == world.moments[-1].ready[ref["name"].removeprefix(f"{NAME}-")]
    return True


@pytest.mark.parametrize("strategy", [{}, BLUE_GREEN, RECREATE], ids=["canary", "blue-green", "recreate"])
def test_without_a_gateway_there_is_one_service_all_the_time(strategy: dict[str, Any]) -> None:
    world = serving(**PLAIN, **strategy)
    world.deploy(spec_of("model:2", **PLAIN, **strategy))
    seen: set[str] = set()

    def promoted() -> bool:
        seen.update(services(world))
        return stable_is(world, "model:2")

    world.run_until(promoted).run(60)
    assert seen | services(world) == {NAME}
    check(world, pods_crash=bool(strategy is RECREATE))


@pytest.mark.parametrize("delay_seconds", [0, 7])
@pytest.mark.parametrize("strategy", [{}, BLUE_GREEN], ids=["canary", "blue-green"])
def test_without_a_gateway_slices_that_lag_lose_no_request(strategy: dict[str, Any], delay_seconds: int) -> None:
    world = serving(**PLAIN, **strategy)
    world.endpoints_delay_seconds = delay_seconds
    world.deploy(spec_of("model:2", **PLAIN, **strategy))
    world.run_until(lambda: stable_is(world, "model:2")).run(120)
    no_request_is_lost(world.moments)
    assert sum(world.replicas().values()) == 3


@pytest.mark.parametrize("delay_seconds", [0, 7])
def test_a_gateway_that_is_added_gets_its_route_when_the_services_have_all_pods(delay_seconds: int) -> None:
    world = serving(**PLAIN)
    world.endpoints_delay_seconds = delay_seconds
    assert services(world) == {NAME}
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: a_route_led_to_a_service_with_all_ready_pods(world), 20)
    assert services(world) == {NAME, of_revision(world, "model:1")}
    world.run(30)
    assert world.weights() == {world.revision_of("model:1"): 100}
    no_request_is_lost(world.moments)


@pytest.mark.parametrize("delay_seconds", [0, 3, 7])
@pytest.mark.parametrize("after_seconds", [0, 2, 4, 6, 8, 12, 20, 70, 80, 130, 140, 150])
@pytest.mark.parametrize("strategy", [{}, BLUE_GREEN], ids=["canary", "blue-green"])
def test_a_gateway_that_is_added_at_any_moment_of_a_rollout_loses_no_request(
    strategy: dict[str, Any], after_seconds: int, delay_seconds: int
) -> None:
    world = serving(**PLAIN, **strategy)
    world.endpoints_delay_seconds = delay_seconds
    world.deploy(spec_of("model:2", **PLAIN, **strategy))
    world.run(after_seconds)
    world.deploy(spec_of("model:2", **strategy))
    world.run_until(lambda: a_route_led_to_a_service_with_all_ready_pods(world), 40)
    world.run_until(lambda: stable_is(world, "model:2") and world.condition("Ready") == ("True", "Stable"))
    no_request_is_lost(world.moments)


def test_a_gateway_that_is_added_while_slices_stand_still_is_waited_for_and_the_service_serves() -> None:
    world = serving(**PLAIN)
    world.endpoints_delay_seconds = 50
    world.deploy(spec_of("model:1"))
    world.run(15)
    assert list(world.api.of("HTTPRoute")) == []
    assert world.condition("Available")[0] == "True"
    no_request_is_lost(world.moments)


def test_a_gateway_that_is_added_during_a_loan_leaves_the_address_with_who_lends() -> None:
    world = serving(**PLAIN)
    world.deploy(spec_of("model:2", **PLAIN))
    world.run_until_phase("Holding").run(5)
    candidate = world.revision_of("model:2")
    world.behaviours["model:1"] = Behaviour(never_ready=True)
    world.run_until(lambda: world.weights() == {candidate: 100}).run(10)
    before = len(world.moments)
    world.endpoints_delay_seconds = 10
    world.deploy(spec_of("model:2"))
    world.run(8)
    assert list(world.api.of("HTTPRoute")) == []
    found = world.api.find("Service", NAMESPACE, NAME)
    assert found is not None
    assert found["spec"]["selector"][LABEL_REVISION] == candidate
    world.run_until(lambda: a_route_led_to_a_service_with_all_ready_pods(world), 20)
    no_request_is_lost(world.moments[before:])


def test_services_stay_when_the_gateway_goes_and_go_with_their_revisions() -> None:
    short = {"rollout": {**TIMES, "blueGreen": {}, "revisionHistoryLimit": 1}}
    world = serving(**short)
    first = of_revision(world, "model:1")
    world.deploy(spec_of("model:1", **PLAIN, **short))
    world.run(20)
    assert list(world.api.of("HTTPRoute")) == []
    assert services(world) == {NAME, first}
    for image in ("model:2", "model:3"):
        world.deploy(spec_of(image, **PLAIN, **short))
        world.run_until(lambda image=image: stable_is(world, image)).run(80)  # type: ignore[misc]
    assert services(world) == {NAME}
    no_request_is_lost(world.moments)


def test_a_route_that_somebody_deletes_comes_back_at_once() -> None:
    world = serving()
    world.api.remove("HTTPRoute", NAMESPACE, NAME)
    world.run(2)
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert world.api.find("HTTPRoute", NAMESPACE, NAME) is not None


def test_a_share_by_pods_is_that_of_ready_pods() -> None:
    world = serving(**PLAIN)
    world.deploy(spec_of("model:2", **PLAIN))
    world.run_until_phase("Holding").run(5)
    found = world.api.find("Service", NAMESPACE, NAME)
    assert found is not None
    assert found["spec"]["selector"] == {LABEL_DEPLOYMENT: NAME}
    assert world.weights() == {world.revision_of("model:1"): 75, world.revision_of("model:2"): 25}
    assert services(world) == {NAME}
