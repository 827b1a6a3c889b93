"""The way in: one metric, its readings and the circumstances give one verdict.

`Judge.judge` is called by `serinus.shell` for each metric when an evaluation is due; `serinus.core.verdicts.combine`
puts the verdicts of all metrics together.
"""

from __future__ import annotations

from typing import Final, assert_never

from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.gauges import judge_gauge
from serinus.core.evidence.policy import GaugePolicy, MetricPolicy, limit_text
from serinus.core.evidence.shares import ShareJudge
from serinus.core.readings import Counters, Gauge, Missing, MissingReason, Reading
from serinus.core.verdicts import MetricVerdict


class Judge:
    """Judges one metric of one rollout again and again, each time by all that has been read since the evidence began.

    It keeps what earlier readings showed, so that only new samples have to be looked at. Nothing depends on that: one
    that was made a moment ago, after a restart say, says the same.
    """

    def __init__(self, policy: MetricPolicy) -> None:
        self.policy: Final = policy
        """What is judged (see `policy_of`)."""
        self._judged = policy if isinstance(policy, GaugePolicy) else ShareJudge(policy)

    def judge(self, candidate: Reading, stable: Reading | None, circumstances: Circumstances) -> MetricVerdict:
        """The verdict now.

        Args:
            candidate: reading of the candidate since the evidence began.
            stable: reading of the stable revision on the same grid; None where no stable revision serves at the same
                time (the watch after a promotion). Ignored for gauges.
            circumstances: pods, times and error bounds.

        Returns:
            Fail, Pass, Undecided or Missing with the numbers. A reading of the wrong shape is Missing(Ambiguous).

        """
        if isinstance(candidate, Missing):
            return _without_reading(self.policy, candidate)
        match self._judged:
            case GaugePolicy() as gauge:
                if not isinstance(candidate, Gauge):
                    return _without_reading(gauge, _misshapen("candidate"))
                return judge_gauge(gauge, candidate, circumstances.now, circumstances.stale_after_seconds)
            case ShareJudge() as share:
                if not isinstance(candidate, Counters):
                    return _without_reading(self.policy, _misshapen("candidate"))
                if isinstance(stable, Gauge):
                    return _without_reading(self.policy, _misshapen("stable revision"))
                return share.judge(candidate, stable, circumstances)
            case _:
                assert_never(self._judged)


def judge(
    policy: MetricPolicy, candidate: Reading, stable: Reading | None, circumstances: Circumstances
) -> MetricVerdict:
    """The verdict on one metric, by somebody who has seen nothing before (see `Judge`)."""
    return Judge(policy).judge(candidate, stable, circumstances)


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
