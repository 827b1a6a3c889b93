"""Two resources that ask for one hostname and path: nobody who serves is disturbed, and who waits is told."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from serinus.api.status import format_instant
from tests.world.api_server import Faults
from tests.world.invariants import check, no_request_is_lost
from tests.world.test_crashes import end_of
from tests.world.world import NAME, NAMESPACE, START, World, spec_of

OTHER = "neighbour"
PARENTS = [{"name": "public", "namespace": "gateways"}]


def at(image: str, hostname: str) -> dict[str, Any]:
    return spec_of(image, traffic={"gateway": {"parentRefs": copy.deepcopy(PARENTS), "hostnames": [hostname]}})


def move_in(world: World, hostname: str = "a.example") -> None:
    """Another resource, older than any that the world deploys, serves at a hostname."""
    made = format_instant(START.replace(year=2025))
    spec = at("other:1", hostname)
    manifest = {"kind": "ModelDeployment", "metadata": {"name": OTHER, "creationTimestamp": made}, "spec": spec}
    world.api.put("ModelDeployment", NAMESPACE, manifest)
    rules = [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": []}]
    route = {"parentRefs": copy.deepcopy(PARENTS), "hostnames": [hostname], "rules": rules}
    metadata = {"name": OTHER, "labels": {"serinus.dev/deployment": OTHER}, "creationTimestamp": made}
    world.api.put("HTTPRoute", NAMESPACE, {"kind": "HTTPRoute", "metadata": metadata, "spec": route})


def move_out(world: World) -> None:
    for kind in ("ModelDeployment", "HTTPRoute"):
        world.api.remove(kind, NAMESPACE, OTHER)


def hostnames(world: World) -> list[str]:
    route = world.api.find("HTTPRoute", NAMESPACE, NAME)
    return list(route["spec"]["hostnames"]) if route else []


def is_ready(world: World) -> bool:
    return world.condition("Ready") == ("True", "Stable")


def told(world: World) -> str:
    return next(each.message for each in world.status.conditions if each.type == "Stalled")


def test_the_younger_is_told_and_makes_nothing_until_the_older_is_gone() -> None:
    world = World()
    move_in(world)
    world.deploy(spec_of("model:1"))
    world.run(30)
    assert world.condition("Stalled") == ("True", "AddressTaken")
    for part in ("a.example", "path /", "gateways/public", f"ModelDeployment {NAMESPACE}/{OTHER}"):
        assert part in told(world)
    assert {write.kind for write in world.api.writes} == {"ModelDeployment"}
    writes = len(world.api.writes)
    world.run(120)
    assert len(world.api.writes) == writes, "it waits without a write"
    move_out(world)
    world.run_until(lambda: is_ready(world))
    assert world.condition("Stalled") == ("False", "NotStalled")
    assert hostnames(world) == ["a.example"]
    check(world)


def test_who_serves_goes_on_undisturbed_when_an_older_one_asks_for_its_address() -> None:
    world = World()
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: is_ready(world)).run(120)
    writes = len(world.api.writes)
    spec = at("other:1", "a.example")
    metadata = {"name": OTHER, "creationTimestamp": format_instant(START.replace(year=2025))}
    world.api.put("ModelDeployment", NAMESPACE, {"kind": "ModelDeployment", "metadata": metadata, "spec": spec})
    world.run(60)
    assert len(world.api.writes) == writes
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: is_ready(world) and world.weights() == {world.revision_of("model:2"): 100})
    no_request_is_lost(world.moments)
    check(world)


def test_who_asks_for_a_taken_address_keeps_the_one_that_it_has_and_rolls_nothing_out() -> None:
    world = World()
    world.deploy(at("model:1", "mine.example"))
    world.run_until(lambda: is_ready(world))
    move_in(world)
    world.deploy(at("model:2", "a.example"))
    world.run(60)
    assert world.condition("Stalled") == ("True", "AddressTaken")
    assert world.condition("Available") == ("True", "Serving")
    assert hostnames(world) == ["mine.example"]
    assert world.revision_of("model:2") == ""
    move_out(world)
    world.run_until(lambda: is_ready(world))
    assert hostnames(world) == ["a.example"]
    assert world.weights() == {world.revision_of("model:2"): 100}
    no_request_is_lost(world.moments)
    check(world)


def test_in_a_rollout_dead_pods_lose_their_weight_at_the_address_that_is_in_force() -> None:
    world = World()
    world.deploy(at("model:1", "mine.example"))
    world.run_until(lambda: is_ready(world))
    world.deploy(at("model:2", "mine.example"))
    world.run_until(lambda: world.weights().get(world.revision_of("model:2")) == 5).run(5)
    move_in(world)
    world.deploy(at("model:2", "a.example"))
    world.run(20)
    assert world.weights()[world.revision_of("model:2")] == 5
    assert hostnames(world) == ["mine.example"]
    for pod in list(world.api.of("Pod")):
        if pod["metadata"]["labels"]["serinus.dev/revision"] == world.revision_of("model:2"):
            world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    world.run(3)
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert hostnames(world) == ["mine.example"]
    move_out(world)
    world.run_until(lambda: is_ready(world))
    assert world.weights() == {world.revision_of("model:2"): 100}


def test_with_a_path_of_its_own_nobody_is_in_anybodys_way() -> None:
    world = World()
    move_in(world)
    spec = spec_of("model:1")
    spec["traffic"]["gateway"]["pathPrefix"] = "/fraud"
    world.deploy(spec)
    world.run_until(lambda: is_ready(world))


def played(faults: Faults) -> World:
    """Told while it serves elsewhere, and free to go on later."""
    world = World()
    world.api.faults = faults
    world.deploy(at("model:1", "mine.example"))
    world.run(40)
    move_in(world)
    world.deploy(at("model:1", "a.example"))
    world.run(20)
    move_out(world)
    return world.run(60)


FAULT_FREE = played(Faults())


@pytest.mark.parametrize("number", range(1, len(FAULT_FREE.api.writes) + 1))
def test_killed_after_any_write_the_end_is_the_same(number: int) -> None:
    world = played(Faults(kill_after=frozenset({number})))
    assert world.kills == 1
    assert end_of(world) == end_of(FAULT_FREE)
    assert hostnames(world) == ["a.example"]
    check(world)


@pytest.mark.parametrize("number", range(1, len(FAULT_FREE.api.writes) + 1))
def test_with_the_answer_to_any_write_lost_the_end_is_the_same(number: int) -> None:
    world = played(Faults(lose_response_of=frozenset({number})))
    assert end_of(world) == end_of(FAULT_FREE)
    assert hostnames(world) == ["a.example"]
