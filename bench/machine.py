"""What machine a run was made on. Used by `bench.__main__`."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def described() -> dict[str, str]:
    """The machine's shape, in words."""
    return {
        "processors": f"{processors()} × {processor_model(Path('/proc/cpuinfo').read_text())}",
        "memory": f"{memory_gib(Path('/proc/meminfo').read_text()):.0f} GiB",
        "system": f"Linux {platform.release()}",
    }


def processor_model(cpuinfo: str) -> str:
    """The model's name from the text of /proc/cpuinfo; the architecture where it has none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def memory_gib(meminfo: str) -> float:
    """All memory, from the text of /proc/meminfo."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) / 2**20
    return 0.0
