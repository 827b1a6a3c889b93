"""What `kubectl serinus status` shows in the middle of typical rollouts, compared with the files in `trees/`.

The statuses are those that the operator writes in the simulated world. `UPDATE_GOLDEN=1` rewrites the files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from serinus.cli.report import Report, report
from serinus.cli.terminal import as_text
from serinus.cli.tree import tree
from tests.golden.stories import STORIES, Look, played
from tests.world.world import START

FOLDER = Path(__file__).parent / "trees"


def shown(look: Look) -> Report:
    return report(look.resource, look.objects, look.pods, look.at)


def told(look: Look) -> str:
    return f"{look.clock}\n{as_text(tree(shown(look), look.at))}"


def moments(name: str) -> Iterator[Look]:
    """One of the recorded stories, looked at before each thing that happens, and at the end."""
    looks = played(name).looks
    yield from (look for look in looks if look.happened)
    if not looks[-1].happened:
        yield looks[-1]


TREES = ("holding", "approval", "rollback", "prometheus_outage", "return_to", "recreate")


@pytest.mark.parametrize("name", TREES)
def test_a_status_is_shown_as_recorded(name: str) -> None:
    shown = "\n".join(told(look) for look in moments(name))
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(shown)

    assert shown == golden.read_text(), f"if this is meant: UPDATE_GOLDEN=1 pytest {Path(__file__).name}"


def test_what_was_held_is_told_once_and_as_of_now() -> None:
    """The operator writes it into the condition now and then; the step's line counts on."""
    for look in moments("holding"):
        held = set(re.findall(r"held (\d+) of 60 s", told(look)))
        assert len(held) <= 1, told(look)


@pytest.mark.parametrize("name", STORIES)
def test_every_moment_of_a_story_can_be_shown(name: str) -> None:
    """Every few seconds, and whenever somebody did something."""
    for look in played(name).looks:
        if look.happened or (look.at - START).seconds % 7 == 0:
            told(look)


def test_every_recorded_tree_is_drawn() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(TREES)
