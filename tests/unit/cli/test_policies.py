"""What the plugin tells of the platform's policies: in files, and in the status of a resource."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from serinus.cli.app import app
from serinus.cli.checking import findings_of_policy
from serinus.cli.files import documents
from serinus.cli.governing import rows, table
from serinus.cli.report import as_data, report
from serinus.cli.terminal import as_text
from serinus.cli.tree import tree
from tests.unit.api.bad_policies import BAD_POLICIES, BadPolicy
from tests.unit.api.bad_specs import IMAGE
from tests.world.test_policies import ERRORS, GIVES_STEPS, at_five, governed, without_strategy
from tests.world.world import NAME, NAMESPACE

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "policies.yaml"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def policy(spec: dict[str, Any], kind: str = "ClusterRolloutPolicy", **metadata: Any) -> dict[str, Any]:
    named = {"name": "house", **metadata}
    return {"apiVersion": "serinus.dev/v1alpha1", "kind": kind, "metadata": named, "spec": spec}


def model(**sections: Any) -> dict[str, Any]:
    spec = {"serving": {"image": IMAGE}, **sections}
    return {
        "apiVersion": "serinus.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "iris", "namespace": "team-a"},
        "spec": spec,
    }


def namespace(**labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", "labels": labels}}


def run(command: str, tmp_path: Path, *manifests: dict[str, Any]) -> Result:
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    return CliRunner().invoke(app, [command, "-f", str(file)])


@pytest.mark.parametrize("bad", BAD_POLICIES, ids=lambda bad: bad.title)
def test_what_the_api_server_refuses_of_a_policy_is_found_offline(bad: BadPolicy) -> None:
    assert any(bad.says in each.message for each in findings_of_policy(policy(bad.spec)))


def test_a_typo_in_a_policy_comes_with_the_field_that_was_meant() -> None:
    (found,) = findings_of_policy(policy({"bounds": {"rollout": {"minHoldSecond": 5}}}))

    assert (found.field, found.message) == (
        "spec.bounds.rollout.minHoldSecond",
        "there is no such field; did you mean minHoldSeconds?",
    )


def test_a_namespaced_policy_selects_no_namespaces() -> None:
    (found,) = findings_of_policy(policy({"namespaceSelector": {}}, "RolloutPolicy"))

    assert found.field == "spec.namespaceSelector"


def test_the_example_is_valid() -> None:
    done = CliRunner().invoke(app, ["validate", "-f", str(EXAMPLE)])

    assert done.exit_code == 0, done.output
    assert "ClusterRolloutPolicy production is valid" in done.output
    assert "ModelDeployment scoring is valid" in done.output


def test_a_resource_is_held_against_the_policies_in_the_same_files(tmp_path: Path) -> None:
    bound = policy({"bounds": {"rollout": {"allowedAutomation": ["Supervised"]}}})

    wrong = run("validate", tmp_path, bound, model(rollout={"automation": "Automatic"}))
    right = run("validate", tmp_path, bound, model(rollout={"automation": "Supervised"}))

    assert wrong.exit_code == 1
    assert "spec.rollout.automation: ClusterRolloutPolicy house allows Supervised, and it is Automatic" in wrong.output
    assert right.exit_code == 0, right.output


@pytest.mark.parametrize(("labels", "code"), [({"env": "prod"}, 1), ({"env": "test"}, 0), ({}, 0)])
def test_a_selector_is_asked_with_the_labels_of_a_namespace_in_the_files(
    tmp_path: Path, labels: dict[str, str], code: int
) -> None:
    selector = {"matchLabels": {"env": "prod"}}
    bound = policy({"namespaceSelector": selector, "bounds": {"rollout": {"allowedAutomation": ["Manual"]}}})

    assert run("validate", tmp_path, bound, namespace(**labels), model()).exit_code == code


def test_a_policy_of_another_namespace_does_not_hold(tmp_path: Path) -> None:
    bound = policy({"bounds": {"rollout": {"allowedAutomation": ["Manual"]}}}, "RolloutPolicy", namespace="team-b")

    assert run("validate", tmp_path, bound, model()).exit_code == 0


def test_names_of_shared_metrics_are_taken_on_trust_without_a_policy_and_looked_up_with_one(tmp_path: Path) -> None:
    named = model(analysis={"sharedMetrics": ["nulls"]})

    assert run("validate", tmp_path, named).exit_code == 0
    unknown = run("validate", tmp_path, named, policy({"metrics": [ERRORS]}))
    assert unknown.exit_code == 1
    assert "no policy that holds here defines the metric nulls; there are errors" in unknown.output


def test_render_says_on_standard_error_what_policies_gave(tmp_path: Path) -> None:
    given = policy({"defaults": {"analysis": {"sharedMetrics": ["errors"]}}, "metrics": [ERRORS]})

    done = run("render", tmp_path, given, model())

    assert done.exit_code == 0, done.output
    assert 'team-a/iris: spec.analysis.sharedMetrics: ["errors"], by ClusterRolloutPolicy house' in done.stderr
    assert "team-a/iris: metric errors, as ClusterRolloutPolicy house defines it" in done.stderr
    assert {each["kind"] for each in yaml.safe_load_all(done.stdout)} >= {"ReplicaSet", "Service"}


def test_render_says_who_is_told_of_it_by_a_policy(tmp_path: Path) -> None:
    done = run("render", tmp_path, policy({"notify": ["sre", "audit"]}), model())

    assert done.exit_code == 0, done.output
    assert "team-a/iris: sre is told of it, by ClusterRolloutPolicy house" in done.stderr
    assert "team-a/iris: audit is told of it, by ClusterRolloutPolicy house" in done.stderr


def test_render_makes_nothing_of_what_is_outside(tmp_path: Path) -> None:
    done = run(
        "render",
        tmp_path,
        policy({"bounds": {"analysis": {"forbidDisabled": True}}}),
        model(analysis={"disabled": True}),
    )

    assert done.exit_code == 1
    assert "PolicyViolated" in str(done.exception)
    assert "forbids true" in str(done.exception)


def test_what_is_estimated_goes_by_the_steps_of_the_policy(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    gateway = {"gateway": {"parentRefs": [{"name": "public"}]}}
    file.write_text(yaml.safe_dump_all([policy(GIVES_STEPS), model(traffic=gateway)]))

    done = CliRunner().invoke(app, ["estimate", "-f", str(file), "--requests-per-second", "10"])

    assert done.exit_code == 0, done.output
    assert ["five", "5", "%"] in [line.split()[:3] for line in done.output.splitlines()]


def test_a_policy_is_no_model_deployment() -> None:
    assert [each.is_model_deployment for each in documents([str(EXAMPLE)])] == [False, False, True]


def test_status_shows_the_steps_that_a_policy_gave_and_whose_they_are() -> None:
    world = governed({**GIVES_STEPS, "notify": ["sre"]}, without_strategy("model:1"))
    world.deploy(without_strategy("model:2"))
    at_five(world)
    resource = world.api.find("ModelDeployment", NAMESPACE, NAME)
    assert resource is not None
    told = report(resource, world.api.of("ReplicaSet"), world.api.of("Pod"), world.now)

    assert [step.name for step in told.steps] == ["five", "half"]
    shown = as_text(tree(told, world.now))
    assert "ClusterRolloutPolicy house" in shown
    assert "gives spec.rollout.canary: " in shown
    assert "tells sre" in shown
    assert as_data(told)["policies"][0]["fields"][0]["field"] == "spec.rollout.canary"


# policies -------------------------------------------------------------------------------------------------------------


def held(name: str, *policies: dict[str, Any]) -> dict[str, Any]:
    return model() | {"metadata": {"name": name, "namespace": "team-a"}, "status": {"policies": list(policies)}}


def test_policies_are_listed_with_whom_they_hold_for_and_those_that_are_gone() -> None:
    given = {
        "kind": "ClusterRolloutPolicy",
        "name": "house",
        "fields": [{"field": "spec.rollout.canary", "value": "1"}],
    }
    outside = {"kind": "RolloutPolicy", "name": "own", "violations": ["spec.analysis.disabled: no"]}
    lost = {"kind": "ClusterRolloutPolicy", "name": "lost", "metrics": ["nulls"]}
    there = [policy({}), policy({"bounds": {"mode": "Audit"}}, "RolloutPolicy", name="own", namespace="team-a")]
    there.append(policy({"bounds": 3}, "RolloutPolicy", name="bad", namespace="team-b"))

    found = rows(there, [held("b", given, outside), held("a", given, lost), model()])

    told = [(each.name, each.mode, [use.resource for use in each.holds_for]) for each in found]
    assert told == [
        ("house", "Enforce", ["team-a/a", "team-a/b"]),
        ("lost", "gone", ["team-a/a"]),
        ("own", "Audit", ["team-a/b"]),
        ("bad", "unreadable", []),
    ]
    assert found[0].holds_for[0].fields == ("spec.rollout.canary",)
    lines = [line.split() for line in as_text(table(found, wide=True)).splitlines()]
    assert ["ClusterRolloutPolicy", "house", "Enforce", "2", "2", "0", "team-a/a,", "team-a/b"] in lines
    assert ["RolloutPolicy", "team-a", "own", "Audit", "1", "0", "1", "team-a/b"] in lines
