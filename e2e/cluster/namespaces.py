"""The namespaces that the native cluster lives in: started, entered, ended. Called by `native`.

One veth pair joins the cluster's network to the machine's; there is no other way in or out.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import cgroups
from e2e.cluster.locations import IDENTITY, LOGS, PACKAGE, STATE, cache
from e2e.cluster.once import write_whole
from e2e.cluster.process import ClusterError, Word, last_lines, run, succeeds
from e2e.cluster.supervisor import Daemon, Specification

_INTERFACE = "srn-" + IDENTITY.rpartition("-")[2]
_RANGE = ipaddress.IPv4Network("10.200.0.0/16")
_HIDDEN = ("/run", "/var/lib", "/var/log")
_START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Link:
    """The two ends of the veth pair: the machine's and the node's."""

    machine: ipaddress.IPv4Address
    node: ipaddress.IPv4Address


def choose_link() -> Link:
    """Return two addresses that nothing on this machine uses, the same for a checkout as long as they are free."""
    used = [ipaddress.IPv4Network(destination, strict=False) for destination in _routed()]
    subnets = list(_RANGE.subnets(new_prefix=30))
    first = int(IDENTITY.rpartition("-")[2], 16) % len(subnets)
    for subnet in subnets[first:] + subnets[:first]:
        if not any(subnet.overlaps(other) for other in used):
            machine, node = subnet.hosts()
            return Link(machine, node)
    raise ClusterError(f"every subnet of {_RANGE} is in use", "make cluster-down in checkouts that are not needed")


def start(daemons: list[Daemon], link: Link, shown: Mapping[Path, Path]) -> None:
    """Start the daemons in new namespaces, reachable at the link's node address; they outlive the caller.

    `shown` are folders of the machine, by the paths that they have inside; state and cache are where they are outside.
    """
    folders = {STATE: STATE, cache(): cache(), **shown}
    specification: Specification = {
        "hidden": list(_HIDDEN),
        "shown": {str(inside): str(folder) for inside, folder in folders.items()},
        "daemons": daemons,
    }
    write_whole(STATE / "daemons.json", json.dumps(specification, indent=2))
    join = "; ".join(f"echo $$ > {listing}" for listing in cgroups.prepare())
    words = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", sys.executable, "-I")
    command = [*words, str(PACKAGE / "supervisor.py"), IDENTITY, str(STATE / "daemons.json")]
    path = os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/sbin"])
    with (LOGS / "supervisor.log").open("w") as log:
        outer = subprocess.Popen(
            ["sh", "-c", f'set -e; {join}; exec "$@"', "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd="/",
            env={"PATH": path, "HOME": str(Path.home()), "LANG": "C.UTF-8"},
            start_new_session=True,
        )
    with outer:
        if outer.stdin is None or outer.stdout is None:
            raise AssertionError("pipes were asked for")
        if outer.stdout.readline().strip() != "mounted":
            outer.kill()
            tail = "\n".join(last_lines((LOGS / "supervisor.log").read_text()))
            message = f"the cluster's namespaces could not be made\n{tail}"
            raise ClusterError(message, "run on the machine itself as root")
        _connect(_child(outer.pid), link)
        outer.stdin.write("start\n")
        outer.stdin.flush()
        # The supervisor lives on; nothing here waits for it.
        outer.returncode = 0


def supervisor() -> int | None:
    """Return the process id of the running cluster's process 1, as this machine sees it."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_text(errors="replace").split("\0")
            ours = str(PACKAGE / "supervisor.py") in words and words[0] != "unshare" and IDENTITY in words
            if ours and _inner_pid(folder) == 1:
                return int(folder.name)
    return None


def enter(*command: Word) -> list[Word]:
    """Return a command that runs another inside the cluster's namespaces."""
    pid = supervisor()
    if pid is None:
        raise ClusterError("no cluster of this checkout is running", "make cluster")
    return ["nsenter", f"--target={pid}", "--mount", "--net", "--pid", *command]


def end() -> None:
    """End the cluster, or what is left of one, and wait until nothing of it is left."""
    pid = supervisor()
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cgroups.end()
    if _INTERFACE in _interfaces():
        succeeds("ip", "link", "delete", _INTERFACE)
    shutil.rmtree(STATE, ignore_errors=True)
    if left := anything_left():
        raise ClusterError(f"could not remove {', '.join(left)}", "remove them by hand, then run this again")


def anything_left() -> list[str]:
    """Return what there is of a cluster of this checkout: processes, groups, an interface, files."""
    processes = [f"process {pid}" for pid in cgroups.members()]
    interfaces = [name for name in _interfaces() if name == _INTERFACE]
    return [*processes, *map(str, cgroups.leftovers()), *interfaces, *([str(STATE)] if STATE.exists() else [])]


def _connect(pid: int, link: Link) -> None:
    inside = ("nsenter", f"--target={pid}", "--net")
    if _INTERFACE in _interfaces():
        run("ip", "link", "delete", _INTERFACE)
    run("ip", "link", "add", _INTERFACE, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    run("ip", "address", "add", f"{link.machine}/30", "dev", _INTERFACE)
    run("ip", "link", "set", _INTERFACE, "up")
    run(*inside, "ip", "link", "set", "lo", "up")
    run(*inside, "ip", "address", "add", f"{link.node}/30", "dev", "eth0")
    run(*inside, "ip", "link", "set", "eth0", "up")
    run(*inside, "ip", "route", "add", "default", "via", str(link.machine))
    run(*inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")


def _child(outer: int) -> int:
    """Return the process that unshare forked, which is process 1 of the new namespace."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise ClusterError(f"process {outer} (unshare) started nothing", f"see {LOGS / 'supervisor.log'}")


def _inner_pid(folder: Path) -> int:
    """Return a process's id in its own, innermost namespace."""
    for line in (folder / "status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return 0


def _interfaces() -> list[str]:
    return [link["ifname"] for link in json.loads(run("ip", "-json", "link"))]


def _routed() -> list[str]:
    """Return the networks that this machine has a route to, its own addresses included."""
    routes = json.loads(run("ip", "-4", "-json", "route", "show", "table", "all") or "[]")
    return [route["dst"] for route in routes if route.get("dst", "default") != "default"]
