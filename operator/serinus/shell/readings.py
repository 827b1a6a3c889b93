"""Reads the evidence that a pass asked for and turns it into verdicts.

Runs beside the passes, in a task of its own, so that a slow metric source delays nothing but its own rollout. Called by
`serinus.shell.reconciler`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from serinus.api import defaults
from serinus.api.analysis import MAX_SLICES, Metric, MetricMode
from serinus.api.deployment import ModelDeployment
from serinus.api.revision import child_name
from serinus.api.status import MetricSlices
from serinus.core.due import EvidenceRequest, Window
from serinus.core.evidence.baseline import baseline_counts, slice_baselines
from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.judge import Judge
from serinus.core.evidence.policy import (
    MetricPolicy,
    SharePolicy,
    Slices,
    alpha_fail,
    alpha_pass,
    policy_of,
    without_comparison,
)
from serinus.core.evidence.reporting import without_counts
from serinus.core.evidence.slices import chosen, status_of
from serinus.core.observation import Evidence, PodState
from serinus.core.readings import Counters, Grid, Missing, MissingReason, PodStart, Reading, SliceCounts
from serinus.core.verdicts import MetricVerdict, Undecided, UndecidedReason
from serinus.metrics.source import MetricSource, ReadingRequest, request_for

FRESH_POD_SECONDS = 30.0
"""A pod need not report until it has been ready for this long, or three scrapes or two intervals if that is longer.

