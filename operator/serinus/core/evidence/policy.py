"""What is judged: the metrics of a spec as the core sees them, and the error budget that they share.

`policy_of` is called once per evaluation by whoever gathers readings; `judge` takes one policy at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import assert_never

from serinus.api import defaults
from serinus.api.analysis import AbsentBad, Analysis, Metric, MetricMode
from serinus.api.values import Percent


class ShareKind(StrEnum):
    """What a countable metric counts."""

    ERRORS = "Errors"
    LATENCY = "Latency"
    RATIO = "Ratio"


@dataclass(frozen=True, slots=True)
class Slices:
    """The values of a label whose requests are judged by themselves: fixed before the evidence counts.

    The requests of all other values, and those without the label, are one more slice: the rest.
    """

    label: str
    values: tuple[str, ...]
    """Each with at least `least_share` of the requests at that time; none: there are too few for any."""
    least_share: float
    """Share of the requests, 0 to 1, below which a slice is too thin to be waited for."""

    @property
    def count(self) -> int:
        """Slices, with the rest."""
        return len(self.values) + 1

    def name(self, at: int) -> str:
        """A slice for people: `country=DE`, at the length of a line. The one after the last value is the rest."""
        if at == len(self.values):
            return f"other {self.label}"
        value = self.values[at]
        return f"{self.label}={value if len(value) <= _SHOWN else value[: _SHOWN - 1] + '…'}"


_SHOWN = 40
"""Characters of a label's value in a sentence."""


@dataclass(frozen=True, slots=True)
class SharePolicy:
    """A countable metric: a share of bad ones among all, with limits. At least one limit is set."""

    name: str
    kind: ShareKind
    mode: MetricMode
    max_share: float | None
    """Absolute limit, above 0 and at most 1."""
    max_increase: float | None
    """Largest harmless increase over stable's share, above 0 and at most 1 (0.005 is half a point)."""
    max_refused_increase: float | None
    """The same for 4xx answers, which are only compared."""
    tolerance: float
    """How far above a limit a candidate may be promoted with no more than `falsePromotionPercent`; above 0."""
    min_samples: int
    """Requests of the candidate without which nothing passes."""
    absent_bad: AbsentBad
    slices: Slices | None = None
    """What is judged by itself as well; None: all requests together alone."""

    @property
    def compares(self) -> bool:
        """Whether a limit speaks of an increase over stable."""
        return self.max_increase is not None or self.max_refused_increase is not None

    @property
    def tests(self) -> int:
        """Limits that are tested independently, each with its share of the error budget."""
        return sum(limit is not None for limit in (self.max_share, self.max_increase, self.max_refused_increase))


@dataclass(frozen=True, slots=True)
class GaugePolicy:
    """A value that can't be counted. It is compared as it stands, without a bound on the chance of an error."""

    name: str
    mode: MetricMode
    max_value: float
    """Largest good value, in the unit of the query."""
    for_seconds: float
    """How long without pause it has to be above to fail."""


MetricPolicy = SharePolicy | GaugePolicy


def policy_of(analysis: Analysis) -> tuple[MetricPolicy, ...]:
    """The metrics to judge, in the order of the spec: the default ones where none are given, none where disabled."""
    if analysis.disabled:
        return ()
    metrics = defaults.METRICS if analysis.metrics is None else analysis.metrics
    return tuple(_policy(metric) for metric in metrics)


_WATCH_SHARE = 0.5
"""Part of `falseRollbackPercent` that is kept for the watch. Its evidence begins anew, as no stable serves beside."""


WHOLE_PART = 0.5
"""Part of a limit's chance of a false Fail that is for all requests together, where a metric has slices."""


def alpha_of_slice(alpha: float, slices: Slices) -> float:
    """Chance of a false Fail of each slice, if a limit has `alpha`: what all requests together leave, in equal parts.

    Many slices so cost little of the speed with which a candidate is found that is worse everywhere.
    """
    return alpha * (1 - WHOLE_PART) / slices.count


