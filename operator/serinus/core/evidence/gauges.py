"""Values that can't be counted: how long the limit has been broken.

Called by `serinus.core.evidence.judge`. There is no bound on the chance of an error here, and the verdict says so
(`Pass.guaranteed` is False).
"""

from __future__ import annotations

import math

from serinus.core.evidence.policy import GaugePolicy, limit_text
from serinus.core.readings import Gauge, Missing, MissingReason
from serinus.core.verdicts import Fail, FailReason, MetricVerdict, Pass, Undecided, UndecidedReason, Verdict


def judge_gauge(policy: GaugePolicy, gauge: Gauge, now: float, stale_after_seconds: float) -> MetricVerdict:
    """The verdict on a gauge: Fail once it has been above its limit for `forSeconds` without pause, Pass below it.

    The time above starts with the first sample above the limit; a gap longer than `stale_after_seconds` starts it
    anew, as an outage never counts against a candidate.
    """
    verdict, message = _verdict(policy, gauge, now, stale_after_seconds)
    return MetricVerdict(
        name=policy.name,
        mode=policy.mode,
        verdict=verdict,
        candidate=None,
        stable=None,
        estimate=gauge.samples[-1].value if gauge.samples and not isinstance(verdict, Missing) else None,
        lower=None,
        upper=None,
        limit=limit_text(policy),
        needed=0 if isinstance(verdict, Pass) else None,
        message=f"{policy.name}: {message}",
    )


def _verdict(policy: GaugePolicy, gauge: Gauge, now: float, stale_after_seconds: float) -> tuple[Verdict, str]:
    if not gauge.samples:
        missing = Missing(MissingReason.EMPTY, "The query returns nothing.")
        return missing, f"missing. {missing.detail}"
    newest = gauge.samples[-1]
    if not math.isfinite(newest.value):
        missing = Missing(MissingReason.NOT_A_NUMBER, "The query returns no number.")
        return missing, f"missing. {missing.detail}"
    if newest.at < now - stale_after_seconds:
        missing = Missing(
            MissingReason.TOO_OLD,
            f"The newest value is {now - newest.at:.0f} s old, and may be {stale_after_seconds:g} s at most.",
        )
        return missing, f"missing. {missing.detail}"
    if newest.value <= policy.max_value:
        return Pass(guaranteed=False), f"passed, {newest.value:g} against a limit of {policy.max_value:g}; not a test"
    above_for = newest.at - _above_since(policy, gauge, stale_after_seconds)
    if above_for >= policy.for_seconds:
        return Fail(FailReason.VALUE_BEYOND_LIMIT), (
            f"failed, {newest.value:g} against a limit of {policy.max_value:g}, above it for {above_for:.0f} s"
        )
    return Undecided(UndecidedReason.BEYOND_LIMIT_BRIEFLY), (
        f"undecided, {newest.value:g} against a limit of {policy.max_value:g}, above it for {above_for:.0f} s "
        f"of {policy.for_seconds:.0f} s"
    )


def _above_since(policy: GaugePolicy, gauge: Gauge, stale_after_seconds: float) -> float:
    since = gauge.samples[-1].at
    for sample in reversed(gauge.samples):
        above = math.isfinite(sample.value) and sample.value > policy.max_value
        if not above or since - sample.at > stale_after_seconds:
            break
        since = sample.at
    return since
