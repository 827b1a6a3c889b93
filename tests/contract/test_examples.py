"""Every example parses, is carried out by this version, and uses no field that does not exist."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import MODEL_DEPLOYMENT
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.support import unsupported

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def read(path: Path) -> dict[str, Any]:
    (resource,) = [each for each in yaml.safe_load_all(path.read_text()) if each["kind"] == MODEL_DEPLOYMENT.kind]
    return resource


def test_there_are_examples():
    assert {"minimal", "canary", "gpu"} <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_carried_out_by_this_version(path: Path):
    resource = read(path)

    assert resource["apiVersion"] == MODEL_DEPLOYMENT.api_version
    assert unsupported(ModelDeployment.parse(resource).spec) == ()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_nothing_that_the_models_do_not_know(path: Path):
    spec = read(path)["spec"]

    assert ModelDeploymentSpec.model_validate(spec).model_dump(mode="json", by_alias=True, exclude_unset=True) == spec


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_what_it_is_for(path: Path):
    assert path.read_text().startswith("# ")
