"""How models behave, and what their pods count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

COUNTRIES = {"DE": 0.6, "FR": 0.395, "LI": 0.005}
"""Where requests come from, for metrics that are judged in slices."""


@dataclass(frozen=True)
class Behaviour:
    """How the pods of an image behave."""

    startup_seconds: float = 4
    never_ready: bool = False
    unschedulable: bool = False
    """No node fits its pods."""
    error_share: float = 0.0
    errors_in: Mapping[str, float] = field(default_factory=dict)
    """Share of the requests from a country that fails, beside those that fail wherever they come from."""
    slow_share: float = 0.0
    hangs: bool = False
    """Takes every request and never answers it, so that it counts none."""
    crash_every_seconds: float | None = None
    trouble: str | None = None
    """With what its container ended last."""
    waits_for: tuple[str, str] | None = None
    """Reason and message of what keeps its container from starting, as the kubelet says it."""


@dataclass(frozen=True)
class JobBehaviour:
    """How the Jobs go that try an image."""

    seconds: int = 5
    fails: bool = False


@dataclass
class PodCounters:
    """What one pod has counted so far: floats, so that shares are exact."""

    total: float = 0.0
    errors: float = 0.0
    slow: float = 0.0
    errors_in: dict[str, float] = field(default_factory=dict)
    """Of the errors, those that happen to one country alone."""
