"""Carries a plan out: one status write for a move, child writes in order for a realisation.

Called by the reconcile loop with what `decide` returned and the observation it was decided on. It speaks to the port
`serinus.kube.cluster.Cluster` only, so the simulated world runs this very code. Nothing is retried here: each outcome
says what the loop is to do, and a plan that was cut short is safe to be decided anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, assert_never

from serinus.api.kinds import (
    ANNOTATION_ADOPT,
    CONTROLLER_REVISION,
    HTTP_ROUTE,
    LABEL_DEPLOYMENT,
    MODEL_DEPLOYMENT,
    REPLICA_SET,
    Kind,
)
from serinus.api.status import ModelDeploymentStatus
from serinus.core.observation import Observation
from serinus.core.plan import Apply, Create, Delete, Intent, Manifest, Move, Plan, Realise, Scale
from serinus.core.traffic import requests_reach
from serinus.kube.cluster import AlreadyExists, ApiError, Cluster, NotFound, Rejected, Unavailable
from serinus.kube.observation import controller_of
from serinus.kube.ownership import takes_nothing_out

_COLLECTION_SECONDS: Final = 2.0
"""How long to wait for the garbage collector to remove a child of an earlier resource of the same name."""


@dataclass(frozen=True, slots=True)
class Done:
    """All of the plan was written."""

    deployment: Manifest | None
    """The resource as the status write returned it: the next pass starts from this version or a newer one. None where
    the plan wrote no status."""


@dataclass(frozen=True, slots=True)
class ObserveAgain:
    """What was observed is out of date; the caches will show what is true. Decide anew, after a short pause."""

    message: str


@dataclass(frozen=True, slots=True)
class Overtaken:
    """The rest of the plan was left, for what became known meanwhile or for the time it took. Decide anew, at once."""

    message: str


@dataclass(frozen=True, slots=True)
class NameTaken:
    """A foreign object has the name of a child; it was not touched. People have to act."""

    message: str


@dataclass(frozen=True, slots=True)
class BackOff:
    """The API server can't be reached or is busy; nothing is known about the last write."""

    message: str
    seconds: float | None = None
    """How long to wait at least, where that is known."""


@dataclass(frozen=True, slots=True)
class WriteRejected:
    """The API server will not take a write however often it is sent."""

    message: str
    of_status: bool = False
    """Whether it was the status write: then the status can't tell it either."""


Outcome = Done | ObserveAgain | Overtaken | NameTaken | BackOff | WriteRejected


def _never() -> bool:
    return False


async def carry_out(
    plan: Plan, observation: Observation, cluster: Cluster, overtaken: Callable[[], bool] = _never
) -> Outcome:
    """Write what the plan says, on condition that what was observed still holds.

    A write that is refused for good does not keep the others from being made; any other failure ends the attempt.
    Before each write, `overtaken` says whether the plan is out of date: calls may hang for seconds each, and what
    people and metrics say meanwhile must not wait for all of them.
    """
    match plan.action:
        case Move(status=status):
            return await _write_status(status, observation, cluster)
        case Realise(intents=intents, status=status):
            return await _realise(intents, status, observation, cluster, overtaken)
        case _:
            assert_never(plan.action)


