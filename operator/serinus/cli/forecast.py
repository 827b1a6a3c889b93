"""How long a policy takes at a given traffic: the verdict engine itself, fed with a candidate as good as stable.

Pure; called by `kubectl serinus estimate`. Requests come evenly, and a metric's bad ones with stable's share: a real
rollout takes longer where traffic comes in bursts or falls at night, and where the candidate is worse than stable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from serinus.api.analysis import MetricMode
from serinus.api.deployment import ModelDeployment
from serinus.cli.terminal import duration
from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.judge import Judge
from serinus.core.evidence.policy import ShareKind, SharePolicy, alpha_fail, alpha_pass, policy_of
from serinus.core.readings import Counters, CounterSeries, Grid, Part, PodStart, Sample
from serinus.core.traffic import PlannedStep, comparable_runs, planned_steps
from serinus.core.verdicts import Counts, Pass

LONGEST_SECONDS: Final = 14 * 86_400.0
"""What takes longer than two weeks is as good as never."""
_GROWTH: Final = 1.03
"""Looks lie so far apart, as longer waits need not be known to the interval."""
_MOST_INTERVALS: Final = 2_000
"""More are put together in pairs, as the operator does with long windows."""
_HOUR: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What reaches all revisions together."""

    requests_per_second: float
    """Requests, or what else a metric counts."""
    bad_share: float = 0.0
    """Of stable, 0 to 1."""
    thinnest: str = ""
    """The slice with the fewest requests of those that are judged by themselves, as `country=LI`; "" without any."""
    thinnest_share: float = 0.0
    """Its share of the requests, 0 to 1."""


@dataclass(frozen=True, slots=True)
class MetricForecast:
    """How long one metric takes to pass in one step."""

    name: str
    seconds: float | None
    """None: it does not pass like this."""
    requests: float | None
    """Of the candidate, until then; of a slice, in it."""
    slice: str = ""
    """The slowest slice, as `country=DE`; "" for all requests together."""

    @property
    def title(self) -> str:
        """Metric and slice."""
        return f"{self.name}[{self.slice}]" if self.slice else self.name


@dataclass(frozen=True, slots=True)
class StepForecast:
    """How long one step takes."""

    step: PlannedStep
    seconds: float | None
    """The longer of hold and metrics; the hold alone where nobody knows more: of an approval, and of requests that are
    told by headers. None: it does not end like this."""
    metrics: tuple[MetricForecast, ...]
    undecided_after_seconds: float | None
    """When `analysis.undecided` would act before it ends; None where it does not."""

    @property
    def slowest(self) -> MetricForecast | None:
        """The metric that the step waits for longer than for its hold."""
        late = [each for each in self.metrics if each.seconds is None or each.seconds > self.step.hold_seconds]
        return max(late, key=lambda each: math.inf if each.seconds is None else each.seconds, default=None)


