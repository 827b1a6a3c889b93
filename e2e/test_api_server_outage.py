"""The API server does not answer for a while, in the middle of a hold."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e import operator_pods
from e2e.cluster import lifecycle
from e2e.model import Model, model_in, rollout
from e2e.stage import Stage
from e2e.story import instant

HOLD_SECONDS = 15


@pytest.fixture
def model(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Model]:
    with model_in(stage, f"e2e-outage-{request.param}") as model:
        yield model


def endure(model: Model, outage_seconds: float) -> None:
    model.serve()
    model.send_requests()
    model.apply("2.0.0", hold_seconds=HOLD_SECONDS)
    counting_since = instant(rollout(model.wait_until_holding())["countingSince"])
    restarts = operator_pods.restarts(model.stage)

    with lifecycle.frozen("kube-apiserver"):
        time.sleep(outage_seconds)  # nothing can be asked meanwhile; what clients saw is in their report

    operator_pods.wait_until_one_leads(model.stage)
    promoted = model.wait_until_promoted("2.0.0")
    assert rollout(promoted)["judgedBy"] == "Metrics"
    moved = next(entry for entry in promoted["status"]["history"] if entry["event"] == "Promoted")
    assert instant(moved["at"]) - counting_since >= HOLD_SECONDS
    report = model.stop_requests()
    model.nobody_saw_a_failure(report)
    assert operator_pods.restarts(model.stage) == restarts, "the operator did not recover by itself"


@pytest.mark.parametrize("model", ["short"], indirect=True)
def test_rollouts_go_on_by_themselves_after_seconds_without_an_api_server_and_clients_notice_nothing(
    model: Model,
) -> None:
    endure(model, outage_seconds=25)


@pytest.mark.full
@pytest.mark.parametrize("model", ["long"], indirect=True)
def test_rollouts_go_on_by_themselves_after_minutes_without_an_api_server(model: Model) -> None:
    endure(model, outage_seconds=150)
