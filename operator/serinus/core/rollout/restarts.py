"""Container restarts that do not count against a revision: those before its pods were first ready.

Called by the moves that begin or go on with an attempt; `Situation.restarts` counts the others.
"""

from __future__ import annotations

from collections.abc import Mapping

from serinus.api.status import PodRestarts
from serinus.core.rollout.situation import Situation

MOST_PODS = 100
"""Pods whose restarts are followed, as many as the CRD takes."""


def restarts_of_attempt(s: Situation) -> tuple[PodRestarts, ...]:
    """Pods of the candidate that were ready in this attempt, with the restarts that each had before that."""
    return _restarts_before(s, {each.pod: each for each in s.rollout.restarts})


def restarts_of_watch(s: Situation) -> tuple[PodRestarts, ...]:
    """Pods of the promoted revision that are ready now: what they went through before is forgiven."""
    return _restarts_before(s, {})


def _restarts_before(s: Situation, known: Mapping[str, PodRestarts]) -> tuple[PodRestarts, ...]:
    """As `known`, and as they are now of other pods that are ready."""
    pods = (pod for pod in s.judged_pods if pod.ready or pod.name in known)
    return tuple(known.get(pod.name) or PodRestarts(pod=pod.name, before=pod.restarts) for pod in pods)[:MOST_PODS]
