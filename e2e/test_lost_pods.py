"""All pods of a candidate die in the middle of its step."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e.model import REQUESTS_PER_SECOND, Model, model_in, revision, rollout, weights_of
from e2e.stage import Stage
from e2e.story import instant

SHARE = 25
HOLD_SECONDS = 15
WEIGHT_OFF_SECONDS = 8
"""What a busy machine takes from the end of a pod to a route without it; an idle one takes one or two."""
LAST_FAILURE_SECONDS = 15
"""From the route's change to the last answer of a request from before: the gateway's lag and a client's time-out."""


@pytest.fixture
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, "e2e-lost-pods") as model:
        yield model


def test_the_weight_goes_off_at_once_the_clock_stops_and_both_go_on_with_a_new_pod(model: Model) -> None:
    steps = [{"name": "quarter", "weightPercent": SHARE, "holdSeconds": HOLD_SECONDS}]
    model.serve()
    model.send_requests()
    model.apply("2.0.0", rollout={"canary": {"steps": steps}})
    holding = model.wait_until_holding()
    candidate, stable = revision(holding, "candidate"), revision(holding, "stable")

    (pod,) = model.pods(candidate)
    killed_at = time.time()
    model.kubectl("delete", "pod", pod, "--force", "--grace-period=0")
    route = model.route.wait_for("the weight is off", lambda m: weights_of(m) == {stable: 100}, 30)
    off_at = next(seen.at for seen in model.route.seen if seen.manifest is route)
    stopped = model.resource.wait_for("the clock stands", lambda m: rollout(m).get("weightLosses") == 1, 30)
    assert "countingSince" not in rollout(stopped), model.told()
    assert off_at - killed_at < WEIGHT_OFF_SECONDS

    model.route.wait_for("the weight is on again", lambda m: weights_of(m).get(candidate) == SHARE, 120)
    promoted = model.wait_until_promoted("2.0.0")
    passed = next(entry for entry in promoted["status"]["history"] if entry["event"] == "Promoted")
    assert instant(passed["at"]) - killed_at > HOLD_SECONDS - rollout(stopped).get("heldSeconds", 0)
    assert rollout(promoted)["judgedBy"] == "Metrics"

    report = model.stop_requests()
    most = REQUESTS_PER_SECOND * SHARE / 100 * (off_at - killed_at + 3)
    assert report.failed <= most, f"{report.failed} requests lost: {report.outcomes_of(None)}"
    after = report.between(off_at + LAST_FAILURE_SECONDS, float("inf"))
    assert after.requests > 0
    model.nobody_saw_a_failure(after)
