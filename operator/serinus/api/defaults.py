"""What the operator fills in where the spec says nothing: the one place for defaults that the CRD does not carry.

``model``, ``serving`` and ``placement`` have no defaults in the CRD, so that a new default never makes a revision; a
choice between variants has none either, so that a default never contradicts what the user chose. Read by the renderer
and the planner of ``serinus.core``.
"""

from typing import Final

from serinus.api.analysis import AbsentBad, Limit, Metric
from serinus.api.measures import Errors, Latency
from serinus.api.serving import ImagePullPolicy
from serinus.api.values import Percent

IMAGE_PULL_POLICY: Final = ImagePullPolicy.IF_NOT_PRESENT
PORT: Final = 3000
WORKERS: Final = 1
REQUEST_TIMEOUT_SECONDS: Final = 60
SERVICE_ACCOUNT_NAME: Final = "default"
STARTUP_SECONDS: Final = 600
DRAIN_SECONDS: Final = 15
GRACE_MARGIN_SECONDS: Final = 10
"""Added to drain and request timeout for the pod's grace period."""

ACCELERATOR_RESOURCE: Final = "nvidia.com/gpu"
ACCELERATOR_COUNT: Final = 1

REPLICAS: Final = 1
TARGET_CPU_PERCENT: Final = 80
"""What an autoscaler aims at where ``spec.scaling.autoscaling`` names no target."""

ERROR_CODES: Final = ("5..", "429")
"""Status codes that are bad in an ``errors`` metric without codes; 4xx over stable's share counts besides them."""

METRICS: Final = (
    Metric(
        name="errors",
        errors=Errors(),
        limit=Limit(max_percent=Percent("1"), max_increase_percent=Percent("0.5")),
    ),
    Metric(
        name="latency",
        latency=Latency(threshold_milliseconds=1000),
        limit=Limit(max_increase_percent=Percent("5")),
    ),
)
"""Taken when the analysis names no metrics and is not disabled."""


def replicas(scaling_replicas: int | None) -> int:
    """Pods of the serving revision, given ``spec.scaling.replicas``."""
    return REPLICAS if scaling_replicas is None else scaling_replicas


def startup_seconds(serving_startup_seconds: int | None) -> int:
    """Seconds that a container's start may take, given ``spec.serving.startupSeconds``."""
    return STARTUP_SECONDS if serving_startup_seconds is None else serving_startup_seconds


def absent_bad(metric: Metric) -> AbsentBad:
    """What a missing ``bad`` series beside a present ``total`` means for this metric."""
    if metric.absent_bad is not None:
        return metric.absent_bad
    return AbsentBad.MISSING if metric.ratio is not None else AbsentBad.ZERO
