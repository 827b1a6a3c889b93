"""How much failures cluster: by what factor counts say less than as many independent requests would.

Computed by `serinus.core.evidence.comparison`, used by `increase` to weaken the evidence of requests that fail
together. The factor (the *design effect*) is 1 when requests fail independently, about 10 when failures come ten at a
time, and 1 + (n−1)ρ for a correlation ρ inside intervals of n requests.

It is estimated as a ratio of two estimates of the same variance: from successive differences of a share,
Σ (Xₜ − Xₜ₋₁)² (von Neumann, "Distribution of the ratio of the mean square successive difference to the variance",
1941), and from the requests inside the intervals as if they were independent, Σ (vₜ + vₜ₋₁) with vₜ = x(1−x)/(n−1).
Successive differences, unlike those from the mean, hardly take a lasting change for clustering. It is never larger than
for ρ = 1, which is n, or 2nk/(n + k) for the difference of n and k requests: a candidate all of whose requests fail has
no variance inside its intervals, and would else be taken for one endless incident.

For a Fail a lasting change must not look like clustering at all: the largest difference of all is left out then, as the
step from good to bad that it may be, except from the weight of the interval in which it comes. And as clusters hide in
the few requests of a candidate, the correlation inside stable's intervals counts for both.

The limits of this: clustering that has not been seen can't be estimated. A candidate without a single failure looks
unclustered; only stable's failures can say otherwise.
"""

from __future__ import annotations

from serinus.core.evidence.pairs import Pair
from serinus.core.verdicts import Counts

_LONE_FAILURES = 2.0
"""Failures that are imagined to have come alone, so that the first real one is not taken for a pattern."""

_STRONGEST_FOR_PASS = 10.0
"""Failures that come ten at a time: stronger clustering than that is taken for an incident."""

_FEWEST = 2.0
"""Requests below which an interval says nothing about clustering."""


class _SuccessiveDifferences:
    """Running sums of the two variance estimates of one series of shares."""

    __slots__ = ("_expected", "_jump", "_jump_before", "_largest", "_last", "_squares")

    def __init__(self, first: tuple[float, float, float] | None) -> None:
        self._last = first
        self._squares = _LONE_FAILURES
        self._expected = _LONE_FAILURES
        self._largest = 1.0
        self._jump = self._jump_before = 0.0

    def add(self, share: float, variance: float, requests: float, most: float) -> None:
        """One more share, its variance if requests were independent, and the requests that it rests on.

        `most` is the design effect if all requests of the interval failed together or not at all: no factor is larger.
        """
        if self._last is not None:
            last_share, last_variance, last_requests = self._last
            size = 2 * requests * last_requests / (requests + last_requests) if last_requests else requests
            square = (size * (share - last_share)) ** 2
            self._jump_before, self._jump = self._jump, max(self._jump, square)
            self._squares += square
            self._expected += size * size * (variance + last_variance)
        self._last = (share, variance, requests)
        self._largest = max(self._largest, most)

    @property
    def factor(self) -> float:
        return self._effect(0.0)

    @property
    def steady(self) -> float:
        """The design effect as if the largest difference was a lasting change."""
        return self._effect(self._jump)

    @property
    def with_newest(self) -> float:
        """The same with the newest difference in full, whether it is the largest or not."""
        return self._effect(self._jump_before)

    def _effect(self, without: float) -> float:
        return max(1.0, min((self._squares - without) / self._expected, self._largest))


class DifferenceClustering:
    """Clustering of the differences between candidate and stable: 1 at first, never less.

    What both revisions share (an incident, the time of day) cancels in the differences and is not clustering here.
    The first difference counts as one from zero.
    """

    __slots__ = ("_by_stratum",)

    def __init__(self) -> None:
        self._by_stratum: dict[str, _SuccessiveDifferences] = {}

    @property
    def factor(self) -> float:
        """The design effect so far."""
        return max([each.factor for each in self._by_stratum.values()], default=1.0)

    @property
    def steady(self) -> float:
        """The same as if the largest difference of each stratum was a lasting change."""
        return max([each.steady for each in self._by_stratum.values()], default=1.0)

    @property
    def with_newest(self) -> float:
        """The same with the newest difference in full."""
        return max([each.with_newest for each in self._by_stratum.values()], default=1.0)

    def add(self, pair: Pair) -> None:
        """One more interval."""
        for stratum, total, bad, stable_total, stable_bad in pair.cells:
            if total < _FEWEST or stable_total < _FEWEST:
                continue
            share, stable_share = bad / total, stable_bad / stable_total
            variance = share * (1 - share) / (total - 1) + stable_share * (1 - stable_share) / (stable_total - 1)
            differences = self._by_stratum.get(stratum)
            if differences is None:
                differences = self._by_stratum[stratum] = _SuccessiveDifferences(first=(0.0, 0.0, 0.0))
            most = 2 * total * stable_total / (total + stable_total)
            differences.add(share - stable_share, variance, min(total, stable_total), most)


