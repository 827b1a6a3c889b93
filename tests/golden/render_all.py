"""Every child of a ModelDeployment as this version renders it, for the golden files and the API server to look at."""

from pathlib import Path
from typing import Any

import yaml

from serinus.api.deployment import ModelDeployment
from serinus.api.revision import preflight_job_name
from serinus.core import render
from serinus.core.traffic import planned_steps

FOLDER = Path(__file__).parent
RESOURCES = sorted((FOLDER / "resources").glob("*.yaml"))
OWNER_UID = "6e5f1a52-0f0c-4a66-9c5b-8f1b1d2a3c4d"
OTHER_REVISION = "0123456789"
MOVES = 7


def deployment_of(path: Path, namespace: str = "models") -> ModelDeployment:
    """The resource in a file, as if it had been created in `namespace`."""
    resource = yaml.safe_load(path.read_text())
    resource["metadata"] |= {"namespace": namespace, "uid": OWNER_UID, "generation": 1, "resourceVersion": "1"}
    return ModelDeployment.parse(resource)


def children_of(deployment: ModelDeployment) -> dict[str, dict[str, Any]]:
    """Its children by kind and name, in the middle of a rollout: the spec's revision is the candidate."""
    revision = deployment.revision
    record = render.controller_revision(deployment, revision, 2, MOVES)
    children = [
        record,
        render.replica_set(deployment, revision, render.template_of(record), 1, MOVES),
        *([render.revision_service(deployment, revision, MOVES)] if deployment.spec.traffic.gateway else []),
        render.stable_service(deployment, OTHER_REVISION, MOVES),
        render.candidate_service(deployment, revision, MOVES),
        render.pod_monitor(deployment, MOVES),
        render.disruption_budget(deployment, revision, MOVES, render.template_of(record)),
        render.network_policy(deployment, MOVES, "monitoring"),
    ]
    if deployment.spec.rollout.preflight:
        name = preflight_job_name(deployment.metadata.name, revision, MOVES)
        children.append(render.preflight_job(deployment, revision, name, MOVES))
    autoscaling = deployment.spec.scaling.autoscaling
    if autoscaling:
        bounds = autoscaling.min_replicas, autoscaling.max_replicas
        children.append(render.autoscaler(deployment, autoscaling, OTHER_REVISION, bounds, MOVES))
    if deployment.spec.traffic.gateway:
        last = next(reversed(planned_steps(deployment.spec)), None)
        matches = {revision: last.matches} if last is not None and last.matches else {}
        mirrors = {revision: last.shadow_percent} if last is not None and last.shadow_percent else {}
        weights = {OTHER_REVISION: 95, revision: 5}
        children.append(render.http_route(deployment, weights, MOVES, matches=matches, mirrors=mirrors))
    return {f"{child['kind']}/{child['metadata']['name']}": dict(child) for child in children}
