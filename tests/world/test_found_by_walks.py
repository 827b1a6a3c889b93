"""What random walks have found, each as the shortest walk or story that showed it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from serinus.api.kinds import LABEL_REVISION
from serinus.core.observation import Children, ReplicaSetState
from tests.world.api_server import Mishap
from tests.world.invariants import check, every_step_is_held
from tests.world.many_walks import walked
from tests.world.test_edits import holding
from tests.world.test_midway import pods_die
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of


@pytest.mark.parametrize("kind", ["ControllerRevision", "ReplicaSet", "Service"])
def test_a_child_that_lost_its_revision_label_gets_it_back_and_the_rollout_goes_on(kind: str) -> None:
    """Every pass used to end with an exception."""
    world = holding()
    stable = world.revision_of("model:1")
    world.api.edit(kind, NAMESPACE, f"{NAME}-{stable}", lambda m: m["metadata"]["labels"].pop(LABEL_REVISION))
    world.run(3)
    child = world.api.find(kind, NAMESPACE, f"{NAME}-{stable}")
    assert child is not None
    assert child["metadata"]["labels"][LABEL_REVISION] == stable
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_a_replica_set_that_lost_its_labels_keeps_its_traffic() -> None:
    """Its pods used to count as gone, and the candidate got all requests for a moment."""
    world = holding()
    stable = world.revision_of("model:1")
    weights = world.weights()
    world.api.edit("ReplicaSet", NAMESPACE, f"{NAME}-{stable}", lambda m: m["metadata"]["labels"].pop(LABEL_REVISION))
    for _ in range(5):
        assert world.run(1).weights() == weights


def test_a_spec_that_leaves_the_size_to_an_autoscaler_takes_no_pods_away() -> None:
    """It used to be scaled to the default size of one pod, which an unset `replicas` stands for elsewhere."""
    world = serving()
    world.deploy(spec_of("model:1") | {"scaling": {"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}})
    world.run(30)
    assert world.condition("Ready") == ("True", "Stable")
    assert world.replicas() == {world.revision_of("model:1"): 3}


def test_pods_that_are_about_to_go_do_not_count_as_ready() -> None:
    """A spec that went there and back within a second gave them traffic: scaled away, they still said ready."""
    leaving = ReplicaSetState("5c1e0a9b77", "fraud-5c1e0a9b77", "uid", "1", desired=1, ready=3, current=3)
    children = Children(replica_sets={leaving.revision: leaving}, endpoints={leaving.revision: 3})
    assert children.ready(leaving.revision) == 1


def test_a_candidate_on_its_way_out_that_serves_for_a_dead_stable_keeps_no_other_from_starting() -> None:
    """It used to keep the traffic, and the rollback never ended."""
    world = holding()
    world.behaviours["model:1"] = Behaviour(never_ready=True)
    for pod in list(world.api.of("Pod")):
        if pod["metadata"]["labels"][LABEL_REVISION] == world.revision_of("model:1"):
            world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    world.run_until(lambda: world.weights() == {world.revision_of("model:2"): 100})
    world.deploy(spec_of("model:3"))
    deployed_at = world.now
    world.run_until(lambda: bool(world.revision_of("model:3"))).run(20)
    assert not [moment for moment in world.moments if moment.at > deployed_at and moment.lost]
    world.annotate(promote=world.revision_of("model:3"))
    world.run_until(lambda: stable_is(world, "model:3"))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable")).run(120)
    assert world.replicas()[world.revision_of("model:2")] == 0


def test_a_record_that_lost_its_owner_and_is_handed_back_is_taken() -> None:
    """It holds more than what can be restored from the ReplicaSet, and used to be called another one's."""
    world = holding()
    second = world.revision_of("model:2")
    world.operator_is_up = False
    world.api.edit("ControllerRevision", NAMESPACE, f"{NAME}-{second}", lose_owner)
    world.deploy(spec_of("model:3"))
    world.restart_operator()
    world.run_until(lambda: world.condition("Stalled") == ("True", "NameTaken"), 5)
    world.api.edit("ControllerRevision", NAMESPACE, f"{NAME}-{second}", hand_over)
    world.run_until(lambda: stable_is(world, "model:3"))
    record = world.api.find("ControllerRevision", NAMESPACE, f"{NAME}-{second}")
    assert record is not None
    assert set(record["data"]) == {"spec", "template"}


def lose_owner(manifest: dict[str, Any]) -> None:
    manifest["metadata"].pop("ownerReferences")


def hand_over(manifest: dict[str, Any]) -> None:
    manifest["metadata"]["annotations"] = {"serinus.dev/adopt": NAME}


def test_a_candidate_whose_object_can_not_be_written_is_superseded_by_another_spec() -> None:
    """What was refused used to stand before the way out of it as well."""
    world = serving()
    world.api.faults.refused_kinds = frozenset({"ReplicaSet"})
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: world.condition("Stalled") == ("True", "WriteRejected"))
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"), 90)
    assert world.status.candidate is None
    check(world)


