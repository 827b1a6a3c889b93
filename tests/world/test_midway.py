"""What changes in the middle of a rollout: pods that don't come back, edited steps and metrics, pauses, suspension."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.kinds import LABEL_REVISION
from tests.world.invariants import check
from tests.world.test_edits import holding
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAMESPACE, World, spec_of


def with_analysis(image: str = "model:2", **analysis: Any) -> dict[str, Any]:
    spec = spec_of(image)
    spec["analysis"] |= analysis
    return spec


def pods_die(world: World, image: str) -> None:
    for pod in list(world.api.of("Pod")):
        if pod["metadata"]["labels"][LABEL_REVISION] == world.revision_of(image):
            world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])


def events(world: World) -> list[str]:
    return [entry.event.value for entry in reversed(world.status.history)]


# Pods -----------------------------------------------------------------------------------------------------------------


def test_a_candidate_whose_pods_do_not_come_back_is_rolled_back_at_the_deadline() -> None:
    world = holding()
    world.behaviours["model:2"] = Behaviour(never_ready=True, trouble="OOMKilled")
    pods_die(world, "model:2")
    lost_at = world.now
    world.run(60)
    assert world.condition("Reconciling") == ("True", "PodsNotReady")
    world.run_until_phase("Rejected")
    assert world.condition("Stalled") == ("True", "ProgressDeadlineExceeded")
    assert 120 <= (world.now - lost_at).total_seconds() <= 180
    check(world)


def test_the_deadline_for_lost_pods_begins_when_they_are_lost_however_long_the_step_has_been_held() -> None:
    world = holding(requests_per_second=1.0)
    world.run(400)
    pods_die(world, "model:2")
    world.run(60)
    assert world.status.rollout.phase == "Holding"
    assert world.weights()[world.revision_of("model:2")] == 5
    assert world.status.rollout.short_since is None


def test_a_candidate_that_can_not_grow_to_its_next_share_is_rolled_back_at_the_deadline() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: world.status.rollout.step == "five").run(10)
    candidate = world.revision_of("model:2")
    first = next(p for p in world.api.of("Pod") if p["metadata"]["labels"][LABEL_REVISION] == candidate)
    world.steady = frozenset({first["metadata"]["name"]})
    world.behaviours["model:2"] = Behaviour(never_ready=True)
    world.run_until(lambda: world.status.rollout.step == "half")
    world.run(30)
    assert world.weights()[world.revision_of("model:2")] == 5, "as much as its one pod can carry"
    assert world.condition("Reconciling") == ("True", "PodsNotReady")
    world.run_until_phase("Rejected")
    assert world.condition("Stalled") == ("True", "ProgressDeadlineExceeded")
    check(world)


def promotion_that_waits_for_the_gateway(seconds: int) -> World:
    """At full size, with all traffic written, for `seconds` now."""
    world = holding()
    second = world.revision_of("model:2")
    world.run_until_phase("Promoting")
    world.gateway_accepts = False
    world.run_until(lambda: world.weights() == {second: 100})
    return world.run(seconds)


def test_one_restart_long_after_a_promotion_began_does_not_reject_it() -> None:
    world = promotion_that_waits_for_the_gateway(seconds=200)
    restart_all(world, "model:2", most=1)
    world.run(20)
    assert world.status.rejected == ()
    world.gateway_accepts = True
    world.run_until(lambda: stable_is(world, "model:2"), 60)
    check(world)


def test_a_size_that_is_raised_long_after_a_promotion_began_does_not_reject_it() -> None:
    world = promotion_that_waits_for_the_gateway(seconds=200)
    world.deploy(spec_of("model:2", scaling={"replicas": 5}))
    world.run(20)
    assert world.status.rejected == ()
    world.gateway_accepts = True
    world.run_until(lambda: stable_is(world, "model:2"), 60)


def test_pods_that_are_lost_during_a_promotion_have_the_deadline_to_come_back() -> None:
    world = promotion_that_waits_for_the_gateway(seconds=200)
    world.behaviours["model:2"] = Behaviour(never_ready=True, trouble="OOMKilled")
    pods_die(world, "model:2")
    lost_at = world.now
    world.run(100)
    assert world.status.rollout.phase == "Promoting"
    world.gateway_accepts = True
    world.run_until_phase("Rejected")
    assert 120 <= (world.now - lost_at).total_seconds() <= 180
    assert world.condition("Stalled") == ("True", "ProgressDeadlineExceeded")
    check(world, pods_crash=True)


def test_a_candidate_that_no_node_fits_waits_without_a_deadline_and_says_why() -> None:
    world = serving(behaviours={"model:2": Behaviour(unschedulable=True)})
    world.deploy(spec_of("model:2"))
    world.run(600)
    assert world.status.rollout.phase == "Starting"
    assert world.condition("Reconciling") == ("True", "PodsUnschedulable")
    reconciling = next(c for c in world.status.conditions if c.type == "Reconciling")
    assert "0/1 nodes are available" in reconciling.message


def test_a_candidate_lost_while_paused_loses_its_weight_and_is_rolled_back_at_the_deadline() -> None:
    world = holding()
    world.annotate(pause="true")
    world.run(300)
    world.behaviours["model:2"] = Behaviour(never_ready=True)
    pods_die(world, "model:2")
    world.run(3)
    assert world.weights() == {world.revision_of("model:1"): 100}
    world.run(60)
    assert world.status.rollout.phase == "Paused"
    world.run_until_phase("Rejected")
    check(world)


def test_one_restart_in_each_of_two_steps_makes_two() -> None:
    world = holding()
    restart_all(world, "model:2")
    world.run_until(lambda: world.status.rollout.step == "half").run(20)
    restart_all(world, "model:2", most=1)
    world.run_until_phase("Rejected")
    assert world.condition("Stalled")[1] == "ContainerRestarted"


def test_pods_that_are_added_for_a_later_step_may_restart_while_they_come_up() -> None:
    world = holding()
    world.run_until(lambda: len(pods_of(world, "model:2")) > 1)
    restart_all(world, "model:2", skip=1)
    world.run(2)
    restart_all(world, "model:2", skip=1)
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def pods_of(world: World, image: str) -> list[str]:
    """Names of the pods of an image, oldest first."""
    revision = world.revision_of(image)
    pods = [pod["metadata"] for pod in world.api.of("Pod")]
    return [metadata["name"] for metadata in pods if metadata["labels"][LABEL_REVISION] == revision]


def restart_all(world: World, image: str, most: int = 9, skip: int = 0) -> None:
    """The model's container ends once in some pods of an image."""
    for name in pods_of(world, image)[skip : skip + most]:
        world.restart(name)


