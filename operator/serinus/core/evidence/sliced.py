"""The verdict on a metric that is judged in slices (`perSlice`): all requests together, and each slice by itself.

Made by `serinus.core.evidence.shares`. The rules, beside those of `serinus.core.evidence.decision`, which hold for all
requests together and for each slice:

- The slices are fixed before the evidence counts (`serinus.core.evidence.slices`); all other values are the rest.
- Fail: all requests together fail, or any slice does. They share the metric's chance of a false Fail (Bonferroni: half
  of it is for all together, as that is where most candidates fail; the slices have equal parts of the other half).
- Pass: all requests together pass, and so does each slice that decides. Each bounds the chance of a false Pass by
  itself, as all of them have to pass (an intersection-union test; Berger, Technometrics 1982): no correction is needed.
- A slice with a value decides unless its traffic has gone: in this step, its share of stable's requests (of the
  candidate's where stable is not compared) has fallen below half of what a slice needs. The rest decides while it has
  as much, of either revision. What does not decide is judged as a part of all requests, and the verdict says so. This
  depends on how many requests there were and never on how many were bad.
- All together are compared slice by slice (Simpson's paradox: a candidate that gets more of a difficult slice than
  stable is not worse for that). Not in an interval in which the candidate serves what stable never had: a label that it
  fills in otherwise would hide its failures. Nor where a gateway counts too, which knows no slices.
- In a thin slice stable often has no request beside the candidate's by chance: then nothing is concluded from these, as
  nobody knows whether an incident hit both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.comparison import Comparison
from serinus.core.evidence.decision import Decision, ShareEvidence
from serinus.core.evidence.intervals import Interval
from serinus.core.evidence.policy import WHOLE_PART, SharePolicy, Slices, alpha_of_slice
from serinus.core.evidence.reporting import needed_requests, reported, without_counts
from serinus.core.evidence.slices import by_endpoint, by_slice
from serinus.core.readings import Missing
from serinus.core.verdicts import (
    Counts,
    Fail,
    MetricVerdict,
    Pass,
    SliceVerdict,
    Undecided,
    UndecidedReason,
)

_TELLING = 40.0
"""Requests that a slice should have had by now; before, nothing is said of its having gone."""
_GONE = 0.5
"""Part of the least share of a slice below which it has gone."""


@dataclass(frozen=True, slots=True)
class _Slice:
    """One slice at a look."""

    at: int
    evidence: ShareEvidence
    decision: Decision
    decides: bool
    needed: float
    """About how many more requests of all slices make it pass; infinite where it would not, or nobody knows."""


class SlicedEvidence:
    """The intervals of a countable metric of both revisions, all together and by slices.

    Args:
        policy: the limits, with the slices.
        slices: those of the policy.
        alpha_fail: chance of a false Fail for each tested limit.
        alpha_pass: chance of a false Pass.
        undivided: whether all requests together can't be compared slice by slice.

    """

    def __init__(
        self, policy: SharePolicy, slices: Slices, alpha_fail: float, alpha_pass: float, *, undivided: bool
    ) -> None:
        self._slices, self._undivided = slices, undivided
        self._known: set[str] = set()
        self._whole_policy = replace(policy, slices=None)
        self._policies = tuple(
            replace(policy, slices=None, min_samples=1, name=f"{policy.name}[{slices.name(at)}]")
            for at in range(slices.count)
        )
        self._alpha_whole, self._alpha = alpha_fail * WHOLE_PART, alpha_of_slice(alpha_fail, slices)
        self._whole = ShareEvidence(self._whole_policy, self._alpha_whole, alpha_pass, thin=not undivided)
        self._each = [ShareEvidence(each, self._alpha, alpha_pass, thin=True) for each in self._policies]

    @property
    def possibly(self) -> Comparison:
        """All requests together, with all that is not shown to be good counted as bad."""
        return self._whole.possibly

    def begin_step(self) -> None:
        """What is added from now on belongs to a new step."""
        for evidence in (self._whole, *self._each):
            evidence.begin_step()

    def add(self, candidate: Interval | None, stable: Interval | None, *, in_step: bool = True) -> None:
        """One more interval, of the present step or before it: what either revision served, None for nothing."""
        own, other = (by_slice(each) if each is not None else {} for each in (candidate, stable))
        elsewhere = Interval(stable.point, {}) if stable is not None else None
        for at in sorted(own.keys() | other.keys()):
            self._each[at].add(own.get(at), other.get(at, elsewhere), in_step=in_step)
        if stable is not None:
            self._known.update(stable.strata)
        if self._undivided or (candidate is not None and not candidate.strata.keys() <= self._known):
            candidate, stable = (each and by_endpoint(each, self._slices) for each in (candidate, stable))
        self._whole.add(candidate, stable, in_step=in_step)

    def decide(self) -> Decision:
        """The decision on all together and the slices, for whoever needs no more of it than the verdict."""
        whole = self._whole.decide()
        return replace(whole, verdict=_together(whole, self._looked_at((), comparable=True)))

    def judged(self, at: Circumstances, *, comparable: bool) -> MetricVerdict:
        """The verdict now, with the numbers of all requests and those of each slice."""
        whole = self._whole.decide(at.baseline, comparable=comparable)
        if isinstance(whole.verdict, Undecided) and whole.verdict.reason is UndecidedReason.NO_TRAFFIC:
            return without_counts(self._whole_policy, whole.verdict)
        seen = self._looked_at(at.slice_baselines, comparable=comparable)
        told = reported(self._whole_policy, replace(at, alpha_fail=self._alpha_whole), self._whole, whole)
        verdict = _together(whole, seen)
        worst = _worst_first(seen)
        failed = isinstance(verdict, Fail) and not isinstance(whole.verdict, Fail)
        longer = isinstance(whole.verdict, Pass) or worst[0].needed > _needed(told.needed)
        waits = isinstance(verdict, Undecided) and worst[0].decides and longer
        message = self._report(worst[0], at).message if failed or waits else told.message
        needed = told.needed if isinstance(verdict, Fail | Missing) else self._needed(told.needed, seen)
        return replace(
            told,
            verdict=verdict,
            needed=None if failed else needed,
            message=message + self._beside(verdict, seen),
            slices=tuple(self._slice_verdict(each, at) for each in worst),
        )

    def _looked_at(self, baselines: Sequence[Counts | None], *, comparable: bool) -> list[_Slice]:
        result = []
        for at, (policy, evidence) in enumerate(zip(self._policies, self._each, strict=True)):
            decision = evidence.decide(baselines[at] if at < len(baselines) else None, comparable=comparable)
            if isinstance(decision.verdict, Missing):  # all together say so, where it is not for want of requests
                decision = replace(decision, verdict=Undecided(UndecidedReason.NOT_ENOUGH_EVIDENCE))
            needed = _needed(needed_requests(policy, evidence, decision)) * self._requests_for_one_of(evidence)
            result.append(_Slice(at, evidence, decision, self._decides(at), needed))
        return result

    def _decides(self, at: int) -> bool:
        """Whether a Pass needs that of a slice, by the requests of this step."""
        own, stable = self._each[at].possibly.in_step.total, self._each[at].possibly.stable_in_step.total
        all_own, all_stable = self._whole.possibly.in_step.total, self._whole.possibly.stable_in_step.total
        least = self._slices.least_share
        if at == len(self._slices.values):
            return own > least * all_own or stable > least * all_stable
        there, of_all = (stable, all_stable) if all_stable > 0 else (own, all_own)
        return least * of_all < _TELLING or there >= _GONE * least * of_all

    def _requests_for_one_of(self, evidence: ShareEvidence) -> float:
        """Requests of the candidate in this step for each of a slice's; as of stable where it has none yet."""
        for all_of, of_slice in (
            (self._whole.possibly.in_step, evidence.possibly.in_step),
            (self._whole.possibly.stable_in_step, evidence.possibly.stable_in_step),
        ):
            if of_slice.total > 0:
                return all_of.total / of_slice.total
        return math.inf

    @staticmethod
    def _needed(whole: int | None, seen: Sequence[_Slice]) -> int | None:
        most = max([_needed(whole), *(each.needed for each in seen if each.decides)])
        return math.ceil(most) if math.isfinite(most) else None

    def _report(self, each: _Slice, at: Circumstances) -> MetricVerdict:
        own = replace(at, alpha_fail=self._alpha, baseline=self._baseline(each.at, at))
        if each.decision.verdict == Undecided(UndecidedReason.NO_TRAFFIC):
            return without_counts(self._policies[each.at], Undecided(UndecidedReason.NO_TRAFFIC))
        return reported(self._policies[each.at], own, each.evidence, each.decision)

    @staticmethod
    def _baseline(slice_at: int, at: Circumstances) -> Counts | None:
        return at.slice_baselines[slice_at] if slice_at < len(at.slice_baselines) else None

    def _slice_verdict(self, each: _Slice, at: Circumstances) -> SliceVerdict:
        told = self._report(each, at)
        return SliceVerdict(
            value=None if each.at == len(self._slices.values) else self._slices.values[each.at],
            verdict=each.decision.verdict,
            decides=each.decides,
            candidate=each.evidence.possibly.candidate,
            stable=told.stable,
            lower=told.lower,
            upper=told.upper,
        )

    def _beside(self, verdict: object, seen: Sequence[_Slice]) -> str:
        """Which slices had their say, as far as it matters to the verdict."""
        if isinstance(verdict, Fail):
            failing = [self._slices.name(each.at) for each in seen if isinstance(each.decision.verdict, Fail)]
            return f"; failing by themselves: {_few(failing)}" if failing else ""
        if isinstance(verdict, Missing):
            return ""
        named = [each for each in seen if each.evidence.possibly.candidate.total or each.at < len(self._slices.values)]
        deciding = [each for each in named if each.decides]
        passed = sum(isinstance(each.decision.verdict, Pass) for each in deciding)
        thin = [self._slices.name(each.at) for each in named if not each.decides]
        said = f"; {passed} of {len(deciding)} slices by {self._slices.label} passed by themselves"
        return said + (f", too thin for that: {_few(thin)}" if thin else "")


