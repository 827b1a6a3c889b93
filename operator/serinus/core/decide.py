"""One observation in, one plan out: the whole control flow of Serinus.

`decide` is pure. It asks the rollout for a move; without one it realises what was decided before. In both cases the
parts of status that are only seen (conditions, ready pods, weights, newest verdicts) are brought up to date, and
written when their meaning has changed. Called by the reconcile loop, and by the simulated world in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from serinus.api.kinds import GROUP
from serinus.api.reasons import ConditionType, Happening, Phase, Reason, Recommendation
from serinus.api.status import MetricStatus, ModelDeploymentStatus, RevisionStatus, SampleCounts, SliceStatus
from serinus.core import render
from serinus.core.conditions import Stall, conditions, selector
from serinus.core.due import JUDGING_PHASES
from serinus.core.meddling import meddled_with
from serinus.core.notifications import brought_forward
from serinus.core.observation import Observation
from serinus.core.obstacles import obstacle_to
from serinus.core.plan import Move, Note, Plan, Realise
from serinus.core.platform.standing import standing, taken_back
from serinus.core.realise import KeptRevision, intents, kept_revisions
from serinus.core.recommendation import recommendation
from serinus.core.rollout import next_move
from serinus.core.rollout.recording import Telling, history_with, note_of
from serinus.core.rollout.returns import returnable
from serinus.core.rollout.situation import Situation
from serinus.core.urgency import is_urgent
from serinus.core.verdicts import MetricVerdict, SliceVerdict, VerdictKind, kind_of, reason_of

REFRESH_SECONDS = 60
"""While something is judged, numbers in status are rewritten at most this often unless a verdict changes."""
WORDS = frozenset(
    {"message", "bad", "total", "lower", "upper", "needed", "slices", "at", "heldSeconds", "lastTransitionTime"}
)
"""Fields that change all the time while something is judged, without changing what status means."""
SLICES_TOLD = 3
"""Of a metric, the worst so many slices stand in status."""
DETAILS_SECONDS = 10
"""What changes in details only is written together, so long after the last write of status."""
DETAILS = WORDS | {"replicas", "readyReplicas", "weightPercent", "version", "image"}
"""Fields that follow pods and routes step by step on the way to something that is worth telling."""
PASSING_REASONS = frozenset({ConditionType.READY, ConditionType.RECONCILING})
"""Conditions whose reasons do the same."""


def decide(observation: Observation) -> Plan:
    """What to do now, and when to look again."""
    s = Situation(observation)
    if observation.deployment.metadata.deletion_timestamp is not None:
        return Plan(Realise())
    obstacle = obstacle_to(s)
    lost = obstacle is not None and obstacle.reason is Reason.STATUS_LOST
    if not s.spec.suspend and not lost:
        move = next_move(s, frozen=obstacle is not None or observation.frozen_by is not None)
        if move is not None:
            after = _with_status(s, move.status)
            return Plan(_told(s, move, after, obstacle), wake_at=s.now, urgent=is_urgent(after))
    hands_off = s.spec.suspend or lost
    status, besides = _told_besides(s, _seen(s, obstacle))
    worth_it = _worth_writing(s, status)
    later = _details_may_wait_until(s, status) if worth_it else None
    changed = status if worth_it and later is None else None
    notes = (*_news_of(s, obstacle), *besides) if changed is not None else ()
    urgent = not hands_off and is_urgent(s)
    if changed is not None and observation.refusal is not None:
        # Told first: the refused write would stand before it again.
        return Plan(Realise((), changed, notes), s.now, urgent)
    wake_at = min((at for at in (later, None if hands_off else _wake_at(s)) if at is not None), default=None)
    missing = () if hands_off else intents(s)
    return Plan(Realise(missing, changed, (*notes, *meddled_with(s, missing))), wake_at, urgent)


def _news_of(s: Situation, obstacle: Stall | None) -> tuple[Note, ...]:
    """An Event for what needs a person and the conditions do not tell of yet; a rollback has one of its own."""
    stall = obstacle or _late_first_revision(s)
    if stall is None:
        return ()
    told = any(c.type == ConditionType.STALLED and c.reason == stall.reason for c in s.status.conditions)
    return () if told else (Note(Happening.STALLED, f"{stall.reason}: {stall.message}", "Warning"),)


def _told_besides(s: Situation, status: ModelDeploymentStatus) -> tuple[ModelDeploymentStatus, tuple[Note, ...]]:
    """The status, and Events, for what is told in the same write and follows from no decision."""
    gone = taken_back(s.status.policies, status.policies)
    of_policies = (Note(Happening.POLICY_GONE, gone[:1000], "Warning"),) if gone is not None else ()
    told, recommended = _recommending(s, status)
    return told, (*of_policies, *recommended)


def _recommending(s: Situation, status: ModelDeploymentStatus) -> tuple[ModelDeploymentStatus, tuple[Note, ...]]:
    """The status, and an Event, where the evidence begins to recommend that a person takes the candidate back.

    The history has it once in a row: evidence may come and go, and must not drive decisions out.
    """
    now, before = status.rollout.recommendation, s.status.rollout.recommendation
    if now is not Recommendation.ABORT or before is now:
        return status, ()
    revision = (status.candidate or status.stable or RevisionStatus(revision="?")).revision
    evidence = s.evidence_in_words(VerdictKind.FAIL) or s.trouble
    message = f"Recommended: {GROUP}/abort: {revision}; {evidence}"
    telling = Telling(Happening.RECOMMENDED, message, revision, warning=True)
    newest = next(iter(status.history), None)
    known = newest is not None and (newest.event, newest.revision) == (telling.happening, revision)
    history = status.history if known else history_with(telling, status, s.now)
    return status.model_copy(update={"history": history}), (note_of(telling),)


def _with_status(s: Situation, status: ModelDeploymentStatus) -> Situation:
    """What there is to do once this status is written, with the children as they are now."""
    return Situation(replace(s.observation, deployment=replace(s.observation.deployment, status=status)))


def _told(s: Situation, move: Move, after: Situation, obstacle: Stall | None) -> Move:
    """The move, with the seen parts of status as they are after it."""
    if s.evidence is not None and move.status.rollout.phase is not Phase.STARTING:  # a new attempt begins without
        judged = move.status.model_copy(update={"analysis": _analysis(s)})
        after = _with_status(s, judged)
    status, besides = _told_besides(s, _seen(after, obstacle))
    return replace(move, status=status, notes=(*move.notes, *besides))


def _stall(s: Situation, obstacle: Stall | None) -> Stall | None:
    """What the condition Stalled says."""
    if obstacle is not None:
        return obstacle
    rejected = next((each for each in s.status.rejected if each.revision == s.revision), None)
    if rejected is not None and s.rollout.phase is Phase.REJECTED:
        message = (
            f"revision {rejected.revision} was rolled back: {rejected.message}; change the spec, or try it again with "
            f"the annotation serinus.dev/retry: {rejected.revision}"
        )
        return Stall(rejected.reason, message)
    return _late_first_revision(s)


def _late_first_revision(s: Situation) -> Stall | None:
    """There is nothing to return to: it is kept, and may still make it."""
    if s.rollout.phase is not Phase.STARTING or s.stable is not None or not s.deadline_passed:
        return None
    ready = s.children.ready(s.candidate) >= s.first_share_pods
    if ready and s.awaits_preflight:  # the Job has a deadline of its own
        return None
    because = (s.route_trouble if ready else None) or s.trouble
    return Stall(Reason.PROGRESS_DEADLINE_EXCEEDED, f"the first revision does not serve in time: {because}")


# The parts of status that are only seen ----------------------------------------------------------------------------


def _seen(s: Situation, obstacle: Stall | None) -> ModelDeploymentStatus:
    status = s.status
    name = s.observation.deployment.metadata.name
    analysis = _analysis(s)
    kept = kept_revisions(s)
    looked: dict[str, Any] = {
        "observed_generation": s.observation.deployment.metadata.generation,
        "stable": _revision_status(s, status.stable, kept),
        "candidate": _revision_status(s, status.candidate, kept),
        "previous": _revision_status(s, status.previous, kept),
        "retired": returnable(s),
        "analysis": analysis,
        "notified": brought_forward(status.notified, s.observation.notified),
        "policies": standing(s.observation.governed, status.policies),
        "replicas": s.children.replica_sets[s.stable].current
        if s.stable and s.stable in s.children.replica_sets
        else 0,
        "selector": selector(name, s.stable),
    }
    rollout = status.rollout.model_copy(update={"recommendation": recommendation(s, analysis)})
    seen = status.model_copy(update={**looked, "rollout": rollout})
    told = _with_status(s, seen)
    written = conditions(told, _stall(told, obstacle))
    waiting = next(c for c in written if c.type == ConditionType.RECONCILING)
    told_before = status.rollout.message if s.rollout.phase is Phase.ROLLING_BACK else ""
    message = waiting.message if waiting.status == "True" else told_before
    rollout = rollout.model_copy(update={"message": message})
    return seen.model_copy(update={"conditions": written, "rollout": rollout})


def _revision_status(
    s: Situation, role: RevisionStatus | None, kept: Mapping[str, KeptRevision]
) -> RevisionStatus | None:
    if role is None:
        return None
    replica_set = s.children.replica_sets.get(role.revision)
    record = kept.get(role.revision)
    version, image = render.identity_of(record.manifest) if record else (role.version, role.image)
    ready = replica_set.ready if replica_set else 0
    return role.model_copy(
        update={
            "version": version,
            "image": image,
            "replicas": replica_set.current if replica_set else 0,
            "ready_replicas": ready,
            "weight_percent": s.in_force.get(role.revision, 0),
            "ever_ready": role.ever_ready or ready > 0,
        }
    )


def _analysis(s: Situation) -> tuple[MetricStatus, ...]:
    """The newest verdicts where there are fresh ones, else those that status has."""
    if s.evidence is None:
        return s.status.analysis
    return tuple(_metric_status(verdict, s.evidence.at) for verdict in s.evidence.verdicts)


def _metric_status(verdict: MetricVerdict, at: datetime) -> MetricStatus:
    return MetricStatus(
        name=verdict.name,
        verdict=verdict.kind.value,
        reason=reason_of(verdict.verdict),
        mode=verdict.mode.value,
        candidate=_counts(verdict.candidate.bad, verdict.candidate.total) if verdict.candidate else None,
        stable=_counts(verdict.stable.bad, verdict.stable.total) if verdict.stable else None,
        lower=_percent(verdict.lower),
        upper=_percent(verdict.upper),
        limit=verdict.limit,
        needed=verdict.needed,
        message=verdict.message[:1000],
        slices=tuple(map(_slice_status, verdict.slices[:SLICES_TOLD])),
        query=verdict.query[:1000],
        at=at,
    )


def _slice_status(told: SliceVerdict) -> SliceStatus:
    return SliceStatus(
        value=told.value or "",
        verdict=kind_of(told.verdict).value,
        decides=told.decides,
        candidate=_counts(told.candidate.bad, told.candidate.total),
        stable=_counts(told.stable.bad, told.stable.total) if told.stable else None,
        lower=_percent(told.lower),
        upper=_percent(told.upper),
    )


def _counts(bad: float, total: float) -> SampleCounts:
    return SampleCounts(bad=round(bad, 3), total=round(total, 3))


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.2f}"


def _worth_writing(s: Situation, status: ModelDeploymentStatus) -> bool:
    """Whether the status means something else than the one that is there, or its numbers are due to be refreshed.

    Numbers are refreshed with fresh evidence only: the seconds of a running hold would be a reason to write in every
    pass, and each write is a reason for a pass.
    """
    if s.status == status:
        return False
    before, after = _plain(s.status), _plain(status)
    if before == after:
        return False
    if s.rollout.phase not in JUDGING_PHASES or _meaning(before) != _meaning(after):
        return True
    if s.evidence is None:
        return s.rollout.counting_since is None
    written = max((metric.at for metric in s.status.analysis), default=None)
    return written is None or s.now >= written + timedelta(seconds=REFRESH_SECONDS)


def _details_may_wait_until(s: Situation, status: ModelDeploymentStatus) -> datetime | None:
    """The moment for which a status that differs in details may be kept back; None: write it now.

    Pods come up and weights are confirmed within seconds, mostly right before the next decision, which tells it too.
    """
    written_at = s.observation.status_written_at
    if written_at is None or not timedelta(0) <= s.now - written_at < timedelta(seconds=DETAILS_SECONDS):
        return None
    if _gist(_plain(s.status)) != _gist(_plain(status)):
        return None
    return written_at + timedelta(seconds=DETAILS_SECONDS)


def _gist(status: dict[str, Any]) -> Any:
    conditions_ = [
        {key: value for key, value in each.items() if key != "reason"} if each["type"] in PASSING_REASONS else each
        for each in status.get("conditions", ())
    ]
    return _meaning({**status, "conditions": conditions_}, DETAILS)


def _plain(status: ModelDeploymentStatus) -> dict[str, Any]:
    return status.model_dump(by_alias=True, exclude_none=True, mode="json")


def _meaning(value: Any, without: frozenset[str] = WORDS) -> Any:
    if isinstance(value, dict):
        return {key: _meaning(inner, without) for key, inner in value.items() if key not in without}
    if isinstance(value, list):
        return [_meaning(inner, without) for inner in value]
    return value


# When to look again ------------------------------------------------------------------------------------------------


def _wake_at(s: Situation) -> datetime | None:
    """The next moment at which time alone may change something; None for an idle resource."""
    rollout = s.rollout
    moments = [rollout.drained_at, s.retire_at, s.released_at if s.leftovers else None]
    if rollout.phase is Phase.STARTING:
        moments += [s.deadline_at, s.reachable_at, s.preflight_at if s.awaits_preflight else None]
    if s.awaits_approval and s.is_short:
        moments.append(s.deadline_at)
    if rollout.phase in JUDGING_PHASES and not (s.awaits_approval and rollout.evidence_started_at is None):
        moments.append(s.now + timedelta(seconds=s.spec.analysis.interval_seconds))
    if rollout.phase is Phase.WATCHING:
        moments.append(s.watch_ends_at)
    if s.step is not None and rollout.counting_since is not None:
        left = s.step.hold_seconds - s.held_seconds
        moments.append(max(s.now, rollout.counting_since) + timedelta(seconds=left))
    return min((moment for moment in moments if moment is not None and moment > s.now), default=None)
