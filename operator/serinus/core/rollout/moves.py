"""The decisions that take a rollout from one phase or step to another: each returns the status after it.

Called by the policies and actions beside this file. Every move raises `status.moves`, and the ones that people should
find again later leave an entry in `status.history`.
"""

from __future__ import annotations

from datetime import timedelta

from serinus.api.kinds import GROUP
from serinus.api.reasons import Happening, JudgedBy, Phase, Reason
from serinus.api.status import MOST_RETIRED, RejectedRevision, RetiredRevision, RevisionStatus, RolloutStatus
from serinus.core.plan import Move
from serinus.core.rollout.recording import BECAUSE_LENGTH, MESSAGE_LENGTH, PERSON, Telling, move
from serinus.core.rollout.restarts import restarts_of_attempt, restarts_of_watch
from serinus.core.rollout.situation import Situation
from serinus.core.traffic import begins_anew, planned_steps
from serinus.core.verdicts import VerdictKind

BASELINE_SECONDS = 3600
"""Length of stable's window before a switch, where no canary preceded it."""


def start(s: Situation, *, skips_steps: bool = False) -> Move:
    """Make the spec's revision the candidate; its pods come up without traffic.

    `skips_steps`: it was stable lately, and takes over again as soon as it can carry all traffic.
    """
    message = f"Revision {s.revision} becomes the candidate beside stable {s.stable}"
    if s.stable is None:
        message = f"Revision {s.revision} is the first one: it takes over as soon as a pod is ready"
    elif skips_steps:
        message += "; it was stable within rollout.rollbackWindowSeconds, and skips the steps"
    steps = planned_steps(s.spec, skips_steps=skips_steps)
    return move(
        s,
        Telling(Happening.CANDIDATE_STARTED, message, s.revision),
        candidate=RevisionStatus(revision=s.revision, since=s.now),
        previous=None if s.previous == s.revision else s.status.previous,
        rollout=RolloutStatus(
            phase=Phase.STARTING,
            step_count=len(steps),
            started_at=s.now,
            step_started_at=s.now,
            skips_steps=skips_steps,
            stable_replicas=s.replicas if s.stable else None,
        ),
        rejected=(),
        analysis=(),
    )


def take_over_first(s: Situation) -> Move:
    """Make the candidate stable because nothing serves that it could be compared with."""
    candidate = candidate_of(s)
    message = f"Revision {candidate.revision} is ready and takes over: there was no revision that served before it"
    served = s.children.ready(candidate.revision) > 0  # a resource that is scaled to zero settles without
    return move(
        s,
        Telling(Happening.FIRST_DEPLOYMENT, message, candidate.revision),
        stable=candidate.model_copy(update={"since": s.now, "ever_ready": served}),
        candidate=None,
        previous=None,
        rollout=RolloutStatus(
            phase=Phase.REJECTED if s.is_rejected else Phase.IDLE,  # a person returned to another than the spec's
            judged_by=JudgedBy.READINESS,
            started_at=s.rollout.started_at,
        ),
    )


def enter_step(
    s: Situation,
    index: int,
    judged_by: JudgedBy | None,
    because: str,
    *,
    happening: Happening = Happening.STEP_PASSED,
    by: str = "serinus",
) -> Move:
    """Give the candidate the weight of step `index`; hold and Pass evidence start anew, Fail evidence goes on.

    An approval has neither a hold nor a share of its own: the evidence of the step before it stands.
    """
    step = s.steps[index]
    message = f"Step {step.name} ({step.share_in_words}): {because}"
    pods = s.pods_for_step(step) or s.first_share_pods
    compared = s.rollout.weight_percent > 0 or s.rollout.shadow_percent > 0
    edited = s.rollout.step == step.name and step.compares != compared
    anew = edited or begins_anew(s.steps, index)
    short = s.children.ready(s.candidate) < pods
    waits = step.approval
    if waits:
        message += f"; it waits for the annotation {GROUP}/approve: {s.candidate}/{step.name}"
    happening = Happening.AWAITING_APPROVAL if waits and happening is Happening.STEP_PASSED else happening
    return move(
        s,
        Telling(happening, message, s.candidate, by=by),
        rollout=RolloutStatus(
            phase=Phase.AWAITING_APPROVAL if waits else Phase.HOLDING,
            step=step.name,
            step_index=index,
            step_count=len(s.steps),
            weight_percent=step.weight_percent,
            shadow_percent=step.shadow_percent,
            started_at=s.rollout.started_at,
            step_started_at=s.now,
            evidence_started_at=None if anew else s.rollout.evidence_started_at,
            pass_evidence_since=s.rollout.pass_evidence_since if waits else None,
            short_since=s.now if short else None,
            restarts=restarts_of_attempt(s),
            slices=() if anew else s.rollout.slices,
            judged_by=judged_by,
            skips_steps=s.rollout.skips_steps,
            stable_replicas=s.rollout.stable_replicas,
            preflight=s.rollout.preflight,
            return_from=s.rollout.return_from,
        ),
    )


