"""The kinds of traffic that a rule has to stand: harmless candidates, worse ones, and sources that fail.

Read by `bench.verdicts.traffic`, which draws them, and by everything that tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

STABLE_FAILED: Final = 0.005
STABLE_REFUSED: Final = 0.01
STABLE_SLOW: Final = 0.02
"""Stable's shares of failed, refused (4xx) and slow requests."""

LIMIT: Final = 0.01
INCREASE: Final = 0.005
SLOW_INCREASE: Final = 0.05
"""The limits of the operator's default metrics: errors at most 1 % and stable + 0.5 points, slow at most stable + 5."""

SLICES: Final = (0.4, 0.25, 0.15, 0.1, 0.07, 0.03)
"""Shares of the requests by slice; the last one is too thin to be judged by itself."""
LEAST_SHARE: Final = 0.05
"""Share of the requests that a slice needs."""

LOOK_SECONDS: Final = 15
REQUESTS: Final = 740.0
"""Requests per look to both revisions together: 37 to a candidate with 5 %."""
SLICED_REQUESTS: Final = 5 * REQUESTS
"""The same where errors are judged by slices: the thinnest, with 7 %, passes within the attempt."""


class Expected(StrEnum):
    """What is right for a kind."""

    HARMLESS = "harmless"
    """To roll it back is wrong."""
    WORSE = "worse"
    """Over a limit, but not by its tolerance: to roll it back is right, and to promote it is not wrong."""
    BAD = "bad"
    """At limit + tolerance or above: to promote it is wrong."""
    SILENT = "silent"
    """Nothing can be known: both are wrong."""


class Clustering(StrEnum):
    """How bad requests come."""

    INDEPENDENT = "independent"
    CORRELATED = "correlated"
    """Beta-binomial inside intervals."""
    BURSTS = "bursts"
    """So many at once, within one interval."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of traffic. Shares are the candidate's; stable's are the same in all kinds."""

    name: str
    expected: Expected
    failed: float = LIMIT
    refused: float = STABLE_REFUSED + INCREASE
    slow: float = STABLE_SLOW + SLOW_INCREASE
    clustering: Clustering = Clustering.INDEPENDENT
    correlation: float = 0.0
    burst: int = 1
    requests: float = REQUESTS
    diurnal: bool = False
    """Traffic and all shares swing by half, with a period of two hours: at most the limits at the top."""
    incidents: bool = False
    """Two minutes in which a third of all requests fail on both revisions, about twice an hour."""
    begins_seconds: float = 0.0
    """Until then the candidate is as stable is."""
    hold_seconds: float = 300.0
    """Least time in each step."""
    endpoints: int = 1
    slices: tuple[float, ...] = ()
    """Shares of the requests by slice, where errors are judged in slices; they stand in place of the endpoints."""
    worse_endpoint: bool = False
    """Only one of the endpoints, or slices, has the candidate's shares, the others stable's."""
    worse_at: int = 0
    """Which one that is."""
    other_mix: bool = False
    """In the first step the candidate gets mostly the endpoint, or slice, that fails often on both revisions."""
    outage_seconds: float = 0.0
    """The source of the metrics is away for so long, in the third minute."""
    restarts: bool = False
    """The operator forgets all it has seen every ten minutes, and is away for half a minute."""
    crashes: bool = False
    """The candidate's container crashes every three minutes and is away for half a minute."""
    silent: bool = False
    """The candidate's pods can't be read, and answer nothing."""
    harm: str = "failed"
    """Which requests are told as bad: failed or slow."""


_AS_STABLE: Final = Kind("as stable", Expected.HARMLESS, failed=STABLE_FAILED, refused=STABLE_REFUSED, slow=STABLE_SLOW)
_TIMES: Final = (1.2, 1.5, 2.0, 3.0, 5.0, 20.0)


def _harmless() -> list[Kind]:
    at_limits = Kind("at every limit", Expected.HARMLESS)
    at_noon = replace(
        at_limits,
        name="diurnal",
        diurnal=True,
        failed=LIMIT / 1.5,
        refused=STABLE_REFUSED + INCREASE / 1.5,
        slow=STABLE_SLOW + SLOW_INCREASE / 1.5,
    )
    return [
        _AS_STABLE,
        at_limits,
        *(
            replace(at_limits, name=f"ρ {rho:g}", clustering=Clustering.CORRELATED, correlation=rho)
            for rho in (0.005, 0.02, 0.05, 0.1, 0.2)
        ),
        *(replace(at_limits, name=f"bursts of {size}", clustering=Clustering.BURSTS, burst=size) for size in (10, 20)),
        at_noon,
        replace(at_limits, name="incidents of both", incidents=True),
        replace(at_limits, name="operator restarts", restarts=True),
        replace(_AS_STABLE, name="another mix", endpoints=2, other_mix=True),
        _in_slices(at_limits, "slices at every limit"),
        _in_slices(_AS_STABLE, "slices as stable"),
        _in_slices(_AS_STABLE, "another mix of slices", (0.1, 0.9), other_mix=True),
        replace(at_limits, name="holds of half an hour", hold_seconds=1800),
        replace(at_limits, name="little traffic", requests=20),
        replace(_AS_STABLE, name="outage of 1 min", outage_seconds=60),
        replace(_AS_STABLE, name="outage of 10 min", outage_seconds=585),
    ]


def _worse() -> list[Kind]:
    limit = STABLE_SLOW + SLOW_INCREASE
    failing = [
        replace(_AS_STABLE, name=f"errors {times:g} ×", expected=_expected(times), failed=times * LIMIT)
        for times in _TIMES
    ]
    slow = [
        replace(
            _AS_STABLE,
            name=f"slow {times:g} ×",
            expected=_expected(times),
            slow=min(times * limit, 0.95),
            harm="slow",
        )
        for times in _TIMES
    ]
    bad = replace(_AS_STABLE, expected=Expected.BAD)
    return [
        *failing,
        *slow,
        replace(bad, name="errors on one endpoint", failed=0.1, endpoints=5, worse_endpoint=True),
        _in_slices(bad, "errors 2 × in one slice", failed=2 * LIMIT, worse_endpoint=True, worse_at=2),
        _in_slices(bad, "errors 5 × in one slice", failed=5 * LIMIT, worse_endpoint=True, worse_at=3),
        _in_slices(bad, "errors 20 × in one slice", failed=20 * LIMIT, worse_endpoint=True, worse_at=4),
        _in_slices(bad, "errors 3 × in all slices", failed=3 * LIMIT),
        replace(bad, name="errors after an hour", failed=0.05, begins_seconds=3600, hold_seconds=1800),
        replace(bad, name="errors 3 ×, outage of 1 min", failed=0.03, outage_seconds=60),
        replace(bad, name="errors 3 ×, outage of 10 min", failed=0.03, outage_seconds=585),
        replace(bad, name="crashing pods", crashes=True),
        replace(bad, name="silent candidate", failed=1.0, silent=True),
        Kind("no traffic", Expected.SILENT, requests=0.0),
    ]


def _in_slices(kind: Kind, name: str, slices: tuple[float, ...] = SLICES, **more: Any) -> Kind:
    return replace(kind, name=name, slices=slices, endpoints=len(slices), requests=SLICED_REQUESTS, **more)


def _expected(times: float) -> Expected:
    return Expected.BAD if times >= 2 else Expected.WORSE


KINDS: Final = (*_harmless(), *_worse())
