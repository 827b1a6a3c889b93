"""A real API server without nodes: etcd, kube-apiserver and, if wanted, kube-controller-manager on loopback.

Called by the integration tests. Needs no root and no namespaces. The processes belong to a keeper, a process of its
own that ends them as soon as nobody uses the control plane any more, whether its users left or died; so a test run
that is killed leaves nothing behind.

    with control_plane() as plane:
        run("kubectl", "--kubeconfig", plane.kubeconfig, "get", "namespaces")

Several processes, such as the workers of pytest-xdist, share one control plane by naming the same folder.
"""

from __future__ import annotations

import argparse
import contextlib
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

_START_SECONDS = 90
_STOP_SECONDS = 30
_LOOPBACK = "127.0.0.1"
_USERS = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
}


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A running control plane: how to reach it as `system:masters`, where it logs, and how it is laid out."""

    server: str
    kubeconfig: Path
    kubectl: Path
    logs: Path
    layout: Layout


@contextmanager
def control_plane(directory: Path | None = None, *, controller_manager: bool = False) -> Iterator[ControlPlane]:
    """Give a control plane that answers, and stop it, waiting for its end, when its last user leaves.

    Processes that name the same `directory` share one; the first one decides about `controller_manager`. Without a
    directory it is private. Raises `ClusterError` with the end of the logs when it does not come up.
    """
    if directory is None:
        with (
            tempfile.TemporaryDirectory(prefix="serinus-plane-") as scratch,
            _shared(Path(scratch), controller_manager) as plane,
        ):
            yield plane
    else:
        with _shared(directory, controller_manager) as plane:
            yield plane


@contextmanager
def _shared(directory: Path, controller_manager: bool) -> Iterator[ControlPlane]:
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
            plane_folder = _started(directory, controller_manager)
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


def _started(directory: Path, controller_manager: bool) -> Path:
    """Return the folder of the directory's running plane, starting one if there is none."""
    plane_folder = directory / "plane"
    if _keeper(directory) and (plane_folder / "server").exists():
        return plane_folder
    _await_end(directory)
    shutil.rmtree(plane_folder, ignore_errors=True)
    (plane_folder / "log").mkdir(parents=True)
    flags = ["--controller-manager"] if controller_manager else []
    with (plane_folder / "log" / "keeper.log").open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "e2e.cluster.controlplane", str(directory), *flags],
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


def _keep(directory: Path, controller_manager: bool) -> None:
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
        start("kube-apiserver", components.api_server(layout, "--endpoint-reconciler-type=none"))
        kubectl = (tools.kubernetes() / "kubectl", f"--kubeconfig={layout.kubeconfig('admin')}", "get")
        while not (succeeds(*kubectl, "--raw=/readyz") and succeeds(*kubectl, "namespace", "default")):
            _check(started, directory)
            time.sleep(0.1)
        if controller_manager:  # after the API server: it gives up where it is not let in within ten seconds
            command = components.controller_manager(layout, "--bind-address=127.0.0.1", "--secure-port=0")
            start("kube-controller-manager", command)
        write_whole(plane_folder / "server", layout.server)
        while _living(directory / "users"):
            _check(started, directory)
            time.sleep(0.5)
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(_STOP_SECONDS / 3)
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
    parser.add_argument("--controller-manager", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _keep(arguments.directory, arguments.controller_manager)


if __name__ == "__main__":
    _main()
