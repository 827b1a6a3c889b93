"""What is known of the cluster now: the ModelDeployments, their children, and what the cluster can do.

The ModelDeployments are put in by `serinus.shell.watching`, the children by informers of our own. Whatever changes is
reported as the key of the ModelDeployment it belongs to. `serinus.shell.reconciler` reads it as its `View`.

Of the namespaces that the operator is told to serve, one in which a right is missing is left alone as a whole, until
it is there: a pass that saw a ModelDeployment and not its pods would take them for lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from serinus.api.kinds import (
    AUTOSCALER,
    CHILD_KINDS,
    DISRUPTION_BUDGET,
    ENDPOINT_SLICE,
    HTTP_ROUTE,
    LABEL_DEPLOYMENT,
    LABEL_PREFLIGHT,
    LABEL_ROLE,
    MODEL_DEPLOYMENT,
    NETWORK_POLICY,
    POD,
    POD_MONITOR,
    REPLICA_SET,
    ROLE_REVISION,
    ROLLOUT_POLICY,
    SERVICE,
    Kind,
)
from serinus.api.notifications import Receiver
from serinus.api.policy import Policy
from serinus.api.reasons import Phase
from serinus.api.traffic import GatewayTraffic
from serinus.core.addresses import TakenAddress
from serinus.core.configuration import Configuration
from serinus.core.gateways import Overrules
from serinus.core.observation import Capabilities, Children, Safeguards
from serinus.core.plan import Manifest
from serinus.kube.client import HttpCluster
from serinus.kube.informers import Informer
from serinus.kube.observation import (
    has_lost_pods,
    observe_children,
    only_ready_endpoints,
    only_what_is_counted,
    only_what_is_observed,
    without_status,
)
from serinus.kube.ownership import only_whether_booked, only_who_asked, without_managed_fields
from serinus.kube.store import Store, differ_in_version_only, object_key
from serinus.shell.addresses import Addresses
from serinus.shell.configuration import Configurations
from serinus.shell.custom_metrics import CustomMetrics, needs_custom_metrics
from serinus.shell.gateways import Gateways
from serinus.shell.policies import Policies
from serinus.shell.reconciler import Key
from serinus.shell.shard import Shard

logger = logging.getLogger(__name__)


class OnChange(Protocol):
    """Hears whose state has changed."""

    def __call__(self, key: Key, *, urgent: bool = False) -> None:
        """A ModelDeployment or one of its children is not as it was; for the worse if `urgent`."""


_SELECTED: Final[Mapping[Kind, str]] = {ENDPOINT_SLICE: f"{LABEL_DEPLOYMENT},{LABEL_ROLE}={ROLE_REVISION}"}
"""Where not all objects of our own labels are used."""
_KEPT: Final[Mapping[Kind, Callable[[dict[str, Any]], Manifest]]] = {
    POD: only_what_is_observed,
    REPLICA_SET: only_what_is_counted,
    ENDPOINT_SLICE: only_ready_endpoints,
    HTTP_ROUTE: partial(only_whether_booked, HTTP_ROUTE),
    SERVICE: partial(only_whether_booked, SERVICE),
    DISRUPTION_BUDGET: without_status,
    NETWORK_POLICY: without_status,
    AUTOSCALER: without_status,
}
"""Where not all of an object is used."""
_AT_REST: Final = frozenset({Phase.IDLE, Phase.REJECTED})


class DeploymentCache:
    """The ModelDeployments as last told."""

    def __init__(self, on_change: OnChange) -> None:
        self._on_change = on_change
        self._deployments = Store()
        self._audits: list[set[Key]] = []
        """For each audit under way, the keys that the watch has told of since it began."""

    def __len__(self) -> int:
        return len(self._deployments)

    def __contains__(self, key: object) -> bool:
        return key in self._deployments

    def names(self) -> tuple[Key, ...]:
        """Namespace and name of all that there are."""
        return tuple(self._deployments)

    def under_way(self) -> frozenset[Key]:
        """Those with a rollout, a watch or a rollback under way."""
        return frozenset(object_key(each) for each in self._deployments.objects() if _phase(each) not in _AT_REST)

    def get(self, key: Key) -> Manifest | None:
        """The ModelDeployment as last told."""
        return self._deployments.get(key)

    def is_overtaken(self, manifest: Manifest) -> bool:
        """Whether a later version of the ModelDeployment is known, or it is not there any more."""
        return not self._deployments.has_uid_of(manifest) or self._deployments.has_newer(manifest)

    def put(self, manifest: dict[str, Any]) -> None:
        """The watch tells of one that is there. What is older than an answer that was learned is passed over."""
        self._told(object_key(manifest))
        if not self._deployments.has_newer(manifest):
            self._put(manifest)

    def learn(self, manifest: Manifest) -> None:
        """The API server has answered a write of ours: the watch will tell nothing new. One that is gone stays so."""
        if self._deployments.has_uid_of(manifest):
            self.put(dict(manifest))

    def drop(self, manifest: Mapping[str, Any]) -> None:
        """The watch tells of one that is gone. Its successor of the same name stays."""
        key = object_key(manifest)
        self._told(key)
        if self._deployments.has_uid_of(manifest):
            self._deployments.pop(key)
            self._on_change(key)

    async def audit(self, listed: AsyncIterable[dict[str, Any]]) -> int:
        """Bring the cache to what a list has that begins now; says how much was wrong.

        What the watch tells of meanwhile is left alone: it may be newer than the list.
        """
        told: set[Key] = set()
        self._audits.append(told)
        before = set(self._deployments)
        corrections = 0
        try:
            async for manifest in listed:
                key = object_key(manifest)
                before.discard(key)
                if key not in told:
                    corrections += self._put(manifest)
        finally:
            self._audits.remove(told)
        for key in before - told:
            self._deployments.pop(key)
            self._on_change(key)
            corrections += 1
        return corrections

    def _told(self, key: Key) -> None:
        for told in self._audits:
            told.add(key)

    def _put(self, manifest: dict[str, Any]) -> bool:
        """Whether that was news."""
        if self._deployments.has(manifest):
            return False
        self._deployments.put(only_who_asked(manifest))
        self._on_change(object_key(manifest))
        return True


class Caches:
    """All that a pass looks at. `run` keeps the children up to date; the rest may be called at any time."""

    def __init__(
        self,
        cluster: HttpCluster,
        on_change: OnChange,
        *,
        namespaces: Sequence[str],
        metric_source: bool,
        sharded: bool = False,
        safeguards: Safeguards | None = None,
        gateway_features: Overrules | None = None,
        gateways_in: Sequence[str] = (),
        gateway_classes: Mapping[str, str] | None = None,
        cluster_policies: bool = True,
        config_key: bytes | None = None,
        config_secrets: bool = True,
        receivers: Mapping[str, Receiver] | None = None,
    ) -> None:
        """Follow these namespaces (none: all of them); `metric_source` says whether one is configured.

        `gateway_features` is what is known of gateways beyond what the operator knows itself. Gateways are looked up in
        the namespaces `gateways_in` (none: in all of them), their classes in the cluster, unless `gateway_classes` says
        the controllerName of each; policies of the cluster and labels of namespaces are, unless `cluster_policies` says
        that they can't be. `config_key` is the key of digests of ConfigMaps and, with `config_secrets`, of Secrets;
        None: neither is read. `receivers` are those of notifications.

        `sharded`: not all ModelDeployments there are come into the cache, so only the children of those are kept.
        """
        self._on_change = on_change
        self._metric_source = metric_source
        self._safeguards = safeguards or Safeguards()
        self._receivers = receivers or {}
        self._gateways = Gateways(
            cluster,
            self._gateways_changed,
            namespaces=gateways_in,
            classes=gateway_classes,
            overrules=gateway_features,
        )
        self._addresses = Addresses(self._gateways.states, on_change)
        self._configurations = Configurations(
            cluster, on_change, key=config_key, secrets=config_secrets, namespaces=namespaces
        )
        self._shard = Shard(on_change) if sharded else None
        self._refusals: dict[str, dict[str, str]] = {}
        """By namespace, what may not be looked at, and why."""
        self.deployments = DeploymentCache(self._deployment_changed)
        holds = None if self._shard is None else self._shard.holds
        of_children = tuple(
            Informer(
                cluster,
                kind,
                self._child_changed,
                label_selector=_SELECTED.get(kind, LABEL_DEPLOYMENT),
                namespaces=namespaces,
                holds=holds,
                strip=_KEPT.get(kind, without_managed_fields),
                on_installed=self._capabilities_changed,
                on_refused=partial(self._rights_changed, kind.plural),
            )
            for kind in (*CHILD_KINDS, POD, ENDPOINT_SLICE)
        )
        self._preflight_pods = Informer(
            cluster,
            POD,
            self._preflight_pod_changed,
            label_selector=LABEL_PREFLIGHT,
            deployment_label=LABEL_PREFLIGHT,
            name="preflight pods",
            namespaces=namespaces,
            holds=holds,
            strip=only_what_is_observed,
            on_refused=partial(self._rights_changed, "preflight pods"),
        )
        self._of_children = (*of_children, self._preflight_pods)
        self._policies = Policies(
            cluster,
            namespaces,
            self.deployments.names,
            self.deployments.get,
            on_change,
            of_the_cluster=cluster_policies,
            on_refused=partial(self._rights_changed, ROLLOUT_POLICY.plural),
            on_labels=self._labels_changed,
        )
        self.informers: Final = (*self._of_children, *self._gateways.informers, *self._policies.informers)
        self._of_kind = {informer.kind: informer for informer in of_children}
        self._custom_metrics = CustomMetrics(
            cluster,
            is_needed=lambda: any(self._in_need_of_custom_metrics()),
            on_change=self._custom_metrics_changed,
        )

    async def run(self, deployments_listed: asyncio.Event) -> None:
        """Keep the caches of the children until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._shard is not None:  # it has to know its members before it can keep only their children
                await deployments_listed.wait()
                shard = self._shard.run(self._of_children, first_lists=self.wait_until_synced())
                group.create_task(shard, name="shard")
            group.create_task(self._custom_metrics.run(), name="custom metrics")
            group.create_task(self._configurations.run(), name="configurations")
            for informer in self.informers:
                group.create_task(informer.run(), name=f"informer {informer.name}")

    @property
    def synced(self) -> bool:
        """Whether every child kind has been listed."""
        return all(informer.synced.is_set() for informer in self.informers)

    async def wait_until_synced(self) -> None:
        """Wait until every child kind has been listed."""
        for informer in self.informers:
            await informer.synced.wait()

    def learn(self, kind: Kind, manifest: Manifest) -> None:
        """An object as the API server has just answered it."""
        if kind == MODEL_DEPLOYMENT:
            self.deployments.learn(manifest)
        else:
            self._of_kind[kind].learn(manifest)

    @property
    def refused(self) -> Mapping[str, str]:
        """Namespaces that are left alone since a right is missing there, and what the API server said."""
        return {namespace: next(iter(refused.values())) for namespace, refused in self._refusals.items()}

    def deployment(self, key: Key) -> Manifest | None:
        """The ModelDeployment as last told; None while its children are not known."""
        return self.deployments.get(key) if self._knows(key) else None

    def _knows(self, key: Key) -> bool:
        """Whether all children of a ModelDeployment are known as they are now."""
        return key[0] not in self._refusals and (self._shard is None or self._shard.complete(key))

    def is_overtaken(self, manifest: Manifest) -> bool:
        """Whether `deployment` would give another ModelDeployment than this, and no earlier one of it."""
        return not self._knows(object_key(manifest)) or self.deployments.is_overtaken(manifest)

    def children(self, key: Key, uid: str) -> Children:
        """The children of the ModelDeployment with this uid, as last told."""
        objects = (each for kind in CHILD_KINDS for each in self._of_kind[kind].of_deployment(*key))
        pods, slices = (self._of_kind[kind].of_deployment(*key) for kind in (POD, ENDPOINT_SLICE))
        preflight_pods = self._preflight_pods.of_deployment(*key)
        return observe_children(key[1], uid, objects, pods, slices, preflight_pods=preflight_pods)

    def capabilities(self) -> Capabilities:
        """What the cluster and this operator can do now."""
        return Capabilities(
            metric_source=self._metric_source,
            gateway_api=self._of_kind[HTTP_ROUTE].installed,
            pod_monitor=self._of_kind[POD_MONITOR].installed,
            custom_metrics=self._custom_metrics.installed,
            safeguards=self._safeguards,
            gateways=self._gateways.states(),
            receivers=self._receivers,
        )

    def taken_address(self, key: Key) -> TakenAddress | None:
        """An address that the ModelDeployment asks for, and that another one has."""
        return self._addresses.taken(key)

    def refusing_gateway(self, key: Key, gateway: GatewayTraffic) -> str | None:
        """Which Gateway of the ModelDeployment's spec is known not to let its route in, and why."""
        return self._gateways.refusing(key, gateway, self._policies.labels(key[0]))

    def configuration(self, key: Key) -> Configuration | None:
        """The content of ConfigMaps and Secrets that it names; None where that is no part of its revision."""
        return self._configurations.of(key)

    def policies(self, namespace: str) -> tuple[Policy, ...]:
        """The platform's policies that hold in a namespace."""
        return self._policies.hold_in(namespace)

    def _in_need_of_custom_metrics(self) -> Iterator[Key]:
        return (key for key in self.deployments.names() if needs_custom_metrics(self.deployments.get(key) or {}))

    def _custom_metrics_changed(self) -> None:
        for key in self._in_need_of_custom_metrics():
            self._on_change(key)

    def _deployment_changed(self, key: Key, *, urgent: bool = False) -> None:
        manifest = self.deployments.get(key)
        if manifest is None:
            self._gateways.forget(key)
        self._custom_metrics.notice(manifest or {})
        self._addresses.put(key, manifest)
        self._configurations.put(key, manifest)
        if self._shard is not None:
            if key not in self.deployments:
                self._shard.leave(key)
            elif not self._shard.complete(key):
                self._shard.join(key)
                return  # the shard tells when it may be passed over
        self._on_change(key, urgent=urgent)

    def _child_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """An object that changed its label concerns both; one that changed in what is not kept of it, nobody."""
        if old is not None and new is not None and differ_in_version_only(old, new):
            return
        self._route_changed(old, new)
        urgent = old is not None and new is not None and old["kind"] == REPLICA_SET.kind and has_lost_pods(old, new)
        for key in {_deployment_of(manifest) for manifest in (old, new) if manifest is not None}:
            if key is not None:
                self._on_change(key, urgent=urgent)

    def _preflight_pod_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """A pod of a preflight Job, which belongs to a ModelDeployment by a label of its own."""
        for manifest in (old, new):
            key = _deployment_of(manifest, LABEL_PREFLIGHT) if manifest is not None else None
            if key is not None:
                self._on_change(key)
                return

    def _route_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """Another one may wait for the address of a route that has gone from it."""
        for route, now in ((old, None), (new, new)):
            if route is not None and (key := _route_of(route)) is not None:
                self._addresses.put_route(key, now)

    def _rights_changed(self, what: str, namespace: str, why: str | None) -> None:
        """Something may not be looked at in a namespace any more, or again; the namespace counts as a whole."""
        served = namespace not in self._refusals
        if why is not None:
            self._refusals.setdefault(namespace, {})[what] = why
            if served:
                logger.warning("a namespace is left alone", extra={"namespace": namespace, "because": why})
        elif not served:
            self._refusals[namespace].pop(what, None)
            if not self._refusals[namespace]:
                del self._refusals[namespace]
                logger.info("the rights in a namespace are there; it is served", extra={"namespace": namespace})
        if served != (namespace not in self._refusals):
            for key in self.deployments.names():
                if key[0] == namespace:
                    self._on_change(key)

    def _gateways_changed(self) -> None:
        self._addresses.forget_gateways()
        self._capabilities_changed(True)

    def _labels_changed(self, namespace: str) -> None:
        """A listener that selects namespaces by their labels may let routes in now that it did not."""
        for key in self._gateways.awaiting(namespace):
            self._on_change(key)

    def _capabilities_changed(self, _: bool) -> None:
        for key in self.deployments.names():
            self._on_change(key)


def _phase(manifest: Manifest) -> str:
    return str(((manifest.get("status") or {}).get("rollout") or {}).get("phase", Phase.IDLE))


def _route_of(manifest: Manifest) -> Key | None:
    """The ModelDeployment whose HTTPRoute it is."""
    key = _deployment_of(manifest) if manifest.get("kind") == HTTP_ROUTE.kind else None
    return key if key is not None and key[1] == manifest["metadata"]["name"] else None


def _deployment_of(manifest: Manifest, label: str = LABEL_DEPLOYMENT) -> Key | None:
    metadata = manifest["metadata"]
    name = (metadata.get("labels") or {}).get(label)
    return (metadata.get("namespace", ""), name) if name else None
