"""The children of a ModelDeployment as plain manifests: pure functions of the resource, the same bytes every time.

Called by `serinus.core.realise`, which compares the result with what is observed and writes what differs. A revision's
pod template is rendered once, into its ControllerRevision; everything else is rendered on every pass.
"""

from serinus.core.render.autoscaler import autoscaler
from serinus.core.render.bentoml import request_timeout_seconds
from serinus.core.render.identity import model_version
from serinus.core.render.metadata import metadata, owner_labels, pod_selector
from serinus.core.render.pod_template import pod_template
from serinus.core.render.preflight import preflight_job
from serinus.core.render.refusal import ReservedField
from serinus.core.render.revisions import (
    controller_revision,
    identity_of,
    kept_revision,
    replica_set,
    request_timeout_of,
    restored_revision,
    template_of,
)
from serinus.core.render.routing import (
    candidate_service,
    http_route,
    pod_monitor,
    revision_service,
    shared_service,
    stable_service,
)
from serinus.core.render.safeguards import disruption_budget, network_policy

__all__ = [
    "ReservedField",
    "autoscaler",
    "candidate_service",
    "controller_revision",
    "disruption_budget",
    "http_route",
    "identity_of",
    "kept_revision",
    "metadata",
    "model_version",
    "network_policy",
    "owner_labels",
    "pod_monitor",
    "pod_selector",
    "pod_template",
    "preflight_job",
    "replica_set",
    "request_timeout_of",
    "request_timeout_seconds",
    "restored_revision",
    "revision_service",
    "shared_service",
    "stable_service",
    "template_of",
]
