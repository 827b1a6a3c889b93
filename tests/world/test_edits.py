"""People edit the spec, the children and the annotations at any time."""

from __future__ import annotations

import pytest

from tests.world.caches import CHILD_KINDS
from tests.world.invariants import check, no_request_is_lost
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of


def holding(image: str = "model:2", **world: object) -> World:
    made = serving(**world)  # type: ignore[arg-type]
    made.deploy(spec_of(image))
    return made.run_until(lambda: made.weights().get(made.revision_of(image), 0) == 5).run(10)


def test_a_new_revision_during_a_rollout_takes_the_weight_to_zero_first_and_starts_from_the_first_step() -> None:
    world = holding()
    second = world.revision_of("model:2")
    world.deploy(spec_of("model:3"))
    world.run_until(lambda: world.status.candidate is not None and world.status.candidate.revision != second)
    assert world.weights() == {world.revision_of("model:1"): 100}
    world.run_until(lambda: world.weights().get(world.revision_of("model:3"), 0) > 0)
    assert world.status.rollout.step == "five"
    world.run_until(lambda: stable_is(world, "model:3")).run(100)
    assert world.replicas()[second] == 0
    check(world)


def test_putting_the_spec_back_during_a_rollout_ends_it_without_a_rejection() -> None:
    world = holding()
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: world.status.candidate is None)
    assert world.status.rejected == ()
    assert world.condition("Ready") == ("True", "Stable")
    assert world.weights() == {world.revision_of("model:1"): 100}
    check(world)


def test_bad_after_bad_rejects_both() -> None:
    bad = Behaviour(error_share=0.3)
    world = serving(behaviours={"model:2": bad, "model:3": bad})
    for image in ("model:2", "model:3"):
        world.deploy(spec_of(image))
        world.run_until(
            lambda i=image: [r.revision for r in world.status.rejected] == [world.revision_of(i)] != [""]
        ).run_until_phase("Rejected")
    assert stable_is(world, "model:1")
    check(world)


def test_good_after_bad_is_promoted() -> None:
    world = serving(behaviours={"model:2": Behaviour(error_share=0.3)})
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Rejected")
    world.deploy(spec_of("model:3"))
    world.run_until(lambda: stable_is(world, "model:3"))
    check(world)


def test_a_rejected_revision_is_tried_again_after_the_spec_went_back_to_stable() -> None:
    world = serving(behaviours={"model:2": Behaviour(error_share=0.3)})
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Rejected")
    world.deploy(spec_of("model:1"))
    world.run_until_phase("Idle")
    assert world.condition("Stalled") == ("False", "NotStalled")
    world.behaviours.clear()
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_putting_the_spec_back_during_the_watch_returns_at_once() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Watching").run(5)
    world.deploy(spec_of("model:1"))
    world.run(4)
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert stable_is(world, "model:1")
    assert world.status.rejected == ()
    check(world)


def test_another_spec_waits_for_the_watch() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Watching").run(5)
    world.deploy(spec_of("model:3"))
    world.run(30)
    assert world.status.rollout.phase == "Watching"
    world.run_until(lambda: stable_is(world, "model:3"))
    check(world)


@pytest.mark.parametrize("replicas", [1, 5])
def test_replicas_can_change_in_the_middle_of_a_rollout(replicas: int) -> None:
    world = holding()
    world.deploy(spec_of("model:2", scaling={"replicas": replicas}))
    world.run(20)
    assert world.replicas()[world.revision_of("model:1")] == replicas
    world.run_until(lambda: stable_is(world, "model:2")).run(10)
    assert world.replicas()[world.revision_of("model:2")] == replicas
    check(world, replicas=None)


def test_replicas_and_image_changed_together_give_the_candidate_its_share_of_the_new_size() -> None:
    world = serving()
    world.deploy(spec_of("model:2", scaling={"replicas": 6}))
    world.run_until(lambda: world.status.rollout.step == "half" and world.status.rollout.counting_since is not None)
    assert world.replicas() == {world.revision_of("model:1"): 6, world.revision_of("model:2"): 3}
    assert world.weights() == {world.revision_of("model:1"): 50, world.revision_of("model:2"): 50}
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.replicas()[world.revision_of("model:2")] == 6
    no_request_is_lost(world.moments)
    check(world, replicas=None)


