"""What Argo CD and kstatus make of every state that the recorded stories do not come to, and what the actions send."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.gitops.argo_cd import SCRIPTS, ScriptError, discovered, enabled, health, patch_of
from tests.gitops.kstatus import Kstatus, kstatus
from tests.gitops.stored import stored
from tests.world.test_edits import holding
from tests.world.test_images import pull
from tests.world.test_midway import with_analysis
from tests.world.test_protection import BROKEN, UNREADABLE
from tests.world.test_rollouts import serving
from tests.world.world import KEY, NAME, NAMESPACE, World, spec_of

OLD, NEW = "model:1", "model:2"
Resource = dict[str, Any]


def with_step(step: Resource) -> Resource:
    spec = spec_of(NEW)
    spec["rollout"]["canary"]["steps"].insert(1, step)
    return spec


def deployed(world: World, spec: Resource, seconds: int = 3) -> World:
    world.deploy(spec)
    return world.run(seconds)


def unsupported(image: str) -> Resource:
    spec = spec_of(image)
    spec["rollout"]["capacity"] = "InPlace"
    return spec


# Nobody has looked at it ----------------------------------------------------------------------------------------------


def never_seen() -> Resource:
    world = World()
    world.stop_operator()
    return stored(deployed(world, spec_of(OLD)))


def newer_than_what_was_seen() -> Resource:
    world = holding()
    world.stop_operator()
    return stored(deployed(world, spec_of("model:3")))


def rejected_and_edited_since() -> Resource:
    world = rolled_back()
    world.stop_operator()
    return stored(deployed(world, spec_of("model:3")))


def being_deleted() -> Resource:
    resource = copy.deepcopy(stored(holding()))
    resource["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    return resource


# It goes on by itself -------------------------------------------------------------------------------------------------


def first_deployment() -> Resource:
    return stored(deployed(World(), spec_of(OLD)))


def short_of_a_pod() -> Resource:
    world = serving()
    spec = spec_of(OLD)
    spec["scaling"] = {"replicas": 4}
    return stored(deployed(world, spec, 2))


def without_prometheus() -> Resource:
    world = holding()
    world.prometheus.down = True
    return stored(world.run(60))


# It waits for a person ------------------------------------------------------------------------------------------------


def paused() -> Resource:
    world = holding()
    world.annotate(pause="true")
    return stored(world.run(3))


def not_paused_in_so_many_words() -> Resource:
    world = holding()
    world.annotate(pause="false")
    return stored(world.run(3))


def awaiting_approval() -> World:
    world = serving()
    world.deploy(with_step({"name": "sign-off", "approval": {}}))
    return world.run_until_phase("AwaitingApproval")


def paused_before_an_approval() -> Resource:
    world = awaiting_approval()
    world.annotate(pause="true")
    return stored(world.run(3))


def undecided_for_too_long() -> Resource:
    world = serving(requests_per_second=1.0)
    world.deploy(with_analysis(undecided={"afterSeconds": 60, "action": "Pause"}))
    return stored(world.run_until_phase("Paused").run(3))


def without_prometheus_for_too_long() -> Resource:
    world = serving()
    world.deploy(with_analysis(missing={"afterSeconds": 30, "action": "Pause"}))
    world.run_until_phase("Holding").run(5)
    world.prometheus.down = True
    return stored(world.run_until_phase("Paused").run(3))


def suspended_in_a_step() -> Resource:
    return stored(deployed(holding(), spec_of(NEW) | {"suspend": True}))


def suspended_at_rest() -> Resource:
    return stored(deployed(serving(), spec_of(OLD) | {"suspend": True}))


# It failed, or has to be mended ---------------------------------------------------------------------------------------


def rolled_back() -> World:
    world = serving()
    world.behaviours[NEW] = BROKEN
    world.deploy(spec_of(NEW))
    return world.run_until_phase("Rejected").run(3)


def rolled_back_and_unsupported_since() -> Resource:
    return stored(deployed(rolled_back(), unsupported("model:3")))


def rolled_back_and_suspended_since() -> Resource:
    return stored(deployed(rolled_back(), spec_of(NEW) | {"suspend": True}))


def returned() -> World:
    world = serving()
    world.deploy(spec_of(NEW))
    world.run_until_phase("Watching").run_until_phase("Idle").run(5)
    world.annotate(return_to=world.revision_of(OLD))
    return world.run_until_phase("Rejected").run(3)


def rolled_back_after_a_return_that_failed() -> World:
    """The spec asks for `model:3`, which was aborted; then somebody returned to `model:1`, which is broken by now."""
    world = serving()
    for image in (NEW, "model:3"):
        spec = spec_of(image)
        spec["rollout"]["rollbackWindowSeconds"] = 0
        world.deploy(spec)
        if image == NEW:
            world.run_until_phase("Watching").run_until_phase("Idle").run(5)
    world.run_until_phase("Holding")
    world.annotate(abort=world.revision_of("model:3"))
    world.run_until_phase("Rejected").run(3)
    world.behaviours[OLD] = BROKEN
    world.annotate(return_to=world.revision_of(OLD))
    world.run_until_phase("Holding").run_until_phase("Rejected").run(3)
    return world


def unreadable_in_a_step() -> Resource:
    return stored(deployed(holding(), spec_of(NEW) | UNREADABLE))


def unreadable_from_the_start() -> Resource:
    return stored(deployed(World(), spec_of(OLD) | UNREADABLE))


def unsupported_in_a_step() -> Resource:
    return stored(deployed(holding(), unsupported(NEW)))


def status_of_a_newer_version() -> Resource:
    world = holding()
    world.stop_operator()
    world.api.edit("ModelDeployment", NAMESPACE, NAME, lambda m: m["status"]["rollout"].update(phase="Meditating"))
    asyncio.run(world._new_operator().pass_over(KEY))
    return stored(world)


def refused_writes() -> Resource:
    world = serving()
    world.api.faults.refused_kinds = frozenset({"Service"})
    world.api.remove("Service", NAMESPACE, NAME)
    return stored(world.run_until(lambda: world.condition("Stalled")[0] == "True"))


def lost_status() -> Resource:
    world = serving()
    world.stop_operator()
    world.lose_status()
    world.api.remove("Service", NAMESPACE, NAME)
    world.restart_operator()
    return stored(world.run(5))


def late_first_revision() -> Resource:
    world = World()
    world.behaviours[OLD] = type(BROKEN)(never_ready=True, trouble="CrashLoopBackOff")
    return stored(deployed(world, spec_of(OLD), 200))


# It serves ------------------------------------------------------------------------------------------------------------


def watched() -> World:
    world = serving()
    world.deploy(spec_of(NEW))
    return world.run_until_phase("Watching").run(3)


def scaled_to_zero() -> Resource:
    spec = spec_of(OLD)
    spec["scaling"] = {"replicas": 0}
    return stored(deployed(serving(), spec, 30))


def images_that_differ() -> Resource:
    world = serving()
    for digest, pod in zip("aab", list(world.api.of("Pod")), strict=True):
        pull(world, pod, digest)
    return stored(world.run(60))


@dataclass(frozen=True)
class Case:
    """A state, and what has to be made of it."""

    made: Callable[[], Resource | World]
    health: str
    kstatus: Kstatus
    says: str
    """Part of Argo CD's message."""
    offers: str
    """The actions of the menu."""


