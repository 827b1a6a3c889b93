"""Raw objects into what `serinus.core` reads. Pure: no I/O, no clock.

Called by the shell with the informers' caches, and by the simulated world with its own objects, so that both see alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from serinus.api.kinds import (
    ANNOTATION_MOVES,
    CONTAINER,
    ENDPOINT_SLICE,
    HTTP_ROUTE,
    JOB,
    LABEL_REVISION,
    LABEL_ROLE,
    POD,
    REPLICA_SET,
    ROLE_REVISION,
    SERVICE,
)
from serinus.api.revision import revision_of_child
from serinus.core.observation import (
    ChildObject,
    Children,
    Headers,
    JobState,
    ParentState,
    PodState,
    ReplicaSetState,
    RouteState,
)
from serinus.core.plan import Manifest
from serinus.kube.ownership import changed_by, is_booked, without_managed_fields

_PARENT_DEFAULTS: Final = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "sectionName": None, "port": None}
_ROUTE_CONDITIONS: Final = ("Accepted", "ResolvedRefs")
_POD_CONDITIONS: Final = frozenset({"Ready", "PodScheduled"})
_OF_A_CONTAINER: Final = ("name", "restartCount", "started", "state", "lastState", "imageID")
_UNREMARKABLE_WAITS: Final = frozenset({"ContainerCreating", "PodInitializing"})
_IMAGE_WAITS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_IMAGE_CURE: Final = "; correct serving.image, or serving.imagePullSecrets where the registry asks who pulls"
_ENDED: Final = frozenset({"Succeeded", "Failed"})
_LONGEST_MESSAGE: Final = 500


def observe_children(
    name: str,
    uid: str,
    objects: Iterable[Manifest],
    pods: Iterable[Manifest] = (),
    endpoint_slices: Iterable[Manifest] = (),
    *,
    preflight_pods: Iterable[Manifest] = (),
) -> Children:
    """What belongs to the ModelDeployment `name` with `uid`.

    `objects` are child kinds of its namespace, each with its `kind`; those whose controller is somebody else are left
    out. `pods` count where their controller is one of its ReplicaSets, `endpoint_slices` where it is the Service of one
    of its revisions, `preflight_pods` where it is one of its Jobs.
    """
    ours = [manifest for manifest in objects if controller_uid(manifest) == uid]
    replica_sets = [manifest for manifest in ours if manifest["kind"] == REPLICA_SET.kind]
    owners = {manifest["metadata"]["uid"]: _port(manifest) for manifest in replica_sets}
    states = [state for manifest in replica_sets if (state := replica_set_state(name, manifest)).revision]
    route = next((manifest for manifest in ours if _is(manifest, HTTP_ROUTE.kind, name)), None)
    service = next((manifest for manifest in ours if _is(manifest, SERVICE.kind, name)), None)
    return Children(
        objects={(manifest["kind"], manifest["metadata"]["name"]): child_object(manifest) for manifest in ours},
        replica_sets={state.revision: state for state in states},
        endpoints=_ready_endpoints(ours, endpoint_slices),
        pods=tuple(
            pod_state(pod, owners[owner]) for pod in pods if (owner := controller_uid(pod)) in owners and _revision(pod)
        ),
        route=route_state(name, route) if route is not None else None,
        jobs=_jobs(ours, preflight_pods),
        stable_selector=(service.get("spec", {}).get("selector") or {}) if service is not None else None,
    )


def controller_of(manifest: Manifest) -> Mapping[str, Any] | None:
    """The owner reference that says who controls the object."""
    owners = manifest.get("metadata", {}).get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def controller_uid(manifest: Manifest) -> str | None:
    """The uid of the object's controller."""
    owner = controller_of(manifest)
    return str(owner["uid"]) if owner is not None else None


def child_object(manifest: Manifest) -> ChildObject:
    """The object with its fence; one without a readable number has 0 moves."""
    metadata = manifest["metadata"]
    moves = str((metadata.get("annotations") or {}).get(ANNOTATION_MOVES, ""))
    return ChildObject(
        manifest=manifest,
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        moves=int(moves) if moves.isascii() and moves.isdigit() and len(moves) < 19 else 0,
        booked=is_booked(manifest),
        changed_by=changed_by(manifest),
    )


