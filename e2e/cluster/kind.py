"""The same cluster by kind, where a Docker engine answers. Called by `lifecycle` and `images`.

kind brings its own DNS and network; everything else in the cluster comes from the same manifests and Dockerfiles.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping

from e2e.cluster import tools
from e2e.cluster.context import Build
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.locations import IDENTITY, KUBECONFIG, STATE
from e2e.cluster.process import Word, run, succeeds
from e2e.cluster.progress import step

_BASE_IMAGE = "python:3.11-slim-bookworm"
_NODE_IMAGE = f"kindest/node:{tools.KUBERNETES.version}"
_READY = "180s"


def engine_answers() -> bool:
    """Tell whether there is a Docker engine, not only its client."""
    return succeeds("docker", "info", "--format={{.ServerVersion}}", timeout_seconds=20)


def prepare() -> None:
    """Build the programs that the cluster needs, and kind."""
    tools.kubernetes()
    tools.packaged()
    tools.kind()
    tools.prometheus()


def answers() -> bool:
    """Tell whether the checkout's cluster runs and its API server answers."""
    return KUBECONFIG.exists() and _exists() and Kubectl().answers()


def create() -> None:
    """Create the cluster from nothing, deleting one that does not answer."""
    if _exists():
        destroy()
    with step(f"creating the kind cluster {IDENTITY}"):
        STATE.mkdir(parents=True, exist_ok=True)
        run(
            *(tools.kind(), "create", "cluster", f"--name={IDENTITY}", f"--image={_NODE_IMAGE}"),
            *(f"--kubeconfig={KUBECONFIG}", f"--wait={_READY}"),
            advice="check that Docker has disk and memory left (docker system df), then run the same command again",
        )


def destroy() -> None:
    """Delete the cluster."""
    run(tools.kind(), "delete", "cluster", f"--name={IDENTITY}", f"--kubeconfig={KUBECONFIG}")
    shutil.rmtree(STATE, ignore_errors=True)


def build(what: Build, key: str) -> None:
    """Build an image, unless the engine has it; its layers are the engine's to keep."""
    if succeeds("docker", "image", "inspect", _name(key)):
        return
    arguments = [f"--build-arg={name}={value}" for name, value in what.arguments.items()]
    words: list[Word] = ["docker", "build", "--quiet", *arguments, f"--tag={_name(key)}", f"--file={what.dockerfile}"]
    run(*words, what.context, env={"DOCKER_BUILDKIT": "1"}, advice=f"correct {what.dockerfile} and run this again")


def base_image() -> str:
    """Return the name of the image that Dockerfiles of the project start from."""
    return _BASE_IMAGE


def load(keys: Mapping[str, str]) -> None:
    """Give the node images, as name → key of their build; kind sends only what the node lacks."""
    for name, key in keys.items():
        run("docker", "tag", _name(key), name)
    run(tools.kind(), "load", "docker-image", *keys, f"--name={IDENTITY}")


def send_signal(program: str, number: signal.Signals) -> None:
    """Send a signal to one of the node's programs, such as kube-apiserver."""
    run("docker", "exec", f"{IDENTITY}-control-plane", "pkill", f"-{number.value}", "-x", program)


def status() -> list[str]:
    """Return what can be said about the cluster, a line each."""
    return [f"kind cluster {IDENTITY}: {'exists' if _exists() else 'does not exist'}"]


def _exists() -> bool:
    return IDENTITY in run(tools.kind(), "get", "clusters").split()


def _name(key: str) -> str:
    return f"localhost/serinus-build:{key}"
