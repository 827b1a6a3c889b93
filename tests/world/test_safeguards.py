"""Disruption budgets and network policies through rollouts: made once, deleted once, written by nobody in between."""

from __future__ import annotations

from collections.abc import Iterable

from tests.world.api_server import Write
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of

BUDGET, POLICY = "PodDisruptionBudget", "NetworkPolicy"


def written(writes: Iterable[Write], kind: str) -> list[tuple[str, str]]:
    return [(write.verb, write.name) for write in writes if write.kind == kind]


def budgets(world: World) -> set[str]:
    return {each["metadata"]["name"] for each in world.api.of(BUDGET)}


def named(world: World, *images: str) -> list[str]:
    return [f"{NAME}-{world.revision_of(image)}" for image in images]


def test_budgets_come_and_go_with_their_revisions_and_the_policy_stays() -> None:
    world = serving()
    world.behaviours["model:3"] = Behaviour(error_share=0.5)
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))
    assert budgets(world) == set(named(world, "model:1", "model:2")), "the old revision may have to come back"
    world.run_until_phase("Idle").run(90)
    world.deploy(spec_of("model:3"))
    world.run_until_phase("Rejected").run(90)

    first, second = named(world, "model:1", "model:2")
    assert budgets(world) == {second}
    made = [("create", first), ("create", second), ("delete", first)]
    assert written(world.api.writes, BUDGET) == made, "the third was gone before it had a second pod"
    assert written(world.api.writes, POLICY) == [("create", f"{NAME}-serving")]


def test_a_budget_is_there_before_the_first_pod_is_ready() -> None:
    world = World()
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: any(moment.ready.values() for moment in world.moments[-1:]))
    assert budgets(world) == set(named(world, "model:1"))


def test_a_budget_and_a_policy_that_were_edited_are_put_back() -> None:
    world = serving()
    (name,) = budgets(world)
    world.api.edit(BUDGET, NAMESPACE, name, lambda m: m["spec"].update(maxUnavailable=0))
    world.api.edit(POLICY, NAMESPACE, f"{NAME}-serving", lambda m: m["spec"].update(ingress=[]))
    world.run(3)
    budget, policy = world.api.find(BUDGET, NAMESPACE, name), world.api.find(POLICY, NAMESPACE, f"{NAME}-serving")
    assert budget is not None
    assert policy is not None
    assert budget["spec"]["maxUnavailable"] == 1
    assert policy["spec"]["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]


def test_models_that_were_there_before_get_theirs_without_a_rollout() -> None:
    world = serving()
    for kind in (BUDGET, POLICY):
        for each in list(world.api.of(kind)):
            world.api.remove(kind, NAMESPACE, each["metadata"]["name"])
    before = world.status.moves
    world.restart_operator()
    world.run(3)
    assert budgets(world) == set(named(world, "model:1"))
    assert len(list(world.api.of(POLICY))) == 1
    assert world.status.moves == before
