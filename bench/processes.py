"""What processes cost, read from /proc: processor time, and the highest resident memory. For `bench.meter`."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_RESET_PEAK: Final = "5"
"""Written to clear_refs it makes the kernel forget the highest resident memory so far (proc(5))."""


@dataclass(frozen=True, slots=True)
class Usage:
    """A process up to now."""

    cpu_seconds: float
    """User and system time of all its threads, since it started."""
    peak_rss_bytes: int
    """Highest resident memory since `forget_peak`, or since it started."""


def usage(pid: int) -> Usage | None:
    """What the process has used; None where there is none any more."""
    folder = Path(f"/proc/{pid}")
    try:
        return Usage(cpu_seconds((folder / "stat").read_text()), peak_rss_bytes((folder / "status").read_text()))
    except (FileNotFoundError, ProcessLookupError):
        return None


def forget_peak(pid: int) -> None:
    """Let the highest resident memory be measured from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)


def children(pid: int) -> dict[str, int]:
    """The processes that a process has started, by the names of their programs."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if parent((folder / "stat").read_text()) == pid:
                found[Path((folder / "cmdline").read_text().split("\0")[0]).name] = int(folder.name)
    return found


def parent(stat: str) -> int:
    """The process id of the parent, from the text of /proc/<pid>/stat."""
    return int(stat.rpartition(")")[2].split()[1])


def machine_seconds() -> float:
    """Processor time that the whole machine has spent on anything since it started."""
    return busy_seconds(Path("/proc/stat").read_text())


def busy_seconds(stat: str) -> float:
    """All but idle time and waiting for disks, from the text of /proc/stat."""
    user, nice, system, _idle, _wait, *interrupts = (int(field) for field in stat.splitlines()[0].split()[1:9])
    return (user + nice + system + sum(interrupts)) / _TICKS_PER_SECOND


def cpu_seconds(stat: str) -> float:
    """User and system time from the text of /proc/<pid>/stat; the name in it may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def peak_rss_bytes(status: str) -> int:
    """`VmHWM` from the text of /proc/<pid>/status; 0 for a process that has ended and not been waited for."""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
