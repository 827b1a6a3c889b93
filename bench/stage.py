"""All processes of a run, from the control plane to the first operator, and their end. Used by `bench.__main__`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench import audit
from bench.kubelet import PODS_PER_NODE
from bench.operators import OperatorProcess, install
from bench.ports import free_port
from bench.processes import children
from e2e.cluster import tools
from e2e.cluster.controlplane import ControlPlane, Programs, control_plane
from e2e.cluster.locations import CHECKOUT
from e2e.cluster.process import ClusterError, last_lines, run

PODS_PER_RESOURCE: Final = 5
"""Of two revisions with two pods each, and one to spare."""
CLIENT_LIMITS: Final = ("--kube-api-qps=1000", "--kube-api-burst=2000")
"""Of the controllers and the scheduler: their default of 20 requests a second would be all that is measured."""

_CRD: Final = "gateway.networking.k8s.io_httproutes.yaml"


@dataclass(slots=True)
class Stage:
    """What runs."""

    plane: ControlPlane
    folder: Path
    prometheus_url: str
    audit_log: Path
    environment: dict[str, str]
    """Of the operator."""
    processes: dict[str, int] = field(default_factory=dict)
    """Process ids of all but the operators."""
    played: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    operators: list[OperatorProcess] = field(default_factory=list)
    """The living ones, in the order of their start."""

    def kubeconfig(self, user: str) -> Path:
        """A kubeconfig of one of the benchmark's own users, who may do everything and has a name in the audit log."""
        path = self.plane.layout.kubeconfig(user)
        if not path.exists():
            self.plane.layout.authority.sign(user, f"/O=system:masters/CN={audit.BENCHMARK_USERS}{user}")
            self.plane.layout.authority.kubeconfig(user, self.plane.server, path)
        return path

    async def start_operator(self, *, leading: bool) -> OperatorProcess:
        """One more operator process, ready or leading."""
        started = OperatorProcess(f"serinus-{self._number()}", self.environment, self.folder)
        self.operators.append(started)
        await started.until_ready(leading=leading)
        return started

    def check(self) -> None:
        """Raise `ClusterError` where one of the played processes has ended: then the figures mean nothing."""
        for name, process in self.played.items():
            if process.poll() is not None:
                log = self.folder / f"{name}.log"
                end = "\n".join(last_lines(log.read_text()))
                raise ClusterError(f"the played {name} ended\n{end}", f"see {log}, kept with --keep")

    async def tell_prometheus(self, what: str, **body: Any) -> None:
        """Switch the stub: see `bench.prometheus`."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.prometheus_url}/stub/{what}", json=body) as response,
        ):
            response.raise_for_status()

    def _number(self) -> int:
        return sum(1 for _ in self.folder.glob("serinus-*.log"))


@asynccontextmanager
async def stage(folder: Path, size: int) -> AsyncIterator[Stage]:
    """Everything up, with room for `size` resources; everything gone afterwards, logs in `folder` aside."""
    policy, audit_log = folder / "audit-policy.json", folder / "audit.log"
    policy.write_text(json.dumps(audit.POLICY))
    programs = Programs(
        api_server_flags=(
            f"--audit-policy-file={policy}",
            f"--audit-log-path={audit_log}",
            "--audit-log-maxsize=10000",
        ),
        controller_manager_flags=(*CLIENT_LIMITS, "--controllers=*,-node-lifecycle-controller"),
        scheduler_flags=CLIENT_LIMITS,
    )
    with control_plane(folder / "control-plane", programs=programs) as plane, ExitStack() as stack:
        _apply(plane, tools.gateway_api_crds() / _CRD)
        port = free_port()
        prometheus_url = f"http://127.0.0.1:{port}"
        environment = install(plane, folder, prometheus_url)
        running = Stage(plane, folder, prometheus_url, audit_log, environment)
        keeper = int((plane.layout.folder / "keeper").read_text())
        running.processes |= children(keeper)
        nodes = -(-size * PODS_PER_RESOURCE // PODS_PER_NODE)
        for name, more in (("kubelet", [str(nodes)]), ("gateway", []), ("prometheus", [str(port)])):
            played = stack.enter_context(_played(name, [str(running.kubeconfig(name)), *more], folder))
            stack.callback(played.kill)
            running.processes[f"played {name}"] = played.pid
            running.played[name] = played
        try:
            await running.start_operator(leading=True)
            yield running
        finally:
            for operator in running.operators:
                operator.close()


def _played(name: str, arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start one of the package's own processes and wait until it says that it is ready."""
    log = folder / f"{name}.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", f"bench.{name}", *arguments],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        )
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        process.kill()
        end = "\n".join(last_lines(log.read_text()))
        raise ClusterError(f"the played {name} did not start\n{end}", f"see {log}")
    return process


def _apply(plane: ControlPlane, manifest: Path) -> None:
    kubectl = (plane.kubectl, f"--kubeconfig={plane.kubeconfig}")
    run(*kubectl, "apply", "--server-side", f"--filename={manifest}")
