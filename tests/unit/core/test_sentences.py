"""What people read: one pod is one, and nothing is claimed that nobody knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serinus.api.reasons import Phase
from serinus.api.status import PodRestarts
from serinus.core.conditions import conditions
from serinus.core.decide import decide
from serinus.core.observation import PodState
from serinus.core.plan import Move
from serinus.core.sentences import counted, ready_of
from tests.unit.core.situations import CANDIDATE, STABLE, children, holding, observation, pod, situation, status

SPLIT = {STABLE: 95, CANDIDATE: 5}
WORDLESS = replace(pod(CANDIDATE, 1, ready=False), trouble=None)


@pytest.mark.parametrize(("count", "told"), [(0, "0 pods"), (1, "1 pod"), (2, "2 pods")])
def test_one_pod_is_one(count: int, told: str):
    assert counted(count, "pod") == told


@pytest.mark.parametrize(
    ("ready", "wanted", "told"),
    [
        (0, 1, "0 of 1 pod of abc is ready"),
        (1, 1, "1 of 1 pod of abc is ready"),
        (0, 3, "0 of 3 pods of abc are ready"),
        (1, 3, "1 of 3 pods of abc is ready"),
        (2, 3, "2 of 3 pods of abc are ready"),
    ],
)
def test_how_many_of_the_wanted_pods_are_ready(ready: int, wanted: int, told: str):
    assert ready_of(ready, wanted, "abc") == told


def test_a_step_that_one_pod_is_enough_for_says_so():
    seen = children({STABLE: 4, CANDIDATE: 1}, {STABLE: 100})
    action = decide(observation(status(Phase.STARTING, candidate=CANDIDATE), seen)).action
    assert isinstance(action, Move)
    assert action.notes[0].message == "Step five (5 %): 1 pod is ready"


def test_one_pod_that_waits_for_a_node_is_told_as_one():
    waiting = pod(CANDIDATE, ready=False, scheduled=False)
    seen = children({STABLE: 4}, {STABLE: 100}, desired={CANDIDATE: 1}, pods=(waiting,))
    found = conditions(situation(status(Phase.STARTING, candidate=CANDIDATE), seen), None)
    assert f"1 pod of {CANDIDATE} waits for a node: " in next(c.message for c in found if c.type == "Reconciling")


def test_a_candidate_that_restarted_and_is_ready_again_is_not_said_to_be_starting():
    told = holding(restarts=(PodRestarts(pod=f"iris-{CANDIDATE}-0", before=0),))
    seen = children({STABLE: 4, CANDIDATE: 1}, SPLIT, pods=(pod(CANDIDATE, restarts=2),))
    action = decide(observation(told, seen)).action
    assert isinstance(action, Move)
    assert action.status.rejected[0].message == (
        "the model's container restarted 2 times after it was ready; all its pods are ready now"
    )


@pytest.mark.parametrize(
    ("pods", "told"),
    [
        ((), "it has no pods yet"),
        ((pod(CANDIDATE),), "1 pod of it is not made yet"),
        ((pod(CANDIDATE), WORDLESS), f"pod {WORDLESS.name} is starting"),
        ((pod(CANDIDATE), pod(CANDIDATE, 1)), "all its pods are ready now"),
        (
            (pod(CANDIDATE), pod(CANDIDATE, 1, ready=False)),
            f"pod {WORDLESS.name}: ImagePullBackOff: no such image",
        ),
    ],
)
def test_why_the_candidates_pods_are_not_ready_is_what_is_known_of_them(pods: tuple[PodState, ...], told: str):
    ready = sum(each.ready for each in pods)
    seen = children({STABLE: 4, CANDIDATE: ready}, SPLIT, desired={CANDIDATE: 2}, pods=pods)
    assert situation(holding(), seen).trouble == told
