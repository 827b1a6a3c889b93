"""What one process remembers between two passes, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serinus.api.deployment import ModelDeployment
from serinus.api.status import ModelDeploymentStatus
from serinus.core.render.metadata import APP_NAME_LABEL
from serinus.shell.reconciler import Next, PassOutcome
from tests.world.api_server import ApiServer, Mishap
from tests.world.test_edits import holding
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import KEY, NAME, NAMESPACE, World, spec_of


class Slow(ApiServer):
    """An API server whose status writes take so long that a reading comes in meanwhile."""

    meanwhile: Any = None

    async def write_status(self, namespace: str, name: str, status: Any, resource_version: str) -> dict[str, Any]:
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            await happens()
        return await super().write_status(namespace, name, status, resource_version)


class Watched(World):
    """A world that remembers what each pass said of the next one."""

    async def _follow(self, following: Next) -> None:
        self.__dict__.setdefault("followed", []).append((self.status.rollout.phase, following))
        await super()._follow(following)


def urgent_phases(world: World) -> list[str]:
    return [phase for phase, following in world.__dict__["followed"] if following.urgent]


def test_only_what_takes_traffic_off_is_urgent() -> None:
    world = Watched()
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"))
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2")).run(200)
    assert urgent_phases(world) == []
    world.behaviours["model:3"] = Behaviour(error_share=0.5)
    world.deploy(spec_of("model:3"))
    world.run_until_phase("Rejected")
    assert set(urgent_phases(world)) == {"RollingBack"}


def test_passes_tell_decisions_writes_and_quiet_apart() -> None:
    world = Watched()
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable")).run(200)
    asyncio.run(world.operator.pass_over(KEY))
    outcomes = [following.outcome for _, following in world.__dict__["followed"]]
    assert {PassOutcome.MOVED, PassOutcome.REALISED} <= set(outcomes)
    assert asyncio.run(world.operator.pass_over(KEY)).outcome is PassOutcome.UNCHANGED
    assert asyncio.run(world.operator.pass_over((NAMESPACE, "nobody"))).outcome is PassOutcome.GONE


def test_a_reading_that_fails_asks_for_an_urgent_pass() -> None:
    world = holding()
    world.run(5)
    assert not asyncio.run(world.operator.read(KEY, evidence_due(world)))
    world.behaviours["model:2"] = Behaviour(error_share=1.0)
    world.operator_is_up = False
    world.run(30)
    assert asyncio.run(world.operator.read(KEY, evidence_due(world)))


def test_evidence_that_comes_in_while_a_pass_writes_is_used_by_the_next_pass() -> None:
    world = holding(api=Slow())
    world.behaviours["model:2"] = Behaviour(error_share=1.0)
    world.requests_per_second = 5000
    world.operator_is_up = False
    world.run(20)

    async def reading_ends() -> None:
        memory = world.operator._memories[KEY]
        assert memory.deployment is not None
        request = evidence_due(world)
        await world.operator.read(KEY, request)

    world.api.meanwhile = reading_ends  # type: ignore[attr-defined]
    world.annotate(abort="0000000000")  # something to write: it is ignored, and told
    asyncio.run(world.operator.pass_over(KEY))
    assert world.operator._memories[KEY].evidence is not None


def test_between_passes_of_a_rollout_no_status_is_remembered_that_the_next_pass_would_have_to_forget() -> None:
    world = holding()
    memory = world.operator._memories[KEY]
    assert memory.deployment is not None
    assert memory.in_force is not None
    assert world.status.history
    assert {memory.deployment.status, memory.in_force.status} == {ModelDeploymentStatus()}


def evidence_due(world: World) -> Any:
    from serinus.core.due import evidence_request
    from serinus.core.observation import Observation
    from serinus.core.rollout.situation import Situation

    manifest = world.operator.view.deployment(KEY)
    assert manifest is not None
    deployment = ModelDeployment.parse(manifest)
    children = world.operator.view.children(KEY, deployment.metadata.uid)
    return evidence_request(Situation(Observation(now=world.now, deployment=deployment, children=children)))


def test_passes_without_a_change_write_nothing_however_often_they_are_made() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    for phase in ("Starting", "Holding", "Promoting", "Watching", "Idle"):
        world.run_until_phase(phase, 600)
        asyncio.run(world.operator.pass_over(KEY))
        asyncio.run(world.operator.pass_over(KEY))
        writes = len(world.api.writes)
        for _ in range(5):
            asyncio.run(world.operator.pass_over(KEY))
        assert len(world.api.writes) - writes <= 1, f"{phase}: {world.api.writes[writes:]}"


def test_two_leaders_at_once_end_where_one_would() -> None:
    world = serving()
    other = world._new_operator()
    world.deploy(spec_of("model:2"))
    for _ in range(400):
        world.run(1)
        following = asyncio.run(other.pass_over(KEY))
        if following.reading is not None:
            asyncio.run(other.read(KEY, following.reading))
        if stable_is(world, "model:2") and world.status.rollout.phase == "Idle":
            break
    assert stable_is(world, "model:2")
    assert [entry.event for entry in world.status.history].count("Promoted") == 1
    assert sorted(world.run(5).replicas().values()) == [0, 3]


def test_a_resource_of_the_same_name_is_another_one() -> None:
    world = holding()
    world.deploy(spec_of("model:2") | {"scaling": {"replicas": -1}})
    world.run(3)
    for kind in ("ModelDeployment", "HTTPRoute", "Service", "ReplicaSet", "ControllerRevision", "Pod"):
        for each in list(world.api.of(kind)):
            world.api.remove(kind, NAMESPACE, each["metadata"]["name"])
    world.deploy(spec_of("model:1") | {"scaling": {"replicas": -1}})
    world.run(10)
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert list(world.api.of("ReplicaSet")) == [], "the last good spec was another resource's"
    assert world.api.find("Service", NAMESPACE, NAME) is None


@pytest.mark.parametrize("because", ["a person aborts", "a metric fails"])
def test_a_pass_whose_calls_hang_does_not_keep_a_rollback_waiting(because: str) -> None:
    """All children were edited by hand, and each call takes 8 s: the rollback does not wait for all of them."""
    world = holding(requests_per_second=5000)
    candidate = world.revision_of("model:2")
    if because == "a metric fails":
        world.prometheus.slow_seconds = 3
        world.run_until(lambda: world._reading is None).behaviours["model:2"] = Behaviour(error_share=1.0)
        world.run(5).run_until(lambda: world._reading is not None)
    for kind in ("Service", "ReplicaSet", "ControllerRevision"):
        for child in world.api.of(kind):
            name = child["metadata"]["name"]
            world.api.edit(kind, NAMESPACE, name, lambda m: m["metadata"]["labels"].update({APP_NAME_LABEL: "other"}))
    faults = world.api.faults
    faults.mishap, faults.hold_seconds = lambda: Mishap.SLOW, 8
    if because == "a person aborts":
        world.run(2).annotate(abort=candidate)
    world.run_until(lambda: candidate not in world.weights(), 45)
