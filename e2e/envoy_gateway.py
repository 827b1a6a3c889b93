"""Envoy Gateway as a second gateway, `envoy-gateway-system/envoy`, for as long as a test needs it.

Built and installed only here, as it takes minutes to build: by its own Helm chart, which is in its Go module. Used by
the long end-to-end tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import yaml

from e2e.cluster import tools
from e2e.cluster.images import build_image, load_images
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.locations import IMAGES, MANIFESTS
from e2e.cluster.progress import step
from e2e.model import Gateway
from e2e.stage import helm

NAMESPACE: Final = "envoy-gateway-system"
ENVOY: Final = Gateway({"name": "envoy", "namespace": NAMESPACE}, f"http://envoy.{NAMESPACE}")

_CONTROLLER_IMAGE: Final = "localhost/serinus-e2e/envoy-gateway:1.9"
_PROXY_IMAGE: Final = "localhost/serinus-e2e/envoy:1.39"
_VALUES: Final[dict[str, Any]] = {
    "crds": {"enabled": False},  # those of the Gateway API are there, of the version that Traefik needs
    "global": {"images": {"envoyGateway": {"image": _CONTROLLER_IMAGE, "pullPolicy": "IfNotPresent"}}},
    "topologyInjector": {"enabled": False},
    "deployment": {"envoyGateway": {"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}},
}


@contextmanager
def envoy_gateway(kubectl: Kubectl) -> Iterator[None]:
    """A context in which the gateway is there; nothing of it is left afterwards."""
    proxy = build_image(_PROXY_IMAGE, tools.envoy(), IMAGES / "envoy" / "Dockerfile")
    controller = build_image(_CONTROLLER_IMAGE, tools.envoy_gateway(), IMAGES / "envoy-gateway" / "Dockerfile")
    load_images([_PROXY_IMAGE, _CONTROLLER_IMAGE])
    chart = tools.envoy_gateway_chart()
    crds = chart / "charts" / "crds" / "crds" / "generated"
    manifest = (MANIFESTS / "envoy-gateway.yaml").read_text().replace("KEY-OF-THE-BUILD", proxy)
    try:
        with step("Envoy Gateway by its Helm chart"):
            kubectl.apply(crds)
            of_build = {
                "deployment": {**_VALUES["deployment"], "pod": {"annotations": {"serinus.dev/build": controller}}}
            }
            helm(
                *("upgrade", "--install", "envoy-gateway", str(chart), "--skip-crds", "--create-namespace"),
                *("--values=-", "--wait", "--timeout=300s"),
                namespace=NAMESPACE,
                stdin=yaml.safe_dump({**_VALUES, **of_build}),
            )
            kubectl.apply_text(manifest)
            ready = ("wait", "--for=condition=Programmed", "gateway/envoy", "--timeout=180s")
            kubectl.run(f"--namespace={NAMESPACE}", *ready, timeout_seconds=200)
        yield
    finally:
        with step("taking Envoy Gateway away"):
            gone = ("delete", "--ignore-not-found", "--wait", "--timeout=300s")
            kubectl.run(*gone, "gateway,backendtrafficpolicy", "--all", f"--namespace={NAMESPACE}", timeout_seconds=310)
            kubectl.run(*gone, "gatewayclass/envoy", timeout_seconds=310)
            helm("uninstall", "envoy-gateway", "--ignore-not-found", "--wait", namespace=NAMESPACE)
            kubectl.run(*gone, f"namespace/{NAMESPACE}", timeout_seconds=310)
            kubectl.run(*gone, f"--filename={crds}", timeout_seconds=310)
