"""Blue-green with a preview, a canary by pods, and recreate, behind a plain Service and under steady load.

Each request of the clients opens a connection of its own: a Service spreads connections, not requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.model import NAME, Model, model_in, revision, rollout
from e2e.stage import Stage, wait_until
from e2e.story import instant
from e2e.watching import condition, phase

URL = f"http://{NAME}"
ERRORS = {"metrics": [{"name": "errors", "errors": {}, "limit": {"maxPercent": "2"}, "minSamples": 50}]}
"""Version 3 fails one request in five; the others none."""
TIMES = {"watchSeconds": 60, "scaleDownDelaySeconds": 60, "progressDeadlineSeconds": 120}
HOLD_SECONDS = 10


def plain(**rollout: Any) -> dict[str, Any]:
    """Sections of a resource without a gateway, with this rollout."""
    return {
        "traffic": {"gateway": None},
        "rollout": {"canary": None, **TIMES, **rollout},
        "analysis": ERRORS,
    }


def selector(model: Model) -> dict[str, str]:
    found: dict[str, str] = model.get("service", NAME)["spec"]["selector"]
    return found


@pytest.fixture
def model(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Model]:
    name = request.node.name.removeprefix("test_").split("_")[0]
    with model_in(stage, f"e2e-{name}") as model:
        yield model


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
    assert model.kubectl("exec", "clients", "--", "python", "-c", ready).strip() == "200"

    promoted = model.wait_until_promoted("2.0.0")
    assert rollout(promoted)["judgedBy"] == "Readiness"
    (switched,) = [entry for entry in promoted["status"]["history"] if entry["event"] == "Promoted"]
    assert instant(switched["at"]) - instant(rollout(held)["countingSince"]) >= HOLD_SECONDS
    report = model.wait_for_answers()
    assert report.versions == {"2.0.0"}
    model.nobody_saw_a_failure(model.report())

    model.apply("3.0.0", **sections)
    rejected = model.wait_until_rejected()
    assert rejected["status"]["rejected"][0]["reason"] == "MetricFailed"
    assert revision(rejected, "stable") == candidate
    assert selector(model)["serinus.dev/revision"] == candidate
    assert model.wait_for_answers().versions == {"2.0.0"}
    report = model.stop_requests()
    assert report.failed_of("3.0.0") > 0
    assert report.failed_except("3.0.0") == 0, report.outcomes_of(None)


def test_canary_by_pods_gets_the_share_of_its_pods_and_is_judged(model: Model) -> None:
    steps = [{"name": "third", "weightPercent": 34, "holdSeconds": HOLD_SECONDS}]
    sections = plain(canary={"steps": steps}, watchSeconds=5, scaleDownDelaySeconds=5)
    sections["scaling"] = {"replicas": 2}
    model.serve("1.0.0", **sections)
    model.send_requests(url=URL, new_connections=True)
    model.apply("2.0.0", **sections)
    counting = model.wait_until_holding()
    assert selector(model) == {"serinus.dev/deployment": NAME}

    def told(manifest: dict[str, Any]) -> bool:
        return bool((manifest["status"].get("candidate") or {}).get("weightPercent") == 33)

    model.resource.wait_for("status says the real share", told, 30)
    since = instant(rollout(counting)["countingSince"])
    part = model.wait_for_answers(of_seconds=5)
    assert part.share_of("2.0.0") == pytest.approx(1 / 3, abs=0.12), "of some 200 connections"
    promoted = model.wait_until_promoted("2.0.0")
    assert rollout(promoted)["judgedBy"] == "Metrics"
    (passed,) = [entry for entry in promoted["status"]["history"] if entry["event"] == "Promoted"]
    assert instant(passed["at"]) - since >= HOLD_SECONDS
    model.nobody_saw_a_failure(model.report())

    model.apply("3.0.0", **sections)
    rejected = model.wait_until_rejected()
    assert rejected["status"]["rejected"][0]["reason"] == "MetricFailed"
    assert selector(model)["serinus.dev/revision"] == revision(rejected, "stable")
    bad = rejected["status"]["rejected"][0]["revision"]
    wait_until("its pods, and the connections to them, are gone", lambda: not model.pods(bad), 60)
    assert model.wait_for_answers().versions == {"2.0.0"}
    report = model.stop_requests()
    assert report.failed_except("3.0.0") == 0, report.outcomes_of(None)


def test_recreate_stops_the_old_pods_first_and_brings_them_back_when_the_new_ones_fail(model: Model) -> None:
    sections = plain(recreate={}, watchSeconds=5, scaleDownDelaySeconds=5, progressDeadlineSeconds=30)
    startup: dict[str, Any] = {"serving": {"startupSeconds": 20}}
    model.serve("1.0.0", **sections, **startup)
    model.apply("2.0.0", **sections, **startup)

    def in_the_gap(manifest: dict[str, Any]) -> bool:
        return condition(manifest, "Available")[:2] == ("False", "Recreating")

    gap = model.resource.wait_for("nobody is served, and it says so", in_the_gap, 60)
    old, new = revision(gap, "stable"), revision(gap, "candidate")
    together = []
    while phase(model.resource.newest or {}) == "Promoting":
        coming = model.pods(new)  # first: an old one that runs afterwards did so beside them
        going = model.running_pods(old)
        together += [*coming, *going] if coming and going else []
    assert together == [], "pods of both at once"
    promoted = model.wait_until_promoted("2.0.0")
    assert condition(promoted, "Available")[0] == "True"

    missing: dict[str, Any] = {
        "serving": {"startupSeconds": 20, "image": "localhost/not-there:1", "imagePullPolicy": "Never"}
    }
    model.apply("2.0.0", **sections, **missing)
    rejected = model.wait_until_rejected()
    assert rejected["status"]["rejected"][0]["reason"] == "ProgressDeadlineExceeded"
    assert revision(rejected, "stable") == revision(promoted, "stable")

    def serves_again(manifest: dict[str, Any]) -> bool:
        return condition(manifest, "Available")[0] == "True" and manifest["status"]["stable"].get("readyReplicas") == 1

    model.resource.wait_for("the old version is back", serves_again, 60)
