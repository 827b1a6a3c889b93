"""The operator is killed after every single write, and loses the answer to every single write: the end is the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.world.api_server import Faults
from tests.world.invariants import check
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of

HOLD_SECONDS = 20
BEHAVIOURS = {"model:3": Behaviour(error_share=0.3)}


def played(faults: Faults) -> World:
    """The whole story: a first revision, a good one that is promoted, a bad one that is rolled back."""
    world = World(requests_per_second=400, behaviours=dict(BEHAVIOURS))
    world.api.faults = faults
    for image in ("model:1", "model:2", "model:3"):
        spec = spec_of(image)
        spec["rollout"] |= {"watchSeconds": 10, "scaleDownDelaySeconds": 10}
        for step in spec["rollout"]["canary"]["steps"]:
            step["holdSeconds"] = HOLD_SECONDS
        world.deploy(spec)
        world.run(10 if image == "model:1" else 170)
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


FAULT_FREE = played(Faults())
WRITES = len(FAULT_FREE.api.writes)


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
    check(world, hold_seconds=HOLD_SECONDS)


def test_killed_after_every_third_write_the_end_is_the_same() -> None:
    world = played(Faults(kill_after=frozenset(range(1, 400, 3))))
    assert world.kills > 20
    ended = end_of(world.run(300))
    assert {**ended, "events": []} == {**end_of(FAULT_FREE), "events": []}
    check(world, hold_seconds=HOLD_SECONDS)


def test_a_resource_that_is_gone_in_the_middle_leaves_no_trace_in_memory() -> None:
    world = played(Faults())
    world.api.remove("ModelDeployment", NAMESPACE, NAME)
    world.run(5)
    assert world.operator._memories == {}
