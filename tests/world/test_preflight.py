"""The preflight Job: before it has succeeded the candidate gets no request, and one that fails never gets any."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from serinus.api.kinds import LABEL_REVISION
from tests.world.api_server import Faults
from tests.world.invariants import check, no_request_is_lost
from tests.world.test_crashes import end_of
from tests.world.traffic import Behaviour, JobBehaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of

TEMPLATE: dict[str, Any] = {"spec": {"template": {"spec": {"containers": [{"name": "try", "image": "try:1"}]}}}}
HOLD_SECONDS = 20
PREFLIGHT: dict[str, Any] = {"preflight": {"jobTemplate": TEMPLATE}}
TIMES = {"progressDeadlineSeconds": 120, "watchSeconds": 30, "scaleDownDelaySeconds": 40}
STEPS = {"canary": {"steps": [{"name": "five", "weightPercent": 5, "holdSeconds": HOLD_SECONDS}]}}
STRATEGIES: dict[str, dict[str, Any]] = {
    "canary": {"rollout": {**TIMES, **STEPS, **PREFLIGHT}},
    "blue-green": {"rollout": {**TIMES, "blueGreen": {}, **PREFLIGHT}},
    "blue-green behind a plain Service": {"rollout": {**TIMES, "blueGreen": {}, **PREFLIGHT}, "traffic": {}},
    "canary behind a plain Service": {"rollout": {**TIMES, **STEPS, **PREFLIGHT}, "traffic": {}},
}
EVERY_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES)
BAD = {"model:2": JobBehaviour(fails=True)}


def tried(image: str, strategy: str = "canary", **rollout: Any) -> dict[str, Any]:
    spec = spec_of(image, **STRATEGIES[strategy])
    spec["rollout"] = spec["rollout"] | rollout
    return spec


def stable_is(world: World, image: str) -> bool:
    stable = world.status.stable
    return stable is not None and stable.revision == world.revision_of(image)


def serving(strategy: str = "canary", **world: Any) -> World:
    made = World(**world)
    made.deploy(tried("model:1", strategy))
    return made.run_until(lambda: made.condition("Ready") == ("True", "Stable")).run(5)


def jobs(world: World) -> list[str]:
    return sorted(job["metadata"]["name"] for job in world.api.of("Job"))


def trying(world: World) -> World:
    """Until the Job that tries the candidate is there."""
    return world.run_until(lambda: bool(jobs(world)))


def ever_led_to(world: World, image: str) -> bool:
    """Whether requests, by weight, headers or copies, were ever led to the pods of an image."""
    revision = world.revision_of(image)
    return any(revision in {*m.weights, *m.by_headers, *m.copied} for m in world.moments)


@EVERY_STRATEGY
def test_a_candidate_gets_no_request_before_its_job_has_succeeded_and_then_goes_on(strategy: str) -> None:
    world = serving(strategy, jobs={"model:2": JobBehaviour(seconds=60)})
    world.deploy(tried("model:2", strategy))
    trying(world).run(50)
    assert world.moments[-1].ready[world.revision_of("model:2")] > 0
    assert world.condition("Reconciling") == ("True", "Preflight")
    assert jobs(world)[0] in world.status.rollout.message
    assert f"{NAME}-candidate" in world.status.rollout.message
    assert not ever_led_to(world, "model:2")
    world.run_until(lambda: stable_is(world, "model:2")).run(60)
    assert "PreflightPassed" in [entry.event for entry in world.status.history]
    assert jobs(world) == [], "nothing of it is left"
    no_request_is_lost(world.moments)
    check(world, hold_seconds=HOLD_SECONDS)


@EVERY_STRATEGY
def test_a_job_that_fails_rejects_the_candidate_before_any_request(strategy: str) -> None:
    world = serving(strategy, jobs=BAD)
    world.deploy(tried("model:2", strategy))
    world.run_until_phase("Rejected").run(60)
    (rejected,) = world.status.rejected
    assert rejected.reason == "PreflightFailed"
    (job,) = jobs(world)
    for part in ("BackoffLimitExceeded: Job was not good", f"kubectl logs --namespace {NAMESPACE} job/{job}"):
        assert part in rejected.message
    assert world.condition("Stalled") == ("True", "PreflightFailed")
    assert not ever_led_to(world, "model:2")
    assert world.replicas()[world.revision_of("model:2")] == 0
    assert stable_is(world, "model:1")
    no_request_is_lost(world.moments)
    check(world, hold_seconds=HOLD_SECONDS)


def test_a_retry_runs_it_anew_in_a_job_of_its_own() -> None:
    world = serving(jobs=dict(BAD))
    world.deploy(tried("model:2"))
    world.run_until_phase("Rejected")
    (first,) = jobs(world)
    world.jobs.clear()
    world.annotate(retry=world.revision_of("model:2"))
    world.run_until(lambda: jobs(world) not in ([], [first]))
    assert first not in jobs(world)
    begun, preflight = world.status.rollout.started_at, world.status.rollout.preflight
    assert begun is not None
    assert preflight is not None
    assert (preflight.started_at - begun).total_seconds() >= 3, "nodes have learned of the address that is made anew"
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world, hold_seconds=HOLD_SECONDS)


def test_a_job_that_does_not_end_in_time_has_failed() -> None:
    world = serving(jobs={"model:2": JobBehaviour(seconds=10_000)})
    world.deploy(
        tried("model:2", preflight={"jobTemplate": {"spec": {**TEMPLATE["spec"], "activeDeadlineSeconds": 30}}})
    )
    world.run_until_phase("Rejected", 100)
    assert "DeadlineExceeded" in world.status.rejected[0].message


@EVERY_STRATEGY
def test_a_first_revision_is_tried_before_it_serves_anybody(strategy: str) -> None:
    world = World(jobs={"model:1": JobBehaviour(seconds=300)})
    patient = {"jobTemplate": {"spec": {**TEMPLATE["spec"], "activeDeadlineSeconds": 600}}}
    world.deploy(tried("model:1", strategy, preflight=patient))
    trying(world).run(200)
    assert world.weights() == {}
    assert world.api.find("Service", NAMESPACE, NAME) is None
    assert world.condition("Available") == ("False", "Preflight")
    assert world.condition("Stalled")[0] == "False"
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"))
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert jobs(world) == []
    assert world.api.find("Service", NAMESPACE, f"{NAME}-candidate") is None


@EVERY_STRATEGY
def test_a_first_revision_that_fails_serves_nobody_and_the_fix_does(strategy: str) -> None:
    world = World(jobs={"model:1": JobBehaviour(fails=True)})
    world.deploy(tried("model:1", strategy))
    world.run_until_phase("Rejected").run(30)
    assert world.condition("Stalled") == ("True", "PreflightFailed")
    assert world.replicas() == {world.revision_of("model:1"): 0}
    assert world.weights() == {}
    writes = len(world.api.writes)
    world.run(100)
    assert len(world.api.writes) == writes
    world.deploy(tried("model:2", strategy))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"))
    assert not ever_led_to(world, "model:1")
    assert world.weights() == {world.revision_of("model:2"): 100}


def test_the_fix_of_a_first_revision_that_never_was_ready_is_tried_too() -> None:
    world = World(behaviours={"model:1": Behaviour(never_ready=True)}, jobs={"model:2": JobBehaviour(seconds=30)})
    world.deploy(spec_of("model:1"))
    world.run(30)
    assert world.weights() == {world.revision_of("model:1"): 100}, "without a preflight nothing speaks against it"
    world.deploy(tried("model:2"))
    trying(world).run(20)
    assert not ever_led_to(world, "model:2")
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.weights() == {world.revision_of("model:2"): 100}


def test_one_that_fails_after_a_first_revision_that_never_was_ready_leaves_that_as_it_is() -> None:
    world = World(behaviours={"model:1": Behaviour(never_ready=True)}, jobs=dict(BAD))
    world.deploy(spec_of("model:1"))
    world.run(30)
    world.deploy(tried("model:2"))
    world.run_until_phase("Rejected").run(30)
    assert world.weights() == {world.revision_of("model:1"): 100}
    assert world.replicas()[world.revision_of("model:2")] == 0
    assert not ever_led_to(world, "model:2")


def test_a_first_revision_that_serves_already_is_not_taken_from_its_users() -> None:
    world = World(gateway_accepts=False)
    world.deploy(spec_of("model:1"))
    world.run(20)
    world.deploy(tried("model:1"))
    world.gateway_accepts = True
    world.run_until(lambda: stable_is(world, "model:1"))
    assert jobs(world) == []


def test_a_new_spec_ends_the_preflight_of_the_old_one() -> None:
    world = serving(jobs={"model:2": JobBehaviour(seconds=1000)})
    world.deploy(tried("model:2"))
    (old,) = jobs(trying(world))
    world.deploy(tried("model:3"))
    world.run_until(lambda: old not in jobs(world))
    world.run_until(lambda: stable_is(world, "model:3"))
    assert not ever_led_to(world, "model:2")
    check(world, hold_seconds=HOLD_SECONDS)


def test_a_person_may_end_it_either_way() -> None:
    for action, serves in (("abort", "model:1"), ("promote", "model:2")):
        world = serving(jobs={"model:2": JobBehaviour(seconds=1000)})
        world.deploy(tried("model:2"))
        trying(world)
        world.annotate(**{action: world.revision_of("model:2")})
        world.run_until(lambda world=world: jobs(world) == [])  # type: ignore[misc]
        world.run_until_phase("Rejected" if action == "abort" else "Watching")
        assert stable_is(world, serves)


def test_a_pause_keeps_the_traffic_back_and_not_the_job() -> None:
    world = serving()
    world.annotate(pause="true")
    world.deploy(tried("model:2"))
    world.run_until(lambda: any(entry.event == "PreflightPassed" for entry in world.status.history)).run(60)
    assert not ever_led_to(world, "model:2")
    world.annotate(pause=None)
    world.run_until(lambda: stable_is(world, "model:2"))


def test_a_job_that_somebody_deletes_runs_again() -> None:
    world = serving(jobs={"model:2": JobBehaviour(seconds=20)})
    world.deploy(tried("model:2"))
    (job,) = jobs(trying(world))
    world.api.remove("Job", NAMESPACE, job)
    world.run_until(lambda: jobs(world) == [job])
    world.run_until(lambda: stable_is(world, "model:2"))


def test_a_spec_that_asks_for_it_no_more_does_not_wait_for_it() -> None:
    world = serving(jobs={"model:2": JobBehaviour(seconds=1000)})
    world.deploy(tried("model:2"))
    trying(world)
    spec = tried("model:2")
    del spec["rollout"]["preflight"]
    world.deploy(spec)
    world.run_until(lambda: stable_is(world, "model:2"))
    assert jobs(world) == []


def test_a_return_within_the_window_goes_without() -> None:
    world = serving()
    world.deploy(tried("model:2"))
    world.run_until(lambda: stable_is(world, "model:2")).run(100)
    world.jobs["model:1"] = JobBehaviour(fails=True)
    world.deploy(tried("model:1"))
    world.run_until(lambda: stable_is(world, "model:1"), 60)


def test_a_candidate_that_is_not_tried_yet_serves_nobody_on_loan_either() -> None:
    world = serving(jobs={"model:2": JobBehaviour(seconds=60)})
    world.deploy(tried("model:2"))
    trying(world)
    world.behaviours["model:1"] = Behaviour(never_ready=True)
    for pod in list(world.api.of("Pod")):
        if pod["metadata"]["labels"][LABEL_REVISION] == world.revision_of("model:1"):
            world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    world.run(30)
    assert not ever_led_to(world, "model:2")
    world.run_until(lambda: world.weights() == {world.revision_of("model:2"): 100}, 100)


def test_whatever_the_automation_what_fails_is_rejected() -> None:
    world = serving(jobs=BAD)
    world.deploy(tried("model:2", automation="Manual"))
    world.run_until_phase("Rejected")
    assert not ever_led_to(world, "model:2")


def test_a_template_that_serinus_can_not_run_is_refused_before_anything_starts() -> None:
    world = serving()
    spec = {**TEMPLATE["spec"], "ttlSecondsAfterFinished": 0}
    world.deploy(tried("model:2", preflight={"jobTemplate": {"spec": spec}}))
    world.run(30)
    assert world.condition("Stalled") == ("True", "ReservedField")
    assert world.revision_of("model:2") == ""


def test_a_template_that_becomes_one_before_its_job_is_made_stops_nothing_else() -> None:
    world = serving()
    world.deploy(tried("model:2"))
    world.run_until(lambda: world.status.rollout.preflight is not None)
    for job in jobs(world):
        world.api.remove("Job", NAMESPACE, job)
    world.deploy(tried("model:2", preflight={"jobTemplate": {"spec": {**TEMPLATE["spec"], "suspend": True}}}))
    world.run_until(lambda: world.condition("Stalled") == ("True", "ReservedField"))
    lost = next(pod for pod in world.api.of("Pod") if world.revision_of("model:1") in pod["metadata"]["name"])
    world.api.remove("ReplicaSet", NAMESPACE, lost["metadata"]["ownerReferences"][0]["name"])
    world.run_until(lambda: world.condition("Available") == ("False", "NoReadyPods"))
    world.run_until(lambda: world.condition("Available") == ("True", "Serving"))
    assert jobs(world) == []
    assert not ever_led_to(world, "model:2")
    world.deploy(tried("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))


# The operator dies after every write, and loses every answer -------------------------------------------------------

STORIES = ("passes", "fails", "first fails")


def played(story: str, faults: Faults) -> World:
    world = World(requests_per_second=400, jobs={"model:2": JobBehaviour(fails=story != "passes")})
    world.api.faults = faults
    if story != "first fails":
        world.deploy(tried("model:1"))
        world.run(40)
    world.deploy(tried("model:2"))
    return world.run(120)


@cache
def fault_free(story: str) -> World:
    return played(story, Faults())


def every_write() -> list[tuple[str, int]]:
    return [(story, number) for story in STORIES for number in range(1, len(fault_free(story).api.writes) + 1)]


@pytest.mark.parametrize("story", STORIES)
def test_the_story_ends_as_told(story: str) -> None:
    end = end_of(fault_free(story))
    assert end["phase"] == ("Idle" if story == "passes" else "Rejected")
    assert len(jobs(fault_free(story))) == (0 if story == "passes" else 1)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("story", "number"), every_write())
def test_killed_after_a_write_the_end_is_the_same(story: str, number: int) -> None:
    world = played(story, Faults(kill_after=frozenset({number})))
    assert end_of(world.run(30)) == end_of(fault_free(story))
    assert jobs(world) == jobs(fault_free(story))
    check(world, hold_seconds=HOLD_SECONDS)


@pytest.mark.exhaustive
@pytest.mark.full
@pytest.mark.parametrize(("story", "number"), every_write())
def test_with_the_answer_to_a_write_lost_the_end_is_the_same(story: str, number: int) -> None:
    world = played(story, Faults(lose_response_of=frozenset({number})))
    assert end_of(world.run(30)) == end_of(fault_free(story))
    assert jobs(world) == jobs(fault_free(story))
    check(world, hold_seconds=HOLD_SECONDS)
