"""Pods are evicted as `kubectl drain` does it, by the eviction API, which asks disruption budgets first."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e.cluster.process import CommandError
from e2e.model import REQUESTS_PER_SECOND, STEP_WEIGHT, Model, model_in, revision, weights_of
from e2e.stage import Stage, wait_until

EVICTED_SECONDS = 120
WEIGHT_OFF_SECONDS = 8
"""What a busy machine takes from the end of a pod to a route without it; an idle one takes one or two."""
LAST_FAILURE_SECONDS = 15
"""From the route's change to the last answer of a request from before: the gateway's lag and a client's time-out."""


@pytest.fixture
def model(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Model]:
    with model_in(stage, f"e2e-evicted-{request.param}") as model:
        yield model


def evict(model: Model, pod: str) -> bool:
    """Ask for the pod's eviction; whether its disruption budget lets it go now."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": model.namespace}}
    try:
        model.post(f"/api/v1/namespaces/{model.namespace}/pods/{pod}/eviction", eviction)
    except CommandError as error:
        if "disruption budget" in str(error):
            return False
        raise
    return True


@pytest.mark.parametrize("model", ["stable"], indirect=True)
def test_all_pods_of_a_model_are_evicted_within_its_budget_and_clients_notice_nothing(model: Model) -> None:
    model.serve(scaling={"replicas": 2})
    stable = revision(model.resource.newest or {}, "stable")
    model.send_requests()
    before = model.pods(stable)
    assert len(before) == 2

    first, second = before
    wait_until(f"the budget lets pod {first} go", lambda: evict(model, first), EVICTED_SECONDS)
    assert not evict(model, second), "the second pod goes only when another is ready"
    wait_until(f"the budget lets pod {second} go", lambda: evict(model, second), EVICTED_SECONDS)
    wait_until("other pods serve", lambda: len(set(model.ready_pods(stable)) - set(before)) == 2, EVICTED_SECONDS)
    model.wait_until_ready()
    model.wait_for_answers()

    report = model.stop_requests()
    assert report.requests > 0
    model.nobody_saw_a_failure(report)


@pytest.mark.full
@pytest.mark.parametrize("model", ["candidate"], indirect=True)
def test_the_only_pod_of_a_candidate_is_evicted_and_nobody_of_the_stable_side_notices(model: Model) -> None:
    model.serve()
    model.send_requests()
    model.apply("2.0.0", hold_seconds=15)
    holding = model.wait_until_holding()
    candidate, stable = revision(holding, "candidate"), revision(holding, "stable")

    (pod,) = model.pods(candidate)
    assert evict(model, pod), "one pod of a revision may always go"
    evicted_at = time.time()
    route = model.route.wait_for("the weight is off", lambda m: weights_of(m) == {stable: 100}, 30)
    off_at = next(seen.at for seen in model.route.seen if seen.manifest is route)
    assert off_at - evicted_at < WEIGHT_OFF_SECONDS
    model.route.wait_for("the weight is on again", lambda m: weights_of(m).get(candidate) == STEP_WEIGHT, 120)
    model.wait_until_promoted("2.0.0")

    report = model.stop_requests()
    assert report.failed_of("1.0.0") == 0, model.story()
    most = REQUESTS_PER_SECOND * STEP_WEIGHT / 100 * (off_at - evicted_at + 3)
    assert report.failed <= most, f"{report.failed} requests lost: {report.outcomes_of(None)}"
    model.nobody_saw_a_failure(report.between(off_at + LAST_FAILURE_SECONDS, float("inf")))
