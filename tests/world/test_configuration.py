"""Content of ConfigMaps and Secrets that is part of the revision: what changed is rolled out, what is missing told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.world.api_server import Faults
from tests.world.invariants import check, no_request_is_lost
from tests.world.test_crashes import end_of
from tests.world.world import NAMESPACE, World, spec_of

HOLD_SECONDS = 20


def configured(image: str = "model:1", **serving: Any) -> dict[str, Any]:
    spec = spec_of(image)
    spec["serving"] |= {"configChecksum": "Auto", "envFrom": [{"configMapRef": {"name": "settings"}}], **serving}
    spec["rollout"] |= {"watchSeconds": 10, "scaleDownDelaySeconds": 10}
    for step in spec["rollout"]["canary"]["steps"]:
        step["holdSeconds"] = HOLD_SECONDS
    return spec


def write(world: World, kind: str = "ConfigMap", name: str = "settings", **data: str) -> None:
    """kubectl apply: what says the same changes nothing."""
    if world.api.find(kind, NAMESPACE, name) is None:
        world.api.put(kind, NAMESPACE, {"kind": kind, "metadata": {"name": name}, "data": data})
    else:
        world.api.edit(kind, NAMESPACE, name, lambda m: m.update(data=data))


def serving(**world: Any) -> World:
    made = World(requests_per_second=400, **world)
    write(made, threshold="0.5")
    made.deploy(configured())
    return made.run_until(lambda: is_ready(made)).run(30)


def is_ready(world: World) -> bool:
    return world.condition("Ready") == ("True", "Stable")


def stable(world: World) -> str:
    return world.status.stable.revision if world.status.stable else ""


def test_changed_content_is_rolled_out_like_a_new_model() -> None:
    world = serving()
    before = stable(world)
    write(world, threshold="0.9")
    world.run_until(lambda: len(world.weights()) == 2)
    world.run_until(lambda: is_ready(world))
    assert stable(world) != before
    no_request_is_lost(world.moments)
    check(world, hold_seconds=HOLD_SECONDS)


def test_the_same_content_written_again_and_labels_beside_it_change_nothing() -> None:
    world = serving()
    writes = len(world.api.writes)
    for number in range(5):
        write(world, threshold="0.5")
        change = {"labels": {"applied": str(number)}}
        world.api.edit("ConfigMap", NAMESPACE, "settings", lambda m, c=change: m["metadata"].update(c))
        world.deploy(configured())
        world.run(10)
    assert len(world.api.writes) == writes


def test_content_that_changes_in_a_rollout_is_another_revision_and_back_is_the_old_one() -> None:
    world = serving()
    before = stable(world)
    write(world, threshold="0.9")
    world.run_until(lambda: len(world.weights()) == 2).run(3)
    first = world.status.candidate.revision if world.status.candidate else ""
    write(world, threshold="0.7")
    world.run_until(
        lambda: world.status.candidate is not None and world.status.candidate.revision not in {before, first}
    )
    write(world, threshold="0.5")
    world.run_until(lambda: is_ready(world))
    assert stable(world) == before
    no_request_is_lost(world.moments)
    check(world, hold_seconds=HOLD_SECONDS)


@pytest.mark.parametrize("when", ["at rest", "in a rollout"])
def test_a_missing_one_is_told_and_neither_makes_a_revision_nor_ends_one(when: str) -> None:
    world = serving()
    if when == "in a rollout":
        write(world, threshold="0.9")
        world.run_until(lambda: len(world.weights()) == 2).run(3)
    candidate, weights = world.status.candidate, world.weights()
    data = world.api.find("ConfigMap", NAMESPACE, "settings")
    assert data is not None
    world.api.remove("ConfigMap", NAMESPACE, "settings")
    world.run(100)
    assert world.condition("Stalled") == ("True", "ConfigurationMissing")
    assert world.condition("Available") == ("True", "Serving")
    assert world.weights() == weights
    assert (world.status.candidate is None) == (candidate is None)
    write(world, **data["data"])
    world.run_until(lambda: is_ready(world))
    no_request_is_lost(world.moments)
    check(world, hold_seconds=HOLD_SECONDS)


def test_a_first_revision_waits_for_what_it_names() -> None:
    world = World()
    world.deploy(configured())
    world.run(30)
    assert world.condition("Stalled") == ("True", "ConfigurationMissing")
    assert "ConfigMap settings" in next(c.message for c in world.status.conditions if c.type == "Stalled")
    assert list(world.api.of("ReplicaSet")) == []
    write(world, threshold="0.5")
    world.run_until(lambda: is_ready(world))


def test_an_optional_one_that_comes_is_a_new_revision() -> None:
    world = World()
    volume = {"name": "more", "secret": {"secretName": "extra", "optional": True}}
    write(world, threshold="0.5")
    world.deploy(configured(volumes=[volume]))
    world.run_until(lambda: is_ready(world))
    before = stable(world)
    write(world, "Secret", "extra", token="c2VjcmV0")
    world.run_until(lambda: is_ready(world) and stable(world) != before)


def test_an_operator_that_may_not_read_them_says_so_and_goes_on_looking_after_what_serves() -> None:
    world = serving()
    world.reads_configurations = False
    world.deploy(configured("model:2"))
    world.run(30)
    assert world.condition("Stalled") == ("True", "ConfigurationUnreadable")
    assert "configChecksum.keySecretName" in next(c.message for c in world.status.conditions if c.type == "Stalled")
    assert world.revision_of("model:2") == ""
    for pod in list(world.api.of("Pod"))[:1]:
        world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    world.run(20)
    assert world.moments[-1].ready[stable(world)] == 3
    world.reads_configurations = True
    world._mark()
    world.run_until(lambda: is_ready(world) and stable(world) == world.revision_of("model:2"))


def test_what_was_rolled_back_stays_so_while_the_content_is_away() -> None:
    world = serving()
    write(world, threshold="0.9")
    world.run_until(lambda: len(world.weights()) == 2).run(3)
    assert world.status.candidate is not None
    world.annotate(abort=world.status.candidate.revision)
    world.run_until_phase("RollingBack")
    world.api.remove("ConfigMap", NAMESPACE, "settings")
    world.run_until_phase("Rejected").run(20)
    write(world, threshold="0.9")
    world.run(60)
    assert world.status.rollout.phase == "Rejected"
    assert world.condition("Stalled") == ("True", "Aborted")


def played(faults: Faults) -> World:
    world = World(requests_per_second=400)
    world.api.faults = faults
    write(world, threshold="0.5")
    world.deploy(configured())
    world.run(40)
    write(world, threshold="0.9")
    return world.run(140)


FAULT_FREE = played(Faults())


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(1, len(FAULT_FREE.api.writes) + 1))
def test_killed_after_any_write_the_end_is_the_same(number: int) -> None:
    world = played(Faults(kill_after=frozenset({number})))
    assert end_of(world.run(30)) == end_of(FAULT_FREE)
    check(world, hold_seconds=HOLD_SECONDS)
