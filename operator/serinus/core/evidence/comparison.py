"""Candidate beside stable by one meaning of bad: all tests of a countable metric, as its intervals come in.

Filled and asked by `serinus.core.evidence.decision`. What it holds is a function of the intervals alone: whether they
come in one by one or all at once makes no difference, not by a bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from serinus.core.evidence.betting import AboveLimit
from serinus.core.evidence.clustering import ComparisonClustering, bounded
from serinus.core.evidence.confidence import lower_bound, upper_bound
from serinus.core.evidence.increase import AboveStable, BelowBound, Shortfall, factors_above_stable
from serinus.core.evidence.intervals import Interval
from serinus.core.evidence.pairs import Pair, Severity, counts_of, pair_of, without_stable
from serinus.core.evidence.pairs import pair as pair_from
from serinus.core.verdicts import Counts

_BASELINE_SHARE = 0.1
"""Share of an error bound that is spent on not knowing the baseline exactly; the rest is for the test."""

_STABLE_BREAKS = math.log(20)
"""Evidence at which stable counts as breaking the limit: a false alarm only delays."""

_SILENT_INTERVALS = 3
"""Intervals in a row in which the candidate is served and stable is not, after which stable counts as stopped."""

_LARGEST_BOUND = 0.99


class _Fold(Protocol):
    def add(self, pair: Pair, before: float, after: float, alone: float | None = None) -> None: ...

    def copy(self) -> Self: ...


Test = TypeVar("Test", bound=_Fold)


class _BesideAndAfter(Generic[Test]):
    """A test that goes on where stable has stopped, against a share that stable's counts from before set."""

    __slots__ = ("_alone", "_alone_share", "_alone_upto", "_before_stop", "_since_stop", "beside")

    def __init__(self, test: Test) -> None:
        self.beside = test
        """The test on intervals in which stable serves."""
        self._before_stop = test
        self._since_stop: list[tuple[Pair, float, float]] = []
        self._alone: Test | None = None
        self._alone_share = 0.0
        self._alone_upto = 0

    def add(self, pair: Pair, before: float, after: float, *, serves: bool) -> None:
        """One more interval, with the design effects before and with it; whether stable serves at all in it."""
        if serves:
            if self._since_stop:
                self._since_stop, self._alone = [], None
        else:
            if not self._since_stop:
                self._before_stop = self.beside.copy()
            self._since_stop.append((pair, before, after))
        self.beside.add(pair, before, after)

    def after_stop(self, share: float) -> Test:
        """The test in which `share` is the harmless one (or the bound) since stable served for the last time."""
        if self._alone is None or self._alone_share != share:
            self._alone, self._alone_share, self._alone_upto = self._before_stop.copy(), share, 0
        for pair, before, after in self._since_stop[self._alone_upto :]:
            self._alone.add(pair, before, after, share)
        self._alone_upto = len(self._since_stop)
        return self._alone


@dataclass(slots=True)
class Sum:
    """Counts that grow."""

    bad: float = 0.0
    total: float = 0.0

    def add(self, counts: Counts) -> None:
        """Some more."""
        self.bad += counts.bad
        self.total += counts.total

    @property
    def counts(self) -> Counts:
        """All so far."""
        return Counts(self.bad, self.total)


@dataclass(frozen=True, slots=True)
class Limits:
    """Which limits are tested by this meaning of bad, each None where it is not; all shares, 0 to 1."""

    max_share: float | None
    max_increase: float | None
    tolerance: float

    @property
    def share_bound(self) -> float:
        """The share that must be shown not to be reached; with an absolute limit only."""
        return min((self.max_share or 0.0) + self.tolerance, _LARGEST_BOUND)

    @property
    def increase_bound(self) -> float:
        """The increase that must be shown not to be reached; with a limit of it only."""
        return min((self.max_increase or 0.0) + self.tolerance, _LARGEST_BOUND)


