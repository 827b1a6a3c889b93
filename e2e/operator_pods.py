"""The operator's own pods as end-to-end tests see them: who leads, what they log, what it takes to kill one.

Called by the end-to-end tests.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from e2e.stage import DIGITS_IMAGE, OPERATOR_NAMESPACE, Stage, wait_until

PLACE = f"--namespace={OPERATOR_NAMESPACE}"
SELECTOR = "--selector=app.kubernetes.io/name=serinus"
LEASE = "serinus"
NODE_NAMESPACE = "kube-system"
TROUBLE = re.compile(r"Traceback|\bERROR\b|\bCRITICAL\b|answered 40[13]\b|Forbidden|never awaited|never retrieved")
"""What a healthy operator never logs: defects of its own, and rights that it lacks."""
NO_TROUBLE = "because it is being terminated"
"""A 403 that says that a namespace is on its way out."""

THAWED = "/tmp/thawed"
LONGEST_FREEZE_SECONDS = 60
ON_THE_NODE = f"""
import os, pathlib, signal, sys, time
deed, wanted = sys.argv[1], f"SERINUS_IDENTITY={{sys.argv[2]}}".encode()

def send(number):
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\\0"):
                os.kill(int(folder.name), number)
                print(number.name, folder.name, flush=True)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass

if deed == "kill":
    send(signal.SIGKILL)
else:
    send(signal.SIGSTOP)
    until = time.monotonic() + {LONGEST_FREEZE_SECONDS}
    while not pathlib.Path("{THAWED}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    send(signal.SIGCONT)
"""
"""Signals to the processes of a pod: nothing inside a container can kill or freeze its process 1."""


def pods(stage: Stage) -> list[dict[str, Any]]:
    """The operator's pods that are not on their way out."""
    found = json.loads(stage.kubectl.run("get", "pods", PLACE, SELECTOR, "--output=json"))["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def names(stage: Stage) -> set[str]:
    """Names of the operator's pods."""
    return {pod["metadata"]["name"] for pod in pods(stage)}


def restarts(stage: Stage) -> int:
    """How often their containers were started again."""
    return sum(status["restartCount"] for pod in pods(stage) for status in pod["status"].get("containerStatuses", []))


def leader(stage: Stage) -> str:
    """The pod that holds the Lease; "" while nobody does."""
    lease = stage.kubectl.run("get", "lease", LEASE, PLACE, "--output=json", "--ignore-not-found")
    return str(json.loads(lease)["spec"].get("holderIdentity") or "") if lease else ""


def wait_until_one_leads(stage: Stage, *, other_than: str = "", seconds: float = 60) -> str:
    """Wait for a leader among the pods whose process runs, and return its name."""

    def led() -> str | None:
        holder = leader(stage)
        running = {pod["metadata"]["name"] for pod in pods(stage) if _runs(pod)}
        return holder if holder != other_than and holder in running else None

    found: str = wait_until(f"another pod than {other_than or 'none'} leads", led, seconds, every_seconds=0.25)
    return found


def _runs(pod: dict[str, Any]) -> bool:
    return any("running" in status["state"] for status in pod["status"].get("containerStatuses", []))


def kill_process(stage: Stage, pod: str) -> None:
    """SIGKILL the operator's process of a pod, from the node."""
    with _on_the_node(stage, "kill", pod) as name:
        _wait_for_end(stage, name)


@contextmanager
def frozen(stage: Stage, pod: str) -> Iterator[None]:
    """Hold the operator's process of a pod still (SIGSTOP) for the duration of the block.

    The block has half a minute: then the kubelet kills a process that does not answer its liveness probe.
    """
    with _on_the_node(stage, "freeze", pod) as name:
        wait_until(f"{pod} is frozen", lambda: "SIGSTOP" in _said(stage, name), 60, every_seconds=0.25)
        try:
            yield
        finally:
            stage.kubectl.run("exec", f"--namespace={NODE_NAMESPACE}", name, "--", "touch", THAWED)
            _wait_for_end(stage, name)


@contextmanager
def _on_the_node(stage: Stage, deed: str, pod: str) -> Iterator[str]:
    """A pod that sends signals to a process of an operator's pod; its name."""
    name = f"{deed}-{uuid.uuid4().hex[:8]}"
    container = {
        "name": deed,
        "image": f"{DIGITS_IMAGE}:1.0.0",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", ON_THE_NODE, deed, pod],
        "securityContext": {"privileged": True, "runAsUser": 0},
    }
    spec = {"hostPID": True, "restartPolicy": "Never", "containers": [container]}
    stage.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}, NODE_NAMESPACE)
    try:
        yield name
    finally:
        stage.kubectl.run("delete", "pod", name, f"--namespace={NODE_NAMESPACE}", "--wait=false")


def _wait_for_end(stage: Stage, name: str) -> None:
    done = "--for=jsonpath={.status.phase}=Succeeded"
    stage.kubectl.run("wait", f"--namespace={NODE_NAMESPACE}", f"pod/{name}", done, "--timeout=60s")
    assert "SIG" in _said(stage, name), "no process of the operator's pod was found on the node"


def _said(stage: Stage, name: str) -> str:
    return stage.kubectl.try_run("logs", f"--namespace={NODE_NAMESPACE}", name) or ""


@dataclass(slots=True)
class Logs:
    """What all operator pods have logged, those that are gone included as far as it was read in time."""

    stage: Stage
    _by_container: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    _judged: dict[tuple[str, int], int] = field(default_factory=dict)

    def read(self) -> None:
        """Read what there is now; call it before killing a pod."""
        for pod in pods(self.stage):
            name = pod["metadata"]["name"]
            for status in pod["status"].get("containerStatuses", []):
                count = status["restartCount"]
                self._keep(name, count)
                if count:
                    self._keep(name, count - 1, "--previous")

    def of(self, pod: str) -> list[str]:
        """What a pod has logged, as far as it was read."""
        return [line for (name, _), lines in self._by_container.items() if name == pod for line in lines]

    def new_trouble(self) -> list[str]:
        """Lines since the last call that a healthy operator never logs, with a few lines after each."""
        self.read()
        found: list[str] = []
        for container, lines in self._by_container.items():
            judged, self._judged[container] = self._judged.get(container, 0), len(lines)
            for number in range(judged, len(lines)):
                if TROUBLE.search(lines[number]) and NO_TROUBLE not in lines[number]:
                    found += [f"{container[0]}: {line[:1000]}" for line in lines[number : number + 12]]
        return found

    def forget(self) -> None:
        """Leave alone what has been logged until now."""
        self.new_trouble()

    def _keep(self, pod: str, restart: int, *flags: str) -> None:
        text = self.stage.kubectl.try_run("logs", PLACE, pod, "--container=operator", *flags, timeout_seconds=20)
        lines = (text or "").splitlines()
        if len(lines) >= len(self._by_container.get((pod, restart), ())):
            self._by_container[pod, restart] = lines
