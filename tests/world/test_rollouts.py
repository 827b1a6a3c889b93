"""Whole rollouts in a world where nothing goes wrong but the model itself."""

from __future__ import annotations

import pytest

from serinus.api.reasons import JudgedBy
from tests.world.invariants import check
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of


def serving(image: str = "model:1", **world: object) -> World:
    """A world in which `image` serves with all its pods."""
    made = World(**world)  # type: ignore[arg-type]
    made.deploy(spec_of(image))
    return made.run_until(lambda: made.condition("Ready") == ("True", "Stable"))


def stable_is(world: World, image: str) -> bool:
    stable = world.status.stable
    return stable is not None and stable.revision == world.revision_of(image)


def test_the_first_revision_takes_over_as_soon_as_it_is_ready() -> None:
    world = serving()
    assert stable_is(world, "model:1")
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert world.status.rollout.judged_by is JudgedBy.READINESS
    assert [each.event for each in world.status.history if "Step" in each.event] == [], "it has no steps to go through"
    check(world)


def test_a_first_deployment_makes_each_object_once_and_throws_none_away() -> None:
    world = serving().run(100)
    children = [write for write in world.api.writes if write.kind != "ModelDeployment"]
    assert [(write.verb, write.kind) for write in children] == [
        ("create", "ControllerRevision"),
        ("create", "ReplicaSet"),
        ("create", "Service"),
        ("create", "Service"),
        ("create", "HTTPRoute"),
        ("create", "PodDisruptionBudget"),
        ("create", "NetworkPolicy"),
    ]


def test_what_pods_and_routes_do_on_the_way_is_written_with_the_decisions_it_leads_to() -> None:
    world = World()
    world.deploy(spec_of("model:1"))
    world.run(100)
    assert len(world.api.writes) <= 11
    before = len(world.api.writes)
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2")).run(200)
    statuses = [write for write in world.api.writes[before:] if write.kind == "ModelDeployment"]
    assert len(statuses) <= 14
    stable = world.status.stable
    assert stable is not None
    assert (stable.replicas, stable.ready_replicas, stable.weight_percent) == (3, 3, 100)
    assert world.status.rollout.message == ""


@pytest.mark.parametrize(
    ("traffic", "most_writes"),
    [({"gateway": {"parentRefs": [{"name": "public"}]}}, 17), ({}, 14)],
    ids=["behind a gateway", "behind a plain Service"],
)
def test_a_canary_of_two_steps_costs_few_writes_and_events(traffic: dict[str, object], most_writes: int) -> None:
    """A decision or an object each: 8 of the status, 3 new objects, 3 of the route, 2 of sizes, 1 of the address."""
    spec = spec_of("model:1", analysis={"disabled": True}, scaling={"replicas": 2}, traffic=traffic)
    spec["rollout"]["canary"] = {
        "steps": [
            {"name": "fifth", "weightPercent": 20, "holdSeconds": 5},
            {"name": "half", "weightPercent": 50, "holdSeconds": 5},
        ]
    }
    world = World()
    world.deploy(spec)
    world.run(100)
    before, told = len(world.api.writes), len(world.notes)
    world.deploy(spec | {"serving": spec["serving"] | {"image": "model:2"}})
    world.run(200)
    assert stable_is(world, "model:2")
    assert world.status.rollout.phase == "Idle"
    assert world.status.previous is None
    budgets = [write.verb for write in world.api.writes[before:] if write.kind == "PodDisruptionBudget"]
    assert budgets == ["create", "delete"], "the candidate's comes, and the old revision's goes with its pods"
    assert len(world.api.writes) - before - len(budgets) <= most_writes
    assert [str(note.happening) for note in world.notes[told:] if note.as_event] == [
        "CandidateStarted",
        "StepEntered",
        "StepPassed",
        "StepPassed",
        "Promoted",
        "WatchEnded",
    ]


def test_nobody_is_told_that_the_first_revision_serves_before_gateways_had_time_to_learn_of_its_pods() -> None:
    world = serving()
    ready_at = next(moment.at for moment in world.moments if any(moment.ready.values()))
    told_at = next(moment.at for moment in world.moments if moment.status.stable is not None)
    assert (told_at - ready_at).total_seconds() >= 3


def test_the_first_revision_does_not_count_as_served_before_a_gateway_has_accepted_its_route() -> None:
    world = World(gateway_accepts=False)
    world.deploy(spec_of("model:1"))
    world.run(60)
    assert world.status.stable is None
    assert world.condition("Available") == ("False", "RouteNotAccepted")
    assert world.condition("Reconciling") == ("True", "RouteNotAccepted")
    world.run_until(lambda: world.condition("Stalled") == ("True", "ProgressDeadlineExceeded"))
    stalled = next(each for each in world.status.conditions if each.type == "Stalled")
    assert "NoMatchingListenerHostname" in stalled.message, "it quotes the gateway, as the pods are ready"
    assert [str(note.happening) for note in world.notes].count("Stalled") == 1
    world.gateway_accepts = True
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"))
    assert world.condition("Available") == ("True", "Serving")
    check(world)


