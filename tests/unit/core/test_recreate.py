"""Recreate in tables: whose pods are wanted in which phase, and who is in whose way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serinus.api.reasons import Happening, Phase
from serinus.api.status import ModelDeploymentStatus
from serinus.core.decide import decide
from serinus.core.plan import Move
from serinus.core.realise import target_replicas
from tests.unit.core.situations import (
    CANDIDATE,
    NOW,
    OLDER,
    STABLE,
    children,
    deployment,
    observation,
    pod,
    seconds,
    situation,
    status,
)

SPEC = deployment(rollout={"recreate": {}, "progressDeadlineSeconds": 120, "watchSeconds": 60})


def recreating(phase: Phase, **roles: str | None) -> ModelDeploymentStatus:
    return status(phase, recreates=True, step_started_at=NOW - seconds(10), **roles)  # type: ignore[arg-type]


PROMOTING = recreating(Phase.PROMOTING, candidate=CANDIDATE)
ROLLING_BACK = recreating(Phase.ROLLING_BACK, candidate=CANDIDATE)
WATCHING = recreating(Phase.WATCHING, previous=OLDER)


@pytest.mark.parametrize(
    ("told", "desired", "wanted"),
    [
        pytest.param(PROMOTING, {STABLE: 4}, {STABLE: 0, CANDIDATE: 0}, id="the old pods go first"),
        pytest.param(PROMOTING, {STABLE: 0}, {STABLE: 0, CANDIDATE: 4}, id="then the new ones come"),
        pytest.param(ROLLING_BACK, {CANDIDATE: 4}, {STABLE: 0, CANDIDATE: 0}, id="back: the new pods go first"),
        pytest.param(ROLLING_BACK, {STABLE: 0}, {STABLE: 4, CANDIDATE: 0}, id="then the old ones come"),
        pytest.param(WATCHING, {STABLE: 4}, {STABLE: 4, OLDER: 0}, id="none is kept warm in the watch"),
    ],
)
def test_the_pods_of_two_revisions_are_never_wanted_at_once(
    told: ModelDeploymentStatus, desired: dict[str, int], wanted: dict[str, int]
):
    sizes = dict.fromkeys(wanted, 0) | desired
    seen = children(desired, {STABLE: 100}, desired=sizes)
    assert target_replicas(situation(told, seen, SPEC)) == wanted


def test_a_pod_that_is_ending_still_takes_the_room():
    ending = replace(pod(STABLE), deleting=True, ready=False)
    seen = children({}, {STABLE: 100}, desired={STABLE: 0, CANDIDATE: 0}, pods=(ending,))
    assert target_replicas(situation(PROMOTING, seen, SPEC)) == {STABLE: 0, CANDIDATE: 0}


def test_a_pod_that_was_evicted_is_there_and_takes_no_room():
    evicted = replace(pod(STABLE), ready=False, ended=True)
    seen = children({}, {STABLE: 100}, desired={STABLE: 0, CANDIDATE: 0}, pods=(evicted,))
    assert target_replicas(situation(PROMOTING, seen, SPEC)) == {STABLE: 0, CANDIDATE: 4}


def test_it_is_decided_only_when_the_candidates_replica_set_is_made():
    starting = status(Phase.STARTING, candidate=CANDIDATE)
    before = decide(observation(starting, children({STABLE: 4}, {STABLE: 100}), SPEC)).action
    assert not isinstance(before, Move)
    made = children({STABLE: 4}, {STABLE: 100}, desired={CANDIDATE: 0})
    after = decide(observation(starting, made, SPEC)).action
    assert isinstance(after, Move)
    assert after.status.rollout.recreates
    assert [note.happening for note in after.notes] == [Happening.MAKING_ROOM]


def test_while_it_starts_the_candidate_is_given_no_pods():
    seen = children({STABLE: 4}, {STABLE: 100}, desired={CANDIDATE: 0})
    assert target_replicas(situation(status(Phase.STARTING, candidate=CANDIDATE), seen, SPEC))[CANDIDATE] == 0


def test_the_deadline_runs_for_a_candidate_that_no_node_takes_as_nobody_is_served():
    waiting = pod(CANDIDATE, ready=False, scheduled=False)
    seen = children({}, {STABLE: 100}, desired={STABLE: 0, CANDIDATE: 4}, pods=(waiting,))
    told = recreating(Phase.PROMOTING, candidate=CANDIDATE, short_since=NOW - seconds(121))  # type: ignore[arg-type]
    assert situation(told, seen, SPEC).deadline_passed
    beside = told.model_copy(update={"rollout": told.rollout.model_copy(update={"recreates": False})})
    assert situation(beside, seen, SPEC).deadline_at is None
