"""The CRD and the models say the same, every field is documented, and the committed file is the generated one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serinus.api.crd import (
    KINDS,
    custom_resource_definition,
    file_name,
    generated_file,
    main,
    structural_schema,
)
from serinus.api.kinds import CLUSTER_ROLLOUT_POLICY, MODEL_DEPLOYMENT, ROLLOUT_POLICY, Kind
from serinus.api.names import SCHEMA_VERSION, SCHEMA_VERSION_ANNOTATION
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.status import ModelDeploymentStatus
from tests.gitops.kstatus import Kstatus, kstatus
from tests.unit.api.bad_policies import BAD_POLICIES
from tests.unit.api.bad_specs import BAD_SPECS

ROOT = Path(__file__).parents[2]
COMPLETE = sorted((ROOT / "tests/unit/api/complete").glob("*.yaml"))
CRD = custom_resource_definition()
(VERSION,) = CRD["spec"]["versions"]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
SPEC, STATUS = (SCHEMA["properties"][part] for part in ("spec", "status"))
POLICIES = {
    kind: custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for kind in (CLUSTER_ROLLOUT_POLICY, ROLLOUT_POLICY)
}
ALL_SPECS = [(MODEL_DEPLOYMENT.kind, SPEC), *((kind.kind, schema) for kind, schema in POLICIES.items())]
NOT_STRUCTURAL = {
    "$ref",
    "$defs",
    "allOf",
    "oneOf",
    "not",
    "title",
    "const",
    "prefixItems",
    "uniqueItems",
    "exclusiveMinimum",
    "propertyNames",
}


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below this one, with its path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    for part, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if part in schema:
            yield from nodes(schema[part], path + mark)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
@pytest.mark.parametrize("folder", ["crds", "charts/serinus/files"])
def test_the_committed_file_is_the_generated_one(kind: Kind, folder: str):
    assert (ROOT / folder / file_name(kind)).read_text() == generated_file(kind), "run `make generate`"


def test_generation_is_deterministic(tmp_path: Path):
    assert main([str(tmp_path)]) == 0
    for kind in KINDS:
        assert (tmp_path / file_name(kind)).read_text() == generated_file(kind)
        assert yaml.load(generated_file(kind), yaml.CSafeLoader) == custom_resource_definition(kind)


def test_no_field_of_the_analysis_names_an_address_or_a_credential():
    """Whom the operator asks, and as whom, is a setting of the installation."""
    fields = {path.rpartition(".")[2].lower() for path, _ in nodes(SPEC["properties"]["analysis"], "")}
    suspicious = ("url", "address", "host", "server", "endpoint", "port", "proxy", "header", "secret", "token", "auth")
    assert {field for field in fields for each in suspicious if each in field} == set()


def test_the_crd_carries_the_version_of_its_schema():
    assert CRD["metadata"]["annotations"] == {SCHEMA_VERSION_ANNOTATION: str(SCHEMA_VERSION)}


@pytest.mark.parametrize(("part", "schema"), [*ALL_SPECS, ("status", STATUS)], ids=lambda each: str(each)[:20])
def test_every_field_is_documented_in_a_sentence(part: str, schema: dict[str, Any]):
    undocumented = [
        path
        for path, node in nodes(schema, part)
        if not path.endswith(("[]", "{}")) and not node.get("description", "").endswith((".", ".)"))
    ]

    assert undocumented == []


@pytest.mark.parametrize(("kind", "schema"), [("whole", SCHEMA), *ALL_SPECS[1:]], ids=lambda each: str(each)[:20])
def test_the_schema_is_structural(kind: str, schema: dict[str, Any]):
    found = list(nodes(schema, kind))
    unwanted = {path: NOT_STRUCTURAL & node.keys() for path, node in found if NOT_STRUCTURAL & node.keys()}
    untyped = [path for path, node in found if "type" not in node and "x-kubernetes-int-or-string" not in node]

    assert unwanted == {}
    assert untyped == []


def test_sections_that_make_a_revision_have_no_defaults():
    defaults = [
        path
        for section in ("model", "serving", "placement")
        for path, node in nodes(SPEC["properties"][section], section)
        if "default" in node
    ]

    assert defaults == []


def test_status_has_no_defaults_but_that_nobody_has_looked():
    assert [path for path, node in nodes(STATUS, "status") if "default" in node] == ["status"]
    assert STATUS["default"] == {"observedGeneration": -1}


def test_a_resource_that_no_operator_has_looked_at_is_not_done_to_kstatus():
    """Flux and others would go on with what depends on it."""
    created = {"metadata": {"name": "iris", "generation": 1}, "spec": {}}

    assert kstatus(created | {"status": STATUS["default"]}) is Kstatus.IN_PROGRESS
    assert ModelDeploymentStatus.model_validate(STATUS["default"]).conditions == ()


@pytest.mark.parametrize(("kind", "schema"), ALL_SPECS, ids=lambda each: str(each)[:20])
def test_what_a_policy_can_give_has_no_default_of_the_api_server(kind: str, schema: dict[str, Any]):
    """Else nobody could tell what the user has set."""
    sections = [
        inner
        for path, inner in nodes(schema, kind)
        if path.removeprefix(kind) in {".rollout", ".analysis", ".defaults.rollout", ".defaults.analysis"}
    ]
    fields = [field for section in sections for field in section["properties"].items()]
    deeper = [
        field for name, node in fields if name in {"undecided", "missing"} for field in node["properties"].items()
    ]

    assert len(sections) == 2
    assert [name for name, node in [*fields, *deeper] if "default" in node] == []


def test_nothing_of_the_generator_gets_into_a_crd():
    assert not any("x-serinus" in generated_file(kind) for kind in KINDS)


def test_decimals_are_texts_but_for_counts_and_the_seconds_of_a_hold():
    """A limit or a share that went through a float would come back as another one."""
    floats = {path.rpartition(".")[2] for path, node in nodes(SCHEMA, "") if node.get("type") == "number"}

    assert floats == {"bad", "total", "heldSeconds"}
    fixed = STATUS["properties"]["rollout"]["properties"]["slices"]["items"]["properties"]
    assert {fixed[name]["type"] for name in ("leastPercent", "restPercent")} == {"string"}
    assert all("pattern" in fixed[name] for name in ("leastPercent", "restPercent"))


def test_lists_of_named_things_are_maps():
    named = [
        path
        for path, node in nodes(SPEC, "spec")
        if node.get("items", {}).get("properties", {}).keys() >= {"name"} and "parentRefs" not in path
    ]
    keys = {path: node.get("x-kubernetes-list-map-keys") for path, node in nodes(SPEC, "spec") if path in named}

    assert keys == {path: ["mountPath"] if path.endswith("volumeMounts") else ["name"] for path in named}
    assert "spec.rollout.canary.steps" in keys


def test_the_models_and_the_crd_have_the_same_fields():
    for model, schema in ((ModelDeploymentSpec, SPEC), (ModelDeploymentStatus, STATUS)):
        assert {field.alias for field in model.model_fields.values()} == schema["properties"].keys()


def test_the_complete_resources_use_every_field_of_the_spec():
    used = {
        path for resource in COMPLETE for path in _paths(yaml.safe_load(resource.read_text())["spec"], SPEC, "spec")
    }
    known = {path for path, _ in nodes(SPEC, "spec")}

    assert known - used == set()


def _paths(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    yield path
    if isinstance(value, list):
        for item in value:
            yield from _paths(item, schema["items"], f"{path}[]")
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in schema.get("properties", {}):
                yield from _paths(item, schema["properties"][name], f"{path}.{name}")
            elif "additionalProperties" in schema:
                yield from _paths(item, schema["additionalProperties"], f"{path}{{}}")


def test_every_rule_of_the_spec_is_tried_by_a_bad_spec():
    messages = {rule["message"] for _, node in nodes(SPEC, "spec") for rule in node.get("x-kubernetes-validations", [])}
    tried = [bad.says for bad in BAD_SPECS]

    assert [message for message in messages if not any(words in message for words in tried)] == []


def test_every_rule_of_a_policy_is_tried_by_a_bad_policy_or_a_bad_spec():
    nodes_of_policies = [node for schema in POLICIES.values() for _, node in nodes(schema, "spec")]
    messages = {rule["message"] for node in nodes_of_policies for rule in node.get("x-kubernetes-validations", [])}
    tried = [bad.says for bad in (*BAD_SPECS, *BAD_POLICIES)]

    assert [message for message in messages if not any(words in message for words in tried)] == []


def test_every_rule_says_what_to_do_in_one_line():
    rules = [rule for _, node in nodes(SCHEMA, "") for rule in node.get("x-kubernetes-validations", [])]

    assert len(rules) > 30
    assert all("\n" not in rule["message"] and len(rule["message"]) > 40 for rule in rules)


def test_people_see_where_a_rollout_stands():
    columns = [column["name"] for column in VERSION["additionalPrinterColumns"]]

    assert columns == ["Ready", "Phase", "Step", "Weight", "Stable", "Candidate", "Reason", "Age"]


def test_what_printer_columns_and_scale_read_exists():
    paths = [column["jsonPath"] for column in VERSION["additionalPrinterColumns"] if "[?" not in column["jsonPath"]]
    paths += VERSION["subresources"]["scale"].values()

    for path in paths:
        if path.startswith(".metadata"):
            continue
        node = SCHEMA
        for name in path.strip(".").split("."):
            node = node["properties"][name]


def test_optional_and_required_fields_follow_the_models():
    schema = structural_schema(ModelDeploymentSpec)

    assert schema["required"] == ["serving"]
    assert schema["properties"]["serving"]["required"] == ["image"]
    assert schema["properties"]["rollout"]["properties"]["canary"]["required"] == ["steps"]
