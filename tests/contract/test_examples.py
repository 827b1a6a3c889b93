"""Every example parses, is carried out by this version, and uses no field that does not exist."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import MODEL_DEPLOYMENT, POLICY_KINDS
from serinus.api.policy import Policy
from serinus.api.rollout import Automation
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.support import unsupported
from serinus.core.platform import govern

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
POLICIES = {kind.kind for kind in POLICY_KINDS}


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


def test_the_policies_of_an_example_can_be_read_and_say_nothing_that_the_models_do_not_know():
    found = [each for path in EXAMPLES for each in yaml.safe_load_all(path.read_text()) if each["kind"] in POLICIES]

    assert {each["kind"] for each in found} == POLICIES
    for each in found:
        policy = Policy.parse(each)
        assert policy.problems == ()
        assert policy.spec.model_dump(mode="json", by_alias=True, exclude_unset=True) == each["spec"]


def test_the_model_of_the_example_is_within_the_policies_beside_it():
    path = next(path for path in EXAMPLES if path.stem == "policies")
    policies = [Policy.parse(each) for each in yaml.safe_load_all(path.read_text()) if each["kind"] in POLICIES]

    governed = govern(ModelDeployment.parse(read(path)).spec, policies)

    assert governed.violations == ()
    assert governed.spec.rollout.automation is Automation.SUPERVISED
    assert [metric.name for metric in governed.spec.analysis.metrics or ()] == ["errors", "latency"]
