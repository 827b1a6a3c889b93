"""Up, down and status of the checkout's cluster. Called by `make cluster`, the demo and the end-to-end tests."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from e2e.cluster import addons, native
from e2e.cluster.images import backend
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.locations import CHECKOUT, KUBECONFIG
from e2e.cluster.once import file_lock
from e2e.cluster.process import ClusterError
from e2e.cluster.progress import step

_LOCK = CHECKOUT / ".state" / "cluster.lock"
_RESTART_SECONDS = 120.0


def up() -> None:
    """Make sure that the cluster runs with everything in it; a cluster that does is only checked.

    Raises `ClusterError` with the step, the command and the end of its output when something fails; running it again
    goes on from there.
    """
    chosen = backend()
    with file_lock(_LOCK):
        chosen.prepare()
        if not chosen.answers():
            chosen.create()
        addons.install()


def prepare() -> None:
    """Install and build what the cluster is made of, without starting anything."""
    backend().prepare()


def down() -> None:
    """End the cluster and everything it started; the cache and the built images stay."""
    with file_lock(_LOCK), step("taking the cluster down"):
        backend().destroy()
        if native.runs():  # it was started before a Docker engine was
            native.destroy()


@contextmanager
def frozen(program: str = "kube-apiserver") -> Iterator[None]:
    """Hold one of the node's programs still for the duration of the block: requests to it hang, none is refused."""
    chosen = backend()
    chosen.send_signal(program, signal.SIGSTOP)
    try:
        yield
    finally:
        chosen.send_signal(program, signal.SIGCONT)


def crash(program: str = "kube-apiserver") -> None:
    """Kill one of the node's programs, which is started again at once, and wait until the API server answers."""
    chosen = backend()
    chosen.send_signal(program, signal.SIGKILL)
    deadline = time.monotonic() + _RESTART_SECONDS
    while not chosen.answers():
        if time.monotonic() > deadline:
            raise ClusterError(
                f"no API server within {_RESTART_SECONDS:.0f} s after {program} was killed", "see its log"
            )
        time.sleep(0.2)


def status() -> list[str]:
    """Return what there is, a line each."""
    chosen = backend()
    lines: list[str] = chosen.status()
    if not chosen.answers():
        return lines
    pods = Kubectl().run("get", "pods", "--all-namespaces", "-o", "wide")
    return [*lines, f"kubeconfig: {KUBECONFIG}", *pods.splitlines()]
