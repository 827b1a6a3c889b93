"""The caches of one operator process: informers that lag, lose their watch, miss deletions, and list again.

Each kind has a watch of its own, so each can be behind by itself. A cache never goes back in time: one that falls
behind stands still until the past has caught up with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serinus.api.kinds import (
    CLUSTER_ROLLOUT_POLICY,
    LABEL_DEPLOYMENT,
    LABEL_ROLE,
    MODEL_DEPLOYMENT,
    ROLE_REVISION,
    ROLLOUT_POLICY,
    Kind,
)
from serinus.api.policy import Policy
from serinus.api.traffic import GatewayTraffic
from serinus.core.addresses import TakenAddress
from serinus.core.configuration import (
    NOT_ALLOWED,
    Absent,
    Configuration,
    Content,
    Known,
    Source,
    asks_for_content,
    configuration,
    references,
)
from serinus.core.listeners import refusing_gateway
from serinus.core.observation import Capabilities, Children
from serinus.kube.observation import observe_children
from serinus.kube.policies import holds_in, labels_of
from serinus.shell.addresses import Addresses
from serinus.shell.configuration import digests
from serinus.shell.reconciler import Key
from tests.world.api_server import ApiServer

CHILD_KINDS = ("ControllerRevision", "ReplicaSet", "Service", "HTTPRoute")
"""What makes a model serve. Walks draw from these, and those that are kept stay the same while no kind is added."""
BESIDE_KINDS = ("PodDisruptionBudget", "NetworkPolicy", "HorizontalPodAutoscaler", "Job")
"""What stands beside it."""
WATCHED = ("ModelDeployment", *CHILD_KINDS, "Pod", "EndpointSlice")
ALL_WATCHED = (*WATCHED, *BESIDE_KINDS)
POLICIES = (CLUSTER_ROLLOUT_POLICY.kind, ROLLOUT_POLICY.kind)
"""What a platform team asks for. Seen as soon as it is there: what they do late, they do as if it came late."""

Address = tuple[str, str, str]
"""Kind, namespace and name."""
Objects = Mapping[Address, Any]


@dataclass
class Past:
    """What the API server had at the end of each second: kinds that did not change share their objects."""

    api: ApiServer
    seconds: deque[tuple[int, Mapping[str, Objects]]] = field(default_factory=lambda: deque(maxlen=120))
    _copies: dict[str, Objects] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.api.watchers.append(lambda kind: self._copies.pop(kind, None))

    def remember(self) -> None:
        """A second is over."""
        if self.seconds and self.seconds[-1][0] == self.api.version:
            self.seconds.append(self.seconds[-1])
        else:
            self.seconds.append((self.api.version, {kind: self.copy(kind) for kind in ALL_WATCHED}))

    def copy(self, kind: str) -> Objects:
        """All objects of a kind as they are now. Objects are replaced, never changed."""
        if kind not in self._copies:
            self._copies[kind] = dict(self.api.by_kind.get(kind, {}))
        return self._copies[kind]

    def before(self, seconds: int, kind: str) -> tuple[int, Objects]:
        """Version and objects of a kind so long ago."""
        if not self.seconds:
            return self.api.version, self.copy(kind)
        version, kinds = self.seconds[max(-len(self.seconds), -1 - seconds)]
        return version, kinds[kind]


@dataclass
class Caches:
    """What one operator process sees (the reconciler's `View`)."""

    past: Past
    capabilities_now: Callable[[], Capabilities]
    on_change: Callable[[], None]
    lag_seconds: int = 0
    """Of all kinds, from the start."""
    reads_configurations: Callable[[], bool] = lambda: True
    """Whether the operator may read ConfigMaps and Secrets."""
    _lags: dict[str, int] = field(default_factory=dict)
    _floors: dict[str, tuple[int, Objects]] = field(default_factory=dict)
    """The newest that a kind that is behind has been seen at."""
    _noticed: dict[str, Objects] = field(default_factory=dict)
    """What a kind that is behind was last seen to have."""
    _gaps: dict[str, tuple[int, Objects]] = field(default_factory=dict)
    _learned: dict[Address, Any] = field(default_factory=dict)
    """What the API server answered, and the watch has not told yet."""
    _missed: dict[Address, Any] = field(default_factory=dict)
    _left_alone: bool = False

    def __post_init__(self) -> None:
        for kind in ALL_WATCHED if self.lag_seconds else ():
            self.fall_behind(kind, self.lag_seconds)
        self.past.api.watchers.append(self._changed)

    # The port -------------------------------------------------------------------------------------------------------

    def deployment(self, key: Key) -> Any:
        """The ModelDeployment as last told; None while its namespace is left alone."""
        if self._left_alone:
            return None
        return self.of_kind("ModelDeployment").get(("ModelDeployment", *key))

    def is_overtaken(self, manifest: Any) -> bool:
        """Whether the ModelDeployment is known to have changed since, or to be gone or made anew."""
        known, then = self.deployment((manifest["metadata"]["namespace"], manifest["metadata"]["name"])), manifest
        same = known is not None and known["metadata"]["uid"] == then["metadata"]["uid"]
        return not same or _version(known) > _version(then)

    def children(self, key: Key, uid: str) -> Children:
        """Its children as last told, found by their label as the informers find them."""
        ours = [each for kind in (*CHILD_KINDS, *BESIDE_KINDS) for each in self._labelled(kind, key)]
        pods, slices = self._labelled("Pod", key), self._labelled("EndpointSlice", key)
        return observe_children(key[1], uid, ours, pods, [s for s in slices if _role(s) == ROLE_REVISION])

    def capabilities(self) -> Capabilities:
        """What the cluster and this operator can do."""
        return self.capabilities_now()

    def taken_address(self, key: Key) -> TakenAddress | None:
        """An address that it asks for, and that another ModelDeployment has."""
        deployments, routes = self.of_kind("ModelDeployment"), self.of_kind("HTTPRoute")
        if {address[1:] for address in (*deployments, *routes)} == {key}:
            return None  # it is alone
        index = Addresses(lambda: self.capabilities().gateways, lambda _: None)
        for (_, *owner), each in deployments.items():
            index.put((owner[0], owner[1]), each)
        for (_, *owner), each in routes.items():
            index.put_route((owner[0], owner[1]), each)
        return index.taken(key)

    def refusing_gateway(self, key: Key, gateway: GatewayTraffic) -> str | None:
        """Which Gateway of its spec is known not to let its route in: all are seen, and its namespace has its name."""
        labels = labels_of(key[0], None)
        return refusing_gateway(gateway.parent_refs, key[0], labels, self.capabilities().gateways, lambda _: True)

    def configuration(self, key: Key) -> Configuration | None:
        """The content of ConfigMaps and Secrets that it names; None where that is no part of its revision."""
        manifest = self.deployment(key)
        if manifest is None or not asks_for_content(manifest):
            return None

        def look_up(source: Source) -> Known:
            found = self.of_kind(source.kind).get((source.kind, key[0], source.name))
            return Content(digests(found, b"the operator's own")) if found else Absent()

        return configuration(references(manifest), look_up) if self.reads_configurations() else NOT_ALLOWED

    def policies(self, namespace: str) -> tuple[Policy, ...]:
        """The platform's policies that hold in a namespace, which has no labels but its name."""
        held = [each for kind in POLICIES for each in self.past.copy(kind).values()]
        labels = labels_of(namespace, None)
        return tuple(Policy.parse(each) for each in held if holds_in(each, namespace, labels))

    def learn(self, kind: Kind, manifest: Any) -> None:
        """An object as the API server has just answered it; see `serinus.shell.caches.Caches.learn`."""
        metadata = manifest["metadata"]
        address = (kind.kind, metadata["namespace"], metadata["name"])
        known = self.of_kind(kind.kind).get(address)
        told = max(self._told_until(kind.kind), _version(known) if known else 0)
        if kind == MODEL_DEPLOYMENT:
            selected = known is not None and known["metadata"]["uid"] == metadata["uid"]
        else:
            selected = LABEL_DEPLOYMENT in (metadata.get("labels") or {})
        if selected and _version(manifest) > told:
            self._learned[address] = manifest
            self.on_change()

    # Trouble --------------------------------------------------------------------------------------------------------

    def fall_behind(self, kind: str, seconds: int) -> None:
        """From now on what happens to a kind is seen `seconds` later."""
        self._floors[kind] = self._shown(kind)
        self._noticed[kind] = self._floors[kind][1]
        self._lags[kind] = seconds
        if not seconds:
            self._lags.pop(kind)
            self.on_change()

    def lose_watch(self, kind: str) -> None:
        """The connection is half-open: nothing is told any more, and nobody knows."""
        self._gaps.setdefault(kind, (self._told_until(kind), self.of_kind(kind)))

    def miss_deletion(self, address: Address) -> None:
        """The object goes, and the event that says so is lost."""
        self._missed[address] = self.past.api.objects[address]
        self.past.api.remove(*address)

    def list_again(self, kind: str) -> None:
        """The API server has said 410, or the watch was found dead: what has vanished is swept out."""
        self._gaps.pop(kind, None)
        self._missed = {address: each for address, each in self._missed.items() if address[0] != kind}
        self._learned = {address: each for address, each in self._learned.items() if address[0] != kind}
        self.on_change()

    def leave_alone(self) -> None:
        """A right is missing in the namespace: what goes on there is not to be acted upon."""
        self._left_alone = True
        self.on_change()

    def take_up(self) -> None:
        """The rights are there again, and all has been listed anew."""
        self._left_alone = False
        self.on_change()

    def freeze(self) -> None:
        """The process is stopped: it sees no more."""
        for kind in ALL_WATCHED:
            self.lose_watch(kind)
        self.end()

    def end(self) -> None:
        """The process is gone, or will never be told anything again."""
        if self._changed in self.past.api.watchers:
            self.past.api.watchers.remove(self._changed)

    @property
    def are_live(self) -> bool:
        """Whether they show what there is."""
        return not (self._lags or self._gaps or self._missed or self._left_alone)

    def noticed(self) -> bool:
        """Whether a watch that lags tells of something now."""
        shown = {kind: self._shown(kind)[1] for kind in self._lags if kind not in self._gaps}
        news = [kind for kind, objects in shown.items() if objects is not self._noticed.get(kind)]
        self._noticed |= shown
        return bool(news)

    # ----------------------------------------------------------------------------------------------------------------

    def of_kind(self, kind: str) -> Objects:
        """All objects of a kind as they are seen."""
        until, shown = self._gaps[kind] if kind in self._gaps else self._shown(kind)
        ghosts = {a: each for a, each in self._missed.items() if a[0] == kind and a not in shown}
        told = [a for a, each in self._learned.items() if a[0] == kind and _version(each) <= until]
        for address in told:
            del self._learned[address]
        learned = {a: each for a, each in self._learned.items() if a[0] == kind}
        return {**shown, **ghosts, **learned} if ghosts or learned else shown

    def _told_until(self, kind: str) -> int:
        return self._gaps[kind][0] if kind in self._gaps else self._shown(kind)[0]

    def _shown(self, kind: str) -> tuple[int, Objects]:
        lag = self._lags.get(kind, 0)
        if not lag:
            return self.past.api.version, self.past.copy(kind)
        delayed, floor = self.past.before(lag, kind), self._floors[kind]
        return delayed if delayed[0] > floor[0] else floor

    def _labelled(self, kind: str, key: Key) -> list[Any]:
        namespace, name = key
        return [
            each
            for (_, where, _), each in self.of_kind(kind).items()
            if where == namespace and (each["metadata"].get("labels") or {}).get(LABEL_DEPLOYMENT) == name
        ]

    def _changed(self, kind: str) -> None:
        if kind not in self._gaps and kind not in self._lags:
            self.on_change()


def _version(manifest: Any) -> int:
    return int(manifest["metadata"]["resourceVersion"])


def _role(manifest: Any) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(LABEL_ROLE, ""))
