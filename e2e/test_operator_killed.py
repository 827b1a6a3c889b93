"""The operator is killed in the middle of a hold: another takes over, no step comes early, and the end is the same."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e import operator_pods
from e2e.model import STEP_WEIGHT, Model, model_in, revision, rollout, weights_of
from e2e.operator_pods import PLACE, SELECTOR, Logs
from e2e.stage import Stage
from e2e.story import instant

HOLD_SECONDS = 15
LEASE_SECONDS = 15
RETRY_SECONDS = 2
"""The chart's values: a fail-over takes at most both, and what a busy machine adds."""
BUSY_SECONDS = 15


@pytest.fixture
def model(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Model]:
    with model_in(stage, f"e2e-{request.param}") as model:
        yield model


def hold(model: Model) -> float:
    """Bring version 2 into its hold, with clients; the Unix time at which the hold was last seen to be counting."""
    model.serve()
    model.send_requests()
    model.apply("2.0.0", hold_seconds=HOLD_SECONDS)
    holding = model.wait_until_holding()
    model.stays("it holds", lambda m: rollout(m)["phase"] == "Holding", 5)
    return instant(rollout(holding)["countingSince"])


def assert_the_end_is_the_same(model: Model, counting_since: float) -> None:
    promoted = model.wait_until_promoted("2.0.0")
    assert rollout(promoted)["judgedBy"] == "Metrics"
    assert promoted["status"].get("rejected", []) == []
    second = revision(promoted, "stable")
    shares = [weights_of(seen.manifest).get(second, 0) for seen in model.route.seen]
    changes = [share for at, share in enumerate(shares) if at == 0 or share != shares[at - 1]]
    assert changes == [0, STEP_WEIGHT, 100], model.story()
    all_traffic_at = next(seen.at for seen, share in zip(model.route.seen, shares, strict=True) if share == 100)
    assert all_traffic_at - counting_since >= HOLD_SECONDS
    history = [entry["event"] for entry in reversed(promoted["status"]["history"]) if entry["revision"] == second]
    assert history == ["CandidateStarted", "StepEntered", "Promoted", "WatchEnded"]
    report = model.stop_requests()
    model.nobody_saw_a_failure(report)


@pytest.mark.parametrize("model", ["leader-killed"], indirect=True)
def test_the_leader_dies_and_the_standby_acts_within_the_time_of_the_lease(model: Model, logs: Logs) -> None:
    counting_since = hold(model)
    leader = operator_pods.leader(model.stage)
    logs.read()

    operator_pods.kill_process(model.stage, leader)  # so it can't give the Lease back
    killed_at = time.time()
    model.stage.kubectl.run("delete", "pod", PLACE, leader, "--force", "--grace-period=0")
    operator_pods.wait_until_one_leads(model.stage, other_than=leader)

    assert time.time() - killed_at < LEASE_SECONDS + RETRY_SECONDS + BUSY_SECONDS
    assert_the_end_is_the_same(model, counting_since)


@pytest.mark.parametrize("model", ["both-killed"], indirect=True)
def test_both_pods_are_deleted_without_mercy_and_new_ones_go_on(model: Model, logs: Logs) -> None:
    counting_since = hold(model)
    before = operator_pods.names(model.stage)
    logs.read()

    model.stage.kubectl.run("delete", "pods", PLACE, SELECTOR, "--force", "--grace-period=0")

    assert operator_pods.wait_until_one_leads(model.stage, seconds=120) not in before
    assert_the_end_is_the_same(model, counting_since)


@pytest.mark.full
@pytest.mark.parametrize("model", ["killed-often"], indirect=True)
def test_killed_again_and_again_no_step_comes_early_and_the_end_is_the_same(model: Model, logs: Logs) -> None:
    counting_since = hold(model)
    for _ in range(6):
        leader = operator_pods.wait_until_one_leads(model.stage)
        logs.read()
        operator_pods.kill_process(model.stage, leader)
        model.stays("nothing is rolled back", lambda m: not m["status"].get("rejected"), 12)
    assert_the_end_is_the_same(model, counting_since)
