"""What one pass sees: the resource, its children, the evidence and the time.

Built by `serinus.kube.observation` from the informers' caches (and by the simulated world in the same way), read by
everything in `serinus.core`. Nothing here is looked up later: `decide` gets one observation and no other input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from serinus.api.deployment import ModelDeployment
from serinus.api.notifications import Receiver
from serinus.api.reasons import Reason
from serinus.api.status import MetricSlices
from serinus.core.addresses import TakenAddress
from serinus.core.gateways import GatewayKey, GatewayState
from serinus.core.plan import Manifest
from serinus.core.platform import Governed
from serinus.core.verdicts import MetricVerdict


@dataclass(frozen=True, slots=True)
class PodState:
    """One pod of a revision."""

    name: str
    revision: str
    ready: bool
    ready_since: datetime | None
    """When it became ready, if it is."""
    scheduled_at: datetime | None
    """When it got a node; None while it waits for one."""
    started_at: datetime | None
    """When the model's container last started."""
    restarts: int
    """Restarts of the model's container since the pod was made."""
    trouble: str | None = None
    """The pod's own words for why it is not ready, e.g. `ImagePullBackOff: …`."""
    deleting: bool = False
    ended: bool = False
    """Whether its containers have ended for good, as of an evicted one: it is there, and takes no room."""
    image_id: str = ""
    """What the container runtime pulled for the model's container; empty before it has."""


@dataclass(frozen=True, slots=True)
class ReplicaSetState:
    """The ReplicaSet of a revision."""

    revision: str
    name: str
    uid: str
    resource_version: str
    desired: int
    """`spec.replicas`."""
    ready: int
    """`status.readyReplicas`, whichever size the controller saw last: the pods are the same."""
    current: int
    """`status.replicas`: pods that exist and are not being deleted."""
    failure: str | None = None
    """Message of its ReplicaFailure condition: pods that could not be made, and why."""


Headers = tuple[tuple[str, str], ...]
"""Names and values of headers that a request has to carry, all of them."""


@dataclass(frozen=True, slots=True)
class ParentState:
    """What one Gateway says of the route (an entry of `status.parents`)."""

    accepted: bool
    message: str
    """Where it does not accept the route: the gateway, and its own words."""
    carries: bool = True
    """Whether it may carry the route, in this version or the one before: it has answered, and does not refuse it."""
    answered: bool = True
    """Whether it has said anything of the route."""


@dataclass(frozen=True, slots=True)
class RouteState:
    """The HTTPRoute of the resource."""

    weights: Mapping[str, int]
    """Weight by revision, as the route's spec has it; revisions without a backend are absent."""
    parents: tuple[ParentState, ...]
    """One per parentRef of the route's spec: those that no gateway has answered are not accepted."""
    matches: Mapping[str, tuple[Headers, ...]] = field(default_factory=dict)
    """By revision, the headers of requests that go to it whatever the weights say."""
    mirrors: Mapping[str, int] = field(default_factory=dict)
    """By revision, the share in percent of the other requests that is copied to it."""

    @property
    def accepted(self) -> bool:
        """Whether every parent reports Accepted and ResolvedRefs for the current generation."""
        return bool(self.parents) and all(parent.accepted for parent in self.parents)

    @property
    def carried(self) -> bool:
        """Whether some parent may carry the route."""
        return any(parent.carries for parent in self.parents)


