"""The network between the operator and the API server, as end-to-end tests spoil it.

The operator's pods are led to `fault_proxy`, in a pod, by what any pod may be given: a host alias, and the variables
that say where the API server is. TLS goes from end to end, and nothing else in the cluster takes that way.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from e2e import fault_proxy, operator_pods
from e2e.operator_pods import PLACE
from e2e.stage import DIGITS_IMAGE, Stage

NAMESPACE = "e2e-network"
NAME = "network"
PORT = 6443
HOST = "kubernetes.default.svc"
"""A name that every API server has in its certificate."""
WAY = "/tmp/way"
OPERATOR = "deployment/serinus"


class Network:
    """The network; it is good at first."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def becomes(self, way: str) -> None:
        """From now on it is as `fault_proxy` says of this way."""
        word = f"echo {way} > {WAY}"
        self._stage.kubectl.run("exec", f"--namespace={NAMESPACE}", NAME, "--", "sh", "-c", word)

    @contextmanager
    def spoilt(self, way: str) -> Iterator[None]:
        """It is like that for the duration of the block, and good again afterwards."""
        self.becomes(way)
        try:
            yield
        finally:
            self.becomes("pass")


@contextmanager
def network_of(stage: Stage) -> Iterator[Network]:
    """The operator's pods, started anew, reach the API server over it; in the end they are as they were."""
    stage.make_namespace(NAMESPACE)
    try:
        stage.apply(_objects(), NAMESPACE)
        stage.kubectl.run("wait", f"--namespace={NAMESPACE}", f"pod/{NAME}", "--for=condition=Ready", "--timeout=60s")
        service = json.loads(stage.kubectl.run("get", "service", NAME, f"--namespace={NAMESPACE}", "--output=json"))
        variables = {"KUBERNETES_SERVICE_HOST": HOST, "KUBERNETES_SERVICE_PORT": str(PORT)}
        aliases = [{"ip": service["spec"]["clusterIP"], "hostnames": [HOST]}]
        _patch_operator(stage, aliases, [{"name": name, "value": value} for name, value in variables.items()])
        try:
            yield Network(stage)
        finally:
            _patch_operator(stage, None, [{"name": name, "$patch": "delete"} for name in variables])
    finally:
        stage.kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")


def _patch_operator(stage: Stage, aliases: Any, variables: list[dict[str, str]]) -> None:
    spec = {"hostAliases": aliases, "containers": [{"name": "operator", "env": variables}]}
    patch = json.dumps({"spec": {"template": {"spec": spec}}})
    stage.kubectl.run("patch", OPERATOR, PLACE, "--type=strategic", f"--patch={patch}")
    stage.kubectl.run("rollout", "status", OPERATOR, PLACE, "--timeout=180s", timeout_seconds=200)
    operator_pods.wait_until_one_leads(stage)


def _objects() -> list[dict[str, Any]]:
    arguments = [f"--listen=0.0.0.0:{PORT}", f"--to={HOST}:443", f"--way={WAY}"]
    container = {
        "name": NAME,
        "image": f"{DIGITS_IMAGE}:1.0.0",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", inspect.getsource(fault_proxy), *arguments],
        "ports": [{"name": "https", "containerPort": PORT}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1034, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    metadata = {"name": NAME, "labels": {"app": NAME}}
    service = {"selector": {"app": NAME}, "ports": [{"name": "https", "port": PORT, "targetPort": "https"}]}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME}, "spec": service},
    ]
