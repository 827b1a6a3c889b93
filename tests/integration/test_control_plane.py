"""The control plane that the other integration tests run on: shared while it is used, gone when nobody uses it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from e2e.cluster.controlplane import control_plane

DEADLINE_SECONDS = 120
USER = """
import sys, time
from pathlib import Path
from e2e.cluster.controlplane import control_plane
with control_plane(Path(sys.argv[1])) as plane:
    print(plane.server, flush=True)
    time.sleep(600)
"""


def start_user(directory: Path) -> tuple[subprocess.Popen[str], str]:
    root = Path(__file__).parents[2]
    user = subprocess.Popen([sys.executable, "-c", USER, str(directory)], cwd=root, stdout=subprocess.PIPE, text=True)
    return user, user.stdout.readline().strip()


def processes_of(directory: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_text(errors="replace")
        except OSError:
            continue
        if str(directory) in command and int(entry.parent.name) != os.getpid():
            found.append(command.replace("\0", " "))
    return found


def wait_until_gone(directory: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while left := processes_of(directory):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_processes_that_name_the_same_folder_share_one_until_the_last_one_dies(tmp_path: Path) -> None:
    directory = tmp_path / "plane"
    first, server = start_user(directory)
    try:
        with control_plane(directory) as plane:
            assert plane.server == server
            first.send_signal(signal.SIGKILL)
            first.wait()
            answer = [plane.kubectl, "--kubeconfig", plane.kubeconfig, "get", "--raw=/readyz"]
            assert subprocess.run(answer, check=True, capture_output=True, text=True).stdout == "ok"
        assert processes_of(directory) == []
    finally:
        first.kill()
        first.wait()
        first.stdout.close()


def test_a_killed_user_leaves_no_process_behind(tmp_path: Path) -> None:
    directory = tmp_path / "plane"
    user, server = start_user(directory)
    assert server.startswith("https://127.0.0.1:")
    user.kill()
    user.wait()
    user.stdout.close()
    wait_until_gone(directory)


def test_a_control_plane_can_be_used_again_after_it_ended(tmp_path: Path) -> None:
    for _ in range(2):
        with control_plane(tmp_path / "plane") as plane:
            query = [plane.kubectl, "--kubeconfig", plane.kubeconfig, "get", "namespace", "default", "--output=name"]
            assert subprocess.run(query, check=True, capture_output=True, text=True).stdout == "namespace/default\n"
    assert processes_of(tmp_path / "plane") == []
