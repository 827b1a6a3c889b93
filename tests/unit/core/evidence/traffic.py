"""Made-up traffic for the tests of the verdicts: counters as a metric source would read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from serinus.api.analysis import AbsentBad, MetricMode
from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.pairs import Cell, Pair, pair
from serinus.core.evidence.policy import ShareKind, SharePolicy
from serinus.core.readings import Counters, CounterSeries, Grid, Part, PodStart, Sample

ANCHOR = 1_700_000_000.0
STEP_SECONDS = 15.0

Served = Sequence[tuple[float, float]]
"""(bad, total) per interval."""


def series(
    part: Part, increases: Iterable[float], *, pod: str = "candidate-a", stratum: str = "/predict", base: float = 0.0
) -> CounterSeries:
    """A counter that stands at `base` at the anchor and rises by so much in each interval."""
    values = accumulate(increases, initial=base)
    samples = tuple(Sample(ANCHOR + k * STEP_SECONDS, value) for k, value in enumerate(values))
    return CounterSeries(pod, part, stratum, samples)


def counters(served: Served, *, pod: str = "candidate-a", stratum: str = "/predict", base: float = 0.0) -> Counters:
    """The counters of a revision with one pod."""
    return Counters(
        (
            series(Part.TOTAL, (total for _, total in served), pod=pod, stratum=stratum, base=base),
            series(Part.BAD, (bad for bad, _ in served), pod=pod, stratum=stratum, base=0.0),
        ),
        Grid(ANCHOR, STEP_SECONDS),
    )


def joined(*parts: Counters) -> Counters:
    """Several pods or strata of one revision."""
    return Counters(tuple(each for part in parts for each in part.series), parts[0].grid)


def errors_policy(
    *,
    max_share: float | None = 0.01,
    max_increase: float | None = None,
    max_refused_increase: float | None = None,
    tolerance: float = 0.01,
    min_samples: int = 1,
) -> SharePolicy:
    """An errors metric with a limit of 1 %."""
    return SharePolicy(
        name="errors",
        kind=ShareKind.ERRORS,
        mode=MetricMode.ENFORCE,
        max_share=max_share,
        max_increase=max_increase,
        max_refused_increase=max_refused_increase,
        tolerance=tolerance,
        min_samples=min_samples,
        absent_bad=AbsentBad.ZERO,
    )


def circumstances(
    intervals: int, *, alpha: float = 0.01, step_started_at: float = ANCHOR, pods: Sequence[str] = ("candidate-a",)
) -> Circumstances:
    """The end of so many intervals, with pods that ran before the evidence began."""
    return Circumstances(
        now=ANCHOR + intervals * STEP_SECONDS,
        step_started_at=step_started_at,
        alpha_fail=alpha,
        alpha_pass=alpha,
        stale_after_seconds=3 * STEP_SECONDS,
        candidate_pods=tuple(PodStart(pod, ANCHOR - 600) for pod in pods),
    )


Source = Callable[[np.random.Generator, float, int, int], NDArray[np.float64]]
"""(random, expected share, requests per interval, intervals) -> bad ones in each interval."""


def independent(random: np.random.Generator, share: float, total: int, intervals: int) -> NDArray[np.float64]:
    """Requests fail one by one."""
    return random.binomial(total, share, intervals).astype(float)


def correlated(correlation: float) -> Source:
    """The share is another one in each interval (beta-binomial)."""

    def source(random: np.random.Generator, share: float, total: int, intervals: int) -> NDArray[np.float64]:
        size = 1 / correlation - 1
        shares = random.beta(max(share, 1e-12) * size, (1 - share) * size, intervals)
        return random.binomial(total, shares).astype(float)

    return source


def bursts(random: np.random.Generator, share: float, total: int, intervals: int) -> NDArray[np.float64]:
    """Ten requests fail together."""
    return np.minimum(random.poisson(total * share / 10, intervals) * 10, total).astype(float)


def served(bad: Iterable[float], total: float) -> tuple[tuple[float, float], ...]:
    """(bad, total) per interval, all of the same size."""
    return tuple((float(each), total) for each in bad)


def pairs(bad: Iterable[float], total: float, stable_bad: Iterable[float], stable_total: float) -> tuple[Pair, ...]:
    """Intervals of one stratum, candidate beside stable."""
    return tuple(
        pair(point, (Cell("", total, float(own), stable_total, float(other)),))
        for point, (own, other) in enumerate(zip(bad, stable_bad, strict=True), start=1)
    )
