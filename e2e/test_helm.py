"""The chart is upgraded in the middle of a rollout, uninstalled, and installed again: what serves goes on serving."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e import operator_pods
from e2e.model import NAME, Model, events_of, model_in, revision, rollout
from e2e.operator_pods import Logs
from e2e.stage import OPERATOR_NAMESPACE, Stage, at_rest, install, uninstall, wait_until
from e2e.watching import phase

CHILDREN = "replicasets,services,httproutes,controllerrevisions,pods"


@pytest.fixture(scope="module")
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, "e2e-helm") as model:
        try:
            yield model
        finally:
            install(stage.operator_tag)


def versions(model: Model) -> dict[str, str]:
    """What is there and in which version, but for the resource's status."""
    return {f"{each['kind']} {each['metadata']['name']}": each["metadata"]["uid"] for each in model.objects(CHILDREN)}


def test_an_upgrade_in_the_middle_of_a_rollout_leaves_it_intact(stage: Stage, model: Model, logs: Logs) -> None:
    model.serve()
    model.send_requests()
    model.apply("2.0.0", hold_seconds=15)
    holding = model.wait_until_holding()
    before = operator_pods.names(stage)
    logs.read()

    install(stage.operator_tag, logLevel="debug", podAnnotations={"example.com/upgraded": "yes"})

    wait_until("the old pods go", lambda: operator_pods.names(stage).isdisjoint(before), 60)
    promoted = model.wait_until_promoted("2.0.0")
    assert revision(promoted, "stable") == revision(holding, "candidate")
    assert rollout(promoted)["judgedBy"] == "Metrics"
    started = [of for event, of in events_of(promoted) if event == "CandidateStarted"]
    assert started == [revision(holding, "stable"), revision(holding, "candidate")], "an upgrade made a revision"
    now = model.report()
    model.nobody_saw_a_failure(now)
    model.resource.wait_for("nothing is kept warm any more", lambda m: "previous" not in m["status"], 90)


def test_uninstalled_it_leaves_the_models_serving_and_the_crd_in_place(stage: Stage, model: Model, logs: Logs) -> None:
    assert phase(model.get("mdep", NAME)) == "Idle", model.told()
    before, status = at_rest("the upgrade has ended", lambda: (versions(model), model.get("mdep", NAME)["status"]))
    logs.read()

    uninstall()

    wait_until("the operator's pods go", lambda: not operator_pods.names(stage), 60)
    left = stage.kubectl.run("get", "deployments,leases,serviceaccounts", f"--namespace={OPERATOR_NAMESPACE}")
    assert "deployment.apps/serinus" not in left
    assert "serviceaccount/serinus" not in left
    assert "modeldeployments.serinus.dev" in stage.kubectl.run("get", "crds", "--output=name")
    assert model.get("mdep", NAME)["status"] == status
    assert versions(model) == before
    now = model.wait_for_answers()
    assert now.versions == {"2.0.0"}
    model.nobody_saw_a_failure(now)


def test_installed_again_it_takes_up_what_it_finds_and_changes_nothing(stage: Stage, model: Model) -> None:
    before, resource = versions(model), model.get("mdep", NAME)

    install(stage.operator_tag)
    operator_pods.wait_until_one_leads(stage)

    model.stays("the resource is left alone", lambda m: m["status"] == resource["status"], 10)
    assert versions(model) == before
    model.apply("1.0.0", hold_seconds=5)
    model.wait_until_promoted("1.0.0")
    report = model.stop_requests()
    model.nobody_saw_a_failure(report)
