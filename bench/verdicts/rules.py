"""The decision rules of Argo Rollouts and Flagger on the same traffic, with the limits as absolute thresholds.

Both compare the share of the last window with a threshold and count how often it was above. What they do with the count
is theirs, told after their sources (argo-rollouts `analysis/analysis.go`, assessMetricStatus; flagger
`pkg/controller/scheduler.go`, advanceCanary, and `scheduler_metrics.go`):

- Argo Rollouts: steps of fixed length beside a background analysis. A measurement above the threshold is Failed, and
  more than `failureLimit` of them in one metric fail the run. One that can't be had is an Error, and more than
  `consecutiveErrorLimit` (4) in a row fail it too. Nothing served is 0/0, which is not ≤ the threshold: Failed.
- Flagger: a check per interval over all metrics. One that succeeds enters the next step, one that fails halts and
  counts, and when `threshold` have failed the canary is rolled back. No values and no answer are failed checks.

They are told stable's true share of slow requests, which they could not know, so that their threshold for the latency
is the same limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from bench.verdicts.attempt import STEPS, End, Outcome
from bench.verdicts.kinds import LIMIT, LOOK_SECONDS, SLOW_INCREASE, STABLE_SLOW, Kind
from bench.verdicts.traffic import Floats, Traffic, harm, is_down, source_is_away

CONSECUTIVE_ERROR_LIMIT: Final = 4
TOLERATED: Final = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20)
"""Failed checks that don't roll back: Argo's failureLimit, Flagger's threshold less one."""
_THRESHOLDS: Final = ((1, LIMIT), (3, STABLE_SLOW + SLOW_INCREASE))
"""Column of the traffic and its limit, of each metric."""


class System(StrEnum):
    """Whose rule it is."""

    ARGO = "Argo Rollouts"
    FLAGGER = "Flagger"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule and its settings."""

    system: System
    window_looks: int
    """Looks between two checks, and in the window of each."""
    slack: float
    """The thresholds are the limits times this."""
    tolerated: int

    @property
    def name(self) -> str:
        """For tables."""
        counted = "failureLimit" if self.system is System.ARGO else "threshold"
        count = self.tolerated if self.system is System.ARGO else self.tolerated + 1
        seconds = self.window_looks * LOOK_SECONDS
        return f"{self.system}, {counted} {count}, every {seconds} s, limits × {self.slack:g}"


USUAL: Final = (
    Rule(System.ARGO, 4, 1.0, 3),
    Rule(System.FLAGGER, 4, 1.0, 4),
)
"""As in the systems' own documentation: a minute, failureLimit 3 and threshold 5, the limits as they are."""


def rules() -> Iterator[Rule]:
    """All settings that are tried."""
    for system in System:
        for window_looks in (4, 20):
            for slack in (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0):
                for tolerated in TOLERATED:
                    yield Rule(system, window_looks, slack, tolerated)


def outcomes(kind: Kind, traffic: Traffic, system: System, window_looks: int, slack: float) -> dict[int, Outcome]:
    """The attempt by one rule, for each number of tolerated failures."""
    play = _argo if system is System.ARGO else _flagger
    return play(kind, traffic, window_looks, slack)


class _Check(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"


def _checked(kind: Kind, window: Floats, first: int, last: int, slack: float) -> list[_Check]:
    """The check of each metric over the looks first < look ≤ last, at the last of them."""
    if kind.silent or source_is_away(kind, last):
        return [_Check.ERROR for _ in _THRESHOLDS]
    up = np.array([not is_down(kind, look) for look in range(first + 1, last + 1)])
    counts = window[up].sum(axis=(0, 1))
    total = counts[0]
    return [
        _Check.PASSED if total > 0 and counts[column] <= slack * limit * total else _Check.FAILED
        for column, limit in _THRESHOLDS
    ]


def _argo(kind: Kind, traffic: Traffic, window_looks: int, slack: float) -> dict[int, Outcome]:
    hold = int(kind.hold_seconds / LOOK_SECONDS)
    promoted = min(STEPS * hold, traffic.looks)
    steps = [min(look // hold, STEPS) for look in range(traffic.looks)]
    bad = _bad_upto(kind, traffic, steps)
    failures = [0] * len(_THRESHOLDS)
    rolled: dict[int, int] = {}
    errors = 0
    for look in range(window_looks, promoted, window_looks):
        window = np.stack([traffic.candidate[steps[at], at] for at in range(look - window_looks, look)])
        checks = _checked(kind, window, look - window_looks, look, slack)
        errors = errors + 1 if _Check.ERROR in checks else 0
        failures = [count + (check is _Check.FAILED) for count, check in zip(failures, checks, strict=True)]
        for tolerated in TOLERATED:
            if max(failures) > tolerated or errors > CONSECUTIVE_ERROR_LIMIT:
                rolled.setdefault(tolerated, look)
        if len(rolled) == len(TOLERATED):
            break
    end = End.PROMOTED if promoted == STEPS * hold else End.UNDECIDED
    return {each: _outcome(rolled.get(each), end, promoted, bad) for each in TOLERATED}


def _flagger(kind: Kind, traffic: Traffic, window_looks: int, slack: float) -> dict[int, Outcome]:
    steps = [0] * traffic.looks
    step, failed, promoted = 0, 0, None
    rolled: dict[int, int] = {}
    for look in range(window_looks, traffic.looks + 1, window_looks):
        window = traffic.candidate[step, look - window_looks : look]
        steps[look - window_looks : look] = [step] * window_looks
        checks = _checked(kind, window, look - window_looks, look, slack)
        if all(check is _Check.PASSED for check in checks):
            step += 1
            if step == STEPS:
                promoted = look
                steps[look:] = [STEPS] * (traffic.looks - look)
                break
            continue
        failed += 1
        for tolerated in TOLERATED:
            if failed > tolerated:
                rolled.setdefault(tolerated, look)
        if len(rolled) == len(TOLERATED):
            break
    end = End.UNDECIDED if promoted is None else End.PROMOTED
    bad = _bad_upto(kind, traffic, steps)
    return {each: _outcome(rolled.get(each), end, promoted or traffic.looks, bad) for each in TOLERATED}


def _bad_upto(kind: Kind, traffic: Traffic, steps: list[int]) -> Floats:
    """Bad requests up to and with each look, at these steps."""
    return harm(kind, 1, traffic.candidate[steps, np.arange(traffic.looks)]).cumsum()


def _outcome(rolled: int | None, end: End, look: int, bad: Floats) -> Outcome:
    if rolled is not None:
        return Outcome(End.ROLLED_BACK, rolled, float(bad[rolled - 1]))
    return Outcome(end, look, float(bad[-1]))
