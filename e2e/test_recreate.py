"""Recreate: where there is room for one version only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.model import Model, model_in, revision
from e2e.stage import Stage
from e2e.watching import condition, phase
from e2e.without_gateway import plain


@pytest.fixture
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, "e2e-recreate") as model:
        yield model


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
