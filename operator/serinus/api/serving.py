"""``spec.serving``: the BentoML container and the pod around it. Part of the revision.

Nothing here has a default in the CRD: what the user leaves out, the operator fills in when it renders the pod template
(``serinus.api.defaults``), so that a new default never makes a revision. Read by the renderer and by
``serinus.api.revision``.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from serinus.api.passthrough import (
    EnvironmentVariables,
    KeyedBy,
    OpenObject,
    OpenObjects,
    Resources,
    VolumeMounts,
    Volumes,
)
from serinus.api.schema import ApiModel
from serinus.api.values import Integer, ObjectName, Port, PositiveSeconds


class ImagePullPolicy(StrEnum):
    """When the kubelet pulls the image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class ConfigChecksum(StrEnum):
    """Whether the content of named ConfigMaps and Secrets belongs to the revision."""

    IGNORE = "Ignore"
    AUTO = "Auto"


class BentoML(ApiModel):
    """Settings of the BentoML server, rendered into the container's `BENTOML_CONFIG_OPTIONS`."""

    workers: Annotated[Integer, Field(ge=1, le=256)] | None = None
    """Worker processes in each pod. When unset, BentoML's own setting (1). Each worker loads the model once more: raise
    it for models that use one CPU core and have memory to spare."""

    request_timeout_seconds: PositiveSeconds | None = None
    """Seconds after which a request is answered with 504. When unset, 60. The route's timeout and the pod's grace
    period follow it."""

    max_concurrency: Annotated[Integer, Field(ge=1, le=100_000)] | None = None
    """Requests that one pod works on at once; further ones are answered with 429. When unset, BentoML's own setting
    (no bound). Set it to what one pod can answer within the request timeout."""


class LocalObjectReference(ApiModel):
    """An object in the same namespace, by name."""

    name: ObjectName
    """Name of the object, which lies in the namespace of the ModelDeployment."""


class Serving(ApiModel):
    """The BentoML container that answers the requests. Part of the revision."""

    image: Annotated[str, StringConstraints(pattern=r"^[^\s]+$", min_length=1, max_length=1024)]
    """Container image made by `bentoml containerize` (or anything that serves HTTP with BentoML's /livez, /readyz and
    /metrics). Name it by digest, or by a tag that is never pushed again: only a change of this text is a new
    revision."""

    image_pull_policy: ImagePullPolicy | None = None
    """When the kubelet pulls the image: Always, IfNotPresent or Never. When unset, IfNotPresent."""

    image_pull_secrets: Annotated[tuple[LocalObjectReference, ...], Field(max_length=16), KeyedBy()] = ()
    """Secrets with registry credentials, by name, in the same namespace. When unset, those of the service account."""

    command: tuple[str, ...] = ()
    """Command of the container. When unset or empty, the image's entrypoint, which is right for images made by
    BentoML."""

    args: tuple[str, ...] = ()
    """Arguments of the command. When unset or empty, those of the image."""

    port: Port | None = None
    """Port the container listens on for requests, probes and /metrics. When unset, 3000, BentoML's own."""

    bentoml: BentoML | None = None
    """Settings of the BentoML server. When unset, one worker, 60 s for a request, no bound on concurrency. What the
    image's own `@bentoml.service(...)` says about the same setting wins, so leave it out there."""

    env: EnvironmentVariables = ()
    """Environment variables of the container, in the shape of core/v1. They win over those that Serinus sets itself,
    with two exceptions: `BENTOML_PORT` is refused (set `port`), and `BENTOML_CONFIG_OPTIONS` (which has to be a plain
    value) is put before Serinus' own options, which win where both set the same key."""

    env_from: OpenObjects = ()
    """ConfigMaps and Secrets whose entries become environment variables, in the shape of core/v1."""

    volumes: Volumes = ()
    """Volumes of the pod, in the shape of core/v1. /tmp and BentoML's home are writable without any."""

    volume_mounts: VolumeMounts = ()
    """Where the volumes are mounted in the container, in the shape of core/v1."""

    resources: Resources = Field(default_factory=dict)
    """Compute resources of the container. When unset, none are requested, and the pod is the first to be evicted: set
    requests for everything that serves users."""

    service_account_name: ObjectName | None = None
    """Service account of the pods. When unset, `default`. Its token is not mounted."""

    startup_seconds: PositiveSeconds | None = None
    """Seconds a pod may take from its start until it answers /readyz for the first time, model loading included; then
    it is restarted. When unset, 600. `rollout.progressDeadlineSeconds` has to be longer."""

    drain_seconds: Annotated[Integer, Field(ge=0, le=3600)] | None = None
    """Seconds a pod that is to stop goes on answering requests while gateways and proxies learn of it. When unset, 15.
    The pod's grace period is this plus the request timeout plus a margin."""

    config_checksum: ConfigChecksum | None = None
    """Whether the content of ConfigMaps and Secrets named in this section is part of the revision. `Ignore` (when
    unset): a changed content is used by the next pods that start. `Auto`: a changed content is a new revision, and so
    rolled out like a new model; what is named has to be there, and the operator has to be allowed to read it
    (configChecksum in its Helm values). Pods take the content that is there when they start: for a rollback to the old
    content, give each content a ConfigMap or Secret with a name of its own."""

    pod_template: OpenObject = Field(default_factory=dict)
    """Overlay of the pod template, for what the fields above don't cover: `metadata.labels`, `metadata.annotations` and
    any field of a core/v1 PodSpec under `spec`, merged strategically and last (lists of containers, volumes and the
    like by name; the model's container is called `model`). Affinity and tolerations are added to those
    of `placement`. Reserved are labels and annotations of `serinus.dev`, the grace period, and of the model's container
    the image, command, args, probes, preStop hook and port."""