def replica_set_state(deployment: str, manifest: Manifest) -> ReplicaSetState:
    """The ReplicaSet's numbers. Its name says its revision: a label that was removed takes no traffic off its pods.

    Its template never changes, so its ready pods count whichever size its controller saw last: to take them for none
    while a new size is on its way would move the traffic off pods that serve.
    """
    metadata, spec, status = manifest["metadata"], manifest.get("spec", {}), manifest.get("status") or {}
    failure = _condition(status.get("conditions"), "ReplicaFailure")
    failing = failure is not None and failure.get("status") == "True"
    return ReplicaSetState(
        revision=revision_of_child(deployment, metadata["name"]) or _revision(manifest),
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        desired=spec.get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        current=status.get("replicas", 0),
        failure=_short(f"{failure.get('reason', '')}: {failure.get('message', '')}") if failure and failing else None,
    )


def has_lost_pods(before: Manifest, after: Manifest) -> bool:
    """Whether a ReplicaSet has fewer ready pods than before, and than it is to have."""
    ready, was_ready = ((each.get("status") or {}).get("readyReplicas", 0) for each in (after, before))
    return bool(ready < was_ready and ready < after["spec"].get("replicas", 1))


def pod_state(pod: Manifest, port: int | None = None) -> PodState:
    """The pod's readiness, restarts and, where it is not ready, its own words for why; `port` is that of its probes."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    conditions = status.get("conditions")
    ready, scheduled = _condition(conditions, "Ready"), _condition(conditions, "PodScheduled")
    container = _container(status, CONTAINER)
    is_ready = _is_true(ready)
    return PodState(
        name=metadata["name"],
        revision=_revision(pod),
        ready=is_ready,
        ready_since=_instant(ready.get("lastTransitionTime")) if ready and is_ready else None,
        scheduled_at=_instant(scheduled.get("lastTransitionTime")) if scheduled and _is_true(scheduled) else None,
        started_at=_started_at(container),
        restarts=container.get("restartCount", 0),
        trouble=None if is_ready else _trouble(status, port),
        deleting=metadata.get("deletionTimestamp") is not None,
        ended=status.get("phase") in _ENDED,
        image_id=container.get("imageID", ""),
    )


def job_state(job: Manifest, pods: Iterable[Manifest] = ()) -> JobState:
    """How far a Job is, in its own words and those of its pod that failed last, or that does not come up."""
    conditions = (job.get("status") or {}).get("conditions")
    failed = _condition(conditions, "Failed")
    newest_last = sorted(pods, key=lambda pod: (_end_of(pod), pod["metadata"]["name"]))
    told = [f"pod {pod['metadata']['name']}: {words}" for pod in newest_last if (words := _job_pod_trouble(pod))]
    if failed is not None and _is_true(failed):
        told.insert(0, _words(failed.get("reason") or "Failed", failed.get("message")))
        told = [told[0], *told[1:][-1:]]
    return JobState(
        name=job["metadata"]["name"],
        revision=_revision(job),
        succeeded=_is_true(_condition(conditions, "Complete")),
        failed=_is_true(failed),
        words=_short("; ".join(told[-2:])),
    )


def route_state(deployment: str, route: Manifest) -> RouteState:
    """Weights by revision and what each gateway says of the route.

    A backend that is no per-revision Service counts under its own name, so that its share is not mistaken for nothing.
    Where rules with header matches stand beside the one that splits by weight, the latter counts; of the former, who
    gets which requests. Copies are those of the rule that counts.
    """
    namespace = route["metadata"].get("namespace", "")
    spec = route.get("spec") or {}
    answers = (route.get("status") or {}).get("parents") or ()
    generation = route["metadata"].get("generation", 0)
    rules: Sequence[Mapping[str, Any]] = spec.get("rules") or ()
    plain = next((rule for rule in rules if not _asks_for_headers(rule)), rules[0] if rules else {})
    weights: dict[str, int] = {}
    for revision, weight in _backends(deployment, plain):
        weights[revision] = weights.get(revision, 0) + weight
    matches: dict[str, tuple[Headers, ...]] = {}
    for rule in rules:
        for revision, _ in _backends(deployment, rule) if rule is not plain else ():
            matches[revision] = (*matches.get(revision, ()), *map(_headers, rule.get("matches") or ()))
    mirrors = dict(_mirrors(deployment, plain))
    return RouteState(
        weights=weights,
        parents=tuple(
            _parent_state(reference, answers, generation, namespace) for reference in spec.get("parentRefs") or ()
        ),
        matches=matches,
        mirrors=mirrors,
    )


def only_what_is_observed(pod: dict[str, Any]) -> Manifest:
    """The part of a pod that `pod_state` reads: what an informer of pods needs to keep."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences", "deletionTimestamp")
    said = {key: status[key] for key in ("phase", "reason", "message") if key in status}
    conditions = [each for each in status.get("conditions") or () if each.get("type") in _POD_CONDITIONS]
    containers = {
        key: [{part: each[part] for part in _OF_A_CONTAINER if part in each} for each in status[key] or ()]
        for key in ("initContainerStatuses", "containerStatuses")
        if key in status
    }
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "status": {**said, "conditions": conditions, **containers},
    }


