"""The operator is killed or frozen in the middle of a hold: another takes over, and the end is the same."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e import operator_pods
from e2e.endurance import assert_promoted_as_if_nothing_had_been, hold
from e2e.model import Model, model_in, rollout
from e2e.operator_pods import PLACE, SELECTOR, Logs
from e2e.stage import Stage, wait_until

LEASE_SECONDS = 15
RETRY_SECONDS = 2
"""The chart's values: a fail-over takes at most both, and what a busy machine adds."""
BUSY_SECONDS = 15


@pytest.fixture
def model(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Model]:
    with model_in(stage, f"e2e-{request.param}") as model:
        yield model


@pytest.fixture
def counting_since(model: Model) -> float:
    """Since when the hold of version 2 counts, in which it has been for some seconds, with clients."""
    counting_since = hold(model)
    model.stays("it holds", lambda m: rollout(m)["phase"] == "Holding", 5)
    return counting_since


def assert_the_end_is_the_same(model: Model, counting_since: float) -> None:
    assert_promoted_as_if_nothing_had_been(model, counting_since)
    model.nobody_saw_a_failure(model.stop_requests())


@pytest.mark.parametrize("model", ["leader-killed"], indirect=True)
def test_the_leader_dies_and_the_standby_acts_within_the_time_of_the_lease(
    model: Model, counting_since: float, logs: Logs
) -> None:
    leader = operator_pods.leader(model.stage)
    logs.read()

    operator_pods.kill_process(model.stage, leader)  # so it can't give the Lease back
    killed_at = time.time()
    model.stage.kubectl.run("delete", "pod", PLACE, leader, "--force", "--grace-period=0")
    operator_pods.wait_until_one_leads(model.stage, other_than=leader)

    assert time.time() - killed_at < LEASE_SECONDS + RETRY_SECONDS + BUSY_SECONDS
    assert_the_end_is_the_same(model, counting_since)


@pytest.mark.full
@pytest.mark.parametrize("model", ["both-killed"], indirect=True)
def test_both_pods_are_deleted_without_mercy_and_new_ones_go_on(
    model: Model, counting_since: float, logs: Logs
) -> None:
    before = operator_pods.names(model.stage)
    logs.read()

    model.stage.kubectl.run("delete", "pods", PLACE, SELECTOR, "--force", "--grace-period=0")

    assert operator_pods.wait_until_one_leads(model.stage, seconds=120) not in before
    assert_the_end_is_the_same(model, counting_since)


@pytest.mark.full
@pytest.mark.parametrize("model", ["killed-often"], indirect=True)
def test_killed_again_and_again_no_step_comes_early_and_the_end_is_the_same(
    model: Model, counting_since: float, logs: Logs
) -> None:
    for _ in range(6):
        leader = operator_pods.wait_until_one_leads(model.stage, seconds=120)
        logs.read()
        operator_pods.kill_process(model.stage, leader)
        model.stays("nothing is rolled back", lambda m: not m["status"].get("rejected"), 12)
    assert_the_end_is_the_same(model, counting_since)


@pytest.mark.full
@pytest.mark.parametrize("model", ["leader-frozen"], indirect=True)
def test_the_leader_freezes_the_standby_takes_over_and_the_thawed_one_finds_that_it_leads_no_more(
    model: Model, counting_since: float, logs: Logs
) -> None:
    leader = operator_pods.wait_until_one_leads(model.stage)
    restarts = operator_pods.restarts(model.stage)

    with operator_pods.frozen(model.stage, leader):
        successor = operator_pods.wait_until_one_leads(model.stage, other_than=leader)

    def stands_by() -> bool:
        logs.read()
        return any(f"{leader} does not lead any more" in line for line in logs.of(leader))

    wait_until(f"{leader} says that it does not lead any more", stands_by, 60)
    assert_the_end_is_the_same(model, counting_since)
    assert operator_pods.leader(model.stage) == successor
    assert operator_pods.restarts(model.stage) == restarts, "it was frozen for less than the liveness probe allows"
