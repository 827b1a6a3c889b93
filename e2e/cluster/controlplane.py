"""A real API server without nodes: etcd, kube-apiserver and, if wanted, the controllers and the scheduler on loopback.

Called by the integration tests and the benchmark. Needs no root and no namespaces. The processes belong to a keeper, a
process of its own that ends them as soon as nobody uses the control plane any more, whether its users left or died; so
a test run that is killed leaves nothing behind.

    with control_plane() as plane:
        run("kubectl", "--kubeconfig", plane.kubeconfig, "get", "namespaces")

Several processes, such as the workers of pytest-xdist, share one control plane by naming the same folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import components, tools
from e2e.cluster.components import Layout
from e2e.cluster.locations import CHECKOUT
from e2e.cluster.once import file_lock, write_whole
from e2e.cluster.process import ClusterError, last_lines, succeeds

_START_SECONDS = 180
_STOP_SECONDS = 60
_LOOPBACK = "127.0.0.1"
_USERS = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
}


@dataclass(frozen=True, slots=True)
class Programs:
    """Which programs run beside etcd and kube-apiserver, and what is said to each beyond what it needs to run."""

    api_server_flags: tuple[str, ...] = ()
    controller_manager_flags: tuple[str, ...] | None = None
    """None: no kube-controller-manager."""
    scheduler_flags: tuple[str, ...] | None = None
    """None: no kube-scheduler."""

    def to_json(self) -> str:
        return json.dumps([self.api_server_flags, self.controller_manager_flags, self.scheduler_flags])

    @classmethod
    def from_json(cls, text: str) -> Programs:
        api_server, *others = json.loads(text)
        return cls(tuple(api_server), *(None if flags is None else tuple(flags) for flags in others))


_ALONE = Programs()
_WITH_CONTROLLERS = Programs(controller_manager_flags=())


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A running control plane: how to reach it as `system:masters`, where it logs, and how it is laid out."""

    server: str
    kubeconfig: Path
    kubectl: Path
    logs: Path
    layout: Layout


@contextmanager
def control_plane(
    directory: Path | None = None, *, controller_manager: bool = False, programs: Programs | None = None
) -> Iterator[ControlPlane]:
    """Give a control plane that answers, and stop it, waiting for its end, when its last user leaves.

    Processes that name the same `directory` share one; the first one decides about its programs: `programs`, or the
    plain ones with or without `controller_manager`. Without a directory it is private. Raises `ClusterError` with the
    end of the logs when it does not come up.
    """
    if programs is None:
        programs = _WITH_CONTROLLERS if controller_manager else _ALONE
    if directory is None:
        with (
            tempfile.TemporaryDirectory(prefix="serinus-plane-") as scratch,
            _shared(Path(scratch), programs) as plane,
        ):
            yield plane
    else:
        with _shared(directory, programs) as plane:
            yield plane


@contextmanager
def _shared(directory: Path, programs: Programs) -> Iterator[ControlPlane]:
    users, lock = directory / "users", directory / "lock"
    users.mkdir(parents=True, exist_ok=True)
    me = users / str(os.getpid())
    if me.exists():
        raise ClusterError(f"this process already uses the control plane in {directory}", "enter it once per process")
    kubectl = tools.kubernetes() / "kubectl"
    tools.packaged()
    with file_lock(lock):
        me.touch()
        try:
            plane_folder = _started(directory, programs)
        except BaseException:
            me.unlink(missing_ok=True)
            raise
    server = (plane_folder / "server").read_text()
    try:
        layout = _layout(plane_folder)
        yield ControlPlane(server, layout.kubeconfig("admin"), kubectl, plane_folder / "log", layout)
    finally:
        with file_lock(lock):
            me.unlink(missing_ok=True)
            if not _living(users):
                _await_end(directory)


