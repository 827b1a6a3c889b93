"""Policies and Namespaces, raw objects into what holds where. Pure.

Called by the caches of the shell, whose informers keep of these kinds only what is read here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from serinus.api.kinds import CLUSTER_ROLLOUT_POLICY, LABEL_NAMESPACE_NAME, NAMESPACE, Kind
from serinus.api.policy import Policy
from serinus.core.plan import Manifest
from serinus.kube.store import identity


def only_what_it_asks(kind: Kind, policy: dict[str, Any]) -> Manifest:
    """The part of a policy that is read here."""
    spec = policy.get("spec") or {}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": identity(policy, "generation"), "spec": spec}


def only_its_labels(namespace: dict[str, Any]) -> Manifest:
    """The part of a Namespace that is read here."""
    metadata = identity(namespace) | {"labels": namespace["metadata"].get("labels") or {}}
    return {"apiVersion": NAMESPACE.api_version, "kind": NAMESPACE.kind, "metadata": metadata}


def labels_of(name: str, namespace: Manifest | None) -> Mapping[str, str]:
    """Labels of a namespace; of one that is not known yet its name alone, which Kubernetes puts on each."""
    labels: Mapping[str, str] = (namespace["metadata"].get("labels") or {}) if namespace is not None else {}
    return {LABEL_NAMESPACE_NAME: name, **labels}


def holds_in(policy: Manifest, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a policy, as it was kept by the function above, holds in a namespace with these labels."""
    if policy["kind"] != CLUSTER_ROLLOUT_POLICY.kind:
        return bool(policy["metadata"].get("namespace") == namespace)
    return Policy.parse(policy).holds_in(labels)


def concerns(deployment: Manifest, changed: Collection[str] | None) -> bool:
    """Whether a ModelDeployment has to do with a change of a policy that holds for it.

    `changed`: names of metrics, where only their definitions have changed; None: something else has.
    """
    if changed is None:
        return True
    analysis = (deployment.get("spec") or {}).get("analysis") or {}
    named = analysis.get("sharedMetrics")
    # One that says nothing of what it is judged by may be given the names by a policy.
    by_default = named is None and not analysis.get("metrics") and not analysis.get("disabled")
    return by_default or bool(set(named or ()) & set(changed))


def changed_metrics(old: Manifest | None, new: Manifest | None) -> frozenset[str] | None:
    """Names of the metrics that differ between two versions of a policy; None where more than metrics does."""
    if old is None or new is None:
        return None
    before, after = dict(old.get("spec") or {}), dict(new.get("spec") or {})
    were, are = (_by_name(spec.pop("metrics", None)) for spec in (before, after))
    if before != after:
        return None
    return frozenset(name for name in were.keys() | are.keys() if were.get(name) != are.get(name))


def _by_name(metrics: object) -> dict[str, Any]:
    listed = metrics if isinstance(metrics, list) else []
    return {str(each.get("name")): each for each in listed if isinstance(each, dict)}