@dataclass(frozen=True, slots=True)
class JobState:
    """A preflight Job."""

    name: str
    revision: str
    succeeded: bool
    failed: bool
    """Whether it is over, and did not succeed."""
    words: str = ""
    """Its own words and those of its pods: why it failed, or what keeps its pods."""

    @property
    def finished(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.succeeded or self.failed


@dataclass(frozen=True, slots=True)
class ChildObject:
    """A child as the API server has it."""

    manifest: Manifest
    uid: str
    resource_version: str
    moves: int
    """The fence: `status.moves` when it was last written by Serinus."""
    booked: bool = False
    """Whether its spec is known to be booked as applied by Serinus: then one call changes it."""
    changed_by: str = ""
    """The client that changed its spec after Serinus wrote it last, as it called itself; empty where nobody did."""


@dataclass(frozen=True, slots=True)
class Children:
    """Every object that belongs to the resource."""

    objects: Mapping[tuple[str, str], ChildObject] = field(default_factory=dict)
    """By (kind, name)."""
    replica_sets: Mapping[str, ReplicaSetState] = field(default_factory=dict)
    """By revision."""
    endpoints: Mapping[str, int] = field(default_factory=dict)
    """Ready endpoints of each revision's own Service, where it has one: the pods that gateways have been told of."""
    pods: tuple[PodState, ...] = ()
    route: RouteState | None = None
    jobs: Mapping[str, JobState] = field(default_factory=dict)
    """By name."""
    stable_selector: Mapping[str, str] | None = None
    """Selector of the stable Service; None where the Service does not exist."""

    def ready(self, revision: str | None) -> int:
        """Pods of a revision that can serve requests: ready, to stay, and where there is a route, known to gateways.

        Those that its ReplicaSet is not to have any more are as good as gone: they still say that they are ready.
        Gateways learn of a ready pod from EndpointSlices, which are written apart from the ReplicaSet's status. A route
        that is given weight before the endpoint is known leads those requests to nothing. Without one, the stable
        Service selects pods: whoever writes its slices looks at pods no earlier than when its selector was written.
        """
        state = self.replica_sets.get(revision) if revision else None
        if state is None:
            return 0
        known = state.ready if self.route is None else self.endpoints.get(state.revision, 0)
        return min(state.ready, state.desired, known)

    def pods_of(self, revision: str) -> tuple[PodState, ...]:
        """Pods of a revision that are not being deleted."""
        return tuple(pod for pod in self.pods if pod.revision == revision and not pod.deleting)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Verdicts of one evaluation."""

    at: datetime
    moves: int
    """`status.moves` when the reading was asked for: evidence of an earlier step never decides a later one."""
    generation: int
    """`metadata.generation` of the spec whose metrics were read: limits that were edited since are not judged by it."""
    verdicts: tuple[MetricVerdict, ...]
    slices: tuple[MetricSlices, ...] = ()
    """Of metrics whose slices are not fixed yet: what to fix. Their verdicts say nothing until then."""
    policies: str = ""
    """`Governed.version` of the policies that made that spec: the same goes for what they say."""


@dataclass(frozen=True, slots=True)
class Safeguards:
    """What is made beside every model, as the person who installs the operator decides."""

    disruption_budgets: bool = True
    """Whether each revision gets a PodDisruptionBudget."""
    network_policies: bool = True
    """Whether each resource gets a NetworkPolicy."""
    scraper_namespace: str | None = None
    """Namespace whose pods reach every port of a model's pods; None: there is none but the serving port."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this operator and this cluster can do."""

    metric_source: bool = True
    """Whether a metric source is configured."""
    gateway_api: bool = True
    """Whether the HTTPRoute kind is installed."""
    pod_monitor: bool = False
    """Whether the PodMonitor kind is installed."""
    custom_metrics: bool | None = True
    """Whether the cluster serves metrics of pods to autoscalers; None: not known yet."""
    safeguards: Safeguards = field(default_factory=Safeguards)
    gateways: Mapping[GatewayKey, GatewayState] = field(default_factory=dict)
    """What the gateways of the cluster are known to do, by namespace and name."""
    receivers: Mapping[str, Receiver] = field(default_factory=dict)
    """Whom the operator can tell of rollouts, by name."""


@dataclass(frozen=True, slots=True)
class Margins:
    """How long to wait for what can't be observed."""

    route_seconds: float = 3.0
    """A gateway reports a route as accepted before its data plane has it (Traefik batches changes for up to 2 s)."""
    drain_seconds: float = 30.0
    """After its traffic is off, a revision's pods stay this long for requests and connections under way."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A write that was refused for good: trying again as it is will not help."""

    reason: Reason
    """`NameTaken` or `WriteRejected`."""
    message: str


@dataclass(frozen=True, slots=True)
class Frozen:
    """The revision that the spec asks for depends on what can't be read."""

    reason: Reason
    message: str
    """Empty where that is to be expected for a moment, and nobody is told."""


@dataclass(frozen=True, slots=True)
class Observation:
    """All that `decide` gets to see."""

    now: datetime
    deployment: ModelDeployment
    """With the spec in force: as the policies of the platform have it."""
    children: Children
    evidence: Evidence | None = None
    """A fresh evaluation, or None when none was due since the last pass."""
    previous_pass_at: datetime | None = None
    """When this process last passed over the resource; None in the first pass after a start."""
    status_written_at: datetime | None = None
    """When this process last wrote the status; None before it has."""
    clock_stepped: bool = False
    """Whether the clock was set since then: `now` and `previous_pass_at` are of two clocks."""
    capabilities: Capabilities = field(default_factory=Capabilities)
    margins: Margins = field(default_factory=Margins)
    refusal: Refusal | None = None
    """Why a child could not be written when it was last tried."""
    frozen_by: Frozen | None = None
    """Why what the spec asks for is not known, so that nothing begins or advances."""
    taken: TakenAddress | None = None
    """An address that the spec asks for, and that another resource has."""
    refusing_gateway: str | None = None
    """Which gateway of the spec is known not to let the route in, and why."""
    notified: Mapping[str, int] = field(default_factory=dict)
    """By receiver, the number of the newest entry of the history that it has been told of, where status may not know
    it yet."""
    governed: Governed | None = None
    """What those policies did to the spec; None where nobody asked."""
    unreadable: str | None = None
    """Why the spec that is there now can't be read; `deployment` then has the last one that could."""
