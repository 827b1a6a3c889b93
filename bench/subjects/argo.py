"""Argo Rollouts: its release manifest's rights, its own program, a Rollout with traffic routing or without.

The pods are those that Serinus renders for the same image: container, probes, security, spread. Without traffic routing
a step's share is a share of the pods, and nothing stands between clients and pods: no Services, no routes. With it, a
user's Services and Ingress are made beside each Rollout, and a step's share is a weight: routing that Argo Rollouts has
built in and that takes no more than Kubernetes' own kinds is the one for ingress-nginx.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.api import Api, Manifest
from bench.figures import EVENTS_EMITTED, EVENTS_LOST, PASSES
from bench.operators import Launch, OperatorProcess, account_kubeconfig, kubectl
from bench.ports import free_port
from bench.prometheus import success_share
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
from bench.subjects import argo_program
from bench.subjects.serinus import Serinus
from e2e.cluster.controlplane import ControlPlane
from serinus.api.deployment import ModelDeployment
from serinus.core.render.pod_template import pod_template

NAMESPACE: Final = "argo-rollouts"
NAME: Final = "argo-rollouts"
TEMPLATE: Final = "success-share"
"""Name of the AnalysisTemplate, and of its metric."""
ANALYSIS_INTERVAL_SECONDS: Final = 10

_APP: Final = "app"
_ROOT: Final = "/apis/argoproj.io/v1alpha1"
_IDENTITY: Final = re.compile(r"Leaderelection get id ([^\s\"]+)")
_WORKLOAD: Final = re.compile(r"^kind: (Deployment|Service)$", re.MULTILINE)
_STARTED: Final = "Started controller"
_COUNTED: Final = re.compile(r"(rollout_events_total|rollout_reconcile_count|analysis_run_reconcile_count)(\{|$)")


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast its client may ask the API server; the program's defaults are 40 and 80."""

    qps: int
    burst: int

    @classmethod
    def parse(cls, text: str) -> Limits:
        """From `QPS/BURST`, such as `400/800`. Raises ValueError."""
        qps, burst = (int(number) for number in text.split("/"))
        if min(qps, burst) < 1:
            raise ValueError(f"limits have to be at least 1: {text}")
        return cls(qps, burst)

    def __str__(self) -> str:
        return f"{self.qps}/{self.burst}"


