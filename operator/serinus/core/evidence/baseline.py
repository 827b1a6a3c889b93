"""The counts of the revision that served before a switch, to compare with while it serves nothing itself.

Called by whoever gathers readings during the watch after a promotion.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from serinus.core.evidence.intervals import Interval, intervals_of
from serinus.core.evidence.pairs import Severity, counts_of
from serinus.core.evidence.policy import ShareKind, SharePolicy
from serinus.core.evidence.slices import by_slice, pooled
from serinus.core.readings import Counters, Missing
from serinus.core.verdicts import Counts


def baseline_counts(policy: SharePolicy, before: Counters) -> Counts | None:
    """What the previous revision counted in `before`, a reading that ends at the switch; None where it has nothing.

    Only what is surely bad counts, as in the Fail that it is compared with.
    """
    return _sum(_intervals(policy, before))


def slice_baselines(policy: SharePolicy, before: Counters) -> tuple[Counts | None, ...]:
    """The same of each slice of the policy, the rest last; empty where it has none."""
    slices = policy.slices
    if slices is None or not slices.values:
        return ()
    parts = [by_slice(interval) for interval in _intervals(policy, pooled(before, slices))]
    return tuple(_sum(part[at] for part in parts if at in part) for at in range(slices.count))


def _intervals(policy: SharePolicy, before: Counters) -> tuple[Interval, ...]:
    latency = policy.kind is ShareKind.LATENCY
    intervals = intervals_of(before, latency=latency, absent_bad=policy.absent_bad)
    return () if isinstance(intervals, Missing) else intervals


def _sum(intervals: Iterable[Interval]) -> Counts | None:
    counts = [counts_of(interval, Severity.SURELY_BAD) for interval in intervals]
    total = math.fsum(each.total for each in counts)
    return Counts(math.fsum(each.bad for each in counts), total) if total > 0 else None
