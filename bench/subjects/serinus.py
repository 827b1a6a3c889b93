"""The project's operator: the chart's rights and environment, `python -m serinus`, a ModelDeployment.

Behind a gateway it has an HTTPRoute and a Service for each revision, and a step's share is one of the requests; without
one it is one of the pods.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import serinus
from bench.api import Api, Manifest
from bench.figures import EVENTS_EMITTED, EVENTS_LOST, PASSES
from bench.operators import Launch, OperatorProcess, account_kubeconfig, kubectl
from bench.ports import free_port
from bench.subject import (
    REPLICAS,
    STEPS,
    Installed,
    Key,
    Step,
    Subject,
    Wanted,
    image,
)
from e2e.cluster import tools
from e2e.cluster.controlplane import ControlPlane
from e2e.cluster.locations import CHECKOUT
from e2e.cluster.process import run

NAMESPACE: Final = "serinus-system"
NAME: Final = "serinus"
SCRAPE_INTERVAL_SECONDS: Final = 2
"""How often the stub is said to scrape; readings are at least two of these apart."""

_PARENTS: Final = [{"name": "public", "namespace": "gateways"}]
_GATEWAY_KINDS: Final = ("gatewayclasses", "gateways", "httproutes")
_COUNTER: Final = re.compile(r"serinus_\w+_(total|count|sum)(\{|$)")


class Serinus(Subject):
    """ModelDeployments."""

    slug = "serinus"
    title = "Serinus"
    resources = "ModelDeployments"
    user = f"system:serviceaccount:{NAMESPACE}:{NAME}"
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{NAME}"
    root = "/apis/serinus.dev/v1alpha1"
    plural = "modeldeployments"
    pod_label = "serinus.dev/deployment"
    phases = ("create", "rollout", "judged", "outage", "idle", "restart", "failover")

    def __init__(self, *, routed: bool = True) -> None:
        """ModelDeployments behind a gateway, or without one."""
        self.routed = routed

    @property
    def conditions(self) -> Mapping[str, str]:
        return {"Serinus": serinus.__version__}

    @property
    def label(self) -> str:
        return f"{self.title} behind a gateway" if self.routed else self.title

    @property
    def file_name(self) -> str:
        return f"{self.slug}{'-routed' if self.routed else ''}"

    def crds(self) -> tuple[Path, ...]:
        """The Gateway API's, where a gateway is used."""
        if not self.routed:
            return ()
        return tuple(tools.gateway_api_crds() / f"gateway.networking.k8s.io_{kind}.yaml" for kind in _GATEWAY_KINDS)

    def install(self, plane: ControlPlane, folder: Path, prometheus_url: str) -> Installed:
        """Install the chart, and keep the environment of its pod for processes outside of the cluster.

        The chart's Deployment goes again: its pods would be played, and the operator runs beside the cluster.
        """
        homes = {f"HELM_{kind}_HOME": str(folder / "helm" / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        values = (f"prometheus.url={prometheus_url}", f"prometheus.scrapeIntervalSeconds={SCRAPE_INTERVAL_SECONDS}")
        run(
            *(tools.packaged() / "helm", "install", NAME, CHECKOUT / "charts" / "serinus"),
            *(f"--namespace={NAMESPACE}", "--create-namespace", *(f"--set={value}" for value in values)),
            env=homes | {"KUBECONFIG": str(plane.kubeconfig)},
            timeout_seconds=120,
        )
        here = f"--namespace={NAMESPACE}"
        deployment = json.loads(kubectl(plane, "get", "deployment", NAME, here, "--output=json"))
        kubectl(plane, "delete", "deployment", NAME, here)
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        environment = {each["name"]: _value(each) for each in container["env"]}
        return Installed(account_kubeconfig(plane, NAMESPACE, NAME, folder), environment, prometheus_url)

    def start(self, installed: Installed, folder: Path, number: int) -> OperatorProcess:
        port, identity = free_port(), f"serinus-{number}"
        own = {
            "SERINUS_IDENTITY": identity,
            "SERINUS_HTTP_PORT": str(port),
            "KUBECONFIG": str(installed.kubeconfig),
            "PYTHONPATH": str(CHECKOUT / "operator"),
        }
        address = f"http://127.0.0.1:{port}"
        launch = Launch(
            command=(sys.executable, "-m", "serinus"),
            environment={**installed.environment, **own},
            ready_url=f"{address}/readyz",
            metrics_url=f"{address}/metrics",
        )
        return OperatorProcess(identity, launch, folder)

    def leads(self, process: OperatorProcess) -> bool:
        return process.samples().get("serinus_leading") == 1

    def holder(self, process: OperatorProcess) -> str | None:
        return process.identity

    def counters(self, samples: Mapping[str, float]) -> dict[str, float]:
        return {name: value for name, value in samples.items() if _COUNTER.match(name)}

    def tally(self, grown: Mapping[str, float], events_arrived: int) -> dict[str, float]:
        """It counts itself what it could not send; a note that was seen before waits, and makes a series longer."""
        del events_arrived
        sent, lost = (grown.get(f"serinus_events_{fate}_total", 0.0) for fate in ("sent", "lost"))
        passes = sum(value for name, value in grown.items() if name.startswith("serinus_pass_seconds_count"))
        return {PASSES: passes, EVENTS_EMITTED: sent + lost, EVENTS_LOST: lost}

    def manifest(self, key: Key, version: str) -> Manifest:
        namespace, name = key
        gateway = {"parentRefs": _PARENTS, "hostnames": [f"{name}.{namespace}.example.com"]}
        return {
            "apiVersion": "serinus.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "serving": {"image": image(version)},
                "scaling": {"replicas": REPLICAS},
                **({"traffic": {"gateway": gateway}} if self.routed else {}),
                "rollout": {"canary": _canary(STEPS), "watchSeconds": 0, "scaleDownDelaySeconds": 0},
                "analysis": {"disabled": True},
            },
        }

    def new_version(
        self, version: str, *, judged_every_seconds: int | None = None, steps: Sequence[Step] = STEPS
    ) -> dict[str, Any]:
        judged = {"disabled": None, "intervalSeconds": judged_every_seconds}
        return {
            "serving": {"image": image(version)},
            "rollout": {"canary": _canary(steps)},
            "analysis": {"disabled": True} if judged_every_seconds is None else judged,
        }

    def scaled(self, replicas: int) -> dict[str, Any]:
        return {"scaling": {"replicas": replicas}}

    async def before_metrics(self, api: Api, namespaces: Iterable[str], prometheus_url: str) -> None:
        """Nothing: errors and latency of BentoML are judged by default."""

    def serves(self, version: str) -> Wanted:
        def wanted(found: Manifest) -> bool:
            status, generation = found.get("status", {}), found["metadata"]["generation"]
            ready = any(
                each["type"] == "Ready" and each["status"] == "True" and each["observedGeneration"] == generation
                for each in status.get("conditions", ())
            )
            return ready and bool(status["stable"]["version"] == version)

        return wanted

    def is_held(self, found: Manifest) -> bool:
        return self._is_in_phase(found, "Holding")

    def is_aborted(self, found: Manifest) -> bool:
        return self._is_in_phase(found, "RollingBack", "Rejected")

    def is_rejected(self, found: Manifest) -> bool:
        return self._is_in_phase(found, "Rejected")

    def is_at_rest(self, found: Manifest) -> bool:
        """Neither a candidate nor an old revision that is kept warm is left."""
        status = found.get("status", {})
        decided = not status.get("candidate") or self.is_rejected(found)
        return self.is_observed(found) and decided and not status.get("previous")

    def is_observed(self, found: Manifest) -> bool:
        return bool(found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"])

    def _is_in_phase(self, found: Manifest, *phases: str) -> bool:
        return self.is_observed(found) and found["status"]["rollout"]["phase"] in phases


def _canary(steps: Sequence[Step]) -> dict[str, Any]:
    named = [
        {"name": step.name, "weightPercent": step.weight_percent, "holdSeconds": step.hold_seconds} for step in steps
    ]
    return {"steps": named}


def _value(variable: Mapping[str, Any]) -> str:
    if "valueFrom" not in variable:
        return str(variable.get("value", ""))
    of_the_pod = {"metadata.name": "set for each process", "metadata.namespace": NAMESPACE}
    return of_the_pod[variable["valueFrom"]["fieldRef"]["fieldPath"]]
