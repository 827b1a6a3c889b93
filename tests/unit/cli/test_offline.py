"""What the plugin tells of files, and of revisions, without a cluster."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import CONTROLLER_REVISION, DISRUPTION_BUDGET, HTTP_ROUTE, NETWORK_POLICY, REPLICA_SET, SERVICE
from serinus.cli.app import app
from serinus.cli.checking import findings
from serinus.cli.children import Stalled, children_of_first
from serinus.cli.compare import differences, pair
from serinus.cli.files import documents, model_deployments
from serinus.cli.outcome import CommandFailed
from tests.golden.stories import NEW, OLD, deploy, started
from tests.unit.api.bad_specs import BAD_SPECS, IMAGE, BadSpec
from tests.unit.cli.test_asking import seen
from tests.world.world import NAMESPACE, World, spec_of

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EXAMPLES = sorted([*(ROOT / "examples").glob("*.yaml"), *(ROOT / "examples" / "digits").glob("v*.yaml")])


def resource(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    named = {"name": "iris", **metadata}
    return {"apiVersion": "serinus.dev/v1alpha1", "kind": "ModelDeployment", "metadata": named, "spec": spec}


def found(**sections: Any) -> dict[str, str]:
    spec = {"serving": {"image": IMAGE}, **sections}
    return {each.field: each.message for each in findings(resource(spec), NOW)}


# validate ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD_SPECS, ids=lambda bad: bad.title)
def test_what_the_api_server_refuses_is_found_offline(bad: BadSpec):
    assert findings(resource(bad.spec), NOW)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_valid(path: Path):
    for each in model_deployments([str(path)]):
        assert findings(each.data, NOW) == []


def test_an_unknown_field_comes_with_the_one_that_was_meant():
    assert found(serving={"image": IMAGE, "imagePullPolicyy": "Always"}) == {
        "spec.serving.imagePullPolicyy": "there is no such field; did you mean imagePullPolicy?"
    }
    assert (
        "did you mean holdSeconds?"
        in found(rollout={"canary": {"steps": [{"name": "a", "weightPercent": 5, "holdSecond": 1}]}})[
            "spec.rollout.canary.steps[0].holdSecond"
        ]
    )
    assert found(replicas=3) == {"spec.replicas": "there is no such field; it belongs to spec.scaling"}
    assert (
        "there are anyOf, count, resource"
        in found(placement={"accelerator": {"zzz": 1}})["spec.placement.accelerator.zzz"]
    )


def test_a_value_of_another_type_comes_with_how_to_write_it():
    limit = {"metrics": [{"name": "errors", "errors": {}, "limit": {"maxPercent": 1}}]}
    assert found(analysis=limit) == {
        "spec.analysis.metrics[0].limit.maxPercent": (
            'it has to be a text, and is read as a number: write "1", in quotes'
        )
    }
    hold = {"canary": {"steps": [{"name": "a", "weightPercent": "5", "holdSeconds": "10m"}]}}
    assert found(rollout=hold) == {
        "spec.rollout.canary.steps[0].weightPercent": "it has to be a whole number, without quotes",
        "spec.rollout.canary.steps[0].holdSeconds": (
            "it has to be a whole number of seconds, such as 600, without quotes and unit"
        ),
    }
    assert found(model={"version": True}) == {
        "spec.model.version": 'it has to be a text, and is read as a boolean: write "true", in quotes'
    }


def test_a_broken_rule_names_its_field_and_what_it_compares():
    said = found(rollout={"progressDeadlineSeconds": 40})["spec.rollout.progressDeadlineSeconds"]
    assert "must be longer than serving.startupSeconds" in said
    assert said.endswith("(now 40 and 600)")


def test_fields_in_the_shape_of_a_pod_are_left_to_the_api_server():
    assert (
        found(serving={"image": IMAGE, "env": [{"name": "A", "value": "b"}], "podTemplate": {"spec": {"x": 1}}}) == {}
    )


def test_a_typo_beside_spec_and_in_the_metadata_is_found_too():
    wrong = resource({"serving": {"image": IMAGE}}, anotations={}) | {"specc": {}, "apiVersion": "serinus.dev/v1"}
    assert {each.field for each in findings(wrong, NOW)} == {"apiVersion", "specc", "metadata.anotations"}


def test_what_the_operator_does_not_carry_out_or_reserves_is_found():
    (said,) = found(rollout={"capacity": "InPlace"}).items()
    assert said[0] == "spec.rollout.capacity"
    assert "not carried out by this version" in said[1]
    reserved = {"metadata": {"labels": {"serinus.dev/revision": "mine"}}}
    assert "ReservedField" in found(serving={"image": IMAGE, "podTemplate": reserved})["spec"]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_validate_names_file_line_and_field_and_ends_with_one(tmp_path: Path):
    file = tmp_path / "iris.yaml"
    file.write_text(
        "apiVersion: v1\nkind: ConfigMap\n---\n"
        "apiVersion: serinus.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {name: iris}\n"
        "spec:\n  serving:\n    image: a:1\n    portt: 1\n  scaling: {replicas: -1}\n"
    )
    wrong = run("validate", "-f", str(file))
    assert wrong.exit_code == 1
    assert [line.split(": ")[:2] for line in wrong.stdout.splitlines()] == [
        [f"{file}:10", "spec.serving.portt"],
        [f"{file}:11", "spec.scaling.replicas"],
    ]
    data = json.loads(run("validate", "-f", str(file), "-o", "json").stdout)
    assert [(each["line"], each["field"]) for each in data] == [
        (10, "spec.serving.portt"),
        (11, "spec.scaling.replicas"),
    ]
    good = run("validate", "-f", str(ROOT / "examples"))
    assert good.exit_code == 0, good.stdout
    assert "ModelDeployment iris is valid" in good.stdout


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1\nb: 2", "standard input:2: this is no YAML"),
        ("a: 1\na: 2", "standard input:2: this is no YAML: the key 'a' stands twice"),
        ("a: !!python/object:os.system {}", "standard input:1: this is no YAML"),
        ("kind: ConfigMap", "there is no ModelDeployment in -"),
        ("", "there is no ModelDeployment in -"),
        ("[]", "there is no ModelDeployment in -"),
        ('{"kind": "ModelDeployment", "apiVersion": "serinus.dev/v1alpha1", "metadata": 3}', "metadata: "),
        ('{"kind": "ModelDeployment", "apiVersion": "serinus.dev/v1alpha1", "spec": [1]}', "spec: "),
        ("kind: ModelDeployment\nspec: {1: 2, serving: {3: x}}", "there is no such field"),
    ],
)
def test_a_file_that_makes_no_sense_is_told_with_its_line(text: str, says: str):
    told = CliRunner().invoke(app, ["validate", "-f", "-"], input=text)
    assert told.exit_code == 1
    assert isinstance(told.exception, CommandFailed | SystemExit)
    assert says in f"{told.output}{told.exception}"


def test_lists_and_folders_are_read(tmp_path: Path):
    one = resource({"serving": {"image": IMAGE}})
    (tmp_path / "deeper").mkdir()
    (tmp_path / "list.json").write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": [one, one]}))
    (tmp_path / "deeper" / "one.yml").write_text(yaml.safe_dump(one))
    (tmp_path / "README.md").write_text("no manifest")
    assert [Path(each.file).name for each in documents([str(tmp_path)])] == ["one.yml", "list.json", "list.json"]
    with pytest.raises(CommandFailed, match="can't be read"):
        list(documents([str(tmp_path / "none")]))


# render --------------------------------------------------------------------------------------------------------------


def test_what_is_rendered_is_what_the_operator_makes():
    world = World()
    world.deploy(spec_of(OLD))
    world.run_until(lambda: world.condition("Ready")[0] == "True").run(30)
    (resource_,) = world.api.of("ModelDeployment")
    made = children_of_first(ModelDeployment.parse({**resource_, "status": {}}), NOW)

    kinds = (CONTROLLER_REVISION, REPLICA_SET, SERVICE, HTTP_ROUTE, DISRUPTION_BUDGET, NETWORK_POLICY)
    assert {each["kind"] for each in made} == {kind.kind for kind in kinds}
    for each in made:
        real = world.api.find(each["kind"], NAMESPACE, each["metadata"]["name"])
        assert real is not None
        assert each.get("spec") == real.get("spec")
        assert each.get("data") == real.get("data")
        assert each["metadata"]["labels"] == real["metadata"]["labels"]
    assert len(made) == sum(len(list(world.api.of(kind.kind))) for kind in kinds)


def test_render_needs_no_cluster_and_writes_manifests():
    done = run("render", "-f", str(ROOT / "examples" / "canary.yaml"), "-n", "team-a", "--pod-monitor")
    made = list(yaml.safe_load_all(done.stdout))
    assert {each["metadata"]["namespace"] for each in made} == {"team-a"}
    assert "PodMonitor" in {each["kind"] for each in made}
    as_json = json.loads(run("render", "-f", str(ROOT / "examples" / "canary.yaml"), "-o", "json").stdout)
    assert len(as_json["items"]) == len(made) - 1


def test_what_would_be_refused_is_not_rendered():
    spec = {"serving": {"image": IMAGE}, "rollout": {"capacity": "InPlace"}}
    with pytest.raises(Stalled, match=r"Unsupported: .*capacity"):
        children_of_first(ModelDeployment.parse(resource(spec)), NOW)


# diff ----------------------------------------------------------------------------------------------------------------


def test_a_diff_shows_what_the_candidate_changes():
    world = World()
    list(started(world))
    deploy(world, NEW)
    s = seen(world.run(30))

    before, after = pair(s, None, None)
    lines = differences(s, before, after)

    assert (before, after) == (world.revision_of(OLD), world.revision_of(NEW))
    assert [line.strip() for line in lines if line[0] in "+-" and line[:3] not in {"+++", "---"}] == [
        f"-    image: {OLD}",
        f"+    image: {NEW}",
    ]
    assert differences(s, before, before) == []
    assert pair(s, "2", "stable") == (after, before)
    assert any("app.kubernetes.io/version" in line for line in differences(s, before, after, template=True))


def test_a_diff_of_the_only_revision_says_so():
    world = World()
    list(started(world))
    with pytest.raises(CommandFailed, match="has one revision only"):
        pair(seen(world), None, None)
