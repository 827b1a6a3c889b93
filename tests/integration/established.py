"""Waits until kinds can be used: kubectl knows them only a moment after they are Established, when they are served.

`kubectl wait` is no way to wait for that: it fails at once on a CRD that has no conditions yet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

DEADLINE_SECONDS = 60


def wait_until_established(kubectl: Callable[..., str], *names: str) -> None:
    """Wait until these CRDs, which have been applied, are usable; `kubectl` returns what it printed."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    for name in names:
        group = name.partition(".")[2]
        known = ("api-resources", f"--api-group={group}", "--cached=false", "--output=name")
        while not (
            _is_established(json.loads(kubectl("get", f"crd/{name}", "--output=json")))
            and name in kubectl(*known).split()
        ):
            assert time.monotonic() < deadline, f"CRD {name} can't be used within {DEADLINE_SECONDS} s"
            time.sleep(0.1)


def _is_established(crd: dict) -> bool:  # type: ignore[type-arg]
    conditions = crd.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
