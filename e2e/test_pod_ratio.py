"""A canary by its part of the pods behind a plain Service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.model import NAME, Model, model_in, revision, rollout
from e2e.stage import Stage, wait_until
from e2e.story import instant
from e2e.without_gateway import HOLD_SECONDS, URL, plain, selector


@pytest.fixture
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, "e2e-canary") as model:
        yield model


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
    model.wait_until_only("2.0.0")
    report = model.stop_requests()
    assert report.failed_except("3.0.0") == 0, report.outcomes_of(None)
