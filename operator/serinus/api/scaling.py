"""``spec.scaling``: how many pods. Never makes a revision; read by the planner and by the scale subresource."""

from typing import Annotated

from pydantic import Field

from serinus.api.schema import ApiModel, count_set, rule
from serinus.api.values import Integer

MAX_REPLICAS = 10_000


class Autoscaling(ApiModel):
    """A HorizontalPodAutoscaler for the stable revision. A candidate's pods follow the share that it serves."""

    min_replicas: Annotated[Integer, Field(ge=1, le=MAX_REPLICAS)] = 1
    """Fewest pods the autoscaler may leave. Default 1. During a rollout it leaves no fewer than the stable revision had
    at its start."""

    max_replicas: Annotated[Integer, Field(ge=1, le=MAX_REPLICAS)]
    """Most pods the autoscaler may ask for."""

    target_in_progress_per_pod: Annotated[Integer, Field(ge=1, le=100_000)] | None = None
    """Requests in progress per pod that the autoscaler aims at, from BentoML's own metric; follows the load of models
    that wait for a GPU better than CPU does. Needs the custom metrics API (an adapter for Prometheus). When no target
    is set, `targetCpuPercent: 80`."""

    target_cpu_percent: Annotated[Integer, Field(ge=1, le=1000)] | None = None
    """CPU use of the model's container, in percent of the CPU that it requests, that the autoscaler aims at. Needs the
    resource metrics API (metrics-server) and a request of CPU."""

    @rule(
        "self.minReplicas <= self.maxReplicas",
        "minReplicas must not exceed maxReplicas; raise maxReplicas or lower minReplicas",
        field_path=".minReplicas",
    )
    def _bounds_are_ordered(self) -> bool:
        return self.min_replicas <= self.max_replicas

    @rule(
        "!(has(self.targetInProgressPerPod) && has(self.targetCpuPercent))",
        "at most one of targetInProgressPerPod and targetCpuPercent may be set; remove one of them",
    )
    def _at_most_one_target(self) -> bool:
        return count_set(self.target_in_progress_per_pod, self.target_cpu_percent) <= 1


class Scaling(ApiModel):
    """How many pods serve."""

    replicas: Annotated[Integer, Field(ge=0, le=MAX_REPLICAS)] | None = None
    """Pods of the revision that serves. When unset (and without autoscaling), 1. `kubectl scale` and outside
    autoscalers write here, through the scale subresource, which needs the field to be set."""

    autoscaling: Autoscaling | None = None
    """Let a HorizontalPodAutoscaler choose the number of pods. When unset, `replicas` is the number."""

    @rule(
        "!(has(self.replicas) && has(self.autoscaling))",
        "at most one of replicas and autoscaling may be set; with autoscaling, use autoscaling.minReplicas instead of "
        "replicas",
    )
    def _replicas_or_autoscaling(self) -> bool:
        return count_set(self.replicas, self.autoscaling) <= 1