def end_step(
    s: Situation,
    judged_by: JudgedBy,
    because: str,
    *,
    happening: Happening = Happening.STEP_PASSED,
    by: str = "serinus",
) -> Move:
    """Go on to the step after the current one, or after the last one to the promotion."""
    index = (s.rollout.step_index or 0) + 1
    strongest = JudgedBy.POLICY if s.rollout.judged_by is JudgedBy.POLICY else judged_by
    if index < len(s.steps):
        return enter_step(s, index, strongest, because, happening=happening, by=by)
    return begin_promotion(s, strongest, because, happening=happening, by=by)


def begin_promotion(
    s: Situation,
    judged_by: JudgedBy,
    because: str,
    *,
    happening: Happening = Happening.STEP_PASSED,
    by: str = "serinus",
) -> Move:
    """Scale the candidate to full size and give it all traffic once it can carry it."""
    message = f"Revision {s.candidate} is to take all traffic: {because}"
    notable = by == PERSON or happening is Happening.MAKING_ROOM
    return move(
        s,
        Telling(happening, message, s.candidate if notable else None, by=by),
        rollout=s.rollout.model_copy(
            update={
                "phase": Phase.PROMOTING,
                "step_started_at": s.now,
                "held_seconds": s.held_seconds,
                "counting_since": None,
                "missing_since": None,
                "short_since": None if s.has_full_size else s.now,
                "recreates": s.makes_room_first,
                "withdrawn": False,
                "restarts": restarts_of_attempt(s),
                "judged_by": judged_by,
                "reason": because[:BECAUSE_LENGTH],
            }
        ),
    )


def halt_promotion(s: Situation) -> Move:
    """Go back, for a pause, to the step that decided the promotion, or without one to the start; held time stays."""
    in_step = s.rollout.step is not None
    keeps = s.step.share_in_words if in_step and s.step is not None else "0 %"
    message = (
        f"Paused by annotation before revision {s.candidate} took all traffic: it keeps {keeps}, and the promotion "
        f"is decided again when the annotation is gone"
    )
    pods = s.pods_for_step(s.step) if s.step is not None else 0
    short = in_step and s.children.ready(s.candidate) < (pods or s.first_share_pods)
    return move(
        s,
        Telling(Happening.PAUSED, message, s.candidate),
        rollout=s.rollout.model_copy(
            update={
                "phase": Phase.PAUSED if in_step else Phase.STARTING,
                "step_started_at": s.now,
                "short_since": s.now if short else None,
                "judged_by": s.rollout.judged_by if in_step else None,
                "reason": Reason.PAUSED_BY_PERSON if in_step else None,
            }
        ),
    )