def test_a_good_revision_passes_every_step_on_evidence_and_takes_all_traffic() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.judged_by is JudgedBy.METRICS
    assert world.weights() == {world.revision_of("model:2"): 100}
    check(world)


@pytest.mark.parametrize(
    ("strategy", "pods"),
    [({"canary": {"steps": [{"name": "half", "weightPercent": 50, "holdSeconds": 30}]}}, 2), ({"blueGreen": {}}, 3)],
    ids=["canary", "blue-green"],
)
def test_the_candidates_own_pods_become_stable_and_none_restarts(strategy: dict[str, object], pods: int) -> None:
    world = serving()
    world.deploy(spec_of("model:2", rollout={**strategy, "watchSeconds": 30, "scaleDownDelaySeconds": 30}))
    world.run_until(lambda: world.moments[-1].ready.get(world.revision_of("model:2"), 0) == pods)

    def of_the_new() -> set[str]:
        revision = world.revision_of("model:2")
        all_pods = (pod["metadata"] for pod in world.api.of("Pod"))
        return {pod["uid"] for pod in all_pods if pod["labels"]["serinus.dev/revision"] == revision}

    tried = of_the_new()
    world.run_until(lambda: stable_is(world, "model:2")).run_until_phase("Idle").run(60)
    assert tried <= of_the_new(), "those that were tried serve"
    assert len(of_the_new()) == 3
    restarts = [pod["status"]["containerStatuses"][0]["restartCount"] for pod in world.api.of("Pod")]
    assert restarts == [0, 0, 0]


def test_a_good_revision_never_costs_a_request() -> None:
    world = serving()
    beginning = len(world.moments)
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2")).run(200)
    assert sum(moment.failed for moment in world.moments[beginning:]) == 0


def test_the_old_revision_stays_warm_for_the_watch_and_is_then_scaled_to_zero() -> None:
    world = serving()
    old = world.revision_of("model:1")
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Watching")
    assert world.replicas()[old] == 3
    world.run(50)
    assert world.replicas()[old] == 3
    world.run(30)
    assert world.replicas()[old] == 0
    assert world.status.rollout.phase == "Idle"
    check(world)


def test_the_stable_service_selects_the_new_revision_after_promotion() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Watching").run(3)
    service = world.api.find("Service", NAMESPACE, NAME)
    assert service is not None
    assert service["spec"]["selector"]["serinus.dev/revision"] == world.revision_of("model:2")
    assert world.api.find("Service", NAMESPACE, f"{NAME}-candidate") is None


@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(error_share=0.2), Behaviour(error_share=0.05)],
    ids=["a fifth of its answers are errors", "a twentieth of its answers are errors"],
)
def test_a_worse_revision_is_rolled_back_and_remembered(behaviour: Behaviour) -> None:
    world = serving(behaviours={"model:2": behaviour})
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Rejected")
    bad = world.revision_of("model:2")
    assert stable_is(world, "model:1")
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert world.replicas()[bad] == 0
    assert world.condition("Stalled") == ("True", "MetricFailed")
    assert world.condition("Available") == ("True", "Serving")
    assert [each.revision for each in world.status.rejected] == [bad]
    writes = len(world.api.writes)
    world.run(300)
    assert len(world.api.writes) == writes, "a rejected revision is quiet"
    check(world)


def test_one_metric_of_three_that_fails_rolls_back_and_is_named() -> None:
    world = serving(behaviours={"model:2": Behaviour(slow_share=0.5)})
    spec = spec_of("model:2")
    spec["analysis"]["metrics"] = [
        {"name": "errors", "errors": {}, "limit": {"maxPercent": "1"}},
        {"name": "nulls", "ratio": {"bad": "b{%pods%}", "total": "t{%pods%}"}, "limit": {"maxPercent": "2"}},
        {"name": "latency", "latency": {"thresholdMilliseconds": 500}, "limit": {"maxPercent": "5"}},
    ]
    world.deploy(spec)
    world.run_until_phase("Rejected")
    assert world.condition("Stalled") == ("True", "MetricFailed")
    (rejected,) = world.status.rejected
    assert "latency: failed" in rejected.message
    assert "errors" not in rejected.message
    assert "nulls" not in rejected.message
    assert world.weights() == {world.revision_of("model:1"): 100}
    check(world)


def test_only_the_candidates_share_fails_while_it_is_broken() -> None:
    world = serving(behaviours={"model:2": Behaviour(error_share=0.3)})
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Rejected").run(60)
    stable = world.revision_of("model:1")
    assert sum(moment.failed_by.get(stable, 0.0) for moment in world.moments[20:]) == 0
    assert max(moment.failed for moment in world.moments[20:]) <= 0.3 * 5 + 1e-6


