"""Which evidence a pass needs, and over which window.

Asked by the reconcile loop before it reads metrics: the windows come from the persisted status alone, so that the same
evidence is read after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from serinus.api.reasons import Phase
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.status import MetricSlices
from serinus.core.observation import PodState
from serinus.core.rollout.situation import Situation
from serinus.core.traffic import SHARE_PHASES, PlannedStep, comparable_runs

JUDGING_PHASES = frozenset({*SHARE_PHASES, Phase.PROMOTING, Phase.WATCHING})

_SURVEY = timedelta(hours=1)
"""Slices are chosen from what stable served in so long a time before the evidence began."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time in which a revision's metrics are read."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class EvidenceRequest:
    """What has to be read to judge a revision now."""

    moves: int
    """`status.moves` at the time of asking; the answer is only used while it is still this."""
    judged: str
    """The revision under judgement."""
    judged_pods: tuple[PodState, ...]
    """Its pods: those with traffic have to report."""
    window: Window
    pass_since: datetime
    """Evidence for Pass counts from here."""
    baseline: str | None
    """The revision to compare with."""
    baseline_window: Window | None
    """Its window: the same one, or the time before the switch (then `concurrent` is false)."""
    concurrent: bool
    """Whether the baseline serves at the same time."""
    baseline_pods: tuple[PodState, ...] = ()
    generation: int = 0
    """`metadata.generation` at the time of asking."""
    policies: str = ""
    """`Governed.version` at the time of asking."""
    comparable: bool = True
    """Whether the requests of the two are alike: not where only those with certain headers go to the candidate."""
    compared_later: bool = False
    """Whether they are in another step of the rollout."""
    runs: int = 1
    """How often evidence begins anew in an attempt, as the requests become comparable or cease to be."""
    slices: tuple[MetricSlices, ...] = ()
    """Those that are fixed; the others are to be chosen from `survey`."""
    survey: Survey | None = None
    """Not None where anything is judged by slices."""


@dataclass(frozen=True, slots=True)
class Survey:
    """From what slices are chosen: the same whenever it is looked at, as it ended before the evidence began."""

    revision: str | None
    """The revision that served; None: nothing did."""
    window: Window
    served_seconds: float
    """How long it had been stable within the window."""
    exposure_seconds: float
    """Seconds of all requests that the candidate gets in its smallest step until `analysis.undecided` acts."""


def evidence_request(s: Situation) -> EvidenceRequest | None:
    """The evidence that is due in this phase; None where nothing is judged now.

    Nothing is read while the resource is suspended: written verdicts vouch for the time until then.
    """
    rollout, analysis = s.rollout, s.spec.analysis
    started = rollout.evidence_started_at
    able = s.observation.capabilities.metric_source and not analysis.disabled
    if s.spec.suspend or not able or rollout.phase not in JUDGING_PHASES:
        return None
    if started is None or s.now < started + timedelta(seconds=analysis.interval_seconds):
        return None
    judged = s.stable if rollout.phase is Phase.WATCHING else s.candidate
    if judged is None:
        return None
    window = Window(started, s.now)
    concurrent = rollout.phase is not Phase.WATCHING
    baseline = s.stable if concurrent else s.previous
    past = _past_window(s)
    comparable = not concurrent or s.step is None or s.step.compares or not s.step.judged
    return EvidenceRequest(
        moves=s.status.moves,
        generation=s.observation.deployment.metadata.generation,
        policies=s.policies_version,
        judged=judged,
        judged_pods=s.children.pods_of(judged),
        window=window,
        pass_since=rollout.pass_evidence_since or started,
        baseline=baseline,
        baseline_window=window if concurrent else past,
        concurrent=concurrent,
        baseline_pods=s.children.pods_of(baseline) if baseline else (),
        comparable=comparable,
        compared_later=not comparable and any(step.compares for step in s.steps),
        runs=comparable_runs(s.steps),
        slices=s.rollout.slices,
        survey=_survey(s, started) if any(metric.per_slice for metric in s.metrics) else None,
    )


def _survey(s: Situation, started: datetime) -> Survey:
    """What stable served before the evidence began; during a watch, what the one before it served until the switch."""
    watching = s.rollout.phase is Phase.WATCHING
    role = s.status.previous if watching else s.status.stable
    end = min(started, s.rollout.baseline_ended_at or started) if watching else started
    since = role.since if role is not None and role.since is not None and not watching else end - _SURVEY
    return Survey(
        revision=role.revision if role is not None else None,
        window=Window(end - _SURVEY, end),
        served_seconds=max((end - max(since, end - _SURVEY)).total_seconds(), 1.0),
        exposure_seconds=exposure_seconds(s.spec, s.steps),
    )


def exposure_seconds(spec: ModelDeploymentSpec, steps: Iterable[PlannedStep]) -> float:
    """Seconds of all requests that a candidate gets in its smallest step until `analysis.undecided` acts.

    Of the watch, where it gets some in no step that compares it with stable.
    """
    patience = spec.analysis.undecided.after_seconds
    exposures = [
        max(step.weight_percent, step.shadow_percent) / 100 * (step.hold_seconds + patience)
        for step in steps
        if step.compares and not step.approval
    ]
    return min(exposures, default=float(spec.rollout.watch_seconds))


def _past_window(s: Situation) -> Window | None:
    start, end = s.rollout.baseline_started_at, s.rollout.baseline_ended_at
    return Window(start, end) if start and end and start < end else None
