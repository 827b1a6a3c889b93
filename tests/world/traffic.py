"""How models behave, and what their pods count."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Behaviour:
    """How the pods of an image behave."""

    startup_seconds: float = 4
    never_ready: bool = False
    unschedulable: bool = False
    """No node fits its pods."""
    error_share: float = 0.0
    slow_share: float = 0.0
    crash_every_seconds: float | None = None
    trouble: str | None = None


@dataclass
class PodCounters:
    """What one pod has counted so far: floats, so that shares are exact."""

    total: float = 0.0
    errors: float = 0.0
    slow: float = 0.0
