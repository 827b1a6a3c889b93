"""Who gets which share, by ready pods: tables."""

from dataclasses import replace

import pytest

from serinus.api.reasons import Phase
from serinus.core.traffic import (
    candidate_weight,
    desired_split,
    planned_steps,
    pods_for_share,
    pods_for_weight,
    split_is_confirmed,
    weights_in_force,
)
from tests.unit.core.situations import CANDIDATE, OLDER, STABLE, children, deployment, holding, status

SPEC = deployment().spec
STEPS = planned_steps(SPEC)


@pytest.mark.parametrize(
    ("replicas", "weight_percent", "pods"),
    [
        *[(4, 0, 0), (4, 5, 1), (4, 25, 1), (4, 26, 2), (4, 50, 2), (4, 100, 4)],
        *[(1, 5, 1), (1, 100, 1), (100, 1, 1), (3, 34, 2), (0, 5, 0), (0, 100, 0), (4, 1000, 4)],
    ],
)
def test_pods_carry_their_share_and_at_least_one_carries_any(replicas: int, weight_percent: int, pods: int):
    assert pods_for_share(replicas, weight_percent) == pods


@pytest.mark.parametrize(
    ("step", "ready", "weight"),
    [("five", 0, 0), ("five", 1, 5), ("five", 4, 5), ("half", 0, 0), ("half", 1, 5), ("half", 2, 50), ("half", 4, 50)],
)
def test_a_candidate_gets_the_largest_earlier_weight_that_its_pods_can_carry(step: str, ready: int, weight: int):
    assert candidate_weight(SPEC, holding(step), 4, ready) == weight


@pytest.mark.parametrize(("ready", "weight"), [(0, 0), (1, 5), (2, 50), (3, 50), (4, 100)])
def test_on_the_way_to_all_traffic_it_gets_all_only_at_full_size(ready: int, weight: int):
    assert candidate_weight(SPEC, holding("half", phase=Phase.PROMOTING), 4, ready) == weight


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.ROLLING_BACK, Phase.IDLE, Phase.REJECTED])
def test_outside_of_its_steps_a_candidate_gets_nothing(phase: Phase):
    assert candidate_weight(SPEC, holding("half", phase=phase), 4, 4) == 0


def test_a_withdrawn_candidate_gets_nothing():
    assert candidate_weight(SPEC, holding("half", withdrawn=True), 4, 4) == 0


@pytest.mark.parametrize(
    ("told", "ready", "in_force", "split"),
    [
        pytest.param(status(stable=None), {}, {}, {}, id="nothing yet"),
        pytest.param(
            status(Phase.STARTING, stable=None, candidate=CANDIDATE), {}, {}, {CANDIDATE: 100}, id="the first revision"
        ),
        pytest.param(status(), {STABLE: 4}, {}, {STABLE: 100}, id="stable alone"),
        pytest.param(status(), {STABLE: 0}, {}, {STABLE: 100}, id="the only backend is never removed"),
        pytest.param(holding(), {STABLE: 4, CANDIDATE: 1}, {}, {STABLE: 95, CANDIDATE: 5}, id="a canary"),
        pytest.param(holding(), {STABLE: 4}, {CANDIDATE: 5}, {STABLE: 100}, id="the candidate lost its last pod"),
        pytest.param(holding(), {CANDIDATE: 1}, {STABLE: 95}, {CANDIDATE: 100}, id="a loan to the candidate"),
        pytest.param(
            status(Phase.STARTING, candidate=CANDIDATE),
            {CANDIDATE: 1},
            {STABLE: 100},
            {CANDIDATE: 100},
            id="a loan to a candidate that has no step yet",
        ),
        pytest.param(
            holding(phase=Phase.ROLLING_BACK),
            {CANDIDATE: 1},
            {STABLE: 95, CANDIDATE: 5},
            {CANDIDATE: 100},
            id="a failing candidate is better than nothing while it still has traffic",
        ),
        pytest.param(
            holding(phase=Phase.ROLLING_BACK),
            {CANDIDATE: 1},
            {STABLE: 100},
            {STABLE: 100},
            id="and never gets it back",
        ),
        pytest.param(
            status(Phase.WATCHING, previous=OLDER), {OLDER: 4}, {STABLE: 100}, {OLDER: 100}, id="a loan to the previous"
        ),
        pytest.param(holding(), {}, {STABLE: 95}, {STABLE: 100}, id="nobody is ready"),
    ],
)
def test_the_split(told, ready: dict[str, int], in_force: dict[str, int], split: dict[str, int]):
    assert desired_split(SPEC, told, children(ready, in_force)) == split


