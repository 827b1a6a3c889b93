"""The world on its clock: what Kubernetes, the gateway, the clients and Prometheus do in each second.

`World.run` lets time pass second by second; in each, the controllers act, requests flow, and the operator passes over
the resource whenever something changed or a pass asked to be called again. A pass may take many seconds, end with the
process, or be frozen in its middle and go on when another process has long taken over.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import copy
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from serinus.api.deployment import InvalidSpec, ModelDeployment
from serinus.api.gateways import GatewayFeature
from serinus.api.kinds import CLUSTER_ROLLOUT_POLICY, LABEL_DEPLOYMENT, LABEL_REVISION, LABEL_ROLE, ROLE_REVISION
from serinus.api.status import ModelDeploymentStatus, format_instant
from serinus.core.due import EvidenceRequest
from serinus.core.gateways import GatewayState
from serinus.core.observation import Capabilities
from serinus.core.plan import Note
from serinus.core.platform import govern
from serinus.shell.notifications import Notifier
from serinus.shell.own_writes import ToldCluster
from serinus.shell.readings import EvidenceReader
from serinus.shell.reconciler import Key, Next, Reconciler
from tests.world.api_server import ApiServer, Hold, OperatorKilled
from tests.world.caches import Caches, Past
from tests.world.post import Post
from tests.world.prometheus import TIMEOUT_SECONDS, Prometheus
from tests.world.traffic import COUNTRIES, Behaviour, JobBehaviour, PodCounters

NAMESPACE, NAME = "models", "fraud"
Shape = tuple[
    dict[str, int], frozenset[str], dict[str, int], dict[str, int], frozenset[str], dict[str, int], frozenset[str]
]
Flow = tuple[str, float, list[dict[str, Any]]]
"""A revision, requests in a second, and the pods that they find."""
KEY: Key = (NAMESPACE, NAME)
ANNOTATOR = "kubectl-annotate"
"""The field manager of the annotations that people set."""
START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
_LOOP = asyncio.new_event_loop()
"""One for all worlds: to make one takes longer than a simulated second."""
atexit.register(_LOOP.close)
ABLE = GatewayState("example.com/gateway", "public", frozenset(GatewayFeature))
"""A gateway that is known to do all that a rollout may ask of it."""
GATEWAYS = {("gateways", "public"): ABLE, (NAMESPACE, "other"): ABLE}


@dataclass(frozen=True)
class Moment:
    """What the world looked like at the end of a second: the trace over which invariants are checked."""

    at: datetime
    status: ModelDeploymentStatus
    weights: dict[str, int]
    is_plain: bool
    """Whether clients come by a plain Service, without a gateway."""
    is_shared: bool
    """Whether the weights are those of pods behind one plain Service."""
    by_headers: frozenset[str]
    """Revisions to which the gateway leads requests by their headers."""
    copied: dict[str, int]
    """Share of the other requests that the gateway copies to a revision, in percent."""
    requests: dict[str, float]
    """By revision, in this second."""
    ready: dict[str, int]
    found: frozenset[str]
    """Revisions with a ready pod that is an endpoint by now: requests that are led to them find one."""
    wanted: dict[str, int]
    """Pods that each ReplicaSet of ours is to have."""
    replicas: int | None
    """`scaling.replicas` of the spec."""
    answered: float
    failed: float
    lost: float
    """Of them, requests that found no pod."""
    failed_by: dict[str, float]
    up: bool
    """Whether there was an operator."""
    able: bool
    """Whether nothing kept the operator from seeing all and from writing in this second."""
    recorded: frozenset[str]
    """Revisions that have a ControllerRevision: any other's ReplicaSet can't be made anew."""
    scaled: frozenset[str]
    """Revisions whose ReplicaSets the operator scaled in this second."""
    life: tuple[str, int]
    """Changes with the resource's uid, and when its status is lost: what was promised before is forgotten."""
    suspended: bool
    held: bool = False
    """Whether the platform's policies forbid what the spec asks for."""


@dataclass
class OperatorPass:
    """A pass under way that waits for an answer, or for its process to be thawed."""

    operator: Reconciler
    coroutine: Coroutine[Any, Any, Next]
    resume_at: datetime


@dataclass
class Pod:
    """What the kubelet knows of a pod."""

    scheduled: datetime
    started: datetime
    restarts: int = 0
    has_node: bool = True
    shown: tuple[Any, ...] = ()
    """What its status was made from."""


