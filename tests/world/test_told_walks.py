"""Walks that hypothesis makes up: what happens when is its choice, and what fails it tells with the fewest acts.

Beside the walks by seed, which are many more for the same time and are repeated by one number. Hypothesis finds other
combinations (the same act again and again, bursts, long silence) and shrinks better: acts become simpler and earlier,
where a walk by seed can only leave them out. What it prints is a call for `tests/world/test_found_by_walks.py`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.world.many_walks import walked
from tests.world.random_walk import ACTS, ALL_KINDS, Kind

FEW = 12
MANY = int(os.environ.get("TOLD_WALKS", "0"))
"""Of each kind, and others each time; 0: the same ones as ever, for `make test`."""


def walks(kind: Kind) -> st.SearchStrategy[tuple[int, dict[int, str]]]:
    """A seed for what the acts choose, and the acts by second."""
    often = [act.__name__ for act, weight in kind.acts.items() for _ in range(weight)]
    seconds = st.integers(0, kind.seconds[0] - 1)
    return st.tuples(st.integers(0, 10_000), st.dictionaries(seconds, st.sampled_from(often), max_size=30))


def keeps_every_promise(kind: Kind, data: st.DataObject) -> None:
    seed, acts = data.draw(walks(kind))
    acts = dict(sorted(acts.items()))
    note(f'walked({seed}, {acts}, "{kind.name}")')
    walked(seed, acts, kind.name)


@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name)
@settings(max_examples=FEW, derandomize=True)
@given(data=st.data())
def test_a_walk_that_is_made_up_keeps_every_promise_and_comes_to_rest(kind: Kind, data: st.DataObject) -> None:
    keeps_every_promise(kind, data)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name)
@settings(max_examples=MANY or 100, derandomize=not MANY)
@given(data=st.data())
def test_many_walks_that_are_made_up_keep_every_promise_and_come_to_rest(kind: Kind, data: st.DataObject) -> None:
    keeps_every_promise(kind, data)


def test_every_act_is_in_the_table_of_faults() -> None:
    text = (Path(__file__).parent / "README.md").read_text()
    told = {name for name in re.findall(r"`([a-z_]+)`", text) if name in ACTS}
    by_people = {"new_image", "replicas", "annotation", "timely_annotation"}
    assert set(ACTS) - told == by_people, "what people do all day is no fault; all else has its line"
