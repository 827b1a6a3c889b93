"""One process of an operator, as its users run it. Made by `bench.subjects`, used by `bench.stage` and others."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from bench.audit import OPERATOR
from bench.figures import samples
from e2e.cluster.controlplane import ControlPlane
from e2e.cluster.process import ClusterError, last_lines, run

_READY_SECONDS: Final = 300
_STOP_SECONDS: Final = 30
_PAUSE_SECONDS: Final = 0.05
_ANSWER_SECONDS: Final = 15


@dataclass(frozen=True, slots=True)
class Launch:
    """How a process is started, and where it answers."""

    command: Sequence[str]
    environment: Mapping[str, str]
    """Beside what is inherited; nothing that is meant for an operator or a client of Kubernetes is inherited."""
    ready_url: str
    metrics_url: str


class OperatorProcess:
    """One process of an operator, running from the start; its log is in a file."""

    def __init__(self, identity: str, launch: Launch, folder: Path) -> None:
        self.identity = identity
        self.log = folder / f"{identity}.log"
        self._launch = launch
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SERINUS", "KUBE", "ARGO", "PYTHON", "GO"))
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *launch.command],
                env={**inherited, "TMPDIR": str(folder), **launch.environment},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    async def until_ready(self) -> None:
        """Wait until it could work. Raises `ClusterError` with the end of its log."""
        async with asyncio.timeout(_READY_SECONDS):
            while self._answer(self._launch.ready_url) is None:
                self.check()
                await asyncio.sleep(_PAUSE_SECONDS)

    def check(self) -> None:
        """Raise `ClusterError` where it has ended."""
        if self.process.poll() is not None:
            end = "\n".join(last_lines(self.log.read_text()))
            raise ClusterError(f"operator {self.identity} ended\n{end}", f"see {self.log}, kept with --keep")

    def samples(self) -> dict[str, float]:
        """Its own metrics; empty where it does not answer."""
        return samples(self._answer(self._launch.metrics_url) or "")

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

    def _answer(self, url: str) -> str | None:
        try:
            with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as response:
                text: str = response.read().decode()
                return text
        except (urllib.error.HTTPError, OSError):
            return None


def kubectl(plane: ControlPlane, *arguments: str) -> str:
    """Run kubectl as administrator."""
    return run(plane.kubectl, f"--kubeconfig={plane.kubeconfig}", *arguments, timeout_seconds=300)


def account_kubeconfig(plane: ControlPlane, namespace: str, account: str, folder: Path) -> Path:
    """A kubeconfig with a token of a ServiceAccount: a process outside of the cluster gets the rights of its pod."""
    token = kubectl(plane, "create", "token", account, f"--namespace={namespace}", "--duration=24h").strip()
    config: dict[str, Any] = yaml.safe_load(plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path = folder / f"{OPERATOR}.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path
