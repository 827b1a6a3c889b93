"""Prometheus is gone for a while, in the middle of a hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.model import STEP_WEIGHT, Model, model_in, revision, rollout
from e2e.stage import Stage
from e2e.watching import condition

PLACE = "--namespace=monitoring"
HOLD_SECONDS = 15
OUTAGE_SECONDS = 10
"""Counted from when the operator has noticed."""


@pytest.fixture
def model(stage: Stage) -> Iterator[Model]:
    def scale(replicas: int) -> None:
        stage.kubectl.run("scale", "deployment/prometheus", PLACE, f"--replicas={replicas}")
        stage.kubectl.run("rollout", "status", "deployment/prometheus", PLACE, "--timeout=120s")

    with model_in(stage, "e2e-prometheus") as model:
        try:
            yield model
        finally:
            scale(1)


def test_the_hold_stands_still_nothing_is_judged_and_the_rollout_goes_on_afterwards(model: Model) -> None:
    kubectl = model.stage.kubectl
    model.serve()
    model.send_requests()
    model.apply("2.0.0", hold_seconds=HOLD_SECONDS)
    holding = model.wait_until_holding()
    split = {revision(holding, "stable"): 100 - STEP_WEIGHT, revision(holding, "candidate"): STEP_WEIGHT}

    kubectl.run("scale", "deployment/prometheus", PLACE, "--replicas=0")

    def stands(manifest: dict[str, object]) -> bool:
        missing = condition(manifest, "Reconciling")[1] == "EvidenceMissing"
        return missing and "countingSince" not in rollout(manifest)

    standing = model.resource.wait_for("evidence is missing and the clock stands", stands, 60)
    assert rollout(standing)["heldSeconds"] < HOLD_SECONDS, model.told()
    model.stays("the clock stands", stands, OUTAGE_SECONDS)
    assert model.weights() == split
    assert condition(standing, "Available")[0] == "True"

    kubectl.run("scale", "deployment/prometheus", PLACE, "--replicas=1")
    promoted = model.wait_until_promoted("2.0.0")

    assert rollout(promoted)["judgedBy"] == "Metrics"
    report = model.stop_requests()
    model.nobody_saw_a_failure(report)