class Argo(Subject):
    """Rollouts."""

    slug = "argo"
    title = "Argo Rollouts"
    resources = "Rollouts"
    user = f"system:serviceaccount:{NAMESPACE}:{NAME}"
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/argo-rollouts-controller-lock"
    root = _ROOT
    plural = "rollouts"
    pod_label = _APP
    phases = ("create", "rollout", "outage", "idle", "restart", "failover")

    def __init__(self, limits: Limits, *, routed: bool = False) -> None:
        """Rollouts with traffic routing, or without."""
        self._limits = limits
        self.routed = routed
        self._identities: dict[int, str] = {}

    @property
    def conditions(self) -> Mapping[str, str]:
        return {
            self.title: f"{argo_program.MODULE.version}, built with Go {argo_program.go_version()}",
            "its limits (QPS/burst)": str(self._limits),
            "its traffic routing": "ingress-nginx" if self.routed else "none",
        }

    @property
    def label(self) -> str:
        return f"{self.title} {self._limits}{' with routing' if self.routed else ''}"

    @property
    def file_name(self) -> str:
        return f"{self.slug}-{self._limits.qps}-{self._limits.burst}{'-routed' if self.routed else ''}"

    def install(self, plane: ControlPlane, folder: Path, prometheus_url: str) -> Installed:
        """Apply its release manifest, but for Deployment and Service: the controller runs beside the cluster."""
        argo_program.program()  # made now where it is not there yet, and not when a process is to start
        release = folder / "argo-rollouts.yaml"
        release.write_text(without_workload(argo_program.release_manifest()))
        kubectl(plane, "create", "namespace", NAMESPACE)
        kubectl(plane, "apply", "--server-side", f"--namespace={NAMESPACE}", f"--filename={release}")
        kubectl(plane, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        kubeconfig = account_kubeconfig(plane, NAMESPACE, NAME, folder)
        return Installed(kubeconfig, {"POD_NAMESPACE": NAMESPACE}, prometheus_url)

    def start(self, installed: Installed, folder: Path, number: int) -> OperatorProcess:
        metrics, health = free_port(), free_port()
        launch = Launch(
            command=(
                str(argo_program.program()),
                f"--kubeconfig={installed.kubeconfig}",
                *(f"--qps={self._limits.qps}", f"--burst={self._limits.burst}"),
                *(f"--metricsPort={metrics}", f"--healthzPort={health}"),
            ),
            environment=installed.environment,
            ready_url=f"http://127.0.0.1:{health}/healthz",
            metrics_url=f"http://127.0.0.1:{metrics}/metrics",
        )
        return OperatorProcess(f"{self.slug}-{number}", launch, folder)

    def leads(self, process: OperatorProcess) -> bool:
        return _STARTED in process.log.read_text(errors="replace")

    def holder(self, process: OperatorProcess) -> str | None:
        """It makes its name up when it starts, and says it only in its log."""
        if process.pid not in self._identities:
            found = _IDENTITY.search(process.log.read_text(errors="replace"))
            if found is None:
                return None
            self._identities[process.pid] = found[1]
        return self._identities[process.pid]

    def counters(self, samples: Mapping[str, float]) -> dict[str, float]:
        """Sums over all resources: it has a series for each."""
        sums: dict[str, float] = {}
        for name, value in samples.items():
            if found := _COUNTED.match(name):
                sums[found[1]] = sums.get(found[1], 0.0) + value
        return sums

    def tally(self, grown: Mapping[str, float], events_arrived: int) -> dict[str, float]:
        """It counts the Events of Rollouts that it emits, not what becomes of them: lost is what did not arrive.

        Those of AnalysisRuns arrive and are not in its counter, so that where there are any, too few count as lost.
        """
        passes = sum(grown.get(f"{kind}_reconcile_count", 0.0) for kind in ("rollout", "analysis_run"))
        emitted = grown.get("rollout_events_total", 0.0)
        return {PASSES: passes, EVENTS_EMITTED: emitted, EVENTS_LOST: max(0.0, emitted - events_arrived)}

    def manifest(self, key: Key, version: str) -> Manifest:
        namespace, name = key
        labels = {_APP: name}
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "replicas": REPLICAS,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _pod_spec(key, version)},
                "strategy": {"canary": {**(_routing(name) if self.routed else {}), "steps": _steps(STEPS)}},
            },
        }

    def companions(self, key: Key) -> tuple[tuple[str, Manifest], ...]:
        """The Services and the Ingress that a user of its traffic routing makes."""
        if not self.routed:
            return ()
        namespace, name = key
        services = f"/api/v1/namespaces/{namespace}/services"
        ingresses = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses"
        return (
            (services, _service(name, name)),
            (services, _service(f"{name}-canary", name)),
            (ingresses, _ingress(name)),
        )

    def new_version(
        self, version: str, *, judged_every_seconds: int | None = None, steps: Sequence[Step] = STEPS
    ) -> dict[str, Any]:
        judged = {
            "templates": [{"templateName": TEMPLATE}],
            "args": [
                {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.{name}"}}}
                for name in ("namespace", "name")
            ],
        }
        if judged_every_seconds not in {None, ANALYSIS_INTERVAL_SECONDS}:
            raise ValueError(f"the AnalysisTemplate asks every {ANALYSIS_INTERVAL_SECONDS} s")
        containers = _pod_spec(("any", "any"), version)["containers"]
        analysis = None if judged_every_seconds is None else judged
        return {
            "template": {"spec": {"containers": containers}},
            "strategy": {"canary": {"steps": _steps(steps), "analysis": analysis}},
        }

    def scaled(self, replicas: int) -> dict[str, Any]:
        return {"replicas": replicas}

    async def before_metrics(self, api: Api, namespaces: Iterable[str], prometheus_url: str) -> None:
        """The AnalysisTemplate, with the defaults of its limits."""
        query = success_share("{{args.namespace}}", "{{args.name}}")
        metric = {
            "name": TEMPLATE,
            "interval": f"{ANALYSIS_INTERVAL_SECONDS}s",
            "successCondition": "result[0] >= 0.99",
            "provider": {"prometheus": {"address": prometheus_url, "query": query}},
        }
        for namespace in namespaces:
            template = {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "AnalysisTemplate",
                "metadata": {"name": TEMPLATE, "namespace": namespace},
                "spec": {"args": [{"name": "namespace"}, {"name": "name"}], "metrics": [metric]},
            }
            await api.call("POST", f"{_ROOT}/namespaces/{namespace}/analysistemplates", template)

    def serves(self, version: str) -> Wanted:
        def wanted(found: Manifest) -> bool:
            status = found.get("status", {})
            (container,) = found["spec"]["template"]["spec"]["containers"]
            whole = status.get("phase") == "Healthy" and status.get("stableRS") == status.get("currentPodHash")
            return whole and self.is_observed(found) and bool(container["image"] == image(version))

        return wanted

    def is_held(self, found: Manifest) -> bool:
        status = found.get("status", {})
        run = status.get("canary", {}).get("currentBackgroundAnalysisRunStatus", {})
        return self.is_observed(found) and status.get("phase") == "Paused" and run.get("status") == "Running"

    def is_aborted(self, found: Manifest) -> bool:
        return self.is_observed(found) and bool(found["status"].get("abort"))

    def is_rejected(self, found: Manifest) -> bool:
        return self.is_aborted(found) and self._has_its_pods(found)

    def is_at_rest(self, found: Manifest) -> bool:
        decided = self.is_aborted(found) or found.get("status", {}).get("phase") == "Healthy"
        return self.is_observed(found) and decided and self._has_its_pods(found)

    def is_observed(self, found: Manifest) -> bool:
        """It tells the generation as a text."""
        return bool(found.get("status", {}).get("observedGeneration") == str(found["metadata"]["generation"]))

    def _has_its_pods(self, found: Manifest) -> bool:
        """Neither more nor fewer than it is to have."""
        wanted, status = found["spec"]["replicas"], found["status"]
        return bool(status.get("replicas") == status.get("availableReplicas") == wanted)


def without_workload(release: str) -> str:
    """A release manifest without its Deployment and Service."""
    kept = (each for each in release.split("\n---\n") if not _WORKLOAD.search(each))
    return "\n---\n".join(kept)


def _pod_spec(key: Key, version: str) -> dict[str, Any]:
    """The pods that Serinus makes of the same image, spread by the Rollout's own label."""
    same = Serinus().manifest(key, version)
    same["metadata"] |= {"uid": "none", "resourceVersion": "1", "generation": 1}
    spec: dict[str, Any] = pod_template(ModelDeployment.parse(same), "none")["spec"]
    for constraint in spec.get("topologySpreadConstraints", ()):
        constraint["labelSelector"] = {"matchLabels": {_APP: key[1]}}
    return spec


def _routing(name: str) -> dict[str, Any]:
    return {
        "stableService": name,
        "canaryService": f"{name}-canary",
        "trafficRouting": {"nginx": {"stableIngress": name}},
    }


def _service(name: str, app: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {_APP: app}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }


def _ingress(name: str) -> Manifest:
    backend = {"service": {"name": name, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {
            "ingressClassName": "nginx",
            "rules": [{"host": f"{name}.example.com", "http": {"paths": [path]}}],
        },
    }


def _steps(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [
        part
        for step in steps
        for part in ({"setWeight": step.weight_percent}, {"pause": {"duration": f"{step.hold_seconds}s"}})
    ]
