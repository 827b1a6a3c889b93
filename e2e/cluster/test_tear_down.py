"""A cluster that ends leaves nothing, and one whose start was killed is simply started again.

It is another cluster than the one the tests run on: that of a copy of this checkout, in a folder with a long path.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster.images import backend
from e2e.cluster.locations import CHECKOUT
from e2e.stage import wait_until

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(backend().__name__.endswith("kind"), reason="kind clears away its own containers"),
]

DEADLINE_SECONDS = 600
NAMESPACES = ("mnt", "net", "pid")


class Copy:
    """A copy of the checkout with a cluster of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns(".*", "__pycache__", "results")
        shutil.copytree(CHECKOUT, folder, ignore=ignored)
        words = [sys.executable, "-c", "from e2e.cluster.locations import IDENTITY; print(IDENTITY)"]
        self.identity = subprocess.check_output(words, cwd=folder, text=True).strip()

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command of the cluster."""
        words = [sys.executable, "-m", "e2e.cluster", command]
        return subprocess.Popen(words, cwd=self.folder, stderr=subprocess.PIPE, text=True)

    def run(self, command: str) -> str:
        """Run a command of the cluster and return what it told; it has to end well."""
        with self.start(command) as process:
            told = process.communicate(timeout=DEADLINE_SECONDS)[1]
        assert process.returncode == 0, told
        return told

    def is_in(self, text: str) -> bool:
        """Whether a text names the copy."""
        return str(self.folder) in text or self.identity in text

    def processes(self) -> set[int]:
        """The processes whose command or whose files are of this copy."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_text(errors="replace")
            except OSError:
                continue
            if self.is_in(words) and int(process.name) != os.getpid():
                found.add(int(process.name))
        return found


def traces(copy: Copy) -> set[str]:
    """Interfaces, mounts and control groups (in either version) that are of the copy's cluster."""
    links = {link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-json", "link"]))}
    mounts = {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()}
    groups = {str(path) for place in (".", "*") for path in Path("/sys/fs/cgroup").glob(f"{place}/{copy.identity}")}
    return {f"srn-{copy.identity.rpartition('-')[2]}"} & links | {each for each in mounts if copy.is_in(each)} | groups


def namespaces(pids: set[int]) -> set[str]:
    """The kernel's names of the namespaces that the processes are in and this one is not."""
    folders = [Path("/proc/self/ns"), *(Path(f"/proc/{pid}/ns") for pid in pids)]
    own, *others = ({str((folder / kind).readlink()) for kind in NAMESPACES} for folder in folders)
    return set().union(*others) - own


def known_to_the_kernel() -> set[str]:
    listed = json.loads(subprocess.check_output(["lsns", "--json", "--output", "NS,TYPE"]))
    return {f"{entry['type']}:[{entry['ns']}]" for entry in listed["namespaces"]}


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    copy = Copy(tmp_path / "a-folder-with-a-long-name" / "and-another-one-inside-of-it" / "checkout")
    yield copy
    copy.run("down")


def test_down_leaves_no_process_namespace_mount_interface_or_group(copy: Copy) -> None:
    copy.run("up")
    made = namespaces(copy.processes())
    assert len(made) >= len(NAMESPACES)
    assert len(traces(copy)) >= 2
    copy.run("down")
    assert copy.processes() == set()
    assert traces(copy) == set()
    # Whoever is process 1 of this machine may take its time to reap the last process of a namespace.
    wait_until("the namespaces are gone", lambda: not made & known_to_the_kernel(), 60)
    assert not (copy.folder / ".state" / "cluster").exists()


def test_a_start_that_was_killed_is_taken_up_by_the_next(copy: Copy) -> None:
    with copy.start("up") as process:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (copy.folder / ".state" / "cluster" / "kubeconfig").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
    assert "the cluster is up" in copy.run("up")
