"""The Gateways of the cluster: what each is known to do, and which is known not to let a route in.

Kept up to date by informers of Gateways and their classes, which `serinus.shell.caches` runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from serinus.api.kinds import GATEWAY, GATEWAY_CLASS
from serinus.api.traffic import GatewayTraffic
from serinus.core.gateways import GatewayKey, GatewayState, Overrules
from serinus.core.listeners import refusing_gateway
from serinus.core.plan import Manifest
from serinus.kube.client import HttpCluster
from serinus.kube.gateways import gateway_states, named_classes, only_its_features, only_what_is_known
from serinus.kube.informers import Informer
from serinus.kube.store import differ_in_version_only
from serinus.shell.reconciler import Key

logger = logging.getLogger(__name__)


class Gateways:
    """All Gateways that may be looked at."""

    def __init__(
        self,
        cluster: HttpCluster,
        on_change: Callable[[], None],
        *,
        namespaces: Sequence[str] = (),
        classes: Mapping[str, str] | None = None,
        overrules: Overrules | None = None,
    ) -> None:
        """Gateways in `namespaces` are followed, in none: all.

        `classes` says the controllerName of each class; where it is None, they are looked up in the cluster.
        `overrules` is what is known of gateways beyond what the operator knows itself. `on_change` hears that what is
        known of any has changed.
        """
        self._on_change = on_change
        self._overrules = overrules or {}
        self._namespaces = frozenset(namespaces)
        self._unseen: set[str] = set()
        """Namespaces whose gateways may not be looked at."""
        self._not_let_in: set[Key] = set()
        """ModelDeployments whose spec names a gateway that is known not to let their route in."""
        self._states: dict[GatewayKey, GatewayState] | None = None
        """None: to be put together again."""
        self._gateways = Informer(
            cluster,
            GATEWAY,
            self._changed,
            namespaces=namespaces,
            strip=only_what_is_known,
            on_refused=self._refused,
        )
        of_classes = Informer(cluster, GATEWAY_CLASS, self._changed, strip=only_its_features)
        self._classes: Iterable[Manifest] = of_classes if classes is None else named_classes(classes)
        self.informers: Final = (self._gateways, of_classes) if classes is None else (self._gateways,)

    def states(self) -> dict[GatewayKey, GatewayState]:
        """Every Gateway, and what it is known to do."""
        if self._states is None:
            self._states = gateway_states(self._gateways, self._classes, self._overrules)
        return self._states

    def refusing(self, key: Key, traffic: GatewayTraffic, labels: Mapping[str, str] | None) -> str | None:
        """Which Gateway of a ModelDeployment's spec is known not to let its route in, and why.

        `labels` are those of its namespace, None where they are not known; when they change, `awaiting` says whom that
        may let in.
        """
        told = refusing_gateway(traffic.parent_refs, key[0], labels, self.states(), self._sees)
        if told is None:
            self._not_let_in.discard(key)
        else:
            self._not_let_in.add(key)
        return told

    def awaiting(self, namespace: str) -> list[Key]:
        """ModelDeployments of a namespace whose route was last not let in: its new labels may let it."""
        return [each for each in self._not_let_in if each[0] == namespace]

    def forget(self, key: Key) -> None:
        """A ModelDeployment is gone."""
        self._not_let_in.discard(key)

    def _sees(self, namespace: str) -> bool:
        """Whether a Gateway that is not known is not there."""
        looked_for = not self._namespaces or namespace in self._namespaces
        return looked_for and namespace not in self._unseen and self._gateways.installed

    def _changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """Of what is kept of a Gateway or its class, mostly nothing changes but its version."""
        if old is None or new is None or not differ_in_version_only(old, new):
            self._states = None
            self._on_change()

    def _refused(self, namespace: str, why: str | None) -> None:
        if why is None:
            self._unseen.discard(namespace)
        else:
            self._unseen.add(namespace)
            logger.warning("gateways in a namespace can't be seen", extra={"namespace": namespace, "because": why})
        self._on_change()
