"""The operator as its users run it: the chart's rights and environment, `python -m serinus`, one process each.

Used by `bench.stage` and, for restart and fail-over, by `bench.phases`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from bench.audit import OPERATOR
from bench.figures import samples
from bench.ports import free_port
from e2e.cluster import tools
from e2e.cluster.controlplane import ControlPlane
from e2e.cluster.locations import CHECKOUT
from e2e.cluster.process import ClusterError, last_lines, run

NAMESPACE: Final = "serinus-system"
NAME: Final = "serinus"
USER: Final = f"system:serviceaccount:{NAMESPACE}:{NAME}"
SCRAPE_INTERVAL_SECONDS: Final = 2
"""How often the stub is said to scrape; readings are at least two of these apart."""

_READY_SECONDS: Final = 120
_STOP_SECONDS: Final = 30
_PAUSE_SECONDS: Final = 0.05


class OperatorProcess:
    """One process of the operator, running from the start; its log is in a file."""

    def __init__(self, identity: str, environment: Mapping[str, str], folder: Path) -> None:
        self.identity = identity
        self.log = folder / f"{identity}.log"
        self._port = free_port()
        own = {"SERINUS_IDENTITY": identity, "SERINUS_HTTP_PORT": str(self._port), "TMPDIR": str(folder)}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SERINUS", "KUBE"))}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "serinus"],
                env={**inherited, **environment, **own} | {"PYTHONPATH": str(CHECKOUT / "operator")},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    async def until_ready(self, *, leading: bool) -> None:
        """Wait until it could work, or until it leads. Raises `ClusterError` with the end of its log."""
        async with asyncio.timeout(_READY_SECONDS):
            while not (self._answers("/readyz") and (not leading or self.samples().get("serinus_leading") == 1)):
                if self.process.poll() is not None:
                    end = "\n".join(last_lines(self.log.read_text()))
                    raise ClusterError(f"operator {self.identity} ended\n{end}", f"see {self.log}")
                await asyncio.sleep(_PAUSE_SECONDS)

    def samples(self) -> dict[str, float]:
        """Its own metrics; empty where it does not answer."""
        return samples(self._answers("/metrics") or "")

    def kill(self, number: signal.Signals) -> None:
        """Send a signal without waiting for what comes of it."""
        self.process.send_signal(number)

    async def ended(self) -> None:
        """Wait for its end."""
        await asyncio.to_thread(self.process.wait, _STOP_SECONDS)

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait()

    def _answers(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as response:
                text: str = response.read().decode()
                return text
        except (urllib.error.HTTPError, OSError):
            return None


def install(plane: ControlPlane, folder: Path, prometheus_url: str) -> dict[str, str]:
    """Install the chart, and return the environment of its pod, for a process outside of the cluster.

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
    kubectl = (plane.kubectl, f"--kubeconfig={plane.kubeconfig}", f"--namespace={NAMESPACE}")
    deployment = json.loads(run(*kubectl, "get", "deployment", NAME, "--output=json"))
    run(*kubectl, "delete", "deployment", NAME)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    token = run(*kubectl, "create", "token", NAME, "--duration=24h").strip()
    kubeconfig = _kubeconfig(plane, token, folder / f"{OPERATOR}.kubeconfig")
    return {each["name"]: _value(each) for each in container["env"]} | {"KUBECONFIG": str(kubeconfig)}


def _value(variable: Mapping[str, Any]) -> str:
    if "valueFrom" not in variable:
        return str(variable.get("value", ""))
    of_the_pod = {"metadata.name": "set for each process", "metadata.namespace": NAMESPACE}
    return of_the_pod[variable["valueFrom"]["fieldRef"]["fieldPath"]]


def _kubeconfig(plane: ControlPlane, token: str, path: Path) -> Path:
    config = yaml.safe_load(plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path
