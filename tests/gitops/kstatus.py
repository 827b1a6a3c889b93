"""How kstatus reads a resource: Flux, kapp, kpt and `kubectl wait`-like tools go by it.

Written from its published rules (sigs.k8s.io/cli-utils, `pkg/kstatus/README.md` and the order of `Compute`), as a
reader that knows nothing of Serinus: deletion first, then the generation, then `Reconciling` and `Stalled` where they
are true, in the order in which they stand, then `Ready`. A resource that says nothing counts as done.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Kstatus(StrEnum):
    """What becomes of a resource after it was applied."""

    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    CURRENT = "Current"
    TERMINATING = "Terminating"


def kstatus(resource: Mapping[str, Any]) -> Kstatus:
    """The status of a resource of a kind for which there are no rules of its own."""
    metadata, status = resource["metadata"], resource.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return Kstatus.TERMINATING
    observed = status.get("observedGeneration")
    if "generation" in metadata and observed is not None and observed != metadata["generation"]:
        return Kstatus.IN_PROGRESS
    conditions = status.get("conditions") or []
    for condition in conditions:
        if condition["type"] == "Reconciling" and condition["status"] == "True":
            return Kstatus.IN_PROGRESS
        if condition["type"] == "Stalled" and condition["status"] == "True":
            return Kstatus.FAILED
    ready = next((each["status"] for each in conditions if each["type"] == "Ready"), "True")
    return Kstatus.CURRENT if ready == "True" else Kstatus.IN_PROGRESS
