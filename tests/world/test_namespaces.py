"""A namespace in which a right is missing is left alone: nothing is written, and nothing is lost when it is back."""

from __future__ import annotations

import pytest

from tests.world.invariants import check
from tests.world.test_edits import holding
from tests.world.test_rollouts import serving, stable_is
from tests.world.world import World, spec_of


def left_alone(world: World, seconds: int) -> World:
    """The rights go, and come back after so long."""
    world.caches.leave_alone()
    world.run(5)  # a pass that was under way ends
    weights, moves = world.weights(), world.status.moves
    world.run(seconds)
    assert world.weights() == weights
    assert world.status.moves == moves
    world.caches.take_up()
    return world


def test_a_rollout_goes_on_where_it_was_and_is_promoted() -> None:
    world = left_alone(holding(), 1800)
    assert world.status.rollout.phase == "Holding", "time that nobody watched does not count"
    world.run_until(lambda: stable_is(world, "model:2"), 3600).run(100)
    check(world)


def test_a_new_version_that_comes_meanwhile_is_rolled_out_afterwards() -> None:
    world = serving()
    world.caches.leave_alone()
    world.deploy(spec_of("model:2"))
    before = world.replicas()
    world.run(600)
    assert world.replicas() == before
    world.caches.take_up()
    world.run_until(lambda: stable_is(world, "model:2"), 3600).run(100)
    check(world)


@pytest.mark.parametrize("second", range(0, 60, 7))
def test_in_the_middle_of_whatever_goes_on_no_request_is_lost(second: int) -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    left_alone(world.run(second), 300)
    world.run_until(lambda: stable_is(world, "model:2"), 3600).run(100)
    check(world)