def test_scaled_while_paused_the_share_stays_and_its_pods_follow() -> None:
    world = holding()
    world.run_until(lambda: world.status.rollout.step == "half" and world.status.rollout.counting_since is not None)
    world.annotate(pause="true")
    world.run(5)
    for replicas, share in ((8, 4), (2, 1)):
        world.deploy(spec_of("model:2", scaling={"replicas": replicas}))
        world.run(60)
        assert world.status.rollout.phase == "Paused"
        assert world.replicas() == {world.revision_of("model:1"): replicas, world.revision_of("model:2"): share}
        assert world.weights() == {world.revision_of("model:1"): 50, world.revision_of("model:2"): 50}
    world.annotate(pause=None)
    world.run_until(lambda: stable_is(world, "model:2"))
    no_request_is_lost(world.moments)
    check(world, replicas=None)


def test_scaling_changes_no_revision_and_starts_no_rollout() -> None:
    world = serving()
    world.deploy(spec_of("model:1", scaling={"replicas": 6}))
    world.run(30)
    assert world.replicas() == {world.revision_of("model:1"): 6}
    assert world.status.candidate is None
    assert world.weights() == {world.revision_of("model:1"): 100}


def test_a_step_that_is_renamed_starts_the_rollout_over() -> None:
    world = holding()
    spec = spec_of("model:2")
    spec["rollout"]["canary"]["steps"][0]["name"] = "first"
    world.deploy(spec)
    world.run(3)
    assert world.status.rollout.step in {None, "first"}
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_a_step_that_is_put_before_the_current_one_does_not_jump() -> None:
    world = holding()
    spec = spec_of("model:2")
    spec["rollout"]["canary"]["steps"].insert(0, {"name": "one", "weightPercent": 1, "holdSeconds": 60})
    world.deploy(spec)
    world.run(3)
    assert world.status.rollout.step == "five"
    assert world.status.rollout.step_index == 1
    assert world.weights()[world.revision_of("model:2")] == 5
    world.run_until(lambda: stable_is(world, "model:2"))


@pytest.mark.parametrize("kind", [*CHILD_KINDS, "PodDisruptionBudget", "NetworkPolicy"])
def test_a_deleted_child_comes_back_as_it_was(kind: str) -> None:
    world = serving()
    world.run(5)
    names = [each["metadata"]["name"] for each in world.api.of(kind)]
    before = {each["metadata"]["name"]: each.get("spec", each.get("data")) for each in world.api.of(kind)}
    for name in names:
        world.api.remove(kind, NAMESPACE, name)
    world.run(20)
    after = {each["metadata"]["name"]: each.get("spec", each.get("data")) for each in world.api.of(kind)}
    assert after.keys() == before.keys()
    if kind != "ControllerRevision":
        assert after == before
    assert stable_is(world, "model:1")


def test_a_hand_edited_selector_and_route_are_put_back() -> None:
    world = serving()
    world.api.edit("Service", NAMESPACE, NAME, lambda m: m["spec"]["selector"].update({"app": "other"}))
    world.api.edit(
        "HTTPRoute", NAMESPACE, NAME, lambda m: m["spec"]["rules"][0]["backendRefs"][0].update(weight=1, name="other")
    )
    world.run(3)
    service = world.api.find("Service", NAMESPACE, NAME)
    assert service is not None
    assert "app" not in service["spec"]["selector"]
    assert world.weights() == {world.revision_of("model:1"): 100}


def test_a_foreign_service_is_never_touched_and_named_in_the_condition() -> None:
    world = World()
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME}, "spec": {"selector": {"app": "x"}}}
    world.api.put("Service", NAMESPACE, foreign)
    world.deploy(spec_of("model:1"))
    world.run(30)
    assert world.api.find("Service", NAMESPACE, NAME) == foreign
    assert world.condition("Stalled") == ("True", "NameTaken")
    world.api.remove("Service", NAMESPACE, NAME)
    world.run_until(lambda: stable_is(world, "model:1"))
    assert world.condition("Stalled") == ("False", "NotStalled")


def test_an_unsupported_spec_is_refused_and_what_serves_goes_on() -> None:
    world = serving()
    spec = spec_of("model:2")
    spec["rollout"]["capacity"] = "InPlace"
    world.deploy(spec)
    world.run(20)
    assert world.condition("Stalled") == ("True", "Unsupported")
    assert world.condition("Available") == ("True", "Serving")
    assert world.revision_of("model:2") == ""
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))