class FailTests:
    """The tests for Fail: on all intervals since the evidence began.

    A candidate keeps an absolute limit if, in each interval, its share is at most the limit or at most stable's: an
    incident of minutes that hits both is not held against one that is allowed to be slightly worse than stable. To
    reject "at most the limit" over all intervals and "at most stable's" over all would not show the contrary, as the
    incident does the one and the time around it the other. The product of the smaller e-value of each interval does:
    its expectation is at most 1 whichever of the two holds there. It is only taken where stable may be above the limit.
    """

    def __init__(self, limits: Limits, alpha: float) -> None:
        self._limits = limits
        self._above_limit = None if limits.max_share is None else AboveLimit(limits.max_share)
        self._above_stable = None if limits.max_share is None else AboveStable(0.0)
        self._increase = (
            None if limits.max_increase is None else _BesideAndAfter(AboveStable(limits.max_increase, alpha))
        )

    @property
    def weighs(self) -> bool:
        """Whether design effects make a difference."""
        return self._increase is not None

    def add(self, pair: Pair, before: float, after: float, *, telling: Pair, serves: bool) -> None:
        """One more interval.

        Args:
            pair: the interval.
            before: design effect of the intervals before this one.
            after: design effect with it.
            telling: the part of it in which the candidate can be compared, or held to the limit alone.
            serves: whether stable serves at all in it.

        """
        limit = self._limits.max_share
        if limit is not None and self._above_limit is not None and self._above_stable is not None:
            shared = telling is not pair or _may_break_limit(pair, limit)
            self._above_limit.add(
                pair.candidate, (lambda rises: factors_above_stable(telling, rises, limit)) if shared else None
            )
            self._above_stable.add(telling, 1.0, 1.0, limit)
        if self._increase is not None:
            self._increase.add(pair, before, after, serves=serves)

    def is_above_limit(self, alpha: float, *, beside_stable: bool) -> bool:
        """Whether the candidate is shown to be above the absolute limit, and above stable where stable serves."""
        threshold = math.log(1 / alpha)
        return (
            self._above_limit is not None
            and self._above_stable is not None
            and self._above_limit.evidence.peak >= threshold
            and (not beside_stable or self._above_stable.evidence.peak >= threshold)
        )

    def is_above_stable(self, alpha: float, baseline: Counts | None) -> bool:
        """Whether the candidate is shown to exceed stable's share by more than the allowed increase."""
        if self._increase is None or self._limits.max_increase is None:
            return False
        if baseline is None:
            return self._increase.beside.evidence.peak >= math.log(1 / alpha)
        highest = upper_bound(baseline, alpha * _BASELINE_SHARE)
        harmless = min(highest + self._limits.max_increase, _LARGEST_BOUND)
        peak = self._increase.after_stop(harmless).evidence.peak
        return peak >= math.log(1 / (alpha * (1 - _BASELINE_SHARE)))


def _may_break_limit(pair: Pair, limit: float) -> bool:
    """Whether stable may be above an absolute limit in an interval.

    Not if it served enough (at least as much as the candidate, and one bad request's worth of the limit), and few of it
    was bad: then the limit alone is tested, which takes fewer requests. The expectation of the e-value stays at most 1,
    as the other intervals make up for those in which stable only seems to keep the limit.
    """
    stable = pair.stable
    return 0 < stable.total < max(pair.candidate.total, 1 / limit) or stable.bad > limit * stable.total


class PassTests:
    """The tests for Pass: on the intervals of one step, with the clustering of that step.

    An incident in an earlier step holds up that one alone.
    """

    def __init__(self, limits: Limits, alpha: float) -> None:
        self._limits, self._alpha = limits, alpha
        self._clustering = ComparisonClustering()
        self._effect = self._effect_in_time = 1.0
        self._share = None if limits.max_share is None else BelowBound(limits.share_bound, alpha)
        self._increase = (
            None if limits.max_increase is None else _BesideAndAfter(BelowBound(limits.increase_bound, alpha))
        )

    def add(self, pair: Pair, *, serves: bool) -> None:
        """One more interval of the step; whether stable serves at all in it."""
        if self._share is None and self._increase is None:
            return
        before, before_in_time = self._effect, self._effect_in_time
        self._clustering.add(pair)
        if self._share is not None:
            self._effect_in_time = bounded(self._clustering.in_time)
            self._share.add(without_stable(pair), before_in_time, self._effect_in_time)
        if self._increase is not None:
            self._effect = bounded(self._clustering.factor)
            self._increase.add(pair, before, self._effect, serves=serves)

    def below_limit(self) -> Shortfall | None:
        """How far it is from being shown that the absolute limit is kept."""
        if self._share is None:
            return None
        return self._share.shortfall(self._alpha, self._effect_in_time)

    def below_increase(self, baseline: Counts | None) -> Shortfall | None:
        """How far it is from being shown that the allowed increase is kept."""
        if self._increase is None:
            return None
        if baseline is None:
            return self._increase.beside.shortfall(self._alpha, self._effect)
        lowest = lower_bound(baseline, self._alpha * _BASELINE_SHARE)
        bound = min(lowest + self._limits.increase_bound, _LARGEST_BOUND)
        return self._increase.after_stop(bound).shortfall(self._alpha * (1 - _BASELINE_SHARE), self._effect)


class _Step:
    """What belongs to the present step."""

    __slots__ = ("candidate", "passing", "stable", "stable_above_limit")

    def __init__(self, failing: Limits, passing: Limits, alpha: float) -> None:
        self.candidate, self.stable = Sum(), Sum()
        self.passing = PassTests(passing, alpha)
        self.stable_above_limit = None if failing.max_share is None else AboveLimit(failing.max_share)


