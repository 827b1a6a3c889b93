"""The way in: one metric, its readings and the circumstances give one verdict.

Called by `serinus.shell` for each metric when an evaluation is due; `serinus.core.verdicts.combine` puts the verdicts
of all metrics together.
"""

from __future__ import annotations

from typing import assert_never

from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.gauges import judge_gauge
from serinus.core.evidence.policy import GaugePolicy, MetricPolicy, SharePolicy, limit_text
from serinus.core.evidence.shares import judge_share
from serinus.core.readings import Counters, Gauge, Missing, MissingReason, Reading
from serinus.core.verdicts import MetricVerdict


def judge(
    policy: MetricPolicy, candidate: Reading, stable: Reading | None, circumstances: Circumstances
) -> MetricVerdict:
    """The verdict on one metric.

    Args:
        policy: what is judged (see `policy_of`).
        candidate: reading of the candidate since the evidence began.
        stable: reading of the stable revision on the same grid; None where no stable revision serves at the same time
            (the watch after a promotion). Ignored for gauges.
        circumstances: pods, times and error bounds.

    Returns:
        Fail, Pass, Undecided or Missing with the numbers. A reading of the wrong shape is Missing(Ambiguous).

    """
    if isinstance(candidate, Missing):
        return _without_reading(policy, candidate)
    match policy:
        case GaugePolicy():
            if not isinstance(candidate, Gauge):
                return _without_reading(policy, _misshapen("candidate"))
            return judge_gauge(policy, candidate, circumstances.now, circumstances.stale_after_seconds)
        case SharePolicy():
            if not isinstance(candidate, Counters):
                return _without_reading(policy, _misshapen("candidate"))
            if isinstance(stable, Gauge):
                return _without_reading(policy, _misshapen("stable revision"))
            return judge_share(policy, candidate, stable, circumstances)
        case _:
            assert_never(policy)


def _misshapen(revision: str) -> Missing:
    return Missing(MissingReason.AMBIGUOUS, f"The reading of the {revision} is not of the kind that the metric needs.")


def _without_reading(policy: MetricPolicy, missing: Missing) -> MetricVerdict:
    return MetricVerdict(
        name=policy.name,
        mode=policy.mode,
        verdict=missing,
        candidate=None,
        stable=None,
        estimate=None,
        lower=None,
        upper=None,
        limit=limit_text(policy),
        needed=None,
        message=f"{policy.name}: missing ({missing.reason}). {missing.detail}",
    )
