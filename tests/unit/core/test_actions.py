"""What people ask for by annotation: in which phase it does what, once."""

from __future__ import annotations

import pytest

from serinus.api.reasons import Happening, JudgedBy, Phase, Reason
from serinus.api.status import HandledAction, ModelDeploymentStatus, RejectedRevision
from serinus.core.decide import decide
from serinus.core.observation import Refusal
from serinus.core.plan import Move
from serinus.core.rollout import next_move
from serinus.core.rollout.actions import action_move
from serinus.core.verdicts import Fail, FailReason
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
    seconds,
    situation,
    status,
)

SEEN = children({STABLE: 4, CANDIDATE: 1, OLDER: 4}, {STABLE: 95, CANDIDATE: 5})
STARTING = status(Phase.STARTING, candidate=CANDIDATE)
FIRST = status(Phase.STARTING, stable=None, candidate=CANDIDATE)
WATCHING = status(Phase.WATCHING, previous=OLDER)
REJECTED = status(Phase.REJECTED, rejected=(RejectedRevision(revision=CANDIDATE, reason=Reason.METRIC_FAILED, at=NOW),))
IGNORED = Happening.ACTION_IGNORED


def asked(told: ModelDeploymentStatus, action: str, value: str) -> Move | None:
    return action_move(situation(told, SEEN, deployment({f"serinus.dev/{action}": value})))


@pytest.mark.parametrize(
    ("told", "action", "revision", "phase", "happening"),
    [
        (STARTING, "abort", CANDIDATE, Phase.ROLLING_BACK, Happening.ROLLED_BACK),
        (holding(), "abort", CANDIDATE, Phase.ROLLING_BACK, Happening.ROLLED_BACK),
        (holding(phase=Phase.PAUSED), "abort", CANDIDATE, Phase.ROLLING_BACK, Happening.ROLLED_BACK),
        (holding(phase=Phase.PROMOTING), "abort", CANDIDATE, Phase.ROLLING_BACK, Happening.ROLLED_BACK),
        (WATCHING, "abort", STABLE, Phase.ROLLING_BACK, Happening.RETURNED),
        (holding(), "abort", STABLE, Phase.HOLDING, IGNORED),
        (FIRST, "abort", CANDIDATE, Phase.STARTING, IGNORED),
        (holding(phase=Phase.ROLLING_BACK), "abort", CANDIDATE, Phase.ROLLING_BACK, IGNORED),
        (STARTING, "promote", CANDIDATE, Phase.PROMOTING, Happening.STEP_PASSED),
        (holding(), "promote", CANDIDATE, Phase.PROMOTING, Happening.STEP_PASSED),
        (holding(phase=Phase.PAUSED), "promote", CANDIDATE, Phase.PROMOTING, Happening.STEP_PASSED),
        (holding(phase=Phase.PROMOTING), "promote", CANDIDATE, Phase.PROMOTING, IGNORED),
        (holding(), "promote", OLDER, Phase.HOLDING, IGNORED),
        (REJECTED, "promote", CANDIDATE, Phase.REJECTED, IGNORED),
        (REJECTED, "retry", CANDIDATE, Phase.IDLE, Happening.RETRIED),
        (REJECTED, "retry", OLDER, Phase.REJECTED, IGNORED),
        (holding(phase=Phase.ROLLING_BACK), "retry", CANDIDATE, Phase.ROLLING_BACK, IGNORED),
    ],
)
def test_what_an_action_does(
    told: ModelDeploymentStatus, action: str, revision: str, phase: Phase, happening: Happening
):
    move = asked(told, action, f"{revision}#1")
    assert move is not None
    assert move.status.rollout.phase is phase
    assert move.notes[0].happening is happening
    (handled,) = move.status.actions
    assert (handled.action, handled.value) == (action, f"{revision}#1")
    assert handled.carried_out is (happening is not IGNORED)
    assert handled.message == move.notes[0].message


