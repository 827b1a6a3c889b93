"""What can't wait: traffic that goes to where it must not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from serinus.api.reasons import Phase
from serinus.core.decide import decide
from serinus.core.observation import Children
from serinus.core.urgency import is_urgent
from serinus.core.verdicts import Fail, FailReason, Pass, Verdict
from tests.unit.core.situations import (
    CANDIDATE,
    OLDER,
    STABLE,
    children,
    deployment,
    evidence,
    holding,
    observation,
    situation,
    status,
)

SPLIT = {STABLE: 95, CANDIDATE: 5}


def by_headers(seen: Children) -> Children:
    """With a rule for headers that lead to the candidate, which the spec does not ask for."""
    assert seen.route is not None
    return replace(seen, route=replace(seen.route, matches={CANDIDATE: ((("x-cohort", "beta"),),)}))


def copied(seen: Children) -> Children:
    """With copies for the candidate that the status does not ask for."""
    assert seen.route is not None
    return replace(seen, route=replace(seen.route, mirrors={CANDIDATE: 100}))


@pytest.mark.parametrize(
    ("told", "seen", "urgent"),
    [
        pytest.param(holding(), children({STABLE: 4, CANDIDATE: 1}, SPLIT), False, id="all is as it should be"),
        pytest.param(
            holding(), by_headers(children({STABLE: 4, CANDIDATE: 1}, SPLIT)), True, id="headers lead to the candidate"
        ),
        pytest.param(
            holding(),
            copied(children({STABLE: 4, CANDIDATE: 0}, {STABLE: 100})),
            True,
            id="copies go to a candidate without a pod",
        ),
        pytest.param(
            holding(phase=Phase.ROLLING_BACK),
            copied(children({STABLE: 4, CANDIDATE: 1}, {STABLE: 100})),
            True,
            id="copies go to a candidate that is rolled back",
        ),
        pytest.param(
            holding(),
            copied(children({STABLE: 4, CANDIDATE: 1}, SPLIT)),
            False,
            id="copies of a step that is over go to a candidate that is there",
        ),
        pytest.param(
            holding("half", phase=Phase.PROMOTING),
            by_headers(children({STABLE: 4, CANDIDATE: 4}, SPLIT)),
            False,
            id="headers lead to where all requests are to go",
        ),
        pytest.param(
            holding("half"), children({STABLE: 4, CANDIDATE: 2}, SPLIT), False, id="the candidate is to get more"
        ),
        pytest.param(
            holding(phase=Phase.ROLLING_BACK),
            children({STABLE: 4, CANDIDATE: 1}, SPLIT),
            True,
            id="a candidate that is rolled back has weight",
        ),
        pytest.param(
            holding(phase=Phase.ROLLING_BACK),
            children({STABLE: 4, CANDIDATE: 1}, {STABLE: 100}),
            False,
            id="and has none any more",
        ),
        pytest.param(
            holding(withdrawn=True),
            children({STABLE: 4, CANDIDATE: 1}, SPLIT),
            True,
            id="a silent candidate has weight",
        ),
        pytest.param(holding(), children({STABLE: 4, CANDIDATE: 0}, SPLIT), True, id="the candidate's pods are gone"),
        pytest.param(holding(), children({STABLE: 0, CANDIDATE: 1}, SPLIT), True, id="stable's pods are gone"),
        pytest.param(
            holding("half", phase=Phase.PROMOTING),
            children({STABLE: 4, CANDIDATE: 4}, {STABLE: 50, CANDIDATE: 50}),
            False,
            id="a promotion takes traffic off a stable revision that serves",
        ),
        pytest.param(
            status(),
            children({STABLE: 4, OLDER: 4}, {STABLE: 50, OLDER: 50}),
            True,
            id="somebody gave weight to a revision without a role",
        ),
    ],
)
def test_traffic_that_is_to_go_elsewhere_is_urgent(told: Any, seen: Any, urgent: bool):
    assert is_urgent(situation(told, seen)) is urgent
    assert decide(observation(told, seen)).urgent is urgent


@pytest.mark.parametrize(("verdict", "urgent"), [(Fail(FailReason.ABOVE_LIMIT), True), (Pass(), False)])
def test_a_move_is_urgent_if_what_follows_from_it_is(verdict: Verdict, urgent: bool):
    seen = children({STABLE: 4, CANDIDATE: 1}, SPLIT)
    assert decide(observation(holding(), seen, evidence=evidence(verdict))).urgent is urgent


def test_nothing_is_urgent_in_a_resource_that_is_suspended():
    seen = children({STABLE: 4, CANDIDATE: 0}, SPLIT)
    assert not decide(observation(holding(), seen, deployment(suspend=True))).urgent
