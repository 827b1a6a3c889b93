"""Under a real Argo CD with selfHeal: a promotion, a rollback, and syncs of what was rolled back, without a difference.

One model goes through all of it, in the order of the tests; what is applied comes out of Git alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.argocd import (
    RESYNC_SECONDS,
    SYNC_SECONDS,
    Application,
    Repository,
    argo_cd,
    health_of,
    is_synced,
    message_of,
)
from e2e.model import (
    NAME,
    READY_SECONDS,
    ROLLOUT_SECONDS,
    STEP_WEIGHT,
    STRICT,
    Manifest,
    Model,
    events_of,
    model_in,
    revision,
    small,
)
from e2e.stage import Stage
from e2e.watching import condition, phase

pytestmark = pytest.mark.full

NAMESPACE = "e2e-argocd"
HEALTH_SECONDS = 60
"""From a change of the resource to its health in the Application."""
STAYS_SECONDS = 3 * RESYNC_SECONDS
OTHER_THAN_BEFORE: dict[str, Any] = {"serving": {"drainSeconds": 6}}
"""Else it is a return, which skips the steps."""
APPROVED: dict[str, Any] = {
    "rollout": {
        "canary": {
            "steps": [
                {"name": "half", "weightPercent": STEP_WEIGHT, "holdSeconds": 10},
                {"name": "sign-off", "approval": {}},
            ]
        }
    }
}


@pytest.fixture(scope="module")
def model(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with argo_cd(stage, tmp_path_factory.mktemp("argocd")), model_in(stage, NAMESPACE) as model:
        yield model


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def application(stage: Stage, model: Model, repository: Repository) -> Iterator[Application]:
    with Application(stage, "models") as application:
        committed(repository, model, "1.0.0")
        application.create(repository.url, NAMESPACE)
        yield application


def committed(repository: Repository, model: Model, version: str, **sections: Any) -> str:
    return repository.commit(small(version, model.host, **sections), f"Version {version}")


def managers_of_spec(model: Model, kind: str) -> set[str]:
    """Who says anything in the spec of an object of the model, by their field managers."""
    found = model.kubectl("get", kind, NAME, "--show-managed-fields", "--output=json")
    fields = json.loads(found)["metadata"]["managedFields"]
    return {each["manager"] for each in fields if "f:spec" in each["fieldsV1"]}


def test_the_first_version_is_progressing_and_then_healthy(application: Application, model: Model) -> None:
    application.wait_until_health("Healthy", READY_SECONDS)
    model.wait_until_ready()
    assert application.healths(0)[-2:] == ["Progressing", "Healthy"]
    model.send_requests()


def test_a_good_version_is_progressing_suspended_for_its_approval_and_healthy(
    application: Application, model: Model, repository: Repository
) -> None:
    first, began = revision(model.wait_until_ready(), "stable"), time.time()
    before = model.get("httproute", NAME)["metadata"]["generation"]
    commit = committed(repository, model, "2.0.0", **APPROVED)
    application.wait_until_synced(commit)
    application.wait_until_health("Progressing", HEALTH_SECONDS)
    waiting = application.wait_until_health("Suspended", ROLLOUT_SECONDS)
    assert "sign-off" in message_of(waiting)

    second = revision(model.get("modeldeployment", NAME), "candidate")
    application.sync_again()
    application.refresh()
    model.kubectl("annotate", "modeldeployment", NAME, f"serinus.dev/approve={second}/sign-off")
    assert revision(model.wait_until_promoted("2.0.0"), "stable") == second
    application.wait_until_health("Healthy", HEALTH_SECONDS)

    application.was_in_sync_with(commit)
    assert "Degraded" not in application.healths(began)
    assert model.splits_since(began) == [
        {first: 100},
        {first: 100 - STEP_WEIGHT, second: STEP_WEIGHT},
        {second: 100},
    ], model.story()
    assert model.get("httproute", NAME)["metadata"]["generation"] == before + 2
    assert managers_of_spec(model, "httproute") == {"serinus"}
    assert managers_of_spec(model, "modeldeployment") == {"argocd-controller"}


def test_a_broken_version_is_degraded_and_in_sync_and_stays_so_however_often_it_is_applied(
    application: Application, model: Model, repository: Repository
) -> None:
    second = revision(model.wait_until_ready(), "stable")
    commit = committed(repository, model, "3.0.0", **STRICT)
    application.wait_until_synced(commit)
    model.wait_until_rejected()
    degraded = application.wait_until_health("Degraded", HEALTH_SECONDS)
    assert is_synced(degraded)
    assert "errors: failed" in message_of(degraded)

    rejected, began = model.wait_until_rejected(), time.time()
    route = model.get("httproute", NAME)["metadata"]["generation"]
    assert application.sync_again() == [f"Synced: modeldeployment.serinus.dev/{NAME} serverside-applied"]
    application.refresh()
    application.sync_again()

    def is_as_it_was_left(manifest: Manifest) -> bool:
        same = manifest["metadata"]["generation"] == rejected["metadata"]["generation"]
        return same and phase(manifest) == "Rejected" and events_of(manifest) == events_of(rejected)

    model.stays("it is as the rollback left it", is_as_it_was_left, STAYS_SECONDS, since=began)
    assert model.splits_since(began) == [{second: 100}], model.story()
    assert model.get("httproute", NAME)["metadata"]["generation"] == route
    assert condition(model.get("modeldeployment", NAME), "Available")[0] == "True"
    assert application.healths(began) == ["Degraded"]
    application.was_in_sync_with(commit)


def test_an_edit_that_self_healing_takes_back_leaves_what_was_rejected_rejected(
    application: Application, model: Model
) -> None:
    rejected, began = model.wait_until_rejected(), time.time()
    generation = rejected["metadata"]["generation"]
    edit = json.dumps({"spec": {"rollout": {"watchSeconds": 600}}})
    model.kubectl("patch", "modeldeployment", NAME, "--type=merge", f"--patch={edit}")

    def put_back(manifest: Manifest) -> bool:
        observed = int(manifest["status"]["observedGeneration"])
        newest = observed == manifest["metadata"]["generation"] and observed >= generation + 2
        return newest and bool(manifest["spec"] == rejected["spec"])

    back = model.resource.wait_for("what is in Git is back", put_back, SYNC_SECONDS)
    assert phase(back) == "Rejected", model.told()
    assert condition(back, "Stalled") == condition(rejected, "Stalled")
    application.wait_for(
        "it is in sync, and Degraded", lambda m: is_synced(m) and health_of(m) == "Degraded", HEALTH_SECONDS
    )
    assert model.splits_since(began) == [{revision(rejected, "stable"): 100}], model.story()
    assert managers_of_spec(model, "modeldeployment") == {"argocd-controller"}


def test_a_pause_that_is_not_in_git_outlasts_syncs(application: Application, model: Model) -> None:
    model.kubectl("annotate", "modeldeployment", NAME, "serinus.dev/pause=true")
    application.sync_again()
    application.refresh()
    assert model.get("modeldeployment", NAME)["metadata"]["annotations"]["serinus.dev/pause"] == "true"
    model.kubectl("annotate", "modeldeployment", NAME, "serinus.dev/pause-")


def test_a_revert_in_git_is_healthy_at_once_without_a_rollout(
    application: Application, model: Model, repository: Repository
) -> None:
    stable, began = revision(model.wait_until_rejected(), "stable"), time.time()
    commit = repository.revert()
    application.wait_until_synced(commit)
    application.wait_until_health("Healthy", HEALTH_SECONDS)
    assert revision(model.wait_until_ready(), "stable") == stable
    assert model.splits_since(began) == [{stable: 100}], model.story()
    application.was_in_sync_with(commit)


def test_a_fix_goes_through_and_only_the_broken_version_failed_requests(
    application: Application, model: Model, repository: Repository
) -> None:
    began = time.time()
    commit = committed(repository, model, "2.0.0", **OTHER_THAN_BEFORE)
    application.wait_until_synced(commit)
    application.wait_until_health("Progressing", HEALTH_SECONDS)
    promoted = model.wait_until_promoted("2.0.0")
    application.wait_until_health("Healthy", HEALTH_SECONDS)
    assert application.healths(began)[-2:] == ["Progressing", "Healthy"]
    assert {revision(promoted, "stable"): 100} == model.weights()
    application.was_in_sync_with(commit)
    report = model.stop_requests()
    assert report.failed_of("3.0.0") > 0
    assert report.failed_except("3.0.0") == 0, {of: report.outcomes_of(of) for of in report.versions}