# Steps and strategy ---------------------------------------------------------------------------------------------------


def test_from_canary_to_blue_green_in_the_middle_starts_over_and_switches_on_readiness() -> None:
    world = holding()
    spec = spec_of("model:2")
    spec["rollout"] = {key: value for key, value in spec["rollout"].items() if key != "canary"} | {"blueGreen": {}}
    world.deploy(spec)
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.judged_by == "Readiness"
    assert "StepsChanged" in events(world)
    check(world)


def test_from_blue_green_to_canary_before_the_switch_the_candidate_is_judged_after_all() -> None:
    world = World(behaviours={"model:2": Behaviour(error_share=0.5)})
    sections = {"rollout": {"blueGreen": {}, "watchSeconds": 30, "progressDeadlineSeconds": 120}}
    world.deploy(spec_of("model:1", **sections))
    world.run_until(lambda: stable_is(world, "model:1")).run(10)
    world.gateway_accepts = False
    world.deploy(spec_of("model:2", **sections))
    world.run_until_phase("Promoting").run(5)
    world.deploy(spec_of("model:2"))
    world.run(5)
    world.gateway_accepts = True
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:1")
    check(world, hold_seconds=0)


def test_an_edited_weight_is_told_as_an_edit_and_not_as_a_passed_step() -> None:
    world = holding()
    spec = spec_of("model:2")
    spec["rollout"]["canary"]["steps"][0]["weightPercent"] = 10
    world.deploy(spec)
    world.run(5)
    assert world.weights()[world.revision_of("model:2")] == 10
    assert events(world)[-1] == "StepsChanged"
    assert "StepPassed" not in events(world)


