"""Blue-green with a hold before the switch, behind a gateway and behind a plain Service."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.kinds import LABEL_REVISION
from serinus.api.reasons import JudgedBy
from tests.world.invariants import check, no_request_is_lost
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of

HOLD_SECONDS = 30
ROLLOUT = {"watchSeconds": 30, "scaleDownDelaySeconds": 40, "progressDeadlineSeconds": 120}
PLAIN: dict[str, Any] = {"traffic": {}}
BEHIND = pytest.mark.parametrize("behind", [{}, PLAIN], ids=["gateway", "plain Service"])


def blue_green(image: str, hold_seconds: int = HOLD_SECONDS, **sections: Any) -> dict[str, Any]:
    return spec_of(image, **({"rollout": {**ROLLOUT, "blueGreen": {"holdSeconds": hold_seconds}}} | sections))


def serving(behind: dict[str, Any] | None = None, **world: Any) -> World:
    made = World(**world)
    made.deploy(blue_green("model:1", **(behind or {})))
    return made.run_until(lambda: made.condition("Ready") == ("True", "Stable")).run(5)


def stable_is(world: World, image: str) -> bool:
    stable = world.status.stable
    return stable is not None and stable.revision == world.revision_of(image)


def pods_of(world: World, image: str) -> list[str]:
    revision = world.revision_of(image)
    pods = [pod["metadata"] for pod in world.api.of("Pod")]
    return [metadata["name"] for metadata in pods if metadata["labels"][LABEL_REVISION] == revision]


@BEHIND
def test_before_the_switch_the_candidate_is_held_at_full_size_under_an_address_of_its_own(
    behind: dict[str, Any],
) -> None:
    world = serving(behind)
    world.deploy(blue_green("model:2", **behind))
    world.run_until_phase("Holding").run(5)
    candidate = world.revision_of("model:2")
    assert world.moments[-1].ready[candidate] == 3
    assert world.weights() == {world.revision_of("model:1"): 100}
    preview = world.api.find("Service", NAMESPACE, f"{NAME}-candidate")
    assert preview is not None
    assert preview["spec"]["selector"][LABEL_REVISION] == candidate
    assert "fraud-candidate" in world.status.rollout.message
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.judged_by is JudgedBy.READINESS
    ready_at = next(moment.at for moment in world.moments if moment.ready.get(candidate) == 3)
    switched = next(moment for moment in world.moments if candidate in moment.weights)
    assert (switched.at - ready_at).total_seconds() >= HOLD_SECONDS
    assert switched.weights == {candidate: 100}, "in one write"
    check(world, hold_seconds=HOLD_SECONDS)
    no_request_is_lost(world.moments)


@BEHIND
def test_the_switch_waits_until_all_pods_are_ready(behind: dict[str, Any]) -> None:
    world = serving(behind, room=5)
    world.deploy(blue_green("model:2", hold_seconds=0, **behind))
    world.run(100)
    assert world.moments[-1].ready[world.revision_of("model:2")] == 2
    assert stable_is(world, "model:1")
    assert world.condition("Reconciling") == ("True", "PodsUnschedulable")
    world.room = 6
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_a_pod_that_is_lost_in_the_hold_stops_its_clock_until_it_is_back() -> None:
    world = serving(behaviours={"model:2": Behaviour(startup_seconds=10)})
    world.deploy(blue_green("model:2"))
    world.run_until(lambda: world.status.rollout.counting_since is not None).run(10)
    world.api.remove("Pod", NAMESPACE, pods_of(world, "model:2")[0])
    world.run(5)
    assert world.status.rollout.counting_since is None
    assert world.status.rollout.held_seconds > 0
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world, hold_seconds=HOLD_SECONDS)


@BEHIND
@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(never_ready=True), Behaviour(crash_every_seconds=12), Behaviour(unschedulable=True, never_ready=True)],
    ids=["never ready", "crashes", "no node"],
)
def test_a_candidate_that_fails_before_the_switch_leaves_the_active_one_alone(
    behaviour: Behaviour, behind: dict[str, Any]
) -> None:
    world = serving(behind, behaviours={"model:2": behaviour})
    world.deploy(blue_green("model:2", **behind))
    if behaviour.unschedulable:
        world.run(300)  # it waits for a node, for which no deadline runs
    else:
        world.run_until_phase("Rejected", 400)
    assert all(world.revision_of("model:2") not in moment.weights for moment in world.moments)
    assert world.moments[-1].ready[world.revision_of("model:1")] == 3
    no_request_is_lost(world.moments)
    check(world, hold_seconds=HOLD_SECONDS)


@BEHIND
def test_a_failure_while_watching_switches_back_in_one_write_to_pods_that_are_warm(behind: dict[str, Any]) -> None:
    world = serving(behind, behaviours={"model:2": Behaviour(error_share=0.5)})
    world.deploy(blue_green("model:2", hold_seconds=0, **behind))
    world.run_until_phase("Watching").run_until_phase("RollingBack")
    switched_back = world.run(1).moments[-1]
    assert switched_back.weights == {world.revision_of("model:1"): 100}
    assert switched_back.ready[world.revision_of("model:1")] == 3
    world.run_until_phase("Rejected").run(35)  # a drain, whoever may have served on loan
    assert world.status.rejected[0].reason == "MetricFailed"
    assert world.replicas()[world.revision_of("model:2")] == 0
    check(world)
    no_request_is_lost(world.moments)


def test_an_abort_in_the_hold_takes_the_candidate_away_and_touches_nothing_else() -> None:
    world = serving()
    world.deploy(blue_green("model:2"))
    world.run_until_phase("Holding")
    world.annotate(abort=world.revision_of("model:2"))
    world.run_until_phase("Rejected")
    assert world.replicas() == {world.revision_of("model:1"): 3, world.revision_of("model:2"): 0}
    no_request_is_lost(world.moments)


def test_a_pause_in_the_hold_is_obeyed_and_the_switch_comes_when_it_is_gone() -> None:
    world = serving()
    world.deploy(blue_green("model:2"))
    world.run_until_phase("Holding").run(5)
    world.annotate(pause="true")
    world.run(200)
    assert world.status.rollout.phase == "Paused"
    assert stable_is(world, "model:1")
    assert world.condition("Stalled")[0] == "False"
    world.annotate(pause=None)
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world, hold_seconds=HOLD_SECONDS)


def test_from_blue_green_to_canary_in_the_hold_the_candidate_is_judged_after_all() -> None:
    world = serving(behaviours={"model:2": Behaviour(error_share=0.5)})
    world.deploy(blue_green("model:2"))
    world.run_until_phase("Holding")
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:1")
    assert max(moment.weights.get(world.revision_of("model:2"), 0) for moment in world.moments) == 5
    check(world, hold_seconds=0)


def test_replicas_and_image_changed_together_come_up_at_the_new_size_before_the_switch() -> None:
    world = serving()
    world.deploy(blue_green("model:2", hold_seconds=5, scaling={"replicas": 5}))
    world.run_until(lambda: stable_is(world, "model:2"))
    switched = next(moment for moment in world.moments if world.revision_of("model:2") in moment.weights)
    assert switched.ready[world.revision_of("model:2")] == 5
    assert switched.ready[world.revision_of("model:1")] == 5
    check(world, replicas=None, hold_seconds=5)


def test_where_a_person_approves_the_switch_the_hold_comes_first() -> None:
    world = serving()
    spec = blue_green("model:2")
    spec["rollout"]["automation"] = "Supervised"
    world.deploy(spec)
    world.run_until_phase("AwaitingApproval").run(100)
    assert world.status.rollout.step_index == 1
    assert stable_is(world, "model:1")
    world.annotate(approve=f"{world.revision_of('model:2')}/{world.status.rollout.step}")
    world.run_until(lambda: stable_is(world, "model:2"))
    assert [moment.weights for moment in world.moments if len(moment.weights) > 1] == []
    no_request_is_lost(world.moments)
