"""The world on its clock: what Kubernetes, the gateway, the clients and Prometheus do in each second.

`World.run` lets time pass second by second; in each, the controllers act, requests flow, and the operator passes over
the resource whenever something changed or a pass asked to be called again.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from serinus.api.kinds import LABEL_REVISION, LABEL_ROLE
from serinus.api.status import ModelDeploymentStatus, format_instant
from serinus.core.observation import Capabilities, Children
from serinus.core.plan import Note
from serinus.kube.observation import observe_children
from serinus.shell.readings import EvidenceReader
from serinus.shell.reconciler import Key, Next, Reconciler
from tests.world.api_server import ApiServer, OperatorKilled
from tests.world.traffic import Behaviour, PodCounters, Prometheus

NAMESPACE, NAME = "models", "fraud"
KEY: Key = (NAMESPACE, NAME)
START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CHILD_KINDS = ("ControllerRevision", "ReplicaSet", "Service", "HTTPRoute")


@dataclass(frozen=True)
class Moment:
    """What the world looked like at the end of a second: the trace over which invariants are checked."""

    at: datetime
    status: ModelDeploymentStatus
    weights: dict[str, int]
    ready: dict[str, int]
    wanted: dict[str, int]
    """Pods that each ReplicaSet is to have."""
    replicas: int | None
    """`scaling.replicas` of the spec."""
    answered: float
    failed: float
    failed_by: dict[str, float]


@dataclass
class CacheView:
    """The operator's caches: the API server's objects, `lag_seconds` ago."""

    world: World

    def deployment(self, key: Key) -> Any:
        return self.world.seen().get(("ModelDeployment", *key))

    def children(self, key: Key, uid: str) -> Children:
        objects = self.world.seen()
        ours = [o for (kind, namespace, _), o in objects.items() if kind in CHILD_KINDS and namespace == key[0]]
        pods = [o for (kind, namespace, _), o in objects.items() if kind == "Pod" and namespace == key[0]]
        slices = [o for (kind, namespace, _), o in objects.items() if kind == "EndpointSlice" and namespace == key[0]]
        return observe_children(key[1], uid, ours, pods, slices)

    def capabilities(self) -> Capabilities:
        return self.world.capabilities


@dataclass
class World:
    """One ModelDeployment and everything around it."""

    requests_per_second: float = 100.0
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    """By image; others start in 4 s and never fail."""
    gateway_accepts: bool = True
    gateway_delay_seconds: float = 1
    endpoints_delay_seconds: int = 0
    """From when a pod is ready, or is not any more, until gateways can know of it."""
    lag_seconds: int = 0
    capabilities: Capabilities = field(default_factory=Capabilities)
    now: datetime = START
    api: ApiServer = field(default_factory=ApiServer)
    prometheus: Prometheus = field(default_factory=Prometheus)
    notes: list[Note] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    steady: frozenset[str] = frozenset()
    """Pods that behave like any other image's, whatever `behaviours` says."""
    kills: int = 0
    operator_is_up: bool = True
    _snapshots: deque[dict[tuple[str, str, str], Any]] = field(default_factory=lambda: deque(maxlen=60))
    _dirty: bool = True
    _call_at: datetime | None = None
    _counters: dict[str, PodCounters] = field(default_factory=dict)
    _route_changed_at: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    _notices: list[datetime] = field(default_factory=list)
    _status: tuple[dict[str, Any], ModelDeploymentStatus] | None = None
    _to_restart: set[str] = field(default_factory=set)
    _ready_pods: deque[frozenset[str]] = field(default_factory=lambda: deque(maxlen=60))

    def __post_init__(self) -> None:
        self.api.watchers.append(self._mark)
        self.operator = self._new_operator()

    # What people do -----------------------------------------------------------------------------------------------

    def deploy(self, spec: dict[str, Any]) -> None:
        """kubectl apply."""
        existing = self.api.find("ModelDeployment", NAMESPACE, NAME)
        if existing is None:
            manifest = {
                "apiVersion": "serinus.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"name": NAME},
                "spec": copy.deepcopy(spec),
            }
            self.api.put("ModelDeployment", NAMESPACE, manifest)
        else:
            self.api.edit("ModelDeployment", NAMESPACE, NAME, lambda m: m.update(spec=copy.deepcopy(spec)))

    def annotate(self, **annotations: str | None) -> None:
        """kubectl annotate, with `serinus.dev/` before each name; None removes."""

        def change(manifest: dict[str, Any]) -> None:
            held = manifest["metadata"].setdefault("annotations", {})
            for name, value in annotations.items():
                key = f"serinus.dev/{name.replace('_', '-')}"
                held.pop(key, None) if value is None else held.update({key: value})

        self.api.edit("ModelDeployment", NAMESPACE, NAME, change)

    def restart(self, pod: str) -> None:
        """The container of a pod ends and is started again."""
        self._to_restart.add(pod)

    def restart_operator(self) -> None:
        """A new process: everything that was only in memory is gone."""
        self.operator = self._new_operator()
        self._dirty, self._call_at, self.operator_is_up = True, None, True

    # What can be seen ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> ModelDeploymentStatus:
        """The status as the API server has it."""
        raw = (self.api.find("ModelDeployment", NAMESPACE, NAME) or {}).get("status") or {}
        if self._status is None or self._status[0] is not raw:  # objects are replaced, never changed
            self._status = raw, ModelDeploymentStatus.model_validate(raw)
        return self._status[1]

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        found = next((c for c in self.status.conditions if c.type == kind), None)
        return (found.status, found.reason) if found else ("Unknown", "")

    def revision_of(self, image: str) -> str:
        """The revision that runs an image; "" before it has a ReplicaSet."""
        for replica_set in self.api.of("ReplicaSet"):
            if replica_set["spec"]["template"]["spec"]["containers"][0]["image"] == image:
                return str(replica_set["metadata"]["labels"][LABEL_REVISION])
        return ""

    def replicas(self) -> dict[str, int]:
        """Wanted pods by revision."""
        return {r["metadata"]["labels"][LABEL_REVISION]: r["spec"]["replicas"] for r in self.api.of("ReplicaSet")}

    def weights(self) -> dict[str, int]:
        """What the gateway's data plane does with requests: by revision, in percent."""
        route = self.api.find("HTTPRoute", NAMESPACE, NAME)
        if route is not None:
            refs = route["spec"]["rules"][0]["backendRefs"]
            return {self._selected(ref["name"]): ref["weight"] for ref in refs}
        service = self.api.find("Service", NAMESPACE, NAME)
        selected = service["spec"]["selector"].get(LABEL_REVISION) if service else None
        return {selected: 100} if selected else {}

    def seen(self) -> dict[tuple[str, str, str], Any]:
        """The objects as the operator's caches have them. The API server replaces objects and never changes one."""
        if self.lag_seconds == 0 or len(self._snapshots) <= self.lag_seconds:
            return dict(self.api.objects)
        return self._snapshots[-1 - self.lag_seconds]

    # Time ---------------------------------------------------------------------------------------------------------

    def run(self, seconds: int) -> World:
        """Let time pass."""
        asyncio.run(self._run(seconds, lambda: False))
        return self

    def run_until(self, reached: Callable[[], bool], seconds: int = 600) -> World:
        """Let time pass until something is so; fails if it is not within `seconds`."""
        asyncio.run(self._run(seconds, reached))
        assert reached(), f"not reached within {seconds} s: {self.describe()}"
        return self

    def run_until_phase(self, phase: str, seconds: int = 600) -> World:
        """Let time pass until the rollout is in a phase."""
        return self.run_until(lambda: self.status.rollout.phase == phase, seconds)

    def describe(self) -> str:
        """Where the rollout stands, for failing tests."""
        told = "\n".join(f"  {h.at:%H:%M:%S} {h.event} {h.revision}: {h.because}" for h in self.status.history)
        conditions = "\n".join(f"  {c.type}={c.status} {c.reason}: {c.message}" for c in self.status.conditions)
        return f"{self.status.rollout.model_dump(mode='json', exclude_none=True)}\n{told}\n{conditions}"

    async def _run(self, seconds: int, reached: Callable[[], bool]) -> None:
        for _ in range(seconds):
            if reached():
                return
            await self._second()

    async def _second(self) -> None:
        self.now += timedelta(seconds=1)
        self._replica_sets()
        self._pods()
        self._endpoint_slices()
        self._gateway()
        answered, failed_by = self._requests()
        self.prometheus.scrape(self.now.timestamp(), self._counters)
        self._snapshots.append(dict(self.api.objects))
        await self._operate()
        self.moments.append(
            Moment(
                at=self.now,
                status=self.status,
                weights=self.weights(),
                ready={r["metadata"]["labels"][LABEL_REVISION]: self._ready(r) for r in self.api.of("ReplicaSet")},
                wanted=self.replicas(),
                replicas=self._spec_replicas(),
                answered=answered,
                failed=sum(failed_by.values()),
                failed_by=failed_by,
            )
        )

    def _spec_replicas(self) -> int | None:
        manifest = self.api.find("ModelDeployment", NAMESPACE, NAME)
        return manifest["spec"].get("scaling", {}).get("replicas") if manifest else None

    async def _operate(self) -> None:
        for _ in range(80):
            called = self._call_at is not None and self.now >= self._call_at
            noticed = any(at <= self.now for at in self._notices)
            if not self.operator_is_up or not (self._dirty or called or noticed):
                return
            self._dirty, self._notices = False, [at for at in self._notices if at > self.now]
            try:
                following = await self.operator.pass_over(KEY)
                self._schedule(following)
                if following.reading is not None:
                    await self.operator.read(KEY, following.reading)
                    self._dirty = True
            except OperatorKilled:
                self.kills += 1
                self.restart_operator()
            if self.api.faults.down or self.lag_seconds:
                return
        raise AssertionError(f"the operator does not come to rest: {self.describe()}")

    def _schedule(self, following: Next) -> None:
        self._call_at = (
            None if following.after_seconds is None else self.now + timedelta(seconds=following.after_seconds)
        )

    def _mark(self) -> None:
        if self.lag_seconds:
            self._notices.append(self.now + timedelta(seconds=self.lag_seconds))
        else:
            self._dirty = True

    def _new_operator(self) -> Reconciler:
        reader = EvidenceReader(self.prometheus, scrape_interval_seconds=1, settle_seconds=0)
        return Reconciler(
            cluster=self.api,
            view=CacheView(self),
            read_evidence=reader.read,
            now=lambda: self.now,
            tell=lambda _deployment, note: self.notes.append(note),
        )

    # What Kubernetes does -----------------------------------------------------------------------------------------

    def _replica_sets(self) -> None:
        for replica_set in self.api.of("ReplicaSet"):
            name = replica_set["metadata"]["name"]
            pods = self._pods_of(replica_set)
            wanted = replica_set["spec"]["replicas"]
            for _ in range(wanted - len(pods)):
                self._make_pod(replica_set)
            for pod in sorted(pods, key=_is_ready)[: max(0, len(pods) - wanted)]:
                self.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
            status = {
                "replicas": wanted,
                "readyReplicas": self._ready(replica_set),
                "observedGeneration": replica_set["metadata"]["generation"],
            }
            if replica_set.get("status") != status:
                self.api.edit("ReplicaSet", NAMESPACE, name, lambda m, s=status: m.update(status=s))

    def _make_pod(self, replica_set: dict[str, Any]) -> None:
        template = copy.deepcopy(replica_set["spec"]["template"])
        self._pod_number = getattr(self, "_pod_number", 0) + 1
        name = f"{replica_set['metadata']['name']}-{self._pod_number:05d}"
        owner = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": replica_set["metadata"]["name"],
            "uid": replica_set["metadata"]["uid"],
            "controller": True,
        }
        metadata = {"name": name, "labels": template["metadata"]["labels"], "ownerReferences": [owner]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        pod["status"] = _pod_status(self.now, self.now, ready=False, restarts=0, trouble=None)
        self.api.put("Pod", NAMESPACE, pod)
        self._counters[name] = PodCounters()

    def _pods(self) -> None:
        for pod in self.api.of("Pod"):
            behaviour = self._behaviour(pod)
            running = pod["status"]["containerStatuses"][0]["state"]["running"]
            started = datetime.fromisoformat(running["startedAt"])
            age = (self.now - started).total_seconds()
            restarts = pod["status"]["containerStatuses"][0]["restartCount"]
            crashes = behaviour.crash_every_seconds
            if (crashes is not None and age >= crashes) or pod["metadata"]["name"] in self._to_restart:
                self._to_restart.discard(pod["metadata"]["name"])
                started, age, restarts = self.now, 0.0, restarts + 1
                self._counters[pod["metadata"]["name"]] = PodCounters()
            ready = age >= behaviour.startup_seconds and not behaviour.never_ready
            scheduled = datetime.fromisoformat(pod["status"]["conditions"][1]["lastTransitionTime"])
            status = _pod_status(scheduled, started, ready=ready, restarts=restarts, trouble=behaviour.trouble)
            if ready:
                since = started + timedelta(seconds=behaviour.startup_seconds)
                status["conditions"][0]["lastTransitionTime"] = format_instant(since)
            if behaviour.unschedulable:
                status = _waiting_for_a_node(scheduled)
            if status != pod["status"]:
                self.api.edit("Pod", NAMESPACE, pod["metadata"]["name"], lambda m, s=status: m.update(status=s))

    def _endpoint_slices(self) -> None:
        """One for each revision's own Service: the ready pods of `endpoints_delay_seconds` ago."""
        self._ready_pods.append(frozenset(_uid(pod) for pod in self.api.of("Pod") if _is_ready(pod)))
        known = self._ready_pods[max(-len(self._ready_pods), -1 - self.endpoints_delay_seconds)]
        services = {_uid(each): each for each in self.api.of("Service") if _is_revision_service(each)}
        for orphan in [each for each in self.api.of("EndpointSlice") if _owner(each) not in services]:
            self.api.remove("EndpointSlice", NAMESPACE, orphan["metadata"]["name"])
        for uid, service in services.items():
            name, revision = service["metadata"]["name"], service["spec"]["selector"][LABEL_REVISION]
            endpoints = [
                {"targetRef": {"uid": _uid(pod)}, "conditions": {"ready": _uid(pod) in known}}
                for pod in self.api.of("Pod")
                if _revision(pod) == revision
            ]
            existing = self.api.find("EndpointSlice", NAMESPACE, name)
            if existing is None:
                owner = {"kind": "Service", "name": name, "uid": uid, "controller": True}
                labels = {**service["metadata"]["labels"], "kubernetes.io/service-name": name}
                metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
                made = {"kind": "EndpointSlice", "metadata": metadata, "endpoints": endpoints}
                self.api.put("EndpointSlice", NAMESPACE, made)
            elif existing["endpoints"] != endpoints:
                self.api.edit("EndpointSlice", NAMESPACE, name, lambda m, e=endpoints: m.update(endpoints=e))

    def _known_to_gateways(self, pod: dict[str, Any]) -> bool:
        """Whether requests find it: an endpoint of its revision's Service."""
        slices = [each for each in self.api.of("EndpointSlice") if _revision(each) == _revision(pod)]
        endpoints = [endpoint for each in slices for endpoint in each["endpoints"]]
        return any(e["targetRef"]["uid"] == _uid(pod) and e["conditions"]["ready"] for e in endpoints)

    def _gateway(self) -> None:
        for route in self.api.of("HTTPRoute"):
            metadata = route["metadata"]
            generation, since = self._route_changed_at.get(metadata["name"], (0, self.now))
            if generation != metadata["generation"]:
                generation, since = metadata["generation"], self.now
                self._route_changed_at[metadata["name"]] = (generation, since)
            if (self.now - since).total_seconds() < self.gateway_delay_seconds:
                continue
            accepted = "True" if self.gateway_accepts else "False"
            reason = "Accepted" if self.gateway_accepts else "NoMatchingListenerHostname"
            conditions = [
                {
                    "type": kind,
                    "status": accepted,
                    "reason": reason,
                    "observedGeneration": generation,
                    "message": reason,
                }
                for kind in ("Accepted", "ResolvedRefs")
            ]
            parents = [{"parentRef": ref, "conditions": conditions} for ref in route["spec"]["parentRefs"]]
            if route.get("status") != {"parents": parents}:
                self.api.edit(
                    "HTTPRoute", NAMESPACE, metadata["name"], lambda m, p=parents: m.update(status={"parents": p})
                )

    def _requests(self) -> tuple[float, dict[str, float]]:
        failed: dict[str, float] = {}
        weights = self.weights()
        total = sum(weights.values())
        for revision, weight in weights.items():
            requests = self.requests_per_second * weight / total if total else 0.0
            ready = [
                pod
                for pod in self.api.of("Pod")
                if _revision(pod) == revision and _is_ready(pod) and self._known_to_gateways(pod)
            ]
            if not ready:
                failed[revision] = requests
                continue
            for pod in ready:
                behaviour, counters = self._behaviour(pod), self._counters[pod["metadata"]["name"]]
                share = requests / len(ready)
                counters.total += share
                counters.errors += share * behaviour.error_share
                counters.slow += share * max(behaviour.slow_share, behaviour.error_share)
                failed[revision] = failed.get(revision, 0.0) + share * behaviour.error_share
        return self.requests_per_second if total else 0.0, failed

    def _behaviour(self, pod: dict[str, Any]) -> Behaviour:
        if pod["metadata"]["name"] in self.steady:
            return Behaviour()
        return self.behaviours.get(pod["spec"]["containers"][0]["image"], Behaviour())

    def _selected(self, service: str) -> str:
        found = self.api.find("Service", NAMESPACE, service)
        return str(found["spec"]["selector"][LABEL_REVISION]) if found else service

    def _pods_of(self, replica_set: dict[str, Any]) -> list[dict[str, Any]]:
        uid = replica_set["metadata"]["uid"]
        return [pod for pod in self.api.of("Pod") if pod["metadata"]["ownerReferences"][0]["uid"] == uid]

    def _ready(self, replica_set: dict[str, Any]) -> int:
        return sum(_is_ready(pod) for pod in self._pods_of(replica_set))


def spec_of(image: str, **sections: Any) -> dict[str, Any]:
    """A two-step canary behind a gateway, three replicas, short times; `sections` replace whole sections."""
    return {
        "serving": {"image": image, "startupSeconds": 60},
        "scaling": {"replicas": 3},
        "traffic": {
            "gateway": {"parentRefs": [{"name": "public", "namespace": "gateways"}], "hostnames": ["a.example"]}
        },
        "rollout": {
            "canary": {
                "steps": [
                    {"name": "five", "weightPercent": 5, "holdSeconds": 60},
                    {"name": "half", "weightPercent": 50, "holdSeconds": 60},
                ]
            },
            "progressDeadlineSeconds": 120,
            "watchSeconds": 60,
            "scaleDownDelaySeconds": 60,
        },
        "analysis": {
            "intervalSeconds": 5,
            "metrics": [{"name": "errors", "errors": {}, "limit": {"maxPercent": "1"}}],
        },
    } | sections


def _pod_status(
    scheduled: datetime, started: datetime, *, ready: bool, restarts: int, trouble: str | None
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "model",
        "restartCount": restarts,
        "ready": ready,
        "state": {"running": {"startedAt": format_instant(started)}},
    }
    if trouble and not ready:
        container["lastState"] = {"terminated": {"reason": trouble, "exitCode": 137}}
    return {
        "phase": "Running",
        "conditions": [
            {"type": "Ready", "status": str(ready), "lastTransitionTime": format_instant(started)},
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": format_instant(scheduled)},
        ],
        "containerStatuses": [container],
    }


def _waiting_for_a_node(since: datetime) -> dict[str, Any]:
    status = _pod_status(since, since, ready=False, restarts=0, trouble=None)
    status["conditions"][1] |= {"status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}
    return status


def _is_ready(pod: dict[str, Any]) -> bool:
    return bool(pod["status"]["conditions"][0]["status"] == "True")


def _revision(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"][LABEL_REVISION])


def _uid(manifest: dict[str, Any]) -> str:
    return str(manifest["metadata"]["uid"])


def _owner(manifest: dict[str, Any]) -> str:
    return str(manifest["metadata"]["ownerReferences"][0]["uid"])


def _is_revision_service(service: dict[str, Any]) -> bool:
    return bool(service["metadata"].get("labels", {}).get(LABEL_ROLE) == "revision")
