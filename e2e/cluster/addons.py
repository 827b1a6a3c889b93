"""What runs in every cluster: DNS, the Gateway API with Traefik, and Prometheus. Called by `lifecycle`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import kind, tools
from e2e.cluster.images import backend, build_image, load_images
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.locations import IMAGES, MANIFESTS
from e2e.cluster.process import ClusterError, CommandError, last_lines
from e2e.cluster.progress import step

_READY = "--timeout=180s"
_GATEWAY_API = "gateway.networking.k8s.io"
_KINDS_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Addon:
    """One deployment of the cluster: its image, where the image's program is, and its manifest.

    The folder of the image's Dockerfile, the deployment and the manifest bear the addon's name.
    """

    name: str
    namespace: str
    image: str
    program: Callable[[], Path]

    def build(self) -> str:
        """Build the image and return the key of the build."""
        return build_image(self.image, self.program(), IMAGES / self.name / "Dockerfile")

    def manifest(self, build_key: str) -> str:
        """Return the manifest for an image's build; another build means other pods."""
        return (MANIFESTS / f"{self.name}.yaml").read_text().replace("KEY-OF-THE-BUILD", build_key)


_DNS = Addon("coredns", "kube-system", "localhost/serinus-e2e/coredns:1", tools.coredns)
_EVERYWHERE = (
    Addon("traefik", "gateway-system", "localhost/serinus-e2e/traefik:3.7", tools.packaged),
    Addon("prometheus", "monitoring", "localhost/serinus-e2e/prometheus:3", tools.prometheus),
)


def install() -> None:
    """Bring DNS, gateway and Prometheus up, or make sure that they are."""
    addons = _EVERYWHERE if backend() is kind else (_DNS, *_EVERYWHERE)
    keys = {addon: addon.build() for addon in addons}
    load_images(addon.image for addon in addons)
    kubectl = Kubectl()
    with step("Gateway API, DNS, gateway and Prometheus"):
        kubectl.apply(tools.gateway_api_crds())
        _await_kinds(kubectl)
        kubectl.apply_text("\n---\n".join(addon.manifest(key) for addon, key in keys.items()))
        for addon in addons:
            _await(kubectl, addon.namespace, "rollout", "status", f"deployment/{addon.name}")
        _await(kubectl, "gateway-system", "wait", "--for=condition=Programmed", "gateway/public")


def _await_kinds(kubectl: Kubectl) -> None:
    """Wait until the kinds that were just applied can be used.

    `kubectl wait` fails at once on a CRD that has no conditions yet, and discovery knows a kind only a moment after it
    is Established.
    """
    established = ("wait", "--for=condition=Established", "crd", "--selector=!none", "--timeout=30s")
    served = ("api-resources", f"--api-group={_GATEWAY_API}", "--cached=false", "--output=name")
    deadline = time.monotonic() + _KINDS_SECONDS
    while (
        kubectl.try_run(*established, timeout_seconds=60) is None
        or f"gateways.{_GATEWAY_API}" not in (kubectl.try_run(*served) or "").split()
    ):
        if time.monotonic() > deadline:
            facts = kubectl.try_run("get", "crds") or "  kubectl get crds fails"
            raise ClusterError(f"the kinds of the Gateway API can't be used\n{facts}", "make cluster-down cluster")
        time.sleep(0.5)


def _await(kubectl: Kubectl, namespace: str, *what: str) -> None:
    """Wait for something in a namespace; if it does not come, say how the namespace's pods are."""
    try:
        kubectl.run("--namespace", namespace, *what, _READY, timeout_seconds=200)
    except CommandError as error:
        facts = [
            kubectl.try_run("--namespace", namespace, "get", "pods"),
            kubectl.try_run("--namespace", namespace, "get", "events", "--sort-by=.lastTimestamp"),
            kubectl.try_run("--namespace", namespace, "logs", "--selector=app", "--tail=5", "--prefix"),
        ]
        tail = "\n".join("    " + line for fact in facts if fact for line in last_lines(fact, 10))
        raise ClusterError(f"{error}\n{tail}", "python3 -m e2e.cluster kubectl … looks further") from error
