"""What one metric's evidence says, and what all of them say together.

Made by `serinus.core.evidence.judge`, read by `serinus.core.decide` and written into `status.analysis`. A verdict is a
closed union: `Fail | Pass | Undecided | Missing`, each with the reason that belongs to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from serinus.api.analysis import MetricMode
from serinus.core.readings import Missing


class VerdictKind(StrEnum):
    """The four answers, as `status.analysis[].verdict` names them."""

    FAIL = "Fail"
    PASS = "Pass"  # noqa: S105 -- a verdict, not a password
    UNDECIDED = "Undecided"
    MISSING = "Missing"


class FailReason(StrEnum):
    """Which limit was broken."""

    ABOVE_LIMIT = "AboveLimit"
    """The bad share is above `maxPercent`, and above stable's wherever stable serves."""
    ABOVE_STABLE = "AboveStable"
    """The bad share exceeds stable's by more than `maxIncreasePercent`."""
    REFUSES_MORE = "RefusesMore"
    """It answers more requests with 4xx than stable does, by more than is allowed: valid input is being refused."""
    VALUE_BEYOND_LIMIT = "ValueBeyondLimit"
    """A gauge broke its limit for `forSeconds`; no error guarantee."""


class UndecidedReason(StrEnum):
    """Why a reading decides nothing yet."""

    NOT_ENOUGH_EVIDENCE = "NotEnoughEvidence"
    """Neither is shown yet: it takes more requests."""
    TOO_FEW_SAMPLES = "TooFewSamples"
    """The tests would pass, but there are fewer requests than `minSamples`."""
    NO_TRAFFIC = "NoTraffic"
    """The pods report, and have served nothing."""
    STABLE_BREAKS_LIMIT = "StableBreaksLimit"
    """Stable breaks the absolute limit at the same time, so that nothing can be concluded about the candidate."""
    BEYOND_LIMIT_BRIEFLY = "BeyondLimitBriefly"
    """A gauge is beyond its limit, but not for `forSeconds` yet."""
    NOTHING_ENFORCED = "NothingEnforced"
    """No metric decides: there is nothing to pass."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The candidate is worse than allowed: rolled back at once, in any step."""

    reason: FailReason


@dataclass(frozen=True, slots=True)
class Pass:
    """The candidate is shown to be good enough."""

    guaranteed: bool = True
    """Whether an always-valid test bounds the chance that this is wrong; gauges have none."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """Neither is shown: the hold goes on."""

    reason: UndecidedReason


Verdict = Fail | Pass | Undecided | Missing


def kind_of(verdict: Verdict) -> VerdictKind:
    """The name of a verdict in status."""
    match verdict:
        case Fail():
            return VerdictKind.FAIL
        case Pass():
            return VerdictKind.PASS
        case Undecided():
            return VerdictKind.UNDECIDED
        case Missing():
            return VerdictKind.MISSING
        case _:
            assert_never(verdict)


def reason_of(verdict: Verdict) -> str:
    """The reason of a verdict as one CamelCase word, for status, Events and the log."""
    match verdict:
        case Pass(guaranteed=guaranteed):
            return "ShownHarmless" if guaranteed else "WithinLimit"
        case Fail(reason=reason) | Undecided(reason=reason) | Missing(reason=reason):
            return reason.value
        case _:
            assert_never(verdict)


@dataclass(frozen=True, slots=True)
class Counts:
    """Bad ones among all. Differences of counters may be fractions and are never rounded."""

    bad: float
    total: float

    @property
    def share(self) -> float | None:
        """Bad ones per request, 0 to 1; None where there was nothing."""
        return self.bad / self.total if self.total > 0 else None


class Comparison(StrEnum):
    """What the candidate was compared with."""

    NONE = "None"
    """Absolute limits only."""
    CONCURRENT = "Concurrent"
    """Stable, at the same time."""
    BEFORE_AFTER = "BeforeAfter"
    """Stable's last window before the switch: weaker, as time itself may have changed something."""


@dataclass(frozen=True, slots=True)
class SliceVerdict:
    """What the requests of one slice say by themselves."""

    value: str | None
    """Of the label; None for the rest: all values that have no slice of their own."""
    verdict: Verdict
    decides: bool
    """Whether a Pass needs its Pass; one that is too thin in this step is judged together with all others alone."""
    candidate: Counts
    stable: Counts | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class MetricVerdict:
    """The verdict of one metric and the numbers behind it."""

    name: str
    """The metric's name in the spec."""
    mode: MetricMode
    verdict: Verdict
    candidate: Counts | None
    """Since the start of the evidence. None for gauges, and where nothing could be read."""
    stable: Counts | None
    """Stable's, at the same time (or from before the switch); None where it was not compared."""
    estimate: float | None
    """The candidate's bad share (0 to 1), or the newest value of a gauge in its own unit."""
    lower: float | None
    """Lower end of a confidence sequence of the share: valid at all times together, with the chance of an error that a
    Fail may have. About where a limit would just fail. None for gauges."""
    upper: float | None
    """Upper end, with the chance of an error that a Pass may have."""
    limit: str
    """The limits in words, such as "1 %, stable + 0.5 points"."""
    needed: int | None
    """About how many more requests the candidate needs to pass if it goes on as it did in this step; 0 if it passes,
    None if it would not pass like this, or where nothing is counted."""
    message: str
    """One sentence for people, with the numbers."""
    comparison: Comparison = Comparison.NONE
    query: str = ""
    """What was read, for people who want to see the counters themselves."""
    slices: tuple[SliceVerdict, ...] = ()
    """Of a metric that is judged in slices: all of them, the worst first."""

    @property
    def kind(self) -> VerdictKind:
        """Fail, Pass, Undecided or Missing."""
        return kind_of(self.verdict)

    @property
    def enforced(self) -> bool:
        """Whether this metric decides anything."""
        return self.mode is MetricMode.ENFORCE

    @property
    def samples(self) -> float:
        """Requests of the candidate since the start of the evidence; 0 where nothing was counted."""
        return self.candidate.total if self.candidate else 0.0


def combine(verdicts: Iterable[MetricVerdict]) -> Verdict:
    """The verdict over all enforced metrics: the worst one, in the order Fail, Missing, Undecided, Pass.

    Missing comes before Undecided because it stops the clock of the hold. Among several of the same kind the first
    in the order of the spec is returned. Without an enforced metric nothing can pass. A Pass is only `guaranteed` if
    every enforced metric's is.
    """
    return worst([each.verdict for each in verdicts if each.enforced])


def worst(enforced: Sequence[Verdict]) -> Verdict:
    """The same of the verdicts themselves, all of them enforced."""
    for kind in (VerdictKind.FAIL, VerdictKind.MISSING, VerdictKind.UNDECIDED):
        for verdict in enforced:
            if kind_of(verdict) is kind:
                return verdict
    if not enforced:
        return Undecided(UndecidedReason.NOTHING_ENFORCED)
    return Pass(guaranteed=all(isinstance(verdict, Pass) and verdict.guaranteed for verdict in enforced))
