"""Which evidence is read, over which window, in which phase."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.reasons import Phase
from serinus.api.status import MetricSlices
from serinus.api.values import Percent
from serinus.core.due import Window, evidence_request
from serinus.core.observation import Capabilities
from tests.unit.core.situations import (
    CANDIDATE,
    NOW,
    OLDER,
    STABLE,
    children,
    deployment,
    holding,
    seconds,
    situation,
    status,
)

SEEN = children({STABLE: 4, CANDIDATE: 1}, {STABLE: 95, CANDIDATE: 5})


@pytest.mark.parametrize("phase", [Phase.HOLDING, Phase.PAUSED, Phase.PROMOTING])
def test_a_candidate_is_judged_beside_stable_since_its_route_was_first_confirmed(phase: Phase):
    told = holding("half", phase=phase, evidence_started_at=NOW - seconds(300))
    request = evidence_request(situation(told, SEEN))
    assert request is not None
    assert (request.judged, request.baseline, request.concurrent) == (CANDIDATE, STABLE, True)
    assert request.window == request.baseline_window == Window(NOW - seconds(300), NOW)
    assert request.pass_since == NOW - seconds(30), "what counts for Pass begins with the step"
    assert [pod.revision for pod in request.judged_pods] == [CANDIDATE]
    assert (request.moves, request.generation) == (7, 3)


def test_in_its_watch_stable_is_judged_by_the_window_of_the_old_revision_before_the_switch():
    told = status(
        Phase.WATCHING,
        previous=OLDER,
        evidence_started_at=NOW - seconds(20),
        pass_evidence_since=NOW - seconds(20),
        baseline_started_at=NOW - seconds(900),
        baseline_ended_at=NOW - seconds(23),
    )
    request = evidence_request(situation(told, children({STABLE: 4, OLDER: 4}, {STABLE: 100})))
    assert request is not None
    assert (request.judged, request.baseline, request.concurrent) == (STABLE, OLDER, False)
    assert request.window == Window(NOW - seconds(20), NOW)
    assert request.baseline_window == Window(NOW - seconds(900), NOW - seconds(23))


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.STARTING, Phase.ROLLING_BACK, Phase.REJECTED])
def test_in_other_phases_nothing_is_read(phase: Phase):
    assert evidence_request(situation(holding(phase=phase), SEEN)) is None


@pytest.mark.parametrize(
    ("told", "more"),
    [
        pytest.param(holding(evidence_started_at=None), {}, id="before the route is confirmed"),
        pytest.param(holding(evidence_started_at=NOW - seconds(9)), {}, id="before an interval has passed"),
        pytest.param(holding(evidence_started_at=NOW + seconds(3)), {}, id="before the margin has passed"),
        pytest.param(holding(), {"of": deployment(analysis={"disabled": True})}, id="analysis is disabled"),
        pytest.param(holding(), {"of": deployment(suspend=True)}, id="suspended"),
        pytest.param(holding(), {"capabilities": Capabilities(metric_source=False)}, id="no source"),
    ],
)
def test_nothing_is_read(told: Any, more: dict[str, Any]):
    assert evidence_request(situation(told, SEEN, **more)) is None


def test_the_same_window_is_read_after_a_restart():
    before = evidence_request(situation(holding(), SEEN))
    after = evidence_request(situation(holding(), SEEN, previous_pass_at=None))
    assert before == after


SLICED = {
    "analysis": {
        "undecided": {"afterSeconds": 540},
        "metrics": [
            {"name": "errors", "errors": {}, "limit": {"maxPercent": "1"}, "perSlice": "country"},
        ],
    }
}


def test_slices_are_surveyed_in_what_stable_served_before_the_evidence_began():
    fixed = (MetricSlices(metric="errors", label="country", values=("DE",), least_percent=Percent("1")),)
    told = holding(evidence_started_at=NOW - seconds(300), slices=fixed)
    request = evidence_request(situation(told, SEEN, deployment(**SLICED)))
    assert request is not None
    assert request.slices == fixed
    assert request.survey is not None
    began = NOW - seconds(300)
    assert (request.survey.revision, request.survey.window) == (STABLE, Window(began - seconds(3600), began))
    assert request.survey.served_seconds == 700.0, "it is stable for so long"
    assert request.survey.exposure_seconds == pytest.approx(0.05 * (60 + 540))


def test_in_a_watch_they_are_surveyed_in_what_the_old_revision_served_until_the_switch():
    told = status(
        Phase.WATCHING,
        previous=OLDER,
        evidence_started_at=NOW - seconds(20),
        baseline_started_at=NOW - seconds(900),
        baseline_ended_at=NOW - seconds(23),
    )
    seen = children({STABLE: 4, OLDER: 4}, {STABLE: 100})
    request = evidence_request(situation(told, seen, deployment(**SLICED)))
    assert request is not None
    assert request.survey is not None
    assert (request.survey.revision, request.survey.window.end) == (OLDER, NOW - seconds(23))
    assert request.survey.served_seconds == 3600.0


def test_without_slices_nothing_is_surveyed():
    request = evidence_request(situation(holding(evidence_started_at=NOW - seconds(300)), SEEN))
    assert request is not None
    assert request.survey is None