AWAITING_SPEC = {
    "rollout": {
        "canary": {
            "steps": [
                {"name": "five", "weightPercent": 5, "holdSeconds": 60},
                {"name": "sign-off", "approval": {}},
                {"name": "half", "weightPercent": 50, "holdSeconds": 60},
            ]
        }
    }
}
AWAITING = status(
    Phase.AWAITING_APPROVAL,
    candidate=CANDIDATE,
    step="sign-off",
    step_index=1,
    step_count=3,
    weight_percent=5,
    evidence_started_at=NOW - seconds(100),
    judged_by=JudgedBy.METRICS,
)


@pytest.mark.parametrize(
    ("action", "value", "step", "happening"),
    [
        ("approve", f"{CANDIDATE}/sign-off", "half", Happening.APPROVED),
        ("approve", f"{CANDIDATE}/sign-off#7", "half", Happening.APPROVED),
        ("approve", f"{CANDIDATE}/five", "sign-off", IGNORED),
        ("approve", f"{STABLE}/sign-off", "sign-off", IGNORED),
        ("approve", CANDIDATE, "sign-off", IGNORED),
        ("approve", "sign-off", "sign-off", IGNORED),
        ("approve", f"{CANDIDATE}/sign-off/half", "sign-off", IGNORED),
        ("skip-step", f"{CANDIDATE}/sign-off", "sign-off", IGNORED),
        ("skip-step", f"{CANDIDATE}/half", "sign-off", IGNORED),
    ],
)
def test_only_the_approval_of_the_step_that_waits_goes_on(action: str, value: str, step: str, happening: Happening):
    move = action_move(situation(AWAITING, SEEN, deployment({f"serinus.dev/{action}": value}, **AWAITING_SPEC)))
    assert move is not None
    assert move.status.rollout.step == step
    assert move.notes[0].happening is happening
    assert move.status.actions[0].carried_out is (happening is not IGNORED)
    if happening is Happening.APPROVED:
        assert move.status.rollout.judged_by is JudgedBy.METRICS
        assert (move.status.rollout.phase, move.status.rollout.weight_percent) == (Phase.HOLDING, 50)
        assert (move.status.history[0].by, move.status.history[0].event) == ("person", Happening.APPROVED)


def test_an_approval_waits_while_a_metric_fails_as_the_rollback_comes_first():
    of = deployment({"serinus.dev/approve": f"{CANDIDATE}/sign-off"}, **AWAITING_SPEC)
    failing = situation(AWAITING, SEEN, of, evidence=evidence(Fail(FailReason.ABOVE_LIMIT)))
    assert action_move(failing) is None
    rolled_back = next_move(failing)
    assert rolled_back is not None
    assert rolled_back.status.rollout.phase is Phase.ROLLING_BACK


@pytest.mark.parametrize("action", ["abort", "promote", "retry"])
def test_an_action_takes_effect_once_and_again_with_another_token(action: str):
    value = f"{CANDIDATE}#1"
    handled = holding().model_copy(update={"actions": (HandledAction(action=action, value=value),)})
    assert asked(handled, action, value) is None
    assert asked(handled, action, f"{CANDIDATE}#2") is not None


def test_a_value_longer_than_is_remembered_takes_effect_once():
    value = CANDIDATE + "#" + "x" * 500
    first = asked(holding(), "promote", value)
    assert first is not None
    assert asked(holding().model_copy(update={"actions": first.status.actions}), "promote", value) is None


def test_of_abort_and_promote_together_abort_is_carried_out():
    of = deployment({"serinus.dev/promote": CANDIDATE, "serinus.dev/abort": CANDIDATE})
    move = action_move(situation(holding(), SEEN, of))
    assert move is not None
    assert move.status.rollout.phase is Phase.ROLLING_BACK


def test_a_promotion_by_a_person_says_so():
    move = asked(holding(), "promote", CANDIDATE)
    assert move is not None
    assert move.status.rollout.judged_by is JudgedBy.PERSON


@pytest.mark.parametrize(("action", "happens"), [("abort", True), ("promote", False), ("retry", False)])
def test_while_the_spec_can_not_be_carried_out_only_abort_is(action: str, *, happens: bool):
    of = deployment({f"serinus.dev/{action}": CANDIDATE})
    plan = decide(observation(holding(), SEEN, of, refusal=Refusal(Reason.NAME_TAKEN, "taken")))
    assert isinstance(plan.action, Move) is happens
