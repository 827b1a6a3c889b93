"""The chart is upgraded in mid-rollout, taken back, uninstalled, and installed again: what serves goes on serving."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import operator_pods
from e2e.cluster.process import CommandError
from e2e.model import NAME, Model, events_of, model_in, revision, rollout
from e2e.operator_pods import Logs
from e2e.stage import CHART, OPERATOR_NAMESPACE, Stage, at_rest, helm, install, uninstall, wait_until
from e2e.watching import phase

CHILDREN = "replicasets,services,httproutes,controllerrevisions,pods"
NAMESPACE = "e2e-helm"
OTHER_NAMESPACE = "e2e-helm-second"
CRD = "modeldeployments.serinus.dev"


@pytest.fixture(scope="module")
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, NAMESPACE) as model:
        try:
            yield model
        finally:
            stage.remove_namespace(OTHER_NAMESPACE)
            install(stage.operator_tag)


def versions(model: Model) -> dict[str, str]:
    """What is there to stay, and since when."""
    found = (each["metadata"] | {"kind": each["kind"]} for each in model.objects(CHILDREN))
    return {f"{each['kind']} {each['name']}": each["uid"] for each in found if "deletionTimestamp" not in each}


def short_names(stage: Stage) -> list[str]:
    return stage.kubectl.run("get", "crd", CRD, "--output=jsonpath={.spec.names.shortNames[*]}").split()


def chart_with_another_crd(folder: Path) -> Path:
    """The chart as a later version of it could be."""
    chart = Path(shutil.copytree(CHART, folder / "serinus"))
    file = chart / "files" / "serinus.dev_modeldeployments.yaml"
    crd: dict[str, Any] = yaml.safe_load(file.read_text())
    crd["spec"]["names"]["shortNames"].append("model")
    file.write_text(yaml.safe_dump(crd, sort_keys=False))
    return chart


def test_helm_says_in_words_that_rights_metrics_and_gateway_are_usable(stage: Stage) -> None:
    operator_pods.wait_until_one_leads(stage)
    said = helm("test", "serinus", "--logs", "--timeout=180s")
    assert "✖" not in said
    for about in ("rights: all", "CRD: new enough", "leader: ", "metrics: ", "gateway: gateway-system/public"):
        assert f"✔ {about}" in said, said


def test_a_second_release_is_refused_and_one_that_slips_through_stands_back(stage: Stage) -> None:
    """Helm sees it. Where it does not (it was told not to look, as under Argo CD) the operator does."""
    beside: dict[str, Any] = {
        "namespace": OTHER_NAMESPACE,
        "crds": {"install": False},
        "fullnameOverride": "second",
        "replicas": 1,
    }
    with pytest.raises(CommandError, match="release serinus-system/serinus serves ModelDeployments in all namespaces"):
        install(stage.operator_tag, **beside)
    try:
        install(stage.operator_tag, wait=False, refuseOverlap=False, **beside)
        place = f"--namespace={OTHER_NAMESPACE}"

        def stands_back() -> bool:
            return "standing back for an older operator" in (
                stage.kubectl.try_run("logs", place, "deployment/second") or ""
            )

        wait_until("the second operator says for whom it stands back", stands_back, 120)
        ready = stage.kubectl.run("get", "deployment", "second", place, "--output=jsonpath={.status.readyReplicas}")
        assert ready in {"", "0"}
        assert not stage.kubectl.run("get", "lease", "second", place, "--ignore-not-found", "--output=name")
        assert operator_pods.leader(stage) in operator_pods.names(stage)
    finally:
        uninstall(OTHER_NAMESPACE)


def test_an_upgrade_in_the_middle_of_a_rollout_leaves_it_intact(
    stage: Stage, model: Model, logs: Logs, tmp_path: Path
) -> None:
    model.serve()
    model.send_requests()
    model.apply("2.0.0", hold_seconds=15)
    holding = model.wait_until_holding()
    before = operator_pods.names(stage)
    logs.read()

    newer = chart_with_another_crd(tmp_path)
    install(stage.operator_tag, chart=newer, logLevel="debug", podAnnotations={"example.com/upgraded": "yes"})

    wait_until("the old pods go", lambda: operator_pods.names(stage).isdisjoint(before), 60)
    assert short_names(stage) == ["mdep", "model"]
    promoted = model.wait_until_promoted("2.0.0")
    assert revision(promoted, "stable") == revision(holding, "candidate")
    assert rollout(promoted)["judgedBy"] == "Metrics"
    started = [of for event, of in events_of(promoted) if event == "CandidateStarted"]
    assert started == [revision(holding, "stable"), revision(holding, "candidate")], "an upgrade made a revision"
    now = model.report()
    model.nobody_saw_a_failure(now)
    model.resource.wait_for("nothing is kept warm any more", lambda m: "previous" not in m["status"], 90)


def test_taken_back_it_changes_nothing_of_what_serves(stage: Stage, model: Model, logs: Logs) -> None:
    before = at_rest("the upgrade has ended", lambda: versions(model))
    pods = operator_pods.names(stage)
    logs.read()

    helm("rollback", "serinus", "--wait", "--timeout=180s")

    wait_until("the old pods go", lambda: operator_pods.names(stage).isdisjoint(pods), 60)
    operator_pods.wait_until_one_leads(stage)
    assert short_names(stage) == ["mdep"]
    assert versions(model) == before
    model.nobody_saw_a_failure(model.report())


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


@pytest.mark.full
def test_with_rights_in_namespaces_only_it_rolls_out_the_next_version(stage: Stage, model: Model) -> None:
    def cluster_wide() -> set[str]:
        return set(stage.kubectl.run("get", "clusterroles,clusterrolebindings", "--output=name").split())

    before = cluster_wide()
    install(
        stage.operator_tag,
        namespace=OTHER_NAMESPACE,
        rbac={"namespaced": True},
        crds={"install": False},
        watchNamespaces=[NAMESPACE],
        gatewayNamespaces=["gateway-system"],
        gatewayClasses={"traefik": "traefik.io/gateway-controller"},
    )
    try:
        assert cluster_wide() == before
        said = helm("test", "serinus", "--logs", "--timeout=180s", namespace=OTHER_NAMESPACE)
        assert "✔ rights: all" in said
        assert "✔ gateway: gateway-system/public (traefik.io/gateway-controller)" in said
        model.apply("1.0.0", hold_seconds=5)
        model.wait_until_promoted("1.0.0")
        model.resource.wait_for("nothing is kept warm any more", lambda m: "previous" not in m["status"], 90)
        log = stage.kubectl.run("logs", f"--namespace={OTHER_NAMESPACE}", "deployment/serinus", "--all-pods")
        assert "Forbidden" not in log
        model.nobody_saw_a_failure(model.report())
    finally:
        uninstall(OTHER_NAMESPACE)


def test_installed_again_it_takes_up_what_it_finds_and_changes_nothing(stage: Stage, model: Model) -> None:
    before, resource = versions(model), model.get("mdep", NAME)

    install(stage.operator_tag)
    operator_pods.wait_until_one_leads(stage)

    model.stays("the resource is left alone", lambda m: m["status"] == resource["status"], 10)
    assert versions(model) == before
    model.apply("2.0.0", hold_seconds=5)
    model.wait_until_promoted("2.0.0")
    report = model.stop_requests()
    model.nobody_saw_a_failure(report)
