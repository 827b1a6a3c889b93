"""The HorizontalPodAutoscaler of a resource: it sizes the stable revision's ReplicaSet.

Called by `serinus.core.realise`.
"""

from __future__ import annotations

from typing import Any, Final

from serinus.api import defaults
from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import AUTOSCALER, CONTAINER, REPLICA_SET
from serinus.api.revision import child_name
from serinus.api.scaling import Autoscaling
from serinus.core.plan import Manifest
from serinus.core.render.metadata import metadata

IN_PROGRESS_METRIC: Final = "bentoml_service_request_in_progress"
"""BentoML's gauge of requests under way, by the name that a metrics adapter serves it under."""


def autoscaler(
    deployment: ModelDeployment, autoscaling: Autoscaling, revision: str, bounds: tuple[int, int], moves: int
) -> Manifest:
    """The autoscaler `<name>` for the ReplicaSet of `revision`, which is to keep it within `bounds` (both included).

    How fast it goes up and down is left to people, who may write its `spec.behavior`.
    """
    least, most = bounds
    target = {
        "apiVersion": REPLICA_SET.api_version,
        "kind": REPLICA_SET.kind,
        "name": child_name(deployment.metadata.name, revision),
    }
    return {
        "apiVersion": AUTOSCALER.api_version,
        "kind": AUTOSCALER.kind,
        "metadata": metadata(deployment, deployment.metadata.name, moves),
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [_metric(autoscaling)],
        },
    }


def _metric(autoscaling: Autoscaling) -> dict[str, Any]:
    if autoscaling.target_in_progress_per_pod is not None:
        target = {"type": "AverageValue", "averageValue": str(autoscaling.target_in_progress_per_pod)}
        return {"type": "Pods", "pods": {"metric": {"name": IN_PROGRESS_METRIC}, "target": target}}
    percent = autoscaling.target_cpu_percent or defaults.TARGET_CPU_PERCENT
    # Of the model's container alone: one beside it that requests no CPU would leave the autoscaler without a number.
    cpu = {"name": "cpu", "container": CONTAINER, "target": {"type": "Utilization", "averageUtilization": percent}}
    return {"type": "ContainerResource", "containerResource": cpu}