@pytest.mark.parametrize("seconds", [-300, -20, -4, 4, 8, 12, 300])
def test_a_clock_that_is_set_neither_shortens_a_hold_nor_starts_it_anew(seconds: int) -> None:
    """Steps forward by less than what a pass may take used to count as held."""
    world = holding(requests_per_second=2000)
    entered_at = world.now
    world.run(20)
    world.clock_offset = timedelta(seconds=seconds)
    if abs(seconds) > 60:  # so far off the clock of Prometheus, no evidence can be had: it is set right again
        world.run(20)
        world.clock_offset = timedelta(0)
    world.run_until(lambda: world.status.rollout.step == "half", 120)
    assert 50 <= (world.now - entered_at).total_seconds() <= 110
    every_step_is_held(world.moments, hold_seconds=60, slack_seconds=0)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("hours", [1, 24])
def test_a_rollback_that_began_by_a_clock_far_ahead_ends_when_it_is_set_right(hours: int, restarts: bool) -> None:
    """It used to wait until the time that had been written came."""
    world = holding()
    world.clock_offset = timedelta(hours=hours)
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: world.status.rollout.drained_at is not None)
    world.clock_offset = timedelta(0)
    if restarts:
        world.restart_operator()
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"), 60)
    world.run_until(lambda: world.replicas()[world.revision_of("model:2")] == 0, 60)
    check(world)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_rollout_that_began_by_a_clock_far_ahead_goes_on_when_it_is_set_right(restarts: bool) -> None:
    world = serving()
    world.clock_offset = timedelta(hours=24)
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: world.status.rollout.counting_since is not None).run(20)
    world.clock_offset = timedelta(0)
    if restarts:
        world.restart_operator()
    world.run_until(lambda: stable_is(world, "model:2"), 400)
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"), 200)
    assert world.status.previous is None or world.run(100).status.previous is None
    check(world)


def test_a_first_revision_that_serves_goes_on_until_the_next_first_one_has_pods() -> None:
    """Before anything was called stable, a new spec used to take the traffic at once, to no pods."""
    world = World(gateway_delay_seconds=4)
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: world.moments[-1:] != [] and world.moments[-1].ready.get(world.revision_of("model:1")) == 3)
    world.run(1)
    assert world.status.stable is None
    world.deploy(spec_of("model:2"))
    deployed_at = world.now
    world.run_until(lambda: stable_is(world, "model:2")).run(60)
    assert not [moment for moment in world.moments if moment.at > deployed_at and moment.lost]
    assert world.replicas() == {world.revision_of("model:1"): 0, world.revision_of("model:2"): 3}
    check(world)


@pytest.mark.parametrize("hangs", [True, False], ids=["a-call-hangs", "the-watch-is-behind"])
def test_a_scale_to_zero_that_was_taken_back_takes_no_pods_away(hangs: bool) -> None:
    """Decided before people changed their minds, it used to be carried out after they had."""
    world = serving()
    world.run(60)
    if hangs:
        faults = world.api.faults
        faults.mishaps, faults.hold_seconds = {world.api.calls + 1: Mishap.SLOW}, 8
        world.api.edit("Service", NAMESPACE, NAME, lambda m: m["spec"]["selector"].update(app="other"))  # mended first
    else:
        world.caches.fall_behind("ModelDeployment", 5)
    world.deploy(spec_of("model:1") | {"scaling": {"replicas": 0}})
    world.run(3).deploy(spec_of("model:1"))
    world.run(30)
    assert [write for write in world.api.writes if write.verb == "scale"] == []
    world.caches.fall_behind("ModelDeployment", 0)
    world.deploy(spec_of("model:1") | {"scaling": {"replicas": 0}})
    world.run(5)
    assert world.replicas() == {world.revision_of("model:1"): 0}


def test_a_revision_that_served_on_loan_keeps_its_pods_for_a_drain_when_another_is_promoted() -> None:
    """It lost its pods in the same pass in which the Service was switched."""
    switched = {"blueGreen": {}, "watchSeconds": 5, "scaleDownDelaySeconds": 300, "progressDeadlineSeconds": 120}
    world = World()
    for image in ("model:1", "model:2"):
        world.deploy(spec_of(image, traffic={}, rollout=switched))
        world.run_until(lambda image=image: stable_is(world, image)).run(10)
    world.behaviours |= {"model:2": Behaviour(startup_seconds=11), "model:3": Behaviour(startup_seconds=10)}
    pods_die(world, "model:2")
    lender = world.revision_of("model:1")
    world.deploy(spec_of("model:3", traffic={}, rollout=switched))
    world.run_until(lambda: stable_is(world, "model:3"))
    assert world.moments[-2].weights == {lender: 100}
    for _ in range(25):
        assert world.run(1).replicas()[lender] == 3
    assert world.run(10).replicas()[lender] == 0