def status_manifest(status: ModelDeploymentStatus) -> dict[str, Any]:
    """The status as the API server takes it; unset fields are left out, and so removed."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


async def _realise(
    intents: tuple[Intent, ...],
    status: ModelDeploymentStatus | None,
    observation: Observation,
    cluster: Cluster,
    overtaken: Callable[[], bool],
) -> Outcome:
    if intents and (newer := _written_by_a_later_leader(observation)):
        return ObserveAgain(newer)
    refused: Outcome | None = None
    for intent in intents:
        if refused is None and overtaken():  # what comes after a refused write would else never be reached
            metadata = observation.deployment.metadata
            what = f"realise ModelDeployment {metadata.namespace}/{metadata.name}"
            return Overtaken(
                f"{what}: while it was written, time passed or more became known; the rest is decided anew"
            )
        outcome = await _write_child(intent, observation, cluster)
        if isinstance(outcome, NameTaken | WriteRejected):
            refused = refused or outcome
        elif outcome is not None:
            return outcome
    if refused is not None:
        return refused
    return Done(None) if status is None else await _write_status(status, observation, cluster)


def _written_by_a_later_leader(observation: Observation) -> str | None:
    """The fence: a child that carries a higher number of moves than our status was written on a decision we missed."""
    moves = observation.deployment.status.moves
    for (kind, name), child in observation.children.objects.items():
        if child.moves > moves:
            metadata = observation.deployment.metadata
            return (
                f"realise ModelDeployment {metadata.namespace}/{metadata.name}: {kind} {name} was written after move "
                f"{child.moves}, the status observed here is of move {moves}: it is out of date and is read again"
            )
    return None


async def _write_status(status: ModelDeploymentStatus, observation: Observation, cluster: Cluster) -> Outcome:
    metadata = observation.deployment.metadata
    try:
        written = await cluster.write_status(
            metadata.namespace, metadata.name, status_manifest(status), metadata.resource_version
        )
    except ApiError as error:
        return _outcome_of(error, of_status=True)
    return Done(written)


async def _write_child(intent: Intent, observation: Observation, cluster: Cluster) -> Outcome | None:
    """None if the write succeeded."""
    namespace = observation.deployment.metadata.namespace
    try:
        match intent:
            case Create(kind=kind, manifest=manifest):
                return await _create(kind, manifest, observation, cluster)
            case Apply(kind=kind, manifest=manifest, resource_version=version):
                child = observation.children.objects[kind.kind, manifest["metadata"]["name"]]
                booked = child.booked or takes_nothing_out(kind, child.manifest, manifest)
                await cluster.apply(kind, namespace, _of_uid(manifest, child.uid), version, booked=booked)
            case Scale(name=name, replicas=replicas, resource_version=version):
                if (changed := await _may_have_traffic_again(intent, observation, cluster)) is not None:
                    return changed
                await cluster.scale(REPLICA_SET, namespace, name, replicas, version)
            case Delete(kind=kind, name=name, uid=uid):
                attempt = f"delete {kind.kind} {namespace}/{name}"
                if kind == HTTP_ROUTE and (changed := await _has_changed(attempt, observation, cluster)) is not None:
                    return changed
                await cluster.delete(kind, namespace, name, uid)
            case _:
                assert_never(intent)
    except ApiError as error:
        return _outcome_of(error)
    return None


async def _may_have_traffic_again(scale: Scale, observation: Observation, cluster: Cluster) -> ObserveAgain | None:
    """Before pods go: whether what was observed of their traffic, and what they are to go for, is still so.

    The watch of routes may be behind the others, and a route as it was before the traffic came looks just like one
    after it has gone. Pods that have traffic go because people want fewer; they may have changed their minds, unseen by
    a watch that is behind, or while an earlier call of this pass hung.
    """
    metadata, children = observation.deployment.metadata, observation.children
    shrinking = next((each for each in children.replica_sets.values() if each.name == scale.name), None)
    if shrinking is None or scale.replicas >= shrinking.desired:
        return None
    attempt = f"scale ReplicaSet {metadata.namespace}/{scale.name} down"
    route = children.objects.get((HTTP_ROUTE.kind, metadata.name))
    if route is not None:
        there = await _there(HTTP_ROUTE, metadata.namespace, metadata.name, cluster)
        if there.get("spec") != route.manifest.get("spec"):
            return ObserveAgain(
                f"{attempt}: HTTPRoute {metadata.name} is not as it was observed, so its pods may have traffic; it is "
                "read again"
            )
    if requests_reach(children, shrinking.revision):
        return await _has_changed(attempt, observation, cluster)
    return None


async def _has_changed(attempt: str, observation: Observation, cluster: Cluster) -> ObserveAgain | None:
    """Before traffic loses what carries it: whether the resource is still as it was when that was decided."""
    metadata = observation.deployment.metadata
    found = (await _there(MODEL_DEPLOYMENT, metadata.namespace, metadata.name, cluster)).get("metadata", {})
    if (found.get("uid"), found.get("resourceVersion")) == (metadata.uid, metadata.resource_version):
        return None
    return ObserveAgain(
        f"{attempt}: it carries traffic, and ModelDeployment {metadata.name} has changed since it was observed; it is "
        "read again"
    )


async def _there(kind: Kind, namespace: str, name: str, cluster: Cluster) -> Manifest:
    """An object as it is now; nothing if it is gone."""
    try:
        return await cluster.get(kind, namespace, name)
    except NotFound:
        return {}


async def _create(kind: Kind, manifest: Manifest, observation: Observation, cluster: Cluster) -> Outcome | None:
    namespace = observation.deployment.metadata.namespace
    try:
        await cluster.create(kind, namespace, manifest)
    except AlreadyExists:
        existing = await cluster.get(kind, namespace, manifest["metadata"]["name"])
        return await _settle_name(kind, manifest, existing, observation, cluster)
    except NotFound as error:  # the namespace is going, or the kind was removed: no use in hurrying
        return BackOff(str(error))
    return None


async def _settle_name(
    kind: Kind, manifest: Manifest, existing: Manifest, observation: Observation, cluster: Cluster
) -> Outcome | None:
    """An object of the wanted name is there: ours, adoptable, of an earlier resource on its way out, or foreign."""
    metadata = observation.deployment.metadata
    found = existing["metadata"]
    what = f"{kind.kind} {metadata.namespace}/{found['name']}"
    owner = controller_of(existing)
    if found.get("deletionTimestamp"):
        return BackOff(f"create {what}: one of that name is being deleted; waiting for its end", _COLLECTION_SECONDS)
    if owner is not None and owner.get("uid") == metadata.uid:
        if (found.get("labels") or {}).get(LABEL_DEPLOYMENT) == metadata.name:
            return ObserveAgain(f"create {what}: it is there already and ours; the cache is behind")
        return await _take(kind, manifest, existing, observation, cluster)  # its label is gone, so no watch shows it
    if owner is not None and owner.get("kind") == MODEL_DEPLOYMENT.kind and owner.get("name") == metadata.name:
        return BackOff(
            f"create {what}: one that an earlier ModelDeployment {metadata.name} (uid {owner.get('uid')}) left is not "
            "collected yet; waiting for the garbage collector",
            _COLLECTION_SECONDS,
        )
    if owner is None and (found.get("annotations") or {}).get(ANNOTATION_ADOPT) == metadata.name:
        return await _take(kind, manifest, existing, observation, cluster)
    return NameTaken(_name_taken(what, owner, metadata.name))


async def _take(
    kind: Kind, manifest: Manifest, existing: Manifest, observation: Observation, cluster: Cluster
) -> Outcome | None:
    """Apply over an object that is ours, or that its owner has given to us."""
    wanted: Mapping[str, Any] = manifest
    if kind == REPLICA_SET:  # replicas are only ever set at creation and by scaling: never own the field
        spec = {key: value for key, value in manifest["spec"].items() if key != "replicas"}
        wanted = {**manifest, "spec": spec}
    if kind == CONTROLLER_REVISION and existing.get("data") != manifest.get("data"):
        if controller_of(existing) is None and not _keeps(existing, manifest):
            what = f"{kind.kind} {existing['metadata'].get('namespace', '')}/{existing['metadata']['name']}"
            return NameTaken(
                f"{what} is offered for adoption, but holds other data than this revision, and a ControllerRevision's "
                "data can't be changed: delete it"
            )
        wanted = {**manifest, "data": existing["data"]}  # rendered by an earlier version, never rendered again
    namespace = observation.deployment.metadata.namespace
    found = existing["metadata"]
    await cluster.apply(kind, namespace, _of_uid(wanted, found["uid"]), found["resourceVersion"])
    return None


def _keeps(existing: Manifest, manifest: Manifest) -> bool:
    """Whether a ControllerRevision keeps what is wanted: one that was restored from a ReplicaSet has no more than that.

    And one that is restored wants no more.
    """
    kept, wanted = existing.get("data") or {}, manifest["data"]
    return kept.get("template") == wanted["template"] and all(
        kept[key] == wanted[key] for key in kept.keys() & wanted.keys()
    )


def _of_uid(manifest: Manifest, uid: str) -> Manifest:
    """The manifest for the object that has this uid, and for no other: a vanished one is not made anew."""
    return {**manifest, "metadata": {**manifest["metadata"], "uid": uid}}


def _name_taken(what: str, owner: Mapping[str, Any] | None, deployment: str) -> str:
    by = f"belongs to {owner.get('kind')} {owner.get('name')}" if owner is not None else "has no controller"
    cure = (
        f"annotate it with {ANNOTATION_ADOPT}={deployment} to hand it over, delete it, or rename the ModelDeployment"
        if owner is None
        else "delete it together with its owner, or rename the ModelDeployment"
    )
    return f"{what} exists and {by}, so Serinus does not touch it: {cure}"


def _outcome_of(error: ApiError, *, of_status: bool = False) -> Outcome:
    match error:
        case Unavailable():
            return BackOff(str(error), error.retry_after_seconds)
        case Rejected():
            return WriteRejected(str(error), of_status)
        case _:  # Conflict, NotFound, AlreadyExists, Expired: the world has moved on
            return ObserveAgain(str(error))
