"""A platform team sets policies, changes them and takes them back, before and in the middle of rollouts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.world.api_server import Faults
from tests.world.invariants import check
from tests.world.test_preflight import PREFLIGHT
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour, JobBehaviour
from tests.world.world import World, spec_of

STEPS: list[dict[str, Any]] = [
    {"name": "five", "weightPercent": 5, "holdSeconds": 60},
    {"name": "half", "weightPercent": 50, "holdSeconds": 60},
]
TIMES = {"progressDeadlineSeconds": 120, "watchSeconds": 60, "scaleDownDelaySeconds": 60}
ERRORS: dict[str, Any] = {"name": "errors", "errors": {}, "limit": {"maxPercent": "1"}}
LOOSE = {**ERRORS, "limit": {"maxPercent": "40"}}
GIVES_STEPS: dict[str, Any] = {"defaults": {"rollout": {"canary": {"steps": STEPS}}}}
FORBIDS_AUTOMATIC: dict[str, Any] = {"bounds": {"rollout": {"allowedAutomation": ["Supervised"]}}}


def without_strategy(image: str, **rollout: Any) -> dict[str, Any]:
    return spec_of(image, rollout=TIMES | rollout)


def governed(policy: dict[str, Any], spec: dict[str, Any], **world: Any) -> World:
    """A world in which `model:1` serves under a policy."""
    made = World(**world)
    made.govern(policy)
    made.deploy(spec)
    return made.run_until(lambda: made.condition("Ready") == ("True", "Stable"))


def stalled(world: World) -> str:
    """Reason of Stalled, "" where it is not."""
    status, reason = world.condition("Stalled")
    return reason if status == "True" else ""


def told(world: World) -> str:
    return next(c.message for c in world.status.conditions if c.type == "Stalled")


def at_five(world: World, image: str = "model:2") -> World:
    return world.run_until(lambda: world.weights().get(world.revision_of(image), 0) == 5).run(10)


# Defaults -------------------------------------------------------------------------------------------------------------


def test_a_resource_without_a_strategy_goes_through_the_steps_of_the_policy_and_says_whose_they_are() -> None:
    world = governed(GIVES_STEPS, without_strategy("model:1"))
    world.deploy(without_strategy("model:2"))
    at_five(world)
    (policy,) = world.status.policies
    assert (policy.kind, policy.name) == ("ClusterRolloutPolicy", "house")
    assert [field.field for field in policy.fields] == ["spec.rollout.canary"]
    assert '"weightPercent": 5' in policy.fields[0].value
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_policies_never_make_a_revision_and_leave_an_idle_resource_alone() -> None:
    world = serving()
    revision = world.status.stable
    world.govern({"defaults": {"analysis": {"intervalSeconds": 30}, "rollout": {"watchSeconds": 1}}})
    world.run(30)
    writes = len(world.api.writes)
    world.govern({"defaults": {"analysis": {"intervalSeconds": 40}, "rollout": {"watchSeconds": 2}}})
    world.run(30)
    world.govern(None)
    world.run(30)
    assert world.status.stable == revision
    assert world.status.candidate is None
    assert [write.verb for write in world.api.writes[writes:]] == ["status"]  # that there is no policy any more
    assert stalled(world) == ""
    check(world)


def test_steps_that_a_policy_changes_are_found_by_their_names() -> None:
    world = governed(GIVES_STEPS, without_strategy("model:1"))
    world.deploy(without_strategy("model:2"))
    at_five(world)
    longer = [{**STEPS[0], "holdSeconds": 90}, {"name": "quarter", "weightPercent": 25, "holdSeconds": 60}, STEPS[1]]
    world.govern({"defaults": {"rollout": {"canary": {"steps": longer}}}})
    world.run_until(lambda: world.status.rollout.step == "quarter")
    assert world.status.rollout.step_count == 3
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


# Bounds ---------------------------------------------------------------------------------------------------------------


def test_a_new_revision_outside_the_bounds_does_not_start_and_the_old_one_serves() -> None:
    world = serving()
    world.govern(FORBIDS_AUTOMATIC)
    world.run_until(lambda: stalled(world) == "PolicyViolated")
    world.deploy(spec_of("model:2"))
    world.run(120)
    assert world.status.candidate is None
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert world.condition("Available") == ("True", "Serving")
    assert told(world) == (
        "spec.rollout.automation: ClusterRolloutPolicy house allows Supervised, and it is Automatic; set "
        "spec.rollout.automation to Supervised, or ask its owner"
    )
    check(world)


@pytest.mark.parametrize("mended_by", ["resource", "policy"])
def test_it_goes_on_as_soon_as_the_resource_or_the_policy_is_mended(mended_by: str) -> None:
    world = serving()
    world.govern({"bounds": {"rollout": {"minWatchSeconds": 61}}})
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stalled(world) == "PolicyViolated").run(20)
    if mended_by == "policy":
        world.govern({"bounds": {"rollout": {"minWatchSeconds": 60}}})
    else:
        spec = spec_of("model:2")
        world.deploy(spec | {"rollout": spec["rollout"] | {"watchSeconds": 61}})
    world.run_until(lambda: stable_is(world, "model:2"))
    assert stalled(world) == ""
    check(world)


def test_pods_of_a_resource_outside_the_bounds_are_still_put_back() -> None:
    world = serving()
    world.govern(FORBIDS_AUTOMATIC)
    world.run_until(lambda: stalled(world) == "PolicyViolated")
    (replica_set,) = world.api.of("ReplicaSet")
    world.api.remove("ReplicaSet", "models", replica_set["metadata"]["name"])
    world.run_until(lambda: world.condition("Available") == ("True", "Serving") and len(list(world.api.of("Pod"))) == 3)


def test_a_bound_that_is_tightened_in_a_rollout_holds_it_where_it_is() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    at_five(world)
    world.govern(FORBIDS_AUTOMATIC)
    world.run(300)
    assert stalled(world) == "PolicyViolated"
    first, second = world.revision_of("model:1"), world.revision_of("model:2")
    assert world.weights() == {first: 95, second: 5}
    assert world.status.rollout.step == "five"
    world.govern(None)
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_a_held_rollout_is_still_rolled_back_when_it_fails() -> None:
    world = serving(behaviours={"model:2": Behaviour(error_share=0.3)}, requests_per_second=20)
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: world.weights().get(world.revision_of("model:2"), 0) == 5)
    world.govern(FORBIDS_AUTOMATIC)
    world.run_until(lambda: [each.reason for each in world.status.rejected] == ["MetricFailed"])
    world.run_until(lambda: world.weights() == {world.revision_of("model:1"): 100})
    check(world)


def test_a_held_rollout_can_be_aborted_and_not_promoted() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    at_five(world)
    world.govern(FORBIDS_AUTOMATIC)
    world.run_until(lambda: stalled(world) == "PolicyViolated")
    second = world.revision_of("model:2")
    world.annotate(promote=second)
    world.run(60)
    assert world.weights()[second] == 5
    world.annotate(promote=None, abort=second)
    world.run_until(lambda: world.weights() == {world.revision_of("model:1"): 100})
    check(world)


def test_a_promotion_that_is_written_stays_and_the_watch_still_returns() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Watching").run(5)
    world.govern(FORBIDS_AUTOMATIC)
    world.run_until(lambda: stalled(world) == "PolicyViolated")
    world.behaviours["model:2"] = Behaviour(error_share=0.5)
    world.run_until(lambda: stable_is(world, "model:1"))
    assert world.weights() == {world.revision_of("model:1"): 100}


def test_a_policy_in_audit_is_told_and_stands_in_nobodys_way() -> None:
    world = serving()
    world.govern({"bounds": {**FORBIDS_AUTOMATIC["bounds"], "mode": "Audit"}})
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))
    (policy,) = world.status.policies
    assert policy.violations[0].startswith("spec.rollout.automation: ClusterRolloutPolicy house allows Supervised")
    assert stalled(world) == ""
    check(world)


def test_a_required_approval_is_waited_for() -> None:
    policy = {"bounds": {"rollout": {"requireApproval": True}}, "defaults": {"rollout": {"automation": "Supervised"}}}
    world = governed(policy, spec_of("model:1"))
    world.deploy(spec_of("model:2"))
    world.run_until_phase("AwaitingApproval")
    world.run(120)
    second = world.revision_of("model:2")
    assert world.weights()[second] == 50
    world.annotate(approve=f"{second}/{world.status.rollout.step}")
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


# What is taken back ---------------------------------------------------------------------------------------------------


def test_a_rollout_whose_steps_are_deleted_with_their_policy_waits_and_is_not_switched_unjudged() -> None:
    world = governed(GIVES_STEPS, without_strategy("model:1"))
    world.deploy(without_strategy("model:2"))
    at_five(world)
    world.govern(None)
    world.run(100).restart_operator()
    world.run(200)
    assert stalled(world) == "PolicyGone"
    assert "spec.rollout.canary" in told(world)
    assert "ClusterRolloutPolicy house" in told(world)
    assert world.weights()[world.revision_of("model:2")] == 5
    check(world)


@pytest.mark.parametrize("way", ["the policy comes back", "the resource sets steps", "a person aborts"])
def test_such_a_rollout_goes_on_in_three_ways(way: str) -> None:
    world = governed(GIVES_STEPS, without_strategy("model:1"))
    world.deploy(without_strategy("model:2"))
    at_five(world)
    world.govern(None)
    world.run_until(lambda: stalled(world) == "PolicyGone")
    if way == "the policy comes back":
        world.govern(GIVES_STEPS)
    elif way == "the resource sets steps":
        world.deploy(without_strategy("model:2", canary={"steps": STEPS}))
    else:
        world.annotate(abort=world.revision_of("model:2"))
    image = "model:1" if way == "a person aborts" else "model:2"
    world.run_until(lambda: world.weights() == {world.revision_of(image): 100} and world.status.candidate is None)
    world.run(200)
    assert world.status.policies == () or way == "the policy comes back"
    check(world)


def test_a_rollout_that_waits_for_an_approval_does_not_lose_it_with_the_policy() -> None:
    world = governed({"defaults": {"rollout": {"automation": "Supervised"}}}, spec_of("model:1"))
    world.deploy(spec_of("model:2"))
    world.run_until_phase("AwaitingApproval")
    world.govern(None)
    world.run(200)
    assert stalled(world) == "PolicyGone"
    assert world.weights()[world.revision_of("model:2")] == 50
    check(world)


def test_a_candidate_that_a_policy_has_tried_first_gets_no_request_untried_when_the_policy_goes() -> None:
    """Without a policy it would be switched to on readiness."""
    policy: dict[str, Any] = {"defaults": {"rollout": PREFLIGHT}}
    world = governed(policy, without_strategy("model:1"), jobs={"model:2": JobBehaviour(seconds=60)})
    world.deploy(without_strategy("model:2"))
    world.run_until(lambda: world.status.rollout.preflight is not None).run(20)
    world.govern(None)
    world.run(30).restart_operator()
    world.run(200)
    assert stalled(world) == "PolicyGone"
    assert "spec.rollout.preflight of ClusterRolloutPolicy house" in told(world)
    second = world.revision_of("model:2")
    assert second
    assert not any(second in moment.weights for moment in world.moments)
    world.govern(policy)
    world.run_until(lambda: stable_is(world, "model:2"))
    assert len([entry for entry in world.status.history if entry.event == "PreflightPassed"]) == 2
    check(world)


def test_who_wants_to_go_on_without_such_a_preflight_aborts_and_tries_again() -> None:
    world = governed({"defaults": {"rollout": PREFLIGHT}}, spec_of("model:1"), jobs={"model:2": JobBehaviour(60)})
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: world.status.rollout.preflight is not None)
    world.govern(None)
    world.run_until(lambda: stalled(world) == "PolicyGone")
    second = world.revision_of("model:2")
    assert f"serinus.dev/abort: {second}" in told(world)
    world.annotate(abort=second)
    world.run_until_phase("Rejected")
    world.annotate(retry=second)
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_a_rollout_whose_candidate_was_tried_goes_on_when_the_policy_that_asked_for_it_goes() -> None:
    policy: dict[str, Any] = {"defaults": {"rollout": PREFLIGHT}}
    world = governed(policy, spec_of("model:1"))
    world.deploy(spec_of("model:2"))
    at_five(world)
    world.govern(None)
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_a_failing_candidate_is_rolled_back_also_when_its_policy_is_gone() -> None:
    bad = Behaviour(error_share=0.3)
    world = governed(GIVES_STEPS, without_strategy("model:1"), behaviours={"model:2": bad}, requests_per_second=20)
    world.deploy(without_strategy("model:2"))
    world.run_until(lambda: world.weights().get(world.revision_of("model:2"), 0) == 5)
    world.govern(None)
    world.run_until(lambda: [each.reason for each in world.status.rejected] == ["MetricFailed"])
    world.run_until_phase("Rejected")
    check(world)


# Shared metrics -------------------------------------------------------------------------------------------------------


def sharing(image: str) -> dict[str, Any]:
    return spec_of(image, analysis={"intervalSeconds": 5, "sharedMetrics": ["errors"]})


def test_a_shared_metric_judges() -> None:
    world = governed({"metrics": [ERRORS]}, sharing("model:1"), behaviours={"model:2": Behaviour(error_share=0.3)})
    world.deploy(sharing("model:2"))
    world.run_until_phase("Rejected")
    assert world.status.rejected[0].reason == "MetricFailed"
    (policy,) = world.status.policies
    assert policy.metrics == ("errors",)
    check(world)


def test_a_limit_that_is_changed_in_the_policy_judges_the_rollout_under_way() -> None:
    world = governed({"metrics": [LOOSE]}, sharing("model:1"), behaviours={"model:2": Behaviour(error_share=0.2)})
    world.deploy(sharing("model:2"))
    at_five(world)
    assert world.status.rejected == ()
    world.govern({"metrics": [ERRORS]})
    world.run_until(lambda: [each.reason for each in world.status.rejected] == ["MetricFailed"])
    check(world)


def test_a_metric_that_nobody_defines_any_more_holds_the_rollout_and_nothing_is_promoted() -> None:
    world = governed({"metrics": [ERRORS]}, sharing("model:1"))
    world.deploy(sharing("model:2"))
    at_five(world)
    world.govern({"metrics": []})
    world.run(300)
    assert stalled(world) == "MetricUndefined"
    assert "errors" in told(world)
    assert world.weights()[world.revision_of("model:2")] == 5
    world.govern({"metrics": [ERRORS]})
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


@pytest.mark.parametrize("seconds", range(50, 64, 2))
def test_verdicts_by_an_older_definition_decide_nothing(seconds: int) -> None:
    """One that would end the step is being read while the policy changes, at some of these moments."""
    world = governed({"metrics": [LOOSE]}, sharing("model:1"), behaviours={"model:2": Behaviour(error_share=0.2)})
    world.deploy(sharing("model:2"))
    world.run_until(lambda: world.status.rollout.counting_since is not None).run(seconds)
    world.prometheus.slow_seconds = 3
    world.run(6)
    world.govern({"metrics": [ERRORS]})
    changed_at = world.now
    world.run_until(lambda: bool(world.status.rejected))
    passed = [each for each in world.status.history if each.event == "StepPassed" and each.at > changed_at]
    assert passed == []
    check(world)


def test_what_a_policy_gave_is_as_it_was_after_a_crash_at_any_write() -> None:
    """Also when the policy goes while nobody looks."""
    for number in range(1, 12):
        world = governed(GIVES_STEPS, without_strategy("model:1"))
        world.api.faults = Faults(kill_after=frozenset({len(world.api.writes) + number}))
        world.deploy(without_strategy("model:2"))
        world.run_until(lambda w=world: bool(w.weights().get(w.revision_of("model:2"))))
        world.stop_operator()
        world.govern(None)
        world.run(20).restart_operator()
        world.run(200)
        assert stalled(world) == "PolicyGone", number
        assert world.weights()[world.revision_of("model:2")] == 5
        check(world)
