"""Anything may happen at any time, by seed: the invariants hold all along, and the world comes to rest in the end."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from serinus.api.reasons import JudgedBy, Phase
from tests.world.invariants import (
    moves_only_rise,
    no_step_ends_before_its_hold,
    nothing_is_promoted_unjudged,
    pods_go_only_after_their_traffic,
)
from tests.world.random_walk import HOLD_SECONDS, LAST, Walk
from tests.world.test_rollouts import stable_is

SECONDS = 150
FEW = range(int(os.environ.get("WALKS", "12")))
"""Seeds of every run; WALKS=500 walks further."""
MANY = range(100, 150)


def walked(seed: int) -> Walk:
    walk = Walk(seed)
    try:
        walk.go(SECONDS).settle()
        walk.world.run(3).run_until(lambda: at_rest(walk), 400)
        writes = len(walk.world.run(5).api.writes)
        walk.world.run(60)
        assert len(walk.world.api.writes) == writes, f"not quiet: {walk.world.api.writes[writes:]}"
        assert_all_along(walk)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}\n" + "\n".join(walk.told)) from error
    return walk


def at_rest(walk: Walk) -> bool:
    world = walk.world
    walk.help_out()
    done = world.condition("Ready") == ("True", "Stable") and world.status.rollout.phase is Phase.IDLE
    return done and stable_is(world, LAST) and sum(world.replicas().values()) == 3


def assert_all_along(walk: Walk) -> None:
    for before, after in pairwise(walk.world.moments):
        moves_only_rise(before, after)
        nothing_is_promoted_unjudged(before, after)
        pods_go_only_after_their_traffic(before, after)
        if walk.spec["rollout"].get("canary"):
            no_step_ends_before_its_hold(before, after, HOLD_SECONDS)
        rollout = after.status.rollout
        if rollout.judged_by is JudgedBy.PERSON and rollout.phase is Phase.WATCHING and after.status.stable:
            assert after.status.stable.revision in walk.promoted_by_hand


@pytest.mark.parametrize("seed", FEW)
def test_a_walk_keeps_every_promise_and_comes_to_rest(seed: int) -> None:
    walked(seed)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", MANY)
def test_many_walks_keep_every_promise_and_come_to_rest(seed: int) -> None:
    walked(seed)