IN_A_STEP = "abort pause promote skip-step"
CASES = (
    Case(never_seen, "Progressing", Kstatus.IN_PROGRESS, "No operator has looked at generation 1 yet", "pause"),
    Case(newer_than_what_was_seen, "Progressing", Kstatus.IN_PROGRESS, "generation 3", IN_A_STEP),
    Case(rejected_and_edited_since, "Progressing", Kstatus.IN_PROGRESS, "generation 3", "pause"),
    Case(being_deleted, "Progressing", Kstatus.TERMINATING, "Being deleted", ""),
    Case(first_deployment, "Progressing", Kstatus.IN_PROGRESS, "PodsNotReady: 0 of 1 pod of ", "pause"),
    Case(first_deployment, "Progressing", Kstatus.IN_PROGRESS, "; nobody is served: No pod that gets", "pause"),
    Case(short_of_a_pod, "Progressing", Kstatus.IN_PROGRESS, "Scaling: 3 of 4 pods", "pause"),
    Case(without_prometheus, "Progressing", Kstatus.IN_PROGRESS, "EvidenceMissing: step five", IN_A_STEP),
    Case(not_paused_in_so_many_words, "Progressing", Kstatus.IN_PROGRESS, "Holding: step five", IN_A_STEP),
    Case(paused, "Suspended", Kstatus.IN_PROGRESS, "PausedByPerson: ", "abort promote resume skip-step"),
    Case(awaiting_approval, "Suspended", Kstatus.IN_PROGRESS, "AwaitingApproval: step ", "abort approve pause promote"),
    Case(paused_before_an_approval, "Suspended", Kstatus.IN_PROGRESS, "PausedByPerson", "abort approve promote resume"),
    Case(
        undecided_for_too_long,
        "Suspended",
        Kstatus.IN_PROGRESS,
        "UndecidedTooLong: step five (1 of 2): held ",
        IN_A_STEP,
    ),
    Case(without_prometheus_for_too_long, "Suspended", Kstatus.IN_PROGRESS, "EvidenceMissingTooLong: ", IN_A_STEP),
    Case(suspended_in_a_step, "Suspended", Kstatus.IN_PROGRESS, "Suspended: spec.suspend is true", IN_A_STEP),
    Case(suspended_at_rest, "Suspended", Kstatus.CURRENT, "Suspended: spec.suspend is true", "pause"),
    Case(rolled_back, "Degraded", Kstatus.FAILED, "MetricFailed: revision ", "pause retry"),
    Case(rolled_back_and_unsupported_since, "Degraded", Kstatus.FAILED, "Unsupported: spec.rollout.", "pause"),
    Case(rolled_back_and_suspended_since, "Degraded", Kstatus.FAILED, "MetricFailed: revision ", "pause retry"),
    Case(returned, "Degraded", Kstatus.FAILED, "Returned: revision ", "pause retry"),
    Case(rolled_back_after_a_return_that_failed, "Degraded", Kstatus.FAILED, "Aborted: revision ", "pause retry"),
    Case(unreadable_in_a_step, "Degraded", Kstatus.FAILED, "InvalidSpec: ", "abort pause"),
    Case(unreadable_from_the_start, "Degraded", Kstatus.FAILED, "InvalidSpec: ", "pause"),
    Case(unsupported_in_a_step, "Degraded", Kstatus.FAILED, "Unsupported: spec.rollout.capacity", "abort pause"),
    Case(status_of_a_newer_version, "Degraded", Kstatus.FAILED, "StatusUnreadable: ", "pause"),
    Case(refused_writes, "Degraded", Kstatus.FAILED, "WriteRejected: ", "pause"),
    Case(lost_status, "Degraded", Kstatus.FAILED, "StatusLost: the status is gone", "pause"),
    Case(late_first_revision, "Degraded", Kstatus.FAILED, "ProgressDeadlineExceeded: the first revision", "pause"),
    Case(watched, "Healthy", Kstatus.CURRENT, "Promoted; watched until ", "abort pause"),
    Case(scaled_to_zero, "Healthy", Kstatus.CURRENT, "scaled to zero", "pause"),
    Case(images_that_differ, "Healthy", Kstatus.CURRENT, "ready pods; Pods of revision ", "pause"),
)


