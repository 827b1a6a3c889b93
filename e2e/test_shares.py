"""A weight is a share of the requests: what clients see of 70/30, through the real gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e.model import REQUESTS_PER_SECOND, Model, model_in, revision
from e2e.stage import Stage

SHARE = 30
REQUESTS = 500
POINTS = 5
"""By so much the share may be off."""
MARGIN_SECONDS = 3
"""After which a gateway has a route that it has accepted."""


@pytest.fixture
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, "e2e-shares") as model:
        yield model


def test_of_500_requests_at_70_30_each_version_answers_its_share(model: Model) -> None:
    model.serve()
    model.send_requests()
    model.apply("2.0.0", rollout={"canary": {"steps": [{"name": "third", "weightPercent": SHARE, "holdSeconds": 600}]}})
    holding = model.wait_until_holding()
    assert model.weights() == {revision(holding, "stable"): 100 - SHARE, revision(holding, "candidate"): SHARE}
    time.sleep(MARGIN_SECONDS)
    seen = model.wait_for_answers(of_seconds=round(REQUESTS / REQUESTS_PER_SECOND) + 2)
    assert seen.requests >= REQUESTS
    assert 100 * seen.share_of("2.0.0") == pytest.approx(SHARE, abs=POINTS), seen.versions
    assert seen.versions == {"1.0.0", "2.0.0"}
    model.nobody_saw_a_failure(model.stop_requests())
