"""The verdict on a countable metric: which tests are made, on which intervals, and what they say together.

Called by `serinus.core.evidence.judge`. The rules:

- Fail of an absolute limit needs *above the limit* and *above stable*, each e-value at 1/alpha, wherever stable serves.
- Fail of an increase needs *above stable by more than the allowed increase*.
- Fail evidence runs from the start of the evidence over all steps, Pass evidence from the start of the step.
- Pass needs, for every limit, the proof of *below limit + tolerance*, and `minSamples`. There is no other road to it.
- While stable itself breaks the absolute limit nothing passes.
- Where stable serves nothing, absolute limits stand alone and increases are compared with stable's share from before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from serinus.core.evidence import clustering
from serinus.core.evidence.betting import above_limit
from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.confidence import always_valid_interval, lower_bound, upper_bound
from serinus.core.evidence.coverage import uncovered
from serinus.core.evidence.increase import Alone, Shortfall, above, below
from serinus.core.evidence.intervals import Interval, intervals_of
from serinus.core.evidence.pairs import Pair, Severity, counts_of, pairs_of, sum_of, without_stable
from serinus.core.evidence.policy import ShareKind, SharePolicy, limit_text
from serinus.core.evidence.wording import share_message
from serinus.core.readings import Counters, Missing, MissingReason, Part
from serinus.core.verdicts import (
    Comparison,
    Counts,
    Fail,
    FailReason,
    MetricVerdict,
    Pass,
    Undecided,
    UndecidedReason,
    Verdict,
)

_BASELINE_SHARE = 0.1
"""Share of an error bound that is spent on not knowing the baseline exactly; the rest is for the test."""

_STABLE_BREAKS = math.log(20)
"""Evidence at which stable counts as breaking the limit: a false alarm only delays."""

_SILENT_INTERVALS = 3
"""Intervals in a row in which the candidate is served and stable is not, after which stable counts as stopped."""

_DISPLAY_ALPHA = 0.05
_LARGEST_BOUND = 0.99


@dataclass(frozen=True, slots=True)
class _Compared:
    """Candidate beside stable, by one meaning of bad, since the evidence began."""

    pairs: tuple[Pair, ...]
    step: int
    """Position of the first pair of the step."""
    in_time: list[float]
    """Clustering of the candidate's failures in time."""
    against_stable: list[float]
    """Clustering of the differences from stable; in time as well where stable serves in few intervals."""
    stopped: int
    """Position of the first pair from which on stable serves nothing; the number of pairs where it still serves."""
    baseline: Counts | None
    """Stable's counts from before it stopped or before the switch; None while it serves, or where there are none."""
    beside: Counts
    """Stable's counts since the step began."""


@dataclass(frozen=True, slots=True)
class _Evidence:
    """All that one verdict rests on."""

    policy: SharePolicy
    circumstances: Circumstances
    surely: _Compared
    possibly: _Compared
    refused: _Compared | None
    """None where 4xx answers are not compared."""
    serves: bool
    """Whether stable has served, and can be compared, since the evidence began."""
    comparable: bool
    """False where stable serves other users, so that its share means nothing for the candidate."""

    @property
    def step(self) -> Counts:
        """The candidate's counts since the step began."""
        return sum_of(pair.candidate for pair in self.possibly.pairs[self.possibly.step :])


def judge_share(
    policy: SharePolicy, candidate: Counters, stable: Counters | Missing | None, circumstances: Circumstances
) -> MetricVerdict:
    """The verdict on a countable metric (see the module for the rules).

    Args:
        policy: the limits.
        candidate: raw counters since the evidence began.
        stable: the same of the stable revision; Missing(NotComparable) in match steps; None where it serves nothing.
        circumstances: pods, times and error bounds.

    """
    gathered = _gather(policy, candidate, stable, circumstances)
    if isinstance(gathered, Missing):
        return _without_counts(policy, gathered)
    if not gathered.possibly.pairs:
        return _without_counts(policy, Undecided(UndecidedReason.NO_TRAFFIC))
    failure = _failure(gathered)
    shortfalls = _shortfalls(gathered)
    verdict = failure or _success(gathered, shortfalls)
    return _report(gathered, verdict, _needed(gathered, shortfalls))