def resource_of(case: Case) -> Resource:
    made = case.made()
    return stored(made) if isinstance(made, World) else made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.made.__name__)
def test_a_state_is_what_it_is_to_argo_cd_and_to_kstatus(case: Case) -> None:
    resource = resource_of(case)
    status, message = health(resource)

    assert (status, kstatus(resource)) == (case.health, case.kstatus), message
    assert case.says in message
    assert enabled(resource) == set(case.offers.split()), message


# What an action sends -------------------------------------------------------------------------------------------------


def sent(world: World, action: str) -> World:
    """The action's patch, as the API server merges it."""
    annotations = patch_of(stored(world), action)["metadata"]["annotations"]
    world.annotate(**{key.removeprefix("serinus.dev/").replace("-", "_"): value for key, value in annotations.items()})
    return world.run(3)


def test_the_menu_names_the_revision_and_the_step_that_an_action_means() -> None:
    world = awaiting_approval()
    new = world.revision_of(NEW)
    assert discovered(stored(world))["approve"]["displayName"] == f"Approve step sign-off of {new}"
    assert discovered(stored(world))["abort"]["displayName"] == f"Roll {new} back"
    world = watched()
    assert discovered(stored(world))["abort"]["displayName"] == f"Return to {world.revision_of(OLD)}"


