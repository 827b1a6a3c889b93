"""Policies, preflights, contents of ConfigMaps and notifications in one rollout: none of them is in the other's way."""

from __future__ import annotations

from typing import Any

from serinus.api.notifications import Receiver
from serinus.core.observation import Capabilities
from tests.world.invariants import check, no_request_is_lost
from tests.world.test_configuration import is_ready, stable, write
from tests.world.test_notifications import GATEWAYS, decided
from tests.world.test_policies import GIVES_STEPS, stalled, without_strategy
from tests.world.test_preflight import PREFLIGHT, jobs
from tests.world.world import NAMESPACE, World


def spec() -> dict[str, Any]:
    """Its steps are the policy's, and the content of a ConfigMap is part of its revision."""
    told = without_strategy("model:1", **PREFLIGHT)
    told["serving"] |= {"configChecksum": "Auto", "envFrom": [{"configMapRef": {"name": "settings"}}]}
    return told


def serving() -> World:
    world = World(requests_per_second=400, capabilities=Capabilities(gateways=GATEWAYS, receivers={"chat": Receiver()}))
    world.govern(GIVES_STEPS)
    write(world, threshold="0.5")
    world.deploy(spec())
    world.annotate(notify="chat")
    return world.run_until(lambda: is_ready(world)).run(120)


def at_five(world: World) -> World:
    return world.run_until(lambda: sorted(world.weights().values()) == [5, 95]).run(10)


def test_changed_content_is_tried_and_judged_in_the_steps_of_the_policy_and_told() -> None:
    world = serving()
    before = stable(world)
    write(world, threshold="0.9")
    world.run_until(lambda: bool(jobs(world)))
    assert list(world.weights()) == [before], "no request before it was tried"
    at_five(world)
    assert [field.field for policy in world.status.policies for field in policy.fields] == ["spec.rollout.canary"]
    world.run_until(lambda: is_ready(world) and stable(world) != before).run(180)

    assert world.post.told("chat") == decided(world)
    assert "PreflightPassed" in [event for event, _ in decided(world)]
    numbers = [entry.number for entry in reversed(world.status.history)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    no_request_is_lost(world.moments)
    check(world)


def test_what_is_taken_away_in_a_step_is_told_one_by_one_and_all_goes_on_when_it_is_back() -> None:
    world = serving()
    before = stable(world)
    write(world, threshold="0.9")
    at_five(world)
    world.govern(None)
    world.run(5)
    assert stalled(world) == "PolicyGone"
    world.api.remove("ConfigMap", NAMESPACE, "settings")
    world.govern(GIVES_STEPS)
    world.run(5)
    assert stalled(world) == "ConfigurationMissing"
    world.run(180)
    assert sorted(world.weights().values()) == [5, 95], "nothing advances meanwhile"
    write(world, threshold="0.9")
    world.run_until(lambda: is_ready(world) and stable(world) != before).run(180)

    assert stalled(world) == ""
    assert world.post.told("chat") == decided(world)
    assert [event for event, _ in decided(world)].count("CandidateStarted") == 2, "the first version, and one rollout"
    no_request_is_lost(world.moments)
    check(world)