def _gather(
    policy: SharePolicy, candidate: Counters, stable: Counters | Missing | None, circumstances: Circumstances
) -> _Evidence | Missing:
    comparable = True
    if isinstance(stable, Missing):
        if stable.reason is not MissingReason.NOT_COMPARABLE:
            return stable
        comparable, stable = False, None
    gap = uncovered(
        candidate,
        circumstances.candidate_pods,
        stable,
        circumstances.stable_pods,
        now=circumstances.now,
        stale_after_seconds=circumstances.stale_after_seconds,
    )
    if gap is not None and gap.reason is MissingReason.CANDIDATE_SILENT and policy.kind is not ShareKind.ERRORS:
        gap = _not_held_against(gap, candidate)
    if gap is not None:
        return gap
    own: tuple[Interval, ...] | Missing = ()
    if _has_samples(candidate):
        own = _intervals(policy, candidate, circumstances, stable=False)
    if isinstance(own, Missing):
        return own
    other: tuple[Interval, ...] | Missing = ()
    if stable is not None and _has_samples(stable):
        other = _intervals(policy, stable, circumstances, stable=True)
    if isinstance(other, Missing):
        return other
    grid = candidate.grid
    step_point = math.ceil((circumstances.step_started_at - grid.anchor) / grid.step_seconds - 1e-6) + 1
    possibly = _compare(own, other, Severity.POSSIBLY_BAD, step_point, circumstances.baseline)
    latency = policy.kind is ShareKind.LATENCY
    return _Evidence(
        policy=policy,
        circumstances=circumstances,
        surely=_compare(own, other, Severity.SURELY_BAD, step_point, circumstances.baseline) if latency else possibly,
        possibly=possibly,
        refused=None
        if policy.max_refused_increase is None
        else _compare(own, other, Severity.REFUSED, step_point, None),
        serves=bool(other),
        comparable=comparable,
    )


def _not_held_against(silent: Missing, candidate: Counters) -> Missing | None:
    """What silence is where it may be a lack of requests.

    BentoML counts requests from zero on; its histogram and users' own counters appear with their first event.
    """
    return replace(silent, reason=MissingReason.NOT_COVERED) if _has_samples(candidate) else None


def _has_samples(counters: Counters) -> bool:
    return any(series.part is Part.TOTAL and series.samples for series in counters.series)


def _compare(
    candidate: tuple[Interval, ...],
    stable: tuple[Interval, ...],
    severity: Severity,
    step_point: int,
    given: Counts | None,
) -> _Compared:
    pairs = pairs_of(candidate, stable, severity)
    in_time = clustering.of_shares(pairs)
    last = max((at for at, pair in enumerate(pairs, start=1) if pair.stable.total > 0), default=0)
    stopped = last if last == 0 or len(pairs) - last >= _SILENT_INTERVALS else len(pairs)
    earlier = sum_of(counts_of(stable, severity))
    baseline = (given or earlier) if stopped < len(pairs) else None
    return _Compared(
        pairs=pairs,
        step=next((at for at, pair in enumerate(pairs) if pair.point >= step_point), len(pairs)),
        in_time=in_time,
        against_stable=_against_stable(pairs, in_time),
        stopped=stopped,
        baseline=baseline if baseline is not None and baseline.total > 0 else None,
        beside=sum_of(counts_of((interval for interval in stable if interval.point >= step_point), severity)),
    )


def _against_stable(pairs: Sequence[Pair], in_time: Sequence[float]) -> list[float]:
    """Clustering of the differences from stable; in time as well where stable serves in few intervals."""
    differences = clustering.of_differences(pairs)
    mostly_alone = 2 * sum(pair.stable.total > 0 for pair in pairs) < len(pairs)
    return [max(each) for each in zip(in_time, differences, strict=True)] if mostly_alone else differences


def _intervals(
    policy: SharePolicy, counters: Counters, circumstances: Circumstances, *, stable: bool
) -> tuple[Interval, ...] | Missing:
    return intervals_of(
        counters,
        circumstances.stable_pods if stable else circumstances.candidate_pods,
        latency=policy.kind is ShareKind.LATENCY,
        absent_bad=policy.absent_bad,
    )


def _failure(evidence: _Evidence) -> Fail | None:
    policy, alpha = evidence.policy, evidence.circumstances.alpha_fail
    if policy.max_increase is not None and _rises(evidence, evidence.surely, policy.max_increase):
        return Fail(FailReason.ABOVE_STABLE)
    if policy.max_share is not None:
        pairs, threshold = evidence.surely.pairs, math.log(1 / alpha)
        if above_limit((pair.candidate for pair in pairs), policy.max_share).peak >= threshold and (
            not evidence.serves or above(pairs, 0.0, clustering.none(pairs), Alone(policy.max_share)).peak >= threshold
        ):
            return Fail(FailReason.ABOVE_LIMIT)
    if (
        policy.max_refused_increase is not None
        and evidence.refused is not None
        and _rises(evidence, evidence.refused, policy.max_refused_increase)
    ):
        return Fail(FailReason.REFUSES_MORE)
    return None


def _rises(evidence: _Evidence, compared: _Compared, increase: float) -> bool:
    """Whether the candidate is shown to exceed stable's share by more than `increase`."""
    alpha = evidence.circumstances.alpha_fail
    if compared.baseline is None:
        peak = above(compared.pairs, increase, compared.against_stable).peak
        return peak >= math.log(1 / alpha)
    harmless = min(upper_bound(compared.baseline, alpha * _BASELINE_SHARE) + increase, _LARGEST_BOUND)
    peak = above(compared.pairs, increase, compared.against_stable, Alone(harmless, compared.stopped)).peak
    return peak >= math.log(1 / (alpha * (1 - _BASELINE_SHARE)))


