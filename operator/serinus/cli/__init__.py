"""The kubectl plugin `kubectl serinus`: what a rollout does, why it waits, and the decisions of people.

For people and pipelines, outside the cluster, with their own kubeconfig and rights. It needs the extra `cli` of the
package, which the operator's image goes without. The two functions here are the package's console scripts.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Final

_EXTRA: Final = frozenset({"rich", "typer", "yaml"})
_THESE_ONLY: Final = ":4"
_FILES_TOO: Final = ":0"
"""What kubectl wants to be told after the completions, as by cobra's programs: whether to offer files as well."""


def main() -> None:
    """`kubectl-serinus`, which kubectl runs for `kubectl serinus`."""
    try:
        from serinus.cli.app import app  # noqa: PLC0415 -- without its extra there is nothing to load
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        sys.exit(
            f"kubectl-serinus: the module {error.name} is missing; install the plugin with its extra: serinus[cli]"
        )
    from serinus.cli.outcome import CommandFailed  # noqa: PLC0415 -- as above
    from serinus.cli.terminal import complain  # noqa: PLC0415 -- as above
    from serinus.kube.depth import RECURSION_LIMIT  # noqa: PLC0415 -- as above

    sys.setrecursionlimit(RECURSION_LIMIT)
    try:
        app(prog_name="kubectl-serinus")
    except CommandFailed as error:
        complain(f"error: {error}")
        sys.exit(error.code)


def complete() -> None:
    """`kubectl_complete-serinus`, which kubectl runs to complete `kubectl serinus …` (kubectl 1.26 and newer)."""
    words = ["kubectl-serinus", *sys.argv[1:]]
    os.environ["COMP_WORDS"] = " ".join(_quoted(word) for word in words)
    os.environ["COMP_CWORD"] = str(len(words) - 1)
    os.environ["_KUBECTL_SERINUS_COMPLETE"] = "complete_bash"
    sys.argv[1:] = []
    found = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(found):
        main()
    lines = found.getvalue().split()
    sys.stdout.write("\n".join([*lines, _THESE_ONLY if lines else _FILES_TOO]) + "\n")


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'" if word else "''"
