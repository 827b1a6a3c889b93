"""The counts of the revision that served before a switch, to compare with while it serves nothing itself.

Called by whoever gathers readings during the watch after a promotion.
"""

from __future__ import annotations

import math

from serinus.core.evidence.intervals import intervals_of
from serinus.core.evidence.pairs import Severity, counts_of
from serinus.core.evidence.policy import ShareKind, SharePolicy
from serinus.core.readings import Counters, Missing
from serinus.core.verdicts import Counts


def baseline_counts(policy: SharePolicy, before: Counters) -> Counts | None:
    """What the previous revision counted in `before`, a reading that ends at the switch; None where it has nothing.

    Only what is surely bad counts, as in the Fail that it is compared with.
    """
    latency = policy.kind is ShareKind.LATENCY
    intervals = intervals_of(before, latency=latency, absent_bad=policy.absent_bad)
    if isinstance(intervals, Missing):
        return None
    counts = [counts_of(interval, Severity.SURELY_BAD) for interval in intervals]
    total = math.fsum(each.total for each in counts)
    return Counts(math.fsum(each.bad for each in counts), total) if total > 0 else None