def promote(s: Situation) -> Move:
    """Make the candidate stable: all traffic is confirmed to go there. The old one stays warm, and the watch begins.

    Where the old one has made room, it is only remembered for as long as it may have to come back.
    """
    candidate, stable = candidate_of(s), s.status.stable
    watched, recreates = s.spec.rollout.watch_seconds > 0, s.rollout.recreates
    judged_by = s.rollout.judged_by or JudgedBy.READINESS
    undecided = judged_by is JudgedBy.POLICY and not s.spec.analysis.disabled
    happening = Happening.PROMOTED_UNDECIDED if undecided else Happening.PROMOTED
    by = PERSON if judged_by is JudgedBy.PERSON else "serinus"
    message = f"Revision {candidate.revision} serves all requests, judged by {judged_by}: {s.rollout.reason or ''}"
    return move(
        s,
        Telling(happening, message.rstrip(": "), candidate.revision, by=by),
        stable=candidate.model_copy(update={"since": s.now, "ever_ready": True}),
        candidate=None,
        previous=stable.model_copy(update={"since": s.now}) if stable and (watched or not recreates) else None,
        retired=retired_after(s),
        rollout=RolloutStatus(
            phase=Phase.WATCHING if watched else Phase.IDLE,
            started_at=s.rollout.started_at,
            step_started_at=s.now,
            evidence_started_at=s.now + s.route_margin,
            pass_evidence_since=s.now + s.route_margin,
            baseline_started_at=s.rollout.evidence_started_at or s.now - timedelta(seconds=BASELINE_SECONDS),
            baseline_ended_at=s.now,
            restarts=restarts_of_watch(s),
            slices=s.rollout.slices,
            recreates=recreates and watched,
            stable_replicas=s.replicas if watched else None,
            judged_by=judged_by,
        ),
    )


def reject(s: Situation, reason: Reason, message: str, by: str = "serinus") -> Move:
    """Roll the candidate back and remember that it was worse; its traffic goes off first."""
    candidate = candidate_of(s)
    rejected = RejectedRevision(revision=candidate.revision, reason=reason, message=message[:MESSAGE_LENGTH], at=s.now)
    # A return that fails does not try again what it set aside, unless that still serves.
    set_aside = tuple(each for each in s.status.rejected if each.revision not in {candidate.revision, s.stable})
    return move(
        s,
        Telling(Happening.ROLLED_BACK, f"{reason}: {message}", candidate.revision, warning=True, by=by),
        rejected=(rejected, *set_aside),
        rollout=rolling_back(s, reason, message),
    )


def supersede(s: Situation) -> Move:
    """Take the candidate back because the spec asks for something else now; it is not remembered as worse."""
    message = f"The spec asks for revision {s.revision} now: candidate {s.candidate} goes, its traffic first"
    return move(
        s,
        Telling(Happening.SUPERSEDED, message, s.candidate),
        rollout=rolling_back(s, Reason.SUPERSEDED, message),
    )


def retired_after(s: Situation) -> tuple[RetiredRevision, ...]:
    """The revisions that were stable before, now that the candidate replaces the one that is.

    How many of them are kept is seen to when status is written: the newest is warm at first, and may yet come back.
    """
    stable = s.status.stable
    if stable is None or not stable.ever_ready:
        return s.status.retired
    newest = RetiredRevision(revision=stable.revision, version=stable.version, served_until=s.now)
    others = (each for each in s.status.retired if each.revision not in {stable.revision, s.candidate})
    return (newest, *others)[:MOST_RETIRED]


def end_loan(s: Situation) -> Move:
    """The previous revision served while stable could not: from now on it is kept warm again."""
    assert s.status.previous is not None  # noqa: S101
    message = f"Revision {s.stable} serves again; {s.previous}, which served meanwhile, stays warm from now on"
    previous = s.status.previous.model_copy(update={"since": s.now})
    return move(s, Telling(Happening.TRAFFIC_OFF, message), previous=previous)


def drain(s: Situation) -> Move:
    """The candidate's traffic is confirmed to be off: its pods may go after the drain."""
    seconds = s.rollback_drain.total_seconds()
    message = f"The traffic of revision {s.candidate} is off; its pods stay {seconds:.0f} s for what is under way"
    return move(
        s,
        Telling(Happening.TRAFFIC_OFF, message),
        rollout=s.rollout.model_copy(update={"drained_at": s.now + s.rollback_drain}),
    )


