"""A real API server accepts the CRD and good resources, and refuses bad ones in words that help."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from serinus.api.deployment import ModelDeployment
from serinus.api.names import SCHEMA_VERSION
from serinus.api.revision import MAX_NAME_LENGTH, revision_hash
from serinus.api.status import ModelDeploymentStatus
from tests.integration.conftest import Kubectl
from tests.unit.api.bad_specs import BAD_SPECS, IMAGE, BadSpec

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
COMPLETE = sorted((ROOT / "tests/unit/api/complete").glob("*.yaml"))

pytestmark = pytest.mark.usefixtures("crd")


def resource(spec: dict[str, Any], name: str = "iris") -> str:
    kind = {"apiVersion": "serinus.dev/v1alpha1", "kind": "ModelDeployment"}
    return json.dumps(kind | {"metadata": {"name": name}, "spec": spec})


def create(kubectl: Kubectl, namespace: str, manifest: str) -> dict[str, Any]:
    created = kubectl("create", "-n", namespace, "-o", "json", "-f", "-", stdin=manifest)
    assert created.returncode == 0, created.stderr
    return json.loads(created.stdout)


def test_the_crd_is_served_with_the_version_of_its_schema(kubectl: Kubectl, crd: str):
    served = json.loads(kubectl("get", "crd", crd, "-o", "json").stdout)
    conditions = {each["type"]: each["status"] for each in served["status"]["conditions"]}

    assert conditions["Established"] == "True"
    assert "NonStructuralSchema" not in conditions
    assert served["metadata"]["annotations"]["serinus.dev/schema-version"] == str(SCHEMA_VERSION)


def test_the_crd_is_applied_without_warnings(kubectl: Kubectl):
    applied = kubectl("apply", "--server-side", "--dry-run=server", "-f", str(ROOT / "crds"))

    assert (applied.returncode, applied.stderr) == (0, "")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_accepted(kubectl: Kubectl, namespace: str, path: Path):
    applied = kubectl("apply", "-n", namespace, "-f", str(path))

    assert applied.returncode == 0, applied.stderr
    assert "created" in applied.stdout
    if "clusterrolloutpolicy" in applied.stdout:
        assert kubectl("delete", "-n", namespace, "-f", str(path)).returncode == 0


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.stem)
def test_no_field_of_the_spec_is_lost(kubectl: Kubectl, namespace: str, path: Path):
    manifest = yaml.safe_load(path.read_text())

    stored = create(kubectl, namespace, json.dumps(manifest))

    assert _without_additions(stored["spec"], manifest["spec"]) == manifest["spec"]
    assert revision_hash(stored["spec"]) == revision_hash(manifest["spec"])
    assert ModelDeployment.parse(stored).spec == ModelDeployment.parse(manifest).spec


def _without_additions(stored: Any, written: Any) -> Any:
    """What was stored, without the defaults that the API server has added."""
    if isinstance(stored, dict) and isinstance(written, dict):
        return {key: _without_additions(stored[key], written[key]) for key in written if key in stored}
    if isinstance(stored, list) and isinstance(written, list) and len(stored) == len(written):
        return [_without_additions(*pair) for pair in zip(stored, written, strict=True)]
    return stored


def test_a_resource_that_no_operator_has_looked_at_says_so_until_one_writes_its_status(
    kubectl: Kubectl, namespace: str
):
    create(kubectl, namespace, resource({"serving": {"image": IMAGE}}))
    found = json.loads(kubectl("get", "-n", namespace, "mdep", "iris", "-o", "json").stdout)
    assert found["status"] == {"observedGeneration": -1}

    told = json.dumps({"status": {"observedGeneration": 1, "moves": 1}})
    patched = kubectl("patch", "-n", namespace, "mdep", "iris", "--subresource=status", "--type=merge", "-p", told)
    assert patched.returncode == 0, patched.stderr
    found = json.loads(kubectl("get", "-n", namespace, "mdep", "iris", "-o", "json").stdout)
    assert found["status"] == {"observedGeneration": 1, "moves": 1}


def test_the_smallest_resource_gets_no_default_that_would_make_a_revision_or_that_a_policy_may_give(
    kubectl: Kubectl, namespace: str
):
    stored = create(kubectl, namespace, resource({"serving": {"image": IMAGE}}))["spec"]

    assert stored["serving"] == {"image": IMAGE}
    assert "model" not in stored
    assert "placement" not in stored
    assert stored["scaling"] == {}
    assert stored["traffic"] == {"port": 80}
    assert stored["rollout"] == stored["analysis"] == {}


@pytest.mark.parametrize("bad", BAD_SPECS, ids=lambda bad: bad.title)
def test_a_bad_spec_is_refused_with_field_and_rule(kubectl: Kubectl, bad: BadSpec):
    refused = kubectl("create", "--dry-run=server", "-f", "-", stdin=resource(bad.spec))

    assert refused.returncode != 0
    assert bad.field in refused.stderr
    assert bad.says in refused.stderr
    assert "no such key" not in refused.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a" * (MAX_NAME_LENGTH + 1), "metadata.name: Too long"),
        ("1st", "metadata.name must consist of a-z, 0-9 and '-', start with a letter"),
        ("a.b", "metadata.name must consist of a-z, 0-9 and '-', start with a letter"),
    ],
)
def test_a_name_that_no_service_can_have_is_refused(kubectl: Kubectl, name: str, says: str):
    refused = kubectl("create", "--dry-run=server", "-f", "-", stdin=resource({"serving": {"image": IMAGE}}, name))

    assert refused.returncode != 0
    assert says in refused.stderr


def test_unknown_fields_are_refused_by_name(kubectl: Kubectl):
    spec = {"serving": {"image": IMAGE}, "rollout": {"canary": {"steps": [{"name": "a", "weight": 5}]}}}

    refused = kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=resource(spec))

    assert refused.returncode != 0
    assert 'unknown field "spec.rollout.canary.steps[0].weight"' in refused.stderr


def test_explain_is_the_manual(kubectl: Kubectl):
    fields = kubectl("explain", "mdep.spec.rollout", "--recursive")
    watch = kubectl("explain", "mdep.spec.rollout.watchSeconds")

    assert fields.returncode == 0, fields.stderr
    assert "How a new revision takes over" in fields.stdout
    for name in ("automation", "weightPercent", "holdSeconds", "rollbackWindowSeconds"):
        assert name in fields.stdout
    assert "Default 300" in watch.stdout


def test_steps_are_merged_by_name(kubectl: Kubectl, namespace: str):
    def apply(manager: str, *steps: dict[str, Any]) -> None:
        spec: dict[str, Any] = {"rollout": {"canary": {"steps": list(steps)}}}
        spec |= {"serving": {"image": IMAGE}} if manager == "team" else {}
        arguments = ("apply", "-n", namespace, "--server-side", f"--field-manager={manager}", "-f", "-")
        applied = kubectl(*arguments, stdin=resource(spec))
        assert applied.returncode == 0, applied.stderr

    apply("team", {"name": "five", "weightPercent": 5}, {"name": "half", "weightPercent": 50})
    apply("platform", {"name": "half", "holdSeconds": 600})

    stored = json.loads(kubectl("get", "-n", namespace, "mdep", "iris", "-o", "json").stdout)
    assert stored["spec"]["rollout"]["canary"]["steps"] == [
        {"name": "five", "weightPercent": 5, "holdSeconds": 0},
        {"name": "half", "weightPercent": 50, "holdSeconds": 600},
    ]


def test_scale_writes_the_replicas_of_the_spec(kubectl: Kubectl, namespace: str):
    create(kubectl, namespace, resource({"serving": {"image": IMAGE}, "scaling": {"replicas": 1}}))

    scaled = kubectl("scale", "-n", namespace, "mdep", "iris", "--replicas=4")

    assert scaled.returncode == 0, scaled.stderr
    assert kubectl("get", "-n", namespace, "mdep", "iris", "-o", "jsonpath={.spec.scaling.replicas}").stdout == "4"


def test_no_field_of_the_status_is_lost(kubectl: Kubectl, namespace: str, crd: str):
    create(kubectl, namespace, resource({"serving": {"image": IMAGE}}))
    definition = json.loads(kubectl("get", "crd", crd, "-o", "json").stdout)
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    status = _sample(schema)

    patch = ("patch", "-n", namespace, "mdep", "iris", "--subresource=status", "--type=merge", "-o", "json")
    written = kubectl(*patch, "-p", json.dumps({"status": status}))

    assert written.returncode == 0, written.stderr
    assert json.loads(written.stdout)["status"] == status
    read = ModelDeploymentStatus.model_validate(status)
    assert read.model_dump(by_alias=True, exclude_unset=True, mode="json") == status


SAMPLES = {"string": "1", "boolean": True, "integer": 1, "number": 1.5, "date-time": "2026-01-02T03:04:05.678901Z"}


def _sample(schema: dict[str, Any]) -> Any:
    """Some value that uses every field of the schema."""
    match schema:
        case {"enum": [first, *_]}:
            return first
        case {"properties": fields}:
            return {name: _sample(field) for name, field in fields.items()}
        case {"items": item}:
            return [_sample(item)]
        case _:
            return SAMPLES[schema.get("format", schema["type"])]


def test_a_write_of_the_spec_does_not_touch_the_status(kubectl: Kubectl, namespace: str):
    created = create(kubectl, namespace, resource({"serving": {"image": IMAGE}}))
    manifest = created | {"status": {"moves": 7}}

    replaced = kubectl("replace", "-n", namespace, "-o", "json", "-f", "-", stdin=json.dumps(manifest))

    assert replaced.returncode == 0, replaced.stderr
    assert json.loads(replaced.stdout)["status"] == {"observedGeneration": -1}, "what the CRD gives to a new one"


def test_who_wrote_the_status_is_booked_for_the_whole_of_it(kubectl: Kubectl, namespace: str):
    create(kubectl, namespace, resource({"serving": {"image": IMAGE}}))
    told = {"type": "Ready", "status": "True", "reason": "Stable", "message": "", "observedGeneration": 1}
    status = {"moves": 7, "conditions": [told | {"lastTransitionTime": "2026-01-02T03:04:05Z"}]}
    patch = ("patch", "-n", namespace, "mdep", "iris", "--subresource=status", "--type=merge", "-o", "json")
    written = kubectl(*patch, "--field-manager=operator", "--show-managed-fields", "-p", json.dumps({"status": status}))

    assert written.returncode == 0, written.stderr
    booked = {each["manager"]: each["fieldsV1"] for each in json.loads(written.stdout)["metadata"]["managedFields"]}
    assert booked["operator"] == {"f:status": {}}, "one writer: each field on its own would be a third of the object"
