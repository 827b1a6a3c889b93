"""A set-up step that fails says what failed and what to do; one that was cut short is simply done again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.cluster import tools
from e2e.cluster.once import made_once
from e2e.cluster.process import ClusterError, run

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a program in front of everything on the path, and keeps the cache in the test's own folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("SERINUS_CACHE", str(tmp_path / "cache"))

    def place(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.defpath}")

    return place


def test_a_go_that_is_too_old_is_told_with_the_one_that_is_needed(program):
    program("go", "echo go1.20.3")
    with pytest.raises(ClusterError, match=r"Go is too old: go1\.20\.3") as told:
        tools.coredns()
    assert told.value.advice == "install Go 1.25 or newer and put it on the PATH"


def test_a_download_that_fails_is_told_with_its_command_and_its_own_words(program):
    program("go", '[ "$1" = env ] && exec echo go1.25.0\necho "dial tcp: connection refused" >&2\nexit 1')
    with pytest.raises(ClusterError, match="dial tcp: connection refused") as told:
        tools.coredns()
    assert "go install" in str(told.value)
    assert "check GOPROXY and the network; then run the same command again" in told.value.advice


def test_a_build_that_failed_leaves_nothing_that_passes_for_a_tool(program):
    program("go", '[ "$1" = env ] && exec echo go1.25.0\necho half > "$GOBIN/coredns"\nexit 1')
    with pytest.raises(ClusterError):
        tools.coredns()
    program("go", '[ "$1" = env ] && exec echo go1.25.0\necho whole > "$GOBIN/coredns"')
    assert (tools.coredns() / "coredns").read_text() == "whole\n"


def test_a_program_that_is_missing_is_named(tmp_path):
    with pytest.raises(ClusterError, match="no-such-program is not there") as told:
        run("no-such-program", cwd=tmp_path, advice="install it")
    assert told.value.advice == "install it"


def test_a_step_that_was_killed_is_made_anew_by_the_next_run(tmp_path):
    target = tmp_path / "tool"
    killed = (
        "import sys, time; from pathlib import Path; from e2e.cluster.once import made_once\n"
        "def make(partial): (partial / 'half').touch(); print('half', flush=True); time.sleep(600)\n"
        "made_once(Path(sys.argv[1]), make)"
    )
    command = [sys.executable, "-c", killed, str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    assert not target.exists()
    made_once(target, lambda partial: (partial / "whole").touch())
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_of_two_processes_that_need_a_tool_one_makes_it_and_the_other_waits(tmp_path):
    target, tally = tmp_path / "tool", tmp_path / "tally"
    program = (
        "import sys; from pathlib import Path; from e2e.cluster.once import made_once\n"
        "def make(partial): Path(sys.argv[2]).open('a').write('made\\n')\n"
        "made_once(Path(sys.argv[1]), make)"
    )
    command = [sys.executable, "-c", program, str(target), str(tally)]
    both = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert tally.read_text() == "made\n"
