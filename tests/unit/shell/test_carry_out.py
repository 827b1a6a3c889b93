"""Carrying plans out on a simulated API server: what is written, and what each obstacle comes to."""

import copy
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import CONTROLLER_REVISION, HTTP_ROUTE, MODEL_DEPLOYMENT, REPLICA_SET, SERVICE, Kind
from serinus.api.reasons import Phase
from serinus.api.status import ModelDeploymentStatus, RolloutStatus
from serinus.core.observation import Observation
from serinus.core.plan import Apply, Create, Delete, Intent, Move, Plan, Realise, Scale
from serinus.kube.cluster import Cluster, NotFound, Rejected, StatusPruned, Unavailable
from serinus.kube.observation import observe_children
from serinus.shell.carry_out import (
    BackOff,
    Done,
    NameTaken,
    ObserveAgain,
    Overtaken,
    WriteRejected,
    carry_out,
)
from tests.world.api_server import ApiServer, Faults

TEAM = "team"


class World:
    """A simulated API server with one ModelDeployment, observed when asked."""

    def __init__(self, moves: int = 4) -> None:
        self.server = ApiServer()
        self.server.put(
            MODEL_DEPLOYMENT.kind,
            TEAM,
            {
                "apiVersion": MODEL_DEPLOYMENT.api_version,
                "kind": MODEL_DEPLOYMENT.kind,
                "metadata": {"name": "iris"},
                "spec": {"serving": {"image": "registry.example.com/iris:1"}},
                "status": {"moves": moves},
            },
        )

    @property
    def uid(self) -> str:
        return str(self.find(MODEL_DEPLOYMENT, "iris")["metadata"]["uid"])

    def find(self, kind: Kind, name: str) -> dict[str, Any]:
        found = self.server.find(kind.kind, TEAM, name)
        assert found is not None, f"{kind.kind} {name} is not there"
        return found

    def observe(self) -> Observation:
        deployment = ModelDeployment.parse(self.find(MODEL_DEPLOYMENT, "iris"))
        others = [each for (kind, _, _), each in self.server.objects.items() if kind != MODEL_DEPLOYMENT.kind]
        return Observation(datetime.now(UTC), deployment, observe_children("iris", deployment.metadata.uid, others))

    def child(self, kind: Kind, name: str, *, moves: int = 4, **fields: Any) -> dict[str, Any]:
        owner = {
            "apiVersion": MODEL_DEPLOYMENT.api_version,
            "kind": MODEL_DEPLOYMENT.kind,
            "name": "iris",
            "uid": self.uid,
            "controller": True,
        }
        metadata = {
            "name": name,
            "labels": {"serinus.dev/deployment": "iris"},
            "annotations": {"serinus.dev/moves": str(moves)},
            "ownerReferences": [owner],
        }
        return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **fields}

    def put(self, manifest: dict[str, Any]) -> dict[str, Any]:
        return self.server.put(manifest["kind"], TEAM, manifest)

    async def carry_out(self, *intents: Intent, status: ModelDeploymentStatus | None = None) -> Any:
        return await carry_out(Plan(Realise(intents, status)), self.observe(), self.server)


def owned_by(owner: dict[str, Any] | None, **annotations: str) -> Callable[[World], dict[str, Any]]:
    def make(world: World) -> dict[str, Any]:
        manifest = world.child(SERVICE, "iris", spec={"ports": [{"port": 1}]})
        manifest["metadata"]["ownerReferences"] = [owner] if owner else []
        manifest["metadata"]["annotations"] = {f"serinus.dev/{key}": value for key, value in annotations.items()}
        return manifest

    return make


def service(world: World, port: int = 80) -> dict[str, Any]:
    return world.child(SERVICE, "iris", spec={"ports": [{"port": port}]})


# Moves