def test_after_promotion_a_failing_revision_returns_by_itself() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Watching").run(5)
    world.behaviours["model:2"] = Behaviour(error_share=0.3)
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:1")
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert [entry.event for entry in world.status.history].count("Returned") == 1
    check(world)


def test_without_traffic_nothing_is_promoted_however_long_it_takes() -> None:
    world = serving(requests_per_second=0.0)
    world.deploy(spec_of("model:2"))
    world.run(1500)
    assert stable_is(world, "model:1")
    assert world.status.rollout.phase in {"Holding", "Paused"}
    check(world)


def test_every_verdict_says_what_was_read_and_the_rollout_what_it_waits_for() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: bool(world.status.analysis))
    assert world.revision_of("model:2") in world.status.analysis[0].query
    assert "step five" in world.status.rollout.message


def test_undecided_for_too_long_pauses_and_says_so() -> None:
    world = serving(requests_per_second=1.0)
    spec = spec_of("model:2")
    spec["analysis"]["undecided"] = {"afterSeconds": 120, "action": "Pause"}
    world.deploy(spec)
    world.run_until_phase("Paused")
    assert world.condition("Paused") == ("True", "UndecidedTooLong")
    check(world)


def test_undecided_for_too_long_rolls_back_where_the_spec_says_so() -> None:
    world = serving(requests_per_second=1.0)
    spec = spec_of("model:2")
    spec["analysis"]["undecided"] = {"afterSeconds": 120, "action": "Rollback"}
    world.deploy(spec)
    world.run_until_phase("Rejected")
    assert world.condition("Stalled") == ("True", "UndecidedTooLong")


def test_undecided_promotes_only_with_enough_samples() -> None:
    spec = spec_of("model:2")
    spec["analysis"]["undecided"] = {"afterSeconds": 30, "action": "Promote"}
    spec["analysis"]["metrics"][0]["tolerancePercent"] = "0.01"
    few = serving(requests_per_second=1.0)
    few.deploy(spec)
    few.run(200)
    assert stable_is(few, "model:1")
    enough = serving(requests_per_second=100.0)
    enough.deploy(spec)
    enough.run_until(lambda: stable_is(enough, "model:2"))
    assert enough.status.rollout.judged_by is JudgedBy.POLICY
    assert "PromotedUndecided" in [entry.event for entry in enough.status.history]


def test_blue_green_switches_in_one_write_when_all_pods_are_ready() -> None:
    world = World()
    sections = {"rollout": {"blueGreen": {}, "watchSeconds": 30, "progressDeadlineSeconds": 120}}
    world.deploy(spec_of("model:1", **sections))
    world.run_until(lambda: stable_is(world, "model:1")).run(10)
    world.deploy(spec_of("model:2", **sections))
    world.run_until(lambda: stable_is(world, "model:2"))
    seen = [tuple(sorted(moment.weights.values())) for moment in world.moments if moment.weights]
    assert set(seen) == {(100,)}
    assert world.status.rollout.judged_by is JudgedBy.READINESS
    check(world)


def test_a_plain_service_switches_without_a_gateway() -> None:
    world = World()
    sections = {"traffic": {}, "rollout": {"watchSeconds": 30, "progressDeadlineSeconds": 120}}
    world.deploy(spec_of("model:1", **sections))
    world.run_until(lambda: stable_is(world, "model:1")).run(10)
    world.deploy(spec_of("model:2", **sections))
    world.run_until(lambda: stable_is(world, "model:2")).run(400)
    assert world.weights() == {world.revision_of("model:2"): 100}
    assert world.replicas()[world.revision_of("model:1")] == 0
    assert list(world.api.of("HTTPRoute")) == []
    check(world)


def test_an_idle_resource_is_quiet() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2")).run(200)
    writes, asked = len(world.api.writes), world.prometheus._answers
    assert asked > 0
    world.run(600)
    assert len(world.api.writes) == writes
    assert world.prometheus._answers == asked, "Prometheus is asked nothing"


def test_old_revisions_beyond_the_history_limit_are_deleted() -> None:
    world = serving()
    for version in range(2, 8):
        spec = spec_of(f"model:{version}")
        spec["rollout"] |= {"revisionHistoryLimit": 2, "watchSeconds": 5, "scaleDownDelaySeconds": 5, "blueGreen": {}}
        del spec["rollout"]["canary"]
        world.deploy(spec)
        world.run_until(lambda v=version: stable_is(world, f"model:{v}")).run(60)
    assert sorted(world.replicas().values()) == [0, 0, 3]
    assert len(list(world.api.of("ControllerRevision"))) == 3
    check(world)
