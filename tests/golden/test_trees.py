"""What `kubectl serinus status` shows in the middle of typical rollouts, compared with the files in `trees/`.

The statuses are those that the operator writes in the simulated world. `UPDATE_GOLDEN=1` rewrites the files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from serinus.api.kinds import CONTROLLER_REVISION, MODEL_DEPLOYMENT, REPLICA_SET
from serinus.cli.report import Report, report
from serinus.cli.terminal import as_text
from serinus.cli.tree import tree
from tests.golden.test_decisions import NEW, OLD, STORIES, Behaviour, deploy, started
from tests.world.world import START, World

FOLDER = Path(__file__).parent / "trees"


def look(world: World) -> Report:
    (resource,) = world.api.of(MODEL_DEPLOYMENT.kind)
    objects = [each for kind in (REPLICA_SET, CONTROLLER_REVISION) for each in world.api.of(kind.kind)]
    return report(resource, objects, world.api.of("Pod"), world.now)


def told(world: World) -> str:
    minutes, seconds = divmod(int((world.now - START).total_seconds()), 60)
    return f"{minutes:02}:{seconds:02}\n{as_text(tree(look(world), world.now))}"


def holding(world: World) -> Iterator[None]:
    """A rollout, looked at now and then."""
    world.behaviours[OLD] = Behaviour(error_share=0.002)
    list(started(world))
    deploy(world, NEW)
    for seconds in (2, 8, 40, 60):
        world.run(seconds)
        yield
    world.run_until_phase("Watching").run(10)
    yield


def moments(name: str) -> Iterator[World]:
    """One of the recorded stories, looked at before each thing that happens, and at the end."""
    world = World()
    for _ in holding(world) if name == "holding" else STORIES[name](world):
        yield world
    if name != "holding":
        yield world


TREES = ("holding", "approval", "rollback", "prometheus_outage", "return_to", "recreate")


@pytest.mark.parametrize("name", TREES)
def test_a_status_is_shown_as_recorded(name: str) -> None:
    shown = "\n".join(told(world) for world in moments(name))
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(shown)

    assert shown == golden.read_text(), f"if this is meant: UPDATE_GOLDEN=1 pytest {Path(__file__).name}"


def test_what_was_held_is_told_once_and_as_of_now() -> None:
    """The operator writes it into the condition now and then; the step's line counts on."""
    for world in moments("holding"):
        held = set(re.findall(r"held (\d+) of 60 s", told(world)))
        assert len(held) <= 1, told(world)


class Watched(World):
    """A world that is looked at every few seconds."""

    async def _second(self) -> None:
        await super()._second()
        if (self.now - START).seconds % 7 == 0:
            told(self)


@pytest.mark.parametrize("name", STORIES)
def test_every_moment_of_a_story_can_be_shown(name: str) -> None:
    world = Watched()
    for _ in STORIES[name](world):
        told(world)


def test_every_recorded_tree_is_drawn() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(TREES)