async def test_a_move_is_one_status_write_and_hands_the_written_resource_on():
    world = World()
    status = ModelDeploymentStatus(moves=5, rollout=RolloutStatus(phase=Phase.HOLDING, step="five"))

    outcome = await carry_out(Plan(Move(status)), world.observe(), world.server)

    assert outcome == Done(world.find(MODEL_DEPLOYMENT, "iris"))
    assert ModelDeployment.parse(world.find(MODEL_DEPLOYMENT, "iris")).status == status
    assert len(world.server.writes) == 1


async def test_a_move_decided_on_an_old_version_touches_nothing():
    world = World()
    observation = world.observe()
    world.server.edit(MODEL_DEPLOYMENT.kind, TEAM, "iris", lambda each: each["spec"].update(suspend=True))

    outcome = await carry_out(Plan(Move(ModelDeploymentStatus(moves=5))), observation, world.server)

    assert isinstance(outcome, ObserveAgain)
    assert world.find(MODEL_DEPLOYMENT, "iris")["status"] == {"moves": 4}


async def test_a_move_of_a_resource_that_is_gone_ends_quietly():
    world = World()
    observation = world.observe()
    world.server.remove(MODEL_DEPLOYMENT.kind, TEAM, "iris")

    assert isinstance(await carry_out(Plan(Move(ModelDeploymentStatus())), observation, world.server), ObserveAgain)


async def test_a_move_whose_response_was_lost_backs_off():
    world = World()
    world.server.faults = Faults(lose_response_of=frozenset({1}))

    outcome = await carry_out(Plan(Move(ModelDeploymentStatus(moves=5))), world.observe(), world.server)

    assert isinstance(outcome, BackOff)
    assert world.find(MODEL_DEPLOYMENT, "iris")["status"]["moves"] == 5


# Realising


async def test_children_are_written_in_order_and_the_status_last():
    world = World()
    old = world.put(world.child(SERVICE, "iris-candidate", spec={"ports": [{"port": 80}]}))
    extra = world.put(world.child(HTTP_ROUTE, "iris", spec={}))
    replicas = world.put(world.child(REPLICA_SET, "iris-a", spec={"replicas": 1}))
    applied = world.child(SERVICE, "iris-candidate", spec={"ports": [{"port": 81}]})

    outcome = await world.carry_out(
        Create(SERVICE, service(world)),
        Scale("iris-a", 3, replicas["metadata"]["resourceVersion"]),
        Apply(SERVICE, applied, old["metadata"]["resourceVersion"]),
        Delete(HTTP_ROUTE, "iris", extra["metadata"]["uid"]),
        status=ModelDeploymentStatus(moves=4, replicas=3),
    )

    assert outcome == Done(world.find(MODEL_DEPLOYMENT, "iris"))
    assert [(write.verb, write.name) for write in world.server.writes] == [
        ("create", "iris"),
        ("scale", "iris-a"),
        ("apply", "iris-candidate"),
        ("delete", "iris"),
        ("status", "iris"),
    ]
    assert world.find(REPLICA_SET, "iris-a")["spec"]["replicas"] == 3
    assert world.find(SERVICE, "iris-candidate")["spec"]["ports"] == [{"port": 81}]


async def test_a_realisation_without_a_status_hands_no_resource_on():
    assert await World().carry_out() == Done(None)


async def test_the_first_refused_write_is_the_last():
    world = World()
    old = world.put(world.child(SERVICE, "iris-candidate", spec={"ports": []}))

    outcome = await world.carry_out(
        Apply(SERVICE, world.child(SERVICE, "iris-candidate", spec={"ports": [1]}), "7"),
        Delete(SERVICE, "iris-candidate", old["metadata"]["uid"]),
        status=ModelDeploymentStatus(moves=4),
    )

    assert isinstance(outcome, ObserveAgain)
    assert world.server.writes == []