class Comparison:
    """All intervals since the evidence began, and since the step began, by one meaning of bad.

    `failing` are the limits that are tested for Fail by this meaning, `passing` those for Pass. `thin`: strata are so
    thin that stable may have had no request in one by chance, though it serves; then nothing is concluded from the
    candidate's, as nobody knows whether an incident hit both. Where stable never served one, the limit stands alone.
    """

    def __init__(
        self,
        severity: Severity,
        failing: Limits,
        passing: Limits,
        *,
        alpha_fail: float,
        alpha_pass: float,
        thin: bool = False,
    ) -> None:
        self._severity, self._failing, self._passing, self._alpha_pass = severity, failing, passing, alpha_pass
        self._candidate, self._beside, self._stable = Sum(), Sum(), Sum()
        self._thin = thin
        self._known: set[str] = set()
        self._clustering = ComparisonClustering()
        self._intervals = self._last_served = 0
        self._step = _Step(failing, passing, alpha_pass)
        self.failing = FailTests(failing, alpha_fail)
        """The tests for Fail."""

    def begin_step(self) -> None:
        """What is added from now on belongs to a new step."""
        self._step = _Step(self._failing, self._passing, self._alpha_pass)

    def add(self, candidate: Interval | None, stable: Interval | None, *, in_step: bool) -> None:
        """One more interval, of the present step or before it: what either revision served, None for nothing.

        Of thin strata, an interval of stable without any says that it served elsewhere.
        """
        step = self._step if in_step else None
        if stable is not None:
            if self._thin:
                self._known.update(stable.strata)
            counts = counts_of(stable, self._severity)
            self._stable.add(counts)
            if step is not None:
                step.stable.add(counts)
        if candidate is not None:
            beside = self._thin and stable is not None
            self._compare(pair_of(candidate, stable, self._severity), step, serves_elsewhere=beside)

    def _compare(self, pair: Pair, step: _Step | None, *, serves_elsewhere: bool) -> None:
        before = self._clustering.steady(pair) if self.failing.weighs else 1.0
        self._clustering.add(pair)
        self._candidate.add(pair.candidate)
        self._beside.add(pair.stable)
        self._intervals += 1
        serves = serves_elsewhere or pair.stable.total > 0
        if serves:
            self._last_served = self._intervals
        after = max(before, self._clustering.with_newest(pair)) if self.failing.weighs else 1.0
        telling = self._without_chance(pair) if serves_elsewhere else pair
        self.failing.add(pair, before, after, telling=telling, serves=serves)
        if step is None:
            return
        step.candidate.add(pair.candidate)
        step.passing.add(pair, serves=serves)
        if step.stable_above_limit is not None and pair.stable.total > 0:
            step.stable_above_limit.add(pair.stable)

    def _without_chance(self, pair: Pair) -> Pair:
        """The interval without the strata in which stable has served before, and by chance not now."""
        cells = tuple(cell for cell in pair.cells if cell.stable_total > 0 or cell.stratum not in self._known)
        return pair if len(cells) == len(pair.cells) else pair_from(pair.point, cells)

    @property
    def candidate(self) -> Counts:
        """The candidate's counts since the evidence began."""
        return self._candidate.counts

    @property
    def beside(self) -> Counts:
        """Stable's in the same intervals and strata."""
        return self._beside.counts

    @property
    def in_step(self) -> Counts:
        """The candidate's counts since the step began."""
        return self._step.candidate.counts

    @property
    def stable_in_step(self) -> Counts:
        """All that stable has served since the step began."""
        return self._step.stable.counts

    @property
    def passing(self) -> PassTests:
        """The tests for Pass."""
        return self._step.passing

    @property
    def clustering_in_time(self) -> float:
        """Design effect of the candidate's failures."""
        return self._clustering.in_time

    @property
    def stable_breaks_limit(self) -> bool:
        """Whether stable is above the absolute limit in this step, shown and still so on average."""
        test, share, limit = self._step.stable_above_limit, self._step.stable.counts.share, self._failing.max_share
        if test is None or limit is None or share is None or share <= limit:
            return False
        return test.evidence.peak >= _STABLE_BREAKS

    def baseline(self, given: Counts | None) -> Counts | None:
        """Stable's counts to compare with where it serves nothing any more.

        None while it serves beside the candidate, and where there are none.

        Args:
            given: stable's counts from before the switch; None: what it served until it stopped is taken.

        """
        stopped = self._last_served == 0 or self._intervals - self._last_served >= _SILENT_INTERVALS
        counts = (given or self._stable.counts) if stopped and self._last_served < self._intervals else None
        return counts if counts is not None and counts.total > 0 else None
