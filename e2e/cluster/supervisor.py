"""Process 1 of the native cluster: keeps its daemons running inside namespaces of their own.

Started by `namespaces` as a script, `supervisor.py IDENTITY SPECIFICATION`, in new mount, network and process
namespaces. When it dies, the kernel ends everything it started, however deep, and drops the namespaces with their
mounts and interfaces; that is what makes tear-down complete.

It hides the machine's folders that Kubernetes would write to behind empty ones, waits on standard input for the word
that the network is ready, then starts the daemons, restarts any that ends, and reaps orphans.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TypedDict

_RESTART_SECONDS = 0.5


class Daemon(TypedDict):
    """A program that shall always run, and the file that takes its output."""

    command: list[str]
    log: str


class Specification(TypedDict):
    """`hidden` folders become empty; then the machine's folders that are `shown` appear, by their paths inside."""

    hidden: list[str]
    shown: dict[str, str]
    daemons: list[Daemon]


def main() -> None:
    """Run the specification until killed."""
    specification: Specification = json.loads(Path(sys.argv[2]).read_text())
    _arrange_mounts(specification)
    print("mounted", flush=True)
    if sys.stdin.readline().strip() != "start":
        sys.exit("the command that started this cluster ended before its network was ready")
    _release_pipes()
    _keep_running(specification["daemons"])


def _arrange_mounts(specification: Specification) -> None:
    shown = {inside: os.open(folder, os.O_PATH) for inside, folder in specification["shown"].items()}
    for folder in specification["hidden"]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "serinus", folder], check=True)
    for inside, opened in shown.items():
        Path(inside).mkdir(parents=True, exist_ok=True)
        source = f"/proc/{os.getpid()}/fd/{opened}"
        subprocess.run(["mount", "--bind", source, inside], check=True, pass_fds=[opened])
        os.close(opened)


def _release_pipes() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nothing, descriptor)


def _keep_running(daemons: list[Daemon]) -> None:
    running = {_start(daemon): daemon for daemon in daemons}
    while True:
        ended, _ = os.waitpid(-1, 0)
        daemon = running.pop(ended, None)
        if daemon is not None:
            time.sleep(_RESTART_SECONDS)
            running[_start(daemon)] = daemon


def _start(daemon: Daemon) -> int:
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        daemon["command"][0],
        daemon["command"],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, daemon["log"], append, 0o644), (os.POSIX_SPAWN_DUP2, 1, 2)],
        setsid=True,
    )


if __name__ == "__main__":
    main()
