"""Names, labels, annotations and owner of every child, and the labels that tell one revision's pods from all others.

Used by every other module of `serinus.core.render`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import ANNOTATION_MOVES, LABEL_DEPLOYMENT, LABEL_REVISION, MANAGED_BY, MODEL_DEPLOYMENT
from serinus.core.plan import Manifest
from serinus.core.render.identity import model_version

APP_NAME_LABEL: Final = "app.kubernetes.io/name"
APP_VERSION_LABEL: Final = "app.kubernetes.io/version"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"

NO_LABELS: Mapping[str, str] = {}


def pod_selector(deployment: ModelDeployment, revision: str) -> dict[str, str]:
    """The labels that exactly the pods of one revision carry. Selectors use nothing else."""
    return {LABEL_DEPLOYMENT: deployment.metadata.name, LABEL_REVISION: revision}


def owner_labels(deployment: ModelDeployment, revision: str | None) -> dict[str, str]:
    """Labels that say what an object belongs to; with `revision` those of one revision's objects.

    `app.kubernetes.io/name` and `version` are the spec's: for a revision other than the spec's there is no version
    here, and the caller takes both from the revision's own pod template (`revision_labels`).
    """
    model = deployment.spec.model
    labels = {
        LABEL_DEPLOYMENT: deployment.metadata.name,
        APP_NAME_LABEL: (model.name if model else None) or deployment.metadata.name,
        MANAGED_BY_LABEL: MANAGED_BY,
    }
    if revision is not None:
        labels[LABEL_REVISION] = revision
        if revision == deployment.revision:
            labels[APP_VERSION_LABEL] = model_version(model.version if model else None, deployment.spec.serving.image)
    return labels


def revision_labels(deployment: ModelDeployment, revision: str, template: Manifest) -> dict[str, str]:
    """Labels of an object of one revision, which may be older than the spec: name and version are its pods' own."""
    of_pods = template["metadata"]["labels"]
    kept = {label: of_pods[label] for label in (APP_NAME_LABEL, APP_VERSION_LABEL) if label in of_pods}
    return owner_labels(deployment, revision) | kept


def metadata(
    deployment: ModelDeployment,
    name: str,
    moves: int,
    *,
    revision: str | None = None,
    labels: Mapping[str, str] = NO_LABELS,
    annotations: Mapping[str, str] = NO_LABELS,
) -> dict[str, Any]:
    """Metadata of a child: owned and controlled by the ModelDeployment, and fenced by `moves`.

    `labels` and `annotations` are added to the usual ones and win over them. The owner reference does not block the
    owner's deletion, which would need a permission on finalizers.
    """
    return {
        "name": name,
        "namespace": deployment.metadata.namespace,
        "labels": owner_labels(deployment, revision) | dict(labels),
        "annotations": {ANNOTATION_MOVES: str(moves)} | dict(annotations),
        "ownerReferences": [
            {
                "apiVersion": MODEL_DEPLOYMENT.api_version,
                "kind": MODEL_DEPLOYMENT.kind,
                "name": deployment.metadata.name,
                "uid": deployment.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }
