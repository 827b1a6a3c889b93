"""The Job that tries a candidate before it gets any request: the user's template, made safe to run beside the model.

Called by `serinus.core.realise`, and by the decisions, which report what is refused before anything is made. The Job
belongs to the ModelDeployment; its pods carry none of the labels by which Services, budgets, policies and monitors of
the model select pods.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import GROUP, JOB, LABEL_PREFLIGHT
from serinus.core.plan import Manifest
from serinus.core.render.metadata import metadata
from serinus.core.render.pod_template import BENTOML_USER_ID
from serinus.core.render.refusal import ReservedField, as_list, as_object

_ROOT: Final = "spec.rollout.preflight.jobTemplate"
BACKOFF_LIMIT: Final = 2
"""Pods that may fail before the Job does, where the template says nothing."""

_RESERVED: Final[Mapping[str, str]] = {
    "suspend": "Serinus makes the Job when the candidate is ready for it; leave it out",
    "selector": "Kubernetes finds the Job's pods by itself; leave it out",
    "manualSelector": "Kubernetes finds the Job's pods by itself; leave it out",
    "managedBy": "the Job controller of Kubernetes has to run it; leave it out",
    "ttlSecondsAfterFinished": "Serinus keeps the Job as long as its result and its logs matter; leave it out",
}


def preflight_job(deployment: ModelDeployment, revision: str, name: str, moves: int) -> Manifest:
    """The Job `name` that tries `revision`, as plain JSON values that share nothing with the spec.

    What the template leaves out is filled in: a deadline, retries, and what the `restricted` pod security standard asks
    for. A pod that is evicted does not count as failed. Raises `ReservedField` where the template sets what Serinus
    keeps for itself, or has not the shape of a Job, and ValueError for a spec without a preflight.
    """
    preflight = deployment.spec.rollout.preflight
    if preflight is None:
        raise ValueError(f"ModelDeployment {deployment.metadata.namespace}/{deployment.metadata.name} has no preflight")
    given = preflight.job_template
    _refuse_unknown(given, ("metadata", "spec"), _ROOT)
    of_job = _metadata(given, _ROOT)
    job = as_object(given.get("spec", {}), f"{_ROOT}.spec")
    for field, reason in _RESERVED.items():
        if field in job:
            raise ReservedField(f"{_ROOT}.spec.{field}", reason)
    made = metadata(deployment, name, moves, revision=revision)
    made["labels"] = dict(of_job["labels"]) | made["labels"]
    made["annotations"] = dict(of_job["annotations"]) | made["annotations"]
    spec = _without_nulls(job) | {"template": _pod_template(deployment, job)}
    spec.setdefault("backoffLimit", BACKOFF_LIMIT)
    spec.setdefault("activeDeadlineSeconds", deployment.spec.rollout.progress_deadline_seconds)
    if spec["template"]["spec"]["restartPolicy"] == "Never":
        disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
        spec.setdefault("podFailurePolicy", {"rules": [disrupted]})
    manifest = {"apiVersion": JOB.api_version, "kind": JOB.kind, "metadata": made, "spec": spec}
    plain: dict[str, Any] = json.loads(json.dumps(manifest))
    return plain


def _pod_template(deployment: ModelDeployment, job: Mapping[str, Any]) -> dict[str, Any]:
    root = f"{_ROOT}.spec.template"
    given = as_object(job.get("template", {}), root)
    _refuse_unknown(given, ("metadata", "spec"), root)
    of_pods = _metadata(given, root)
    pod = _without_nulls(as_object(given.get("spec", {}), f"{root}.spec"))
    if not as_list(pod.get("containers", ()), f"{root}.spec.containers"):
        raise ReservedField(f"{root}.spec.containers", "a Job needs a container that tries the candidate; add one")
    defaults: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
    }
    security = as_object(pod.get("securityContext", {}), f"{root}.spec.securityContext")
    rights = {
        "runAsNonRoot": True,
        "runAsUser": BENTOML_USER_ID,
        "runAsGroup": BENTOML_USER_ID,
        "fsGroup": BENTOML_USER_ID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    containers = {
        field: [_container(item, f"{root}.spec.{field}") for item in as_list(pod[field], f"{root}.spec.{field}")]
        for field in ("containers", "initContainers")
        if field in pod
    }
    return {
        "metadata": {
            "labels": {**of_pods["labels"], LABEL_PREFLIGHT: deployment.metadata.name},
            "annotations": of_pods["annotations"],
        },
        "spec": defaults | pod | {"securityContext": rights | _without_nulls(security)} | containers,
    }


def _container(item: Any, path: str) -> dict[str, Any]:
    """A container with the rights of the restricted standard, whose last words are kept where it fails."""
    container = _without_nulls(as_object(item, path))
    security = as_object(container.get("securityContext", {}), f"{path}.securityContext")
    rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    words = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    return words | container | {"securityContext": rights | _without_nulls(security)}


def _metadata(given: Mapping[str, Any], root: str) -> dict[str, dict[str, Any]]:
    """Labels and annotations of the template, none of them our own."""
    found = as_object(given.get("metadata") or {}, f"{root}.metadata")
    _refuse_unknown(found, ("labels", "annotations"), f"{root}.metadata")
    told = {
        field: _without_nulls(as_object(found.get(field) or {}, f"{root}.metadata.{field}")) for field in _LABELLING
    }
    for field, entries in told.items():
        for key in entries:
            domain, slash, _ = str(key).rpartition("/")
            if slash and (domain == GROUP or domain.endswith(f".{GROUP}")):
                path = f"{root}.metadata.{field}[{key}]"
                raise ReservedField(path, f"names below {GROUP} are Serinus' own; use another domain")
    return told


_LABELLING: Final = ("labels", "annotations")


def _refuse_unknown(given: Mapping[str, Any], known: tuple[str, ...], path: str) -> None:
    for field in given:
        if field not in known:
            raise ReservedField(f"{path}.{field}", f"only {' and '.join(known)} can be set here; remove it")


def _without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}