def evidence_of(
    policy: SharePolicy, alpha_fail: float, alpha_pass: float, *, undivided: bool = False
) -> ShareEvidence | SlicedEvidence:
    """Nothing yet, of a metric that is judged in slices or not. See `SlicedEvidence` for what is given."""
    if policy.slices is None or not policy.slices.values:
        return ShareEvidence(policy, alpha_fail, alpha_pass)
    return SlicedEvidence(policy, policy.slices, alpha_fail, alpha_pass, undivided=undivided)


def _together(whole: Decision, seen: Sequence[_Slice]) -> Fail | Pass | Undecided | Missing:
    failed = next((each.decision.verdict for each in _worst_first(seen)), None)
    if isinstance(whole.verdict, Fail):
        return whole.verdict
    if isinstance(failed, Fail):
        return failed
    if not isinstance(whole.verdict, Pass):
        return whole.verdict
    waiting = [each.decision.verdict for each in _worst_first(seen) if each.decides]
    return next((each for each in waiting if isinstance(each, Undecided)), whole.verdict)


def _worst_first(seen: Sequence[_Slice]) -> list[_Slice]:
    """Those that fail, those that are waited for the longest, and the others by their share of bad requests."""

    def badness(each: _Slice) -> tuple[bool, bool, float, float]:
        waits = each.decides and not isinstance(each.decision.verdict, Pass)
        share = each.evidence.possibly.candidate.share
        fails = isinstance(each.decision.verdict, Fail)
        return not fails, not waits, -each.needed if waits and not fails else 0.0, -(share or 0.0)

    return sorted(seen, key=badness)


def _needed(requests: int | None) -> float:
    return math.inf if requests is None else float(requests)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
