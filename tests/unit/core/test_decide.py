"""When to look again, and which decision comes first."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from serinus.api.reasons import Happening, JudgedBy, Phase, Reason
from serinus.api.status import ModelDeploymentStatus, PodRestarts, RejectedRevision
from serinus.core.decide import decide
from serinus.core.observation import Children, Observation, PodState, Refusal
from serinus.core.plan import Move, Plan, Realise
from serinus.core.readings import Missing, MissingReason
from serinus.core.verdicts import Fail, FailReason, Pass, Undecided, UndecidedReason
from tests.unit.core.situations import (
    CANDIDATE,
    NOW,
    OLDER,
    STABLE,
    children,
    deployment,
    evidence,
    holding,
    observation,
    pod,
    seconds,
    status,
)

SPLIT = {STABLE: 95, CANDIDATE: 5}
BOTH = children({STABLE: 4, CANDIDATE: 1}, SPLIT)
FAIL, PASS = Fail(FailReason.ABOVE_LIMIT), Pass()
UNDECIDED = Undecided(UndecidedReason.NOT_ENOUGH_EVIDENCE)
MISSING = Missing(MissingReason.SOURCE_UNAVAILABLE, "no answer")
LONG = {"held_seconds": 60.0}
"""The hold has passed."""
HALF = {STABLE: 50, CANDIDATE: 50}
PAUSE = {"serinus.dev/pause": "true"}


def promoting(**rollout: Any) -> ModelDeploymentStatus:
    """After the last step, on the way to all traffic."""
    return holding("half", **({"phase": Phase.PROMOTING, "counting_since": None, **LONG} | rollout))


def moved(plan: Plan) -> tuple[Phase, Happening] | None:
    """The phase after the move, and how it is told."""
    if not isinstance(plan.action, Move):
        return None
    assert plan.action.status.moves > 7
    return plan.action.status.rollout.phase, plan.action.notes[0].happening


# Which decision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "seen", "more", "expected"),
    [
        pytest.param(holding(), BOTH, {}, None, id="the hold goes on"),
        pytest.param(holding(), BOTH, {"evidence": evidence(PASS)}, None, id="a pass before the hold is over"),
        pytest.param(holding(**LONG), BOTH, {}, None, id="the hold is over without evidence"),
        pytest.param(holding(**LONG), BOTH, {"evidence": evidence(UNDECIDED)}, None, id="undecided"),
        pytest.param(
            holding(**LONG), BOTH, {"evidence": evidence(PASS, moves=6)}, None, id="evidence from before the last move"
        ),
        pytest.param(
            holding(**LONG), BOTH, {"evidence": evidence(PASS, generation=2)}, None, id="evidence by an older spec"
        ),
        pytest.param(
            holding(**LONG),
            BOTH,
            {"evidence": evidence(PASS)},
            (Phase.HOLDING, Happening.STEP_PASSED),
            id="a step passes",
        ),
        pytest.param(
            holding("half", **LONG),
            children({STABLE: 4, CANDIDATE: 2}, HALF),
            {"evidence": evidence(PASS)},
            (Phase.PROMOTING, Happening.STEP_PASSED),
            id="the last step passes",
        ),
        pytest.param(
            holding(), BOTH, {"evidence": evidence(FAIL)}, (Phase.ROLLING_BACK, Happening.ROLLED_BACK), id="a fail"
        ),
        pytest.param(
            holding(phase=Phase.PAUSED, reason=Reason.PAUSED_BY_PERSON),
            BOTH,
            {"evidence": evidence(FAIL), "of": deployment(PAUSE)},
            (Phase.ROLLING_BACK, Happening.ROLLED_BACK),
            id="a fail while paused",
        ),
        pytest.param(
            holding(**LONG),
            BOTH,
            {"evidence": evidence(FAIL), "refusal": Refusal(Reason.NAME_TAKEN, "taken")},
            (Phase.ROLLING_BACK, Happening.ROLLED_BACK),
            id="a fail while a write is refused",
        ),
        pytest.param(
            holding(**LONG),
            BOTH,
            {"evidence": evidence(PASS), "refusal": Refusal(Reason.NAME_TAKEN, "taken")},
            None,
            id="no step passes while a write is refused",
        ),
        pytest.param(
            holding(), BOTH, {"evidence": evidence(MISSING)}, (Phase.HOLDING, Happening.COUNTING_STOPPED), id="missing"
        ),
        pytest.param(
            holding(counting_since=None, missing_since=NOW - seconds(60)),
            BOTH,
            {"evidence": evidence(UNDECIDED)},
            (Phase.HOLDING, Happening.COUNTING_STARTED),
            id="evidence is back",
        ),
        pytest.param(
            holding(counting_since=None, missing_since=NOW - seconds(601)),
            BOTH,
            {"evidence": evidence(MISSING)},
            (Phase.PAUSED, Happening.PAUSED),
            id="missing for too long",
        ),
        pytest.param(
            holding(),
            children({STABLE: 4, CANDIDATE: 1}, SPLIT, accepted=False),
            {},
            (Phase.HOLDING, Happening.COUNTING_STOPPED),
            id="the gateway takes its acceptance back",
        ),
        pytest.param(
            holding(),
            children({STABLE: 4}, SPLIT, desired={CANDIDATE: 1}),
            {},
            (Phase.HOLDING, Happening.COUNTING_STOPPED),
            id="the candidate's last pod is lost",
        ),
        pytest.param(
            holding(weight_losses=3),
            BOTH,
            {},
            (Phase.ROLLING_BACK, Happening.ROLLED_BACK),
            id="lost three times",
        ),
        pytest.param(
            holding(restarts=(PodRestarts(pod=f"iris-{CANDIDATE}-0", before=3),)),
            children({STABLE: 4, CANDIDATE: 1}, SPLIT, pods=(pod(CANDIDATE, restarts=5),)),
            {},
            (Phase.ROLLING_BACK, Happening.ROLLED_BACK),
            id="two restarts",
        ),
        pytest.param(
            holding(), BOTH, {"previous_pass_at": None}, (Phase.HOLDING, Happening.COUNTING_STARTED), id="a new process"
        ),
        pytest.param(
            holding(),
            BOTH,
            {"previous_pass_at": NOW - seconds(26)},
            (Phase.HOLDING, Happening.COUNTING_STARTED),
            id="nobody looked for more than two intervals",
        ),
        pytest.param(
            holding(),
            BOTH,
            {"previous_pass_at": NOW + seconds(60)},
            (Phase.HOLDING, Happening.COUNTING_STARTED),
            id="the clock jumped back",
        ),
        pytest.param(
            promoting(),
            children({STABLE: 4, CANDIDATE: 4}, {CANDIDATE: 100}),
            {},
            (Phase.WATCHING, Happening.PROMOTED),
            id="all traffic is confirmed",
        ),
        pytest.param(
            promoting(),
            children({STABLE: 4, CANDIDATE: 4}, {CANDIDATE: 100}, accepted=False),
            {},
            None,
            id="all traffic is not confirmed yet",
        ),
        pytest.param(
            promoting(),
            children({STABLE: 4, CANDIDATE: 4}, HALF),
            {"of": deployment(PAUSE)},
            (Phase.PAUSED, Happening.PAUSED),
            id="paused before the route is written for the promotion",
        ),
        pytest.param(
            promoting(),
            children({STABLE: 4, CANDIDATE: 4}, HALF),
            {"of": deployment({"serinus.dev/pause": " yes"})},
            (Phase.PAUSED, Happening.PAUSED),
            id="paused with another word than true",
        ),
        pytest.param(
            promoting(),
            children({STABLE: 4, CANDIDATE: 4}, {CANDIDATE: 100}),
            {"of": deployment({"serinus.dev/pause": "False"})},
            (Phase.WATCHING, Happening.PROMOTED),
            id="an annotation that says false asks for nothing",
        ),
        pytest.param(
            promoting(),
            children({STABLE: 4, CANDIDATE: 4}, HALF),
            {"of": deployment(PAUSE), "refusal": Refusal(Reason.NAME_TAKEN, "taken")},
            (Phase.PAUSED, Happening.PAUSED),
            id="paused before the route is written, while a write is refused",
        ),
        pytest.param(
            promoting(),
            children({STABLE: 4, CANDIDATE: 4}, {CANDIDATE: 100}, accepted=False),
            {"of": deployment(PAUSE)},
            None,
            id="paused after the route was written: it goes on",
        ),
        pytest.param(
            promoting(judged_by=JudgedBy.PERSON),
            children({STABLE: 4, CANDIDATE: 4}, HALF),
            {"of": deployment(PAUSE)},
            None,
            id="paused, and promoted by a person: it goes on",
        ),
        pytest.param(
            status(Phase.PROMOTING, candidate=CANDIDATE, judged_by=JudgedBy.READINESS),
            children({STABLE: 4, CANDIDATE: 4}, {STABLE: 100}),
            {"of": deployment(PAUSE, rollout={"blueGreen": {}})},
            (Phase.STARTING, Happening.PAUSED),
            id="paused before a switch on readiness",
        ),
        pytest.param(
            promoting(),
            children({STABLE: 4, CANDIDATE: 4}, HALF),
            {"of": deployment(PAUSE), "evidence": evidence(FAIL)},
            (Phase.ROLLING_BACK, Happening.ROLLED_BACK),
            id="a fail comes before a pause of the promotion",
        ),
        pytest.param(
            holding(phase=Phase.ROLLING_BACK, counting_since=None),
            BOTH,
            {},
            None,
            id="rolling back, with traffic still on it",
        ),
        pytest.param(
            holding(phase=Phase.ROLLING_BACK, counting_since=None),
            children({STABLE: 4, CANDIDATE: 1}, {STABLE: 100}),
            {},
            (Phase.ROLLING_BACK, Happening.TRAFFIC_OFF),
            id="rolling back, its traffic confirmed to be off",
        ),
        pytest.param(
            holding(phase=Phase.ROLLING_BACK, counting_since=None, drained_at=NOW),
            children({STABLE: 4, CANDIDATE: 1}, {STABLE: 100}),
            {},
            (Phase.IDLE, Happening.ROLLBACK_FINISHED),
            id="rolled back and drained",
        ),
        pytest.param(
            status(),
            children({STABLE: 4}, {STABLE: 100}),
            {"of": deployment(suspend=True)},
            None,
            id="suspended, nothing begins",
        ),
        pytest.param(
            status(),
            children({STABLE: 4}, {STABLE: 100}),
            {},
            (Phase.STARTING, Happening.CANDIDATE_STARTED),
            id="begin",
        ),
        pytest.param(
            status(Phase.REJECTED, rejected=(RejectedRevision(revision=CANDIDATE, reason="MetricFailed", at=NOW),)),
            children({STABLE: 4}, {STABLE: 100}),
            {},
            None,
            id="a rejected revision is not tried again",
        ),
    ],
)
def test_the_decision(
    told: ModelDeploymentStatus, seen: Children, more: dict[str, Any], expected: tuple[Phase, Happening] | None
):
    assert moved(decide(observation(told, seen, **more))) == expected


def test_the_time_that_nobody_vouches_for_is_taken_off_the_hold():
    plan = decide(observation(holding(held_seconds=5.0), BOTH, previous_pass_at=NOW - seconds(26)))
    assert isinstance(plan.action, Move)
    rollout = plan.action.status.rollout
    assert (rollout.held_seconds, rollout.counting_since) == (9.0, NOW)


@pytest.mark.parametrize(("total", "expected"), [(200.0, Phase.PROMOTING), (199.0, Phase.PAUSED), (0.0, Phase.PAUSED)])
def test_undecided_is_promoted_only_with_enough_requests(total: float, expected: Phase):
    of = deployment(
        analysis={
            "undecided": {"afterSeconds": 10, "action": "Promote"},
            "metrics": [{"name": "errors", "errors": {}, "limit": {"maxPercent": "1"}}],
        }
    )
    seen = children({STABLE: 4, CANDIDATE: 2}, {STABLE: 50, CANDIDATE: 50})
    told = holding("half", held_seconds=70.0)
    plan = decide(observation(told, seen, of, evidence=evidence(UNDECIDED, total=total)))
    assert isinstance(plan.action, Move)
    assert plan.action.status.rollout.phase is expected


# The progress deadline (120 s), which runs from the last progress -----------------------------------------------------


def coming_up(*ready_for: float | None, started_for: float = 500) -> tuple[PodState, ...]:
    """Pods of the candidate that started so many seconds ago; ready for so many of them, or not (None)."""
    return tuple(
        replace(
            pod(CANDIDATE, number, ready=seconds_ready is not None),
            ready_since=None if seconds_ready is None else NOW - seconds(seconds_ready),
            started_at=NOW - seconds(started_for),
            scheduled_at=NOW - seconds(started_for),
        )
        for number, seconds_ready in enumerate(ready_for)
    )


LATE, IN_TIME = (Phase.ROLLING_BACK, Happening.ROLLED_BACK), None


@pytest.mark.parametrize(
    ("short_for", "pods", "expected"),
    [
        pytest.param(119, coming_up(400, None), IN_TIME, id="a pod is lost, and has time to come back"),
        pytest.param(120, coming_up(400, None), LATE, id="a lost pod does not come back in time"),
        pytest.param(300, coming_up(119, None, started_for=150), IN_TIME, id="another pod became ready since"),
        pytest.param(300, coming_up(120, None, started_for=150), LATE, id="another pod became ready, too long ago"),
        pytest.param(300, coming_up(5, None, started_for=300), LATE, id="a pod that flaps is no progress"),
    ],
)
def test_the_deadline_of_a_promotion(
    short_for: float, pods: tuple[PodState, ...], expected: tuple[Phase, Happening] | None
):
    ready = sum(each.ready for each in pods)
    seen = children({STABLE: 4, CANDIDATE: ready}, HALF, desired={CANDIDATE: 4}, pods=pods)
    told = promoting(short_since=NOW - seconds(short_for), step_started_at=NOW - seconds(1000))
    assert moved(decide(observation(told, seen))) == expected


def test_a_promotion_notes_when_it_loses_its_size_and_when_it_has_it_again():
    seen = children({STABLE: 4, CANDIDATE: 3}, {CANDIDATE: 100}, desired={CANDIDATE: 4}, accepted=False)
    plan = decide(observation(promoting(step_started_at=NOW - seconds(1000)), seen))
    assert moved(plan) == (Phase.PROMOTING, Happening.PODS_LOST)
    assert isinstance(plan.action, Move)
    assert plan.action.status.rollout.short_since == NOW
    seen = children({STABLE: 4, CANDIDATE: 4}, {CANDIDATE: 100}, accepted=False)
    back = decide(observation(plan.action.status, seen, now=NOW + seconds(9))).action
    assert isinstance(back, Move)
    assert back.notes[0].happening is Happening.PODS_BACK
    assert back.status.rollout.short_since is None


# When to look again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "seen", "wake_at"),
    [
        pytest.param(status(stable=CANDIDATE), children({CANDIDATE: 4}, {CANDIDATE: 100}), None, id="idle"),
        pytest.param(
            status(stable=CANDIDATE, previous=OLDER, previous_since=NOW),
            children({CANDIDATE: 4, OLDER: 4}, {CANDIDATE: 100}, pods=()),
            NOW + seconds(90),
            id="a revision is kept warm",
        ),
        pytest.param(
            status(Phase.STARTING, candidate=CANDIDATE, step_started_at=NOW - seconds(500)),
            children(
                {STABLE: 4}, {STABLE: 100}, desired={CANDIDATE: 1}, pods=(pod(CANDIDATE, ready=False, scheduled=False),)
            ),
            None,
            id="no node fits: no deadline runs",
        ),
        pytest.param(
            status(Phase.STARTING, candidate=CANDIDATE, step_started_at=NOW),
            children({STABLE: 4}, {STABLE: 100}, desired={CANDIDATE: 1}, pods=(pod(CANDIDATE, ready=False),)),
            NOW + seconds(120),
            id="the deadline",
        ),
        pytest.param(holding(), BOTH, NOW + seconds(10), id="the next evaluation"),
        pytest.param(holding(held_seconds=25.0), BOTH, NOW + seconds(5), id="the end of the hold"),
        pytest.param(
            holding(counting_since=None),
            children({STABLE: 4, CANDIDATE: 1}, SPLIT, accepted=False),
            NOW + seconds(10),
            id="a refused route",
        ),
        pytest.param(
            status(Phase.WATCHING, stable=CANDIDATE, step_started_at=NOW - seconds(55)),
            children({CANDIDATE: 4}, {CANDIDATE: 100}),
            NOW + seconds(5),
            id="the end of the watch",
        ),
        pytest.param(
            holding(phase=Phase.ROLLING_BACK, counting_since=None, drained_at=NOW + seconds(12)),
            children({STABLE: 4, CANDIDATE: 1}, {STABLE: 100}),
            NOW + seconds(12),
            id="the end of the drain",
        ),
        pytest.param(
            status(Phase.REJECTED, rejected=(RejectedRevision(revision=CANDIDATE, reason="MetricFailed", at=NOW),)),
            children({STABLE: 4}, {STABLE: 100}),
            None,
            id="rejected",
        ),
    ],
)
def test_when_to_look_again(told: ModelDeploymentStatus, seen: Children, wake_at: datetime | None):
    plan = decide(observation(told, seen))
    assert isinstance(plan.action, Realise)
    assert plan.wake_at == wake_at


def test_a_move_is_followed_by_another_look_at_once():
    plan = decide(observation(holding(), BOTH, evidence=evidence(FAIL)))
    assert plan.wake_at == NOW


@pytest.mark.parametrize(
    ("before", "as_event"),
    [
        ({}, False),
        ({"short_since": NOW - seconds(40)}, False),
        ({"held_seconds": 12.0}, True),
        ({"missing_since": NOW - seconds(30)}, True),
        ({"short_since": NOW - seconds(20)}, True),
    ],
    ids=["a step begins", "a larger share had to wait for its pods", "it stood still", "no evidence", "pods were lost"],
)
def test_a_hold_that_begins_to_count_is_an_event_where_something_kept_it_from_that(
    before: dict[str, Any], as_event: bool
):
    told = holding(**{"counting_since": None, "evidence_started_at": None, "pass_evidence_since": None} | before)
    action = decide(observation(told, BOTH, evidence=evidence(UNDECIDED))).action
    assert isinstance(action, Move)
    assert [(note.happening, note.as_event) for note in action.notes] == [(Happening.COUNTING_STARTED, as_event)]


# What a pass never does -----------------------------------------------------------------------------------------------


def late_and_again(first: Observation) -> list[Plan]:
    return [decide(first), decide(first)]


def test_the_same_observation_gives_the_same_plan():
    seen = observation(holding(**LONG), BOTH, evidence=evidence(PASS))
    first, again = late_and_again(seen)
    assert first == again


def test_what_was_told_is_not_told_again():
    plan = decide(observation(holding(), BOTH))
    assert isinstance(plan.action, Realise)
    assert plan.action.status is not None
    again = decide(observation(plan.action.status, BOTH))
    assert isinstance(again.action, Realise)
    assert again.action.status is None


def test_a_hold_that_goes_on_is_no_reason_to_write():
    plan = decide(observation(holding(), BOTH))
    assert isinstance(plan.action, Realise)
    assert plan.action.status is not None
    later = observation(plan.action.status, BOTH, now=NOW + seconds(7), previous_pass_at=NOW)
    action = decide(later).action
    assert isinstance(action, Realise)
    assert action.status is None
