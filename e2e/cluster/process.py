"""Runs other programs and turns their failure into an error that can be acted on. For every module."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

TAIL_LINES = 25

Word = str | os.PathLike[str]


class ClusterError(Exception):
    """Something that a person has to act on; `advice` says how."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class CommandError(ClusterError):
    """A command ended badly; carries the command and the end of its output."""

    def __init__(self, command: Sequence[str], why: str, output: str, advice: str = "") -> None:
        tail = "\n".join("    " + line for line in last_lines(output))
        super().__init__(f"{why}: {shlex.join(command)}\n{tail}".rstrip(), advice)
        self.command = command
        self.output = output


def last_lines(text: str, count: int = TAIL_LINES) -> list[str]:
    """Return the last `count` lines of a text that are not blank."""
    return [line for line in text.splitlines() if line.strip()][-count:]


def run(
    *command: Word,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout_seconds: float | None = None,
    advice: str = "",
) -> str:
    """Run a command to its end and return its standard output.

    `env` adds to the environment. Raises `CommandError` with the last lines of both outputs, and `advice`, when the
    command is missing, fails or takes longer than `timeout_seconds`.
    """
    words = [os.fspath(word) for word in command]
    try:
        done = subprocess.run(
            words,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandError(words, f"{error.filename} is not there", "", advice) from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(words, f"no end after {timeout_seconds:.0f} s", _text(error.stdout), advice) from error
    if done.returncode != 0:
        raise CommandError(words, f"exit code {done.returncode}", done.stdout + done.stderr, advice)
    return done.stdout


def succeeds(*command: Word, timeout_seconds: float = 30) -> bool:
    """Tell whether a command can be run and ends well."""
    try:
        run(*command, timeout_seconds=timeout_seconds)
    except CommandError:
        return False
    return True


def missing_programs(names: Iterable[str]) -> list[str]:
    """Return the programs that are neither on the path nor in the system's folders."""
    folders = [*os.get_exec_path(), "/usr/sbin", "/sbin"]
    return [name for name in names if not any(os.access(Path(folder, name), os.X_OK) for folder in folders)]


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
