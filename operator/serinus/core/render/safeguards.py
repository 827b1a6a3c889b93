"""What protects pods from the cluster around them: a disruption budget for each revision, a network policy for all.

Called by `serinus.core.realise`. Both are written once: neither depends on what a rollout does.
"""

from __future__ import annotations

from typing import Any

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import DISRUPTION_BUDGET, LABEL_DEPLOYMENT, NETWORK_POLICY
from serinus.api.revision import child_name, network_policy_name
from serinus.core.plan import Manifest
from serinus.core.render.container import PORT_NAME
from serinus.core.render.metadata import metadata, pod_selector, revision_labels


def disruption_budget(deployment: ModelDeployment, revision: str, moves: int, template: Manifest) -> Manifest:
    """The PodDisruptionBudget of one revision: an eviction may take one of its pods at a time.

    Counted by what is unavailable, so that a revision of one pod does not keep its node from being drained. A pod that
    is not ready serves nobody and may always go: else a revision that can't start would hold up the drain for ever.
    `template` is the revision's, for its labels.
    """
    name = child_name(deployment.metadata.name, revision)
    labels = revision_labels(deployment, revision, template)
    return {
        "apiVersion": DISRUPTION_BUDGET.api_version,
        "kind": DISRUPTION_BUDGET.kind,
        "metadata": metadata(deployment, name, moves, revision=revision, labels=labels),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": pod_selector(deployment, revision)},
        },
    }


def network_policy(deployment: ModelDeployment, moves: int, scraper_namespace: str | None = None) -> Manifest:
    """The NetworkPolicy of all pods of the resource: who may reach which of their ports.

    Everybody reaches the serving port, by its name, so that revisions with different ports share the policy; the pods
    of `scraper_namespace` reach every port, for the metrics of containers beside the model. What pods may reach
    themselves is left open: where models fetch features and weights from, nobody knows here.
    """
    ingress: list[dict[str, Any]] = [{"ports": [{"port": PORT_NAME, "protocol": "TCP"}]}]
    if scraper_namespace is not None:
        names = {"matchLabels": {"kubernetes.io/metadata.name": scraper_namespace}}
        ingress.append({"from": [{"namespaceSelector": names}]})
    return {
        "apiVersion": NETWORK_POLICY.api_version,
        "kind": NETWORK_POLICY.kind,
        "metadata": metadata(deployment, network_policy_name(deployment.metadata.name), moves),
        "spec": {
            "podSelector": {"matchLabels": {LABEL_DEPLOYMENT: deployment.metadata.name}},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }
