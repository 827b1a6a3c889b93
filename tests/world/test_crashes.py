"""The operator is killed after every single write, and loses the answer to every single write: the end is the same."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.kube.cluster import Unavailable
from tests.world.api_server import ApiServer, Faults, Mishap
from tests.world.invariants import check, no_request_is_lost
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of

HOLD_SECONDS = 20
BEHAVIOURS = {"model:3": Behaviour(error_share=0.3)}


def played(faults: Faults) -> World:
    """The whole story: a first revision, a good one that is promoted, a bad one that is rolled back."""
    world = World(requests_per_second=400, behaviours=dict(BEHAVIOURS))
    world.api.faults = faults
    return story(world)


def story(world: World) -> World:
    """Have it happen in a world."""
    for image in ("model:1", "model:2", "model:3"):
        spec = spec_of(image)
        spec["rollout"] |= {"watchSeconds": 10, "scaleDownDelaySeconds": 10}
        for step in spec["rollout"]["canary"]["steps"]:
            step["holdSeconds"] = HOLD_SECONDS
        world.deploy(spec)
        world.run(60 if image == "model:1" else 170)
    return world


def end_of(world: World) -> dict[str, Any]:
    """What the world ends in, without times, counts and versions."""
    status = world.status
    return {
        "weights": world.weights(),
        "replicas": world.replicas(),
        "stable": status.stable.revision if status.stable else None,
        "candidate": status.candidate.revision if status.candidate else None,
        "phase": status.rollout.phase,
        "rejected": [(each.revision, each.reason) for each in status.rejected],
        "conditions": [(each.type, each.status, each.reason) for each in status.conditions],
        "services": {s["metadata"]["name"]: s["spec"]["selector"] for s in world.api.of("Service")},
        "events": [(each.event, each.revision) for each in reversed(status.history)],
    }


def told(world: World) -> list[str]:
    """What became an Event, in order."""
    return [str(note.happening) for note in world.notes]


FAULT_FREE = played(Faults())
WRITES = len(FAULT_FREE.api.writes)
CALLS = FAULT_FREE.api.calls
MISHAPS = [each for each in Mishap if each not in {Mishap.FREEZE, Mishap.LOST}]


def test_the_story_ends_as_told() -> None:
    end = end_of(FAULT_FREE)
    assert end["weights"] == {FAULT_FREE.revision_of("model:2"): 100}
    assert end["phase"] == "Rejected"
    check(FAULT_FREE, hold_seconds=HOLD_SECONDS)


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(1, WRITES + 1))
def test_killed_after_a_write_the_end_is_the_same(number: int) -> None:
    world = played(Faults(kill_after=frozenset({number})))
    assert world.kills == 1
    assert end_of(world) == end_of(FAULT_FREE)
    check(world, hold_seconds=HOLD_SECONDS)


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(1, WRITES + 1))
def test_with_the_answer_to_a_write_lost_the_end_is_the_same(number: int) -> None:
    world = played(Faults(lose_response_of=frozenset({number})))
    assert end_of(world) == end_of(FAULT_FREE)
    assert told(world) == told(FAULT_FREE)
    check(world, hold_seconds=HOLD_SECONDS)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seconds", [3, 40])
@pytest.mark.parametrize("number", range(1, CALLS + 1))
def test_frozen_before_a_write_and_thawed_late_the_end_is_the_same(number: int, seconds: int) -> None:
    """The write is sent when another leader has long gone on: it is refused, or corrected within one pass."""
    world = played(Faults(mishaps={number: Mishap.FREEZE}, hold_seconds=seconds))
    assert world.passes_under_way == 0
    assert end_of(world) == end_of(FAULT_FREE)
    check(world, hold_seconds=HOLD_SECONDS)
    no_request_is_lost(world.moments)


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(1, CALLS + 1))
def test_whatever_happens_to_one_call_the_end_is_the_same(number: int) -> None:
    mishap = MISHAPS[number % len(MISHAPS)]
    world = played(Faults(mishaps={number: mishap}, hold_seconds=7))
    end, fault_free = end_of(world.run(60)), end_of(FAULT_FREE)
    assert end == fault_free
    check(world, hold_seconds=HOLD_SECONDS)
    no_request_is_lost(world.moments)


@pytest.mark.parametrize("mishap", [each for each in MISHAPS if each is not Mishap.FORBIDDEN])
def test_whatever_happens_to_every_third_call_the_end_is_the_same(mishap: Mishap) -> None:
    world = played(Faults(mishaps=dict.fromkeys(range(2, 400, 3), mishap), hold_seconds=3))
    ended = end_of(world.run(400))
    assert {**ended, "events": []} == {**end_of(FAULT_FREE), "events": []}
    check(world, hold_seconds=HOLD_SECONDS)
    no_request_is_lost(world.moments)


def test_with_the_answers_to_all_writes_of_status_lost_every_event_is_told_once() -> None:
    class Mute(ApiServer):
        async def write_status(self, *what: Any) -> dict[str, Any]:
            await super().write_status(*what)
            raise Unavailable("the connection broke after the request was sent")

    world = World(requests_per_second=400, behaviours=dict(BEHAVIOURS), api=Mute())
    assert told(story(world)) == told(FAULT_FREE)


def test_killed_after_every_third_write_the_end_is_the_same() -> None:
    world = played(Faults(kill_after=frozenset(range(1, 400, 3))))
    assert world.kills >= 15
    ended = end_of(world.run(300))
    assert {**ended, "events": []} == {**end_of(FAULT_FREE), "events": []}
    check(world, hold_seconds=HOLD_SECONDS)


def test_a_resource_that_is_gone_in_the_middle_leaves_no_trace_in_memory() -> None:
    world = played(Faults())
    world.api.remove("ModelDeployment", NAMESPACE, NAME)
    world.run(5)
    assert world.operator._memories == {}