def test_an_invalid_spec_that_got_past_the_api_server_changes_nothing() -> None:
    world = serving()
    world.deploy(spec_of("model:2") | {"scaling": {"replicas": -1}})
    world.run(20)
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert world.condition("Available") == ("True", "Serving")
    assert world.replicas() == {world.revision_of("model:1"): 3}
    world.deploy(spec_of("model:1"))
    world.run(5)
    assert world.condition("Stalled") == ("False", "NotStalled")


def test_a_broken_candidate_is_rolled_back_even_while_the_spec_is_unsupported() -> None:
    world = holding()
    spec = spec_of("model:3")
    spec["rollout"]["capacity"] = "InPlace"
    world.deploy(spec)
    world.run(3)
    world.behaviours["model:2"] = Behaviour(error_share=0.5)
    world.run_until(lambda: world.weights() == {world.revision_of("model:1"): 100}).run(60)
    assert world.status.candidate is None
    check(world)


def test_suspended_means_nothing_is_written_but_status() -> None:
    world = serving()
    world.deploy(spec_of("model:2") | {"suspend": True})
    world.run(60)
    assert world.revision_of("model:2") == ""
    assert world.condition("Paused") == ("True", "Suspended")
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))


def test_deleting_the_resource_in_a_rollout_leaves_the_operator_at_rest_and_nothing_behind() -> None:
    world = holding()
    world.api.remove("ModelDeployment", NAMESPACE, NAME)
    writes = len(world.api.writes)
    world.run(60)
    assert len(world.api.writes) == writes, "who owns the children has them collected: nothing hangs on a finalizer"
    assert list(world.api.objects) == []


@pytest.mark.parametrize("image", ["model:2", "model:3"], ids=["a good one", "a bad one"])
def test_the_same_manifest_applied_again_every_few_seconds_changes_nothing(image: str) -> None:
    """As GitOps tools do; what they do not know of (annotations, status, children) they leave alone."""
    ends, written = [], []
    for applies in (False, True):
        world = serving(behaviours={"model:3": Behaviour(error_share=0.3)})
        before = len(world.api.writes)
        for second in range(600):
            if second == 0 or (applies and second % 3 == 0):
                world.deploy(spec_of(image))
            world.run(1)
        ends.append((world.weights(), world.replicas(), [(each.event, each.at) for each in world.status.history]))
        written.append(len(world.api.writes) - before)
        check(world)
        assert world.status.rollout.phase == ("Idle" if image == "model:2" else "Rejected")
    assert ends[0] == ends[1]
    assert written[0] == written[1]


def test_abort_names_a_revision_and_takes_effect_once() -> None:
    world = holding()
    second = world.revision_of("model:2")
    world.annotate(abort="0000000000")
    world.run(3)
    assert world.status.rollout.phase == "Holding"
    assert world.status.history[0].event != "RolledBack"
    world.annotate(abort=second)
    world.run_until_phase("Rejected")
    assert world.condition("Stalled") == ("True", "Aborted")
    world.annotate(retry=f"{second}#1")
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_pause_stops_progress_but_not_a_rollback() -> None:
    world = holding()
    world.annotate(pause="true")
    world.run(300)
    assert world.weights()[world.revision_of("model:2")] == 5
    assert world.condition("Paused") == ("True", "PausedByPerson")
    world.behaviours["model:2"] = Behaviour(error_share=0.5)
    world.run_until_phase("Rejected")
    check(world)


def test_promote_by_a_person_is_recorded_as_theirs() -> None:
    world = holding(requests_per_second=1.0)
    world.annotate(promote=world.revision_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.judged_by == "Person"


def test_a_lost_status_is_recovered_from_the_stable_service() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Watching").run(100)
    moves = world.status.moves
    world.api.edit("ModelDeployment", NAMESPACE, NAME, lambda m: m.pop("status"))
    world.run(5)
    assert stable_is(world, "model:2")
    assert world.status.moves > 0
    assert world.replicas()[world.revision_of("model:2")] == 3
    assert world.weights() == {world.revision_of("model:2"): 100}
    assert moves > 0


def test_a_lost_status_without_a_service_stalls_and_touches_nothing() -> None:
    world = serving()
    world.operator_is_up = False
    world.api.edit("ModelDeployment", NAMESPACE, NAME, lambda m: m.pop("status"))
    world.api.remove("Service", NAMESPACE, NAME)
    world.restart_operator()
    writes = [write for write in world.api.writes if write.verb != "status"]
    world.run(30)
    assert world.condition("Stalled") == ("True", "StatusLost")
    assert [write for write in world.api.writes if write.verb != "status"] == writes
