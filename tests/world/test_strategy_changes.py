"""The strategy is changed: between rollouts, and at every moment of one."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from tests.world.invariants import check, no_request_is_lost
from tests.world.test_blue_green import stable_is
from tests.world.traffic import Behaviour
from tests.world.world import World, spec_of

TIMES = {"watchSeconds": 20, "scaleDownDelaySeconds": 20, "progressDeadlineSeconds": 120}
STEPS = [{"name": "five", "weightPercent": 5, "holdSeconds": 10}, {"name": "half", "weightPercent": 50}]
SHADOW = {"name": "shadow", "shadowPercent": 30, "holdSeconds": 10}
MATCH = {"headers": [{"name": "x-cohort", "value": "beta"}]}
TESTERS = {"name": "testers", "match": MATCH, "holdSeconds": 10}
CANARY = {"rollout": {**TIMES, "canary": {"steps": STEPS}}}
PLAIN: dict[str, Any] = {"traffic": {}}
STRATEGIES: dict[str, dict[str, Any]] = {
    "canary": CANARY,
    "canary by pods": CANARY | PLAIN,
    "canary by copies and headers": {"rollout": {**TIMES, "canary": {"steps": [SHADOW, TESTERS, *STEPS]}}},
    "blue-green": {"rollout": {**TIMES, "blueGreen": {"holdSeconds": 10}}},
    "plain blue-green": {"rollout": {**TIMES, "blueGreen": {}}} | PLAIN,
    "recreate": {"rollout": {**TIMES, "recreate": {}}},
    "plain recreate": {"rollout": {**TIMES, "recreate": {}}} | PLAIN,
}
PAIRS = list(permutations(STRATEGIES, 2))


def serving(strategy: str) -> World:
    world = World(requests_per_second=400, tester_share=0.3)
    world.deploy(spec_of("model:1", **STRATEGIES[strategy]))
    return world.run_until(lambda: world.condition("Ready") == ("True", "Stable")).run(15)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_between_rollouts_it_moves_nothing_and_the_next_one_follows_it(strategy: str) -> None:
    world = serving("canary")
    moves, pods = world.status.moves, {pod["metadata"]["name"] for pod in world.api.of("Pod")}
    world.deploy(spec_of("model:1", **STRATEGIES[strategy]))
    world.run(20)
    assert world.status.moves == moves
    assert {pod["metadata"]["name"] for pod in world.api.of("Pod")} == pods
    world.deploy(spec_of("model:2", **STRATEGIES[strategy]))
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.judged_by == ("Metrics" if "canary" in strategy else "Readiness")
    check(world, hold_seconds=10, pods_crash="recreate" in strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_where_stable_was_never_ready_the_fix_goes_straight_in(strategy: str) -> None:
    world = World(behaviours={"model:1": Behaviour(never_ready=True)})
    world.deploy(spec_of("model:1", **STRATEGIES[strategy]))
    world.run(60)
    world.deploy(spec_of("model:2", **STRATEGIES[strategy]))
    world.run_until(lambda: stable_is(world, "model:2") and world.condition("Ready")[0] == "True", 60)
    assert not [entry for entry in world.status.history if entry.event == "StepEntered"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_scaled_in_the_middle_of_a_rollout_what_serves_has_the_new_size(strategy: str) -> None:
    world = serving(strategy)
    world.deploy(spec_of("model:2", **STRATEGIES[strategy]))
    world.run(9)
    world.deploy(spec_of("model:2", **STRATEGIES[strategy], scaling={"replicas": 5}))
    world.run_until(lambda: stable_is(world, "model:2"))
    world.run_until(lambda: world.moments[-1].ready[world.revision_of("model:2")] == 5, 20)
    if "recreate" not in strategy:
        no_request_is_lost(world.moments)


@pytest.mark.exhaustive
@pytest.mark.full
@pytest.mark.parametrize("after_seconds", range(0, 30, 2))
@pytest.mark.parametrize(("before", "after"), PAIRS, ids=" to ".join)
def test_at_any_moment_of_a_rollout_it_ends_well_and_nobody_is_harmed(
    before: str, after: str, after_seconds: int
) -> None:
    world = serving(before)
    world.deploy(spec_of("model:2", **STRATEGIES[before]))
    world.run(after_seconds)
    world.deploy(spec_of("model:2", **STRATEGIES[after]))
    world.run_until(lambda: stable_is(world, "model:2") and world.condition("Ready") == ("True", "Stable"))
    world.run_until(lambda: world.status.previous is None).run(10)
    assert {size for size in world.replicas().values() if size} == {3}
    assert sum(world.replicas().values()) == 3
    if "recreate" not in before + after:
        no_request_is_lost(world.moments)
