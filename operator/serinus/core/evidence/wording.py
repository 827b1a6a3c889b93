"""One sentence for people about the verdict on a countable metric, with its numbers.

Called by `serinus.core.evidence.shares`; the sentence ends up in status, Events and the log.
"""

from __future__ import annotations

from typing import assert_never

from serinus.core.evidence.policy import SharePolicy, limit_text, percent
from serinus.core.readings import Missing
from serinus.core.verdicts import (
    Comparison,
    Counts,
    Fail,
    FailReason,
    Pass,
    Undecided,
    UndecidedReason,
    Verdict,
)


def share_message(
    policy: SharePolicy,
    verdict: Verdict,
    *,
    counts: Counts,
    step: Counts,
    stable: Counts | None,
    needed: int | None,
    comparison: Comparison,
) -> str:
    """The verdict in one sentence: "errors: undecided, 143 of about 296 requests in this step, 0.7 % bad, limit 1 %".

    Args:
        policy: the limits.
        verdict: what was decided.
        counts: the candidate's, since the evidence began.
        step: the candidate's, since the step began.
        stable: what it was compared with.
        needed: about how many more requests would make it pass.
        comparison: what `stable` is.

    """
    match verdict:
        case Missing():
            said = f"missing ({verdict.reason}). {verdict.detail}"
        case Fail():
            said = f"failed, {_failure(verdict.reason)}: {_bad(counts)} of {_number(counts.total)} requests"
            said += f"{_beside(stable, comparison)}, limit {limit_text(policy)}"
        case Pass():
            said = f"passed after {_number(step.total)} requests in this step, {_bad(step)}"
            said += f"{_beside(stable, comparison)}, limit {limit_text(policy)}"
        case Undecided(reason=UndecidedReason.NO_TRAFFIC):
            said = "undecided, no request has reached the candidate yet"
        case Undecided():
            said = f"undecided, {_progress(step, needed)}, {_bad(step)}"
            said += f"{_beside(stable, comparison)}, limit {limit_text(policy)}{_because(verdict.reason)}"
        case _:
            assert_never(verdict)
    return f"{policy.name}: {said}"


def _failure(reason: FailReason) -> str:
    match reason:
        case FailReason.ABOVE_LIMIT | FailReason.VALUE_BEYOND_LIMIT:
            return "above the limit"
        case FailReason.ABOVE_STABLE:
            return "above stable"
        case FailReason.REFUSES_MORE:
            return "more answers with 4xx (counted as bad here) than stable"
        case _:
            assert_never(reason)


def _progress(step: Counts, needed: int | None) -> str:
    if needed is None:
        return f"{_number(step.total)} requests in this step"
    return f"{_number(step.total)} of about {_number(step.total + needed)} requests in this step"


def _bad(counts: Counts) -> str:
    return "none bad yet" if counts.share is None else f"{percent(counts.share)} bad"


def _beside(stable: Counts | None, comparison: Comparison) -> str:
    if stable is None or stable.share is None:
        return ""
    before = " before the switch" if comparison is Comparison.BEFORE_AFTER else ""
    return f", stable {percent(stable.share)} of {_number(stable.total)}{before}"


def _because(reason: UndecidedReason) -> str:
    match reason:
        case UndecidedReason.STABLE_BREAKS_LIMIT:
            return "; stable breaks the limit too, so nothing is concluded"
        case UndecidedReason.TOO_FEW_SAMPLES:
            return "; fewer than minSamples"
        case _:
            return ""


def _number(value: float) -> str:
    return f"{value:,.0f}"
