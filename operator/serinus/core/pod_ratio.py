"""Shares behind a plain Service: while a canary step is on, it selects all pods, and each gets its part.

The stable revision keeps all its pods, so that taking the candidate back never meets a shrunken one; the candidate's
share is its pods among all that are ready. Called by `serinus.core.traffic`, and by whoever writes and reads the
Service's selector.
"""

from __future__ import annotations

from collections.abc import Mapping

from serinus.api.kinds import LABEL_DEPLOYMENT
from serinus.core.observation import Children


def pods_beside(replicas: int, weight_percent: int) -> int:
    """Pods of a candidate that make up `weight_percent` of all, beside `replicas` pods of stable.

    Rounded down, so that nobody more is exposed than was asked for, but at least one; and never more than all traffic
    takes, so that the share ends at one half.
    """
    if replicas == 0 or weight_percent <= 0:
        return 0
    if weight_percent >= 100:
        return replicas
    return max(1, min(replicas, replicas * weight_percent // (100 - weight_percent)))


def selects_all(selector: Mapping[str, str] | None) -> bool:
    """Whether a stable Service leads to the pods of every revision."""
    return selector is not None and set(selector) == {LABEL_DEPLOYMENT}


def shares(children: Children) -> dict[str, int]:
    """Part of the requests in whole percent by revision, where the Service selects all pods; they add up to 100.

    Connections are spread evenly over the ready endpoints; those that are open stay where they are.
    """
    pods = ready_pods(children)
    total = sum(pods.values())
    if not total:
        return {}
    parts = {revision: 100 * count // total for revision, count in pods.items()}
    largest = max(parts, key=lambda revision: parts[revision])
    return parts | {largest: parts[largest] + 100 - sum(parts.values())}


def ready_pods(children: Children) -> dict[str, int]:
    """Ready pods by revision, of those that have some: what a Service for all pods leads to."""
    return {revision: state.ready for revision, state in sorted(children.replica_sets.items()) if state.ready}


def in_the_way(children: Children, *roles: str | None) -> dict[str, int]:
    """Pods by revision that a Service for all pods would lead to, and that belong to neither of `roles`."""
    counted = {
        state.revision: max(state.current, state.desired)
        for state in children.replica_sets.values()
        if state.revision not in roles
    }
    return {revision: count for revision, count in counted.items() if count}
