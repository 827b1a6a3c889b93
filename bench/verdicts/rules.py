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

from collections.abc import Iterator, Sequence
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
_TINY: Final = 1e-9
_THRESHOLDS: Final = ((1, LIMIT), (3, STABLE_SLOW + SLOW_INCREASE))
"""Column of the traffic and its limit, of each metric."""


WINDOWS: Final = (4, 20)
"""Looks between two checks, and in the window of each; every step begins with a window."""


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
        for window_looks in WINDOWS:
            for slack in (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0):
                for tolerated in TOLERATED:
                    yield Rule(system, window_looks, slack, tolerated)


class Windows:
    """What the checks of an attempt see: the shares of each window against the limits, at each weight."""

    def __init__(self, kind: Kind, traffic: Traffic, window_looks: int) -> None:
        self.kind, self.looks, self.window_looks = kind, traffic.looks, window_looks
        checks = traffic.looks // window_looks
        up = np.array([not is_down(kind, look) for look in range(1, traffic.looks + 1)])
        served = traffic.candidate.sum(axis=2) * up[np.newaxis, :, np.newaxis]
        counts = served[:, : checks * window_looks].reshape(len(served), checks, window_looks, 4).sum(axis=2)
        allowed = np.maximum(counts[..., :1], _TINY) * np.array([limit for _, limit in _THRESHOLDS])
        ratios = counts[..., [column for column, _ in _THRESHOLDS]] / allowed
        self.ratios: list[list[list[float]]] = np.where(counts[..., :1] > 0, ratios, np.inf).tolist()
        """By weight, check and metric: the share against its limit, infinite where nothing was served."""
        self.has_error = [kind.silent or source_is_away(kind, (check + 1) * window_looks) for check in range(checks)]
        """Whether nothing can be had at a check."""
        self._harm = np.stack([harm(kind, 1, each) for each in traffic.candidate])

    def bad_upto(self, steps: Sequence[int]) -> Floats:
        """Bad requests up to and with each look, at these steps."""
        bad: Floats = self._harm[list(steps), np.arange(self.looks)].cumsum()
        return bad


def outcomes(windows: Windows, system: System, slack: float) -> dict[int, Outcome]:
    """The attempt by one rule, for each number of tolerated failures."""
    return _argo(windows, slack) if system is System.ARGO else _flagger(windows, slack)


def _argo(windows: Windows, slack: float) -> dict[int, Outcome]:
    hold = int(windows.kind.hold_seconds / LOOK_SECONDS)
    promoted = min(STEPS * hold, windows.looks)
    bad = windows.bad_upto([min(look // hold, STEPS) for look in range(windows.looks)])
    failures = [0] * len(_THRESHOLDS)
    rolled: dict[int, int] = {}
    errors = 0
    for look in range(windows.window_looks, promoted, windows.window_looks):
        check = look // windows.window_looks - 1
        if windows.has_error[check]:
            errors += 1
        else:
            errors = 0
            ratios = windows.ratios[(look - 1) // hold][check]
            failures = [count + (ratio > slack) for count, ratio in zip(failures, ratios, strict=True)]
        for tolerated in TOLERATED:
            if max(failures) > tolerated or errors > CONSECUTIVE_ERROR_LIMIT:
                rolled.setdefault(tolerated, look)
        if len(rolled) == len(TOLERATED):
            break
    end = End.PROMOTED if promoted == STEPS * hold else End.UNDECIDED
    return {each: _outcome(rolled.get(each), end, promoted, bad) for each in TOLERATED}


def _flagger(windows: Windows, slack: float) -> dict[int, Outcome]:
    steps = [0] * windows.looks
    step, failed, promoted = 0, 0, None
    rolled: dict[int, int] = {}
    for check, has_error in enumerate(windows.has_error):
        look = (check + 1) * windows.window_looks
        steps[look - windows.window_looks : look] = [step] * windows.window_looks
        if not has_error and max(windows.ratios[step][check]) <= slack:
            step += 1
            if step == STEPS:
                promoted = look
                steps[look:] = [STEPS] * (windows.looks - look)
                break
            continue
        failed += 1
        for tolerated in TOLERATED:
            if failed > tolerated:
                rolled.setdefault(tolerated, look)
        if len(rolled) == len(TOLERATED):
            break
    end = End.UNDECIDED if promoted is None else End.PROMOTED
    bad = windows.bad_upto(steps)
    return {each: _outcome(rolled.get(each), end, promoted or windows.looks, bad) for each in TOLERATED}


def _outcome(rolled: int | None, end: End, look: int, bad: Floats) -> Outcome:
    if rolled is not None:
        return Outcome(End.ROLLED_BACK, rolled, float(bad[rolled - 1]))
    return Outcome(end, look, float(bad[-1]))