async def test_a_child_of_a_later_move_stops_a_stale_writer():
    world = World(moves=4)
    world.put(world.child(SERVICE, "iris-candidate", moves=5))

    outcome = await world.carry_out(Create(SERVICE, service(world)), status=ModelDeploymentStatus(moves=4))

    assert isinstance(outcome, ObserveAgain)
    assert "Service iris-candidate was written after move 5" in outcome.message
    assert world.server.writes == []


async def test_a_child_that_vanished_is_not_applied_to():
    world = World()
    old = world.put(service(world))
    observation = world.observe()
    world.server.remove(SERVICE.kind, TEAM, "iris")
    intent = Apply(SERVICE, service(world, 81), old["metadata"]["resourceVersion"])

    outcome = await carry_out(Plan(Realise((intent,))), observation, world.server)

    assert isinstance(outcome, ObserveAgain)
    assert world.server.find(SERVICE.kind, TEAM, "iris") is None


class Changing(ApiServer):
    """An API server on which somebody does something right before an object is read."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        self.meanwhile()
        return await super().get(kind, namespace, name)


def serving_world() -> tuple[World, Scale]:
    """Three pods that have all the traffic, and the write that takes them away."""
    world = World()
    world.server = Changing(**vars(world.server))
    labels = {"serinus.dev/deployment": "iris", "serinus.dev/revision": "0123456789"}
    service = world.child(SERVICE, "iris", spec={"selector": labels, "ports": [{"port": 80}]})
    world.put(service)
    replica_set = world.child(REPLICA_SET, "iris-0123456789", spec={"replicas": 3})
    replica_set["metadata"]["labels"] = labels
    made = world.put(replica_set)
    return world, Scale("iris-0123456789", 0, made["metadata"]["resourceVersion"])


async def test_pods_that_have_traffic_go_only_while_the_resource_says_so():
    world, scale = serving_world()
    assert isinstance(await world.carry_out(scale), Done)
    assert world.find(REPLICA_SET, "iris-0123456789")["spec"]["replicas"] == 0


@pytest.mark.parametrize("change", ["edited", "gone", "made anew"])
async def test_pods_that_have_traffic_stay_when_the_resource_has_changed_unseen(change: str):
    world, scale = serving_world()

    def changes() -> None:
        world.server.meanwhile = lambda: None  # type: ignore[attr-defined]
        manifest = copy.deepcopy(world.find(MODEL_DEPLOYMENT, "iris"))
        if change == "edited":
            world.server.edit(MODEL_DEPLOYMENT.kind, TEAM, "iris", lambda m: m["spec"].update(scaling={"replicas": 3}))
            return
        world.server.remove(MODEL_DEPLOYMENT.kind, TEAM, "iris")
        if change == "made anew":
            world.server.put(MODEL_DEPLOYMENT.kind, TEAM, manifest)

    world.server.meanwhile = changes  # type: ignore[attr-defined]
    outcome = await world.carry_out(scale)
    assert isinstance(outcome, ObserveAgain)
    assert "scale ReplicaSet team/iris-0123456789 down" in outcome.message
    assert world.find(REPLICA_SET, "iris-0123456789")["spec"]["replicas"] == 3


async def test_a_route_stays_when_the_resource_that_did_without_it_has_changed_unseen():
    world, _ = serving_world()
    route = world.put(world.child(HTTP_ROUTE, "iris", spec={"rules": [{"backendRefs": []}]}))
    deletion = Delete(HTTP_ROUTE, "iris", route["metadata"]["uid"])
    world.server.meanwhile = lambda: world.server.edit(  # type: ignore[attr-defined]
        MODEL_DEPLOYMENT.kind, TEAM, "iris", lambda m: m["spec"].update(suspend=False)
    )
    assert isinstance(await world.carry_out(deletion), ObserveAgain)
    world.server.meanwhile = lambda: None  # type: ignore[attr-defined]
    assert isinstance(await world.carry_out(deletion), Done)
    assert world.server.find(HTTP_ROUTE.kind, TEAM, "iris") is None


async def test_what_becomes_known_while_a_plan_is_written_ends_it_after_the_call_under_way():
    world = World()
    plan = Plan(
        Realise(tuple(Create(SERVICE, world.child(SERVICE, name, spec={"ports": []})) for name in ("a", "b", "c")))
    )
    outcome = await carry_out(plan, world.observe(), world.server, lambda: len(world.server.writes) == 2)
    assert isinstance(outcome, Overtaken)
    assert [write.name for write in world.server.writes] == ["a", "b"]


async def test_pods_without_traffic_go_without_a_look_at_the_resource():
    world, _ = serving_world()
    idle = world.put(world.child(REPLICA_SET, "iris-9876543210", spec={"replicas": 2}))
    calls = world.server.calls
    outcome = await world.carry_out(Scale("iris-9876543210", 0, idle["metadata"]["resourceVersion"]))
    assert isinstance(outcome, Done)
    assert world.server.calls == calls + 1


async def test_an_api_server_that_is_away_is_waited_for():
    world = World()
    observation = world.observe()
    world.server.faults = Faults(down=True)

    outcome = await carry_out(Plan(Realise((Create(SERVICE, service(world)),))), observation, world.server)

    assert isinstance(outcome, BackOff)


# Names that are taken


async def test_a_child_that_the_cache_has_not_seen_yet_is_looked_at_again():
    world = World()
    observation = world.observe()
    made = world.put(service(world))

    outcome = await carry_out(Plan(Realise((Create(SERVICE, service(world, 81)),))), observation, world.server)

    assert isinstance(outcome, ObserveAgain)
    assert world.find(SERVICE, "iris") == made


async def test_a_child_that_lost_its_label_gets_it_back():
    world = World()
    bare = service(world)
    bare["metadata"]["labels"] = {}
    world.put(bare)

    outcome = await world.carry_out(Create(SERVICE, service(world)))

    assert outcome == Done(None)
    assert world.find(SERVICE, "iris")["metadata"]["labels"] == {"serinus.dev/deployment": "iris"}


async def test_a_replica_set_that_lost_its_label_keeps_its_size():
    world = World()
    bare = world.child(REPLICA_SET, "iris-a", spec={"replicas": 5})
    bare["metadata"]["labels"] = {}
    world.put(bare)

    await world.carry_out(Create(REPLICA_SET, world.child(REPLICA_SET, "iris-a", spec={"replicas": 1})))

    assert world.find(REPLICA_SET, "iris-a")["spec"]["replicas"] == 5
    assert world.find(REPLICA_SET, "iris-a")["metadata"]["labels"] == {"serinus.dev/deployment": "iris"}


async def test_a_revision_that_lost_its_label_keeps_what_it_was_rendered_to():
    world = World()
    bare = world.child(CONTROLLER_REVISION, "iris-a", data={"template": "as it was"})
    bare["metadata"]["labels"] = {}
    world.put(bare)

    await world.carry_out(
        Create(CONTROLLER_REVISION, world.child(CONTROLLER_REVISION, "iris-a", data={"template": "of a new operator"}))
    )

    assert world.find(CONTROLLER_REVISION, "iris-a")["data"] == {"template": "as it was"}
    assert world.find(CONTROLLER_REVISION, "iris-a")["metadata"]["labels"] == {"serinus.dev/deployment": "iris"}


DEPLOYMENT_OWNER = {"kind": "Deployment", "name": "legacy", "uid": "d", "controller": True}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (owned_by(None), r"Service team/iris exists and has no controller.*annotate it with serinus.dev/adopt=iris"),
        (owned_by(None, adopt="another"), r"has no controller.*serinus.dev/adopt=iris"),
        (owned_by(DEPLOYMENT_OWNER), r"belongs to Deployment legacy.*delete it together with its owner"),
        (owned_by(DEPLOYMENT_OWNER, adopt="iris"), r"belongs to Deployment legacy"),
    ],
    ids=["nobody's", "offered to another", "another's", "another's, though offered"],
)
async def test_a_foreign_object_is_never_written(make: Callable[[World], dict[str, Any]], words: str):
    world = World()
    foreign = world.put(make(world))
    before = copy.deepcopy(foreign)

    outcome = await world.carry_out(Create(SERVICE, service(world)), Create(SERVICE, service(world)))

    assert isinstance(outcome, NameTaken)
    assert re.search(words, outcome.message), outcome.message
    assert world.find(SERVICE, "iris") == before
    assert world.server.writes == []


async def test_an_object_that_is_offered_is_adopted():
    world = World()
    offered = world.put(owned_by(None, adopt="iris")(world))

    outcome = await world.carry_out(Create(SERVICE, service(world)))

    assert outcome == Done(None)
    taken = world.find(SERVICE, "iris")
    assert taken["metadata"]["uid"] == offered["metadata"]["uid"]
    assert taken["metadata"]["ownerReferences"][0]["uid"] == world.uid
    assert taken["spec"]["ports"] == [{"port": 80}]
    assert ("Service", "iris") in world.observe().children.objects


async def test_an_offered_revision_with_other_data_is_not_adopted():
    world = World()
    foreign = world.child(CONTROLLER_REVISION, "iris-a", data={"template": "theirs"})
    foreign["metadata"] |= {"ownerReferences": [], "annotations": {"serinus.dev/adopt": "iris"}}
    world.put(foreign)

    outcome = await world.carry_out(
        Create(CONTROLLER_REVISION, world.child(CONTROLLER_REVISION, "iris-a", data={"template": "ours"}))
    )

    assert isinstance(outcome, NameTaken)
    assert "delete it" in outcome.message


async def test_the_leftover_of_a_deleted_resource_of_the_same_name_is_waited_for():
    world = World()
    earlier = {"kind": "ModelDeployment", "name": "iris", "uid": "an-earlier-one", "controller": True}
    world.put(owned_by(earlier)(world))

    outcome = await world.carry_out(Create(SERVICE, service(world)))

    assert isinstance(outcome, BackOff)
    assert "garbage collector" in outcome.message


async def test_an_object_on_its_way_out_is_waited_for():
    world = World()
    leaving = service(world)
    leaving["metadata"]["deletionTimestamp"] = "2026-03-01T10:00:00Z"
    world.put(leaving)

    assert isinstance(await world.carry_out(Create(SERVICE, service(world))), BackOff)


# What an API server refuses for good


class Refusing(ApiServer):
    """An API server that refuses one kind of write."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def create(self, kind: Kind, namespace: str, manifest: Any) -> dict[str, Any]:
        raise self.error

    async def write_status(self, namespace: str, name: str, status: Any, resource_version: str) -> dict[str, Any]:
        raise self.error


async def on_refusing(error: Exception, action: Move | Realise) -> Any:
    cluster: Cluster = Refusing(error)
    return await carry_out(Plan(action), World().observe(), cluster)


async def test_a_child_that_is_rejected_is_told_in_the_servers_words():
    create = Realise((Create(SERVICE, service(World())),))

    assert await on_refusing(Rejected("quota exceeded"), create) == WriteRejected("quota exceeded")


async def test_a_status_that_is_rejected_is_told_apart():
    error = StatusPruned("the CRD is older", ("status.moves",))

    assert await on_refusing(error, Move(ModelDeploymentStatus())) == WriteRejected("the CRD is older", of_status=True)


async def test_a_kind_that_is_not_installed_is_not_hurried():
    assert await on_refusing(NotFound("no such kind"), Realise((Create(SERVICE, service(World())),))) == BackOff(
        "no such kind"
    )


async def test_the_time_that_a_busy_server_asks_for_is_handed_on():
    outcome = await on_refusing(Unavailable("busy", 7.0), Move(ModelDeploymentStatus()))

    assert outcome == BackOff("busy", 7.0)
