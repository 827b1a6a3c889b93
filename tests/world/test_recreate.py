"""Recreate: the pods that serve make room for the candidate's, and come back by themselves when it fails."""

from __future__ import annotations

from typing import Any

import pytest

from tests.world.invariants import check
from tests.world.test_blue_green import stable_is
from tests.world.traffic import Behaviour
from tests.world.world import World, spec_of

ROLLOUT = {"watchSeconds": 30, "scaleDownDelaySeconds": 60, "progressDeadlineSeconds": 80, "recreate": {}}
BEHIND = pytest.mark.parametrize("behind", [{}, {"traffic": {}}], ids=["gateway", "plain Service"])
ROOM = 3


def recreate(image: str, **sections: Any) -> dict[str, Any]:
    return spec_of(image, **({"rollout": dict(ROLLOUT)} | sections))


def serving(behind: dict[str, Any] | None = None, **world: Any) -> World:
    made = World(room=ROOM, **world)
    made.deploy(recreate("model:1", **(behind or {})))
    return made.run_until(lambda: made.condition("Ready") == ("True", "Stable")).run(5)


def checked(world: World) -> None:
    """Every invariant, and that the pods of two revisions are never wanted at once."""
    check(world, pods_crash=True)
    assert all(pod["status"]["conditions"][1]["status"] == "True" for pod in world.api.of("Pod")), "each has a node"
    for moment in world.moments:
        assert sum(moment.wanted.values()) <= ROOM, f"{moment.at}: {moment.wanted}"


@BEHIND
def test_the_old_pods_go_then_the_new_ones_come_and_the_gap_is_told(behind: dict[str, Any]) -> None:
    world = serving(behind)
    world.deploy(recreate("model:2", **behind))
    world.run_until(lambda: world.condition("Available") == ("False", "Recreating"))
    assert world.condition("Reconciling") == ("True", "Recreating")
    assert "nobody is served" in next(c.message for c in world.status.conditions if c.type == "Available")
    world.run_until(lambda: stable_is(world, "model:2"), 30)
    assert world.weights() == {world.revision_of("model:2"): 100}
    assert world.condition("Available")[0] == "True"
    world.run_until_phase("Idle")
    assert world.status.previous is None
    assert "MakingRoom" in [entry.event for entry in world.status.history]
    assert world.run(100).replicas() == {world.revision_of("model:1"): 0, world.revision_of("model:2"): 3}
    checked(world)


@BEHIND
@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(never_ready=True), Behaviour(unschedulable=True), Behaviour(startup_seconds=3, crash_every_seconds=5)],
    ids=["never ready", "no node fits", "crashes"],
)
def test_when_the_candidate_fails_the_old_revision_comes_back_by_itself(
    behaviour: Behaviour, behind: dict[str, Any]
) -> None:
    world = serving(behind, behaviours={"model:2": behaviour})
    world.deploy(recreate("model:2", **behind))
    world.run_until_phase("Rejected", 300).run(10)
    assert stable_is(world, "model:1")
    assert world.moments[-1].ready[world.revision_of("model:1")] == 3
    assert world.condition("Available") == ("True", "Serving")
    checked(world)


@BEHIND
def test_a_failure_while_watching_brings_the_old_revision_back(behind: dict[str, Any]) -> None:
    world = serving(behind, behaviours={"model:2": Behaviour(error_share=0.5)})
    world.deploy(recreate("model:2", **behind))
    world.run_until_phase("Watching").run_until_phase("Rejected").run(10)
    assert world.status.rejected[0].reason == "MetricFailed"
    assert world.moments[-1].ready[world.revision_of("model:1")] == 3
    assert world.weights() == {world.revision_of("model:1"): 100}
    checked(world)


@BEHIND
def test_pods_that_end_slowly_are_waited_for_and_named(behind: dict[str, Any]) -> None:
    world = serving(behind, ending_seconds=15, behaviours={"model:3": Behaviour(never_ready=True)})
    world.deploy(recreate("model:2", **behind))
    world.run_until_phase("Promoting").run(12)
    assert world.replicas()[world.revision_of("model:2")] == 0
    told = next(c.message for c in world.status.conditions if c.type == "Available")
    assert "3 pods of" in told
    assert f"fraud-{world.revision_of('model:1')}-" in told, "by name"
    world.run_until(lambda: stable_is(world, "model:2")).run_until_phase("Idle").run(5)
    world.deploy(recreate("model:3", **behind))
    world.run_until_phase("Rejected", 300).run(30)
    assert world.moments[-1].ready[world.revision_of("model:2")] == 3
    waited = [p for p in world.api.of("Pod") if p["status"]["conditions"][1]["status"] == "False"]
    assert waited == []
    checked(world)


def test_a_revision_that_dies_in_its_watch_gives_way_to_the_one_that_made_room() -> None:
    world = serving()
    world.deploy(recreate("model:2"))
    world.run_until_phase("Watching")
    world.behaviours["model:2"] = Behaviour(never_ready=True)
    world.run_until_phase("Rejected").run(10)
    assert world.status.rejected[0].reason == "ReadinessLost"
    assert world.moments[-1].ready[world.revision_of("model:1")] == 3


