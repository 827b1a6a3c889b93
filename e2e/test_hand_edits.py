"""What people do by hand: children are put back, a name that is taken is left alone, a lost status is found again.

One model goes through all of it; the clients hardly notice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from e2e.model import NAME, STEP_WEIGHT, Manifest, Model, events_of, model_in, revision, rollout, weights_of
from e2e.stage import Stage, wait_until
from e2e.watching import condition

NOW = "--wait=false"
"""What comes back at once under its old name is what kubectl would wait for to be gone."""
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


@pytest.fixture
def theirs(model: Model) -> Iterator[Manifest]:
    """A Service of somebody else, with the name that one for trying a candidate would have."""
    name = f"{NAME}-candidate"
    spec = {"selector": {"app": "theirs"}, "ports": [{"port": 8080}]}
    model.stage.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}, model.namespace
    )
    yield model.get("service", name)
    model.kubectl("delete", "service", name)


def patch(model: Model, kind: str, name: str, operations: list[dict[str, object]]) -> None:
    model.kubectl("patch", kind, name, "--type=json", f"--patch={json.dumps(operations)}")


def child(model: Model) -> str:
    return f"{NAME}-{revision(model.wait_until_ready(), 'stable')}"


def assert_clients_are_served(model: Model, settled_seconds: float = SETTLED_SECONDS) -> None:
    time.sleep(settled_seconds)
    report = model.wait_for_answers()
    model.nobody_saw_a_failure(report)
    assert report.versions == {"1.0.0"}


def assert_clients_noticed_nothing(model: Model, since: float) -> None:
    """Until now, and in the next seconds."""
    model.wait_for_answers()
    model.nobody_saw_a_failure(model.report().between(since, float("inf")))


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
    model.kubectl("delete", "replicaset", name, "--cascade=orphan", NOW)

    def back() -> bool:
        found = [each for each in model.objects("replicasets") if each["metadata"]["name"] == name]
        another = [each for each in found if each["metadata"]["uid"] != before["metadata"]["uid"]]
        return any(each["status"].get("readyReplicas") == 1 for each in another)

    wait_until(f"ReplicaSet {name} is back with its pod", back, 60)
    after = model.get("replicaset", name)
    assert after["spec"]["template"] == before["spec"]["template"]
    assert model.pods(revision(model.wait_until_ready(), "stable")) == pods
    assert_clients_are_served(model)


def test_the_services_route_and_replica_set_deleted_at_once_come_back_as_they_were(model: Model) -> None:
    kinds = "replicasets,services,httproutes,controllerrevisions"
    before = {(each["kind"], each["metadata"]["name"]) for each in model.objects(kinds)}
    model.kubectl("delete", "replicaset,service,httproute", f"--selector=serinus.dev/deployment={NAME}", NOW)

    def back() -> bool:
        return {(each["kind"], each["metadata"]["name"]) for each in model.objects(kinds)} == before

    wait_until(f"{sorted(before)} are back", back, 60)
    wait_until("its pod is ready", lambda: model.get("mdep", NAME)["status"]["stable"]["readyReplicas"] == 1, 90)
    model.wait_until_ready()
    assert_clients_are_served(model, LAST_FAILURE_SECONDS)


def test_an_object_of_somebody_else_with_a_childs_name_is_named_and_left_alone_and_nothing_else_is_disturbed(
    model: Model, theirs: Manifest
) -> None:
    begin, stable = time.time(), revision(model.wait_until_ready(), "stable")
    name = theirs["metadata"]["name"]
    model.apply("2.0.0", hold_seconds=600, rollout={"automation": "Supervised"})

    stalled = model.resource.wait_for("it is Stalled", lambda m: condition(m, "Stalled")[0] == "True", 60)
    _, reason, message = condition(stalled, "Stalled")
    assert reason == "NameTaken", model.told()
    assert f"Service {model.namespace}/{name} exists and has no controller" in message
    assert f"serinus.dev/adopt={NAME}" in message
    assert condition(stalled, "Available")[0] == "True"
    assert model.weights() == {stable: 100}

    model.apply("1.0.0")
    settled = model.resource.wait_for("it is at rest again", lambda m: revision(m, "candidate") == "", 60)
    assert revision(settled, "stable") == stable
    model.wait_until_ready()
    assert model.get("service", name) == theirs
    assert_clients_noticed_nothing(model, begin)


def test_a_status_emptied_by_hand_in_the_middle_of_a_rollout_is_made_anew_from_what_serves(model: Model) -> None:
    model.apply("2.0.0", hold_seconds=600)
    holding = model.wait_until_holding()
    begin, stable, candidate = time.time(), revision(holding, "stable"), revision(holding, "candidate")
    pods = model.pods(stable)

    empty = json.dumps([{"op": "remove", "path": "/status"}])
    model.kubectl("patch", "mdep", NAME, "--subresource=status", "--type=json", f"--patch={empty}")

    def starts_over(manifest: Manifest) -> bool:
        return "countingSince" in rollout(manifest) and ("StatusRecovered", stable) in events_of(manifest)

    recovered = model.resource.wait_for("the candidate holds again, from its first step on", starts_over, 60)
    events = [("StatusRecovered", stable), ("CandidateStarted", candidate), ("StepEntered", candidate)]
    assert events_of(recovered) == events, model.told()
    assert (revision(recovered, "stable"), revision(recovered, "candidate")) == (stable, candidate)
    assert_clients_noticed_nothing(model, begin)
    assert model.pods(stable) == pods
    weights = [weights_of(seen.manifest) for seen in model.route.seen if seen.at >= begin]
    assert all(each.get(stable, 0) >= 100 - STEP_WEIGHT for each in weights), model.story()
