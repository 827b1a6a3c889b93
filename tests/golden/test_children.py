"""The children of typical resources, compared with the files in `children/`. `UPDATE_GOLDEN=1` rewrites them."""

import os
from pathlib import Path

import pytest
import yaml

from tests.golden.render_all import FOLDER, RESOURCES, children_of, deployment_of

CHILDREN = FOLDER / "children"


@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: path.stem)
def test_children_are_rendered_as_recorded(path: Path):
    rendered = yaml.safe_dump(children_of(deployment_of(path)), sort_keys=False, width=110)
    golden = CHILDREN / path.name
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(rendered)

    assert rendered == golden.read_text(), f"if this is meant: UPDATE_GOLDEN=1 pytest {Path(__file__).name}"


def test_every_recorded_file_has_its_resource():
    assert {path.name for path in CHILDREN.iterdir()} == {path.name for path in RESOURCES}
