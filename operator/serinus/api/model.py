"""``spec.model``: what the model is called. Part of the revision; read by the renderer and by status."""

from serinus.api.schema import ApiModel
from serinus.api.values import LabelValue


class ModelIdentity(ApiModel):
    """Name and version of the model, as people and metrics know it. Part of the revision."""

    name: LabelValue | None = None
    """Name of the model: the label `app.kubernetes.io/name` of everything that is made for it. When unset,
    `metadata.name`. Set it when several deployments serve one model."""

    version: LabelValue | None = None
    """Version of the model: shown in status and in the label `app.kubernetes.io/version`. When unset, the image's tag,
    or the first characters of its digest. Changing it alone makes a new revision, and so a rollout."""
