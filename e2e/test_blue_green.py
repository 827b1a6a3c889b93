"""Blue-green with a preview behind a plain Service."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest

from e2e.model import NAME, READY_SECONDS, Manifest, Model, model_in, revision, rollout
from e2e.stage import Stage, wait_until
from e2e.story import instant
from e2e.watching import stable_version
from e2e.without_gateway import HOLD_SECONDS, URL, plain, selector

WAITS_SECONDS = 15
"""Several times what a switch takes when nothing is missing."""
QUOTA = "room-for-one-more"


@pytest.fixture
def model(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Model]:
    with model_in(stage, request.param) as model:
        yield model


@pytest.mark.full
@pytest.mark.parametrize("model", ["e2e-blue-all"], indirect=True)
def test_the_switch_waits_until_the_last_pod_is_ready(model: Model) -> None:
    sections = plain(blueGreen={}, watchSeconds=5, scaleDownDelaySeconds=5, progressDeadlineSeconds=180)
    sections["scaling"] = {"replicas": 2}
    model.serve("1.0.0", **sections)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": QUOTA}, "spec": {"hard": {"pods": "3"}}}
    model.stage.apply(quota, model.namespace)

    def counted() -> bool:
        return bool(model.get("resourcequota", QUOTA).get("status", {}).get("used", {}).get("pods") == "2")

    wait_until("the quota counts the pods of version 1", counted, 60)
    model.apply("2.0.0", **sections)
    coming = model.resource.wait_for("there is a candidate", lambda m: bool(revision(m, "candidate")), 60)
    old, new = revision(coming, "stable"), revision(coming, "candidate")
    wait_until("the one pod that there is room for is ready", lambda: len(model.ready_pods(new)) == 1, READY_SECONDS)

    def not_switched(manifest: Manifest) -> bool:
        return stable_version(manifest) == "1.0.0" and revision(manifest, "candidate") == new

    model.stays("version 1 serves while a pod of version 2 is missing", not_switched, WAITS_SECONDS)
    assert selector(model)["serinus.dev/revision"] == old
    assert len(model.ready_pods(new)) == 1

    model.kubectl("delete", "resourcequota", QUOTA)
    model.wait_until_promoted("2.0.0")
    assert len(model.ready_pods(new)) == 2
    assert selector(model)["serinus.dev/revision"] == new


@pytest.mark.parametrize("model", ["e2e-blue"], indirect=True)
def test_blue_switches_to_green_when_it_was_held_and_back_when_it_fails(model: Model) -> None:
    sections = plain(blueGreen={"holdSeconds": HOLD_SECONDS})
    model.serve("1.0.0", **sections)
    model.send_requests(url=URL, new_connections=True)
    model.apply("2.0.0", **sections)
    held = model.wait_until_holding()

    candidate = revision(held, "candidate")
    assert rollout(held)["step"] == "preview"
    assert selector(model)["serinus.dev/revision"] == revision(held, "stable")
    preview = model.get("service", f"{NAME}-candidate")["spec"]["selector"]
    assert preview["serinus.dev/revision"] == candidate
    ready = f"import urllib.request as r; print(r.urlopen('http://{NAME}-candidate/readyz', timeout=5).status)"
    place = f"--namespace={model.namespace}"

    def answers() -> bool:
        return (
            model.stage.kubectl.try_run("exec", place, "clients", "--", "python", "-c", ready) or ""
        ).strip() == "200"

    wait_until("nodes know the preview's Service, and it answers", answers, 30)

    promoted = model.wait_until_promoted("2.0.0")
    assert rollout(promoted)["judgedBy"] == "Readiness"
    (switched,) = [entry for entry in promoted["status"]["history"] if entry["event"] == "Promoted"]
    assert instant(switched["at"]) - instant(rollout(held)["countingSince"]) >= HOLD_SECONDS
    model.wait_until_only("2.0.0")
    model.nobody_saw_a_failure(model.report())

    model.apply("3.0.0", **sections)
    rejected = model.wait_until_rejected()
    assert rejected["status"]["rejected"][0]["reason"] == "MetricFailed"
    assert revision(rejected, "stable") == candidate
    assert selector(model)["serinus.dev/revision"] == candidate
    model.wait_until_only("2.0.0")
    back_at = time.time()
    report = model.stop_requests()
    assert report.failed_of("3.0.0") > 0
    assert report.failed_of("1.0.0") == report.failed_of("2.0.0") == 0
    bad = rejected["status"]["rejected"][0]["revision"]
    (switched_at,) = [
        instant(entry["at"])
        for entry in rejected["status"]["history"]
        if (entry["event"], entry["revision"]) == ("Promoted", bad)
    ]
    # An answer that comes too late does not say whose it is: it can only be version 3's, which serves alone in between.
    others = report.between(0.0, switched_at - 1), report.between(back_at, math.inf)
    assert [part.failed for part in others] == [0, 0], report.outcomes_of(None)
