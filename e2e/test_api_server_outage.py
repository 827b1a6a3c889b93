"""The API server or its store does not answer for a while, or dies, in the middle of a hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.cluster import lifecycle
from e2e.endurance import endure
from e2e.model import Model, model_in
from e2e.stage import Stage


@pytest.fixture
def model(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Model]:
    with model_in(stage, f"e2e-outage-{request.param}") as model:
        yield model


@contextmanager
def crashed() -> Iterator[None]:
    """The API server has died, and the next one answers."""
    lifecycle.crash("kube-apiserver")
    yield


@pytest.mark.parametrize("model", ["short"], indirect=True)
def test_rollouts_go_on_by_themselves_after_seconds_without_an_api_server_and_clients_notice_nothing(
    model: Model,
) -> None:
    endured = endure(model, lambda: lifecycle.frozen("kube-apiserver"), seconds=25)
    model.nobody_saw_a_failure(endured.report)


@pytest.mark.full
@pytest.mark.parametrize("model", ["long"], indirect=True)
def test_rollouts_go_on_by_themselves_after_minutes_without_an_api_server(model: Model) -> None:
    """Clients notice nothing of it while it lasts.

    Afterwards Kubernetes takes the node for lost, which could not report for so long, and its pods out of all Services
    until it has.
    """
    endured = endure(model, lambda: lifecycle.frozen("kube-apiserver"), seconds=150, takes_pods_for_lost=True)
    model.nobody_saw_a_failure(endured.report.between(0.0, endured.ended_at))


@pytest.mark.full
@pytest.mark.parametrize("model", ["crash"], indirect=True)
def test_rollouts_go_on_when_the_api_server_has_died_and_was_started_again(model: Model) -> None:
    endured = endure(model, crashed)
    model.nobody_saw_a_failure(endured.report)


@pytest.mark.full
@pytest.mark.parametrize("model", ["etcd"], indirect=True)
def test_rollouts_go_on_when_the_store_stood_still_for_seconds(model: Model) -> None:
    """What was written last may have been stored although nobody was told."""
    endured = endure(model, lambda: lifecycle.frozen("etcd"), seconds=20)
    model.nobody_saw_a_failure(endured.report)
