"""A manifest that is applied over and over, as GitOps tools do it: nothing happens twice, and no rollback is undone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from e2e.model import STEP_WEIGHT, STRICT, Manifest, Model, events_of, model_in, revision, small
from e2e.stage import Stage
from e2e.watching import condition, phase

EVERY_SECONDS = 2
STAYS_SECONDS = 15
"""Several times what it takes from an applied manifest to a candidate with weight."""
WAYS = ((), ("--server-side", "--force-conflicts", "--field-manager=argocd-controller"))
"""Argo CD's own, and what docs/gitops.md advises."""


@pytest.fixture
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, "e2e-again") as model:
        model.serve()
        model.send_requests()
        yield model


@contextmanager
def applied_again_and_again(model: Model, manifest: Manifest) -> Iterator[None]:
    """A manifest is applied now, and in all ways every few seconds from now on."""
    ended = threading.Event()

    def apply() -> int:
        times = 0
        while times == 0 or not ended.wait(EVERY_SECONDS):
            for way in WAYS:
                place = f"--namespace={model.namespace}"
                model.stage.kubectl.run("apply", *way, place, "--filename=-", stdin=json.dumps(manifest))
            times += 1
        return times

    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(apply)
        try:
            yield
        finally:
            ended.set()
        assert applying.result() > STAYS_SECONDS / EVERY_SECONDS / 2


def test_a_broken_version_that_is_applied_again_and_again_is_rolled_out_once_and_stays_rolled_back(
    model: Model,
) -> None:
    first = revision(model.wait_until_ready(), "stable")
    with applied_again_and_again(model, small("3.0.0", model.host, **STRICT)):
        rejected = model.wait_until_rejected()
        third = rejected["status"]["rejected"][0]["revision"]

        def is_as_it_was_left(manifest: Manifest) -> bool:
            return phase(manifest) == "Rejected" and events_of(manifest) == events_of(rejected)

        model.stays("it is as the rollback left it", is_as_it_was_left, STAYS_SECONDS)
    assert [event for event, of in events_of(rejected) if of == third] == [
        "CandidateStarted",
        "StepEntered",
        "RolledBack",
    ], model.told()
    assert condition(rejected, "Stalled")[:2] == ("True", "MetricFailed")
    split = {first: 100 - STEP_WEIGHT, third: STEP_WEIGHT}
    assert model.splits_since(0) == [{first: 100}, split, {first: 100}], model.story()
    assert {seen.manifest["metadata"]["generation"] for seen in model.resource.seen} == {1, 2}
