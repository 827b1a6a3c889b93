"""A Prometheus that is slow or lies, and watches with gaps: nothing is decided on what is not so."""

from __future__ import annotations

import pytest

from serinus.api.reasons import Phase
from tests.world.caches import ALL_WATCHED
from tests.world.invariants import check
from tests.world.prometheus import Lie
from tests.world.test_edits import holding
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAMESPACE, World, spec_of


@pytest.mark.parametrize("lie", Lie)
def test_a_good_candidate_is_not_rolled_back_for_what_a_lying_prometheus_says(lie: Lie) -> None:
    world = holding()
    world.prometheus.lie = lie
    world.run(150)
    assert world.status.rollout.phase is not Phase.REJECTED
    world.prometheus.lie = None
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rejected == ()
    check(world)


@pytest.mark.parametrize("lie", Lie)
def test_a_broken_candidate_is_not_promoted_for_what_a_lying_prometheus_says(lie: Lie) -> None:
    world = serving(behaviours={"model:2": Behaviour(error_share=0.3)})
    world.prometheus.lie = lie
    world.deploy(spec_of("model:2"))
    world.run(250)
    assert stable_is(world, "model:1")
    world.prometheus.lie = None
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:1")
    check(world)


@pytest.mark.parametrize("seconds", [3, 9])
def test_a_slow_prometheus_delays_verdicts_and_nothing_else(seconds: int) -> None:
    world = holding()
    world.prometheus.slow_seconds = seconds
    candidate = world.revision_of("model:2")
    world.run(20)
    for pod in [
        each for each in world.api.of("Pod") if each["metadata"]["labels"]["serinus.dev/revision"] == candidate
    ]:
        world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    world.run(2)
    assert candidate not in world.weights(), "its dead pods lose their weight at once"
    world.run_until(lambda: stable_is(world, "model:2"), 900)
    check(world)


def test_a_prometheus_too_slow_to_answer_in_time_holds_as_in_an_outage() -> None:
    world = holding()
    world.prometheus.slow_seconds = 30
    world.run(200)
    assert world.status.rollout.step == "five"
    assert world.condition("Reconciling") == ("True", "EvidenceMissing")
    world.prometheus.slow_seconds = 0
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


@pytest.mark.parametrize("kind", ALL_WATCHED)
def test_what_happened_in_a_gap_of_a_watch_is_seen_when_all_is_listed_again(kind: str) -> None:
    world = holding()
    world.caches.lose_watch(kind)
    world.run(100)
    world.caches.list_again(kind)
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


@pytest.mark.parametrize("kind", ["ReplicaSet", "Service", "HTTPRoute", "ControllerRevision", "EndpointSlice"])
def test_a_child_whose_end_was_missed_is_made_again_when_all_is_listed_again(kind: str) -> None:
    world = serving()
    gone = next(each for each in world.api.of(kind))["metadata"]
    world.caches.miss_deletion((kind, NAMESPACE, gone["name"]))
    world.run(20)
    world.caches.list_again(kind)
    world.run(20)
    made = world.api.find(kind, NAMESPACE, gone["name"])
    assert made is not None
    assert made["metadata"]["uid"] != gone["uid"]
    assert lost_requests_since(world, 5) == 0


def lost_requests_since(world: World, seconds: int) -> float:
    return sum(moment.lost for moment in world.moments[-seconds:])
