"""People in the loop: approvals, the degrees of automation, and every action by annotation, once each."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.reasons import Happening, JudgedBy, Recommendation
from tests.world.api_server import Faults
from tests.world.invariants import check, every_action_takes_effect_once
from tests.world.test_edits import holding
from tests.world.test_midway import pods_of
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import ANNOTATOR, World, spec_of

SIGN_OFF = {"name": "sign-off", "approval": {}}


def with_steps(image: str, *steps: dict[str, Any], automation: str = "Automatic") -> dict[str, Any]:
    """`spec_of(image)` with these steps (none: blue-green)."""
    spec = spec_of(image)
    spec["rollout"] |= {"automation": automation}
    spec["rollout"].pop("canary")
    if steps:
        spec["rollout"]["canary"] = {"steps": list(steps)}
    return spec


def weight(name: str, percent: int, hold_seconds: int = 60) -> dict[str, Any]:
    return {"name": name, "weightPercent": percent, "holdSeconds": hold_seconds}


def supervised(image: str) -> dict[str, Any]:
    return with_steps(image, weight("five", 5), weight("half", 50), automation="Supervised")


def awaiting(spec: dict[str, Any], **world: object) -> World:
    """A candidate of `spec`, waiting for its first approval beside `model:1`."""
    made = serving(**world)  # type: ignore[arg-type]
    made.deploy(spec)
    return made.run_until_phase("AwaitingApproval")


def approve(world: World, token: str = "1") -> World:
    """The step in which the candidate waits."""
    assert world.status.candidate is not None
    world.annotate(approve=f"{world.status.candidate.revision}/{world.status.rollout.step}#{token}")
    return world


def events(world: World) -> list[str]:
    return [str(entry.event) for entry in reversed(world.status.history)]


def ignored(world: World) -> list[str]:
    return [note.message for note in world.notes if note.happening == "ActionIgnored"]


# Approvals ------------------------------------------------------------------------------------------------------------


def test_an_approval_keeps_the_weight_of_the_step_before_for_as_long_as_it_takes_and_then_goes_on() -> None:
    world = awaiting(with_steps("model:2", weight("five", 5), SIGN_OFF, weight("half", 50)))
    candidate = world.revision_of("model:2")
    world.run(1000)
    assert world.status.rollout.phase == "AwaitingApproval"
    assert world.weights() == {world.revision_of("model:1"): 95, candidate: 5}
    assert world.condition("Paused") == ("True", "AwaitingApproval")
    assert world.condition("Ready") == ("False", "RolloutInProgress")
    assert world.condition("Reconciling") == ("True", "AwaitingApproval")
    assert world.condition("Stalled") == ("False", "NotStalled")
    assert world.condition("Available") == ("True", "Serving")
    assert f"serinus.dev/approve: {candidate}/sign-off" in world.status.rollout.message
    assert world.status.rollout.recommendation is Recommendation.APPROVE
    approve(world).run_until(lambda: world.weights().get(candidate) == 50)
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.judged_by is JudgedBy.METRICS
    assert world.status.rollout.recommendation is None
    check(world)


def test_an_approval_first_keeps_a_ready_candidate_without_requests() -> None:
    world = awaiting(with_steps("model:2", SIGN_OFF, weight("half", 50)))
    candidate = world.revision_of("model:2")
    writes = len(world.run(10).api.writes)
    world.run(600)
    assert len(world.api.writes) == writes, "who waits for a person and measures nothing is quiet"
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert world.moments[-1].ready[candidate] == 2, "it has the pods of its first share"
    approve(world).run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_an_approval_last_is_what_the_promotion_waits_for() -> None:
    world = awaiting(with_steps("model:2", weight("half", 50), SIGN_OFF))
    world.run(500)
    assert world.weights()[world.revision_of("model:2")] == 50
    approve(world).run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_a_candidate_that_fails_while_it_waits_for_an_approval_is_rolled_back_and_can_not_be_approved() -> None:
    world = awaiting(with_steps("model:2", weight("half", 50), SIGN_OFF))
    bad = world.revision_of("model:2")
    world.run(100)
    world.behaviours["model:2"] = Behaviour(error_share=0.5)
    world.run_until_phase("RollingBack")
    world.annotate(approve=f"{bad}/sign-off")
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:1")
    assert world.condition("Stalled") == ("True", "MetricFailed")
    assert len(ignored(world)) == 1
    check(world)


def test_a_candidate_that_loses_its_pods_while_it_waits_loses_its_weight_and_after_the_deadline_goes() -> None:
    world = awaiting(with_steps("model:2", weight("half", 50), SIGN_OFF))
    bad = world.revision_of("model:2")
    world.behaviours["model:2"] = Behaviour(never_ready=True)
    world.run_until(lambda: world.weights() == {world.revision_of("model:1"): 100}, 10)
    assert world.condition("Reconciling") == ("True", "PodsNotReady")
    world.run_until_phase("Rejected", 400)
    assert world.condition("Stalled") == ("True", "ProgressDeadlineExceeded")
    assert world.replicas()[bad] == 0
    check(world, pods_crash=True)


def test_a_pod_that_comes_back_while_an_approval_is_waited_for_is_waited_for_and_nothing_else_happens() -> None:
    world = awaiting(with_steps("model:2", weight("half", 50), SIGN_OFF))
    world.restart(pods_of(world, "model:2")[0])
    world.run(400)
    assert world.status.rollout.phase == "AwaitingApproval"
    assert world.weights()[world.revision_of("model:2")] == 50
    assert world.status.rollout.short_since is None


def test_an_approval_during_a_pause_is_carried_out_when_the_pause_is_over() -> None:
    world = awaiting(with_steps("model:2", weight("five", 5), SIGN_OFF, weight("half", 50)))
    world.annotate(pause="true")
    approve(world.run(5)).run(30)
    assert world.status.rollout.step == "sign-off"
    assert world.condition("Paused") == ("True", "PausedByPerson")
    world.annotate(pause=None)
    world.run_until(lambda: world.status.rollout.step == "half", 5)
    check(world)


def test_a_new_spec_while_an_approval_is_waited_for_takes_the_candidate_back_and_needs_its_own_approval() -> None:
    steps = (weight("five", 5), SIGN_OFF, weight("half", 50))
    world = awaiting(with_steps("model:2", *steps))
    world.annotate(approve=f"{world.revision_of('model:2')}/sign-off")
    world.deploy(with_steps("model:3", *steps))
    world.run_until(lambda: world.status.candidate is not None and world.revision_of("model:3") != "")
    world.run_until_phase("AwaitingApproval").run(100)
    assert world.status.candidate is not None
    assert world.status.candidate.revision == world.revision_of("model:3")
    check(world)


def test_an_approval_that_comes_with_edited_steps_passes_no_other_step() -> None:
    world = awaiting(with_steps("model:2", weight("five", 5), SIGN_OFF, weight("half", 50)))
    world.deploy(with_steps("model:2", SIGN_OFF, weight("half", 50), {"name": "review", "approval": {}}))
    approve(world).run(3)
    assert (world.status.rollout.phase, world.status.rollout.step) == ("Holding", "half")
    world.run_until_phase("AwaitingApproval").run(60)
    assert world.status.rollout.step == "review"
    check(world)


def test_an_approval_that_is_taken_out_of_the_spec_holds_the_step_before_it_again() -> None:
    world = awaiting(with_steps("model:2", weight("five", 5), SIGN_OFF, weight("half", 50)))
    world.deploy(with_steps("model:2", weight("five", 5), weight("half", 50)))
    world.run(3)
    assert (world.status.rollout.phase, world.status.rollout.step) == ("Holding", "five")
    assert world.weights()[world.revision_of("model:2")] == 5
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_a_step_that_becomes_an_approval_is_one_at_once() -> None:
    world = holding()
    world.deploy(with_steps("model:2", {"name": "five", "approval": {}}, weight("half", 50)))
    world.run_until(lambda: world.weights() == {world.revision_of("model:1"): 100}, 10)
    assert world.status.rollout.phase == "AwaitingApproval"
    world.deploy(with_steps("model:2", weight("five", 5), weight("half", 50)))
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_the_first_revision_needs_no_approval() -> None:
    world = World()
    world.deploy(with_steps("model:1", SIGN_OFF, weight("half", 50), automation="Manual"))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"), 60)


# Automation -----------------------------------------------------------------------------------------------------------


def test_supervised_asks_before_all_traffic() -> None:
    world = awaiting(supervised("model:2"))
    assert world.status.rollout.step == "before-promotion"
    assert world.weights()[world.revision_of("model:2")] == 50
    approve(world).run_until(lambda: stable_is(world, "model:2"))
    assert events(world).count("Approved") == 1
    check(world)


def test_supervised_asks_before_a_blue_green_switch_with_the_candidate_at_full_size() -> None:
    world = awaiting(with_steps("model:2", automation="Supervised"))
    world.run(300)
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert world.moments[-1].ready[world.revision_of("model:2")] == 3
    assert world.api.find("Service", "models", "fraud-candidate") is not None
    approve(world).run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.judged_by is JudgedBy.PERSON
    check(world)


def test_supervised_rolls_back_by_itself() -> None:
    world = serving(behaviours={"model:2": Behaviour(error_share=0.3)})
    world.deploy(supervised("model:2"))
    world.run_until_phase("Rejected")
    assert world.condition("Stalled") == ("True", "MetricFailed")
    check(world)


def test_supervision_that_begins_on_the_way_to_all_traffic_is_heeded() -> None:
    world = serving()
    world.behaviours["model:2"] = Behaviour(startup_seconds=20)
    world.deploy(with_steps("model:2", weight("five", 5)))
    world.run_until_phase("Promoting")
    world.deploy(with_steps("model:2", weight("five", 5), automation="Supervised"))
    world.run_until_phase("AwaitingApproval", 3).run(60)
    assert world.weights()[world.revision_of("model:2")] == 5
    approve(world).run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_manual_changes_no_share_without_a_person_and_says_what_the_evidence_recommends() -> None:
    world = awaiting(with_steps("model:2", weight("five", 5), weight("half", 50), automation="Manual"))
    candidate = world.revision_of("model:2")
    asked = []
    for share in (0, 5, 50):
        world.run_until_phase("AwaitingApproval").run(60)
        assert world.weights().get(candidate, 0) == share
        asked.append(world.status.rollout.step)
        approve(world, token=str(share)).run(2)
    world.run_until(lambda: stable_is(world, "model:2"))
    assert asked == ["before-five", "before-half", "before-promotion"]
    check(world)


def test_manual_does_not_roll_back_but_recommends_it() -> None:
    world = awaiting(with_steps("model:2", weight("half", 50), automation="Manual"))
    bad = world.revision_of("model:2")
    approve(world).run_until(lambda: world.weights().get(bad) == 50)
    world.behaviours["model:2"] = Behaviour(error_share=0.5)
    world.run_until(lambda: world.status.rollout.recommendation is Recommendation.ABORT).run(300)
    assert world.weights()[bad] == 50
    assert [str(note.happening) for note in world.notes].count("Recommended") == 1
    assert [entry.event for entry in world.status.history].count(Happening.RECOMMENDED) == 1
    assert f"serinus.dev/abort: {bad}" in world.status.rollout.message
    world.annotate(abort=bad)
    world.run_until_phase("Rejected")
    assert world.weights() == {world.revision_of("model:1"): 100}


def test_manual_returns_after_the_promotion_only_by_a_person() -> None:
    world = awaiting(with_steps("model:2", automation="Manual"))
    approve(world).run_until_phase("Watching")
    world.behaviours["model:2"] = Behaviour(error_share=0.5)
    world.run_until(lambda: world.status.rollout.recommendation is Recommendation.ABORT)
    assert stable_is(world, "model:2")
    world.annotate(abort=world.revision_of("model:2"))
    world.run_until(lambda: world.weights() == {world.revision_of("model:1"): 100}, 10)


def test_automation_that_becomes_automatic_goes_on_by_itself() -> None:
    world = awaiting(supervised("model:2"))
    world.deploy(with_steps("model:2", weight("five", 5), weight("half", 50)))
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


# Actions --------------------------------------------------------------------------------------------------------------


def test_abort_in_a_step_takes_the_weight_off_and_leaves_stable_at_full_size() -> None:
    world = holding()
    world.annotate(abort=world.revision_of("model:2"))
    world.run_until(lambda: world.weights() == {world.revision_of("model:1"): 100}, 5)
    world.run_until_phase("Rejected")
    assert world.replicas() == {world.revision_of("model:1"): 3, world.revision_of("model:2"): 0}
    entry = next(each for each in world.status.history if each.event == "RolledBack")
    assert (entry.by, entry.field_manager) == ("person", ANNOTATOR)
    (handled,) = world.status.actions
    assert (handled.action, handled.carried_out, handled.field_manager) == ("abort", True, ANNOTATOR)
    assert handled.at is not None
    check(world)


def test_abort_with_nothing_in_progress_does_nothing_and_says_so() -> None:
    world = serving().run(100)
    weights, replicas = world.weights(), world.replicas()
    world.annotate(abort=world.revision_of("model:1"))
    world.run(30)
    assert (world.weights(), world.replicas()) == (weights, replicas)
    assert world.condition("Ready") == ("True", "Stable")
    assert len(ignored(world)) == 1
    assert "no rollout is under way" in ignored(world)[0]
    assert [each.carried_out for each in world.status.actions] == [False]
    writes = len(world.api.writes)
    world.run(300)
    assert len(world.api.writes) == writes


def test_abort_then_retry_begins_at_the_first_step_with_no_old_verdict() -> None:
    world = holding()
    second = world.revision_of("model:2")
    world.run_until(lambda: world.status.rollout.step == "half").run(20)
    world.annotate(abort=second)
    world.run_until_phase("Rejected")
    world.annotate(retry=second)
    world.run_until_phase("Starting")
    assert world.status.analysis == ()
    world.run_until_phase("Holding")
    assert world.status.rollout.step == "five"
    assert world.status.rollout.evidence_started_at is None
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_abort_after_promote_wins() -> None:
    world = holding()
    second = world.revision_of("model:2")
    world.annotate(promote=second)
    world.run_until_phase("Promoting")
    world.annotate(abort=second)
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:1")
    assert world.weights() == {world.revision_of("model:1"): 100}
    check(world)


def test_after_a_promotion_in_a_hold_nothing_is_analysed_any_more_once_the_watch_is_over() -> None:
    world = holding()
    world.annotate(promote=world.revision_of("model:2"))
    world.run_until_phase("Idle").run(10)
    asked, writes = world.prometheus._answers, len(world.api.writes)
    world.run(300)
    assert stable_is(world, "model:2")
    assert world.prometheus._answers == asked
    assert len(world.api.writes) <= writes + 2, "but for the old pods, which go"
    assert world.status.rollout.counting_since is None


def test_a_pause_longer_than_the_progress_deadline_degrades_nothing() -> None:
    world = holding()
    world.annotate(pause="true")
    world.run(1000)
    assert world.condition("Stalled") == ("False", "NotStalled")
    assert world.condition("Paused") == ("True", "PausedByPerson")
    world.annotate(pause=None)
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_skip_step_ends_the_step_that_it_names_and_no_other() -> None:
    world = holding()
    second = world.revision_of("model:2")
    world.annotate(skip_step=f"{second}/half")
    world.run(3)
    assert world.status.rollout.step == "five"
    assert "another step, five" in ignored(world)[0]
    world.annotate(skip_step=f"{second}/five")
    world.run(3)
    assert world.status.rollout.step == "half"
    world.run(3)
    assert world.status.rollout.step == "half", "once"
    world.run_until(lambda: stable_is(world, "model:2"))


def test_an_approval_can_not_be_skipped() -> None:
    world = awaiting(with_steps("model:2", weight("five", 5), SIGN_OFF, weight("half", 50)))
    world.annotate(skip_step=f"{world.revision_of('model:2')}/sign-off")
    world.run(10)
    assert world.status.rollout.step == "sign-off"
    assert "serinus.dev/approve" in ignored(world)[0]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("REVISION/sing-off", "another step, sign-off"),
        ("0000000000/sign-off", "another revision"),
        ("REVISION", "REVISION/sign-off"),
        ("true", "REVISION/sign-off"),
    ],
)
def test_an_approval_that_is_mistyped_does_nothing_and_says_why(value: str, why: str) -> None:
    world = awaiting(with_steps("model:2", weight("five", 5), SIGN_OFF, weight("half", 50)))
    revision = world.revision_of("model:2")
    world.annotate(approve=value.replace("REVISION", revision))
    world.run(30)
    assert world.status.rollout.step == "sign-off"
    (told,) = ignored(world)
    assert why.replace("REVISION", revision) in told
    (handled,) = world.status.actions
    assert (handled.carried_out, handled.message) == (False, told)


def test_an_approval_before_its_time_does_not_take_effect_later() -> None:
    world = serving()
    world.deploy(with_steps("model:2", weight("five", 5), SIGN_OFF, weight("half", 50)))
    world.run_until_phase("Holding")
    world.annotate(approve=f"{world.revision_of('model:2')}/sign-off")
    world.run_until_phase("AwaitingApproval").run(60)
    assert world.status.rollout.step == "sign-off"
    approve(world, token="now").run_until(lambda: world.status.rollout.step == "half", 3)


def test_an_annotation_of_ours_that_is_misspelt_is_told_once() -> None:
    world = holding()
    world.annotate(promot=world.revision_of("model:2"), owner="team-a")
    world.run(30)
    told = ignored(world)
    assert len(told) == 2
    assert "did you mean serinus.dev/promote?" in told[1]
    assert world.status.rollout.phase == "Holding"
    world.restart_operator()
    world.run(30)
    assert len(ignored(world)) == 2
    world.annotate(promot=None, owner=None, abort="0000000000")
    world.run(5)
    world.annotate(aprove="x")
    world.run(5)
    assert {each.action for each in world.status.actions} == {"abort", "aprove"}, "those that are gone are forgotten"


def test_while_suspended_an_action_waits() -> None:
    world = holding()
    world.deploy(spec_of("model:2") | {"suspend": True})
    world.annotate(abort=world.revision_of("model:2"))
    world.run(60)
    assert world.weights()[world.revision_of("model:2")] == 5
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Rejected")


# Returns --------------------------------------------------------------------------------------------------------------


def second_is_stable() -> World:
    """`model:2` has replaced `model:1`, which has no pods any more."""
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))
    return world.run_until(lambda: world.replicas()[world.revision_of("model:1")] == 0).run(10)


def test_a_return_to_a_kept_revision_skips_the_steps_and_sets_the_spec_aside_until_it_changes() -> None:
    world = second_is_stable()
    first, second = world.revision_of("model:1"), world.revision_of("model:2")
    world.annotate(return_to=first)
    world.run_until(lambda: world.weights() == {first: 100}, 30)
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:1")
    assert world.replicas() == {first: 3, second: 0}
    assert world.condition("Stalled") == ("True", "Returned")
    assert world.condition("Ready") == ("False", "Returned")
    assert world.condition("Available") == ("True", "Serving")
    assert [each.revision for each in world.status.rejected] == [second]
    writes = len(world.api.writes)
    world.run(300)
    assert len(world.api.writes) == writes, "it stays so, and is quiet"
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"), 10)
    assert world.status.rejected == ()
    check(world)


def test_no_request_is_lost_in_a_return() -> None:
    world = second_is_stable()
    world.annotate(return_to=world.revision_of("model:1"))
    world.run_until_phase("Rejected")
    assert sum(moment.failed for moment in world.moments[20:]) == 0


def test_a_return_to_a_warm_revision_takes_seconds() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Watching").run(5)
    first = world.revision_of("model:1")
    world.annotate(return_to=first)
    world.run_until(lambda: world.weights() == {first: 100}, 5)
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:1")
    check(world)


def test_after_a_return_a_retry_tries_the_revision_of_the_spec_from_its_first_step() -> None:
    world = second_is_stable()
    world.annotate(return_to=world.revision_of("model:1"))
    world.run_until_phase("Rejected")
    world.annotate(retry=world.revision_of("model:2"))
    world.run_until_phase("Holding")
    assert world.status.rollout.step == "five"
    world.run_until(lambda: stable_is(world, "model:2")).run_until_phase("Idle")
    assert world.condition("Ready") == ("True", "Stable")
    check(world)


def test_after_a_return_another_spec_goes_through_its_steps() -> None:
    world = second_is_stable()
    world.annotate(return_to=world.revision_of("model:1"))
    world.run_until_phase("Rejected")
    world.deploy(spec_of("model:3"))
    world.run_until(lambda: stable_is(world, "model:3"))
    assert world.status.rejected == ()
    check(world)


def test_a_return_that_does_not_get_its_pods_ends_and_what_serves_goes_on() -> None:
    world = second_is_stable()
    first = world.revision_of("model:1")
    world.behaviours["model:1"] = Behaviour(never_ready=True)
    world.annotate(return_to=first)
    world.run_until(lambda: "RolledBack" in events(world), 300)
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"), 60)
    assert stable_is(world, "model:2")
    assert world.replicas()[first] == 0
    check(world)


def test_a_new_spec_during_a_return_ends_it() -> None:
    world = second_is_stable()
    world.behaviours["model:1"] = Behaviour(startup_seconds=60)
    world.annotate(return_to=world.revision_of("model:1"))
    world.run_until_phase("Promoting").run(5)
    world.deploy(spec_of("model:3"))
    world.run_until(lambda: stable_is(world, "model:3"))
    assert "Superseded" in events(world)
    check(world)


def test_a_return_can_be_aborted() -> None:
    world = second_is_stable()
    first = world.revision_of("model:1")
    world.behaviours["model:1"] = Behaviour(startup_seconds=60)
    world.annotate(return_to=first)
    world.run_until_phase("Promoting").run(5)
    world.annotate(abort=first)
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"), 60)
    assert stable_is(world, "model:2")
    check(world)


def test_a_return_to_what_was_stable_too_long_ago_goes_through_the_steps() -> None:
    world = second_is_stable()
    first = world.revision_of("model:1")
    world.run(10)
    retired = world.status.retired[0]
    long_ago = retired.model_dump(by_alias=True, mode="json") | {"servedUntil": "2026-02-01T00:00:00Z"}
    world.api.edit("ModelDeployment", "models", "fraud", lambda m: m["status"].update(retired=[long_ago]))
    world.annotate(return_to=first)
    world.run_until_phase("Holding")
    assert world.status.rollout.step == "five"
    world.run_until_phase("Rejected", 900)
    assert stable_is(world, "model:1")
    assert [each.revision for each in world.status.rejected] == [world.revision_of("model:2")]
    check(world)


def test_a_return_to_the_stable_revision_ends_the_rollout_beside_it() -> None:
    world = holding()
    world.annotate(return_to=world.revision_of("model:1"))
    world.run_until_phase("Rejected")
    assert world.condition("Stalled") == ("True", "Returned")
    assert world.weights() == {world.revision_of("model:1"): 100}
    check(world)


@pytest.mark.parametrize(
    ("revision", "why"),
    [("0000000000", "no kept revision"), ("model:2", "stable already")],
)
def test_a_return_to_nothing_does_nothing(revision: str, why: str) -> None:
    world = second_is_stable()
    weights = world.weights()
    world.annotate(return_to=world.revision_of(revision) or revision)
    world.run(30)
    assert world.weights() == weights
    assert why in ignored(world)[0]


def test_a_return_during_a_rollout_asks_to_end_that_first() -> None:
    world = second_is_stable()
    world.deploy(spec_of("model:3"))
    world.run_until_phase("Holding")
    world.annotate(return_to=world.revision_of("model:1"))
    world.run(10)
    assert world.status.rollout.phase == "Holding"
    assert f"serinus.dev/abort: {world.revision_of('model:3')}" in ignored(world)[0]


# Exactly once ---------------------------------------------------------------------------------------------------------


def lived(faults: Faults) -> World:
    """A life with people in it: approved twice, skipped, aborted, tried again, promoted, returned, and back to work."""
    world = World(requests_per_second=400)
    world.api.faults = faults
    spec = with_steps("model:1", weight("five", 5, 20), SIGN_OFF, weight("half", 50, 20), automation="Supervised")
    spec["rollout"] |= {"watchSeconds": 10, "scaleDownDelaySeconds": 10}

    def deploy(image: str) -> None:
        spec["serving"]["image"] = image
        world.deploy(spec)

    deploy("model:1")
    world.run(60)
    deploy("model:2")
    world.run(90)
    second = world.revision_of("model:2")
    world.annotate(approve=f"{second}/sign-off")
    world.run(60)
    world.annotate(approve=f"{second}/before-promotion")
    world.run(90)
    deploy("model:3")
    world.run(30)
    third = world.revision_of("model:3")
    world.annotate(skip_step=f"{third}/five")
    world.run(20)
    world.annotate(abort=third)
    world.run(60)
    world.annotate(retry=third)
    world.run(40)
    world.annotate(promote=third)
    world.run(90)
    world.annotate(return_to=second)
    world.run(90)
    return world


def end_of(world: World) -> dict[str, Any]:
    status = world.status
    return {
        "weights": world.weights(),
        "replicas": world.replicas(),
        "stable": status.stable.revision if status.stable else None,
        "phase": status.rollout.phase,
        "rejected": [(each.revision, each.reason) for each in status.rejected],
        "retired": [each.revision for each in status.retired],
        "actions": sorted((each.action, each.value, each.carried_out) for each in status.actions),
        "events": [(each.event, each.revision, each.by) for each in reversed(status.history)],
    }


UNDISTURBED = lived(Faults())
WRITES = len(UNDISTURBED.api.writes)


def test_the_life_ends_as_told() -> None:
    assert stable_is(UNDISTURBED, "model:2")
    assert UNDISTURBED.status.rollout.phase == "Rejected"
    assert all(each.carried_out for each in UNDISTURBED.status.actions)
    assert {each.action for each in UNDISTURBED.status.actions} == {
        "abort",
        "approve",
        "promote",
        "retry",
        "return-to",
        "skip-step",
    }
    check(UNDISTURBED, hold_seconds=20)


def test_killed_after_every_third_write_every_action_takes_effect_once() -> None:
    world = lived(Faults(kill_after=frozenset(range(1, 500, 3)))).run(100)
    assert world.kills >= 20
    every_action_takes_effect_once(world.moments)
    assert end_of(world) | {"events": []} == end_of(UNDISTURBED) | {"events": []}


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(1, WRITES + 1))
def test_killed_after_a_write_every_action_takes_effect_once(number: int) -> None:
    world = lived(Faults(kill_after=frozenset({number})))
    assert world.kills == 1
    every_action_takes_effect_once(world.moments)
    assert end_of(world) == end_of(UNDISTURBED)
    check(world, hold_seconds=20)


@pytest.mark.full
@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(1, WRITES + 1))
def test_with_the_answer_to_a_write_lost_every_action_takes_effect_once(number: int) -> None:
    world = lived(Faults(lose_response_of=frozenset({number})))
    every_action_takes_effect_once(world.moments)
    assert end_of(world) == end_of(UNDISTURBED)
    check(world, hold_seconds=20)