def test_the_gateway_of_a_serving_resource_can_change() -> None:
    world = holding()
    traffic = {"gateway": {"parentRefs": [{"name": "other"}], "hostnames": ["b.example"]}}
    world.deploy(spec_of("model:2", traffic=traffic))
    world.run(2)
    assert world.status.rollout.counting_since is None, "the new gateway has not accepted the route yet"
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_a_gateway_is_added_to_and_taken_from_a_plain_service() -> None:
    world = World()
    rollout = {"watchSeconds": 30, "progressDeadlineSeconds": 120}
    world.deploy(spec_of("model:1", traffic={}, rollout=rollout))
    world.run_until(lambda: stable_is(world, "model:1")).run(10)
    world.deploy(spec_of("model:1", rollout=rollout))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable")).run(5)
    assert world.weights() == {world.revision_of("model:1"): 100}
    world.deploy(spec_of("model:1", traffic={}, rollout=rollout))
    world.run(5)
    assert list(world.api.of("HTTPRoute")) == []
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert sum(moment.failed for moment in world.moments[20:]) == 0


# Analysis -------------------------------------------------------------------------------------------------------------


def test_analysis_disabled_during_an_outage_of_its_source_lets_the_rollout_go_on() -> None:
    world = holding()
    world.prometheus.down = True
    world.run(30)
    assert world.status.rollout.missing_since is not None
    world.deploy(spec_of("model:2", analysis={"disabled": True, "intervalSeconds": 5}))
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.judged_by == "Policy"


def test_a_silent_candidate_gets_its_weight_back_when_analysis_is_disabled() -> None:
    world = holding()
    candidate = world.revision_of("model:2")
    pods = [p["metadata"]["name"] for p in world.api.of("Pod") if p["metadata"]["labels"][LABEL_REVISION] == candidate]
    world.prometheus.deaf_to = frozenset(pods)
    world.run_until(lambda: candidate not in world.weights())
    world.deploy(spec_of("model:2", analysis={"disabled": True, "intervalSeconds": 5}))
    world.run_until(lambda: world.weights().get(candidate) == 5, 60)


def test_a_candidate_that_stays_silent_is_rolled_back_at_the_missing_deadline() -> None:
    world = holding()
    candidate = world.revision_of("model:2")
    world.deploy(with_analysis(missing={"afterSeconds": 60, "action": "Pause"}))
    pods = [p["metadata"]["name"] for p in world.api.of("Pod") if p["metadata"]["labels"][LABEL_REVISION] == candidate]
    world.prometheus.deaf_to = frozenset(pods)
    world.run_until_phase("Rejected", 200)
    assert world.condition("Stalled") == ("True", "EvidenceMissingTooLong")


def test_a_person_can_promote_a_candidate_that_is_silent() -> None:
    world = holding()
    candidate = world.revision_of("model:2")
    pods = [p["metadata"]["name"] for p in world.api.of("Pod") if p["metadata"]["labels"][LABEL_REVISION] == candidate]
    world.prometheus.deaf_to = frozenset(pods)
    world.run_until(lambda: candidate not in world.weights())
    world.annotate(promote=candidate)
    world.run_until(lambda: stable_is(world, "model:2"), 120)