@dataclass(frozen=True, slots=True)
class Forecast:
    """How long a rollout takes, pods' starts and people aside."""

    steps: tuple[StepForecast, ...]
    watch_seconds: int
    scrape_seconds: float
    """How often Prometheus is assumed to scrape."""
    interval_seconds: float
    """How often counts are taken then."""
    advice: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Until the promotion; None: it does not get there by itself."""
        each = [step.seconds for step in self.steps]
        return None if None in each else math.fsum(seconds for seconds in each if seconds is not None)


def forecast(deployment: ModelDeployment, traffic: Mapping[str, Traffic], scrape_seconds: float) -> Forecast:
    """How long the deployment's rollout takes.

    Args:
        deployment: its spec is looked at only.
        traffic: by the name of the metric.
        scrape_seconds: how often Prometheus scrapes; counts are taken in intervals of at least twice that.

    """
    steps = tuple(_step(deployment, step, traffic, scrape_seconds) for step in planned_steps(deployment.spec))
    advice = tuple(dict.fromkeys(line for step in steps for line in _advice(deployment, step, traffic, scrape_seconds)))
    interval = _interval_seconds(deployment, scrape_seconds)
    return Forecast(steps, deployment.spec.rollout.watch_seconds, scrape_seconds, interval, advice)


def _interval_seconds(deployment: ModelDeployment, scrape_seconds: float) -> float:
    return max(float(deployment.spec.analysis.interval_seconds), 2 * scrape_seconds)


def _step(
    deployment: ModelDeployment, step: PlannedStep, traffic: Mapping[str, Traffic], scrape_seconds: float
) -> StepForecast:
    analysis = deployment.spec.analysis
    if step.approval or not step.compares:
        return StepForecast(step, float(step.hold_seconds), (), None)
    metrics = tuple(_metrics(deployment, step, traffic, scrape_seconds))
    longest = max((math.inf if each.seconds is None else each.seconds for each in metrics), default=0.0)
    ends = max(float(step.hold_seconds), longest)
    limit = step.hold_seconds + analysis.undecided.after_seconds
    return StepForecast(step, None if ends > LONGEST_SECONDS else ends, metrics, float(limit) if ends > limit else None)


def _metrics(
    deployment: ModelDeployment, step: PlannedStep, traffic: Mapping[str, Traffic], scrape_seconds: float
) -> Iterator[MetricForecast]:
    analysis, runs = deployment.spec.analysis, comparable_runs(planned_steps(deployment.spec))
    interval = _interval_seconds(deployment, scrape_seconds)
    watched = deployment.spec.rollout.watch_seconds > 0
    errors = alpha_fail(analysis, watched=watched, runs=runs), alpha_pass(analysis)
    shares = max(step.weight_percent, step.shadow_percent) / 100, 1 - step.weight_percent / 100
    for policy in policy_of(analysis):
        if not isinstance(policy, SharePolicy) or policy.mode is not MetricMode.ENFORCE:
            continue  # a gauge that is in order passes at once
        of_all = traffic[policy.name]
        seconds = _until_pass(policy, of_all, shares, interval=interval, errors=errors)
        served = None if seconds is None else seconds * of_all.requests_per_second * shares[0]
        yield MetricForecast(policy.name, seconds, served)
        if of_all.thinnest:
            part = replace(of_all, requests_per_second=of_all.requests_per_second * of_all.thinnest_share)
            seconds = _until_pass(replace(policy, min_samples=1), part, shares, interval=interval, errors=errors)
            served = None if seconds is None else seconds * part.requests_per_second * shares[0]
            yield MetricForecast(policy.name, seconds, served, of_all.thinnest)


def _until_pass(
    policy: SharePolicy,
    traffic: Traffic,
    shares: tuple[float, float],
    *,
    interval: float,
    errors: tuple[float, float],
) -> float | None:
    """Seconds until the metric passes, in whole intervals; None where it does not.

    `shares` are those of the candidate and of stable, which sum up to more than 1 where requests are copied.
    """
    if policy.max_share is not None and traffic.bad_share >= policy.max_share:
        return None  # stable breaks the limit itself
    judge, count = Judge(policy), 1
    own, beside = (traffic.requests_per_second * share for share in shares)
    before = traffic.requests_per_second * _HOUR
    while count * interval <= LONGEST_SECONDS and traffic.requests_per_second > 0:
        circumstances = Circumstances(
            now=count * interval,
            step_started_at=0.0,
            alpha_fail=errors[0],
            alpha_pass=errors[1],
            stale_after_seconds=4 * interval,
            candidate_pods=(PodStart("candidate", -interval),),
            stable_pods=(PodStart("stable", -interval),) if beside else (),
            baseline=None if beside else Counts(before * traffic.bad_share, before),
        )
        served, compared = (
            _counters(policy, pod, (rate, rate * traffic.bad_share), count, interval)
            for pod, rate in (("candidate", own), ("stable", beside))
        )
        if isinstance(judge.judge(served, compared if beside else None, circumstances).verdict, Pass):
            return count * interval
        count = max(count + 1, math.ceil(count * _GROWTH))
        if count > _MOST_INTERVALS:
            judge, count, interval = Judge(policy), count // 2, 2 * interval
    return None


def _counters(policy: SharePolicy, pod: str, per_second: tuple[float, float], count: int, interval: float) -> Counters:
    """What Prometheus would have at the end of `count` intervals, of so many requests and bad ones in a second."""
    totals = [per_second[0] * interval * point for point in range(count + 1)]
    bads = [per_second[1] * interval * point for point in range(count + 1)]
    goods = [total - bad for total, bad in zip(totals, bads, strict=True)]
    counted = {Part.TOTAL: totals}
    if policy.kind is ShareKind.LATENCY:
        counted |= {Part.GOOD_BELOW_LOWER: goods, Part.GOOD_BELOW_UPPER: goods}
    else:
        counted |= {Part.BAD: bads}
    return Counters(
        tuple(
            CounterSeries(pod, part, "", tuple(Sample(point * interval, value) for point, value in enumerate(values)))
            for part, values in counted.items()
        ),
        Grid(0.0, interval),
    )


def _advice(
    deployment: ModelDeployment, step: StepForecast, traffic: Mapping[str, Traffic], scrape_seconds: float
) -> Iterator[str]:
    """What would make a step shorter that waits for a metric much longer than for its hold."""
    slow = step.slowest
    if slow is None or (step.seconds is not None and step.seconds < 2 * max(step.step.hold_seconds, 600)):
        return
    analysis = deployment.spec.analysis
    policy = next(each for each in policy_of(analysis) if each.name == slow.name)
    if not isinstance(policy, SharePolicy):
        return
    if policy.max_share is not None and traffic[slow.name].bad_share >= policy.max_share:
        yield f"{slow.name}: stable itself breaks the limit, so that nothing passes: raise the limit, or mend stable"
        return
    wider = f"a wider tolerancePercent (now {100 * policy.tolerance:g}) or limit"
    doubled = min(2 * step.step.weight_percent, 100)
    heavier = replace(step.step, weight_percent=doubled)
    of_doubled = _metrics(deployment, heavier, traffic, scrape_seconds)
    faster = next(each.seconds for each in of_doubled if each.title == slow.title)
    if doubled in {0, 100} or faster is None:
        yield f"step {step.step.name} waits for {slow.title}: {wider} or more traffic shortens it"
    else:
        weight = f"a weight of {doubled} % would make that {duration(faster)}"
        yield f"step {step.step.name} waits for {slow.title}: {weight}; {wider} shortens it too"
    if step.undecided_after_seconds is not None:
        after, action = duration(step.undecided_after_seconds), analysis.undecided.action.value
        yield f"step {step.step.name} would still be undecided after {after}: analysis.undecided.action is {action}"
