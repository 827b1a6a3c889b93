"""Processor time and memory of a process, as /proc tells them."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from bench.processes import busy_seconds, children, cpu_seconds, forget_peak, peak_rss_bytes, usage

STAT = "42 (a) b (c) S 1 42 42 0 -1 4194304 1 2 3 4 250 50 9 9 20 0 1 0 1 1 1"


def test_a_name_with_brackets_and_blanks_does_not_move_the_fields():
    assert cpu_seconds(STAT) == 300 / os.sysconf("SC_CLK_TCK")


def test_the_peak_is_in_bytes():
    assert peak_rss_bytes("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n") == 2048 * 1024


def test_a_process_that_has_ended_has_no_peak():
    assert peak_rss_bytes("Name:\tx\nState:\tZ (zombie)\n") == 0


def test_a_busy_process_is_seen_to_be_busy():
    before = usage(os.getpid())
    assert before is not None
    deadline = time.process_time() + 0.1
    while time.process_time() < deadline:
        pass
    after = usage(os.getpid())
    assert after is not None
    assert after.cpu_seconds - before.cpu_seconds >= 0.05


def test_the_peak_can_be_forgotten():
    code = "a = b'x' * 80_000_000; del a; print(flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stdout.readline()
        assert usage(process.pid).peak_rss_bytes > 80_000_000
        forget_peak(process.pid)
        assert usage(process.pid).peak_rss_bytes < 80_000_000
        process.communicate(b"\n")


def test_a_process_that_is_gone_has_no_usage():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert usage(process.pid) is None


def test_children_go_by_the_name_of_their_program():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(b"here\n")
        process.stdin.flush()
        process.stdout.readline()  # a process has no name before its program runs
        found = children(os.getpid())
        process.communicate()
    assert found["cat"] == process.pid


def test_waiting_is_not_work():
    ticks = os.sysconf("SC_CLK_TCK")
    assert busy_seconds(f"cpu  {3 * ticks} {ticks} {2 * ticks} 900 800 0 {ticks} 0 0 0\ncpu0 1 2 3\n") == 7