def test_limits_that_were_tightened_are_not_passed_by_what_was_read_before() -> None:
    world = serving(behaviours={"model:2": Behaviour(error_share=0.009)})
    loose = [{"name": "errors", "errors": {}, "limit": {"maxPercent": "5"}}]
    strict = [{"name": "errors", "errors": {}, "limit": {"maxPercent": "0.1"}, "tolerancePercent": "0.1"}]
    world.deploy(with_analysis(metrics=loose))
    world.run_until(lambda: world.status.rollout.held_seconds > 0 or len(world.status.analysis) > 0)
    world.run_until(lambda: world.status.analysis[0].verdict == "Pass")
    world.deploy(with_analysis(metrics=strict))
    world.run(200)
    assert stable_is(world, "model:1")
    assert world.status.rollout.step in {"five", None}


def test_without_any_request_undecided_promotes_nothing() -> None:
    world = serving(requests_per_second=0.0)
    world.deploy(with_analysis(undecided={"afterSeconds": 30, "action": "Promote"}))
    world.run(300)
    assert stable_is(world, "model:1")
    assert world.status.rollout.phase == "Paused"


def test_the_verdict_that_decided_is_in_the_status_even_if_it_was_the_first() -> None:
    world = serving(requests_per_second=5000, behaviours={"model:2": Behaviour(error_share=1.0)})
    world.deploy(spec_of("model:2"))
    world.run_until_phase("RollingBack")
    assert [(metric.name, metric.verdict) for metric in world.status.analysis] == [("errors", "Fail")]


# Quiet ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("analysis", [{"disabled": True, "intervalSeconds": 5}, None], ids=["disabled", "silent"])
def test_a_hold_is_no_reason_to_write_in_every_pass(analysis: dict[str, Any] | None) -> None:
    spec = spec_of("model:2", **({"analysis": analysis} if analysis else {}))
    spec["rollout"]["canary"]["steps"][0]["holdSeconds"] = 600
    world = serving()
    world.deploy(spec)
    world.run_until(lambda: world.status.rollout.counting_since is not None).run(10)
    writes = len(world.api.writes)
    world.run(300)
    assert len(world.api.writes) - writes <= 300 / 60 + 1


def test_a_suspended_rollout_is_quiet() -> None:
    world = holding()
    world.deploy(spec_of("model:2") | {"suspend": True})
    world.run(10)
    world.prometheus.down = True
    pods_die(world, "model:2")
    world.run(20)
    writes = len(world.api.writes)
    world.run(600)
    assert len(world.api.writes) == writes
    assert world.condition("Reconciling") == ("True", "Suspended")


# Time that does not count ---------------------------------------------------------------------------------------------


def held(world: World) -> float:
    rollout = world.status.rollout
    running = (world.now - rollout.counting_since).total_seconds() if rollout.counting_since else 0.0
    return rollout.held_seconds + max(0.0, running)


def long_hold(**world: object) -> World:
    made = serving(**world)
    spec = spec_of("model:2")
    spec["rollout"]["canary"]["steps"][0]["holdSeconds"] = 3000
    made.deploy(spec)
    return made.run_until(lambda: made.status.rollout.counting_since is not None).run(20)


def test_time_in_which_the_resource_was_suspended_does_not_count_as_held() -> None:
    world = long_hold()
    spec = world.api.find("ModelDeployment", NAMESPACE, "fraud")["spec"]  # type: ignore[index]
    world.deploy(spec | {"suspend": True})
    world.run(290)
    world.api.edit("Service", NAMESPACE, "fraud", lambda m: m["metadata"].update(labels={"touched": "yes"}))
    world.run(5)
    world.deploy(spec | {"suspend": False})
    world.run(5)
    assert held(world) <= 60


# Pause ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["canary", "blueGreen"])
def test_paused_before_it_is_ready_a_candidate_gets_no_traffic(strategy: str) -> None:
    world = serving()
    spec = spec_of("model:2")
    if strategy == "blueGreen":
        del spec["rollout"]["canary"]
    world.annotate(pause="true")
    world.deploy(spec)
    world.run(300)
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert world.condition("Paused") == ("True", "PausedByPerson")
    assert world.status.rejected == ()
    world.annotate(pause=None)
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world, hold_seconds=60 if strategy == "canary" else 0)