def _shortfalls(evidence: _Evidence) -> tuple[Shortfall, ...]:
    """One per limit that can be judged: how far it is from being shown to be kept, on the intervals of the step."""
    policy, possibly, refused = evidence.policy, evidence.possibly, evidence.refused
    result = []
    if policy.max_share is not None:
        bound = min(policy.max_share + policy.tolerance, _LARGEST_BOUND)
        own = without_stable(possibly.pairs[possibly.step :])
        effects = clustering.bounded(clustering.of_shares(possibly.pairs[possibly.step :]))
        result.append(below(own, bound, effects, evidence.circumstances.alpha_pass))
    if policy.max_increase is not None:
        result.append(_not_above(evidence, possibly, policy.max_increase))
    if policy.max_refused_increase is not None and refused is not None and (evidence.serves or refused.baseline):
        result.append(_not_above(evidence, refused, policy.max_refused_increase))
    return tuple(result)


def _not_above(evidence: _Evidence, compared: _Compared, increase: float) -> Shortfall:
    """Pairs and clustering are those of the step: an incident in an earlier one holds up that one alone."""
    pairs = compared.pairs[compared.step :]
    effects = clustering.bounded(_against_stable(pairs, clustering.of_shares(pairs)))
    bound = min(increase + evidence.policy.tolerance, _LARGEST_BOUND)
    alpha = evidence.circumstances.alpha_pass
    if compared.baseline is None:
        return below(pairs, bound, effects, alpha)
    reached = min(lower_bound(compared.baseline, alpha * _BASELINE_SHARE) + bound, _LARGEST_BOUND)
    alone = Alone(reached, max(compared.stopped - compared.step, 0))
    return below(pairs, bound, effects, alpha * (1 - _BASELINE_SHARE), alone)


def _success(evidence: _Evidence, shortfalls: Sequence[Shortfall]) -> Verdict:
    """What is said of a candidate that does not fail."""
    policy, step = evidence.policy, evidence.step
    if policy.max_increase is not None and not evidence.comparable:
        return Missing(
            MissingReason.NOT_COMPARABLE, "Candidate and stable serve different users: an increase means nothing."
        )
    if policy.max_increase is not None and not evidence.serves and evidence.possibly.baseline is None:
        return Missing(
            MissingReason.NO_BASELINE, "An increase over stable is to be judged, and stable has not served anything."
        )
    if _stable_breaks_limit(evidence):
        return Undecided(UndecidedReason.STABLE_BREAKS_LIMIT)
    if step.total <= 0 or not shortfalls or not all(shortfall.suffices for shortfall in shortfalls):
        return Undecided(UndecidedReason.NOT_ENOUGH_EVIDENCE)
    if step.total < policy.min_samples:
        return Undecided(UndecidedReason.TOO_FEW_SAMPLES)
    return Pass()


def _stable_breaks_limit(evidence: _Evidence) -> bool:
    """Whether stable is above the absolute limit in this step, shown and still so on average."""
    limit, surely = evidence.policy.max_share, evidence.surely
    share = surely.beside.share
    if limit is None or share is None or share <= limit:
        return False
    counts = (pair.stable for pair in surely.pairs[surely.step :] if pair.stable.total > 0)
    return above_limit(counts, limit).peak >= _STABLE_BREAKS


def _needed(evidence: _Evidence, shortfalls: Sequence[Shortfall]) -> int | None:
    more = [shortfall.needed for shortfall in shortfalls]
    if not more or any(each is None for each in more):
        return None
    too_few = math.ceil(max(evidence.policy.min_samples - evidence.step.total, 0.0))
    return max(too_few, *(each for each in more if each is not None))


def _comparison(evidence: _Evidence) -> Comparison:
    if evidence.policy.compares and evidence.possibly.baseline is not None:
        return Comparison.BEFORE_AFTER
    return Comparison.CONCURRENT if evidence.serves else Comparison.NONE


def _report(evidence: _Evidence, verdict: Verdict, needed: int | None) -> MetricVerdict:
    policy, comparison = evidence.policy, _comparison(evidence)
    refuses = verdict == Fail(FailReason.REFUSES_MORE) and evidence.refused is not None
    compared = evidence.refused if refuses and evidence.refused else evidence.possibly
    counts = sum_of(pair.candidate for pair in compared.pairs)
    stable = sum_of(pair.stable for pair in compared.pairs) if evidence.serves else None
    if comparison is Comparison.BEFORE_AFTER:
        stable = compared.baseline
    lower, upper = always_valid_interval(counts, _DISPLAY_ALPHA, compared.in_time[-1])
    if isinstance(verdict, Fail | Pass):
        needed = 0 if isinstance(verdict, Pass) else None
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
            step=evidence.step,
            stable=stable,
            needed=needed,
            comparison=comparison,
        ),
        comparison=comparison,
    )


def _without_counts(policy: SharePolicy, verdict: Missing | Undecided) -> MetricVerdict:
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