def test_a_resource_that_is_scaled_to_zero_lends_nothing():
    spec = deployment(scaling={"replicas": 0}).spec
    told = status(Phase.WATCHING, previous=OLDER)
    assert desired_split(spec, told, children({OLDER: 4}, {STABLE: 100})) == {STABLE: 100}


def test_a_split_is_in_force_when_the_route_has_it_and_the_gateway_says_so():
    split = {STABLE: 95, CANDIDATE: 5}
    assert split_is_confirmed(SPEC, children({}, split), split)
    assert not split_is_confirmed(SPEC, children({}, split, accepted=False), split)
    assert not split_is_confirmed(SPEC, children({}, {STABLE: 100}), split)
    assert not split_is_confirmed(SPEC, children({}), split)


PLAIN = deployment(traffic=None).spec


@pytest.mark.parametrize(
    ("replicas", "weight_percent", "pods"),
    [
        *[(10, 5, 1), (10, 10, 1), (10, 20, 2), (10, 25, 3), (10, 50, 10), (10, 80, 10), (10, 100, 10)],
        *[(1, 5, 1), (1, 50, 1), (3, 5, 1), (3, 50, 3), (100, 1, 1), (100, 34, 51), (0, 50, 0), (4, 0, 0)],
    ],
)
def test_without_a_gateway_pods_make_up_their_share_beside_all_of_stable(replicas: int, weight_percent: int, pods: int):
    assert pods_for_weight(PLAIN, replicas, weight_percent) == pods
    assert pods == 1 or weight_percent > 50 or 100 * pods <= weight_percent * (replicas + pods)


@pytest.mark.parametrize(
    ("told", "ready", "split"),
    [
        pytest.param(holding(), {STABLE: 4, CANDIDATE: 1}, {CANDIDATE: 20, STABLE: 80}, id="one pod of five"),
        pytest.param(holding("half"), {STABLE: 3, CANDIDATE: 3}, {CANDIDATE: 50, STABLE: 50}, id="half"),
        pytest.param(holding("half"), {STABLE: 4, CANDIDATE: 2}, {CANDIDATE: 33, STABLE: 67}, id="on the way to half"),
        pytest.param(holding(), {STABLE: 4}, {STABLE: 100}, id="the candidate lost its last pod"),
        pytest.param(holding(), {CANDIDATE: 1}, {CANDIDATE: 100}, id="a loan"),
        pytest.param(holding(withdrawn=True), {STABLE: 4, CANDIDATE: 1}, {STABLE: 100}, id="withdrawn"),
        pytest.param(holding(), {STABLE: 4, CANDIDATE: 1, OLDER: 1}, {STABLE: 100}, id="a third one has pods"),
        pytest.param(
            holding("half", phase=Phase.PROMOTING), {STABLE: 4, CANDIDATE: 4}, {CANDIDATE: 100}, id="all at once"
        ),
        pytest.param(holding("half", phase=Phase.ROLLING_BACK), {STABLE: 4, CANDIDATE: 4}, {STABLE: 100}, id="back"),
    ],
)
def test_the_split_by_pods(told, ready: dict[str, int], split: dict[str, int]):
    assert desired_split(PLAIN, told, children(ready, selected=STABLE)) == split


def test_a_service_that_leads_to_all_pods_gives_each_revision_the_part_of_its_ready_ones():
    shared = replace(children({STABLE: 4, CANDIDATE: 2, OLDER: 0}), stable_selector={"serinus.dev/deployment": "iris"})
    assert weights_in_force(shared) == {STABLE: 67, CANDIDATE: 33}
    assert split_is_confirmed(PLAIN, shared, {STABLE: 67, CANDIDATE: 33})
    assert not split_is_confirmed(PLAIN, shared, {STABLE: 100})
    narrow = children({STABLE: 4, CANDIDATE: 2}, selected=STABLE)
    assert not split_is_confirmed(PLAIN, narrow, {STABLE: 67, CANDIDATE: 33})


def test_behind_a_plain_service_the_selector_is_the_split():
    spec = deployment(traffic={}, rollout=None).spec
    assert split_is_confirmed(spec, children({}, selected=STABLE), {STABLE: 100})
    assert not split_is_confirmed(spec, children({}, selected=CANDIDATE), {STABLE: 100})
    assert not split_is_confirmed(spec, children({}), {STABLE: 100})
    assert weights_in_force(children({}, selected=STABLE)) == {STABLE: 100}
