"""Limits, tolerance and samples that suit what the stable revision has served.

Pure; called by `kubectl serinus tune`. A limit is a round number well above stable's worst hour, so that an ordinary
bad hour is not held against a candidate, and as tight as lets a candidate like stable pass each step in its part of the
wished duration; so is the tolerance. How long that takes is foretold by the bound of sequential tests, so what comes
out is replayed (`serinus.core.replay`) before it is told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from serinus.core.evidence.confidence import highest_share
from serinus.core.evidence.increase import FEWEST_INTERVALS
from serinus.core.evidence.policy import SharePolicy
from serinus.core.history import History, Served
from serinus.core.replay import Replay
from serinus.core.traffic import PlannedStep

LADDER: Final = tuple(step * 10.0**power for power in (-4, -3, -2, -1) for step in (1, 2, 5))
"""Shares that are proposed: 0.01 %, 0.02 %, 0.05 %, … 50 %."""
_ROOM: Final = 1.5
"""A limit is at least so many times the share of stable's worst hour."""
_MOST_ROOM: Final = 10.0
"""… and at most so many times, unless that is below the smallest share that is proposed."""
_TIGHTEST: Final = 5.0
"""A tolerance is at least this part of its limit: what is tighter takes long and tells little more."""
_LARGEST: Final = 0.99
_ROUNDING: Final = 1e-9
_HOUR_SECONDS: Final = 3600.0
_BEYOND_BOUND: Final = 1.6
"""Requests that the engine takes to a Pass, against the bound (see `make bench-verdicts`)."""
_SAMPLES_ROUND: Final = 50
_MOST_EXACT: Final = 100_000.0
"""Requests above which a share is as good as known."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What suits one metric. Shares from 0 to 1."""

    metric: str
    share: float
    """Stable's over the whole history."""
    worst_hour: float
    """Its upper bound in the hour in which it was highest, of all requests or of a slice."""
    requests_per_second: float
    limit: float | None
    """None: stable is so bad, or so rarely asked, that no limit suits."""
    tolerance: float | None
    """None: nothing that suits lets a candidate pass in time; `slowest_seconds` says how long the widest takes."""
    min_samples: int
    slowest_seconds: float
    """About how long a candidate like stable takes to pass the step with the least traffic, with this tolerance."""


def proposal(
    policy: SharePolicy, history: History, steps: Sequence[PlannedStep], *, alpha: float, seconds: float
) -> Proposal:
    """What suits a metric whose candidate is to be promoted within so many seconds.

    Args:
        policy: the metric as it is.
        history: what stable has served.
        steps: those in which a candidate gets a share of the requests.
        alpha: chance of a false Pass.
        seconds: of the whole rollout; every step gets as many.

    """
    counts = history.of(policy.name)
    parts = [history.metrics.get(policy.name, {}), *_slices(policy, history)]
    seconds_of_all = history.length * history.interval_seconds
    rate = counts.total / seconds_of_all
    thinnest = min(math.fsum(each.total for each in part.values()) for part in parts) / seconds_of_all
    share = counts.bad / counts.total if counts.total else 0.0
    worst = max(share, *(worst_hour(part, history.interval_seconds) for part in parts))
    weight = min(step.weight_percent for step in steps) / 100
    hold, in_step = max(step.hold_seconds for step in steps), seconds / len(steps)
    least = max(float(hold), FEWEST_INTERVALS * history.interval_seconds)

    def takes(limit: float, tolerance: float) -> float:
        needed = requests_to_pass(share, min(limit + tolerance, _LARGEST), alpha)
        return max(least, needed / (thinnest * weight)) if thinnest else math.inf

    limits = [each for each in LADDER if _ROOM * worst <= each <= _MOST_ROOM * max(worst, LADDER[0])] if rate else []
    fitting = (
        (limit, tolerance)
        for limit in limits
        for tolerance in LADDER
        if limit / _TIGHTEST <= tolerance * (1 + _ROUNDING) <= limit * (1 + _ROUNDING) ** 2
        and takes(limit, tolerance) <= in_step
    )
    widest = limits[-1] if limits else None
    limit, tolerance = next(fitting, (widest, None))
    used = tolerance or limit or policy.tolerance
    needed = requests_to_pass(0.0, min((limit or 0.0) + used, _LARGEST), alpha)
    return Proposal(
        metric=policy.name,
        share=share,
        worst_hour=worst,
        requests_per_second=rate,
        limit=limit,
        tolerance=tolerance,
        min_samples=max(_SAMPLES_ROUND * math.ceil(needed / _SAMPLES_ROUND), _SAMPLES_ROUND),
        slowest_seconds=takes(limit or 0.0, used),
    )


def _slices(policy: SharePolicy, history: History) -> list[Mapping[int, Served]]:
    """What was served in each slice that is judged by itself."""
    values = policy.slices.values if policy.slices is not None else ()
    return [history.slices[policy.name][value] for value in values]


def worst_hour(known: Mapping[int, Served], interval_seconds: float) -> float:
    """The upper 95 % bound of stable's share in the hour in which it is highest, among those with enough requests."""
    length = max(round(_HOUR_SECONDS / interval_seconds), 1)
    hours: dict[int, list[Served]] = {}
    for at, served in known.items():
        hours.setdefault(at // length, []).append(served)
    sums = [(math.fsum(each.bad for each in hour), math.fsum(each.total for each in hour)) for hour in hours.values()]
    usual = sorted(total for _, total in sums)[len(sums) // 2] if sums else 0.0
    busy = [(bad, total) for bad, total in sums if total and total >= usual / 2]
    if not busy:
        return 0.0
    bad, total = max(busy, key=lambda each: each[0] / each[1])
    return highest_share(round(bad), round(total)) if total < _MOST_EXACT else bad / total


def requests_to_pass(share: float, bound: float, alpha: float) -> float:
    """About how many requests show that a share is below a bound: log(1/alpha)/KL(share ‖ bound), and some more."""
    if share >= bound:
        return math.inf
    per_request = (share * math.log(share / bound) if share > 0 else 0.0) + (1 - share) * math.log(
        (1 - share) / (1 - bound)
    )
    return _BEYOND_BOUND * math.log(1 / alpha) / per_request


def undecisive(policies: Sequence[SharePolicy], replayed: Mapping[str, Sequence[Replay]]) -> tuple[str, ...]:
    """Metrics that failed no replayed rollout, and were the last to pass in none."""
    deciding = {each.metric for rollouts in replayed.values() for each in rollouts}
    return tuple(policy.name for policy in policies if policy.name not in deciding)