def _started(directory: Path, programs: Programs) -> Path:
    """Return the folder of the directory's running plane, starting one if there is none."""
    plane_folder = directory / "plane"
    if _keeper(directory) and (plane_folder / "server").exists():
        return plane_folder
    _await_end(directory)
    shutil.rmtree(plane_folder, ignore_errors=True)
    (plane_folder / "log").mkdir(parents=True)
    with (plane_folder / "log" / "keeper.log").open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "e2e.cluster.controlplane", str(directory), programs.to_json()],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while not (plane_folder / "server").exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.terminate()
            keeper.wait(_STOP_SECONDS)
            raise ClusterError(
                f"the control plane did not come up\n{_logs(plane_folder)}", f"see {plane_folder / 'log'}"
            )
        time.sleep(0.05)
    return plane_folder


def _keeper(directory: Path) -> int | None:
    """Return the process id of the directory's keeper, if it lives."""
    try:
        pid = int((directory / "plane" / "keeper").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if str(directory) in command.split("\0") else None


def _await_end(directory: Path) -> None:
    """End the directory's keeper, if it lives, and wait until all it kept is gone."""
    pid = _keeper(directory)
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while _keeper(directory) is not None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            raise ClusterError(f"the keeper of {directory} (process {pid}) does not end", f"kill {pid}")
        time.sleep(0.05)


def _living(users: Path) -> list[int]:
    pids = [int(entry.name) for entry in users.iterdir()]
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def _logs(plane_folder: Path) -> str:
    parts = []
    for log in sorted((plane_folder / "log").glob("*.log")):
        lines = last_lines(log.read_text(errors="replace"), 8)
        parts.append("\n".join([f"  {log.name}:", *(f"    {line}" for line in lines)]))
    return "\n".join(parts)


def _keep(directory: Path, programs: Programs) -> None:
    """Run the control plane until nobody uses it. The keeper's whole life."""
    plane_folder = directory / "plane"
    write_whole(plane_folder / "keeper", str(os.getpid()))
    write_whole(plane_folder / "ports", " ".join(str(port) for port in _free_ports(3)))
    layout = _layout(plane_folder)
    components.make_credentials(layout, _USERS)
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, command: Sequence[str]) -> None:
        with (plane_folder / "log" / f"{name}.log").open("w") as log:
            started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    try:
        start("etcd", components.etcd(layout))
        start(
            "kube-apiserver",
            components.api_server(layout, "--endpoint-reconciler-type=none", *programs.api_server_flags),
        )
        kubectl = (tools.kubernetes() / "kubectl", f"--kubeconfig={layout.kubeconfig('admin')}", "get")
        while not (succeeds(*kubectl, "--raw=/readyz") and succeeds(*kubectl, "namespace", "default")):
            _check(started, directory)
            time.sleep(0.1)
        # After the API server: the controller manager gives up where it is not let in within ten seconds.
        unheard = ("--bind-address=127.0.0.1", "--secure-port=0")
        if programs.controller_manager_flags is not None:
            flags = (*unheard, *programs.controller_manager_flags)
            start("kube-controller-manager", components.controller_manager(layout, *flags))
        if programs.scheduler_flags is not None:
            start("kube-scheduler", components.scheduler(layout, *unheard, *programs.scheduler_flags))
        write_whole(plane_folder / "server", layout.server)
        while _living(directory / "users"):
            _check(started, directory)
            time.sleep(0.5)
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(_STOP_SECONDS / 5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _layout(plane_folder: Path) -> Layout:
    api_port, etcd_port, etcd_peer_port = (int(port) for port in (plane_folder / "ports").read_text().split())
    return Layout(plane_folder, _LOOPBACK, api_port, etcd_port, etcd_peer_port)


def _check(started: list[subprocess.Popen[bytes]], directory: Path) -> None:
    for process in started:
        if process.poll() is not None:
            sys.exit(f"process {process.pid} ended with code {process.returncode}: {process.args!r}"[:200])
    if not directory.exists():
        sys.exit(f"{directory} is gone")


def _free_ports(count: int) -> list[int]:
    """Return ports of loopback that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((_LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def _main() -> None:
    parser = argparse.ArgumentParser(
        description="Keep a control plane while the processes named in DIRECTORY/users live."
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("programs", type=Programs.from_json)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _keep(arguments.directory, arguments.programs)


if __name__ == "__main__":
    _main()
