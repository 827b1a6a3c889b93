"""The picture in the README: what a terminal shows of a rollout, drawn from two of the recorded statuses.

`UPDATE_GOLDEN=1 .venv/bin/pytest tests/golden/test_picture.py` draws it anew. The same statuses give the same picture.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

from serinus.cli.tree import tree
from tests.golden.test_trees import moments, shown, told

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "rollout.svg"
TREES = Path(__file__).parent / "trees"
SHOWN = (("holding", "01:01"), ("rollback", "02:11"))
"""Stories, and the moments in them: one under judgement, one rolled back."""
WIDTH = 114


def drawn() -> str:
    console = Console(
        file=io.StringIO(), record=True, width=WIDTH, force_terminal=True, color_system="truecolor", highlight=False
    )
    for story, moment in SHOWN:
        look = next(look for look in moments(story) if look.clock == moment)
        assert told(look) in (TREES / f"{story}.txt").read_text(), "a picture of what was recorded, and of nothing else"
        console.print(Text("$ kubectl serinus status fraud -n models", style="bold"))
        console.print(tree(shown(look), look.at))
        console.print()
    svg = console.export_svg(title="a version under judgement, and one that was rolled back", unique_id="rollout")
    own_fonts = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # they would be fetched from elsewhere
    return "".join(f"{line.rstrip()}\n" for line in own_fonts.splitlines())


def test_the_picture_is_the_recorded_one() -> None:
    picture = drawn()
    if os.environ.get("UPDATE_GOLDEN") == "1":
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(picture)

    assert picture == PICTURE.read_text(), f"if this is meant: UPDATE_GOLDEN=1 pytest {Path(__file__).name}"
    assert not re.search(r"""(href|src|url\()=?["']?https?:""", picture), "nothing is fetched from elsewhere"
