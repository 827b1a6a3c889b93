"""An autoscaler sizes the stable revision, and a rollback never meets one that it has shrunk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.world.api_server import Faults
from tests.world.invariants import check
from tests.world.test_rollouts import stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of

AUTOSCALED = {"autoscaling": {"minReplicas": 2, "maxReplicas": 8}}
KIND = "HorizontalPodAutoscaler"


def autoscaled(image: str, **sections: Any) -> dict[str, Any]:
    return spec_of(image, **{"scaling": AUTOSCALED, **sections})


def serving(asks: int | None = None, **world: Any) -> World:
    made = World(**world)
    made.deploy(autoscaled("model:1"))
    made.run_until(lambda: made.condition("Ready")[0] == "True").run(3)
    if asks is not None:
        made.autoscaler_asks = asks
        made.run_until(lambda: made.replicas()[made.revision_of("model:1")] == asks)
        made.run_until(lambda: made.condition("Ready")[0] == "True")
    return made


def the_autoscaler(world: World) -> dict[str, Any]:
    (found,) = world.api.of(KIND)
    spec: dict[str, Any] = found["spec"]
    return spec


def scaled(world: World) -> tuple[str, int, int]:
    """Whose pods it scales, and its bounds."""
    spec = the_autoscaler(world)
    return spec["scaleTargetRef"]["name"].removeprefix(f"{NAME}-"), spec["minReplicas"], spec["maxReplicas"]


def writes_of_it(world: World, since: int = 0) -> list[str]:
    return [write.verb for write in world.api.writes[since:] if write.kind == KIND]


def scalings(world: World, revision: str, since: int = 0) -> int:
    return sum(w.verb == "scale" and w.name == f"{NAME}-{revision}" for w in world.api.writes[since:])


def test_the_first_revision_starts_with_the_least_and_is_handed_to_the_autoscaler() -> None:
    world = serving()
    stable = world.revision_of("model:1")
    assert world.replicas() == {stable: 2}
    assert scaled(world) == (stable, 2, 8)
    assert writes_of_it(world) == ["create"]


def test_serinus_leaves_the_size_that_the_load_takes_alone() -> None:
    world = serving()
    stable = world.revision_of("model:1")
    for asked, size in ((5, 5), (20, 8), (1, 2)):
        world.autoscaler_asks = asked
        world.run(20)
        assert world.replicas() == {stable: size}
        assert world.condition("Ready") == ("True", "Stable")
    assert scalings(world, stable) == 0
    assert writes_of_it(world) == ["create"]


def test_a_rollout_keeps_the_size_that_stable_had_and_hands_the_autoscaler_over() -> None:
    world = serving(asks=5)
    old, before = world.revision_of("model:1"), len(world.api.writes)
    world.deploy(autoscaled("model:2"))
    world.run_until(lambda: world.weights().get(world.revision_of("model:2"), 0) == 5)
    new = world.revision_of("model:2")
    assert scaled(world) == (old, 5, 8)
    world.autoscaler_asks = 2  # half of the requests are the candidate's: stable looks idle
    while not stable_is(world, "model:2"):
        assert world.run(1).replicas()[old] == 5
        assert scaled(world)[0] == old or stable_is(world, "model:2")
    ready = world.moments[-1].ready
    assert ready[new] >= 5, "it is handed over to a revision that has as many pods ready"
    while world.status.rollout.phase == "Watching":
        assert world.run(1).replicas()[new] == 5, "what it has seen of these pods is a part of the requests"
    assert scaled(world) == (new, 2, 8)
    world.run(90)
    assert world.replicas() == {old: 0, new: 2}
    assert writes_of_it(world, before) == ["apply"] * 3, "when it begins, when it is promoted, when it was watched"
    check(world, replicas=None)


def test_where_stable_has_the_least_anyway_one_write_hands_the_autoscaler_over() -> None:
    world = serving()
    before = len(world.api.writes)
    world.deploy(autoscaled("model:2"))
    world.run_until(lambda: stable_is(world, "model:2")).run_until_phase("Idle").run(90)
    assert writes_of_it(world, before) == ["apply"]
    assert scaled(world) == (world.revision_of("model:2"), 2, 8)


def test_a_rollback_meets_a_stable_revision_of_full_size() -> None:
    world = serving(asks=6)
    world.behaviours["model:2"] = Behaviour(error_share=0.5)
    old = world.revision_of("model:1")
    world.deploy(autoscaled("model:2"))
    world.run_until(lambda: len(world.weights()) == 2)
    world.autoscaler_asks = 1
    while world.status.rollout.phase != "Rejected":
        assert world.run(1).replicas()[old] == 6
    world.run(5)
    assert scaled(world) == (old, 2, 8), "the rollout is over: the load decides again"
    assert world.replicas()[old] == 2
    check(world, replicas=None)


def test_a_candidate_follows_the_share_of_a_stable_revision_that_grows() -> None:
    world = serving(asks=4)
    world.deploy(autoscaled("model:2"))
    world.run_until(lambda: world.status.rollout.step == "half").run(15)
    new = world.revision_of("model:2")
    assert world.replicas()[new] == 2
    world.autoscaler_asks = 8
    world.run(5)
    assert world.replicas()[new] == 4
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.replicas()[new] == 8
    check(world, replicas=None)


def test_a_restart_of_the_operator_forgets_no_size() -> None:
    world = serving(asks=5)
    old = world.revision_of("model:1")
    world.deploy(autoscaled("model:2"))
    world.run_until(lambda: len(world.weights()) == 2)
    world.autoscaler_asks = 2
    world.restart_operator()
    world.api.remove(KIND, NAMESPACE, NAME)
    world.run(10)
    assert scaled(world) == (old, 5, 8)
    assert world.replicas()[old] == 5
    assert world.status.rollout.stable_replicas == 5


def test_a_return_during_the_watch_hands_the_autoscaler_back_to_the_size_that_was_kept_warm() -> None:
    world = serving(asks=5)
    old = world.revision_of("model:1")
    world.deploy(autoscaled("model:2"))
    world.run_until_phase("Watching")
    world.autoscaler_asks = 3
    world.run(10)
    assert world.replicas() == {old: 5, world.revision_of("model:2"): 5}
    world.behaviours["model:2"] = Behaviour(error_share=0.5)
    world.run_until(lambda: stable_is(world, "model:1"))
    assert world.moments[-1].ready[old] == 5
    world.run(3)
    assert scaled(world)[0] == old
    check(world, replicas=None)


def test_an_autoscaler_that_is_taken_out_goes_before_the_size_is_set() -> None:
    world = serving(asks=7)
    world.deploy(spec_of("model:1"))
    world.run(20)
    assert list(world.api.of(KIND)) == []
    assert world.replicas() == {world.revision_of("model:1"): 3}
    assert scalings(world, world.revision_of("model:1")) == 1


def test_a_size_that_was_set_is_where_an_autoscaler_begins() -> None:
    world = World()
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: world.condition("Ready")[0] == "True")
    world.deploy(autoscaled("model:1"))
    world.run(10)
    assert world.replicas() == {world.revision_of("model:1"): 3}
    assert scalings(world, world.revision_of("model:1")) == 0


def test_what_was_scaled_to_zero_is_woken_since_an_autoscaler_would_not() -> None:
    world = World()
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: world.condition("Ready")[0] == "True")
    world.deploy(spec_of("model:1", scaling={"replicas": 0}))
    world.run_until(lambda: not any(world.replicas().values())).run(20)
    world.deploy(autoscaled("model:1"))
    world.run(3).run_until(lambda: world.condition("Ready")[0] == "True")
    assert world.replicas() == {world.revision_of("model:1"): 2}


def test_an_autoscaler_that_comes_in_the_middle_of_a_rollout_keeps_the_size_of_its_start() -> None:
    world = World()
    world.deploy(spec_of("model:1", scaling={"replicas": 5}))
    world.run_until(lambda: world.condition("Ready")[0] == "True")
    world.deploy(spec_of("model:2", scaling={"replicas": 5}))
    world.run_until(lambda: len(world.weights()) == 2)
    world.autoscaler_asks = 2
    world.deploy(autoscaled("model:2"))
    world.run(10)
    assert scaled(world) == (world.revision_of("model:1"), 5, 8)
    assert world.replicas()[world.revision_of("model:1")] == 5


def test_a_lower_maximum_waits_for_the_end_of_the_rollout() -> None:
    world = serving(asks=6)
    world.deploy(autoscaled("model:2"))
    world.run_until(lambda: len(world.weights()) == 2)
    world.deploy(autoscaled("model:2", scaling={"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}))
    world.run(5)
    assert scaled(world) == (world.revision_of("model:1"), 6, 6)
    world.run_until(lambda: stable_is(world, "model:2")).run_until_phase("Idle").run(10)
    assert scaled(world) == (world.revision_of("model:2"), 2, 4)
    assert world.replicas()[world.revision_of("model:2")] == 4


def test_recreate_brings_back_as_many_pods_as_went() -> None:
    world = serving(asks=4)
    rollout = {"recreate": {}, "progressDeadlineSeconds": 80, "watchSeconds": 20, "scaleDownDelaySeconds": 0}
    sections = {"rollout": rollout, "traffic": {}}
    world.deploy(autoscaled("model:1", **sections))
    world.run(20)
    world.deploy(autoscaled("model:2", **sections))
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.moments[-1].ready[world.revision_of("model:2")] == 4


@pytest.mark.parametrize("target", [{"targetInProgressPerPod": 8}, {"targetCpuPercent": 60}, {}])
def test_without_custom_metrics_only_a_target_that_needs_them_is_stalled(target: dict[str, int]) -> None:
    world = World()
    world.capabilities = replace(world.capabilities, custom_metrics=False)
    world.deploy(autoscaled("model:1", scaling={"autoscaling": {"maxReplicas": 3, **target}}))
    world.run(30)
    if "targetInProgressPerPod" not in target:
        assert world.condition("Stalled")[0] == "False"
        return
    assert world.condition("Stalled") == ("True", "NoCustomMetrics")
    assert list(world.api.of(KIND)) == []
    world.capabilities = replace(world.capabilities, custom_metrics=True)
    world._mark()
    world.run_until(lambda: world.condition("Ready")[0] == "True").run(3)
    assert the_autoscaler(world)["metrics"][0]["pods"]["metric"]["name"] == "bentoml_service_request_in_progress"


def test_as_long_as_nobody_knows_of_custom_metrics_the_model_serves_and_no_autoscaler_is_made() -> None:
    world = World()
    world.capabilities = replace(world.capabilities, custom_metrics=None)
    world.deploy(autoscaled("model:1", scaling={"autoscaling": {"maxReplicas": 3, "targetInProgressPerPod": 8}}))
    world.run_until(lambda: world.condition("Ready")[0] == "True").run(3)
    assert list(world.api.of(KIND)) == []
    world.capabilities = replace(world.capabilities, custom_metrics=True)
    world._mark()
    assert world.run(2).condition("Ready")[0] == "True"
    assert scaled(world) == (world.revision_of("model:1"), 1, 3)


def test_custom_metrics_that_vanish_take_nothing_from_what_serves() -> None:
    world = World()
    world.deploy(autoscaled("model:1", scaling={"autoscaling": {"maxReplicas": 3, "targetInProgressPerPod": 8}}))
    world.run_until(lambda: world.condition("Ready")[0] == "True").run(3)
    world.capabilities = replace(world.capabilities, custom_metrics=False)
    world._mark()
    before = scaled(world)
    world.run(20)
    assert world.condition("Stalled") == ("True", "NoCustomMetrics")
    assert world.condition("Available")[0] == "True"
    assert scaled(world) == before


@pytest.mark.parametrize("number", range(1, 40))
def test_a_crash_after_any_write_ends_where_it_would_have_ended(number: int) -> None:
    def played(faults: Faults) -> World:
        world = serving(asks=4)
        world.api.faults = faults
        world.deploy(autoscaled("model:2"))
        world.run_until(lambda: stable_is(world, "model:2"), 900).run_until_phase("Idle").run(120)
        return world

    world = played(Faults(kill_after=frozenset({number})))
    assert scaled(world) == (world.revision_of("model:2"), 2, 8)
    assert world.replicas() == {world.revision_of("model:1"): 0, world.revision_of("model:2"): 4}
    check(world, replicas=None)
