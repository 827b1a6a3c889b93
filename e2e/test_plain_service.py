"""Blue-green behind a plain Service, without a gateway; and the end of a ModelDeployment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.model import NAME, Model, model_in, revision, rollout
from e2e.stage import Stage, wait_until

PLAIN: dict[str, Any] = {"traffic": {"gateway": None}, "rollout": {"canary": None, "blueGreen": {}}}
CHILDREN = "replicasets,services,controllerrevisions,httproutes,pods,poddisruptionbudgets,networkpolicies"


@pytest.fixture(scope="module")
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, "e2e-plain") as model:
        yield model


def test_blue_green_switches_the_service_when_the_new_version_is_ready_and_watches_it(model: Model) -> None:
    model.serve("1.0.0", **PLAIN)
    model.send_requests(url=f"http://{NAME}")

    model.apply("2.0.0", **PLAIN)
    promoted = model.wait_until_promoted("2.0.0")

    assert rollout(promoted)["judgedBy"] == "Readiness"
    selector = model.get("service", NAME)["spec"]["selector"]
    assert selector["serinus.dev/revision"] == revision(promoted, "stable")
    assert model.objects("httproutes") == []
    first = promoted["status"]["history"][-1]["revision"]
    wait_until("the old pods, which open connections still lead to, go", lambda: not model.pods(first), 120)
    now = model.wait_for_answers()
    assert now.versions == {"2.0.0"}
    model.nobody_saw_a_failure(now)
    report = model.stop_requests()
    assert {"1.0.0", "2.0.0"} <= report.versions
    assert report.failed <= 0.01 * report.sent, report.outcomes_of(None)


def test_deleting_the_resource_removes_all_that_was_made_for_it_and_does_not_hang(model: Model) -> None:
    owned = model.objects(CHILDREN)
    of_revisions = {"ReplicaSet", "Service", "ControllerRevision", "Pod", "PodDisruptionBudget"}
    assert {child["kind"] for child in owned} == {*of_revisions, "NetworkPolicy"}

    model.kubectl("delete", "mdep", NAME, "--wait=true", timeout_seconds=30)

    left = wait_until(
        "the garbage collector has removed the children",
        lambda: "none" if not model.objects(CHILDREN) else None,
        90,
    )
    assert left == "none"

    def others() -> list[str]:
        found = json.loads(model.kubectl("get", "endpointslices,configmaps,secrets,jobs,leases", "--output=json"))
        return [name for item in found["items"] if (name := item["metadata"]["name"]).startswith(NAME)]

    wait_until("nothing else with its name is left", lambda: not others(), 60)
