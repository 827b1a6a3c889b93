"""Ten mistakes that everybody makes once, and what is said of each: the message alone is enough to mend it.

A message names the object, what was tried, why it failed and what to do. Each mistake is mended here as its message
says, and nothing else is done. `pytest -s tests/world/test_mistakes.py` prints the messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from serinus.api.status import format_instant
from tests.world.invariants import check
from tests.world.prometheus import Lie
from tests.world.test_addresses import move_in
from tests.world.test_edits import holding
from tests.world.test_people import SIGN_OFF, awaiting, weight, with_steps
from tests.world.test_policies import FORBIDS_AUTOMATIC
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of

GOOD = "model:2"
PULL = 'Back-off pulling image "model:3": ErrImagePull: model:3: not found'


@dataclass(frozen=True)
class Mistake:
    """What somebody does, where it is told, what of it has to be said, and what mends it."""

    made: Callable[[], World]
    told: str
    """A condition, or the reason of an Event."""
    names: str
    """The object."""
    tried: str
    why: str
    cure: str
    mended: Callable[[World], object]
    serves_in_the_end: str = GOOD


def with_traffic(image: str, *, gateway: str = "public", hostname: str = "a.example") -> dict[str, Any]:
    parents = [{"name": gateway, "namespace": "gateways"}]
    return spec_of(image, traffic={"gateway": {"parentRefs": parents, "hostnames": [hostname]}})


def with_limit(image: str, limit: str) -> dict[str, Any]:
    spec = spec_of(image)
    spec["analysis"]["metrics"][0]["limit"] = {"maxPercent": limit}
    return spec


def supervised(image: str) -> dict[str, Any]:
    spec = spec_of(image)
    spec["rollout"]["automation"] = "Supervised"
    return spec


def deployed(spec: dict[str, Any], phase: str, **behaviours: Behaviour) -> World:
    """`model:1` serves, and a new spec goes as far as this phase."""
    world = serving(behaviours=dict(behaviours))
    world.deploy(spec)
    return world.run_until_phase(phase)


def wrong_image() -> World:
    return deployed(
        spec_of("model:3"), "Rejected", **{"model:3": Behaviour(never_ready=True, waits_for=("ImagePullBackOff", PULL))}
    )


def wrong_port() -> World:
    spec = spec_of("model:3")
    spec["serving"]["port"] = 3001
    return deployed(spec, "Rejected", **{"model:3": Behaviour(never_ready=True)})


def wrong_gateway() -> World:
    world = World(absent_gateways=frozenset({"pubic"}))
    world.deploy(with_traffic(GOOD, gateway="pubic"))
    return world.run(30)


def label_missing_in_prometheus() -> World:
    world = holding()
    world.prometheus.lie = Lie.EMPTY
    world.prometheus.forget()
    return world.run(60)


def limit_of_zero() -> World:
    world = serving()
    world.deploy(with_limit(GOOD, "0"))
    return world.run(30)


def approval_of_another_revision() -> World:
    world = awaiting(with_steps(GOOD, weight("five", 5), SIGN_OFF, weight("half", 50)))
    world.annotate(approve="5c1e0a9b77/sign-off")
    return world.run(10)


def approved(world: World) -> None:
    world.annotate(approve=f"{world.revision_of(GOOD)}/sign-off")


def by_hand(world: World, kind: str, change: Callable[[dict[str, Any]], None]) -> World:
    """kubectl edit, as the API server books it."""

    def edited(manifest: dict[str, Any]) -> None:
        change(manifest)
        entry = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {}}}
        manifest["metadata"]["managedFields"] = [entry | {"time": format_instant(world.now)}]

    world.api.edit(kind, NAMESPACE, NAME, edited)
    return world.run(5)


def edited_route() -> World:
    def other_weight(manifest: dict[str, Any]) -> None:
        manifest["spec"]["rules"][0]["backendRefs"][0]["weight"] = 7

    return by_hand(serving(GOOD), "HTTPRoute", other_weight)


def deleted_service() -> World:
    world = serving(GOOD)
    world.api.remove("Service", NAMESPACE, NAME)
    return world.run(5)


def two_at_one_address() -> World:
    world = World()
    move_in(world)
    world.deploy(with_traffic(GOOD))
    return world.run(30)


def outside_a_policy() -> World:
    world = serving()
    world.govern(FORBIDS_AUTOMATIC)
    world.deploy(spec_of(GOOD))
    return world.run(30)


def approves_its_promotion(world: World) -> None:
    world.deploy(supervised(GOOD))
    world.run_until_phase("AwaitingApproval")
    world.annotate(approve=f"{world.revision_of(GOOD)}/before-promotion")


MISTAKES = {
    "the image is not in the registry": Mistake(
        wrong_image,
        told="Stalled",
        names="pod fraud-",
        tried="not ready within rollout.progressDeadlineSeconds",
        why='ImagePullBackOff: Back-off pulling image "model:3": ErrImagePull: model:3: not found',
        cure="correct serving.image",
        mended=lambda world: world.deploy(spec_of(GOOD)),
    ),
    "the model serves on another port": Mistake(
        wrong_port,
        told="Stalled",
        names="pod fraud-",
        tried="its startup probe, GET /readyz on port 3001",
        why="has not succeeded yet",
        cure="listens on another port than serving.port",
        mended=lambda world: world.deploy(spec_of(GOOD)),
    ),
    "the gateway's name is spelt wrong": Mistake(
        wrong_gateway,
        told="Reconciling",
        names="Gateway gateways/pubic",
        tried="is ready: ",
        why="is not there",
        cure="create it, or correct parentRefs",
        mended=lambda world: world.deploy(with_traffic(GOOD)),
    ),
    "Prometheus does not have the labels of pods": Mistake(
        label_missing_in_prometheus,
        told="Reconciling",
        names="errors: missing (Empty)",
        tried='Asked was requests{pod=~"fraud-',
        why="No pod has reported since the evidence began",
        cure="Prometheus knows them by these labels (prometheus.labels of the operator, or labels of the metric)",
        mended=lambda world: setattr(world.prometheus, "lie", None),
    ),
    "a limit of 0": Mistake(
        limit_of_zero,
        told="Stalled",
        names="ModelDeployment models/fraud",
        tried="can't be read",
        why="spec.analysis.metrics[0].limit.maxPercent",
        cure="must be above 0 and at most 100",
        mended=lambda world: world.deploy(with_limit(GOOD, "1")),
    ),
    "an approval of another revision": Mistake(
        approval_of_another_revision,
        told="ActionIgnored",
        names="'5c1e0a9b77/sign-off'",
        tried="The action approve",
        why="it means another revision",
        cure="for the one in this step it is REVISION/sign-off",
        mended=approved,
    ),
    "a route is edited by hand": Mistake(
        edited_route,
        told="PutBack",
        names="HTTPRoute fraud",
        tried="was changed by kubectl-edit",
        why="is put back as it was",
        cure="to change what is there, change ModelDeployment fraud instead",
        mended=lambda world: None,
    ),
    "a Service is deleted": Mistake(
        deleted_service,
        told="PutBack",
        names="Service fraud",
        tried="was deleted",
        why="is made again as it was",
        cure="to change what is there, change ModelDeployment fraud instead",
        mended=lambda world: None,
    ),
    "two models at one address": Mistake(
        two_at_one_address,
        told="Stalled",
        names="ModelDeployment models/neighbour",
        tried="requests for hostname a.example and path / at Gateway gateways/public",
        why="which came first",
        cure="give one of the two another hostname or pathPrefix",
        mended=lambda world: world.deploy(with_traffic(GOOD, hostname="b.example")),
    ),
    "a policy forbids it": Mistake(
        outside_a_policy,
        told="Stalled",
        names="ClusterRolloutPolicy house",
        tried="spec.rollout.automation",
        why="allows Supervised, and it is Automatic",
        cure="set spec.rollout.automation to Supervised",
        mended=approves_its_promotion,
    ),
}


def message_of(world: World, told: str) -> str:
    """What a condition that is true says, or the newest Event of this reason."""
    said = [each.message for each in world.status.conditions if each.type == told and each.status == "True"]
    said = said or [note.message for note in world.notes if note.happening == told and note.as_event][-1:]
    assert said, f"nothing is told as {told}: {world.describe()}"
    return said[0]


@pytest.mark.parametrize("what", MISTAKES)
def test_the_message_alone_is_enough_to_mend(what: str) -> None:
    mistake = MISTAKES[what]
    world = mistake.made()
    message = message_of(world, mistake.told)
    print(f"\n{what}\n  {mistake.told}: {message}")
    for part in (mistake.names, mistake.tried, mistake.why, mistake.cure):
        assert part.replace("REVISION", world.revision_of(GOOD)) in message

    mistake.mended(world)
    world.run_until(lambda: stable_is(world, mistake.serves_in_the_end), 1200).run(90)
    assert world.condition("Ready") == ("True", "Stable")
    check(world)


@pytest.mark.parametrize("made", [edited_route, deleted_service])
def test_what_is_put_back_is_told_once(made: Callable[[], World]) -> None:
    world = made().run(60)
    assert [str(note.happening) for note in world.notes].count("PutBack") == 1


def test_nothing_is_told_as_put_back_in_a_rollout_in_which_nobody_meddles() -> None:
    world = serving()
    world.deploy(spec_of(GOOD))
    world.run_until(lambda: stable_is(world, GOOD)).run(200)
    world.deploy(spec_of(GOOD, traffic={}))
    world.run(30)
    world.deploy(spec_of(GOOD))
    world.run(30)
    assert "PutBack" not in [str(note.happening) for note in world.notes]