@dataclass
class World:
    """One ModelDeployment and everything around it."""

    requests_per_second: float = 100.0
    tester_share: float = 0.0
    """Part of them that testers send, with the header of theirs."""
    tester_header: tuple[str, str] = ("x-cohort", "beta")
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    """By image; others start in 4 s and never fail."""
    jobs: dict[str, JobBehaviour] = field(default_factory=dict)
    """By image of the revision that they try; others take 5 s and succeed."""
    gateway_accepts: bool = True
    absent_gateways: frozenset[str] = frozenset()
    """Names under which there is no Gateway: no controller answers for them."""
    gateway_delay_seconds: float = 1
    room: int | None = None
    """Pods for which the cluster has nodes; None: for all."""
    ending_seconds: int = 0
    """From when a pod is to go until it is gone: no endpoint any more, and still on its node."""
    endpoints_delay_seconds: int = 0
    """From when a pod is ready, or is not any more, until gateways can know of it."""
    lag_seconds: int = 0
    """Of the operator's caches, all the time."""
    clock_offset: timedelta = timedelta(0)
    """How far the operator's clock is ahead."""
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(gateways=GATEWAYS))
    now: datetime = START
    api: ApiServer = field(default_factory=ApiServer)
    prometheus: Prometheus = field(default_factory=Prometheus)
    post: Post = field(default_factory=Post)
    """Brings notifications to the receivers among the capabilities."""
    notes: list[Note] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    steady: frozenset[str] = frozenset()
    """Pods that behave like any other image's, whatever `behaviours` says."""
    kills: int = 0
    losses_of_status: int = 0
    operator_is_up: bool = True
    reads_configurations: bool = True
    """Whether the operator may read ConfigMaps and Secrets."""
    autoscaler_asks: int | None = None
    """Pods that the load takes, as an autoscaler sees it; None: as many as there are."""
    _dirty: bool = True
    _call_at: datetime | None = None
    _failing: bool = False
    """Whether a call of the last pass went wrong, so that the next one waits."""
    _in_flight: OperatorPass | None = None
    _frozen: list[OperatorPass] = field(default_factory=list)
    _reading: tuple[datetime, Reconciler, EvidenceRequest] | None = None
    _post_rests_until: dict[str, datetime] = field(default_factory=dict)
    """By receiver."""
    _counters: dict[str, PodCounters] = field(default_factory=dict)
    _pods_known: dict[str, Pod] = field(default_factory=dict)
    _pod_number: int = 0
    _route_changed_at: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    _status: tuple[dict[str, Any], ModelDeploymentStatus] | None = None
    _ends_at: dict[str, datetime] = field(default_factory=dict)
    """By name, of pods that are ending."""
    _to_restart: set[str] = field(default_factory=set)
    _jobs_since: dict[str, datetime] = field(default_factory=dict)
    """By uid, when a Job was first seen."""
    _ready_pods: deque[frozenset[str]] = field(default_factory=lambda: deque(maxlen=60))
    _selectors: deque[dict[str, dict[str, str]]] = field(default_factory=lambda: deque(maxlen=60))
    """By uid of the Services that have slices, whom they select."""
    _slices_behind: int = 0
    """Seconds. It rises with the clock to `endpoints_delay_seconds`: work that is done is not taken back."""
    _quiet: dict[str, Any] = field(default_factory=dict)
    """For each controller, what it last found nothing to do about."""

    def __post_init__(self) -> None:
        self.past = Past(self.api)
        self.operator = self._new_operator()

    # What people do -----------------------------------------------------------------------------------------------

    def deploy(self, spec: dict[str, Any]) -> None:
        """kubectl apply."""
        existing = self.api.find("ModelDeployment", NAMESPACE, NAME)
        if existing is None:
            manifest = {
                "apiVersion": "serinus.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"name": NAME, "creationTimestamp": format_instant(self.now)},
                "spec": copy.deepcopy(spec),
            }
            self.api.put("ModelDeployment", NAMESPACE, manifest)
        else:
            self.api.edit("ModelDeployment", NAMESPACE, NAME, lambda m: m.update(spec=copy.deepcopy(spec)))

    def annotate(self, **annotations: str | None) -> None:
        """kubectl annotate, with `serinus.dev/` before each name; None removes."""

        def change(manifest: dict[str, Any]) -> None:
            metadata = manifest["metadata"]
            held = metadata.setdefault("annotations", {})
            for name, value in annotations.items():
                key = f"serinus.dev/{name.replace('_', '-')}"
                held.pop(key, None) if value is None else held.update({key: value})
            ours = {"f:annotations": {f"f:{key}": {} for key in held}}
            entry = {"manager": ANNOTATOR, "operation": "Update", "fieldsV1": {"f:metadata": ours}}
            metadata["managedFields"] = [entry | {"time": format_instant(self.now)}]

        self.api.edit("ModelDeployment", NAMESPACE, NAME, change)

    def govern(self, spec: dict[str, Any] | None, name: str = "house") -> None:
        """The platform team applies a ClusterRolloutPolicy, or deletes it (None)."""
        kind = CLUSTER_ROLLOUT_POLICY.kind
        existing = self.api.find(kind, "", name)
        if spec is None:
            self.api.remove(kind, "", name)
        elif existing is None:
            api_version = CLUSTER_ROLLOUT_POLICY.api_version
            manifest = {
                "apiVersion": api_version,
                "kind": kind,
                "metadata": {"name": name},
                "spec": copy.deepcopy(spec),
            }
            self.api.put(kind, "", manifest)
        else:
            self.api.edit(kind, "", name, lambda m: m.update(spec=copy.deepcopy(spec)))

    def lose_status(self) -> None:
        """The status is removed, as by a restore from a backup."""
        self.losses_of_status += 1
        self.api.edit("ModelDeployment", NAMESPACE, NAME, lambda m: m.pop("status", None))

    def restart(self, pod: str) -> None:
        """The container of a pod ends and is started again."""
        self._to_restart.add(pod)

    def restart_operator(self) -> None:
        """A new process: everything that was only in memory is gone, and what it was about to write is not written."""
        self.stop_operator()
        self.operator = self._new_operator()
        self._dirty, self.operator_is_up = True, True

    def stop_operator(self) -> None:
        """The process is gone, and there is no other yet."""
        if self._in_flight is not None:
            self._in_flight.coroutine.close()
        self.caches.end()
        self._in_flight, self._reading, self._call_at, self.operator_is_up = None, None, None, False
        self._failing = False

    def freeze_operator(self, seconds: int) -> None:
        """The process stands still, with what it sees and does; another one takes over.

        When it is thawed it goes on where it was: it carries out the pass that it was in, and begins another one before
        it learns that it no longer leads.
        """
        self.caches.freeze()
        thawed_at = self.now + timedelta(seconds=seconds)
        under_way = self._in_flight.coroutine if self._in_flight else self.operator.pass_over(KEY)
        self._frozen.append(OperatorPass(self.operator, under_way, thawed_at))
        self._in_flight = None
        self.restart_operator()

    def thaw(self) -> None:
        """All frozen processes go on, now."""
        for late in self._frozen:
            late.resume_at = self.now
        self._thaw()

    # What can be seen ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> ModelDeploymentStatus:
        """The status as the API server has it."""
        raw = (self.api.find("ModelDeployment", NAMESPACE, NAME) or {}).get("status") or {}
        if self._status is None or self._status[0] is not raw:  # objects are replaced, never changed
            self._status = raw, ModelDeploymentStatus.model_validate(raw)
        return self._status[1]

    @property
    def passes_under_way(self) -> int:
        """Passes that wait for an answer, or for their process to be thawed."""
        return len(self._frozen) + (self._in_flight is not None)

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        found = next((c for c in self.status.conditions if c.type == kind), None)
        return (found.status, found.reason) if found else ("Unknown", "")

    def revision_of(self, image: str) -> str:
        """The revision that runs an image; "" before it has a ReplicaSet."""
        for replica_set in self._labelled_replica_sets():
            if replica_set["spec"]["template"]["spec"]["containers"][0]["image"] == image:
                return str(replica_set["metadata"]["labels"][LABEL_REVISION])
        return ""

    def replicas(self, *, owned: bool = False) -> dict[str, int]:
        """Wanted pods by revision; `owned`: without ReplicaSets whose owner or label somebody has removed."""
        return {
            each["metadata"]["labels"][LABEL_REVISION]: each["spec"]["replicas"]
            for each in self._labelled_replica_sets()
            if not owned or (_is_labelled(each["metadata"]) and each["metadata"].get("ownerReferences"))
        }

    def weights(self) -> dict[str, int]:
        """What the gateway's data plane does with requests: by revision, in percent.

        Where people have moved to the plain Service, a route that they took from Serinus is no business of it any more.
        """
        rules = self._rules()
        if rules:
            refs = next((rule for rule in rules if not _headers_of(rule)), rules[0])["backendRefs"]
            return {self._selected(ref["name"]): ref["weight"] for ref in refs}
        service = self.api.find("Service", NAMESPACE, NAME)
        selected = service["spec"]["selector"].get(LABEL_REVISION) if service else None
        if service is not None and selected is None:
            return self._shares_of_pods()
        return {selected: 100} if selected else {}

    def by_headers(self) -> dict[str, list[dict[str, str]]]:
        """By revision, the headers of requests that the gateway leads to it, whatever the weights say."""
        found: dict[str, list[dict[str, str]]] = {}
        for rule in self._rules():
            for ref in rule["backendRefs"] if _headers_of(rule) else ():
                found.setdefault(self._selected(ref["name"]), []).extend(_headers_of(rule))
        return found

    def copied(self) -> dict[str, int]:
        """By revision, the share of the requests in percent that the gateway copies to it."""
        return {
            self._selected(each["requestMirror"]["backendRef"]["name"]): each["requestMirror"].get("percent", 100)
            for rule in self._rules()
            for each in rule.get("filters", ())
            if each["type"] == "RequestMirror"
        }

    def _rules(self) -> list[dict[str, Any]]:
        route = self.api.find("HTTPRoute", NAMESPACE, NAME)
        resource = self.api.find("ModelDeployment", NAMESPACE, NAME) or {"spec": {}}
        owned = route is not None and route["metadata"].get("ownerReferences")
        if route is None or not (owned or resource["spec"].get("traffic", {}).get("gateway")):
            return []
        return list(route["spec"]["rules"])

    def is_shared(self) -> bool:
        """Whether clients come by a plain Service that leads to the pods of all revisions."""
        service = self.api.find("Service", NAMESPACE, NAME)
        plain = service is not None and self.api.find("HTTPRoute", NAMESPACE, NAME) is None
        return bool(plain and service and LABEL_REVISION not in service["spec"]["selector"])

    def _shares_of_pods(self) -> dict[str, int]:
        """By revision, in percent, as connections are spread over the ready endpoints of all revisions."""
        found = self._found_endpoints() if self._slices_behind else {_uid(pod) for pod in self.api.of("Pod")}
        revisions = [_revision(pod) for pod in self.api.of("Pod") if _is_ready(pod) and _uid(pod) in found]
        return {each: round(100 * revisions.count(each) / len(revisions)) for each in sorted(set(revisions))}

    def _found_endpoints(self) -> set[str]:
        """Uids of the pods that requests find: those that the gateway is told of, else those of the one Service."""
        routed = bool(self._rules())
        return {
            endpoint["targetRef"]["uid"]
            for each in self.api.of("EndpointSlice")
            for endpoint in each["endpoints"]
            if endpoint["conditions"]["ready"] and routed != (each["metadata"]["name"] == NAME)
        }

    # Time ---------------------------------------------------------------------------------------------------------

    def run(self, seconds: int) -> World:
        """Let time pass."""
        _LOOP.run_until_complete(self._run(seconds, lambda: False))
        return self

    def run_until(self, reached: Callable[[], bool], seconds: int = 600) -> World:
        """Let time pass until something is so; fails if it is not within `seconds`."""
        _LOOP.run_until_complete(self._run(seconds, reached))
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
        failed_before, writes_before = self.api.failed_calls, len(self.api.writes)
        self._thaw()
        self._collect_garbage()
        self._autoscalers()
        self._replica_sets()
        self._pods()
        self._endpoint_slices()
        self._run_jobs()
        self._gateway()
        lost, failed_by, requests = self._requests()
        self.prometheus.scrape(self.now.timestamp(), self._counters)
        self.past.remember()
        await self._operate()
        await self._notify()
        weights, by_headers, copied, ready, found, wanted, recorded = self._shape()
        resource = self.api.find("ModelDeployment", NAMESPACE, NAME)
        self.moments.append(
            Moment(
                at=self.now,
                status=self.status,
                weights=weights,
                is_plain=self.api.find("HTTPRoute", NAMESPACE, NAME) is None,
                is_shared=self.is_shared(),
                by_headers=by_headers,
                copied=copied,
                requests=requests,
                ready=ready,
                found=found,
                wanted=wanted,
                recorded=recorded,
                replicas=resource["spec"].get("scaling", {}).get("replicas") if resource else None,
                answered=self.requests_per_second if any(weights.values()) else 0.0,
                failed=sum(failed_by.values()),
                lost=lost,
                failed_by=failed_by,
                up=self.operator_is_up,
                able=self.api.failed_calls == failed_before and self._is_able(),
                scaled=frozenset(
                    write.name.removeprefix(f"{NAME}-")
                    for write in self.api.writes[writes_before:]
                    if write.verb == "scale"
                ),
                life=(_uid(resource) if resource else "", self.losses_of_status),
                suspended=bool(resource and resource["spec"].get("suspend")),
                held=self._is_held(resource),
            )
        )

    def _is_held(self, resource: dict[str, Any] | None) -> bool:
        """Asked anew when something has changed."""
        if self._quiet.get("held", (None,))[0] != self.api.version:
            policies, held = self.caches.policies(NAMESPACE), False
            if resource is not None and policies:
                with contextlib.suppress(InvalidSpec):
                    held = bool(govern(ModelDeployment.parse(resource).spec, policies).in_the_way)
            self._quiet["held"] = self.api.version, held
        return bool(self._quiet["held"][1])

    def _shape(self) -> Shape:
        """Weights, ready, found and wanted pods by revision, what is recorded; the same as long as nothing changes."""
        if self._quiet.get("shape", (None,))[0] != self.api.version:
            ready = {r["metadata"]["labels"][LABEL_REVISION]: self._ready(r) for r in self._labelled_replica_sets()}
            records = [each["metadata"] for each in self.api.of("ControllerRevision")]
            ours = [each["name"] for each in records if each.get("ownerReferences") and _is_labelled(each)]
            recorded = frozenset(name.removeprefix(f"{NAME}-") for name in ours)
            beside = frozenset(self.by_headers()), self.copied()
            endpoints = self._found_endpoints() if self._rules() else {_uid(pod) for pod in self.api.of("Pod")}
            found = frozenset(_revision(pod) for pod in self.api.of("Pod") if _is_ready(pod) and _uid(pod) in endpoints)
            made = self.weights(), *beside, ready, found, self.replicas(owned=True), recorded
            self._quiet["shape"] = self.api.version, made
        shape: Shape = self._quiet["shape"][1]
        return shape

    def _is_able(self) -> bool:
        memory = self.operator._memories.get(KEY)
        trouble = self.api.faults.down or self._in_flight or not self.caches.are_live or self.api.faults.refused_kinds
        trouble = trouble or self._failing
        return self.operator_is_up and not trouble and memory is not None and not memory.failures and not memory.refusal

    # The operator's process -----------------------------------------------------------------------------------------

    async def _operate(self) -> None:
        if not self.operator_is_up:
            return
        await self._deliver_reading()
        if self._in_flight is not None:
            if self.now < self._in_flight.resume_at:
                return
            await self._drive(self._in_flight)
        for _ in range(80):
            called = self._call_at is not None and self.now >= self._call_at
            if not self.operator_is_up or self._in_flight or not (self._dirty or called or self.caches.noticed()):
                return
            self._dirty = False
            await self._drive(OperatorPass(self.operator, self.operator.pass_over(KEY), self.now))
            if self.api.faults.down or not self.caches.are_live:
                return
        raise AssertionError(f"the operator does not come to rest: {self.describe()}")

    async def _notify(self) -> None:
        """The tasks that send, until nothing waits or all receivers are left alone."""
        for name in self.capabilities.receivers:
            while self.operator_is_up and self.notifier.waiting_for(name):
                if self.now < self._post_rests_until.get(name, self.now):
                    break
                try:
                    pause = await self.notifier.step(name)
                except OperatorKilled:
                    self.kills += 1
                    self.restart_operator()
                else:
                    self._post_rests_until[name] = self.now + timedelta(seconds=pause)

    async def _drive(self, passing: OperatorPass) -> None:
        """Let a pass go on until it ends, waits, or dies."""
        self._in_flight, failed_before = None, self.api.failed_calls
        try:
            hold = passing.coroutine.send(None)
        except StopIteration as ended:
            self._failing = self.api.failed_calls > failed_before
            await self._follow(ended.value)
        except OperatorKilled:
            self.kills += 1
            self.restart_operator()
        else:
            assert isinstance(hold, Hold)
            self._in_flight = passing
            passing.resume_at = self.now + timedelta(seconds=hold.seconds)
            if hold.frozen:
                self.freeze_operator(hold.seconds)

    async def _follow(self, following: Next) -> None:
        after = following.after_seconds
        self._call_at = None if after is None else self.now + timedelta(seconds=after)
        if following.reading is None:
            return
        if self.prometheus.slow_seconds:
            waits = timedelta(seconds=min(self.prometheus.slow_seconds, TIMEOUT_SECONDS))
            self._reading = self.now + waits, self.operator, following.reading
        else:
            await self.operator.read(KEY, following.reading)
            self._dirty = True

    async def _deliver_reading(self) -> None:
        """The reading that took its time comes in."""
        if self._reading is not None and self.now >= self._reading[0]:
            _, operator, request = self._reading
            self._reading = None
            await operator.read(KEY, request)
            self._dirty = True

    def _thaw(self) -> None:
        thawed = [late for late in self._frozen if self.now >= late.resume_at]
        self._frozen = [late for late in self._frozen if self.now < late.resume_at]
        for late in thawed:
            for coroutine in (late.coroutine, late.operator.pass_over(KEY)):
                self._finish(coroutine)

    def _finish(self, coroutine: Coroutine[Any, Any, Next]) -> None:
        """To its end, whatever it waits for."""
        try:
            while True:
                coroutine.send(None)
        except (StopIteration, OperatorKilled):
            return

    def _new_operator(self) -> Reconciler:
        reader = EvidenceReader(self.prometheus, scrape_interval_seconds=1, settle_seconds=0)
        self.caches = Caches(
            self.past,
            lambda: self.capabilities,
            self._mark,
            lag_seconds=self.lag_seconds,
            reads_configurations=lambda: self.reads_configurations,
        )
        self._post_rests_until = {}
        self.notifier = Notifier(
            self.capabilities.receivers,
            self.post,
            cluster_name="world",
            may_send=lambda: True,
            on_told=lambda _: self._mark(),
            count=self.post.count,
            now=lambda: self.now + self.clock_offset,
            dice=lambda: 0.0,
        )
        return Reconciler(
            cluster=ToldCluster(self.api, self.caches.learn),
            view=self.caches,
            read_evidence=reader.read,
            now=lambda: self.now + self.clock_offset,
            monotonic=self._seconds,
            tell=lambda _deployment, note: self.notes.append(note),
            notifications=self.notifier,
        )

    def _seconds(self) -> float:
        return self.now.timestamp()

    def _mark(self) -> None:
        self._dirty = True

    # What Kubernetes does -----------------------------------------------------------------------------------------

    def _found_quiet(self, controller: str, state: Any) -> bool:
        """Whether a controller has nothing to do, as it had when it last saw the same."""
        if self._quiet.get(controller) == state:
            return True
        self._quiet[controller] = state
        return False

    def _collect_garbage(self) -> None:
        """What is controlled by an object that is gone goes."""
        if self._found_quiet("garbage", self.api.version):
            return
        alive = {_uid(each) for each in self.api.objects.values()}
        for (kind, namespace, name), each in list(self.api.objects.items()):
            owners = each["metadata"].get("ownerReferences") or ()
            if owners and all(owner["uid"] not in alive for owner in owners):
                self.api.remove(kind, namespace, name)

    def _autoscalers(self) -> None:
        """Each keeps its ReplicaSet within its bounds, and within them at what the load takes.

        One that is scaled to zero is left alone, as Kubernetes does.
        """
        if self._found_quiet("autoscalers", (self.api.version, self.autoscaler_asks)):
            return
        for autoscaler in self.api.of("HorizontalPodAutoscaler"):
            spec = autoscaler["spec"]
            target = self.api.find("ReplicaSet", NAMESPACE, spec["scaleTargetRef"]["name"])
            current = target["spec"]["replicas"] if target else 0
            asked = current if self.autoscaler_asks is None else self.autoscaler_asks
            size = min(max(asked, spec["minReplicas"]), spec["maxReplicas"])
            if target is not None and current not in {0, size}:
                name = target["metadata"]["name"]
                self.api.edit("ReplicaSet", NAMESPACE, name, lambda m, n=size: m["spec"].update(replicas=n))

    def _replica_sets(self) -> None:
        if self._found_quiet("replica sets", self.api.version):
            return
        for replica_set in self.api.of("ReplicaSet"):
            name = replica_set["metadata"]["name"]
            pods = self._pods_of(replica_set)
            wanted = replica_set["spec"]["replicas"]
            if "deletionTimestamp" in replica_set["metadata"]:  # its controller leaves it alone
                wanted = len(pods)
            for _ in range(wanted - len(pods)):
                self._make_pod(replica_set)
            for pod in sorted(pods, key=_is_ready)[: max(0, len(pods) - wanted)]:
                self._end(pod["metadata"]["name"])
            status = {
                "replicas": wanted,
                "readyReplicas": self._ready(replica_set),
                "observedGeneration": replica_set["metadata"]["generation"],
            }
            if replica_set.get("status") != status:
                self.api.edit("ReplicaSet", NAMESPACE, name, lambda m, s=status: m.update(status=s))

    def _make_pod(self, replica_set: dict[str, Any]) -> None:
        template = copy.deepcopy(replica_set["spec"]["template"])
        self._pod_number += 1
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
        self._pods_known[_uid(self.api.put("Pod", NAMESPACE, pod))] = Pod(self.now, self.now, has_node=False)
        self._counters[name] = PodCounters()

    def _end(self, pod: str) -> None:
        """The pod is deleted: its containers are given time to end."""
        if not self.ending_seconds:
            self.api.remove("Pod", NAMESPACE, pod)
            return
        self._ends_at[pod] = self.now + timedelta(seconds=self.ending_seconds)
        deleted_at = format_instant(self._ends_at[pod])
        deleted = {"deletionTimestamp": deleted_at, "deletionGracePeriodSeconds": self.ending_seconds}
        self.api.edit("Pod", NAMESPACE, pod, lambda m: m["metadata"].update(deleted))

    def _remove_ended(self) -> None:
        for pod in [name for name, at in self._ends_at.items() if self.now >= at]:
            del self._ends_at[pod]
            if self.api.find("Pod", NAMESPACE, pod) is not None:
                self.api.remove("Pod", NAMESPACE, pod)

    def _schedule(self, pods: list[dict[str, Any]]) -> None:
        """Pods get nodes in the order in which they were made, as long as there is room."""
        known = [self._pods_known[_uid(pod)] for pod in pods]
        taken = sum(each.has_node for each in known)
        for each in known:
            if not each.has_node and (self.room is None or taken < self.room):
                each.has_node, each.scheduled, each.started = True, self.now, self.now
                taken += 1

    def _pods(self) -> None:
        """The scheduler and the kubelet."""
        self._remove_ended()
        pods = list(self.api.of("Pod"))
        self._schedule(pods)
        if not self._found_quiet("names of pods", self.api.version):
            names = {pod["metadata"]["name"] for pod in pods}
            self._counters = {name: counted for name, counted in self._counters.items() if name in names}
        for pod in pods:
            known, behaviour, name = self._pods_known[_uid(pod)], self._behaviour(pod), pod["metadata"]["name"]
            age = (self.now - known.started).total_seconds()
            crashes = behaviour.crash_every_seconds
            if (crashes is not None and age >= crashes) or name in self._to_restart:
                self._to_restart.discard(name)
                known.started, age, known.restarts = self.now, 0.0, known.restarts + 1
                self._counters[name] = PodCounters()
            homeless = behaviour.unschedulable or not known.has_node
            ready = age >= behaviour.startup_seconds and not behaviour.never_ready and not homeless
            shows = (ready, known.started, behaviour.trouble, behaviour.waits_for, homeless, behaviour.startup_seconds)
            if shows == known.shown:
                continue
            known.shown = shows
            status = _pod_status(
                known.scheduled,
                known.started,
                ready=ready,
                restarts=known.restarts,
                trouble=behaviour.trouble,
                waits_for=behaviour.waits_for,
            )
            if ready:
                since = known.started + timedelta(seconds=behaviour.startup_seconds)
                status["conditions"][0]["lastTransitionTime"] = format_instant(since)
            if homeless:
                status = _waiting_for_a_node(known.scheduled)
            if status != pod["status"]:
                self.api.edit("Pod", NAMESPACE, name, lambda m, s=status: m.update(status=s))

    def _endpoint_slices(self) -> None:
        """One for each revision's own Service; without a route, one for the Service that clients come by.

        The controller is `endpoints_delay_seconds` behind with its work: with pods and with selectors, since it looks
        at both when it gets to a Service, and its view of pods is that of the controller of ReplicaSets.
        """
        if self._found_quiet("ready pods", self.api.version):
            self._ready_pods.append(self._ready_pods[-1])
        else:
            self._ready_pods.append(
                frozenset(_uid(pod) for pod in self.api.of("Pod") if _is_ready(pod) and not _is_ending(pod))
            )
        known = self._ready_pods[max(-len(self._ready_pods), -1 - self.endpoints_delay_seconds)]
        shared = None if self._rules() else self.api.find("Service", NAMESPACE, NAME)
        services = {_uid(each): each for each in self.api.of("Service") if _is_revision_service(each) or each is shared}
        self._selectors.append({uid: each["spec"]["selector"] for uid, each in services.items()})
        self._slices_behind = min(self._slices_behind + 1, self.endpoints_delay_seconds)
        behind = max(-len(self._selectors), -1 - self._slices_behind)
        selectors, of_shared = self._selectors[behind], self._ready_pods[behind]
        if self._found_quiet("endpoint slices", (self.api.version, known, selectors, of_shared)):
            return
        for orphan in [each for each in self.api.of("EndpointSlice") if _owner(each) not in services]:
            self.api.remove("EndpointSlice", NAMESPACE, orphan["metadata"]["name"])
        for uid, service in services.items():
            name, selected = service["metadata"]["name"], selectors.get(uid)
            if selected is None:
                continue  # it is not yet known of
            ready = of_shared if service is shared else known
            endpoints = [
                {"targetRef": {"uid": _uid(pod)}, "conditions": {"ready": _uid(pod) in ready}}
                for pod in self.api.of("Pod")
                if selected.get(LABEL_REVISION, _revision(pod)) == _revision(pod)
            ]
            existing = self.api.find("EndpointSlice", NAMESPACE, name)
            labels = {**service["metadata"].get("labels", {}), "kubernetes.io/service-name": name}
            if existing is None:
                owner = {"kind": "Service", "name": name, "uid": uid, "controller": True}
                metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
                made = {"kind": "EndpointSlice", "metadata": metadata, "endpoints": endpoints}
                self.api.put("EndpointSlice", NAMESPACE, made)
            elif existing["endpoints"] != endpoints or existing["metadata"]["labels"] != labels:
                changed = {**existing["metadata"], "labels": labels}
                self.api.edit(
                    "EndpointSlice",
                    NAMESPACE,
                    name,
                    lambda m, e=endpoints, c=changed: m.update(endpoints=e, metadata=c),
                )

    def _run_jobs(self) -> None:
        """The Job controller, and the pods of Jobs, which find the candidate at its Service or fail."""
        for job in self.api.of("Job"):
            metadata, spec = job["metadata"], job["spec"]
            age = (self.now - self._jobs_since.setdefault(metadata["uid"], self.now)).total_seconds()
            revision = metadata["labels"][LABEL_REVISION]
            behaviour = next(
                (found for image, found in self.jobs.items() if self.revision_of(image) == revision), JobBehaviour()
            )
            late = age >= spec["activeDeadlineSeconds"]
            if "status" in job or not (late or age >= behaviour.seconds):
                continue
            service = self.api.find("Service", NAMESPACE, f"{NAME}-candidate")
            found = service is not None and service["spec"]["selector"][LABEL_REVISION] == revision
            fails = behaviour.fails or late or not found
            condition = {"type": "Failed" if fails else "Complete", "status": "True"}
            if fails:
                reason = "DeadlineExceeded" if late else "BackoffLimitExceeded"
                condition |= {"reason": reason, "message": "Job was not good" if found else "no candidate was found"}
            status = {"conditions": [condition]}
            self.api.edit("Job", NAMESPACE, metadata["name"], lambda m, s=status: m.update(status=s))

    def _gateway(self) -> None:
        for route in self.api.of("HTTPRoute"):
            metadata = route["metadata"]
            generation, since = self._route_changed_at.get(metadata["name"], (0, self.now))
            if generation != metadata["generation"]:
                generation, since = metadata["generation"], self.now
                self._route_changed_at[metadata["name"]] = (generation, since)
            late = (self.now - since).total_seconds() < self.gateway_delay_seconds
            if late or self._found_quiet(f"gateway {metadata['name']}", (self.api.version, self.gateway_accepts)):
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
            answered = [ref for ref in route["spec"]["parentRefs"] if ref["name"] not in self.absent_gateways]
            parents = [{"parentRef": ref, "conditions": conditions} for ref in answered]
            if route.get("status") != {"parents": parents}:
                self.api.edit(
                    "HTTPRoute", NAMESPACE, metadata["name"], lambda m, p=parents: m.update(status={"parents": p})
                )

    def _requests(self) -> tuple[float, dict[str, float], dict[str, float]]:
        """Requests that found no pod, those that failed by revision, and all by revision, in this second.

        Copies are answered for nobody. As of Envoy Gateway 1.7, requests fail whose copies find no pod.
        """
        lost = 0.0
        failed: dict[str, float] = {}
        all_of: dict[str, float] = {}
        for revision, copies, pods in self._copies():
            self._count(copies, pods)
            if not pods:
                failed[revision], lost = copies, lost + copies
        for revision, requests, pods in self._flows():
            all_of[revision] = all_of.get(revision, 0.0) + requests
            if not pods:
                failed[revision] = failed.get(revision, 0.0) + requests
                lost += requests
                continue
            failed[revision] = failed.get(revision, 0.0) + self._count(requests, pods)
        return lost, failed, all_of

    def _count(self, requests: float, pods: list[dict[str, Any]]) -> float:
        """Pods count their requests; returns how many they answer with an error."""
        failed = 0.0
        for pod in pods:
            behaviour, counters, share = self._behaviour(pod), self._counters[_name(pod)], requests / len(pods)
            if behaviour.hangs:
                failed += share
                continue
            counters.total += share
            counters.errors += share * behaviour.error_share
            for country, failing in behaviour.errors_in.items():
                of_country = share * COUNTRIES[country] * failing
                counters.errors += of_country
                counters.errors_in[country] = counters.errors_in.get(country, 0.0) + of_country
                failed += of_country
            counters.slow += share * max(behaviour.slow_share, behaviour.error_share)
            failed += share * behaviour.error_share
        return failed

    def _copies(self) -> list[Flow]:
        return self._all_flows()[1]

    def _flows(self) -> list[Flow]:
        return self._all_flows()[0]

    def _all_flows(self) -> tuple[list[Flow], list[Flow]]:
        """Revision, requests in a second, and the pods that they find: endpoints of its Service that are ready.

        Those that are answered, and the copies.
        """
        state = self.api.version, self.requests_per_second, self.tester_share
        if self._quiet.get("flows", (None,))[0] != state:
            weights = self.weights()
            pods: dict[str, list[dict[str, Any]]] = {}
            found = self._found_endpoints()
            for pod in self.api.of("Pod"):
                if _is_ready(pod) and _uid(pod) in found:
                    pods.setdefault(_revision(pod), []).append(pod)
            if pods and not self._rules():  # a Service's slices follow its selector a little later
                weights = {revision: len(found) for revision, found in pods.items()}
            total = sum(weights.values())
            name, value = self.tester_header
            header = {"type": "Exact", "name": name, "value": value}
            led = next((revision for revision, asked in self.by_headers().items() if [header] in asked), None)
            testers = self.requests_per_second * self.tester_share if led is not None else 0.0
            flows = [(led, testers, pods.get(led, []))] if led is not None and testers else []
            flows += [
                (revision, (self.requests_per_second - testers) * weight / total, pods.get(revision, []))
                for revision, weight in weights.items()
                if weight
            ]
            others = self.requests_per_second - testers
            copies = [(each, others * part / 100, pods.get(each, [])) for each, part in self.copied().items()]
            self._quiet["flows"] = state, (flows, copies)
        flows_now: tuple[list[Flow], list[Flow]] = self._quiet["flows"][1]
        return flows_now

    def _behaviour(self, pod: dict[str, Any]) -> Behaviour:
        if pod["metadata"]["name"] in self.steady:
            return Behaviour()
        return self.behaviours.get(pod["spec"]["containers"][0]["image"], Behaviour())

    def _selected(self, service: str) -> str:
        found = self.api.find("Service", NAMESPACE, service)
        return str(found["spec"]["selector"][LABEL_REVISION]) if found else service

    def _labelled_replica_sets(self) -> list[dict[str, Any]]:
        sets = self.api.of("ReplicaSet")
        return [each for each in sets if LABEL_REVISION in (each["metadata"].get("labels") or {})]

    def _pods_of(self, replica_set: dict[str, Any]) -> list[dict[str, Any]]:
        uid = replica_set["metadata"]["uid"]
        pods = (pod for pod in self.api.of("Pod") if not _is_ending(pod))
        return [pod for pod in pods if pod["metadata"]["ownerReferences"][0]["uid"] == uid]

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
    scheduled: datetime,
    started: datetime,
    *,
    ready: bool,
    restarts: int,
    trouble: str | None,
    waits_for: tuple[str, str] | None = None,
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "model",
        "restartCount": restarts,
        "ready": ready,
        "state": {"running": {"startedAt": format_instant(started)}},
    }
    if waits_for and not ready:
        reason, message = waits_for
        container["state"] = {"waiting": {"reason": reason, "message": message}}
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


def _name(manifest: dict[str, Any]) -> str:
    return str(manifest["metadata"]["name"])


def _headers_of(rule: dict[str, Any]) -> list[Any]:
    """The headers of each match that asks for some."""
    return [match["headers"] for match in rule.get("matches", ()) if match.get("headers")]


def _is_ready(pod: dict[str, Any]) -> bool:
    return bool(pod["status"]["conditions"][0]["status"] == "True")


def _is_ending(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _revision(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"][LABEL_REVISION])


def _is_labelled(metadata: dict[str, Any]) -> bool:
    """Whether the operator's caches can know the object: they select by this label."""
    return LABEL_DEPLOYMENT in (metadata.get("labels") or {})


def _uid(manifest: dict[str, Any]) -> str:
    return str(manifest["metadata"]["uid"])


def _owner(manifest: dict[str, Any]) -> str:
    return str(manifest["metadata"]["ownerReferences"][0]["uid"])


def _is_revision_service(service: dict[str, Any]) -> bool:
    return bool(service["metadata"].get("labels", {}).get(LABEL_ROLE) == ROLE_REVISION)
