"""From a decision on a countable metric to the verdict with its numbers and its sentence.

Called by `serinus.core.evidence.shares` and `serinus.core.evidence.sliced`.
"""

from __future__ import annotations

import math

from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.confidence import always_valid_interval
from serinus.core.evidence.decision import Decision, ShareEvidence
from serinus.core.evidence.policy import SharePolicy, limit_text
from serinus.core.evidence.wording import share_message
from serinus.core.readings import Missing
from serinus.core.verdicts import Comparison, Counts, Fail, FailReason, MetricVerdict, Pass, Undecided


def reported(policy: SharePolicy, at: Circumstances, evidence: ShareEvidence, decision: Decision) -> MetricVerdict:
    """What was decided on some intervals, beside their counts."""
    verdict, needed = decision.verdict, needed_requests(policy, evidence, decision)
    baseline = evidence.possibly.baseline(at.baseline)
    comparison = Comparison.CONCURRENT if evidence.serves else Comparison.NONE
    if policy.compares and baseline is not None:
        comparison = Comparison.BEFORE_AFTER
    refused = evidence.refused if verdict == Fail(FailReason.REFUSES_MORE) else None
    compared = refused or evidence.possibly
    counts = compared.candidate
    stable = compared.beside if evidence.serves else None
    if comparison is Comparison.BEFORE_AFTER:
        stable = baseline if refused is None else refused.baseline(None)
    lower, upper = always_valid_interval(counts, at.alpha_fail, at.alpha_pass, compared.clustering_in_time)
    return MetricVerdict(
        name=policy.name,
        mode=policy.mode,
        verdict=verdict,
        candidate=counts,
        stable=stable,
        estimate=counts.share,
        lower=lower,
        upper=upper,
        limit=limit_text(policy),
        needed=needed,
        message=share_message(
            policy,
            verdict,
            counts=counts,
            step=evidence.possibly.in_step,
            stable=stable,
            needed=needed,
            comparison=comparison,
        ),
        comparison=comparison,
    )


def without_counts(policy: SharePolicy, verdict: Missing | Undecided) -> MetricVerdict:
    """A verdict where nothing was counted."""
    nothing = Counts(0.0, 0.0)
    return MetricVerdict(
        name=policy.name,
        mode=policy.mode,
        verdict=verdict,
        candidate=None if isinstance(verdict, Missing) else nothing,
        stable=None,
        estimate=None,
        lower=None,
        upper=None,
        limit=limit_text(policy),
        needed=None,
        message=share_message(
            policy, verdict, counts=nothing, step=nothing, stable=None, needed=None, comparison=Comparison.NONE
        ),
    )


def needed_requests(policy: SharePolicy, evidence: ShareEvidence, decision: Decision) -> int | None:
    """About how many more requests it takes to pass; 0 if it passes, None if it would not pass like this."""
    if isinstance(decision.verdict, Fail | Pass):
        return 0 if isinstance(decision.verdict, Pass) else None
    more = [shortfall.needed for shortfall in decision.shortfalls]
    if not more or any(each is None for each in more):
        return None
    too_few = math.ceil(max(policy.min_samples - evidence.possibly.in_step.total, 0.0))
    return max(too_few, *(each for each in more if each is not None))
