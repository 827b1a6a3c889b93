"""Which slices a metric has, and which of its requests belong to which.

`chosen` fixes the slices from what stable served before the evidence began. The operator keeps them in status, so that
nothing that is seen later (a value that appears, vanishes or is made up by the candidate) changes what is tested. It is
called by `serinus.shell.readings`, and `pooled` by `serinus.core.evidence.shares`.
"""

from __future__ import annotations

import math
from functools import lru_cache

from serinus.api.analysis import MAX_SLICE_VALUE, MAX_SLICES
from serinus.api.status import MetricSlices
from serinus.api.values import Percent
from serinus.core.evidence.comparison import Limits
from serinus.core.evidence.increase import BelowBound
from serinus.core.evidence.intervals import Interval, Tally, total_of
from serinus.core.evidence.policy import SharePolicy, Slices
from serinus.core.readings import Counters, CounterSeries, Part, SliceCounts

_SMALLEST_SHARE = 0.01
"""Share of the requests below which no slice is judged by itself, however many requests there are."""
_LARGEST_SHARE = 1.0
_ROOM = 2.0
"""A slice gets at least so many times the requests that a faultless candidate needs to pass in it."""
_DIGITS = 6
"""Of the shares that status keeps."""


def chosen(
    policy: SharePolicy,
    label: str,
    served: SliceCounts,
    *,
    window_seconds: float,
    exposure_seconds: float,
    alpha_pass: float,
) -> Slices:
    """The slices of a metric: values of which a candidate gets enough requests to pass within the time of a step.

    Args:
        policy: the limits.
        label: by which requests are told apart.
        served: by stable in a window that ended when the evidence began.
        window_seconds: length of that window.
        exposure_seconds: seconds of all requests that a candidate gets in its shortest step until the policy gives up.
        alpha_pass: chance of a false Pass.

    """
    expected = served.total / window_seconds * exposure_seconds
    least = _ROOM * fewest_requests(policy, alpha_pass) / expected if expected > 0 else _LARGEST_SHARE
    least = round(min(max(least, _SMALLEST_SHARE), _LARGEST_SHARE), _DIGITS)
    enough = [
        (-requests, value)
        for value, requests in served.by_value.items()
        if value and len(value) <= MAX_SLICE_VALUE and requests >= least * served.total > 0
    ]
    return Slices(label, tuple(value for _, value in sorted(enough)[: MAX_SLICES - 1]), least)


@lru_cache(maxsize=256)
def fewest_requests(policy: SharePolicy, alpha_pass: float) -> int:
    """Requests that a candidate needs to pass if none of its own and none of stable's is bad."""
    limits = Limits(policy.max_share, policy.max_increase, policy.tolerance)
    refused = Limits(None, policy.max_refused_increase, policy.tolerance)
    bounds = [
        bound
        for limit, bound in (
            (policy.max_share, limits.share_bound),
            (policy.max_increase, limits.increase_bound),
            (policy.max_refused_increase, refused.increase_bound),
        )
        if limit is not None
    ]
    needed = (BelowBound(bound, alpha_pass).shortfall(alpha_pass, 1.0).needed for bound in bounds)
    return max((each for each in needed if each is not None), default=math.ceil(math.log(1 / alpha_pass)))


def pooled(counters: Counters, slices: Slices) -> Counters:
    """The same counters, with slice and endpoint as what is compared like with like.

    Requests that only the gateway counted belong to no slice.
    """
    places = {value: at for at, value in enumerate(slices.values)}
    rest = len(slices.values)
    return Counters(
        tuple(
            CounterSeries(
                series.pod,
                series.part,
                ""
                if series.part is Part.AT_GATEWAY
                else stratum_of(slices, places.get(series.slice, rest), series.stratum),
                series.samples,
            )
            for series in counters.series
        ),
        counters.grid,
    )


def knows_no_slices(counters: Counters) -> bool:
    """Whether some of the requests were counted by a gateway, which does not tell slices apart."""
    return any(series.part is Part.AT_GATEWAY for series in counters.series)


def by_slice(interval: Interval) -> dict[int, Interval]:
    """What was served in an interval, by the number of the slice."""
    found: dict[int, dict[str, Tally]] = {}
    for stratum, tally in interval.strata.items():
        at = place_of(stratum)
        if at is not None:
            found.setdefault(at, {})[stratum] = tally
    return {at: Interval(interval.point, strata) for at, strata in found.items()}


def by_endpoint(interval: Interval, slices: Slices) -> Interval:
    """The interval with the slices of each endpoint together."""
    found: dict[str, list[Tally]] = {}
    for stratum, tally in interval.strata.items():
        at = place_of(stratum)
        endpoint = "" if at is None else stratum.removeprefix(stratum_of(slices, at, ""))
        found.setdefault(endpoint, []).append(tally)
    return Interval(interval.point, {endpoint: total_of(tallies) for endpoint, tallies in found.items()})


@lru_cache(maxsize=4096)
def stratum_of(slices: Slices, at: int, endpoint: str) -> str:
    """As `place_of` reads it, and as people do: `slice 3 (country=DE) /predict`."""
    return f"slice {at} ({slices.name(at)}) {endpoint}"


@lru_cache(maxsize=4096)
def place_of(stratum: str) -> int | None:
    """The number of the slice; None for what belongs to none."""
    return int(stratum.split(" ", 2)[1]) if stratum else None


def status_of(metric: str, slices: Slices, served: SliceCounts) -> MetricSlices:
    """The slices as status keeps them, with the share that all others had."""
    named = math.fsum(served.by_value[value] for value in slices.values)
    rest = max(1.0 - named / served.total, 0.0) if served.total > 0 else 0.0
    return MetricSlices(
        metric=metric,
        label=slices.label,
        values=slices.values,
        least_percent=Percent.of_share(slices.least_share, _DIGITS - 2),
        rest_percent=Percent.of_share(rest, _DIGITS - 4),
    )
