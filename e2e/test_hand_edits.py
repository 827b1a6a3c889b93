"""People edit and delete the children by hand: they are put back, and the clients hardly notice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from e2e.model import NAME, Model, model_in, revision
from e2e.stage import Stage, wait_until

PUT_BACK_SECONDS = 30
SETTLED_SECONDS = 5
"""From the last edit to the first second in which the clients may not notice anything any more."""
LAST_FAILURE_SECONDS = 12
"""The same where pods had gone: a request that was on its way to one may wait for its client's time-out."""


@pytest.fixture(scope="module")
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, "e2e-edits") as model:
        model.serve()
        model.send_requests()
        yield model


def patch(model: Model, kind: str, name: str, operations: list[dict[str, object]]) -> None:
    model.kubectl("patch", kind, name, "--type=json", f"--patch={json.dumps(operations)}")


def child(model: Model) -> str:
    return f"{NAME}-{revision(model.wait_until_ready(), 'stable')}"


def assert_clients_are_served(model: Model, settled_seconds: float = SETTLED_SECONDS) -> None:
    time.sleep(settled_seconds)
    report = model.wait_for_answers()
    model.nobody_saw_a_failure(report)
    assert report.versions == {"1.0.0"}


@pytest.mark.parametrize("which", ["of all", "of the revision"])
def test_a_service_whose_selector_was_edited_is_put_back(model: Model, which: str) -> None:
    name = NAME if which == "of all" else child(model)
    before = model.get("service", name)["spec"]["selector"]
    edit = {"app": "another", "serinus.dev/deployment": None}
    model.kubectl("patch", "service", name, "--type=merge", f"--patch={json.dumps({'spec': {'selector': edit}})}")

    wait_until(
        f"the selector of Service {name} is {before} again",
        lambda: model.get("service", name)["spec"]["selector"] == before,
        PUT_BACK_SECONDS,
    )
    assert_clients_are_served(model)


def test_a_route_whose_weights_were_edited_is_put_back(model: Model) -> None:
    before = model.get("httproute", NAME)["spec"]
    stray = {"group": "", "kind": "Service", "name": f"{NAME}-0000000000", "port": 80, "weight": 0}
    patch(
        model,
        "httproute",
        NAME,
        [
            {"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 7},
            {"op": "add", "path": "/spec/rules/0/backendRefs/-", "value": stray},
        ],
    )

    wait_until(
        f"HTTPRoute {NAME} is as it was", lambda: model.get("httproute", NAME)["spec"] == before, PUT_BACK_SECONDS
    )
    model.wait_until_ready()
    assert_clients_are_served(model)


def test_a_replica_set_deleted_without_its_pods_comes_back_and_takes_them_over(model: Model) -> None:
    name = child(model)
    before, pods = model.get("replicaset", name), model.pods(revision(model.wait_until_ready(), "stable"))
    model.kubectl("delete", "replicaset", name, "--cascade=orphan")

    def back() -> bool:
        found = model.objects("replicasets")
        return any(each["metadata"]["name"] == name and each["status"].get("readyReplicas") == 1 for each in found)

    wait_until(f"ReplicaSet {name} is back with its pod", back, 60)
    after = model.get("replicaset", name)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["spec"]["template"] == before["spec"]["template"]
    assert model.pods(revision(model.wait_until_ready(), "stable")) == pods
    assert_clients_are_served(model)


def test_the_services_route_and_replica_set_deleted_at_once_come_back_as_they_were(model: Model) -> None:
    kinds = "replicasets,services,httproutes,controllerrevisions"
    before = {(each["kind"], each["metadata"]["name"]) for each in model.objects(kinds)}
    model.kubectl("delete", "replicaset,service,httproute", f"--selector=serinus.dev/deployment={NAME}")

    def back() -> bool:
        return {(each["kind"], each["metadata"]["name"]) for each in model.objects(kinds)} == before

    wait_until(f"{sorted(before)} are back", back, 60)
    wait_until("its pod is ready", lambda: model.get("mdep", NAME)["status"]["stable"]["readyReplicas"] == 1, 90)
    model.wait_until_ready()
    assert_clients_are_served(model, LAST_FAILURE_SECONDS)
    assert model.stop_requests().total is not None
