"""Sizes that an autoscaler chooses: how far it may go, and what the pods beside those that it scales follow.

It scales the stable revision. While a rollout is under way the stable revision serves less than before, and an
autoscaler would take its pods away, which a rollback then misses: so until the attempt is over it leaves at least as
many as there were at its start. And right after a promotion it has seen the new pods serve a part of the requests only:
until the watch is over it leaves as many as were promoted. That number is in status, since nothing else remembers it.
Called by `serinus.core.traffic` and `serinus.core.realise`.
"""

from __future__ import annotations

from serinus.api.scaling import Autoscaling
from serinus.api.status import ModelDeploymentStatus
from serinus.core.observation import Capabilities


def bounds(autoscaling: Autoscaling, status: ModelDeploymentStatus) -> tuple[int, int]:
    """The fewest and the most pods that the autoscaler may choose now.

    A maximum that is lowered during a rollout holds when the rollout is over.
    """
    promised = status.rollout.stable_replicas or 0
    return max(autoscaling.min_replicas, promised), max(autoscaling.max_replicas, promised)


def can_scale(autoscaling: Autoscaling, capabilities: Capabilities) -> bool | None:
    """Whether the cluster has what an autoscaler with this target reads; None: not known yet.

    Without resource metrics it still keeps to its bounds, and its own conditions say what is missing.
    """
    return True if autoscaling.target_in_progress_per_pod is None else capabilities.custom_metrics


def chosen_size(autoscaling: Autoscaling, status: ModelDeploymentStatus, size: int) -> int:
    """Pods that the stable revision should have, whose ReplicaSet is at `size` (0: none, or nobody has sized it yet).

    An autoscaler leaves alone what is scaled to zero, so that is brought to the least here.
    """
    least, _ = bounds(autoscaling, status)
    return max(size, least)
