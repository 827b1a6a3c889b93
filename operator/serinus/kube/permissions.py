"""Every right that the operator needs in the cluster, and what for.

The chart's roles grant exactly this table (a contract test compares them, with and without what is switched on), so a
new call to the API server is a new line here, a rule in the chart, and a reason that a security review can read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from serinus.api.kinds import GROUP


class Scope(StrEnum):
    """Where a right is granted."""

    WATCHED_NAMESPACES = "WatchedNamespaces"
    """In every namespace whose ModelDeployments are served; by default in all."""
    OWN_NAMESPACE = "OwnNamespace"
    """In the namespace the operator itself runs in."""
    GATEWAY_NAMESPACES = "GatewayNamespaces"
    """In the watched namespaces and those of the gateways, of an installation that has rights in namespaces only."""
    CLUSTER = "Cluster"
    """On objects that have no namespace, or that are looked up in whichever they are."""


@dataclass(frozen=True, slots=True)
class Permission:
    """Verbs on one resource."""

    group: str
    """API group; empty for the core group."""
    resource: str
    """Plural, with its subresource where the right is on that: `replicasets/scale`."""
    verbs: frozenset[str]
    reason: str
    scope: Scope = Scope.WATCHED_NAMESPACES
    own_names_only: bool = False
    """Whether the right is narrowed to the names the operator knows beforehand: its own Lease, its own CRD."""
    switched_on_by: str = ""
    """The chart's value without which it is not granted, and the operator does without. Empty: always granted."""
    namespaced: Scope | None = None
    """Where a right in the cluster is granted in an installation that has rights in namespaces only. None: nowhere, and
    the operator goes without."""


_LIST: Final = frozenset({"list", "watch"})
_WRITE: Final = _LIST | {"get", "create", "patch"}
_CHILD: Final = _WRITE | {"delete"}

PERMISSIONS: Final = (
    Permission(GROUP, "modeldeployments", _LIST | {"get"}, "Read what users ask for; never write it."),
    Permission(GROUP, "modeldeployments/status", frozenset({"update"}), "Record decisions, each on what was observed."),
    Permission("apps", "controllerrevisions", _CHILD, "Keep each revision's fields and pod template."),
    Permission("apps", "replicasets", _CHILD, "Run the pods of each revision."),
    Permission("apps", "replicasets/scale", frozenset({"patch"}), "Set replicas without owning the field."),
    Permission("", "services", _CHILD, "Give the model its address, and each revision one of its own."),
    Permission("gateway.networking.k8s.io", "httproutes", _CHILD, "Split the requests between two revisions."),
    Permission("monitoring.coreos.com", "podmonitors", _WRITE, "Have the pods scraped by the Prometheus Operator."),
    Permission("autoscaling", "horizontalpodautoscalers", _CHILD, "Have the stable revision sized by its load."),
    Permission("policy", "poddisruptionbudgets", _CHILD, "Let drains take one pod of a revision at a time."),
    Permission("networking.k8s.io", "networkpolicies", _CHILD, "Open the serving port of the pods, and no other."),
    Permission("batch", "jobs", _CHILD, "Try a candidate by its preflight before it gets requests."),
    Permission(
        "",
        "configmaps",
        _LIST | {"get"},
        "Make the content of what a ModelDeployment names part of its revision; lists ask for metadata only.",
        switched_on_by="configChecksum.keySecretName",
    ),
    Permission(
        "",
        "secrets",
        _LIST | {"get"},
        "The same; of what is read nothing is kept but digests made with a key.",
        switched_on_by="configChecksum.secrets",
    ),
    Permission("", "pods", _LIST, "See readiness, restarts and why a pod does not start."),
    Permission("discovery.k8s.io", "endpointslices", _LIST, "See which pods gateways have been told of."),
    Permission(
        "gateway.networking.k8s.io",
        "gateways",
        _LIST,
        "See which class a route's gateway is of; it is often in a namespace of its own.",
        Scope.CLUSTER,
        namespaced=Scope.GATEWAY_NAMESPACES,
    ),
    Permission(
        "gateway.networking.k8s.io",
        "gatewayclasses",
        _LIST,
        "See which controller that is, and what it says it can do.",
        Scope.CLUSTER,
    ),
    Permission(GROUP, "rolloutpolicies", _LIST, "Read what the platform asks of the rollouts of a namespace."),
    Permission(
        GROUP,
        "clusterrolloutpolicies",
        _LIST,
        "Read what the platform asks of the rollouts of many namespaces.",
        Scope.CLUSTER,
    ),
    Permission("", "namespaces", _LIST, "Read their labels, by which such a policy selects them.", Scope.CLUSTER),
    Permission("events.k8s.io", "events", frozenset({"create", "patch"}), "Tell users what was decided, and why."),
    Permission(
        "coordination.k8s.io",
        "leases",
        frozenset({"create"}),
        "Make the Lease of leader election; a create can't be narrowed to a name.",
        Scope.OWN_NAMESPACE,
    ),
    Permission(
        "coordination.k8s.io",
        "leases",
        frozenset({"get", "watch", "update"}),
        "Take and renew that one Lease, and hear when another gives it back.",
        Scope.OWN_NAMESPACE,
        own_names_only=True,
    ),
    Permission(
        "coordination.k8s.io",
        "leases",
        frozenset({"list"}),
        "Find other operators, and not lead where an older one serves the same ModelDeployments.",
        Scope.CLUSTER,
        namespaced=Scope.OWN_NAMESPACE,
    ),
    Permission(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        frozenset({"get"}),
        "Refuse to lead on a CRD older than the operator, which would lose fields of status.",
        Scope.CLUSTER,
        own_names_only=True,
    ),
)


def permissions(*, namespaced: bool, switched_on: Collection[str] = ()) -> tuple[Permission, ...]:
    """The rights of an installation for the cluster, or of one that has rights in namespaces only.

    `switched_on` are the values of the chart by which more is granted; see `Permission.switched_on_by`.
    """
    granted = (each for each in PERMISSIONS if not each.switched_on_by or each.switched_on_by in switched_on)
    if not namespaced:
        return tuple(granted)
    return tuple(
        replace(permission, scope=scope)
        for permission in granted
        if (scope := permission.namespaced if permission.scope is Scope.CLUSTER else permission.scope) is not None
    )
