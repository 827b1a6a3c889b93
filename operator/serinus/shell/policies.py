"""The platform's policies as they are known now, and whom a change of one concerns.

Fed by two informers of policies and one of Namespaces, which `serinus.shell.caches` runs beside the others; kinds that
are not installed have no policies. A change wakes the ModelDeployments that it concerns, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from serinus.api.kinds import CLUSTER_ROLLOUT_POLICY, NAMESPACE, ROLLOUT_POLICY
from serinus.api.policy import Policy
from serinus.core.plan import Manifest
from serinus.kube.client import HttpCluster
from serinus.kube.informers import Informer
from serinus.kube.policies import (
    changed_metrics,
    concerns,
    holds_in,
    labels_of,
    only_its_labels,
    only_what_it_asks,
)
from serinus.shell.reconciler import Key

Wake = Callable[[Key], None]
"""Has a ModelDeployment passed over."""


class Policies:
    """Which policies hold in a namespace."""

    def __init__(
        self,
        cluster: HttpCluster,
        namespaces: Sequence[str],
        deployments: Callable[[], Iterable[Key]],
        deployment: Callable[[Key], Manifest | None],
        wake: Wake,
        *,
        of_the_cluster: bool = True,
        on_refused: Callable[[str, str | None], None] | None = None,
        on_labels: Callable[[str], None] | None = None,
    ) -> None:
        """Follow the policies of the cluster and of these namespaces (none: of all).

        `deployments` lists the ModelDeployments that there are, `deployment` gives one of them. Without rights in the
        cluster (`of_the_cluster`) there are the policies of namespaces alone. `on_refused` hears of a namespace whose
        policies may not be looked at, and why, or None when they may again, `on_labels` of one whose labels are not
        what they were, whether a policy selects by them or not.
        """
        self._deployments = deployments
        self._deployment = deployment
        self._wake = wake
        self._on_labels = on_labels
        self._held: dict[str, tuple[Policy, ...]] = {}
        """By namespace, what was asked for since the last change."""
        self._cluster_wide = Informer(
            cluster,
            CLUSTER_ROLLOUT_POLICY,
            self.policy_changed,
            strip=partial(only_what_it_asks, CLUSTER_ROLLOUT_POLICY),
        )
        self._of_namespaces = Informer(
            cluster,
            ROLLOUT_POLICY,
            self.policy_changed,
            namespaces=namespaces,
            strip=partial(only_what_it_asks, ROLLOUT_POLICY),
            on_refused=on_refused,
        )
        self._namespaces = Informer(cluster, NAMESPACE, self.namespace_changed, strip=only_its_labels)
        of_cluster = (self._cluster_wide, self._namespaces) if of_the_cluster else ()
        self.informers: Final = (self._of_namespaces, *of_cluster)

    def hold_in(self, namespace: str) -> tuple[Policy, ...]:
        """The policies that hold in a namespace."""
        if namespace not in self._held:
            labels = self._labels(namespace)
            self._held[namespace] = tuple(
                Policy.parse(each) for each in self._all() if holds_in(each, namespace, labels)
            )
        return self._held[namespace]

    def labels(self, namespace: str) -> Mapping[str, str] | None:
        """The labels of a namespace; None where they are not known."""
        known = self._namespaces.get("", namespace)
        return None if known is None else labels_of(namespace, known)

    def policy_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """A policy came, went, or asks for something else."""
        metrics = changed_metrics(old, new)
        if metrics is not None and not metrics:
            return  # nothing that anybody asks for
        self._held.clear()
        in_question = [each for each in (old, new) if each is not None]
        concerned: dict[str, bool] = {}
        for key in self._deployments():
            namespace = key[0]
            if namespace not in concerned:
                labels = self._labels(namespace)
                concerned[namespace] = any(holds_in(each, namespace, labels) for each in in_question)
            if concerned[namespace] and (metrics is None or concerns(self._deployment(key) or {}, metrics)):
                self._wake(key)

    def namespace_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """A namespace came, went, or has other labels: other policies may hold in it."""
        name = str(((new or old) or {})["metadata"]["name"])
        if self._on_labels is not None and labels_of(name, old) != labels_of(name, new):
            self._on_labels(name)
        if self._selecting(name, old) == self._selecting(name, new):
            return
        self._held.pop(name, None)
        for key in self._deployments():
            if key[0] == name:
                self._wake(key)

    def _all(self) -> Iterator[Manifest]:
        yield from self._cluster_wide
        yield from self._of_namespaces

    def _selecting(self, name: str, namespace: Manifest | None) -> list[str]:
        labels = labels_of(name, namespace)
        return [each["metadata"]["name"] for each in self._cluster_wide if holds_in(each, name, labels)]

    def _labels(self, namespace: str) -> Mapping[str, str]:
        return labels_of(namespace, self._namespaces.get("", namespace))
