"""The decisions of typical rollouts, second by second, compared with the files in `decisions/`.

Each line is a decision that was told (`>`), or what requests meet once it is carried out. `UPDATE_GOLDEN=1` rewrites.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.golden.stories import STORIES, played

FOLDER = Path(__file__).parent / "decisions"


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_decided_as_recorded(name: str) -> None:
    told = "\n".join(played(name).lines) + "\n"
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(told)

    assert told == golden.read_text(), f"if this is meant: UPDATE_GOLDEN=1 pytest {Path(__file__).name}"


def test_every_recorded_story_is_told() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(STORIES)