def test_a_pause_while_it_grows_to_take_all_traffic_keeps_it_at_the_share_of_its_step() -> None:
    world = holding()
    second = world.revision_of("model:2")
    world.run_until_phase("Promoting")
    world.annotate(pause="true")
    world.run(300)
    assert world.weights()[second] == 50
    assert world.condition("Paused") == ("True", "PausedByPerson")
    assert "Paused" in events(world)
    world.annotate(pause=None)
    resumed_at = world.now
    world.run_until(lambda: stable_is(world, "model:2"))
    assert (world.now - resumed_at).total_seconds() < 40, "what was held before the pause counts"
    assert world.status.rollout.judged_by == "Metrics"
    check(world)


def test_a_candidate_that_gets_worse_while_its_promotion_is_paused_is_rolled_back() -> None:
    world = holding()
    world.run_until_phase("Promoting")
    world.annotate(pause="true")
    world.run(30)
    world.behaviours["model:2"] = Behaviour(error_share=0.5)
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:1")
    check(world)


def test_a_pause_after_all_traffic_was_given_comes_too_late_and_says_so() -> None:
    world = holding()
    second = world.revision_of("model:2")
    world.gateway_delay_seconds = 15
    world.run_until(lambda: world.weights() == {second: 100})
    world.annotate(pause="true")
    world.run(5)
    assert world.status.rollout.phase == "Promoting"
    assert world.condition("Paused") == ("False", "Running")
    assert f"all requests go to {second} already" in message_of(world, "Paused")
    world.run_until_phase("Watching")
    assert "the watch goes on" in message_of(world, "Paused")
    world.run_until_phase("Idle")
    assert "the next candidate gets no traffic until it is gone" in message_of(world, "Paused")
    check(world)


def test_a_person_who_promotes_while_paused_is_obeyed_and_told_so() -> None:
    world = holding()
    second = world.revision_of("model:2")
    world.annotate(pause="true")
    world.run_until_phase("Paused")
    world.annotate(promote=second)
    world.run_until_phase("Promoting")
    assert f"a person asked for; serinus.dev/abort: {second} does" in message_of(world, "Paused")
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.judged_by == "Person"
    check(world)


def test_a_pause_does_not_keep_the_first_revision_from_serving_and_does_not_claim_to() -> None:
    world = World()
    world.deploy(spec_of("model:1"))
    world.annotate(pause="true")
    world.run_until_phase("Starting").run(2)
    assert world.condition("Paused") == ("False", "Running")
    world.run_until(lambda: stable_is(world, "model:1"), 30)


def message_of(world: World, condition: str) -> str:
    return next(c.message for c in world.status.conditions if c.type == condition)


def test_of_two_actions_at_once_the_safe_one_wins() -> None:
    world = holding()
    second = world.revision_of("model:2")
    world.annotate(promote=second, abort=second)
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:1")
    assert {(action.action, action.value) for action in world.status.actions} == {
        ("abort", second),
        ("promote", second),
    }


def test_abort_while_it_takes_all_traffic_puts_everything_back() -> None:
    world = holding()
    second = world.revision_of("model:2")
    world.gateway_delay_seconds = 5
    world.annotate(promote=second)
    world.run_until_phase("Promoting").run(6)
    world.annotate(abort=second)
    world.run_until_phase("Rejected")
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert sum(moment.failed for moment in world.moments[20:]) == 0
    check(world)


def test_retry_while_it_is_still_being_rolled_back_does_nothing_and_says_so() -> None:
    world = holding()
    second = world.revision_of("model:2")
    world.annotate(abort=second)
    world.run_until_phase("RollingBack")
    world.annotate(retry=second)
    world.run_until_phase("Rejected").run(60)
    assert stable_is(world, "model:1")
    assert any(note.happening == "ActionIgnored" and "retry" in note.message for note in world.notes)