def test_a_previous_revision_that_served_on_loan_keeps_its_pods_for_a_drain_when_stable_is_back() -> None:
    """Stable's pods had been ready all along, so the end of the loan was not seen as one."""
    world = serving()
    spec = spec_of("model:2")
    spec["rollout"] |= {"scaleDownDelaySeconds": 100, "watchSeconds": 20}
    world.deploy(spec)
    world.run_until(lambda: stable_is(world, "model:2")).run(60)
    old, new = world.revision_of("model:1"), world.revision_of("model:2")
    world.api.edit("ReplicaSet", NAMESPACE, f"{NAME}-{new}", lose_owner)
    world.run_until(lambda: world.weights() == {old: 100}, 5).run(60)
    world.api.edit("ReplicaSet", NAMESPACE, f"{NAME}-{new}", hand_over)
    world.run_until(lambda: world.weights() == {new: 100}, 90)
    for _ in range(25):
        assert world.run(1).replicas()[old] == 3
    assert world.run(100).replicas()[old] == 0
    check(world)


def test_a_stable_revision_that_can_not_come_back_is_told_of_and_a_person_may_go_on() -> None:
    """Its ReplicaSet lost its owner, and its record was deleted: nothing said why the next rollout waited."""
    world = serving()
    old = world.revision_of("model:1")
    world.api.edit("ReplicaSet", NAMESPACE, f"{NAME}-{old}", lose_owner)
    world.api.remove("ControllerRevision", NAMESPACE, f"{NAME}-{old}")
    world.deploy(spec_of("model:2"))
    world.run(60)
    new, told = world.revision_of("model:2"), world.status.rollout.message
    assert world.status.rollout.phase == "Starting"
    assert f"stable {old} has no ready pod to compare with, and can't get one" in told
    assert f"serinus.dev/promote: {new}" in told
    world.annotate(promote=f"{new}#1")
    world.run_until(lambda: stable_is(world, "model:2"))


WALKS: list[tuple[int, str, dict[int, str]]] = [
    (50, "storm", {2: "new_image", 13: "new_image", 19: "child_edited"}),
    (633, "machinery", {22: "new_image", 33: "clock_steps"}),
    (519, "meddling", {6: "new_image", 29: "made_anew", 41: "status_lost", 59: "storm_of_specs"}),
    (
        686,
        "storm",
        {20: "api_server", 34: "unusable", 35: "operator_restarts", 38: "lag", 42: "analysis", 43: "watch_is_lost"},
    ),
    (
        821,
        "machinery",
        {6: "new_image", 23: "watch_is_lost", 47: "new_image", 65: "mishap", 73: "meanwhile", 79: "mishaps"},
    ),
    (1499, "meddling", {34: "new_image", 37: "child_edited"}),
    (2016, "everything", {78: "watch_is_lost", 86: "mishap", 94: "child_edited"}),
    (
        2150,
        "storm",
        {7: "new_image", 8: "leader_freezes", 9: "meanwhile", 22: "child_edited", 23: "lag", 36: "child_edited"},
    ),
    (2220, "everything", {8: "new_image", 9: "watch_is_lost", 36: "strategy", 37: "new_image"}),
    (
        6176,
        "everything",
        {
            28: "storm_of_specs",
            50: "operator_restarts",
            53: "mishap",
            65: "child_edited",
            69: "child_goes",
            84: "new_image",
        },
    ),
    (6383, "meddling", {39: "child_edited", 40: "new_image", 41: "child_goes"}),
    (20003, "meddling", {12: "child_edited", 18: "new_image", 21: "child_goes", 22: "replicas"}),
    (20662, "storm", {1: "made_anew", 2: "child_edited"}),
    (
        20718,
        "storm",
        {
            0: "new_image",
            5: "made_anew",
            9: "pod_dies",
            12: "api_server",
            14: "replicas",
            16: "api_server",
            17: "mishaps",
            21: "pod_dies",
            22: "mishap",
            23: "unusable",
        },
    ),
    (
        20914,
        "storm",
        {
            11: "meanwhile",
            15: "replicas",
            21: "new_image",
            22: "lag",
            23: "new_image",
            24: "deletion_is_missed",
            29: "storm_of_specs",
        },
    ),
    (
        30172,
        "everything",
        {58: "api_server", 60: "replicas", 62: "mishap", 83: "new_image", 88: "replicas", 94: "watch_is_lost"},
    ),
    (42010, "plain", {21: "new_image", 43: "new_image"}),
    (44463, "meddling", {14: "new_image", 17: "child_goes", 58: "child_edited"}),
    (910088, "storm", {1: "new_image", 10: "endpoints_lag", 12: "pod_dies"}),
    (
        910179,
        "meddling",
        {1: "storm_of_specs", 21: "made_anew", 36: "child_edited", 42: "new_image", 52: "child_goes"},
    ),
    (43012, "plain", {10: "storm_of_specs", 63: "new_image", 68: "new_image", 69: "pod_dies", 100: "child_edited"}),
]


@pytest.mark.parametrize(("seed", "kind", "acts"), WALKS)
def test_a_walk_that_once_failed(seed: int, kind: str, acts: dict[int, str]) -> None:
    walked(seed, acts, kind)
