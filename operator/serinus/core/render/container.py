"""The container that serves the model: probes, drain, environment, writable directories, rights.

Used by `serinus.core.render.pod_template`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any, Final

from serinus.api import defaults
from serinus.api.kinds import CONTAINER
from serinus.api.placement import Accelerator
from serinus.api.serving import Serving
from serinus.core.render.bentoml import HOME, environment, request_timeout_seconds
from serinus.core.render.placement import with_accelerator

PORT_NAME: Final = "http"
"""Name of the container's port: what Services, probes and the PodMonitor refer to."""

METRICS_PATH: Final = "/metrics"

WRITABLE_DIRECTORIES: Final[Mapping[str, str]] = {"serinus-tmp": "/tmp", "serinus-bentoml-home": HOME}  # noqa: S108 -- a mount point in the container
"""Volume and mount path of the directories that BentoML writes to; everything else is read-only."""

_STARTUP_PERIOD_SECONDS: Final = 2
_READINESS_PERIOD_SECONDS: Final = 5
_LIVENESS_PERIOD_SECONDS: Final = 10


def model_container(serving: Serving, accelerator: Accelerator | None) -> dict[str, Any]:
    """The container `model`, every setting written out."""
    port = serving_port(serving)
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": serving.image,
        "imagePullPolicy": str(serving.image_pull_policy or defaults.IMAGE_PULL_POLICY),
        "command": list(serving.command),
        "args": list(serving.args),
        "ports": [{"name": PORT_NAME, "containerPort": port, "protocol": "TCP"}],
        "env": environment(serving, port),
        "envFrom": list(serving.env_from),
        "resources": with_accelerator(serving.resources, accelerator),
        "volumeMounts": _volume_mounts(serving),
        **_probes(serving),
        **_drain(serving),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    return without_empty(container)


def serving_port(serving: Serving) -> int:
    """The port that the container listens on."""
    return defaults.PORT if serving.port is None else serving.port


def drain_seconds(serving: Serving) -> int:
    """Seconds that a pod which is to stop goes on answering."""
    return defaults.DRAIN_SECONDS if serving.drain_seconds is None else serving.drain_seconds


def grace_period_seconds(serving: Serving) -> int:
    """Seconds from the decision to stop a pod until it is killed: drain, then the longest request, then a margin."""
    return drain_seconds(serving) + request_timeout_seconds(serving.bentoml) + defaults.GRACE_MARGIN_SECONDS


def volumes(serving: Serving) -> list[dict[str, Any]]:
    """The pod's volumes: the writable directories that are needed, then the user's, which win where names are equal."""
    given = {str(volume["name"]): dict(volume) for volume in serving.volumes}
    needed = _needed_directories(mount["mountPath"] for mount in serving.volume_mounts)
    return [{"name": name, "emptyDir": {}} for name in needed if name not in given] + list(given.values())


def without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without empty lists and maps, which the API server leaves out of a pod as well."""
    return {name: value for name, value in fields.items() if value not in ([], {})}


def _volume_mounts(serving: Serving) -> list[dict[str, Any]]:
    needed = _needed_directories(mount["mountPath"] for mount in serving.volume_mounts)
    own = [{"name": name, "mountPath": path} for name, path in needed.items()]
    return own + [dict(mount) for mount in serving.volume_mounts]


def _needed_directories(mounted: Iterable[str]) -> dict[str, str]:
    taken = {path.rstrip("/") for path in mounted}
    return {name: path for name, path in WRITABLE_DIRECTORIES.items() if path not in taken}


def _probes(serving: Serving) -> dict[str, Any]:
    """HTTP probes: a loading BentoML accepts connections and answers nothing, so a TCP probe would call it ready.

    A probe never takes longer than its period, so that the start-up budget is what was asked for. A container is
    restarted for silence only when it has been silent for longer than any request may take: a service that computes
    in the event loop answers no probe meanwhile.
    """
    startup = defaults.startup_seconds(serving.startup_seconds)
    longest_silence = request_timeout_seconds(serving.bentoml)
    return {
        "startupProbe": _probe("/readyz", _STARTUP_PERIOD_SECONDS, 2, ceil(startup / _STARTUP_PERIOD_SECONDS)),
        "readinessProbe": _probe("/readyz", _READINESS_PERIOD_SECONDS, 3, 3),
        "livenessProbe": _probe(
            "/livez", _LIVENESS_PERIOD_SECONDS, 5, max(3, 1 + ceil(longest_silence / _LIVENESS_PERIOD_SECONDS))
        ),
    }


def _probe(path: str, period_seconds: int, timeout_seconds: int, failure_threshold: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": timeout_seconds,
        "successThreshold": 1,
        "failureThreshold": failure_threshold,
    }


def _drain(serving: Serving) -> dict[str, Any]:
    """The kubelet's own sleep before SIGTERM, while gateways learn of it; BentoML takes no connection after SIGTERM."""
    seconds = drain_seconds(serving)
    return {"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}} if seconds else {}
