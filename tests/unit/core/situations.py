"""Observations for the tables: a resource with a stable revision and a candidate, built field by field."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from serinus.api.analysis import MetricMode
from serinus.api.deployment import ModelDeployment
from serinus.api.reasons import Phase
from serinus.api.status import ModelDeploymentStatus, RevisionStatus, RolloutStatus
from serinus.core.observation import (
    Children,
    Evidence,
    Observation,
    ParentState,
    PodState,
    ReplicaSetState,
    RouteState,
)
from serinus.core.rollout.situation import Situation
from serinus.core.verdicts import MetricVerdict, Verdict

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
OLDER = "0000000001"
STABLE = "5c1e0a9b77"
SPEC: dict[str, Any] = {
    "serving": {"image": "registry.example.com/iris:2", "startupSeconds": 60},
    "scaling": {"replicas": 4},
    "traffic": {"gateway": {"parentRefs": [{"name": "public"}], "hostnames": ["iris.example.com"]}},
    "rollout": {
        "canary": {
            "steps": [
                {"name": "five", "weightPercent": 5, "holdSeconds": 60},
                {"name": "half", "weightPercent": 50, "holdSeconds": 60},
            ]
        },
        "progressDeadlineSeconds": 120,
        "watchSeconds": 60,
        "scaleDownDelaySeconds": 90,
    },
    "analysis": {
        "intervalSeconds": 10,
        "metrics": [{"name": "errors", "errors": {}, "limit": {"maxPercent": "1"}}],
    },
}


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def deployment(annotations: Mapping[str, str] | None = None, **sections: Any) -> ModelDeployment:
    """`SPEC`, whole sections replaced (None: left out), without a status."""
    spec = {key: value for key, value in (copy.deepcopy(SPEC) | sections).items() if value is not None}
    metadata = {"name": "iris", "namespace": "models", "uid": "7f0c", "generation": 3, "resourceVersion": "17"}
    return ModelDeployment.parse({"metadata": metadata | {"annotations": dict(annotations or {})}, "spec": spec})


CANDIDATE = deployment().revision
"""The revision that `SPEC` asks for."""


def role(revision: str | None, since: datetime | None = None) -> Any:
    return RevisionStatus(revision=revision, since=since or NOW - seconds(1000), ever_ready=True) if revision else None


def status(
    phase: Phase = Phase.IDLE,
    *,
    stable: str | None = STABLE,
    candidate: str | None = None,
    previous: str | None = None,
    previous_since: datetime = NOW,
    rejected: tuple[Any, ...] = (),
    **rollout: Any,
) -> ModelDeploymentStatus:
    """A status in `phase`; what is not named is as at the beginning."""
    return ModelDeploymentStatus(
        moves=7,
        stable=role(stable),
        candidate=role(candidate),
        previous=role(previous, previous_since),
        rejected=rejected,
        rollout=RolloutStatus(phase=phase, started_at=NOW - seconds(500), **rollout),
    )


def holding(step: str = "five", **rollout: Any) -> ModelDeploymentStatus:
    """In a step, with the clock running for 30 s."""
    index, weight = {"five": (0, 5), "half": (1, 50)}[step]
    held = {
        "step": step,
        "step_index": index,
        "step_count": 2,
        "weight_percent": weight,
        "step_started_at": NOW - seconds(40),
        "counting_since": NOW - seconds(30),
        "evidence_started_at": NOW - seconds(30),
        "pass_evidence_since": NOW - seconds(30),
    }
    return status(rollout.pop("phase", Phase.HOLDING), candidate=CANDIDATE, **(held | rollout))


def pod(revision: str, number: int = 0, *, ready: bool = True, scheduled: bool = True, restarts: int = 0) -> PodState:
    since = NOW - seconds(400)
    return PodState(
        name=f"iris-{revision}-{number}",
        revision=revision,
        ready=ready,
        ready_since=since if ready else None,
        scheduled_at=since if scheduled else None,
        started_at=since if scheduled else None,
        restarts=restarts,
        trouble=None if ready else "ImagePullBackOff: no such image",
    )


def children(
    ready: Mapping[str, int],
    weights: Mapping[str, int] | None = None,
    *,
    desired: Mapping[str, int] | None = None,
    accepted: bool = True,
    pods: tuple[PodState, ...] | None = None,
    selected: str | None = None,
) -> Children:
    """ReplicaSets with `ready` pods, and a route with `weights` (None: no route)."""
    sizes = {**ready, **(desired or {})}
    parents = (ParentState(accepted, "" if accepted else "NoMatchingParent: no such listener"),)
    made = tuple(pod(revision, number) for revision, count in ready.items() for number in range(count))
    return Children(
        replica_sets={
            revision: ReplicaSetState(
                revision=revision,
                name=f"iris-{revision}",
                uid=revision,
                resource_version="5",
                desired=size,
                ready=ready.get(revision, 0),
                current=size,
            )
            for revision, size in sizes.items()
        },
        endpoints=dict(ready),
        pods=made if pods is None else pods,
        route=RouteState(weights, parents) if weights is not None else None,
        stable_selector={"serinus.dev/revision": selected} if selected else None,
    )


def observation(
    told: ModelDeploymentStatus, seen: Children, of: ModelDeployment | None = None, **more: Any
) -> Observation:
    return Observation(
        now=more.pop("now", NOW),
        deployment=replace(of or deployment(), status=told),
        children=seen,
        previous_pass_at=more.pop("previous_pass_at", NOW - seconds(5)),
        **more,
    )


def situation(told: ModelDeploymentStatus, seen: Children, of: ModelDeployment | None = None, **more: Any) -> Situation:
    return Situation(observation(told, seen, of, **more))


def evidence(verdict: Verdict, *, moves: int = 7, generation: int = 3, total: float = 1000.0) -> Evidence:
    """One enforced metric with this verdict."""
    from serinus.core.verdicts import Counts

    told = MetricVerdict(
        name="errors",
        mode=MetricMode.ENFORCE,
        verdict=verdict,
        candidate=Counts(0.0, total) if total else None,
        stable=None,
        estimate=None,
        lower=None,
        upper=None,
        limit="1 %",
        needed=None,
        message="errors: as the test says",
    )
    return Evidence(at=NOW, moves=moves, generation=generation, verdicts=(told,))
