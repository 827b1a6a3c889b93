"""The operator is killed after every write of every strategy, and loses every answer: the end is the same."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.world.api_server import Faults
from tests.world.invariants import check
from tests.world.test_crashes import end_of
from tests.world.traffic import Behaviour
from tests.world.world import World, spec_of

HOLD_SECONDS = 10
TIMES = {"watchSeconds": 40, "scaleDownDelaySeconds": 40, "progressDeadlineSeconds": 90}
PLAIN: dict[str, Any] = {"traffic": {}}
TESTERS = {"headers": [{"name": "x-cohort", "value": "beta"}]}
BESIDE = "copies, testers and a share"
STORIES: dict[str, dict[str, Any]] = {
    "blue-green": {"rollout": {**TIMES, "blueGreen": {"holdSeconds": HOLD_SECONDS}}},
    "blue-green behind a plain Service": {"rollout": {**TIMES, "blueGreen": {"holdSeconds": HOLD_SECONDS}}, **PLAIN},
    "canary behind a plain Service": {
        "rollout": {
            **TIMES,
            "canary": {
                "steps": [
                    {"name": "some", "weightPercent": 20, "holdSeconds": HOLD_SECONDS},
                    {"name": "half", "weightPercent": 50, "holdSeconds": HOLD_SECONDS},
                ]
            },
        },
        **PLAIN,
    },
    BESIDE: {
        "rollout": {
            **TIMES,
            "canary": {
                "steps": [
                    {"name": "shadow", "shadowPercent": 50, "holdSeconds": HOLD_SECONDS},
                    {"name": "testers", "match": TESTERS, "holdSeconds": HOLD_SECONDS},
                    {"name": "half", "weightPercent": 50, "holdSeconds": HOLD_SECONDS},
                ]
            },
        },
    },
    "recreate": {"rollout": {**TIMES, "recreate": {}}},
    "recreate behind a plain Service": {"rollout": {**TIMES, "recreate": {}}, **PLAIN},
}


RETURNS = "a return to a revision that is warm"
STORIES[RETURNS] = {"rollout": {**STORIES["canary behind a plain Service"]["rollout"], "scaleDownDelaySeconds": 400}}


def images(story: str) -> tuple[str, ...]:
    """A first revision, a good one that takes over, and a bad one that is taken back; or the first one again."""
    return ("model:1", "model:2", "model:1" if story == RETURNS else "model:3")


def played(story: str, faults: Faults) -> World:
    world = World(requests_per_second=400, tester_share=0.3, behaviours={"model:3": Behaviour(error_share=0.3)})
    world.api.faults = faults
    for number, image in enumerate(images(story)):
        world.deploy(spec_of(image, **STORIES[story]))
        world.run((200 if story == BESIDE else 130) if number else 40)
    return world


@cache
def fault_free(story: str) -> World:
    return played(story, Faults())


def every_write() -> list[tuple[str, int]]:
    return [(story, number) for story in STORIES for number in range(1, len(fault_free(story).api.writes) + 1)]


def checked(story: str, world: World) -> None:
    check(world, hold_seconds=HOLD_SECONDS, pods_crash="recreate" in story)


@pytest.mark.parametrize("story", STORIES)
def test_the_story_ends_as_told(story: str) -> None:
    world = fault_free(story)
    end = end_of(world)
    serves = world.revision_of("model:1" if story == RETURNS else "model:2")
    assert end["weights"] == {serves: 100}
    assert end["replicas"][serves] == 3
    assert end["phase"] == ("Idle" if story == RETURNS else "Rejected")
    checked(story, world)


@pytest.mark.parametrize("story", STORIES)
def test_killed_after_every_third_write_the_end_is_the_same(story: str) -> None:
    world = played(story, Faults(kill_after=frozenset(range(1, 400, 3)))).run(200)
    assert world.kills >= 10
    assert {**end_of(world), "events": []} == {**end_of(fault_free(story)), "events": []}
    checked(story, world)


@pytest.mark.exhaustive
@pytest.mark.full
@pytest.mark.parametrize(("story", "number"), every_write())
def test_killed_after_a_write_the_end_is_the_same(story: str, number: int) -> None:
    world = played(story, Faults(kill_after=frozenset({number})))
    assert end_of(world.run(30)) == end_of(fault_free(story))
    checked(story, world)


@pytest.mark.exhaustive
@pytest.mark.full
@pytest.mark.parametrize(("story", "number"), every_write())
def test_with_the_answer_to_a_write_lost_the_end_is_the_same(story: str, number: int) -> None:
    world = played(story, Faults(lose_response_of=frozenset({number})))
    assert end_of(world.run(30)) == end_of(fault_free(story))
    checked(story, world)
