"""The decision on a countable metric: which tests are made, on which intervals, and what they say together.

Made by `serinus.core.evidence.shares` from counters; whoever has counts per interval may call it directly (see
`ShareEvidence`). The rules:

- Fail of an absolute limit needs *above the limit* and *above stable*, each e-value at 1/alpha, wherever stable serves;
  and while stable seems to break the limit itself, above both in the same interval.
- Fail of an increase needs *above stable by more than the allowed increase*.
- Fail evidence runs from the start of the evidence over all steps, Pass evidence from the start of the step.
- Pass needs, for every limit, the proof of *below limit + tolerance*, and `minSamples`. There is no other road to it.
- While stable itself breaks the absolute limit nothing passes.
- Where stable serves nothing, absolute limits stand alone and increases are compared with stable's share from before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serinus.core.evidence.comparison import Comparison, Limits
from serinus.core.evidence.increase import Shortfall
from serinus.core.evidence.intervals import Interval
from serinus.core.evidence.pairs import Severity
from serinus.core.evidence.policy import ShareKind, SharePolicy
from serinus.core.readings import Missing, MissingReason
from serinus.core.verdicts import Counts, Fail, FailReason, Pass, Undecided, UndecidedReason, Verdict


@dataclass(frozen=True, slots=True)
class Decision:
    """What the intervals say."""

    verdict: Verdict
    shortfalls: tuple[Shortfall, ...]
    """One per limit that can be judged: how far it is from being shown to be kept, on the intervals of the step."""


class ShareEvidence:
    """The intervals of one countable metric of both revisions, by each meaning of bad.

    Args:
        policy: the limits.
        alpha_fail: chance of a false Fail for each tested limit.
        alpha_pass: chance of a false Pass.
        thin: whether strata are so thin that stable may have had no request in one by chance (see `Comparison`).

    """

    def __init__(self, policy: SharePolicy, alpha_fail: float, alpha_pass: float, *, thin: bool = False) -> None:
        self._policy, self._alpha_fail = policy, alpha_fail
        latency = policy.kind is ShareKind.LATENCY
        limits = Limits(policy.max_share, policy.max_increase, policy.tolerance)
        none = Limits(None, None, policy.tolerance)

        def compared(severity: Severity, failing: Limits, passing: Limits) -> Comparison:
            return Comparison(severity, failing, passing, alpha_fail=alpha_fail, alpha_pass=alpha_pass, thin=thin)

        self.serves = False
        """Whether stable has served, and can be compared, since the evidence began."""
        self.possibly = compared(Severity.POSSIBLY_BAD, none if latency else limits, limits)
        """With all that is not shown to be good counted as bad."""
        self.surely = compared(Severity.SURELY_BAD, limits, none) if latency else self.possibly
        """With what is bad beyond doubt."""
        self.refused: Comparison | None = None
        """With 4xx answers counted as bad; None where they are not compared."""
        if policy.max_refused_increase is not None:
            refusing = Limits(None, policy.max_refused_increase, policy.tolerance)
            self.refused = compared(Severity.REFUSED, refusing, refusing)
        self._comparisons = tuple(
            {id(each): each for each in (self.surely, self.possibly, self.refused) if each}.values()
        )

    def begin_step(self) -> None:
        """What is added from now on belongs to a new step."""
        for comparison in self._comparisons:
            comparison.begin_step()

    def add(self, candidate: Interval | None, stable: Interval | None, *, in_step: bool = True) -> None:
        """One more interval, of the present step or before it: what either revision served, None for nothing."""
        self.serves = self.serves or stable is not None
        for comparison in self._comparisons:
            comparison.add(candidate, stable, in_step=in_step)

    def decide(self, baseline: Counts | None = None, *, comparable: bool = True) -> Decision:
        """The decision now.

        Args:
            baseline: stable's counts from before the switch, for increases where stable serves nothing.
            comparable: False where stable serves other users, so that its share means nothing for the candidate.

        """
        if self.possibly.candidate.total <= 0:
            return Decision(Undecided(UndecidedReason.NO_TRAFFIC), ())
        shortfalls = self._shortfalls(baseline)
        return Decision(self._failure(baseline) or self._success(shortfalls, baseline, comparable), shortfalls)

    def _failure(self, baseline: Counts | None) -> Fail | None:
        alpha = self._alpha_fail
        if self.surely.failing.is_above_stable(alpha, self.surely.baseline(baseline)):
            return Fail(FailReason.ABOVE_STABLE)
        if self.surely.failing.is_above_limit(alpha, beside_stable=self.serves):
            return Fail(FailReason.ABOVE_LIMIT)
        if self.refused is not None and self.refused.failing.is_above_stable(alpha, self.refused.baseline(None)):
            return Fail(FailReason.REFUSES_MORE)
        return None

    def _shortfalls(self, baseline: Counts | None) -> tuple[Shortfall, ...]:
        possibly, refused = self.possibly, self.refused
        found = [possibly.passing.below_limit(), possibly.passing.below_increase(possibly.baseline(baseline))]
        if refused is not None and (self.serves or refused.baseline(None)):
            found.append(refused.passing.below_increase(refused.baseline(None)))
        return tuple(each for each in found if each is not None)

    def _success(self, shortfalls: Sequence[Shortfall], baseline: Counts | None, comparable: bool) -> Verdict:
        """What is said of a candidate that does not fail."""
        policy, step = self._policy, self.possibly.in_step
        if policy.max_increase is not None and not comparable:
            return Missing(
                MissingReason.NOT_COMPARABLE, "Candidate and stable serve different users: an increase means nothing."
            )
        if policy.max_increase is not None and not self.serves and self.possibly.baseline(baseline) is None:
            return Missing(
                MissingReason.NO_BASELINE,
                "An increase over stable is to be judged, and stable has not served anything.",
            )
        if self.surely.stable_breaks_limit:
            return Undecided(UndecidedReason.STABLE_BREAKS_LIMIT)
        if step.total <= 0 or not shortfalls or not all(shortfall.suffices for shortfall in shortfalls):
            return Undecided(UndecidedReason.NOT_ENOUGH_EVIDENCE)
        if step.total < policy.min_samples:
            return Undecided(UndecidedReason.TOO_FEW_SAMPLES)
        return Pass()
