"""The API server does not answer for a while, in the middle of a hold."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e import operator_pods
from e2e.cluster import lifecycle
from e2e.load.report import LoadReport
from e2e.model import Model, model_in, rollout
from e2e.stage import Stage
from e2e.story import instant

HOLD_SECONDS = 15


@pytest.fixture
def model(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Model]:
    with model_in(stage, f"e2e-outage-{request.param}") as model:
        yield model


def endure(model: Model, outage_seconds: float) -> tuple[LoadReport, float]:
    """What clients saw of a promotion with an outage in its middle, and when that ended."""
    model.serve()
    model.send_requests()
    model.apply("2.0.0", hold_seconds=HOLD_SECONDS)
    counting_since = instant(rollout(model.wait_until_holding())["countingSince"])
    restarts = operator_pods.restarts(model.stage)

    with lifecycle.frozen("kube-apiserver"):
        time.sleep(outage_seconds)  # nothing can be asked meanwhile; what clients saw is in their report
        ended_at = time.time()

    operator_pods.wait_until_one_leads(model.stage)
    promoted = model.wait_until_promoted("2.0.0")
    assert rollout(promoted)["judgedBy"] == "Metrics"
    moved = next(entry for entry in promoted["status"]["history"] if entry["event"] == "Promoted")
    assert instant(moved["at"]) - counting_since >= HOLD_SECONDS
    assert operator_pods.restarts(model.stage) == restarts, "the operator did not recover by itself"
    return model.stop_requests(), ended_at


@pytest.mark.parametrize("model", ["short"], indirect=True)
def test_rollouts_go_on_by_themselves_after_seconds_without_an_api_server_and_clients_notice_nothing(
    model: Model,
) -> None:
    report, _ = endure(model, outage_seconds=25)
    model.nobody_saw_a_failure(report)


@pytest.mark.full
@pytest.mark.parametrize("model", ["long"], indirect=True)
def test_rollouts_go_on_by_themselves_after_minutes_without_an_api_server(model: Model) -> None:
    """Clients notice nothing of it while it lasts.

    Afterwards Kubernetes takes the node for lost, which could not report for so long, and its pods out of all Services
    until it has.
    """
    report, ended_at = endure(model, outage_seconds=150)
    model.nobody_saw_a_failure(report.between(0.0, ended_at))
