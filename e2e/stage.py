"""The stage of the demo and the end-to-end tests: the cluster with Serinus installed as its users install it.

The operator comes from the repository's Dockerfile and Helm chart and from nothing else. Called by `e2e.demo` and by
the fixtures of the end-to-end tests. Setting it up again costs little: what has not changed is not built, loaded or
installed again. `python -m e2e.stage` only builds the images, beside something else that a person waits for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import lifecycle, tools
from e2e.cluster.context import Build
from e2e.cluster.images import build_image, load_images
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.locations import KUBECONFIG
from e2e.cluster.process import ClusterError, run
from e2e.cluster.progress import step

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "serinus"
DIGITS = ROOT / "examples" / "digits"
OPERATOR_NAMESPACE = "serinus-system"
OPERATOR_IMAGE = "localhost/serinus-operator"
DIGITS_IMAGE = "localhost/serinus-example-digits"
VERSIONS = ("1.0.0", "2.0.0", "3.0.0")
GATEWAY_URL = "http://traefik.gateway-system"
PROMETHEUS_URL = "http://prometheus.monitoring:9090"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclass(frozen=True, slots=True)
class Stage:
    """A cluster in which Serinus runs."""

    kubectl: Kubectl
    operator_tag: str
    """Tag of the operator's image."""

    def apply(self, manifest: dict[str, Any] | list[dict[str, Any]], namespace: str | None = None) -> None:
        """Kubectl apply, as people do it."""
        manifests = manifest if isinstance(manifest, list) else [manifest]
        place = [f"--namespace={namespace}"] if namespace else []
        self.kubectl.run("apply", *place, "--filename=-", stdin=yaml.safe_dump_all(manifests))

    def make_namespace(self, name: str) -> None:
        """A namespace that enforces the restricted Pod Security Standard; one left over is removed first."""
        self.remove_namespace(name)
        metadata = {"name": name, "labels": RESTRICTED}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    def remove_namespace(self, name: str) -> None:
        """Delete a namespace with everything in it, and wait for its end."""
        self.kubectl.run("delete", "namespace", name, "--ignore-not-found", "--wait", timeout_seconds=180)


def digits(version: str, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """The example's manifest of a version; `sections` are merged into the spec's sections, None removes a field."""
    manifest: dict[str, Any] = yaml.safe_load((DIGITS / f"v{version[0]}.yaml").read_text())
    for section, fields in sections.items():
        merged = {**manifest["spec"].get(section, {}), **fields}
        manifest["spec"][section] = {field: value for field, value in merged.items() if value is not None}
    return manifest


def set_up() -> Stage:
    """Bring up the cluster, build and load the images, install the chart and wait until the operator is ready."""
    lifecycle.up()
    operator_image = build_images()
    with step("images into the cluster"):
        load_images([operator_image, *(f"{DIGITS_IMAGE}:{version}" for version in VERSIONS)])
    stage = Stage(Kubectl(), operator_image.rpartition(":")[2])
    with step("Serinus by its Helm chart"):
        install(stage.operator_tag)
    return stage


def install(
    tag: str, *, chart: Path = CHART, namespace: str = OPERATOR_NAMESPACE, wait: bool = True, **values: Any
) -> None:
    """Install or upgrade the release `serinus`; `values` are the chart's, beside those that the cluster needs."""
    needed = {
        "image": {"repository": OPERATOR_IMAGE, "tag": tag},
        "prometheus": {"url": PROMETHEUS_URL, "scrapeIntervalSeconds": 2},
    }
    helm(
        "upgrade",
        "--install",
        "serinus",
        str(chart),
        "--create-namespace",
        "--values=-",
        *(("--wait", "--timeout=180s") if wait else ()),
        namespace=namespace,
        stdin=yaml.safe_dump({**needed, **values}),
    )


def uninstall(namespace: str = OPERATOR_NAMESPACE) -> None:
    """Uninstall the release `serinus`, and wait until its pods are gone."""
    helm("uninstall", "serinus", "--cascade=foreground", "--wait", "--timeout=120s", namespace=namespace)


def helm(*arguments: str, namespace: str = OPERATOR_NAMESPACE, stdin: str | None = None) -> str:
    """What Helm says about the cluster of the tests; `CommandError` where it ends badly."""
    return run(
        tools.packaged() / "helm",
        *arguments,
        f"--kubeconfig={KUBECONFIG}",
        f"--namespace={namespace}",
        stdin=stdin,
        advice=f"kubectl --namespace={namespace} describe pods, and logs deployment/serinus",
    )


def build_images() -> str:
    """Build what is not in the cache: the operator's image, whose name is returned, and those of the example."""
    with ThreadPoolExecutor() as builds:
        models = builds.submit(_build_models)
        operator_image = build_operator()
        models.result()
    return operator_image


def _build_models() -> None:
    """One after the other: all versions share the layers of the first."""
    for version in VERSIONS:
        build_image(f"{DIGITS_IMAGE}:{version}", DIGITS / "image", build_args={"VERSION": version})


def build_operator() -> str:
    """Build the operator's image under a tag that names its content, so that an upgrade restarts what changed."""
    content = Build(ROOT, ROOT / "Dockerfile", {}).key()
    tag = f"{OPERATOR_IMAGE}:{content[:12]}"
    build_image(tag, ROOT)
    return tag


def wait_until(what: str, reached: Any, seconds: float = 120, every_seconds: float = 0.5) -> Any:
    """Poll until `reached()` is true and return its value; AssertionError with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := reached()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every_seconds)
    return value


def at_rest(what: str, seen: Any, seconds: float = 8, within_seconds: float = 90) -> Any:
    """Poll until `seen()` is the same for some seconds, and return it: pods end, and status tells it a moment later."""
    deadline = time.monotonic() + within_seconds
    last, since = seen(), time.monotonic()
    while time.monotonic() < since + seconds:
        time.sleep(1)
        if (now := seen()) != last:
            last, since = now, time.monotonic()
            if since > deadline:
                raise AssertionError(f"no rest within {within_seconds:.0f} s: {what}")
    return last


if __name__ == "__main__":
    try:
        build_images()
    except ClusterError as error:
        sys.exit(f"{error}\n→ {error.advice}")
