"""The spec is put back to a revision that was stable before: inside the window without the steps, outside with them."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.reasons import JudgedBy
from tests.world.invariants import check, no_request_is_lost
from tests.world.test_blue_green import stable_is
from tests.world.traffic import Behaviour
from tests.world.world import World, spec_of

WINDOW_SECONDS = 1000
STEPS = [{"name": "five", "weightPercent": 5, "holdSeconds": 60}, {"name": "half", "weightPercent": 50}]
BEHIND = pytest.mark.parametrize("behind", [{}, {"traffic": {}}], ids=["gateway", "plain Service"])


def canary(image: str, scale_down_delay_seconds: int = 60, **sections: Any) -> dict[str, Any]:
    rollout = {
        "canary": {"steps": STEPS},
        "progressDeadlineSeconds": 120,
        "watchSeconds": 30,
        "scaleDownDelaySeconds": scale_down_delay_seconds,
        "rollbackWindowSeconds": WINDOW_SECONDS,
    }
    return spec_of(image, **({"rollout": rollout} | sections))


def promoted(behind: dict[str, Any] | None = None, scale_down_delay_seconds: int = 60, **world: Any) -> World:
    """Version 1 was stable, and version 2 has taken over and was watched."""
    made = World(requests_per_second=400, **world)
    made.deploy(canary("model:1", scale_down_delay_seconds, **(behind or {})))
    made.run_until(lambda: made.condition("Ready") == ("True", "Stable")).run(5)
    made.deploy(canary("model:2", scale_down_delay_seconds, **(behind or {})))
    return made.run_until(lambda: stable_is(made, "model:2")).run_until_phase("Idle")


def steps_of(world: World, image: str) -> list[str]:
    revision = world.revision_of(image)
    return [each.event for each in world.status.history if each.revision == revision and "Step" in each.event]


@BEHIND
def test_while_it_is_warm_it_serves_again_within_seconds(behind: dict[str, Any]) -> None:
    world = promoted(behind, scale_down_delay_seconds=300)
    world.deploy(canary("model:1", 300, **behind))
    world.run_until(lambda: world.weights() == {world.revision_of("model:1"): 100}, 5)
    world.run_until(lambda: stable_is(world, "model:1"), 10)
    assert world.status.rollout.judged_by is JudgedBy.READINESS
    assert steps_of(world, "model:1") == []
    check(world, hold_seconds=0)
    no_request_is_lost(world.moments)


@BEHIND
def test_when_its_pods_are_gone_it_serves_as_soon_as_all_of_them_are_ready(behind: dict[str, Any]) -> None:
    world = promoted(behind, behaviours={"model:1": Behaviour(startup_seconds=10)})
    world.run_until(lambda: world.replicas()[world.revision_of("model:1")] == 0)
    world.deploy(canary("model:1", **behind))
    world.run_until(lambda: stable_is(world, "model:1"), 30)
    assert world.condition("Ready")[0] == "True" or world.status.rollout.phase == "Watching"
    assert steps_of(world, "model:1") == []
    switched = [moment for moment in world.moments if world.weights() == moment.weights][-1]
    assert switched.ready[world.revision_of("model:1")] == 3
    check(world, hold_seconds=0)
    no_request_is_lost(world.moments)


def test_outside_the_window_it_goes_through_the_steps() -> None:
    world = promoted().run(WINDOW_SECONDS)
    world.deploy(canary("model:1"))
    world.run_until_phase("Holding")
    assert world.weights()[world.revision_of("model:1")] == 5
    world.run_until(lambda: stable_is(world, "model:1"))
    assert world.status.rollout.judged_by is JudgedBy.METRICS
    check(world, hold_seconds=0)


def test_a_window_of_zero_always_asks_for_the_steps() -> None:
    world = promoted()
    spec = canary("model:1")
    spec["rollout"]["rollbackWindowSeconds"] = 0
    world.deploy(spec)
    world.run_until_phase("Holding")
    assert steps_of(world, "model:1") == ["StepEntered"]


def test_a_revision_that_failed_its_watch_goes_through_the_steps_when_it_is_asked_for_again() -> None:
    world = World(requests_per_second=400)
    blue_green = {**canary("model:1")["rollout"], "blueGreen": {}}
    del blue_green["canary"]
    world.deploy(spec_of("model:1", rollout=blue_green))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable")).run(5)
    world.behaviours["model:2"] = Behaviour(error_share=0.5)
    world.deploy(spec_of("model:2", rollout=blue_green))
    world.run_until_phase("Rejected")
    world.deploy(canary("model:1"))
    world.run(20)
    world.deploy(canary("model:2"))
    world.run_until_phase("Holding")
    assert world.weights()[world.revision_of("model:2")] == 5


def test_a_return_in_the_middle_of_another_rollout_takes_that_candidate_off_first() -> None:
    world = promoted(scale_down_delay_seconds=600)
    world.deploy(canary("model:3", 600))
    world.run_until_phase("Holding").run(5)
    world.deploy(canary("model:1", 600))
    world.run_until(lambda: stable_is(world, "model:1"), 60)
    assert steps_of(world, "model:1") == []
    check(world, hold_seconds=0)
    no_request_is_lost(world.moments)


def test_a_return_that_is_not_ready_in_time_leaves_what_serves_alone() -> None:
    world = promoted()
    world.run_until(lambda: world.replicas()[world.revision_of("model:1")] == 0)
    world.behaviours["model:1"] = Behaviour(never_ready=True)
    world.deploy(canary("model:1"))
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:2")
    assert world.status.rejected[0].reason == "ProgressDeadlineExceeded"
    no_request_is_lost(world.moments)


def test_pods_of_the_version_that_is_left_stay_until_the_route_has_moved() -> None:
    world = promoted()
    world.gateway_accepts = False
    world.deploy(canary("model:1"))
    world.run(60)
    assert world.status.rollout.phase == "Promoting"
    assert world.moments[-1].ready[world.revision_of("model:2")] == 3
    world.gateway_accepts = True
    world.run_until(lambda: stable_is(world, "model:1"))
    check(world, hold_seconds=0)


def test_where_a_person_approves_the_last_step_a_return_waits_for_that_alone() -> None:
    world = promoted()
    spec = canary("model:1")
    spec["rollout"]["automation"] = "Supervised"
    world.deploy(spec)
    world.run_until_phase("AwaitingApproval")
    assert world.status.rollout.step_count == 1
    candidate = world.revision_of("model:1")
    assert candidate not in world.weights()
    world.annotate(approve=f"{candidate}/{world.status.rollout.step}")
    world.run_until(lambda: stable_is(world, "model:1"), 20)


def test_what_a_person_returned_from_goes_through_the_steps_when_it_is_tried_again() -> None:
    world = promoted(scale_down_delay_seconds=300)
    bad = world.revision_of("model:2")
    world.annotate(return_to=world.revision_of("model:1"))
    world.run_until_phase("Rejected")
    world.annotate(retry=bad)
    world.run_until_phase("Holding")
    assert world.weights()[bad] == 5


# Which old revisions are kept -----------------------------------------------------------------------------------------


def with_limit(image: str, limit: int | None = None) -> dict[str, Any]:
    """Blue-green without a gateway, with short times."""
    rollout = {"blueGreen": {}, "progressDeadlineSeconds": 65, "watchSeconds": 20, "scaleDownDelaySeconds": 20}
    limited = {} if limit is None else {"revisionHistoryLimit": limit}
    return spec_of(image, traffic={}, rollout=rollout | limited)


def served(world: World, *images: str, limit: int | None = None) -> World:
    """Each has become stable, stood its watch, and given up its pods for the next one."""
    for image in images:
        world.deploy(with_limit(image, limit))
        world.run_until(lambda image=image: stable_is(world, image)).run_until_phase("Idle").run(30)
    return world


def rejected(world: World, *images: str, limit: int | None = None) -> World:
    """Each was asked for, and was not ready in time."""
    for image in images:
        world.behaviours[image] = Behaviour(never_ready=True)
        world.deploy(with_limit(image, limit))
        world.run_until(lambda image=image: world.status.rejected[:1] != () and is_rejected(world, image)).run(20)
    return world


def is_rejected(world: World, image: str) -> bool:
    return world.status.rollout.phase == "Rejected" and world.status.rejected[0].revision == world.revision_of(image)


def kept(world: World) -> set[str]:
    return set(world.moments[-1].recorded)


def retired(world: World) -> list[str]:
    return [each.revision for each in world.status.retired]


WRONG_TAGS = ("model:1000", "model:1001", "model:1002", "model:1003")


def test_rejected_revisions_push_out_none_that_served() -> None:
    world = rejected(served(World(), "model:1", "model:2"), *WRONG_TAGS)
    first = world.revision_of("model:1")
    assert retired(world) == [first]
    assert first in kept(world)
    world.annotate(return_to=first)
    world.run_until(lambda: stable_is(world, "model:1"), 30)
    check(world, replicas=None)


def test_after_rejected_ones_a_spec_that_is_put_back_still_skips_the_steps() -> None:
    world = rejected(served(World(requests_per_second=400), "model:1", "model:2"), *WRONG_TAGS)
    world.deploy(canary("model:1"))
    world.run_until(lambda: stable_is(world, "model:1"), 30)
    assert steps_of(world, "model:1") == []


def test_rejected_ones_are_not_kept_where_those_that_served_have_taken_all_places() -> None:
    world = rejected(served(World(), "model:1", "model:2", limit=1), *WRONG_TAGS, limit=1)
    in_use = {"model:2", WRONG_TAGS[-1]}
    assert kept(world) == {world.revision_of(image) for image in {"model:1", *in_use}}


def test_what_is_told_as_retired_is_what_is_kept() -> None:
    images = [f"model:{number}" for number in range(1, 7)]
    world = served(World(), *images)
    old = [world.revision_of(image) for image in reversed(images[:-1])]
    assert retired(world) == old[:3]
    assert kept(world) == {world.revision_of("model:6"), *old[:3]}
    world.deploy(with_limit("model:6", 1))
    world.run(30)
    assert retired(world) == old[:1]
    assert kept(world) == {world.revision_of("model:6"), *old[:1]}
    world.deploy(with_limit("model:6", 0))
    world.run(30)
    assert retired(world) == []
    assert kept(world) == {world.revision_of("model:6")}


def test_a_retired_revision_whose_record_somebody_deleted_is_told_no_longer() -> None:
    world = served(World(), "model:1", "model:2", "model:3")
    gone = world.revision_of("model:2")
    world.api.remove("ControllerRevision", "models", f"fraud-{gone}")
    world.run(30)
    assert retired(world) == [world.revision_of("model:1")]


def test_one_that_fails_its_watch_pushes_out_none_that_served_before() -> None:
    world = served(World(requests_per_second=400), "model:1", "model:2", limit=1)
    world.behaviours["model:3"] = Behaviour(error_share=0.5)
    world.deploy(with_limit("model:3", 1))
    world.run_until_phase("Rejected").run(30)
    assert stable_is(world, "model:2")
    assert retired(world) == [world.revision_of("model:1")]
    assert world.revision_of("model:1") in kept(world)
