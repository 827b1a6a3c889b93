"""The control groups of one checkout's cluster, in either version of cgroups. Called by `namespaces`.

Everything the cluster runs, pods included, lives below one group named after the checkout, so what is left of a
cluster that was killed can be found and ended even when nothing else about it is known.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from e2e.cluster.locations import IDENTITY
from e2e.cluster.process import ClusterError

GROUP = f"/{IDENTITY}"
"""Where the kubelet puts pods."""

_ROOT = Path("/sys/fs/cgroup")
_DAEMONS = "daemons"
_V2_CONTROLLERS = "+cpu +cpuset +io +memory +pids"
_END_SECONDS = 30


def prepare() -> list[Path]:
    """Make the cluster's groups and return the files that a process writes itself into to join the daemons' group."""
    roots = _hierarchies()
    if not roots:
        advice = "mount cgroups at /sys/fs/cgroup, or start Docker for a cluster by kind"
        raise ClusterError("no cgroup hierarchy can be written to", advice)
    for root in roots:
        for group in (root / IDENTITY, root / IDENTITY / _DAEMONS):
            group.mkdir(exist_ok=True)
            _inherit_cpus(group)
    if _unified():
        try:
            (_ROOT / "cgroup.subtree_control").write_text(_V2_CONTROLLERS)
            (_ROOT / IDENTITY / "cgroup.subtree_control").write_text(_V2_CONTROLLERS)
        except OSError as error:
            advice = "run on the machine itself or in a container with a cgroup tree of its own, or start Docker"
            raise ClusterError(f"controllers can't be turned on for {IDENTITY}: {error}", advice) from error
    return [root / IDENTITY / _DAEMONS / "cgroup.procs" for root in roots]


def members() -> list[int]:
    """Return the processes in the cluster's groups, pods included."""
    found = set()
    for root in _hierarchies():
        for listing in (root / IDENTITY).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in listing.read_text().split()}
    return sorted(found - {0})


def end() -> None:
    """Kill every process in the cluster's groups and remove the groups."""
    deadline = time.monotonic() + _END_SECONDS
    while left := members():
        if time.monotonic() > deadline:
            raise ClusterError(f"these processes can't be killed: {left}", "look at them with ps; restart the machine")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    for root in _hierarchies():
        groups = [group for group in (root / IDENTITY).rglob("*") if group.is_dir()]
        for group in [*sorted(groups, reverse=True), root / IDENTITY]:
            _remove(group, deadline)


def leftovers() -> list[Path]:
    """Return the cluster's groups that exist."""
    return [root / IDENTITY for root in _hierarchies() if (root / IDENTITY).exists()]


def _remove(group: Path, deadline: float) -> None:
    while group.exists():
        try:
            group.rmdir()
        except OSError as error:
            # The kernel lets go of a group a moment after its last process is gone.
            if time.monotonic() > deadline:
                raise ClusterError(f"{group} can't be removed: {error}", f"rmdir {group}") from error
            time.sleep(0.05)


def _unified() -> bool:
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    if _unified():
        return [_ROOT]
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    kinds = ("cgroup", "cgroup2")
    found = {Path(mount[1]).resolve() for mount in mounts if mount[2] in kinds and os.access(mount[1], os.W_OK)}
    return sorted(root for root in found if (root / "cgroup.procs").exists())


def _inherit_cpus(group: Path) -> None:
    """A version 1 cpuset group takes no process until it names its processors and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        own, above = group / name, group.parent / name
        if not _unified() and own.exists() and not own.read_text().strip():
            own.write_text(above.read_text().strip())
