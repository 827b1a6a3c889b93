"""How a command ends: exit codes, and the errors that carry one. Read by every module of the plugin.

The codes are documented in docs/kubectl-plugin.md, and scripts rely on them.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a shell sees."""

    DONE = 0
    """Shown, asked for, valid, serving; or there was nothing to do, as it is so already."""
    ERROR = 1
    """It could not be done, or read; the message says why and what to do. Of `validate`: a file is not valid."""
    USAGE = 2
    """The command line makes no sense."""
    FAILED = 3
    """`status --wait`: the revision in the spec was rejected, or a person has to mend something."""
    NEEDS_A_PERSON = 4
    """`status --wait`: the rollout waits for a person's decision."""
    TIMED_OUT = 5
    """What was waited for did not come in time."""


class CommandFailed(Exception):  # noqa: N818 -- what the user reads is the message
    """A command that can't go on: the message is for people, and says what to do."""

    def __init__(self, message: str, code: ExitCode = ExitCode.ERROR) -> None:
        super().__init__(message)
        self.code = code
