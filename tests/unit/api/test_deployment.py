"""Reading a ModelDeployment: what parses, what is refused, and in which words."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from serinus.api.analysis import AbsentBad
from serinus.api.defaults import METRICS, absent_bad
from serinus.api.deployment import InvalidSpec, ModelDeployment
from serinus.api.rollout import Automation
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.values import Percent
from tests.unit.api.bad_specs import BAD_SPECS, IMAGE, BadSpec

COMPLETE = sorted((Path(__file__).parent / "complete").glob("*.yaml"))


def resource(spec: Any, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "iris", "namespace": "shop", **metadata}, "spec": spec}


def problems(value: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(InvalidSpec) as refused:
        ModelDeployment.parse(value)
    return tuple(str(problem) for problem in refused.value.problems)


def test_the_smallest_resource_has_every_section_it_needs():
    deployment = ModelDeployment.parse(resource({"serving": {"image": IMAGE}}, generation=3, resourceVersion="17"))

    assert (deployment.metadata.name, deployment.metadata.namespace) == ("iris", "shop")
    assert (deployment.metadata.generation, deployment.metadata.resource_version) == (3, "17")
    assert deployment.spec.rollout.automation is Automation.AUTOMATIC
    assert deployment.spec.rollout.progress_deadline_seconds == 1800
    assert deployment.spec.analysis.false_rollback_percent.share == Fraction(1, 100)
    assert deployment.spec.traffic.port == 80
    assert deployment.spec.scaling.replicas is None
    assert deployment.status.stable is None


def test_sections_of_the_revision_are_empty_until_the_user_fills_them():
    spec = ModelDeployment.parse(resource({"serving": {"image": IMAGE}})).spec

    assert spec.model is None
    assert spec.placement is None
    assert spec.serving.model_dump(exclude_unset=True) == {"image": IMAGE}


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.stem)
def test_every_field_survives_reading(path: Path):
    written = yaml.safe_load(path.read_text())["spec"]

    read = ModelDeploymentSpec.model_validate(written)

    assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == written


def test_fields_of_a_newer_version_are_ignored_when_reading():
    spec = {"serving": {"image": IMAGE, "sparkle": 1}, "glitter": {}}

    assert ModelDeployment.parse(resource(spec)).spec.serving.image == IMAGE


@pytest.mark.parametrize("bad", BAD_SPECS, ids=lambda bad: bad.title)
def test_what_gets_past_the_api_server_is_refused_too(bad: BadSpec):
    said = problems(resource(bad.spec))

    assert any(_same_place(line.split(":")[0], bad.field) for line in said), said
    if bad.is_rule:
        assert any(bad.says in line for line in said), said


def _same_place(ours: str, theirs: str) -> bool:
    return ours.startswith(theirs) or theirs.startswith(ours)


def test_an_invalid_spec_names_the_object_and_every_wrong_field_at_once():
    with pytest.raises(InvalidSpec) as refused:
        ModelDeployment.parse(resource({"serving": {"image": IMAGE, "port": 0}, "suspend": "yes"}))

    assert "shop/iris" in str(refused.value)
    assert [problem.field for problem in refused.value.problems] == ["spec.serving.port", "spec.suspend"]


def test_a_broken_metric_is_reported_once():
    said = problems(resource({"serving": {"image": IMAGE}, "analysis": {"metrics": [{"name": "x", "errors": {}}]}}))

    assert len(said) == 1
    assert said[0].startswith("spec.analysis.metrics[0].limit: ")


@pytest.mark.parametrize("spec", [None, [], "spec", {"serving": []}, {"serving": {"image": IMAGE}, "rollout": 3}])
def test_nonsense_in_place_of_a_section_is_refused(spec: Any):
    assert problems(resource(spec))


@pytest.mark.parametrize("name", ["a" * 54, "1st", "a.b", "A", "a-", ""])
def test_a_name_that_no_service_can_have_is_refused(name: str):
    value = resource({"serving": {"image": IMAGE}}, name=name)

    assert problems(value)[0].startswith("metadata.name: ")


def test_a_status_that_is_no_status_is_refused_by_name():
    value = resource({"serving": {"image": IMAGE}}) | {"status": {"moves": "many"}}

    assert problems(value)[0].startswith("status.moves: ")


def test_null_is_the_same_as_unset():
    spec = {"serving": {"image": IMAGE, "port": None}, "rollout": None, "scaling": {"replicas": None}}

    assert (
        ModelDeployment.parse(resource(spec)).spec
        == ModelDeployment.parse(resource({"serving": {"image": IMAGE}})).spec
    )


def test_nothing_of_a_parsed_resource_can_be_changed():
    spec = ModelDeployment.parse(resource({"serving": {"image": IMAGE}})).spec

    with pytest.raises(ValueError, match="frozen"):
        spec.serving.image = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "share"), [("1", Fraction(1, 100)), ("0.5", Fraction(1, 200)), ("12.345", Fraction(2469, 20000))]
)
def test_a_percentage_is_exact(text: str, share: Fraction):
    assert Percent(text).share == share


def test_a_missing_counter_of_errors_means_no_errors_yet():
    assert [absent_bad(metric) for metric in METRICS] == [AbsentBad.ZERO, AbsentBad.ZERO]


def test_a_spec_that_has_not_changed_is_not_read_again_and_all_else_is():
    spec = {"serving": {"image": IMAGE}}
    first = ModelDeployment.parse(resource(spec, uid="1", generation=3, resourceVersion="17"))
    again = {**resource(dict(spec), uid="1", generation=3, resourceVersion="18"), "status": {"moves": 4}}

    second = ModelDeployment.parse(again, first)

    assert second.spec is first.spec
    assert second == ModelDeployment.parse(again)
    assert (second.metadata.resource_version, second.status.moves) == ("18", 4)


@pytest.mark.parametrize(
    ("spec", "metadata"),
    [
        pytest.param({"serving": {"image": f"{IMAGE}-2"}}, {"uid": "1", "generation": 3}, id="by a new CRD's defaults"),
        pytest.param({"serving": {"image": f"{IMAGE}-2"}}, {"uid": "1", "generation": 4}, id="by a user"),
        pytest.param({"serving": {"image": f"{IMAGE}-2"}}, {"uid": "2", "generation": 3}, id="with the resource"),
        pytest.param({"serving": {"image": IMAGE}, "suspend": True}, {}, id="in a resource without a generation"),
    ],
)
def test_a_spec_that_has_changed_is_read(spec: dict[str, Any], metadata: dict[str, Any]):
    known = ModelDeployment.parse(
        resource({"serving": {"image": IMAGE}}, **({"uid": "1", "generation": 3} if metadata else {}))
    )

    assert ModelDeployment.parse(resource(spec, **metadata), known) == ModelDeployment.parse(resource(spec, **metadata))


def test_what_can_not_be_read_is_refused_beside_a_spec_that_could():
    known = ModelDeployment.parse(resource({"serving": {"image": IMAGE}}, uid="1", generation=3))
    broken = {**resource({"serving": {"image": IMAGE}}, uid="1", generation=3), "status": {"moves": "many"}}

    with pytest.raises(InvalidSpec, match=r"status\.moves"):
        ModelDeployment.parse(broken, known)