Prometheus has to find it first.
"""
MOST_JUDGES = 10_000
"""Metrics of rollouts whose evaluation continues the last one; what is beyond is evaluated from the beginning."""
LONGEST_QUESTION = 300
"""Characters of a query that a sentence quotes at most; `query` in status has all of it."""
_UNHEARD = frozenset({MissingReason.EMPTY, MissingReason.CANDIDATE_SILENT})
LONGEST_SERIES = 2000
"""Points of a grid at most: a longer window is read on a wider grid (Prometheus refuses more than 11,000)."""


class Judges:
    """The judges of the metrics that were asked for last, each with what it has seen. Losing one costs time only."""

    def __init__(self, most: int = MOST_JUDGES) -> None:
        """At most so many are kept."""
        self._most = most
        self._kept: OrderedDict[tuple[str, str, str], Judge] = OrderedDict()

    def of(self, deployment: ModelDeployment, policy: MetricPolicy) -> Judge:
        """The judge of one metric of a resource."""
        metadata = deployment.metadata
        key = metadata.namespace, metadata.name, policy.name
        judge = self._kept.pop(key, None)
        if judge is None or judge.policy != policy:
            judge = Judge(policy)
        self._kept[key] = judge
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return judge


@dataclass(frozen=True, slots=True)
class EvidenceReader:
    """Reads and judges all metrics of one rollout."""

    source: MetricSource
    scrape_interval_seconds: float
    settle_seconds: float = 1.0
    """Scrapes are stored a moment after their time stamp: windows end this long before now."""
    judges: Judges = field(default_factory=Judges)

    async def read(self, deployment: ModelDeployment, request: EvidenceRequest) -> Evidence:
        """The verdicts of all metrics over the windows of `request`, read at once."""
        metrics = deployment.spec.analysis.metrics or defaults.METRICS
        policies = policy_of(deployment.spec.analysis)
        judged = [
            self._judged(deployment, metric, policy, request) for metric, policy in zip(metrics, policies, strict=True)
        ]
        found = await asyncio.gather(*judged)
        return Evidence(
            request.window.end,
            request.moves,
            deployment.metadata.generation,
            tuple(verdict for verdict, _ in found),
            tuple(slices for _, slices in found if slices is not None),
        )

    async def _judged(
        self, deployment: ModelDeployment, metric: Metric, policy: MetricPolicy, request: EvidenceRequest
    ) -> tuple[MetricVerdict, MetricSlices | None]:
        """The verdict on a metric. Where its slices are not fixed yet, those to fix, and nothing is judged."""
        label = metric.per_slice
        if label is None or not isinstance(policy, SharePolicy):
            return await self._verdict(deployment, metric, policy, request), None
        fixed = next((each for each in request.slices if (each.metric, each.label) == (metric.name, label)), None)
        if fixed is None:
            return await self._slices(deployment, metric, policy, request)
        slices = Slices(label, fixed.values, float(fixed.least_percent.share))
        return await self._verdict(deployment, metric, replace(policy, slices=slices), request), None

    async def _slices(
        self, deployment: ModelDeployment, metric: Metric, policy: SharePolicy, request: EvidenceRequest
    ) -> tuple[MetricVerdict, MetricSlices | None]:
        """By what the metric is to be judged, from what was served before the evidence began."""
        survey, label = request.survey, metric.per_slice
        assert survey is not None and label is not None  # noqa: S101, PT018 -- it is judged in slices
        served: SliceCounts | Missing = SliceCounts(0.0, {})
        if survey.revision is not None:
            start, end = survey.window.start.timestamp(), survey.window.end.timestamp()
            grid = Grid(start, end - start)
            question = self._question(deployment, metric, request, survey.revision, grid=grid, end=end)
            served = await self.source.slices(question, most=MAX_SLICES)
        if isinstance(served, Missing):
            return without_counts(policy, served), None
        found = chosen(
            policy,
            label,
            served,
            window_seconds=survey.served_seconds,
            exposure_seconds=survey.exposure_seconds,
            alpha_pass=alpha_pass(deployment.spec.analysis),
        )
        waits = without_counts(policy, Undecided(UndecidedReason.NOT_ENOUGH_EVIDENCE))
        message = f"{policy.name}: undecided, it is fixed first by which values of {label} it is judged"
        return replace(waits, message=message), status_of(metric.name, found, served)

    async def _verdict(
        self, deployment: ModelDeployment, metric: Metric, policy: MetricPolicy, request: EvidenceRequest
    ) -> MetricVerdict:
        end = request.window.end.timestamp() - self.settle_seconds
        grid = self._grid(deployment, request.window)
        concurrent = request.concurrent and isinstance(policy, SharePolicy)
        if not request.comparable and isinstance(policy, SharePolicy):
            policy = without_comparison(policy)
        candidate, stable, before = await asyncio.gather(
            self._reading(deployment, metric, request, request.judged, grid=grid, end=end),
            self._reading(deployment, metric, request, request.baseline if concurrent else None, grid=grid, end=end),
            self._before(deployment, metric, policy, request),
        )
        assert candidate is not None  # noqa: S101 -- there is always a judged revision
        analysis = deployment.spec.analysis
        fresh = max(FRESH_POD_SECONDS, 3 * self.scrape_interval_seconds, 2 * grid.step_seconds)
        circumstances = Circumstances(
            now=end,
            step_started_at=request.pass_since.timestamp(),
            alpha_fail=alpha_fail(
                analysis,
                watched=deployment.spec.rollout.watch_seconds > 0,
                watching=not request.concurrent,
                runs=request.runs,
            ),
            alpha_pass=alpha_pass(analysis),
            candidate_pods=_pod_starts(request.judged_pods, end, fresh),
            stable_pods=_pod_starts(request.baseline_pods, end, fresh) if concurrent else (),
            stale_after_seconds=max(3 * grid.step_seconds, 4 * self.scrape_interval_seconds),
            baseline=baseline_counts(policy, before) if isinstance(policy, SharePolicy) and before else None,
            slice_baselines=slice_baselines(policy, before) if isinstance(policy, SharePolicy) and before else (),
        )
        question = self._question(deployment, metric, request, request.judged, grid=grid, end=end)
        if not request.comparable and isinstance(policy, SharePolicy) and policy.compares:
            stable = Missing(MissingReason.NOT_COMPARABLE, "Only requests with certain headers go to the candidate.")
            circumstances = replace(circumstances, stable_pods=())
            # It has its say in the steps in which the two are compared; without such a step nothing is passed over.
            policy = replace(policy, mode=MetricMode.OBSERVE if request.compared_later else policy.mode)
        verdict = self.judges.of(deployment, policy).judge(candidate, stable, circumstances)
        return _with_question(verdict, self.source.query(question))

    async def _reading(
        self,
        deployment: ModelDeployment,
        metric: Metric,
        request: EvidenceRequest,
        revision: str | None,
        *,
        grid: Grid,
        end: float,
    ) -> Reading | None:
        if revision is None:
            return None
        return await self.source.read(self._question(deployment, metric, request, revision, grid=grid, end=end))

    @staticmethod
    def _question(
        deployment: ModelDeployment,
        metric: Metric,
        request: EvidenceRequest,
        revision: str,
        *,
        grid: Grid,
        end: float,
    ) -> ReadingRequest:
        name = deployment.metadata.name
        peers = (request.judged, request.baseline)
        return request_for(
            metric,
            namespace=deployment.metadata.namespace,
            pod_prefix=child_name(name, revision),
            grid=grid,
            end=end,
            peer_prefixes=tuple(child_name(name, peer) for peer in peers if peer and peer != revision),
            route=name if deployment.spec.traffic.gateway is not None else None,
        )

    async def _before(
        self, deployment: ModelDeployment, metric: Metric, policy: MetricPolicy, request: EvidenceRequest
    ) -> Counters | None:
        """The previous revision's counters from before the switch; None while it serves beside the judged one."""
        window = request.baseline_window
        if window is None or request.concurrent or not isinstance(policy, SharePolicy):
            return None
        grid = self._grid(deployment, window)
        end = window.end.timestamp()
        reading = await self._reading(deployment, metric, request, request.baseline, grid=grid, end=end)
        return reading if isinstance(reading, Counters) else None

    def _grid(self, deployment: ModelDeployment, window: Window) -> Grid:
        """The grid of a window: the same after a restart, and wide enough for what is asked of Prometheus."""
        finest = max(float(deployment.spec.analysis.interval_seconds), 2 * self.scrape_interval_seconds)
        length = (window.end - window.start).total_seconds()
        step = finest
        while length / step > LONGEST_SERIES:
            step *= 2
        return Grid(anchor=window.start.timestamp(), step_seconds=step)


def _with_question(verdict: MetricVerdict, query: str) -> MetricVerdict:
    """The verdict with what was asked; in its sentence too, where what is missing may be due to the question itself."""
    message = verdict.message
    unheard = isinstance(verdict.verdict, Missing) and verdict.verdict.reason in _UNHEARD
    if unheard and query and query not in message:
        asked = query if len(query) <= LONGEST_QUESTION else f"{query[: LONGEST_QUESTION - 1]}…"
        message = f"{message} Asked was {asked}"
    return replace(verdict, query=query, message=message)


def _pod_starts(pods: Iterable[PodState], now: float, fresh_seconds: float) -> tuple[PodStart, ...]:
    return tuple(
        PodStart(pod.name, pod.started_at.timestamp(), _has_to_report(pod.ready_since, now, fresh_seconds))
        for pod in pods
        if pod.started_at is not None
    )


def _has_to_report(ready_since: datetime | None, now: float, fresh_seconds: float) -> bool:
    return ready_since is not None and now - ready_since.timestamp() >= fresh_seconds
