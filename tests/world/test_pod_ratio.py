"""A canary behind a plain Service: its share is that of its pods, and the real one is in status."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from serinus.api.kinds import LABEL_DEPLOYMENT, LABEL_REVISION
from serinus.api.reasons import JudgedBy
from tests.world.invariants import check, no_request_is_lost
from tests.world.test_blue_green import stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of

HOLD_SECONDS = 60
PLAIN: dict[str, Any] = {"traffic": {}}


def plain(image: str, **sections: Any) -> dict[str, Any]:
    """The two-step canary of the other stories, 5 % and 50 %, without a gateway."""
    return spec_of(image, **(PLAIN | sections))


def serving(**world: Any) -> World:
    made = World(requests_per_second=400, **world)
    made.deploy(plain("model:1"))
    return made.run_until(lambda: made.condition("Ready") == ("True", "Stable")).run(5)


def holding(step: str = "five", **world: Any) -> World:
    made = serving(**world)
    made.deploy(plain("model:2"))
    return made.run_until(lambda: made.status.rollout.step == step and made.status.rollout.counting_since is not None)


def selector(world: World) -> dict[str, str]:
    service = world.api.find("Service", NAMESPACE, NAME)
    assert service is not None
    return dict(service["spec"]["selector"])


def candidate_share(world: World) -> int:
    candidate = world.status.candidate
    return candidate.weight_percent if candidate else 0


def test_the_candidate_gets_the_share_of_its_pods_and_status_says_which() -> None:
    world = holding().run(5)
    assert selector(world) == {LABEL_DEPLOYMENT: NAME}
    assert world.replicas() == {world.revision_of("model:1"): 3, world.revision_of("model:2"): 1}
    assert candidate_share(world) == 25
    assert world.status.stable is not None
    assert world.status.stable.weight_percent == 75
    assert "1 of 4 pods" in world.status.rollout.message
    world.run_until(lambda: world.status.rollout.step == "half").run(15)
    assert candidate_share(world) == 50


def test_a_good_revision_is_judged_by_metrics_and_takes_over_without_a_lost_request() -> None:
    world = serving()
    world.deploy(plain("model:2"))
    world.run_until(lambda: stable_is(world, "model:2")).run(200)
    assert "Metrics" in " ".join(entry.because for entry in world.status.history if entry.event == "Promoted")
    assert selector(world)[LABEL_REVISION] == world.revision_of("model:2")
    assert world.replicas() == {world.revision_of("model:1"): 0, world.revision_of("model:2"): 3}
    assert list(world.api.of("HTTPRoute")) == []
    check(world)
    no_request_is_lost(world.moments)


def test_the_candidates_own_pods_become_stable_and_none_is_made_anew() -> None:
    world = holding("half")
    pods = {pod["metadata"]["name"] for pod in world.api.of("Pod")}
    world.run_until(lambda: stable_is(world, "model:2"))
    assert {pod["metadata"]["name"] for pod in world.api.of("Pod")} == pods


def test_a_failing_candidate_is_cut_off_and_its_pods_go_as_soon_as_stable_is_alone() -> None:
    world = serving(behaviours={"model:2": Behaviour(error_share=0.3)})
    world.deploy(plain("model:2"))
    world.run_until_phase("RollingBack").run(1)
    assert selector(world)[LABEL_REVISION] == world.revision_of("model:1")
    world.run(8)
    assert world.replicas()[world.revision_of("model:2")] == 0, "connections that are open end with its pods only"
    world.run_until_phase("Rejected")
    assert world.status.rejected[0].reason == "MetricFailed"
    check(world)
    no_request_is_lost(world.moments)


def test_the_service_is_shared_only_when_the_pods_that_were_kept_warm_are_gone() -> None:
    world = serving()
    world.deploy(spec_of("model:2", **PLAIN, rollout={"watchSeconds": 10, "progressDeadlineSeconds": 120}))
    world.run_until(lambda: stable_is(world, "model:2")).run_until_phase("Idle")
    warm = plain("model:3")
    warm["rollout"]["scaleDownDelaySeconds"] = 120
    world.deploy(warm)
    world.run(30)
    assert world.status.previous is not None
    assert world.status.rollout.phase == "Starting"
    assert "kept warm until" in world.status.rollout.message
    world.run_until_phase("Holding")
    assert world.replicas()[world.revision_of("model:1")] == 0
    world.run_until(lambda: stable_is(world, "model:3"))
    check(world)


def test_pods_of_a_third_revision_that_somebody_scales_up_get_no_requests_for_long() -> None:
    world = holding()
    world.run_until(lambda: stable_is(world, "model:2")).run(150)
    world.deploy(plain("model:3"))
    world.run_until_phase("Holding").run(5)
    old = f"{NAME}-{world.revision_of('model:1')}"
    world.api.edit("ReplicaSet", NAMESPACE, old, lambda m: m["spec"].update(replicas=2))
    world.run(10)
    assert world.replicas()[world.revision_of("model:1")] == 0
    assert world.status.rollout.weight_losses == 0
    world.run_until(lambda: stable_is(world, "model:3"))
    for before, after in pairwise(world.moments):
        assert not (before.is_shared and len(before.weights) > 2 and len(after.weights) > 2)


def test_scaled_while_paused_the_share_stays_as_near_as_pods_allow() -> None:
    world = holding("half")
    world.annotate(pause="true")
    world.run(5)
    world.deploy(plain("model:2", scaling={"replicas": 6}))
    world.run(20)
    assert world.status.rollout.phase == "Paused"
    assert world.replicas() == {world.revision_of("model:1"): 6, world.revision_of("model:2"): 6}
    assert candidate_share(world) == 50
    world.deploy(plain("model:2", scaling={"replicas": 2}))
    world.run(20)
    assert world.replicas() == {world.revision_of("model:1"): 2, world.revision_of("model:2"): 2}
    assert candidate_share(world) == 50


def test_replicas_and_image_changed_together_share_the_new_size() -> None:
    world = serving()
    world.deploy(plain("model:2", scaling={"replicas": 5}))
    world.run_until(lambda: world.status.rollout.step == "half" and candidate_share(world) == 50)
    assert world.replicas() == {world.revision_of("model:1"): 5, world.revision_of("model:2"): 5}
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world, replicas=None)


def test_the_pods_of_stable_all_stay_so_a_rollback_in_the_last_step_finds_them() -> None:
    world = holding("half")
    world.annotate(abort=world.revision_of("model:2"))
    world.run_until_phase("Rejected")
    assert min(moment.ready[world.revision_of("model:1")] for moment in world.moments[10:]) == 3
    check(world)
    no_request_is_lost(world.moments)


def test_a_weight_that_is_edited_down_takes_pods_away() -> None:
    world = holding("half")
    spec = plain("model:2")
    spec["rollout"]["canary"]["steps"] = [{"name": "half", "weightPercent": 10, "holdSeconds": 60}]
    world.deploy(spec)
    world.run(15)
    assert world.replicas()[world.revision_of("model:2")] == 1
    assert candidate_share(world) == 25
    no_request_is_lost(world.moments)


def test_losing_the_candidates_last_pod_leaves_the_service_to_stable() -> None:
    world = holding(behaviours={"model:2": Behaviour(startup_seconds=15)})
    pod = next(
        p for p in world.api.of("Pod") if p["metadata"]["labels"][LABEL_REVISION] == world.revision_of("model:2")
    )
    world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    world.run(3)
    assert selector(world)[LABEL_REVISION] == world.revision_of("model:1")
    assert world.status.rollout.weight_losses == 1
    world.run_until(lambda: selector(world) == {LABEL_DEPLOYMENT: NAME})
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)
    no_request_is_lost(world.moments)


def test_stable_without_a_ready_pod_lends_its_traffic_and_nothing_advances() -> None:
    world = holding()
    world.behaviours["model:1"] = Behaviour(never_ready=True)
    world.run(30)
    assert selector(world)[LABEL_REVISION] == world.revision_of("model:2")
    assert world.status.rollout.phase == "Holding"
    assert world.status.rollout.counting_since is None
    world.behaviours["model:1"] = Behaviour()
    world.run_until(lambda: stable_is(world, "model:2"))


def test_the_pods_that_serve_in_place_of_stable_stay_until_requests_can_find_all_of_stables() -> None:
    world = holding(behaviours={"model:1": Behaviour(startup_seconds=15)})
    stable, candidate = world.revision_of("model:1"), world.revision_of("model:2")
    for pod in [pod for pod in world.api.of("Pod") if pod["metadata"]["labels"][LABEL_REVISION] == stable]:
        world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    world.run_until(lambda: world.moments[-1].ready[candidate] == 3)
    world.run_until(lambda: world.moments[-1].ready[stable] == 3)
    back = world.now
    world.run_until(lambda: world.moments[-1].wanted[candidate] == 1)
    assert (world.now - back).total_seconds() >= 3
    world.run_until(lambda: stable_is(world, "model:2"))


def test_a_gateway_that_is_added_in_a_step_splits_by_weight_from_then_on() -> None:
    world = holding()
    world.deploy(spec_of("model:2"))
    world.run(20)
    assert world.weights()[world.revision_of("model:2")] == 5
    assert selector(world)[LABEL_REVISION] == world.revision_of("model:1")
    world.run_until(lambda: stable_is(world, "model:2"))


def test_a_gateway_that_is_taken_away_in_a_step_leaves_the_share_to_the_pods() -> None:
    world = serving()
    world.deploy(spec_of("model:1"))
    world.run(20)
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Holding").run(10)
    world.deploy(plain("model:2"))
    world.run(10)
    assert selector(world) == {LABEL_DEPLOYMENT: NAME}
    assert candidate_share(world) == 25
    world.run_until(lambda: stable_is(world, "model:2"))
    no_request_is_lost(world.moments)


def test_a_status_that_is_lost_while_the_service_is_shared_is_recovered_and_the_rollout_starts_over() -> None:
    world = holding("half")
    world.lose_status()
    world.run(2)
    assert stable_is(world, "model:1")
    assert world.status.rollout.step == "five"
    assert world.replicas()[world.revision_of("model:1")] == 3
    world.run_until(lambda: stable_is(world, "model:2"))
    no_request_is_lost(world.moments)


def test_where_nothing_says_which_of_the_two_is_stable_a_lost_status_is_told_and_nothing_touched() -> None:
    world = holding()
    before = world.weights()
    world.api.edit("Service", NAMESPACE, NAME, lambda m: m["metadata"].pop("annotations"))
    world.lose_status()
    world.run(20)
    assert world.condition("Stalled") == ("True", "StatusLost")
    assert world.weights() == before


@pytest.mark.parametrize("lag_seconds", [1, 3])
def test_stale_caches_lead_to_the_same_end(lag_seconds: int) -> None:
    world = serving(lag_seconds=lag_seconds)
    world.deploy(plain("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.judged_by is JudgedBy.METRICS
    no_request_is_lost(world.moments)
