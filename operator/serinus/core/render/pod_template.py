"""The pod template of a revision: rendered once, kept in the revision's ControllerRevision, never rendered again.

Called by `serinus.core.realise` when a revision is new.
"""

from __future__ import annotations

import json
from typing import Any, Final

from serinus.api import defaults
from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import CONTAINER
from serinus.api.placement import Placement
from serinus.core.plan import Manifest
from serinus.core.render.canonical import canonical_pod_spec
from serinus.core.render.container import (
    METRICS_PATH,
    grace_period_seconds,
    model_container,
    serving_port,
    volumes,
    without_empty,
)
from serinus.core.render.metadata import owner_labels, pod_selector
from serinus.core.render.overlay import merged
from serinus.core.render.placement import accelerator_affinity, joined_affinity, tolerations, topology_spread

BENTOML_USER_ID: Final = 1034
"""User and group of images made by `bentoml containerize`. They name the user in words, which the kubelet can't prove
not to be root, so the number is written into the pod."""


def pod_template(deployment: ModelDeployment, revision: str) -> Manifest:
    """Metadata and spec of the pods of the spec's revision, as plain JSON values that share nothing with the spec.

    Meets the `restricted` pod security standard, as long as `serving.podTemplate` adds nothing against it. Raises
    `ReservedField` where the user sets a field that Serinus keeps for itself.
    """
    serving = deployment.spec.serving
    template = {"metadata": _metadata(deployment, revision), "spec": _pod_spec(deployment, revision)}
    result = merged(template, serving.pod_template)
    result["spec"] = canonical_pod_spec(result["spec"])
    plain: dict[str, Any] = json.loads(json.dumps(result))
    return plain


def _metadata(deployment: ModelDeployment, revision: str) -> dict[str, Any]:
    return {
        "labels": owner_labels(deployment, revision),
        "annotations": {
            "kubectl.kubernetes.io/default-container": CONTAINER,
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(serving_port(deployment.spec.serving)),
            "prometheus.io/path": METRICS_PATH,
        },
    }


def _pod_spec(deployment: ModelDeployment, revision: str) -> dict[str, Any]:
    serving = deployment.spec.serving
    placement = deployment.spec.placement or Placement()
    accelerator = placement.accelerator
    spec: dict[str, Any] = {
        "serviceAccountName": serving.service_account_name or defaults.SERVICE_ACCOUNT_NAME,
        "automountServiceAccountToken": False,
        # Otherwise every Service of the namespace becomes environment variables, and one called `bentoml` sets
        # BENTOML_PORT and BENTOML_HOST to something that BentoML can't read.
        "enableServiceLinks": False,
        "imagePullSecrets": [{"name": secret.name} for secret in serving.image_pull_secrets],
        "terminationGracePeriodSeconds": grace_period_seconds(serving),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": BENTOML_USER_ID,
            "runAsGroup": BENTOML_USER_ID,
            "fsGroup": BENTOML_USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [model_container(serving, accelerator)],
        "volumes": volumes(serving),
        "nodeSelector": dict(placement.node_selector),
        "affinity": joined_affinity(accelerator_affinity(accelerator), placement.affinity, "spec.placement.affinity"),
        "tolerations": tolerations(accelerator, placement.tolerations),
        "topologySpreadConstraints": topology_spread(
            placement.topology_spread_constraints, pod_selector(deployment, revision)
        ),
    }
    return without_empty(spec)
