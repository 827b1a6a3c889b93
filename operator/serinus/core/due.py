"""Which evidence a pass needs, and over which window.

Asked by the reconcile loop before it reads metrics: the windows come from the persisted status alone, so that the same
evidence is read after a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from serinus.api.reasons import Phase
from serinus.core.observation import PodState
from serinus.core.rollout.situation import Situation
from serinus.core.traffic import SHARE_PHASES, comparable_runs

JUDGING_PHASES = frozenset({*SHARE_PHASES, Phase.PROMOTING, Phase.WATCHING})


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
    comparable: bool = True
    """Whether the requests of the two are alike: not where only those with certain headers go to the candidate."""
    compared_later: bool = False
    """Whether they are in another step of the rollout."""
    runs: int = 1
    """How often evidence begins anew in an attempt, as the requests become comparable or cease to be."""


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
    )


def _past_window(s: Situation) -> Window | None:
    start, end = s.rollout.baseline_started_at, s.rollout.baseline_ended_at
    return Window(start, end) if start and end and start < end else None
