"""When the parts of status that are only seen are written: at once where they mean something, together where not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from serinus.api.reasons import Phase
from serinus.api.status import ModelDeploymentStatus
from serinus.core.decide import DETAILS_SECONDS, decide
from serinus.core.observation import Children
from serinus.core.plan import Plan, Realise
from serinus.core.verdicts import Undecided, UndecidedReason
from tests.unit.core.situations import (
    CANDIDATE,
    NOW,
    STABLE,
    children,
    deployment,
    evidence,
    holding,
    observation,
    seconds,
    status,
)

STARTING = status(Phase.STARTING, candidate=CANDIDATE, step_started_at=NOW)
ALL_TO_STABLE = {STABLE: 100}


def seen(ready: int, current: int) -> Children:
    """A candidate with so many ready pods of so many."""
    return children({STABLE: 4, CANDIDATE: ready}, ALL_TO_STABLE, desired={CANDIDATE: current})


def written(plan: Plan) -> ModelDeploymentStatus | None:
    assert isinstance(plan.action, Realise)
    return plan.action.status


def settled(what: Children) -> ModelDeploymentStatus:
    """The status when all that is seen has been written."""
    told = written(decide(observation(STARTING, what)))
    assert told is not None
    assert written(decide(observation(told, what))) is None
    return told


def later(told: ModelDeploymentStatus, what: Children, after: float, **more: Any) -> Plan:
    """The plan of a pass, `after` seconds since the status was written."""
    return decide(observation(told, what, status_written_at=NOW - seconds(after), **more))


def test_a_number_that_follows_pods_waits_until_some_seconds_after_the_last_write():
    told, grown = settled(seen(0, 0)), seen(0, 1)

    plan = later(told, grown, 1)

    assert written(plan) is None
    assert plan.wake_at is not None
    assert plan.wake_at <= NOW + timedelta(seconds=DETAILS_SECONDS - 1)
    shown = written(later(told, grown, DETAILS_SECONDS))
    assert shown is not None
    assert shown.candidate is not None
    assert shown.candidate.replicas == 1


def test_the_wait_brings_a_pass_in_a_resource_that_is_suspended_too():
    suspended = deployment(suspend=True)
    told = written(decide(observation(STARTING, seen(0, 0), suspended)))
    assert told is not None
    plan = decide(observation(told, seen(0, 1), suspended, status_written_at=NOW))
    assert written(plan) is None
    assert plan.wake_at == NOW + timedelta(seconds=DETAILS_SECONDS)


def test_a_condition_that_changes_is_written_at_once():
    told = settled(children({STABLE: 4, CANDIDATE: 0}, ALL_TO_STABLE))

    shown = written(later(told, children({STABLE: 0, CANDIDATE: 0}, ALL_TO_STABLE), 0.5))

    assert shown is not None
    assert {c.type: c.status for c in shown.conditions}["Available"] == "False"


def test_that_a_revision_was_ready_once_is_written_at_once():
    """It decides whether there is anything to protect."""
    first = status(Phase.STARTING, stable=None, candidate=CANDIDATE, step_started_at=NOW)
    assert first.candidate is not None
    first = first.model_copy(update={"candidate": first.candidate.model_copy(update={"ever_ready": False})})
    told = written(decide(observation(first, children({CANDIDATE: 0}, desired={CANDIDATE: 4}))))
    assert told is not None

    shown = written(later(told, children({CANDIDATE: 1}, desired={CANDIDATE: 4}), 0.5))

    assert shown is not None
    assert shown.candidate is not None
    assert shown.candidate.ever_ready


def test_a_process_that_has_not_written_yet_writes_at_once():
    assert written(decide(observation(settled(seen(0, 0)), seen(0, 1)))) is not None


def test_a_clock_that_was_set_back_keeps_nothing_waiting():
    assert written(later(settled(seen(0, 0)), seen(0, 1), -30)) is not None


def test_what_a_pass_still_needs_is_told_and_alone_is_no_reason_to_write():
    serving = children({STABLE: 4, CANDIDATE: 1}, {STABLE: 95, CANDIDATE: 5})
    judged = evidence(Undecided(UndecidedReason.NOT_ENOUGH_EVIDENCE))
    first, later_on = (
        replace(judged, at=at, verdicts=(replace(judged.verdicts[0], needed=needed),))
        for at, needed in ((NOW, 240), (NOW + seconds(15), 150))
    )
    told = written(decide(observation(holding(), serving, evidence=first)))

    assert told is not None
    assert told.analysis[0].needed == 240
    assert written(decide(observation(told, serving, evidence=later_on, now=NOW + seconds(15)))) is None
