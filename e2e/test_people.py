"""People in the loop: a rollout waits for an approval and then goes on, one is aborted, and a return is asked for.

One model goes through all of it; the clients never notice.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.model import NAME, READY_SECONDS, ROLLOUT_SECONDS, STEP_WEIGHT, Manifest, Model, model_in, revision, rollout
from e2e.stage import Stage, wait_until
from e2e.watching import condition, phase, stable_version

WAITS_SECONDS = 20
"""Several times what the next step would take without an approval."""
TRAFFIC_OFF_SECONDS = 10
STEPS = [
    {"name": "half", "weightPercent": STEP_WEIGHT, "holdSeconds": 5},
    {"name": "sign-off", "approval": {}},
]


@pytest.fixture(scope="module")
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, "e2e-people") as model:
        model.serve()
        model.send_requests()
        yield model


def annotate(model: Model, action: str, value: str) -> None:
    model.kubectl("annotate", "modeldeployment", NAME, "--overwrite", f"serinus.dev/{action}={value}")


def entry_of(manifest: Manifest, event: str) -> Manifest:
    """The newest entry of the history for an event."""
    entries: list[Manifest] = [each for each in manifest["status"]["history"] if each["event"] == event]
    return entries[0]


def traffic_is_all_on(model: Model, revision: str, seconds: float = TRAFFIC_OFF_SECONDS) -> None:
    wait_until(f"all requests go to {revision}", lambda: model.weights() == {revision: 100}, seconds)


def test_a_rollout_waits_for_its_approval_and_then_goes_on(model: Model) -> None:
    first = revision(model.wait_until_ready(), "stable")
    model.apply("2.0.0", rollout={"canary": {"steps": STEPS}})
    waiting = model.resource.wait_for(
        "it awaits approval", lambda manifest: phase(manifest) == "AwaitingApproval", ROLLOUT_SECONDS
    )
    candidate = revision(waiting, "candidate")

    def waits(manifest: Manifest) -> bool:
        return phase(manifest) == "AwaitingApproval" and condition(manifest, "Stalled")[0] == "False"

    model.stays("it awaits approval, and is not stalled", waits, WAITS_SECONDS)
    assert model.weights() == {first: 100 - STEP_WEIGHT, candidate: STEP_WEIGHT}
    assert condition(waiting, "Paused")[:2] == ("True", "AwaitingApproval")

    annotate(model, "approve", f"{candidate}/half")
    ignored = model.resource.wait_for(
        "an approval of another step is answered", lambda manifest: bool(manifest["status"].get("actions")), 30
    )
    assert ignored["status"]["actions"][0]["carriedOut"] is False
    assert phase(ignored) == "AwaitingApproval"

    tried = model.pods(candidate)
    annotate(model, "approve", f"{candidate}/sign-off")
    approved = entry_of(model.wait_until_promoted("2.0.0"), "Approved")
    assert model.pods(candidate) == tried, "the pods that were tried are the ones that serve"
    restarts = [each["status"]["containerStatuses"][0]["restartCount"] for each in model.objects("pods")]
    assert not any(restarts)
    assert (approved["by"], approved["fieldManager"]) == ("person", "kubectl-annotate")
    model.nobody_saw_a_failure(model.report())


def test_an_abort_in_a_step_takes_the_weight_off_and_leaves_stable_at_full_size(model: Model) -> None:
    stable = revision(model.wait_until_ready(), "stable")
    other_than_before = {"drainSeconds": 6}  # else it is a return, which skips the steps
    model.apply("1.0.0", hold_seconds=600, serving=other_than_before)
    candidate = revision(
        model.resource.wait_for(
            "its candidate has its share",
            lambda manifest: rollout(manifest).get("step") == "half" and "countingSince" in rollout(manifest),
            READY_SECONDS,
        ),
        "candidate",
    )
    annotate(model, "abort", f"{candidate}#1")
    traffic_is_all_on(model, stable)
    rejected = model.wait_until_rejected()
    assert condition(rejected, "Stalled")[:2] == ("True", "Aborted")
    assert len(model.pods(stable)) == 1
    wait_until("the candidate has no pods", lambda: not model.pods(candidate), ROLLOUT_SECONDS)
    model.nobody_saw_a_failure(model.report())


def test_a_return_to_a_kept_revision_skips_the_steps_and_the_spec_can_follow_it(model: Model) -> None:
    model.apply("2.0.0")
    ready = model.wait_until_ready()
    second, first = revision(ready, "stable"), ready["status"]["retired"][0]["revision"]
    annotate(model, "return-to", first)
    traffic_is_all_on(model, first, READY_SECONDS)
    returned = model.wait_until_rejected()
    assert condition(returned, "Stalled")[:2] == ("True", "Returned")
    assert [each["revision"] for each in returned["status"]["rejected"]] == [second]
    model.apply("1.0.0")
    assert stable_version(model.wait_until_ready(30)) == "1.0.0"
    model.nobody_saw_a_failure(model.stop_requests())
