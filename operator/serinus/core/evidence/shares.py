"""The verdict on a countable metric: from raw counters to a verdict with its numbers and its sentence.

Made by `serinus.core.evidence.judge`. Reads the counters, says why they can't be judged where they can't, and reports
what `serinus.core.evidence.decision` decides on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.coverage import uncovered
from serinus.core.evidence.decision import ShareEvidence
from serinus.core.evidence.intervals import Interval, Tallying
from serinus.core.evidence.policy import ShareKind, SharePolicy
from serinus.core.evidence.reporting import reported, without_counts
from serinus.core.evidence.sliced import SlicedEvidence, evidence_of
from serinus.core.evidence.slices import knows_no_slices, pooled
from serinus.core.readings import Counters, Grid, Missing, MissingReason, Part, PodStart
from serinus.core.verdicts import MetricVerdict, Undecided, UndecidedReason

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
        comparable = True
        if isinstance(stable, Missing):
            if stable.reason is not MissingReason.NOT_COMPARABLE:
                return without_counts(self._policy, stable)
            comparable, stable = False, None
        evidence = self._gather(candidate, stable, circumstances)
        if isinstance(evidence, Missing):
            return without_counts(self._policy, evidence)
        if isinstance(evidence, SlicedEvidence):
            return evidence.judged(circumstances, comparable=comparable)
        decision = evidence.decide(circumstances.baseline, comparable=comparable)
        if isinstance(decision.verdict, Undecided) and decision.verdict.reason is UndecidedReason.NO_TRAFFIC:
            return without_counts(self._policy, decision.verdict)
        told = reported(self._policy, circumstances, evidence, decision)
        return replace(told, message=told.message + _undivided(self._policy))

    def _gather(
        self, candidate: Counters, stable: Counters | None, circumstances: Circumstances
    ) -> ShareEvidence | SlicedEvidence | Missing:
        gap = _gap(self._policy, candidate, stable, circumstances)
        if gap is not None:
            return gap
        undivided = knows_no_slices(candidate) or (stable is not None and knows_no_slices(stable))
        if self._policy.slices is not None and self._policy.slices.values:
            candidate, stable = pooled(candidate, self._policy.slices), stable and pooled(stable, self._policy.slices)
        seen, self._seen = self._seen, None
        if seen is not None and seen.undivided != undivided:
            seen = None
        unread = None if seen is None else seen.read(candidate, stable, circumstances)
        if seen is None or isinstance(unread, _NotContinued):
            seen = _Seen(self._policy, candidate.grid, stable is not None, circumstances, undivided=undivided)
            unread = seen.read_all(candidate, stable, circumstances)
        if isinstance(unread, Missing):
            return unread
        self._seen = seen if seen.can_be_continued else None
        return seen.evidence


@dataclass(frozen=True, slots=True)
class _NotContinued:
    """A reading that is not the earlier ones with more samples, or whose newest counters don't add up by themselves."""


class _Seen:
    """What the readings so far have shown."""

    def __init__(
        self, policy: SharePolicy, grid: Grid, beside: bool, circumstances: Circumstances, *, undivided: bool
    ) -> None:
        latency = policy.kind is ShareKind.LATENCY
        self._own = Tallying(latency=latency, absent_bad=policy.absent_bad)
        self._other = Tallying(latency=latency, absent_bad=policy.absent_bad)
        self._key = grid, beside, circumstances.alpha_fail, circumstances.alpha_pass
        self._step_point = _step_point(circumstances, grid)
        self.undivided = undivided
        """Whether a gateway counts too, which does not tell slices apart."""
        alphas = circumstances.alpha_fail, circumstances.alpha_pass
        self.evidence = evidence_of(policy, *alphas, undivided=undivided)
        """All intervals."""

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
            self.evidence.begin_step()
        served = {interval.point: interval for interval in own}
        beside = {interval.point: interval for interval in other}
        for point in sorted(served.keys() | beside.keys()):
            self.evidence.add(served.get(point), beside.get(point), in_step=point >= step_point)

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


def _undivided(policy: SharePolicy) -> str:
    """What is said beside a verdict where slices were asked for, and no value has enough requests for one."""
    return "" if policy.slices is None else f"; too few requests to judge any {policy.slices.label} by itself"
