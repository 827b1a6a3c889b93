"""`python -m serinus`: read the settings, set up the log, find the API server, run the operator.

`python -m serinus check` says instead, from where the operator runs, whether its rights, its CRD, its metrics and the
gateways are usable. It is what `helm test` runs.

Exit codes: 0 after SIGTERM or SIGINT, or where nothing is wrong; 1 for a defect, or where something is; 2 for settings
or arguments that make no sense; 3 without credentials.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence

from serinus.kube.credentials import CredentialsError, find_credentials
from serinus.kube.depth import RECURSION_LIMIT
from serinus.settings import LogLevel, SettingsError, from_environment
from serinus.shell import app, check, logs


def main(arguments: Sequence[str]) -> int:
    """Run the operator, or check its installation; returns the exit code."""
    if arguments not in ([], ["check"]):
        return _refuse(f"no such arguments: {' '.join(arguments)}; write none to run the operator, or check", 2)
    try:
        settings = from_environment(os.environ)
        sys.setrecursionlimit(RECURSION_LIMIT)
        if arguments:
            logs.set_up(LogLevel.ERROR, settings.log_format)
            return asyncio.run(check.run(settings, find_credentials(), sys.stdout.write))
        logs.set_up(settings.log_level, settings.log_format)
        asyncio.run(app.run(settings, find_credentials()))
    except SettingsError as error:
        return _refuse(f"settings make no sense:\n{error}", 2)
    except CredentialsError as error:
        return _refuse(f"no way to reach an API server: {error}", 3)
    except Exception:
        logging.getLogger("serinus").critical("ended by a defect", exc_info=True)
        return 1
    return 0


def _refuse(why: str, code: int) -> int:
    sys.stderr.write(f"serinus: {why}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