def test_every_action_is_in_the_menu_with_a_name_and_an_icon() -> None:
    menu = discovered(stored(holding()))
    assert set(menu) == set(SCRIPTS)
    assert all(each["displayName"] and each["iconClass"].startswith("fa fa-fw fa-") for each in menu.values())


def test_an_approval_and_a_skip_of_argo_cd_are_carried_out() -> None:
    world = sent(awaiting_approval(), "approve")
    assert world.status.rollout.step == "half"
    sent(world, "skip-step")
    assert world.status.rollout.phase == "Promoting"


def test_a_promotion_of_argo_cd_and_an_abort_during_its_watch_are_carried_out() -> None:
    world = sent(holding(), "promote").run_until_phase("Watching")
    sent(world, "abort").run_until_phase("Rejected")
    assert world.weights() == {world.revision_of(OLD): 100}


def test_the_same_action_of_argo_cd_takes_effect_again() -> None:
    world = rolled_back()
    for _ in range(2):
        assert sent(world, "retry").status.rollout.phase == "Starting"
        world.run_until_phase("Rejected").run(3)


def test_a_retry_of_argo_cd_means_the_revision_in_the_spec_whatever_else_was_rejected() -> None:
    world = rolled_back_after_a_return_that_failed()
    assert {each.revision for each in world.status.rejected} == {world.revision_of(OLD), world.revision_of("model:3")}
    sent(world, "retry")
    assert world.status.candidate is not None
    assert world.status.candidate.revision == world.revision_of("model:3")


def test_a_pause_and_a_resume_of_argo_cd_are_carried_out() -> None:
    world = sent(holding(), "pause")
    assert world.condition("Paused") == ("True", "PausedByPerson")
    assert sent(world, "resume").status.rollout.phase == "Holding"


def test_a_token_tells_when_it_was_asked_for_and_is_new_after_every_decision() -> None:
    world = holding()
    resource = stored(world)
    value = patch_of(resource, "abort")["metadata"]["annotations"]["serinus.dev/abort"]
    revision, token = value.split("#")
    assert revision == world.revision_of(NEW)
    when, moves = token.split("-")
    assert len(when) == len("20260301T120000Z")
    assert int(moves) == world.status.moves


@pytest.mark.parametrize("action", sorted(SCRIPTS))
def test_an_action_on_what_nobody_has_looked_at_changes_nothing_but_a_pause(action: str) -> None:
    resource = never_seen()
    if action == "pause":
        assert patch_of(resource, action) == {"metadata": {"annotations": {"serinus.dev/pause": "true"}}}
    elif action == "resume":
        assert patch_of(resource, action) == {}
    else:
        with pytest.raises(ScriptError, match=f"^{action} would do nothing: "):
            patch_of(resource, action)