def only_what_is_counted(replica_set: dict[str, Any]) -> Manifest:
    """The ReplicaSet with the part of its status that `replica_set_state` reads, and without `managedFields`."""
    status = replica_set.get("status") or {}
    kept = {key: status[key] for key in ("replicas", "readyReplicas", "conditions") if key in status}
    return {**without_managed_fields(replica_set), "status": kept}


def only_ready_endpoints(endpoint_slice: dict[str, Any]) -> Manifest:
    """The part of an EndpointSlice that is read here: whose it is, and which pods are ready."""
    metadata = endpoint_slice["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences")
    return {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.kind,
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "endpoints": [
            {"targetRef": {"uid": (endpoint.get("targetRef") or {}).get("uid", "")}}
            for endpoint in endpoint_slice.get("endpoints") or ()
            if _is_ready_endpoint(endpoint)
        ],
    }


def without_status(manifest: dict[str, Any]) -> Manifest:
    """The object without its status and without the books of who owns its fields, neither of which is used."""
    return {key: value for key, value in without_managed_fields(manifest).items() if key != "status"}


def _jobs(ours: Sequence[Manifest], pods: Iterable[Manifest]) -> dict[str, JobState]:
    jobs = [manifest for manifest in ours if manifest["kind"] == JOB.kind]
    of_job: dict[str, list[Manifest]] = {}
    for pod in pods if jobs else ():
        of_job.setdefault(controller_uid(pod) or "", []).append(pod)
    return {job["metadata"]["name"]: job_state(job, of_job.get(job["metadata"]["uid"], ())) for job in jobs}


def _job_pod_trouble(pod: Manifest) -> str | None:
    """Why a pod that is to end by itself has failed, or does not start."""
    status = pod.get("status") or {}
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if words := _container_trouble(container):
            return _short(f"container {container.get('name')}: {words}")
    scheduled = _condition(status.get("conditions"), "PodScheduled")
    if status.get("reason"):
        return _words(status["reason"], status.get("message"))
    if scheduled is not None and scheduled.get("status") == "False":
        return _words(scheduled.get("reason") or "Unschedulable", scheduled.get("message"))
    return None


def _end_of(pod: Manifest) -> str:
    """When the last of its containers ended; empty while one runs."""
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    ends = [((each.get("state") or {}).get("terminated") or {}).get("finishedAt") or "" for each in containers]
    return max(map(str, ends), default="")


def _ready_endpoints(ours: Sequence[Manifest], endpoint_slices: Iterable[Manifest]) -> dict[str, int]:
    """Ready endpoints by revision. A pod has one in each address family, and so in several slices: it counts once."""
    services = {
        manifest["metadata"]["uid"]: _revision(manifest)
        for manifest in ours
        if manifest["kind"] == SERVICE.kind and _role(manifest) == ROLE_REVISION
    }
    pods: dict[str, set[str]] = {}
    for each in endpoint_slices:
        revision = services.get(controller_uid(each) or "")
        if revision:
            ready = {str(e["targetRef"]["uid"]) for e in each.get("endpoints") or () if _is_ready_endpoint(e)}
            pods.setdefault(revision, set()).update(ready)
    return {revision: len(uids) for revision, uids in pods.items()}


