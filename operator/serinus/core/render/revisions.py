"""The objects of one revision: the ControllerRevision that remembers it and the ReplicaSet that runs it.

Called by `serinus.core.realise`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from serinus.api import defaults
from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import CONTAINER, CONTROLLER_REVISION, REPLICA_SET
from serinus.api.revision import child_name
from serinus.core.plan import Manifest
from serinus.core.render.metadata import APP_VERSION_LABEL, metadata, pod_selector, revision_labels
from serinus.core.render.pod_template import pod_template


def controller_revision(deployment: ModelDeployment, revision: str, ordinal: int, moves: int) -> Manifest:
    """The immutable record of the spec's revision: the user's fields, and the pod template rendered from them.

    `ordinal` is the revision's number among those of the resource, rising. Raises `ReservedField` as `pod_template`
    does, and ValueError for a revision that is not the spec's, whose fields are nowhere else.
    """
    if revision != deployment.revision:
        raise ValueError(f"revision {revision} can't be recorded: the spec is at {deployment.revision}")
    fields = json.loads(json.dumps(deployment.revision_fields))
    data = {"spec": fields, "template": pod_template(deployment, revision)}
    return _record(deployment, revision, ordinal, moves, data)


def restored_revision(
    deployment: ModelDeployment, revision: str, ordinal: int, moves: int, template: Manifest
) -> Manifest:
    """The record of a revision other than the spec's whose ControllerRevision was lost, from its ReplicaSet's template.

    The user's fields of such a revision are gone; everything that runs and names it is in the template.
    """
    return _record(deployment, revision, ordinal, moves, {"template": template})


def kept_revision(deployment: ModelDeployment, revision: str, record: Manifest, moves: int) -> Manifest:
    """A ControllerRevision as it should be where it is there already: its labels and its owner, with what it keeps."""
    return _record(deployment, revision, int(record["revision"]), moves, record["data"])


def _record(deployment: ModelDeployment, revision: str, ordinal: int, moves: int, data: Mapping[str, Any]) -> Manifest:
    labels = revision_labels(deployment, revision, data["template"])
    name = child_name(deployment.metadata.name, revision)
    return {
        "apiVersion": CONTROLLER_REVISION.api_version,
        "kind": CONTROLLER_REVISION.kind,
        "metadata": metadata(deployment, name, moves, revision=revision, labels=labels),
        "revision": ordinal,
        "data": data,
    }


def template_of(controller_revision: Manifest) -> Manifest:
    """The pod template that a ControllerRevision keeps."""
    template: Manifest = controller_revision["data"]["template"]
    return template


def identity_of(controller_revision: Manifest) -> tuple[str, str]:
    """Version and image of the revision that a ControllerRevision keeps, as its pods carry them."""
    template = template_of(controller_revision)
    image = next(c["image"] for c in template["spec"]["containers"] if c["name"] == CONTAINER)
    return template["metadata"]["labels"].get(APP_VERSION_LABEL, ""), image


def request_timeout_of(controller_revision: Manifest) -> int:
    """Seconds after which the revision that a ControllerRevision keeps answers a request with 504."""
    fields = controller_revision["data"].get("spec", {})
    timeout = fields.get("serving", {}).get("bentoml", {}).get("requestTimeoutSeconds")
    return defaults.REQUEST_TIMEOUT_SECONDS if timeout is None else int(timeout)


def replica_set(
    deployment: ModelDeployment, revision: str, template: Manifest, replicas: int | None, moves: int
) -> Manifest:
    """The ReplicaSet of a revision, with `template` as its ControllerRevision keeps it.

    `replicas` is given when the ReplicaSet is made; None leaves the field to the scale subresource.
    """
    spec: dict[str, Any] = {} if replicas is None else {"replicas": replicas}
    labels = revision_labels(deployment, revision, template)
    return {
        "apiVersion": REPLICA_SET.api_version,
        "kind": REPLICA_SET.kind,
        "metadata": metadata(
            deployment, child_name(deployment.metadata.name, revision), moves, revision=revision, labels=labels
        ),
        "spec": spec | {"selector": {"matchLabels": pod_selector(deployment, revision)}, "template": template},
    }
