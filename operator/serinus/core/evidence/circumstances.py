"""All that a verdict depends on besides limits and readings. Filled in by whoever evaluates, read by `judge`."""

from __future__ import annotations

from dataclasses import dataclass

from serinus.core.readings import PodStart
from serinus.core.verdicts import Counts


@dataclass(frozen=True, slots=True)
class Circumstances:
    """When, over which pods and with which chances of error a metric is judged."""

    now: float
    """Unix seconds."""
    step_started_at: float
    """Unix seconds at which the current step's route was confirmed: evidence for Pass counts from here."""
    alpha_fail: float
    """Chance of a false Fail for each tested limit (see `policy.alpha_fail`)."""
    alpha_pass: float
    """Chance of a false Pass for each metric (see `policy.alpha_pass`)."""
    stale_after_seconds: float
    """How old a pod's newest sample may be; three grid steps are a good choice."""
    candidate_pods: tuple[PodStart, ...]
    """Pods of the candidate whose start is known; those with weight have to report."""
    stable_pods: tuple[PodStart, ...] = ()
    baseline: Counts | None = None
    """Stable's counts of this metric from before the switch, for increases while stable serves nothing. Where None,
    what stable served since the evidence began, until it stopped, is taken."""
    slice_baselines: tuple[Counts | None, ...] = ()
    """The same of each slice, the rest last; empty where there are none."""
