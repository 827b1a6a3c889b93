"""`python -m serinus`: read the settings, set up the log, find the API server, run the operator.

Exit codes: 0 after SIGTERM or SIGINT, 1 for a defect, 2 for settings that make no sense, 3 without credentials.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from serinus.kube.credentials import CredentialsError, find_credentials
from serinus.settings import SettingsError, from_environment
from serinus.shell import app, logs


def main() -> int:
    """Run the operator; returns the exit code."""
    try:
        settings = from_environment(os.environ)
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
    sys.exit(main())