class TimeClustering:
    """Clustering of the candidate's failures in time: 1 at first, never less.

    The larger of what the candidate shows itself and of what stable shows: stable's is turned into a correlation ρ
    inside its intervals first, as its intervals hold more (or fewer) requests.
    """

    __slots__ = ("_intervals", "_other", "_requests", "_stable_intervals", "_stable_requests", "own")

    def __init__(self) -> None:
        self.own = _SuccessiveDifferences(first=None)
        """The candidate's."""
        self._other = _SuccessiveDifferences(first=None)
        self._intervals = self._stable_intervals = 0
        self._requests = self._stable_requests = 0.0

    def add(self, pair: Pair) -> None:
        """One more interval."""
        candidate, stable = pair.candidate, pair.stable
        self._intervals += 1
        self._requests += candidate.total
        _add(self.own, candidate)
        if stable.total >= _FEWEST:
            self._stable_requests += stable.total
            self._stable_intervals += 1
            _add(self._other, stable)

    @property
    def correlation(self) -> float:
        """Of the requests inside stable's intervals, 0 to 1."""
        if not self._stable_intervals:
            return 0.0
        mean = self._stable_requests / self._stable_intervals
        return min((self._other.factor - 1) / (mean - 1), 1.0)

    @property
    def factor(self) -> float:
        """The design effect so far."""
        if not self._intervals:
            return 1.0
        return max(self.own.factor, 1 + (self._requests / self._intervals - 1) * self.correlation)


class ComparisonClustering:
    """Clustering of the differences from stable; in time as well as long as stable serves in few intervals."""

    __slots__ = ("_differences", "_in_time", "_intervals", "_served")

    def __init__(self) -> None:
        self._in_time, self._differences = TimeClustering(), DifferenceClustering()
        self._intervals = self._served = 0

    def add(self, pair: Pair) -> None:
        """One more interval."""
        self._in_time.add(pair)
        self._differences.add(pair)
        self._intervals += 1
        self._served += pair.stable.total > 0

    @property
    def factor(self) -> float:
        """The design effect so far."""
        return max(self._in_time.factor, self._differences.factor) if self._mostly_alone else self._differences.factor

    @property
    def in_time(self) -> float:
        """That of the candidate's failures in time alone."""
        return self._in_time.factor

    def steady(self, pair: Pair) -> float:
        """The design effect in an interval like this for a Fail: the largest difference may be a lasting change."""
        effect = max(self._differences.steady, self._effect_of_stable(pair))
        return max(effect, self._in_time.own.steady) if self._mostly_alone else effect

    def with_newest(self, pair: Pair) -> float:
        """The same with the newest difference, that of this interval, in full."""
        effect = max(self._differences.with_newest, self._effect_of_stable(pair))
        return max(effect, self._in_time.own.with_newest) if self._mostly_alone else effect

    @property
    def _mostly_alone(self) -> bool:
        return 2 * self._served < self._intervals

    def _effect_of_stable(self, pair: Pair) -> float:
        """The design effect of a difference if both revisions' requests are as correlated as stable's."""
        requests, stable_requests = pair.candidate.total, pair.stable.total
        together = 2 * requests * stable_requests / (requests + stable_requests)
        return 1 + (together - 1) * self._in_time.correlation


def _add(differences: _SuccessiveDifferences, counts: Counts) -> None:
    if counts.total >= _FEWEST:
        share = counts.bad / counts.total
        differences.add(share, share * (1 - share) / (counts.total - 1), counts.total, most=counts.total)


def bounded(effect: float) -> float:
    """The same, no larger than what a Pass is held up for.

    A stall of the node or an outage puts all failures of a step into one interval. Their share counts in full; taking
    them for the rule, and weakening every later request by a factor of hundreds, would hold a healthy candidate for
    hours.
    """
    return min(effect, _STRONGEST_FOR_PASS)
