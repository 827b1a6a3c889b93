"""The demo's story, asserted: a good version is promoted on evidence, a broken one rolled back, no client harmed."""

from __future__ import annotations

import json
import time
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from e2e.conftest import STORY_NAMESPACE
from e2e.model import events_of, revision, rollout
from e2e.stage import Stage, at_rest, digits, wait_until
from e2e.story import NAME, Story, instant
from e2e.watching import condition, told

STEPS = digits("2.0.0")["spec"]["rollout"]["canary"]["steps"]
SETTLE_SECONDS = 5
"""From a route's new weights to requests that all follow them."""
QUIET_SECONDS = 20
HARM_SECONDS = 60


def ask(stage: Stage, *words: str) -> Any:
    return json.loads(stage.kubectl.run("get", *words, f"--namespace={STORY_NAMESPACE}", "--output=json"))


def at_of(story: Story, event: str, of: str) -> float:
    return next(instant(entry["at"]) for entry in story.history if (entry["event"], entry["revision"]) == (event, of))


def test_version_2_passed_every_step_in_order_and_none_before_its_hold(story: Story) -> None:
    second = revision(story.promoted, "stable")
    shares = [weights.weights.get("2.0.0", 0) for weights in story.weights]
    assert shares[: shares.index(100) + 1] == [0, *(step["weightPercent"] for step in STEPS), 100]
    set_at = [weights.at for weights in story.weights if weights.weights.get("2.0.0", 0) > 0]
    for step, (entered, left) in zip(STEPS, pairwise(set_at), strict=False):
        assert left - entered >= step["holdSeconds"], f"step {step['name']}: {left - entered:.1f} s"
    events = [event for event, of in events_of(story.promoted) if of == second]
    assert events == ["CandidateStarted", "StepEntered", "StepPassed", "Promoted", "WatchEnded"]


def test_version_2_was_promoted_on_passing_metrics_and_nothing_else(story: Story) -> None:
    second = revision(story.promoted, "stable")
    assert rollout(story.promoted)["judgedBy"] == "Metrics"
    for entry in story.history:
        if entry["revision"] == second and entry["event"] in {"StepPassed", "Promoted"}:
            assert entry["by"] == "serinus"
            for metric in ("errors", "latency"):
                assert f"{metric}: passed after" in entry["because"], entry
    status, reason, message = condition(story.promoted, "Ready")
    assert (status, reason) == ("True", "Stable"), told(story.promoted)
    assert second in message


def test_version_3_was_rolled_back_for_its_errors_soon_after_the_first_one(story: Story) -> None:
    (rejected,) = story.rejected["status"]["rejected"]
    assert rejected["reason"] == "MetricFailed"
    assert "errors: failed" in rejected["message"]
    status, reason, message = condition(story.rejected, "Stalled")
    assert (status, reason) == ("True", "MetricFailed"), told(story.rejected)
    assert f"serinus.dev/retry: {rejected['revision']}" in message
    assert condition(story.rejected, "Ready")[0] == "False"
    assert condition(story.rejected, "Available")[0] == "True"
    assert max(weights.weights.get("3.0.0", 0) for weights in story.weights) == STEPS[0]["weightPercent"]
    assert story.weights[-1].weights == {"2.0.0": 100}
    assert story.seconds_from_first_bad_answer_to_zero < HARM_SECONDS


def test_no_request_failed_but_those_that_version_3_answered(story: Story) -> None:
    assert story.report.total is not None
    assert story.report.total.in_flight == 0
    assert story.report.failed_of("3.0.0") > 0
    others = story.report.versions.difference({"3.0.0"})
    assert story.report.failed_except("3.0.0") == 0, {of: story.report.outcomes_of(of) for of in others}


def test_version_2_is_right_more_often_and_version_3_slower_as_the_story_goes(story: Story) -> None:
    report = story.report
    right = {version: report.right_of(version) / report.requests_of(version) for version in ("1.0.0", "2.0.0")}
    assert right["2.0.0"] > right["1.0.0"] + 0.02, right
    assert report.latency_milliseconds(0.5, "3.0.0") > report.latency_milliseconds(0.5, "2.0.0")


def test_clients_saw_the_versions_in_the_shares_that_the_weights_say(story: Story) -> None:
    for current, following in pairwise(story.weights):
        part = story.report.between(current.at + SETTLE_SECONDS, following.at - 1)
        if part.requests < 500:
            continue
        for version in ("1.0.0", "2.0.0", "3.0.0"):
            share, weight = 100 * part.share_of(version), current.weights.get(version, 0)
            assert abs(share - weight) <= 1.5, f"{version} had {share:.1f} % of {part.requests} at {current.weights}"