def finish_rollback(s: Situation) -> Move:
    """Let the candidate go."""
    rejected = s.is_rejected
    serves = "starts again" if s.rollout.recreates else "serves"
    message = f"Revision {s.candidate} is gone; {s.stable or 'nothing'} {serves}"
    return move(
        s,
        Telling(Happening.ROLLBACK_FINISHED, message),
        candidate=None,
        rollout=RolloutStatus(
            phase=Phase.REJECTED if rejected else Phase.IDLE,
            started_at=s.rollout.started_at,
            reason=s.rollout.reason if rejected else None,
        ),
    )


def lend_on(s: Situation) -> Move:
    """Let the candidate on its way out go on serving as the revision that is kept warm, so that another can start."""
    message = (
        f"Stable {s.stable} has no ready pod, so revision {s.candidate} goes on serving its requests while revision "
        f"{s.revision} starts"
    )
    return move(
        s,
        Telling(Happening.ROLLBACK_FINISHED, message, s.candidate, warning=True),
        candidate=None,
        previous=candidate_of(s).model_copy(update={"since": s.now}),
        rollout=RolloutStatus(started_at=s.rollout.started_at),
    )


def settle(s: Situation) -> Move:
    """The spec asks for the stable revision again: what was rejected is forgotten, and may be tried again."""
    message = f"The spec asks for the stable revision {s.stable} again"
    return move(s, Telling(Happening.SETTLED, message), rejected=(), rollout=RolloutStatus())


def end_watch(s: Situation) -> Move:
    """The watch after the promotion is over without a Fail; the previous revision goes with it, where that is due."""
    message = f"Revision {s.stable} was watched for {s.spec.rollout.watch_seconds} s without a failing metric"
    unread = [metric.name for metric in s.status.analysis if metric.verdict == VerdictKind.MISSING]
    message += f"; not measured in the end: {', '.join(unread)}" if unread else ""
    message += f"; revision {s.previous} is no longer kept warm" if s.may_retire and not s.rollout.recreates else ""
    return move(
        s,
        Telling(Happening.WATCH_ENDED, message, s.stable),
        previous=None if s.may_retire or s.rollout.recreates else s.status.previous,
        rollout=RolloutStatus(started_at=s.rollout.started_at, judged_by=s.rollout.judged_by),
    )


def retire(s: Situation) -> Move:
    """Let the previous revision's pods go; its objects stay for a return."""
    return move(
        s, Telling(Happening.RETIRED, f"Revision {s.previous} is no longer kept warm", s.previous), previous=None
    )


def start_over(s: Situation) -> Move:
    """Begin the rollout of the same candidate again because its steps changed beyond recognition."""
    there = f"and {s.rollout.step} is no longer among them" if s.rollout.step else "before the switch"
    return move(
        s,
        Telling(Happening.STEPS_CHANGED, f"The steps changed {there}: the rollout starts over", s.candidate),
        rollout=RolloutStatus(
            phase=Phase.STARTING,
            step_count=len(s.steps),
            started_at=s.now,
            step_started_at=s.now,
            stable_replicas=s.rollout.stable_replicas,
            preflight=s.rollout.preflight,
            return_from=s.rollout.return_from,
        ),
        analysis=(),
    )


def renumber_step(s: Situation, index: int) -> Move:
    """Follow the current step to its new place in the list, found by its name."""
    return move(
        s,
        Telling(Happening.STEPS_CHANGED, f"Step {s.rollout.step} is now step {index + 1} of {len(s.steps)}"),
        rollout=s.rollout.model_copy(update={"step_index": index, "step_count": len(s.steps)}),
    )


def candidate_of(s: Situation) -> RevisionStatus:
    """The candidate, where there is one."""
    assert s.status.candidate is not None  # noqa: S101 -- called only in phases that have one
    return s.status.candidate


def rolling_back(s: Situation, reason: Reason, message: str) -> RolloutStatus:
    """The rollout of a candidate that goes: its traffic first."""
    never_had_traffic = s.rollout.phase is Phase.STARTING and s.candidate not in s.reached
    return s.rollout.model_copy(
        update={
            "phase": Phase.ROLLING_BACK,
            "step_started_at": s.now,
            "held_seconds": s.held_seconds,
            "counting_since": None,
            "missing_since": None,
            "drained_at": s.now if never_had_traffic else None,
            "reason": reason,
            "message": message[:MESSAGE_LENGTH],
        }
    )
