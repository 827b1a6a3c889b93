"""The verdict on a countable metric: which tests are made, on which intervals, and what they say together.

Made by `serinus.core.evidence.judge`. The rules:

- Fail of an absolute limit needs *above the limit* and *above stable*, each e-value at 1/alpha, wherever stable serves;
  and while stable seems to break the limit itself, above both in the same interval.
- Fail of an increase needs *above stable by more than the allowed increase*.
- Fail evidence runs from the start of the evidence over all steps, Pass evidence from the start of the step.
- Pass needs, for every limit, the proof of *below limit + tolerance*, and `minSamples`. There is no other road to it.
- While stable itself breaks the absolute limit nothing passes.
- Where stable serves nothing, absolute limits stand alone and increases are compared with stable's share from before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.comparison import Comparison, Limits
from serinus.core.evidence.confidence import always_valid_interval
from serinus.core.evidence.coverage import uncovered
from serinus.core.evidence.increase import Shortfall
from serinus.core.evidence.intervals import Interval, Tallying
from serinus.core.evidence.pairs import Severity
from serinus.core.evidence.policy import ShareKind, SharePolicy, limit_text
from serinus.core.evidence.wording import share_message
from serinus.core.readings import Counters, Grid, Missing, MissingReason, Part, PodStart
from serinus.core.verdicts import (
    Comparison as ComparedWith,
)
from serinus.core.verdicts import (
    Counts,
    Fail,
    FailReason,
    MetricVerdict,
    Pass,
    Undecided,
    UndecidedReason,
    Verdict,
)

_NO_COUNTERS = Counters((), Grid(0.0, 1.0))


class ShareJudge:
    """Judges one countable metric of one rollout again and again (see the module for the rules).

    It remembers what earlier readings showed, and looks only at what is new in the next one. That is all it remembers
    them for: what a fresh one says is the same bit by bit. Where a reading is not an earlier one with more samples
    (the grid, a limit, the step or Prometheus' own past has changed) it starts anew by itself.
    """

    def __init__(self, policy: SharePolicy) -> None:
        self._policy = policy
        self._seen: _Seen | None = None

    def judge(
        self, candidate: Counters, stable: Counters | Missing | None, circumstances: Circumstances
    ) -> MetricVerdict:
        """The verdict now.

        Args:
            candidate: raw counters since the evidence began.
            stable: the same of the stable revision; Missing(NotComparable) where it serves other users; None where it
                serves nothing.
            circumstances: pods, times and error bounds.

        """
        gathered = self._gather(candidate, stable, circumstances)
        if isinstance(gathered, Missing):
            return _without_counts(self._policy, gathered)
        if gathered.possibly.candidate.total <= 0:
            return _without_counts(self._policy, Undecided(UndecidedReason.NO_TRAFFIC))
        failure = _failure(gathered)
        shortfalls = _shortfalls(gathered)
        verdict = failure or _success(gathered, shortfalls)
        return _report(gathered, verdict, _needed(gathered, shortfalls))

    def _gather(
        self, candidate: Counters, stable: Counters | Missing | None, circumstances: Circumstances
    ) -> _Evidence | Missing:
        comparable = True
        if isinstance(stable, Missing):
            if stable.reason is not MissingReason.NOT_COMPARABLE:
                return stable
            comparable, stable = False, None
        gap = _gap(self._policy, candidate, stable, circumstances)
        if gap is not None:
            return gap
        seen, self._seen = self._seen, None
        unread = None if seen is None else seen.read(candidate, stable, circumstances)
        if seen is None or isinstance(unread, _NotContinued):
            seen = _Seen(self._policy, candidate.grid, stable is not None, circumstances)
            unread = seen.read_all(candidate, stable, circumstances)
        if isinstance(unread, Missing):
            return unread
        self._seen = seen if seen.can_be_continued else None
        return _Evidence(self._policy, circumstances, seen, comparable)


@dataclass(frozen=True, slots=True)
class _NotContinued:
    """A reading that is not the earlier ones with more samples, or whose newest counters don't add up by themselves."""


class _Seen:
    """What the readings so far have shown."""

    def __init__(self, policy: SharePolicy, grid: Grid, beside: bool, circumstances: Circumstances) -> None:
        latency = policy.kind is ShareKind.LATENCY
        self._own = Tallying(latency=latency, absent_bad=policy.absent_bad)
        self._other = Tallying(latency=latency, absent_bad=policy.absent_bad)
        self._key = grid, beside, circumstances.alpha_fail, circumstances.alpha_pass
        self._step_point = _step_point(circumstances, grid)
        limits = Limits(policy.max_share, policy.max_increase, policy.tolerance)
        none = Limits(None, None, policy.tolerance)
        self.serves = False
        """Whether stable has served, and can be compared, since the evidence began."""

        def compared(severity: Severity, failing: Limits, passing: Limits) -> Comparison:
            alphas = {"alpha_fail": circumstances.alpha_fail, "alpha_pass": circumstances.alpha_pass}
            return Comparison(severity, failing, passing, **alphas)

        self.possibly = compared(Severity.POSSIBLY_BAD, none if latency else limits, limits)
        self.surely = compared(Severity.SURELY_BAD, limits, none) if latency else self.possibly
        refusing = Limits(None, policy.max_refused_increase, policy.tolerance)
        self.refused: Comparison | None = None
        """None where 4xx answers are not compared."""
        if policy.max_refused_increase is not None:
            self.refused = compared(Severity.REFUSED, refusing, refusing)
        self._comparisons = tuple(
            {id(each): each for each in (self.surely, self.possibly, self.refused) if each}.values()
        )

    def read(
        self, candidate: Counters, stable: Counters | None, circumstances: Circumstances
    ) -> Missing | _NotContinued | None:
        """Take in what is new since the earlier readings; or why that can't be, and then it is of no further use."""
        key = candidate.grid, stable is not None, circumstances.alpha_fail, circumstances.alpha_pass
        until = max(self._own.until, self._other.until)
        step_point = _step_point(circumstances, candidate.grid)
        if key != self._key or not (step_point == self._step_point or step_point > until):
            return _NotContinued()
        matched = self._own.continuation(candidate, circumstances.candidate_pods, until)
        beside = self._other.continuation(stable or _NO_COUNTERS, circumstances.stable_pods, until)
        if matched is None or beside is None:
            return _NotContinued()
        own = self._own.read(candidate, matched) if matched else ()
        other = self._other.read(stable, beside) if stable and beside else ()
        if isinstance(own, Missing) or isinstance(other, Missing) or not self.can_be_continued:
            return _NotContinued()
        self._take_in(own, other, step_point)
        return None

    def read_all(self, candidate: Counters, stable: Counters | None, circumstances: Circumstances) -> Missing | None:
        """Take in the first reading; the reason why nothing can be said where there is one."""
        own = _all_of(self._own, candidate, circumstances.candidate_pods)
        if isinstance(own, Missing):
            return own
        other = _all_of(self._other, stable or _NO_COUNTERS, circumstances.stable_pods)
        if isinstance(other, Missing):
            return other
        self._take_in(own, other, self._step_point)
        return None

    def _take_in(self, own: Iterable[Interval], other: Iterable[Interval], step_point: int) -> None:
        if step_point != self._step_point:
            self._step_point = step_point
            for comparison in self._comparisons:
                comparison.begin_step()
        served = {interval.point: interval for interval in own}
        beside = {interval.point: interval for interval in other}
        self.serves = self.serves or bool(beside)
        for point in sorted(served.keys() | beside.keys()):
            for comparison in self._comparisons:
                comparison.add(served.get(point), beside.get(point), in_step=point >= step_point)

    @property
    def can_be_continued(self) -> bool:
        """Whether the next reading can be taken in by itself."""
        return self._own.is_settled and self._other.is_settled


def _all_of(tallying: Tallying, counters: Counters, pods: Iterable[PodStart]) -> tuple[Interval, ...] | Missing:
    if not _has_samples(counters):
        return ()
    found = tallying.read(counters, tallying.beginning(counters, pods))
    return found if isinstance(found, Missing) else tallying.settled(found)


def _step_point(circumstances: Circumstances, grid: Grid) -> int:
    """The first grid point whose interval lies in the step as a whole."""
    return math.ceil((circumstances.step_started_at - grid.anchor) / grid.step_seconds - 1e-6) + 1


def _gap(
    policy: SharePolicy, candidate: Counters, stable: Counters | None, circumstances: Circumstances
) -> Missing | None:
    """Why the counters can't be judged."""
    gap = uncovered(
        candidate,
        circumstances.candidate_pods,
        stable,
        circumstances.stable_pods,
        now=circumstances.now,
        stale_after_seconds=circumstances.stale_after_seconds,
    )
    if gap is not None and gap.reason is MissingReason.CANDIDATE_SILENT and policy.kind is not ShareKind.ERRORS:
        return _not_held_against(gap, candidate)
    return gap


def _not_held_against(silent: Missing, candidate: Counters) -> Missing | None:
    """What silence is where it may be a lack of requests.

    BentoML counts requests from zero on; its histogram and users' own counters appear with their first event.
    """
    return replace(silent, reason=MissingReason.NOT_COVERED) if _has_samples(candidate) else None


def _has_samples(counters: Counters) -> bool:
    return any(series.part is Part.TOTAL and series.samples for series in counters.series)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """All that one verdict rests on."""

    policy: SharePolicy
    circumstances: Circumstances
    seen: _Seen
    comparable: bool
    """False where stable serves other users, so that its share means nothing for the candidate."""

    @property
    def possibly(self) -> Comparison:
        """With all that is not shown to be good counted as bad."""
        return self.seen.possibly

    @property
    def serves(self) -> bool:
        """Whether stable has served, and can be compared, since the evidence began."""
        return self.seen.serves

    @property
    def baseline(self) -> Counts | None:
        """Stable's counts from before it stopped or before the switch; None while it serves."""
        return self.possibly.baseline(self.circumstances.baseline)


def _failure(evidence: _Evidence) -> Fail | None:
    seen, alpha = evidence.seen, evidence.circumstances.alpha_fail
    if seen.surely.failing.is_above_stable(alpha, seen.surely.baseline(evidence.circumstances.baseline)):
        return Fail(FailReason.ABOVE_STABLE)
    if seen.surely.failing.is_above_limit(alpha, beside_stable=seen.serves):
        return Fail(FailReason.ABOVE_LIMIT)
    if seen.refused is not None and seen.refused.failing.is_above_stable(alpha, seen.refused.baseline(None)):
        return Fail(FailReason.REFUSES_MORE)
    return None


def _shortfalls(evidence: _Evidence) -> tuple[Shortfall, ...]:
    """One per limit that can be judged: how far it is from being shown to be kept, on the intervals of the step."""
    possibly, refused = evidence.possibly, evidence.seen.refused
    found = [possibly.passing.below_limit(), possibly.passing.below_increase(evidence.baseline)]
    if refused is not None and (evidence.serves or refused.baseline(None)):
        found.append(refused.passing.below_increase(refused.baseline(None)))
    return tuple(each for each in found if each is not None)


def _success(evidence: _Evidence, shortfalls: Sequence[Shortfall]) -> Verdict:
    """What is said of a candidate that does not fail."""
    policy, step = evidence.policy, evidence.possibly.in_step
    if policy.max_increase is not None and not evidence.comparable:
        return Missing(
            MissingReason.NOT_COMPARABLE, "Candidate and stable serve different users: an increase means nothing."
        )
    if policy.max_increase is not None and not evidence.serves and evidence.baseline is None:
        return Missing(
            MissingReason.NO_BASELINE, "An increase over stable is to be judged, and stable has not served anything."
        )
    if evidence.seen.surely.stable_breaks_limit:
        return Undecided(UndecidedReason.STABLE_BREAKS_LIMIT)
    if step.total <= 0 or not shortfalls or not all(shortfall.suffices for shortfall in shortfalls):
        return Undecided(UndecidedReason.NOT_ENOUGH_EVIDENCE)
    if step.total < policy.min_samples:
        return Undecided(UndecidedReason.TOO_FEW_SAMPLES)
    return Pass()


def _needed(evidence: _Evidence, shortfalls: Sequence[Shortfall]) -> int | None:
    more = [shortfall.needed for shortfall in shortfalls]
    if not more or any(each is None for each in more):
        return None
    too_few = math.ceil(max(evidence.policy.min_samples - evidence.possibly.in_step.total, 0.0))
    return max(too_few, *(each for each in more if each is not None))


def _compared_with(evidence: _Evidence) -> ComparedWith:
    if evidence.policy.compares and evidence.baseline is not None:
        return ComparedWith.BEFORE_AFTER
    return ComparedWith.CONCURRENT if evidence.serves else ComparedWith.NONE


def _report(evidence: _Evidence, verdict: Verdict, needed: int | None) -> MetricVerdict:
    policy, at, comparison = evidence.policy, evidence.circumstances, _compared_with(evidence)
    refused = evidence.seen.refused if verdict == Fail(FailReason.REFUSES_MORE) else None
    compared = refused or evidence.possibly
    counts = compared.candidate
    stable = compared.beside if evidence.serves else None
    if comparison is ComparedWith.BEFORE_AFTER:
        stable = evidence.baseline if refused is None else refused.baseline(None)
    lower, upper = always_valid_interval(counts, at.alpha_fail, at.alpha_pass, compared.clustering_in_time)
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
            step=evidence.possibly.in_step,
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
            policy, verdict, counts=nothing, step=nothing, stable=None, needed=None, comparison=ComparedWith.NONE
        ),
    )
