"""Prometheus is gone, then too slow, then talks nonsense, all in the middle of one hold; then it is back.

While it is gone another server stands behind its Service: the operator is told nothing of it.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator

import pytest

from e2e import bad_prometheus
from e2e.endurance import assert_promoted_as_if_nothing_had_been, hold
from e2e.model import STEP_WEIGHT, Manifest, Model, model_in, revision, rollout
from e2e.stage import DIGITS_IMAGE, PROMETHEUS_URL, Stage
from e2e.watching import condition

NAMESPACE = "monitoring"
PLACE = f"--namespace={NAMESPACE}"
IMPOSTOR = "bad-prometheus"
HOLD_SECONDS = 15
OUTAGE_SECONDS = 10
"""Counted from when the operator has noticed."""
LONG_OUTAGE_SECONDS = 300
NOTICED_SECONDS = 60
"""Several times what it takes until the next look and an answer that does not come."""


@pytest.fixture(scope="module")
def model(stage: Stage) -> Iterator[Model]:
    """A model in its hold, with clients. In the end Prometheus is as it was."""
    with model_in(stage, "e2e-prometheus") as model:
        model.serve()
        model.send_requests()
        model.apply("2.0.0", hold_seconds=HOLD_SECONDS)
        model.wait_until_holding()
        try:
            yield model
        finally:
            bring_prometheus_back(stage)


@pytest.fixture(scope="module")
def standing(stage: Stage, model: Model) -> Manifest:
    """The model's resource when Prometheus is gone and the operator has noticed."""
    scale_prometheus(stage, 0)
    return model.resource.wait_for("evidence is missing and the clock stands", stands, NOTICED_SECONDS)


@pytest.fixture(scope="module")
def impostor(stage: Stage, standing: Manifest) -> str:
    """The pod that the Service of Prometheus leads to instead."""
    assert stands(standing)
    stage.apply(impostor_pod(), NAMESPACE)
    stage.kubectl.run("wait", PLACE, f"pod/{IMPOSTOR}", "--for=condition=Ready", "--timeout=60s")
    return IMPOSTOR


def impostor_pod() -> Manifest:
    rights = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "server",
        "image": f"{DIGITS_IMAGE}:1.0.0",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", inspect.getsource(bad_prometheus)],
        "ports": [{"name": "http", "containerPort": bad_prometheus.PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "http"}, "periodSeconds": 1},
        "securityContext": rights,
        "volumeMounts": [{"name": "tmp", "mountPath": str(bad_prometheus.WAY.parent)}],
    }
    spec = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1034, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    metadata = {"name": IMPOSTOR, "labels": {"app": "prometheus"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def scale_prometheus(stage: Stage, replicas: int) -> None:
    stage.kubectl.run("scale", "deployment/prometheus", PLACE, f"--replicas={replicas}")
    stage.kubectl.run("rollout", "status", "deployment/prometheus", PLACE, "--timeout=120s")


def bring_prometheus_back(stage: Stage) -> None:
    stage.kubectl.run("delete", "pod", IMPOSTOR, PLACE, "--ignore-not-found")
    scale_prometheus(stage, 1)


def stands(manifest: Manifest) -> bool:
    missing = condition(manifest, "Reconciling")[1] == "EvidenceMissing"
    return missing and "countingSince" not in rollout(manifest) and rollout(manifest)["heldSeconds"] < HOLD_SECONDS


def assert_everybody_is_served_as_before(model: Model, standing: Manifest) -> None:
    split = {revision(standing, "stable"): 100 - STEP_WEIGHT, revision(standing, "candidate"): STEP_WEIGHT}
    assert model.weights() == split, model.told()
    assert condition(standing, "Available")[0] == "True"


def test_without_prometheus_the_hold_stands_still_and_nothing_is_judged(model: Model, standing: Manifest) -> None:
    model.stays("the clock stands", stands, OUTAGE_SECONDS)
    assert_everybody_is_served_as_before(model, standing)


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("late", f"(Timeout). {PROMETHEUS_URL} did not answer within 5 s"),
        ("page", "(SourceUnavailable). the answer (HTTP 200) is not Prometheus' JSON but '<html>"),
        ("nan", "(NotANumber). the counter "),
        ("error", "(SourceUnavailable). the answer (HTTP 500) is not Prometheus' JSON but 'Internal Server Error'"),
    ],
)
def test_an_answer_that_is_late_or_nonsense_is_quoted_and_counts_for_nothing(
    model: Model, impostor: str, way: str, words: str
) -> None:
    begin = time.time()
    model.stage.kubectl.run("exec", PLACE, impostor, "--", "sh", "-c", f"echo {way} > {bad_prometheus.WAY}")

    def is_told(manifest: Manifest) -> bool:
        return stands(manifest) and f"errors: missing {words}" in condition(manifest, "Reconciling")[2]

    told = model.resource.wait_for(f"the condition says {words!r}", is_told, NOTICED_SECONDS)

    model.stays("the clock stands", stands, 1, since=begin)
    assert_everybody_is_served_as_before(model, told)


def test_when_prometheus_is_back_the_rollout_goes_on_to_its_end_and_no_client_has_noticed(
    stage: Stage, model: Model
) -> None:
    bring_prometheus_back(stage)

    promoted = model.wait_until_promoted("2.0.0")

    assert rollout(promoted)["judgedBy"] == "Metrics"
    report = model.stop_requests()
    model.nobody_saw_a_failure(report)


@pytest.mark.full
def test_minutes_without_prometheus_roll_nothing_back_and_no_client_notices(stage: Stage) -> None:
    with model_in(stage, "e2e-prometheus-long") as model:
        counting_since = hold(model)
        scale_prometheus(stage, 0)
        try:
            standing = model.resource.wait_for("evidence is missing and the clock stands", stands, NOTICED_SECONDS)
            model.stays("the clock stands", stands, LONG_OUTAGE_SECONDS)
            assert_everybody_is_served_as_before(model, standing)
        finally:
            bring_prometheus_back(stage)
        assert_promoted_as_if_nothing_had_been(model, counting_since)
        model.nobody_saw_a_failure(model.stop_requests())
