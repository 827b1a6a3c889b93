"""Conditions by kstatus' rules: in every phase exactly one of Ready, Reconciling and Stalled is true."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from serinus.api.reasons import Phase, Reason
from serinus.api.status import Condition, MetricStatus, RejectedRevision
from serinus.core.conditions import Stall, conditions, stalled_only
from serinus.core.decide import decide
from serinus.core.observation import Frozen, ParentState, RouteState
from serinus.core.plan import Move
from serinus.core.rollout.situation import Situation
from tests.unit.core.situations import (
    CANDIDATE,
    NOW,
    OLDER,
    STABLE,
    children,
    deployment,
    holding,
    observation,
    pod,
    seconds,
    situation,
    status,
)

SPLIT = {STABLE: 95, CANDIDATE: 5}
ALL = {STABLE: 100}
UNREAD = Frozen(Reason.CONFIGURATION_UNREADABLE, "")
REJECTED = (RejectedRevision(revision=CANDIDATE, reason=Reason.METRIC_FAILED, message="errors: 30 % bad", at=NOW),)
SETTLED: dict[str, Any] = {"stable": CANDIDATE}

STORIES = [
    pytest.param(
        status(Phase.STARTING, stable=None, candidate=CANDIDATE, step_started_at=NOW),
        children({}, {CANDIDATE: 100}, desired={CANDIDATE: 4}),
        ("Reconciling", "PodsNotReady"),
        id="the first revision comes up",
    ),
    pytest.param(
        status(Phase.STARTING, stable=None, candidate=CANDIDATE, step_started_at=NOW - seconds(500)),
        children({}, {CANDIDATE: 100}, desired={CANDIDATE: 4}, pods=(pod(CANDIDATE, ready=False),)),
        ("Stalled", "ProgressDeadlineExceeded"),
        id="the first revision is late",
    ),
    pytest.param(
        status(**SETTLED), children({CANDIDATE: 4}, {CANDIDATE: 100}), ("Ready", "Stable"), id="nothing to do"
    ),
    pytest.param(
        status(**SETTLED), children({CANDIDATE: 3}, {CANDIDATE: 100}), ("Reconciling", "Scaling"), id="a pod is missing"
    ),
    pytest.param(
        status(**SETTLED),
        children({CANDIDATE: 4}, {CANDIDATE: 100}, accepted=False),
        ("Reconciling", "RouteNotAccepted"),
        id="the gateway refuses",
    ),
    pytest.param(
        status(Phase.STARTING, candidate=CANDIDATE, step_started_at=NOW),
        children({STABLE: 4}, ALL, desired={CANDIDATE: 1}),
        ("Reconciling", "PodsNotReady"),
        id="a candidate comes up",
    ),
    pytest.param(
        status(Phase.STARTING, candidate=CANDIDATE, step_started_at=NOW),
        children({STABLE: 4}, ALL, desired={CANDIDATE: 1}, pods=(pod(CANDIDATE, ready=False, scheduled=False),)),
        ("Reconciling", "PodsUnschedulable"),
        id="no node fits",
    ),
    pytest.param(
        holding(), children({STABLE: 4, CANDIDATE: 1}, SPLIT), ("Reconciling", "Holding"), id="a step is being held"
    ),
    pytest.param(
        holding(counting_since=None, missing_since=NOW),
        children({STABLE: 4, CANDIDATE: 1}, SPLIT),
        ("Reconciling", "EvidenceMissing"),
        id="evidence is missing",
    ),
    pytest.param(
        holding(counting_since=None),
        children({STABLE: 4, CANDIDATE: 1}, SPLIT, accepted=False),
        ("Reconciling", "RouteNotAccepted"),
        id="the gateway refuses the weights",
    ),
    pytest.param(
        holding(counting_since=None, short_since=NOW),
        children({STABLE: 4}, ALL, desired={CANDIDATE: 1}),
        ("Reconciling", "PodsNotReady"),
        id="the candidate lost its pods",
    ),
    pytest.param(
        holding(phase=Phase.PAUSED, reason="UndecidedTooLong"),
        children({STABLE: 4, CANDIDATE: 1}, SPLIT),
        ("Reconciling", "Holding"),
        id="paused",
    ),
    pytest.param(
        holding("half", phase=Phase.PROMOTING, counting_since=None, short_since=NOW),
        children({STABLE: 4, CANDIDATE: 2}, SPLIT),
        ("Reconciling", "Promoting"),
        id="taking all traffic",
    ),
    pytest.param(
        status(Phase.WATCHING, previous=OLDER, step_started_at=NOW, **SETTLED),
        children({CANDIDATE: 4, OLDER: 4}, {CANDIDATE: 100}),
        ("Ready", "Stable"),
        id="watched",
    ),
    pytest.param(
        holding(phase=Phase.ROLLING_BACK, counting_since=None, drained_at=NOW + seconds(9)),
        children({STABLE: 4, CANDIDATE: 1}, ALL),
        ("Reconciling", "RollingBack"),
        id="rolling back",
    ),
    pytest.param(
        status(Phase.REJECTED, rejected=REJECTED),
        children({STABLE: 4}, ALL),
        ("Stalled", "MetricFailed"),
        id="rejected",
    ),
]


def true_ones(found: tuple[Condition, ...]) -> list[tuple[str, str]]:
    story = {"Ready", "Reconciling", "Stalled"}
    return [(c.type, c.reason) for c in found if c.type in story and c.status == "True"]


@pytest.mark.parametrize(("told", "seen", "story"), STORIES)
def test_each_situation_has_exactly_one_story(told, seen, story: tuple[str, str]):
    plan = decide(observation(told, seen))
    assert not isinstance(plan.action, Move), "the table is of situations in which nothing is decided"
    assert plan.action.status is not None
    assert true_ones(plan.action.status.conditions) == [story]


@pytest.mark.parametrize(("told", "seen", "story"), STORIES)
def test_what_needs_a_person_is_the_only_story_whatever_the_phase(told, seen, story: tuple[str, str]):
    found = conditions(situation(told, seen), Stall(Reason.UNSUPPORTED, "not carried out"))
    assert true_ones(found) == [("Stalled", "Unsupported")]


@pytest.mark.parametrize(("told", "seen", "story"), STORIES)
def test_every_condition_has_a_message_and_the_generation(told, seen, story: tuple[str, str]):
    for condition in conditions(situation(told, seen), None):
        assert condition.message
        assert condition.observed_generation == 3


def test_the_transition_time_changes_only_with_the_status():
    told, seen = holding(), children({STABLE: 4, CANDIDATE: 1}, SPLIT)
    first = conditions(situation(told, seen), None)
    again = told.model_copy(update={"conditions": first})
    later = conditions(situation(again, seen, now=NOW + seconds(20)), None)
    assert [c.last_transition_time for c in later] == [NOW] * len(later)
    stalled = conditions(situation(again, seen, now=NOW + seconds(20)), Stall(Reason.UNSUPPORTED, "no"))
    moved = {c.type for c in stalled if c.last_transition_time != NOW}
    assert moved == {"Stalled", "Reconciling"}


def test_a_rollback_quotes_its_evidence_in_stalled():
    plan = decide(observation(status(Phase.REJECTED, rejected=REJECTED), children({STABLE: 4}, ALL)))
    stalled = next(c for c in plan.action.status.conditions if c.type == "Stalled")  # type: ignore[union-attr]
    assert "errors: 30 % bad" in stalled.message
    assert f"serinus.dev/retry: {CANDIDATE}" in stalled.message


def test_a_gateway_that_refuses_is_quoted():
    seen = children({STABLE: 4, CANDIDATE: 1}, SPLIT, accepted=False)
    found = conditions(situation(holding(counting_since=None), seen), None)
    reconciling = next(c for c in found if c.type == "Reconciling")
    assert "NoMatchingParent: no such listener" in reconciling.message


@pytest.mark.parametrize(
    ("answered", "told"),
    [(False, "Gateway gateways/pubic is not there"), (True, "Gateway gateways/pubic is not there; it says no")],
    ids=["silent", "refusing"],
)
def test_what_is_known_of_a_gateway_explains_its_silence(answered: bool, told: str):
    parent = ParentState(accepted=False, message="it says no", carries=False, answered=answered)
    seen = children({CANDIDATE: 4})
    seen = replace(seen, route=RouteState({CANDIDATE: 100}, (parent,)))
    first = status(Phase.STARTING, stable=None, candidate=CANDIDATE)
    found = situation(first, seen, refusing_gateway="Gateway gateways/pubic is not there")
    assert found.route_trouble == told


def test_ready_pods_that_no_gateway_can_know_of_are_told_as_such():
    seen = children({STABLE: 4, CANDIDATE: 1}, ALL)
    seen = replace(seen, endpoints={STABLE: 4}, pods=(pod(CANDIDATE, 0),))
    found = conditions(situation(status(Phase.STARTING, candidate=CANDIDATE), seen), None)
    reconciling = next(c for c in found if c.type == "Reconciling")
    assert reconciling.reason == "PodsNotReady"
    assert f"Service iris-{CANDIDATE} has 0 endpoints for 1 ready pod" in reconciling.message


def test_what_a_step_waits_for_is_told_by_the_metrics_that_decide():
    metrics = (("errors", "Enforce", "Pass"), ("memory", "Observe", "Undecided"))
    analysis = tuple(
        MetricStatus(name=name, mode=mode, verdict=verdict, message=f"{name}: {verdict}", at=NOW)
        for name, mode, verdict in metrics
    )
    told = holding().model_copy(update={"analysis": analysis})
    found = conditions(situation(told, children({STABLE: 4, CANDIDATE: 1}, SPLIT)), None)
    message = next(c.message for c in found if c.type == "Reconciling")
    assert message.endswith("held 30 of 60 s; errors: Pass")


def test_available_means_that_somebody_who_gets_requests_is_ready():
    table = [({STABLE: 4}, ALL, "True"), ({CANDIDATE: 1}, ALL, "False"), ({CANDIDATE: 1}, {CANDIDATE: 100}, "True")]
    for ready, weights, expected in table:
        found = conditions(situation(status(), children(ready, weights)), None)
        assert next(c for c in found if c.type == "Available").status == expected


def test_where_there_is_no_revision_nobody_is_sent_to_look_at_its_pods():
    found = conditions(situation(status(Phase.REJECTED, stable=None, rejected=REJECTED), children({})), None)
    available = next(c for c in found if c.type == "Available")
    assert (available.status, available.reason) == ("False", "NoReadyPods")
    assert "neither a stable revision nor a candidate" in available.message


def test_before_the_content_is_read_that_a_revision_is_made_of_no_revision_is_named():
    """`configChecksum: Auto`: what the spec alone would come to is a revision that there will never be."""
    begins = situation(status(stable=None), children({}))
    unread = Situation(replace(begins.observation, frozen_by=UNREAD))
    for each, named in ((begins, True), (unread, False)):
        reconciling = next(c for c in conditions(each, None) if c.type == "Reconciling")
        assert (reconciling.status, reconciling.reason) == ("True", "Starting")
        assert (CANDIDATE in reconciling.message) is named


def test_suspended_is_told_as_such():
    of = deployment(suspend=True)
    found = conditions(situation(status(), children({STABLE: 4}, ALL), of), None)
    assert [(c.type, c.reason) for c in found if c.status == "True" and c.type != "Available"] == [
        ("Reconciling", "Suspended"),
        ("Paused", "Suspended"),
    ]


def test_a_spec_that_can_not_be_read_leaves_the_other_conditions_as_they_were():
    before = conditions(situation(holding(), children({STABLE: 4, CANDIDATE: 1}, SPLIT)), None)
    after = stalled_only(before, Stall(Reason.INVALID_SPEC, "spec.scaling.replicas: below 0"), 4, NOW + seconds(1))
    assert [c.type for c in after] == [c.type for c in before]
    assert true_ones(after) == [("Stalled", "InvalidSpec")]
    kept = {c.type: c for c in before if c.type in {"Available", "Paused"}}
    assert {c.type: c for c in after if c.type in kept} == kept