def without_comparison(policy: SharePolicy) -> SharePolicy:
    """What of the policy can be judged where candidate and stable answer requests that are not alike.

    The absolute limit is: it takes stable only as a witness of incidents that hit both. A policy without one is left as
    it is, and its verdict is Missing(NotComparable).
    """
    if policy.max_share is None:
        return policy
    return replace(policy, max_increase=None, max_refused_increase=None)


def alpha_fail(analysis: Analysis, *, watched: bool, watching: bool = False, runs: int = 1) -> float:
    """Chance of a false Fail for each independently tested limit.

    `falseRollbackPercent` is for the whole attempt. A part of it is kept for the watch after the promotion, and the
    rest is divided evenly over the limits of all enforced metrics (Bonferroni); that of a metric with slices is divided
    further (`alpha_of_slice`). A metric that is only observed costs nothing and is tested at the same level. A Fail of
    an absolute limit needs "above stable" as well, which costs nothing either: both hypotheses have to be rejected.

    Args:
        analysis: the metrics and the percentage.
        watched: whether a watch follows the promotion.
        watching: whether it is the watch that is judged.
        runs: how often the evidence before the watch begins anew; each time has its part.

    """
    tests = sum(
        policy.tests
        for policy in policy_of(analysis)
        if isinstance(policy, SharePolicy) and policy.mode is MetricMode.ENFORCE
    )
    kept = _WATCH_SHARE if watched else 0.0
    part = kept if watching else (1.0 - kept) / runs
    return float(analysis.false_rollback_percent.share) * part / max(tests, 1)


def alpha_pass(analysis: Analysis) -> float:
    """Chance that a metric at limit + tolerance passes. Not divided: all have to pass, so each bounds the chance."""
    return float(analysis.false_promotion_percent.share)


def _policy(metric: Metric) -> MetricPolicy:
    limit = metric.limit
    if metric.value is not None:
        if limit.max is None:
            raise ValueError(f"metric {metric.name}: a value needs limit.max")
        return GaugePolicy(metric.name, metric.mode, float(limit.max.decimal), float(metric.value.for_seconds))
    max_share, max_increase = _share(limit.max_percent), _share(limit.max_increase_percent)
    first_limit = max_increase if max_share is None else max_share
    if first_limit is None:
        raise ValueError(f"metric {metric.name}: limit needs maxPercent, maxIncreasePercent or both")
    tolerance = _share(metric.tolerance_percent)
    refused = first_limit if max_increase is None else max_increase
    return SharePolicy(
        name=metric.name,
        kind=_kind(metric),
        mode=metric.mode,
        max_share=max_share,
        max_increase=max_increase,
        max_refused_increase=refused if metric.errors is not None and metric.errors.codes is None else None,
        tolerance=first_limit if tolerance is None else tolerance,
        min_samples=metric.min_samples,
        absent_bad=defaults.absent_bad(metric),
    )


def _kind(metric: Metric) -> ShareKind:
    if metric.errors is not None:
        return ShareKind.ERRORS
    return ShareKind.LATENCY if metric.latency is not None else ShareKind.RATIO


def _share(percent: Percent | None) -> float | None:
    return None if percent is None else float(percent.share)


@lru_cache(maxsize=1024)
def limit_text(policy: MetricPolicy) -> str:
    """The limits in words, such as "1 %, stable + 0.5 points"."""
    match policy:
        case GaugePolicy():
            held = f" for {policy.for_seconds:g} s" if policy.for_seconds else ""
            return f"{policy.max_value:g}{held}"
        case SharePolicy():
            absolute = [] if policy.max_share is None else [percent(policy.max_share)]
            relative = [] if policy.max_increase is None else [f"stable + {points(policy.max_increase)}"]
            return ", ".join((*absolute, *relative))
        case _:
            assert_never(policy)


def percent(share: float) -> str:
    """A share in percent for people: three significant digits, never in exponents."""
    return f"{_rounded(100 * share)} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points."""
    value = _rounded(100 * difference)
    return f"{value} point" if value == "1" else f"{value} points"


def _rounded(value: float) -> str:
    return f"{float(f'{value:.3g}'):.6f}".rstrip("0").rstrip(".")
