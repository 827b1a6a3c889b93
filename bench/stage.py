"""All processes of a run, from the control plane to the first operator, and their end. Used by `bench.__main__`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench import audit, polling
from bench.api import Api, CallError, open_api
from bench.kubelet import PODS_PER_NODE
from bench.operators import OperatorProcess, kubectl
from bench.ports import free_port
from bench.processes import children
from bench.subject import Installed, Subject
from e2e.cluster.controlplane import ControlPlane, Programs, control_plane
from e2e.cluster.locations import CHECKOUT
from e2e.cluster.process import ClusterError, last_lines

PODS_PER_RESOURCE: Final = 5
"""Of two revisions with two pods each, and one to spare."""
CLIENT_LIMITS: Final = ("--kube-api-qps=1000", "--kube-api-burst=2000")
"""Of the controllers and the scheduler: their default of 20 requests a second would be all that is measured."""

_LEADING_SECONDS: Final = 120.0


@dataclass(slots=True)
class Stage:
    """What runs."""

    subject: Subject
    plane: ControlPlane
    folder: Path
    installed: Installed
    audit_log: Path
    api: Api
    """For who makes and changes the resources."""
    processes: dict[str, int] = field(default_factory=dict)
    """Process ids of all but the operators."""
    played: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    operators: list[OperatorProcess] = field(default_factory=list)
    """The living ones, in the order of their start."""
    started: int = 0
    """Operator processes so far."""

    async def start_operator(self, *, leading: bool) -> OperatorProcess:
        """One more operator process, ready or leading."""
        self.started += 1
        begun = self.subject.start(self.installed, self.folder, self.started)
        self.operators.append(begun)
        await begun.until_ready()
        if leading:
            await polling.until(partial(self._leads, begun), _LEADING_SECONDS, 0.1)
        return begun

    async def holds(self, operator: OperatorProcess) -> bool:
        """Whether the Lease is this process's."""
        holder = self.subject.holder(operator)
        try:
            lease = await self.api.call("GET", self.subject.lease)
        except CallError as error:
            if error.status != 404:
                raise
            return False
        return holder is not None and bool(lease["spec"].get("holderIdentity") == holder)

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
            session.post(f"{self.installed.prometheus_url}/stub/{what}", json=body) as response,
        ):
            response.raise_for_status()

    async def _leads(self, operator: OperatorProcess) -> bool:
        operator.check()
        return self.subject.leads(operator)


@asynccontextmanager
async def stage(folder: Path, size: int, subject: Subject) -> AsyncIterator[Stage]:
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
        port = free_port()
        installed = subject.install(plane, folder, f"http://127.0.0.1:{port}")
        played = {"kubelet": [str(-(-size * PODS_PER_RESOURCE // PODS_PER_NODE))]}
        if crds := subject.crds():
            kubectl(plane, "apply", "--server-side", *(f"--filename={crd}" for crd in crds))
            played["gateway"] = []
        played["prometheus"] = [str(port), subject.pod_label]
        async with open_api(_kubeconfig(plane, "driver")) as api:
            running = Stage(subject, plane, folder, installed, audit_log, api)
            keeper = int((plane.layout.folder / "keeper").read_text())
            running.processes |= children(keeper)
            for name, more in played.items():
                process = stack.enter_context(_played(name, [str(_kubeconfig(plane, name)), *more], folder))
                stack.callback(process.kill)
                running.processes[f"played {name}"] = process.pid
                running.played[name] = process
            try:
                await running.start_operator(leading=True)
                yield running
            finally:
                for operator in running.operators:
                    operator.close()


def _kubeconfig(plane: ControlPlane, user: str) -> Path:
    """A kubeconfig of one of the benchmark's own users, who may do everything and has a name in the audit log."""
    path = plane.layout.kubeconfig(user)
    plane.layout.authority.sign(user, f"/O=system:masters/CN={audit.BENCHMARK_USERS}{user}")
    plane.layout.authority.kubeconfig(user, plane.server, path)
    return path


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
