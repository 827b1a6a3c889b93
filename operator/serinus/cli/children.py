"""The children that the operator would make of a resource where there is nothing yet. Pure.

Called by `kubectl serinus render` and `validate`. The operator's own `decide` is asked again and again, each time with
the objects that it asked for before, in a cluster where every pod is ready, every Job done and every gateway content at
once; it ends where nothing is left to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import HTTP_ROUTE, JOB, LABEL_REVISION, REPLICA_SET, SERVICE, Kind
from serinus.api.reasons import ConditionType
from serinus.api.revision import revision_of_child
from serinus.core.decide import decide
from serinus.core.observation import (
    Capabilities,
    ChildObject,
    Children,
    JobState,
    Observation,
    ParentState,
    PodState,
    ReplicaSetState,
    RouteState,
)
from serinus.core.plan import Apply, Create, Delete, Intent, Manifest, Move, Realise, Scale
from serinus.core.platform import Governed
from serinus.kube.observation import route_state

NO_UID: Final = "00000000-0000-0000-0000-000000000000"
"""Owner references carry the uid of the resource, which only the API server gives."""
_PASSES: Final = 100
_PASS_SECONDS: Final = 5.0

_Objects = dict[tuple[str, str], dict[str, Any]]


class Stalled(Exception):  # noqa: N818 -- the condition
    """The operator would make nothing of the resource; the message is its condition's."""


def children_of_first(
    deployment: ModelDeployment, now: datetime, *, pod_monitor: bool = False, governed: Governed | None = None
) -> list[Manifest]:
    """The children when the first revision serves, in the order in which they are made.

    `pod_monitor`: whether the cluster knows that kind; `governed`: what policies did to the spec. Raises `Stalled`.
    """
    metadata = deployment.metadata.model_copy(update={"uid": deployment.metadata.uid or NO_UID})
    objects: _Objects = {}
    present = replace(deployment, metadata=metadata)
    capabilities = Capabilities(pod_monitor=pod_monitor)
    for count in range(_PASSES):
        at = now + timedelta(seconds=count * _PASS_SECONDS)
        observation = Observation(
            now=at,
            deployment=present,
            children=_observed(present.metadata.name, objects, now),
            previous_pass_at=at - timedelta(seconds=_PASS_SECONDS),
            capabilities=capabilities,
            governed=governed,
        )
        plan = decide(observation)
        match plan.action:
            case Move(status=status):
                present = replace(present, status=status)
            case Realise(intents=intents, status=status):
                for intent in intents:
                    _carry_out(objects, intent)
                present = replace(present, status=status) if status is not None else present
                if not intents and status is None and plan.wake_at is None:
                    break
        _refuse_stalled(present)
    return list(objects.values())


def _refuse_stalled(deployment: ModelDeployment) -> None:
    for condition in deployment.status.conditions:
        if condition.type == ConditionType.STALLED and condition.status == "True":
            raise Stalled(f"{condition.reason}: {condition.message}")


def _carry_out(objects: _Objects, intent: Intent) -> None:
    match intent:
        case Create(kind=kind, manifest=manifest):
            objects[kind.kind, manifest["metadata"]["name"]] = dict(manifest)
        case Apply(kind=kind, manifest=manifest):
            before = objects[kind.kind, manifest["metadata"]["name"]]
            spec = {**before.get("spec", {}), **manifest.get("spec", {})}
            objects[kind.kind, manifest["metadata"]["name"]] = {**manifest, **({"spec": spec} if spec else {})}
        case Scale(name=name, replicas=replicas):
            found = objects[REPLICA_SET.kind, name]
            found["spec"] = {**found["spec"], "replicas": replicas}
        case Delete(kind=kind, name=name):
            objects.pop((kind.kind, name), None)


def _observed(name: str, objects: _Objects, ready_since: datetime) -> Children:
    """The objects as they would be seen, with all their pods ready."""
    sets = {
        revision: found
        for (kind, child), found in objects.items()
        if kind == REPLICA_SET.kind and (revision := revision_of_child(name, child)) is not None
    }
    service, route = _found(objects, SERVICE, name), _found(objects, HTTP_ROUTE, name)
    return Children(
        objects={
            key: ChildObject(manifest=found, uid="/".join(key), resource_version="1", moves=0)
            for key, found in objects.items()
        },
        replica_sets={revision: _replica_set(revision, found) for revision, found in sets.items()},
        endpoints={revision: _replicas(found) for revision, found in sets.items()},
        pods=tuple(
            _pod(f"{found['metadata']['name']}-{number}", revision, ready_since)
            for revision, found in sets.items()
            for number in range(_replicas(found))
        ),
        route=_route(name, route) if route is not None else None,
        jobs={child: _job(found) for (kind, child), found in objects.items() if kind == JOB.kind},
        stable_selector=service["spec"]["selector"] if service is not None else None,
    )


def _found(objects: _Objects, kind: Kind, name: str) -> Mapping[str, Any] | None:
    return objects.get((kind.kind, name))


def _replicas(replica_set: Mapping[str, Any]) -> int:
    return int(replica_set["spec"].get("replicas", 1))


def _replica_set(revision: str, found: Mapping[str, Any]) -> ReplicaSetState:
    name, replicas = found["metadata"]["name"], _replicas(found)
    return ReplicaSetState(revision, name, f"{REPLICA_SET.kind}/{name}", "1", replicas, replicas, replicas)


def _job(found: Mapping[str, Any]) -> JobState:
    """A preflight that has succeeded."""
    metadata = found["metadata"]
    return JobState(metadata["name"], metadata["labels"][LABEL_REVISION], succeeded=True, failed=False)


def _pod(name: str, revision: str, since: datetime) -> PodState:
    long_ago = since - timedelta(hours=1)
    return PodState(name, revision, True, long_ago, long_ago, long_ago, 0)


def _route(name: str, route: Mapping[str, Any]) -> RouteState:
    parents = tuple(ParentState(accepted=True, message="") for _ in route["spec"]["parentRefs"])
    return RouteState(route_state(name, route).weights, parents)