def test_the_rejected_version_and_the_retired_one_have_no_pods(story: Story, stage: Stage) -> None:
    second = revision(story.promoted, "stable")
    replica_sets = ask(stage, "replicasets")["items"]
    sizes = {each["metadata"]["labels"]["serinus.dev/revision"]: each["spec"]["replicas"] for each in replica_sets}
    assert len(sizes) == 3
    assert {of: size for of, size in sizes.items() if size} == {second: 2}

    def revisions_with_pods() -> set[str]:
        pods = ask(stage, "pods", f"--selector=serinus.dev/deployment={NAME}")["items"]
        return {pod["metadata"]["labels"]["serinus.dev/revision"] for pod in pods}

    wait_until("only the stable revision has pods", lambda: revisions_with_pods() == {second}, 90)


def test_every_decision_is_an_event_that_kubectl_shows(story: Story, stage: Stage) -> None:
    events = ask(stage, "events.events.k8s.io")["items"]
    ours = [event for event in events if event["regarding"].get("kind") == "ModelDeployment"]
    assert {event["regarding"]["name"] for event in ours} == {NAME}
    reasons = {event["reason"] for event in ours}
    assert {event for event, _ in events_of(story.rejected)} <= reasons
    (rolled_back,) = [event for event in ours if event["reason"] == "RolledBack"]
    assert rolled_back["type"] == "Warning"
    assert "errors: failed" in rolled_back["note"]
    described = stage.kubectl.run("describe", "mdep", NAME, f"--namespace={STORY_NAMESPACE}")
    assert "RolledBack" in described


def test_every_child_belongs_to_the_resource_and_every_revision_is_kept(story: Story, stage: Stage) -> None:
    uid = story.rejected["metadata"]["uid"]
    children = ask(stage, "replicasets,services,httproutes,controllerrevisions")["items"]
    for child in children:
        (owner,) = child["metadata"]["ownerReferences"]
        told_of = f"{child['kind']} {child['metadata']['name']}"
        assert (owner["uid"], owner["controller"]) == (uid, True), told_of
        assert child["metadata"]["labels"]["serinus.dev/deployment"] == NAME, told_of
    kept = [child for child in children if child["kind"] == "ControllerRevision"]
    assert sorted(child["revision"] for child in kept) == [1, 2, 3]
    assert {child["data"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2] for child in kept} == {
        "1.0.0",
        "2.0.0",
        "3.0.0",
    }


def test_kubectl_get_says_it_in_a_line(story: Story, stage: Stage) -> None:
    place = f"--namespace={STORY_NAMESPACE}"
    header, line = stage.kubectl.run("get", "mdep", NAME, place, "--output=wide").splitlines()
    assert header.split() == ["NAME", "READY", "PHASE", "STEP", "WEIGHT", "STABLE", "CANDIDATE", "REASON", "AGE"]
    assert line.split()[:3] == [NAME, "False", "Rejected"]
    assert revision(story.promoted, "stable") in line
    assert "MetricFailed" in line


@pytest.mark.usefixtures("story")
def test_nothing_is_written_while_nothing_happens(stage: Stage) -> None:
    kinds = "modeldeployments,replicasets,services,httproutes,controllerrevisions,pods"

    def versions() -> dict[str, str]:
        items = ask(stage, kinds)["items"]
        return {
            f"{item['kind']} {item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for item in items
            if "clients" not in item["metadata"]["name"]
        }

    before, seen_at = at_rest("the story has ended", versions), time.monotonic()
    assert condition(ask(stage, "mdep", NAME), "Stalled")[1] == "MetricFailed"
    while time.monotonic() < seen_at + QUIET_SECONDS:
        assert versions() == before
        time.sleep(2)


def test_the_scale_subresource_shows_and_sets_the_replicas_without_a_new_revision(story: Story, stage: Stage) -> None:
    place = f"--namespace={STORY_NAMESPACE}"
    path = f"/apis/serinus.dev/v1alpha1/namespaces/{STORY_NAMESPACE}/modeldeployments/{NAME}/scale"
    scale = json.loads(stage.kubectl.run("get", f"--raw={path}"))
    stable = revision(story.promoted, "stable")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (2, 2)
    assert scale["status"]["selector"] == f"serinus.dev/deployment={NAME},serinus.dev/revision={stable}"

    stage.kubectl.run("scale", "mdep", NAME, place, "--replicas=1")

    def replicas() -> int:
        return int(ask(stage, "replicaset", f"{NAME}-{stable}")["spec"]["replicas"])

    wait_until("the stable ReplicaSet has one pod", lambda: replicas() == 1, 30)
    after = ask(stage, "mdep", NAME)
    assert revision(after, "stable") == stable
    assert rollout(after)["phase"] == "Rejected"
    assert len(ask(stage, "controllerrevisions")["items"]) == 3


def test_the_times_in_the_history_rise(story: Story) -> None:
    times = [datetime.fromisoformat(entry["at"]) for entry in story.history]
    assert times == sorted(times)