def _is_ready_endpoint(endpoint: Mapping[str, Any]) -> bool:
    """Whether it is a pod that takes requests: unknown counts as ready, as the API says."""
    ready = (endpoint.get("conditions") or {}).get("ready")
    return ready is not False and bool((endpoint.get("targetRef") or {}).get("uid"))


def _port(replica_set: Manifest) -> int | None:
    """The port that the model's container serves on, which probes and Services use."""
    containers = ((replica_set.get("spec") or {}).get("template", {}).get("spec") or {}).get("containers") or ()
    ports = (port for each in containers if each.get("name") == CONTAINER for port in each.get("ports") or ())
    return next((int(port["containerPort"]) for port in ports), None)


def _trouble(status: Mapping[str, Any], port: int | None) -> str | None:
    """Why a pod is not ready: the first cause in the order in which a pod comes up."""
    if status.get("phase") == "Failed" or status.get("reason"):  # evicted, node lost, deadline
        return _words(status.get("reason") or "Failed", status.get("message"))
    scheduled = _condition(status.get("conditions"), "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        return _words(scheduled.get("reason") or "Unschedulable", scheduled.get("message"))
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if words := _container_trouble(container):
            if container.get("name") != CONTAINER:
                return _short(f"container {container.get('name')}: {words}")
            cure = _IMAGE_CURE if _waits_for_image(container) else ""
            return _short(words, len(cure)) + cure
    container = _container(status, CONTAINER)
    if "running" in (container.get("state") or {}):
        asked = "GET /readyz" + (f" on port {port}" if port is not None else "")
        stage = (
            f"its readiness probe, {asked}, fails"
            if container.get("started")
            else f"its startup probe, {asked}, has not succeeded yet: the model is "
            "still loading, or listens on another port than serving.port"
        )
        last = (container.get("lastState") or {}).get("terminated")
        ended = f"; it last ended with {_end(last)}" if last else ""
        return _short(f"NotReady: the container runs, and {stage}{ended}")
    return None


def _waits_for_image(container: Mapping[str, Any]) -> bool:
    return ((container.get("state") or {}).get("waiting") or {}).get("reason") in _IMAGE_WAITS


def _container_trouble(container: Mapping[str, Any]) -> str | None:
    state = container.get("state") or {}
    waiting, terminated = state.get("waiting"), state.get("terminated")
    if waiting is not None and waiting.get("reason") not in _UNREMARKABLE_WAITS:
        words = _words(waiting.get("reason") or "Waiting", waiting.get("message"))
        last = (container.get("lastState") or {}).get("terminated")
        return f"{words}; it last ended with {_end(last)}" if last else words
    if terminated is not None and (terminated.get("exitCode") or terminated.get("signal")):
        return f"Terminated: it ended with {_end(terminated)}"
    return None


def _end(terminated: Mapping[str, Any]) -> str:
    """`OOMKilled, exit code 137: <the container's last words>`."""
    reason, code = terminated.get("reason") or "Error", terminated.get("exitCode")
    message = str(terminated.get("message") or "").strip()
    return f"{reason}, exit code {code}" + (f": {message}" if message else "")


def _words(reason: str, message: object) -> str:
    return _short(f"{reason}: {message}" if message else reason)


def _short(text: str, beside: int = 0) -> str:
    """Cut, so that it has room beside so many other characters."""
    longest = _LONGEST_MESSAGE - beside
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _started_at(container: Mapping[str, Any]) -> datetime | None:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    for each in (state.get("running"), state.get("terminated"), last.get("terminated")):
        if each and each.get("startedAt"):
            return _instant(each["startedAt"])
    return None


def _asks_for_headers(rule: Mapping[str, Any]) -> bool:
    return any(match.get("headers") for match in rule.get("matches") or ())


def _backends(deployment: str, rule: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Revision and weight of each backend of a rule."""
    for backend in rule.get("backendRefs") or ():
        service = str(backend.get("name", ""))
        yield revision_of_child(deployment, service) or service, int(backend.get("weight", 1))


def _mirrors(deployment: str, rule: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Revision and percentage of each filter that copies requests; a fraction that somebody wrote is rounded."""
    for each in rule.get("filters") or ():
        mirror = each.get("requestMirror")
        if mirror:
            service, fraction = str((mirror.get("backendRef") or {}).get("name", "")), mirror.get("fraction") or {}
            part = 100 * int(fraction.get("numerator", 1)) // max(1, int(fraction.get("denominator") or 100))
            percent = mirror.get("percent", part if fraction else 100)
            yield revision_of_child(deployment, service) or service, int(percent)


def _headers(match: Mapping[str, Any]) -> Headers:
    return tuple((str(each.get("name", "")), str(each.get("value", ""))) for each in match.get("headers") or ())


def _parent_state(
    reference: Mapping[str, Any], answers: Sequence[Mapping[str, Any]], generation: int, namespace: str
) -> ParentState:
    identity = _parent_identity(reference, namespace)
    gateway = _parent_name(identity)
    answered = [a for a in answers if _parent_identity(a.get("parentRef") or {}, namespace) == identity]
    problems = [_parent_problem(answer, generation, gateway) for answer in answered]
    if not problems:
        message = (
            f"{gateway} has not answered the route: look whether traffic.gateway.parentRefs names one that exists, "
            f"whether its controller runs, and whether it allows routes from namespace {namespace}"
        )
        return ParentState(accepted=False, message=message, carries=False, answered=False)
    # Several controllers may answer for one parent; one that carries the route is enough.
    accepted = None in problems
    carries = not all(_is_refused(answer, generation) for answer in answered)
    return ParentState(accepted, "" if accepted else problems[0] or "", carries)


def _is_refused(answer: Mapping[str, Any], generation: int) -> bool:
    condition = _condition(answer.get("conditions"), "Accepted") or {}
    return condition.get("status") == "False" and condition.get("observedGeneration", 0) == generation


def _parent_problem(answer: Mapping[str, Any], generation: int, gateway: str) -> str | None:
    conditions = answer.get("conditions")
    for name in _ROUTE_CONDITIONS:
        condition = _condition(conditions, name)
        if condition is None:
            return f"{gateway} has not said {name} yet"
        if condition.get("observedGeneration", 0) != generation:
            seen = condition.get("observedGeneration", 0)
            return (
                f"{gateway} has not answered generation {generation} of the route yet; {name} is of generation {seen}"
            )
        if condition.get("status") != "True":
            return _short(
                f"{gateway} says {name}={condition.get('status')}, {condition.get('reason')}: "
                f"{condition.get('message') or 'no message'}"
            )
    return None


def _parent_identity(reference: Mapping[str, Any], namespace: str) -> tuple[tuple[str, Any], ...]:
    """What makes two parentRefs the same, with the Gateway API's defaults filled in."""
    given = {key: value for key, value in reference.items() if value is not None}
    return tuple(sorted({**_PARENT_DEFAULTS, "namespace": namespace, **given}.items(), key=lambda item: item[0]))


def _parent_name(identity: tuple[tuple[str, Any], ...]) -> str:
    fields = dict(identity)
    listener = f", listener {fields['sectionName']}" if fields["sectionName"] else ""
    port = f", port {fields['port']}" if fields["port"] else ""
    return f"{fields['kind']} {fields['namespace']}/{fields.get('name', '')}{listener}{port}"


def _container(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any]
    for found in status.get("containerStatuses") or ():
        if found.get("name") == name:
            return found
    return {}


def _condition(conditions: Sequence[Mapping[str, Any]] | None, name: str) -> Mapping[str, Any] | None:
    return next((condition for condition in conditions or () if condition.get("type") == name), None)


def _is_true(condition: Mapping[str, Any] | None) -> bool:
    return condition is not None and condition.get("status") == "True"


def _revision(manifest: Manifest) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(LABEL_REVISION, ""))


def _role(manifest: Manifest) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(LABEL_ROLE, ""))


def _is(manifest: Manifest, kind: str, name: str) -> bool:
    return bool(manifest["kind"] == kind and manifest["metadata"]["name"] == name)


def _instant(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
