"""How the load generator runs in a cluster: a ConfigMap with its source, and a pod of an image that has aiohttp.

Called by the demo and the end-to-end tests, which apply the objects and read the pod's log. Any BentoML image will do;
the rows come from a file in the image, so the digits image serves as model and as client. The pod meets the
``restricted`` Pod Security Standard, writes nothing and has no token for the API server.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("generator.py")
CLIENT_USER = 1034
START_MARGIN_SECONDS = 120


@dataclass(frozen=True, slots=True)
class LoadPod:
    """One run of the load generator.

    ``url`` is where the gateway listens as seen from a pod, path of the model's API included; ``host`` the Host header
    that its route matches; ``rows`` the path of the rows in the image. The pod ends by itself after ``seconds``, or
    cleanly before when it is deleted.
    """

    name: str
    namespace: str
    image: str
    url: str
    host: str
    rows: str
    rate_per_second: float
    seconds: float
    timeout_seconds: float = 10.0
    max_in_flight: int = 128
    new_connections: bool = False
    """Whether each request opens a connection: a Service spreads connections, not requests."""

    def objects(self) -> list[dict[str, Any]]:
        """The ConfigMap and the Pod."""
        return [self._source(), self._pod()]

    def _metadata(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "namespace": self.namespace,
            "labels": {"app.kubernetes.io/name": "load-generator", "app.kubernetes.io/instance": self.name},
        }

    def _source(self) -> dict[str, Any]:
        data = {SOURCE.name: SOURCE.read_text()}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._metadata(), "data": data}

    def _pod(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": self._metadata(),
            "spec": {
                "restartPolicy": "Never",
                "activeDeadlineSeconds": math.ceil(self.seconds + self.timeout_seconds) + START_MARGIN_SECONDS,
                "terminationGracePeriodSeconds": math.ceil(self.timeout_seconds) + 5,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": CLIENT_USER,
                    "runAsGroup": CLIENT_USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [self._container()],
                "volumes": [{"name": "source", "configMap": {"name": self.name}}],
            },
        }

    def _container(self) -> dict[str, Any]:
        return {
            "name": "load",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", f"/load/{SOURCE.name}"],
            "args": [
                f"--url={self.url}",
                f"--host={self.host}",
                f"--rows={self.rows}",
                f"--rate={self.rate_per_second:g}",
                f"--seconds={self.seconds:g}",
                f"--timeout={self.timeout_seconds:g}",
                f"--max-in-flight={self.max_in_flight}",
                *(["--new-connections"] if self.new_connections else []),
            ],
            "env": [{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": "source", "mountPath": "/load", "readOnly": True}],
        }
