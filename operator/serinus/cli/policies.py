"""The platform's policies that stand in files beside a ModelDeployment, and what they make of it. Pure.

Called by the commands that read files. Which namespaces a ClusterRolloutPolicy selects is asked of the Namespaces in
the same files; of one that is not among them only its name is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import NAMESPACE, POLICY_KINDS
from serinus.api.policy import Policy
from serinus.core.platform import Governed, govern
from serinus.kube.policies import holds_in, labels_of

KINDS: Final = frozenset(kind.kind for kind in POLICY_KINDS)


def governed(deployment: ModelDeployment, beside: Iterable[Mapping[str, Any]]) -> Governed:
    """What the policies among these manifests make of the resource."""
    namespace = deployment.metadata.namespace
    found = [each for each in beside if _name(each)]
    labels = next((each for each in found if each.get("kind") == NAMESPACE.kind and _name(each) == namespace), None)
    at_home = (_with_namespace(each, namespace) for each in found if each.get("kind") in KINDS)
    holding = [each for each in at_home if holds_in(each, namespace, labels_of(namespace, labels))]
    return govern(deployment.spec, [Policy.parse(each) for each in holding])


def effects(name: str, result: Governed) -> list[str]:
    """What they did, in lines for people."""
    return [
        *(f"{name}: {each.field}: {each.value}, by {each.policy}" for each in result.origins),
        *(f"{name}: metric {metric}, as {policy} defines it" for metric, policy in result.shared.items()),
        *(f"{name}: {each} is told of it, by {policy}" for policy in result.policies for each in policy.spec.notify),
    ]


def _name(manifest: Mapping[str, Any]) -> str:
    metadata = manifest.get("metadata")
    return str(metadata.get("name") or "") if isinstance(metadata, Mapping) else ""


def _with_namespace(policy: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """One that names no namespace is applied to the one that everything in the files is."""
    return {**policy, "metadata": {"namespace": namespace, **policy["metadata"]}}
