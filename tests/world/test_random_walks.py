"""Anything may happen at any time, by seed: the invariants hold all along, and the world comes to rest in the end."""

from __future__ import annotations

import pytest

from tests.world.many_walks import FEW, MANY, walked


@pytest.mark.parametrize("seed", FEW)
def test_a_walk_keeps_every_promise_and_comes_to_rest(seed: int) -> None:
    walked(seed)


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(FEW.stop, MANY, 50))
def test_many_walks_keep_every_promise_and_come_to_rest(first: int) -> None:
    for seed in range(first, min(first + 50, MANY)):
        walked(seed)