@pytest.mark.parametrize("after_seconds", range(8))
def test_an_abort_at_any_time_brings_the_old_revision_back(after_seconds: int) -> None:
    world = serving(behaviours={"model:2": Behaviour(startup_seconds=5)})
    world.deploy(recreate("model:2"))
    world.run_until(lambda: world.revision_of("model:2") != "").run(after_seconds)
    world.annotate(abort=world.revision_of("model:2"))
    world.run_until_phase("Rejected").run(10)
    assert world.status.rejected[0].reason == "Aborted"
    assert world.moments[-1].ready[world.revision_of("model:1")] == 3
    checked(world)


def test_the_spec_put_back_in_the_gap_brings_the_old_revision_back() -> None:
    world = serving(behaviours={"model:2": Behaviour(startup_seconds=20)})
    world.deploy(recreate("model:2"))
    world.run_until_phase("Promoting").run(3)
    world.deploy(recreate("model:1"))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"))
    assert stable_is(world, "model:1")
    checked(world)


def test_a_candidate_that_the_api_server_refuses_takes_nobodys_service_away() -> None:
    world = serving()
    world.api.faults.refused_kinds = frozenset({"ReplicaSet"})
    world.deploy(recreate("model:2"))
    world.run(100)
    assert world.moments[-1].ready == {world.revision_of("model:1"): 3}
    assert world.condition("Stalled")[0] == "True"


def test_a_pause_before_the_old_pods_go_keeps_them_and_after_that_it_comes_too_late() -> None:
    world = serving(behaviours={"model:2": Behaviour(startup_seconds=10)})
    world.annotate(pause="true")
    world.deploy(recreate("model:2"))
    world.run(30)
    assert world.moments[-1].ready[world.revision_of("model:1")] == 3
    world.annotate(pause=None)
    world.run_until_phase("Promoting")
    world.annotate(pause="true")
    world.run_until(lambda: stable_is(world, "model:2"))
    checked(world)


def test_a_stable_revision_that_was_never_ready_is_replaced_by_the_fix() -> None:
    world = World(room=ROOM, behaviours={"model:1": Behaviour(never_ready=True)})
    world.deploy(recreate("model:1"))
    world.run(30)
    world.deploy(recreate("model:2"))
    world.run_until(lambda: stable_is(world, "model:2") and world.moments[-1].ready[world.revision_of("model:2")] == 3)


def test_from_blue_green_to_recreate_while_the_candidate_finds_no_room() -> None:
    world = World(room=ROOM)
    blue_green = {key: value for key, value in ROLLOUT.items() if key != "recreate"}
    world.deploy(spec_of("model:1", rollout=blue_green))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable")).run(5)
    world.deploy(spec_of("model:2", rollout=blue_green))
    world.run_until(lambda: world.condition("Reconciling") == ("True", "PodsUnschedulable"))
    world.deploy(recreate("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world, pods_crash=True)


def test_from_recreate_to_canary_in_the_gap_both_serve_and_the_candidate_is_judged() -> None:
    world = World(behaviours={"model:2": Behaviour(startup_seconds=20)})
    world.deploy(recreate("model:1"))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable")).run(5)
    world.deploy(recreate("model:2"))
    world.run_until_phase("Promoting").run(3)
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.judged_by == "Metrics"


@pytest.mark.parametrize("automation", ["Supervised", "Manual"])
def test_where_a_person_approves_no_pod_goes_before(automation: str) -> None:
    world = serving()
    spec = recreate("model:2")
    spec["rollout"]["automation"] = automation
    world.deploy(spec)
    world.run_until_phase("AwaitingApproval").run(100)
    assert world.moments[-1].ready[world.revision_of("model:1")] == 3
    world.annotate(approve=f"{world.revision_of('model:2')}/{world.status.rollout.step}")
    world.run_until(lambda: stable_is(world, "model:2"))
    checked(world)


def test_an_approval_that_is_asked_for_in_the_gap_comes_too_late() -> None:
    world = serving(behaviours={"model:2": Behaviour(startup_seconds=10)})
    world.deploy(recreate("model:2"))
    world.run_until_phase("Promoting").run(3)
    spec = recreate("model:2")
    spec["rollout"]["automation"] = "Supervised"
    world.deploy(spec)
    world.run_until(lambda: stable_is(world, "model:2"), 30)
    checked(world)


def test_a_person_returns_to_a_kept_revision_by_recreating_it() -> None:
    world = serving()
    world.deploy(recreate("model:2"))
    world.run_until(lambda: stable_is(world, "model:2")).run_until_phase("Idle").run(5)
    world.annotate(return_to=world.revision_of("model:1"))
    world.run_until(lambda: stable_is(world, "model:1")).run(20)
    assert world.replicas() == {world.revision_of("model:1"): 3, world.revision_of("model:2"): 0}
    checked(world)
