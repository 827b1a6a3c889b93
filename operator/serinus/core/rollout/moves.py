"""The decisions themselves: each function returns the status after one decision, and what to tell about it.

Called by the policies beside this file. Every move raises `status.moves`, and the ones that people should find again
later leave an entry in `status.history`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from serinus.api.reasons import Happening, JudgedBy, Phase, Reason
from serinus.api.status import (
    HandledAction,
    HistoryEntry,
    ModelDeploymentStatus,
    PodRestarts,
    RejectedRevision,
    RevisionStatus,
    RolloutStatus,
)
from serinus.core.plan import Move, Note
from serinus.core.rollout.situation import Situation
from serinus.core.sentences import ready_of
from serinus.core.traffic import pods_for_share
from serinus.core.verdicts import VerdictKind

HISTORY_LENGTH = 20
BECAUSE_LENGTH = 700
MESSAGE_LENGTH = 1000
MOST_PODS = 100
"""Pods whose restarts are followed, as many as the CRD takes."""
BASELINE_SECONDS = 3600
"""Length of stable's window before a switch, where no canary preceded it."""


@dataclass(frozen=True, slots=True)
class Telling:
    """How a move is told: as an Event and a log line, and in the history if it concerns a revision."""

    happening: Happening
    message: str
    revision: str | None = None
    warning: bool = False
    by: str = "serinus"


def move(s: Situation, telling: Telling, **changes: Any) -> Move:
    """The move that applies `changes` to the fields of status, raises `moves` and records `telling`."""
    history = s.status.history
    if telling.revision is not None:
        entry = HistoryEntry(
            at=s.now,
            event=telling.happening,
            revision=telling.revision,
            by=telling.by,
            because=telling.message[:BECAUSE_LENGTH],
        )
        history = (entry, *history)[:HISTORY_LENGTH]
    status: ModelDeploymentStatus = s.status.model_copy(
        update={"moves": s.status.moves + 1, "history": history, **changes}
    )
    note = Note(telling.happening, telling.message[:MESSAGE_LENGTH], "Warning" if telling.warning else "Normal")
    return Move(status, (note,))


def start(s: Situation) -> Move:
    """Make the spec's revision the candidate; its pods come up without traffic."""
    first = s.stable is None
    message = (
        f"Revision {s.revision} is the first one: it takes over as soon as a pod is ready"
        if first
        else f"Revision {s.revision} becomes the candidate beside stable {s.stable}"
    )
    return move(
        s,
        Telling(Happening.CANDIDATE_STARTED, message, s.revision),
        candidate=RevisionStatus(revision=s.revision, since=s.now),
        previous=None if s.previous == s.revision else s.status.previous,
        rollout=RolloutStatus(phase=Phase.STARTING, step_count=len(s.steps), started_at=s.now, step_started_at=s.now),
        rejected=(),
        analysis=(),
    )


def take_over_first(s: Situation) -> Move:
    """Make the candidate stable because nothing serves that it could be compared with."""
    candidate = _candidate(s)
    message = f"Revision {candidate.revision} is ready and takes over: there was no revision that served before it"
    served = s.children.ready(candidate.revision) > 0  # a resource that is scaled to zero settles without
    return move(
        s,
        Telling(Happening.FIRST_DEPLOYMENT, message, candidate.revision),
        stable=candidate.model_copy(update={"since": s.now, "ever_ready": served}),
        candidate=None,
        previous=None,
        rollout=RolloutStatus(judged_by=JudgedBy.READINESS, started_at=s.rollout.started_at),
    )


def enter_step(
    s: Situation, index: int, judged_by: JudgedBy | None, because: str, happening: Happening = Happening.STEP_PASSED
) -> Move:
    """Give the candidate the weight of step `index`; hold and Pass evidence start anew, Fail evidence goes on."""
    step = s.steps[index]
    message = f"Step {step.name} ({step.weight_percent} %): {because}"
    short = s.children.ready(s.candidate) < pods_for_share(s.replicas, step.weight_percent)
    return move(
        s,
        Telling(happening, message, s.candidate),
        rollout=RolloutStatus(
            phase=Phase.HOLDING,
            step=step.name,
            step_index=index,
            step_count=len(s.steps),
            weight_percent=step.weight_percent,
            started_at=s.rollout.started_at,
            step_started_at=s.now,
            evidence_started_at=s.rollout.evidence_started_at,
            short_since=s.now if short else None,
            restarts=_restarts_of_attempt(s),
            judged_by=judged_by,
        ),
    )


def begin_promotion(s: Situation, judged_by: JudgedBy, because: str, by: str = "serinus") -> Move:
    """Scale the candidate to full size and give it all traffic once it can carry it."""
    telling = Telling(Happening.STEP_PASSED, f"Revision {s.candidate} is to take all traffic: {because}", None, by=by)
    return move(
        s,
        telling,
        rollout=s.rollout.model_copy(
            update={
                "phase": Phase.PROMOTING,
                "step_started_at": s.now,
                "held_seconds": s.held_seconds,
                "counting_since": None,
                "missing_since": None,
                "short_since": None if s.has_full_size else s.now,
                "withdrawn": False,
                "restarts": _restarts_of_attempt(s),
                "judged_by": judged_by,
                "reason": because[:BECAUSE_LENGTH],
            }
        ),
    )


def halt_promotion(s: Situation) -> Move:
    """Go back, for a pause, to the step that decided the promotion, or without one to the start; held time stays."""
    in_step, weight = s.rollout.step is not None, s.rollout.weight_percent
    message = (
        f"Paused by annotation before revision {s.candidate} took all traffic: it keeps {weight} %, and the promotion "
        f"is decided again when the annotation is gone"
    )
    short = in_step and s.children.ready(s.candidate) < pods_for_share(s.replicas, weight)
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
    """Make the candidate stable: all traffic is confirmed to go there. The old one stays warm, and the watch begins."""
    candidate, stable = _candidate(s), s.status.stable
    watched = s.spec.rollout.watch_seconds > 0
    judged_by = s.rollout.judged_by or JudgedBy.READINESS
    undecided = judged_by is JudgedBy.POLICY and not s.spec.analysis.disabled
    happening = Happening.PROMOTED_UNDECIDED if undecided else Happening.PROMOTED
    by = "person" if judged_by is JudgedBy.PERSON else "serinus"
    message = f"Revision {candidate.revision} serves all requests, judged by {judged_by}: {s.rollout.reason or ''}"
    return move(
        s,
        Telling(happening, message.rstrip(": "), candidate.revision, by=by),
        stable=candidate.model_copy(update={"since": s.now, "ever_ready": True}),
        candidate=None,
        previous=stable.model_copy(update={"since": s.now}) if stable else None,
        rollout=RolloutStatus(
            phase=Phase.WATCHING if watched else Phase.IDLE,
            started_at=s.rollout.started_at,
            step_started_at=s.now,
            evidence_started_at=s.now + s.route_margin,
            pass_evidence_since=s.now + s.route_margin,
            baseline_started_at=s.rollout.evidence_started_at or s.now - timedelta(seconds=BASELINE_SECONDS),
            baseline_ended_at=s.now,
            restarts=_restarts_of_watch(s),
            judged_by=judged_by,
        ),
    )


def reject(s: Situation, reason: Reason, message: str, by: str = "serinus") -> Move:
    """Roll the candidate back and remember that it was worse; its traffic goes off first."""
    candidate = _candidate(s)
    rejected = RejectedRevision(revision=candidate.revision, reason=reason, message=message[:MESSAGE_LENGTH], at=s.now)
    return move(
        s,
        Telling(Happening.ROLLED_BACK, f"{reason}: {message}", candidate.revision, warning=True, by=by),
        rejected=(rejected,),
        rollout=_rolling_back(s, reason, message),
    )


def supersede(s: Situation) -> Move:
    """Take the candidate back because the spec asks for something else now; it is not remembered as worse."""
    message = f"The spec asks for revision {s.revision} now: candidate {s.candidate} goes, its traffic first"
    return move(
        s,
        Telling(Happening.SUPERSEDED, message, s.candidate),
        rollout=_rolling_back(s, Reason.SUPERSEDED, message),
    )


def return_to_previous(s: Situation, reason: Reason, message: str, by: str = "serinus") -> Move:
    """During the watch: make the revision that served before stable again, and roll back the one that replaced it."""
    failed, previous = s.status.stable, s.status.previous
    assert failed is not None  # noqa: S101 -- only called while watching, when both are there
    assert previous is not None  # noqa: S101
    worse = reason is not Reason.SUPERSEDED
    rejected = RejectedRevision(revision=failed.revision, reason=reason, message=message[:MESSAGE_LENGTH], at=s.now)
    because = f"{reason}: back to {previous.revision}: {message}"
    return move(
        s,
        Telling(Happening.RETURNED, because, failed.revision, warning=worse, by=by),
        stable=previous.model_copy(update={"since": s.now}),
        candidate=failed.model_copy(update={"since": s.now}),
        previous=None,
        rejected=(rejected,) if worse else (),
        rollout=_rolling_back(s, reason, message),
    )


def drain(s: Situation) -> Move:
    """The candidate's traffic is confirmed to be off: its pods may go after the drain."""
    seconds = s.drain.total_seconds()
    message = f"The traffic of revision {s.candidate} is off; its pods stay {seconds:.0f} s for what is under way"
    return move(
        s,
        Telling(Happening.TRAFFIC_OFF, message),
        rollout=s.rollout.model_copy(update={"drained_at": s.now + s.drain}),
    )


def finish_rollback(s: Situation) -> Move:
    """Let the candidate go."""
    rejected = s.is_rejected
    message = f"Revision {s.candidate} is gone; {s.stable or 'nothing'} serves"
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
        previous=_candidate(s).model_copy(update={"since": s.now}),
        rollout=RolloutStatus(started_at=s.rollout.started_at),
    )


def settle(s: Situation) -> Move:
    """The spec asks for the stable revision again: what was rejected is forgotten, and may be tried again."""
    message = f"The spec asks for the stable revision {s.stable} again"
    return move(s, Telling(Happening.SETTLED, message), rejected=(), rollout=RolloutStatus())


def end_watch(s: Situation) -> Move:
    """The watch after the promotion is over without a Fail."""
    message = f"Revision {s.stable} was watched for {s.spec.rollout.watch_seconds} s without a failing metric"
    unread = [metric.name for metric in s.status.analysis if metric.verdict == VerdictKind.MISSING]
    message += f"; not measured in the end: {', '.join(unread)}" if unread else ""
    return move(
        s,
        Telling(Happening.WATCH_ENDED, message, s.stable),
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
        rollout=RolloutStatus(phase=Phase.STARTING, step_count=len(s.steps), started_at=s.now, step_started_at=s.now),
        analysis=(),
    )


def renumber_step(s: Situation, index: int) -> Move:
    """Follow the current step to its new place in the list, found by its name."""
    return move(
        s,
        Telling(Happening.STEPS_CHANGED, f"Step {s.rollout.step} is now step {index + 1} of {len(s.steps)}"),
        rollout=s.rollout.model_copy(update={"step_index": index, "step_count": len(s.steps)}),
    )


def start_clock(s: Situation) -> Move:
    """The step's weight is confirmed: hold and evidence count after the data plane's margin."""
    begins = s.now + s.route_margin
    return move(
        s,
        Telling(Happening.COUNTING_STARTED, f"The weights {_weights(s)} are in force: the hold counts"),
        rollout=s.rollout.model_copy(
            update={
                "phase": Phase.HOLDING,
                "counting_since": begins,
                "missing_since": None,
                "short_since": None,
                "restarts": _restarts_of_attempt(s),
                "evidence_started_at": s.rollout.evidence_started_at or begins,
                "pass_evidence_since": s.rollout.pass_evidence_since or begins,
            }
        ),
    )


def stop_clock(s: Situation, because: str, *, missing: bool = False, withdrawn: bool = False) -> Move:
    """Hold the clock: what has counted so far is kept. `withdrawn` takes the candidate's weight off meanwhile.

    Where pods of the candidate are missing the deadline for getting them back begins, and losing the last of them
    counts.
    """
    lost = s.is_short and not s.children.ready(s.candidate)
    return move(
        s,
        Telling(Happening.COUNTING_STOPPED, f"The hold stands still: {because}", warning=True),
        rollout=s.rollout.model_copy(
            update={
                "held_seconds": s.held_seconds,
                "counting_since": None,
                "missing_since": (s.rollout.missing_since or s.now) if missing else s.rollout.missing_since,
                "short_since": (s.rollout.short_since or s.now) if s.is_short else None,
                "weight_losses": s.rollout.weight_losses + (1 if lost else 0),
                "withdrawn": withdrawn or s.rollout.withdrawn,
            }
        ),
    )


def pods_are_lost(s: Situation) -> Move:
    """On its way to all traffic the candidate has fewer pods than that takes, and has the deadline to get them back."""
    has = ready_of(s.children.ready(s.candidate), s.needed_pods, s.candidate)
    return move(
        s,
        Telling(Happening.PODS_LOST, f"{has}: {s.trouble}", warning=True),
        rollout=s.rollout.model_copy(update={"short_since": s.now}),
    )


def pods_are_back(s: Situation) -> Move:
    """The candidate has the pods of its share (again), and something else is waited for."""
    message = f"Revision {s.candidate} has the ready pods that its share needs ({s.children.ready(s.candidate)})"
    return move(s, Telling(Happening.PODS_BACK, message), rollout=s.rollout.model_copy(update={"short_since": None}))


def evidence_is_back(s: Situation) -> Move:
    """There is evidence again, and something else keeps the clock from running."""
    rollout = s.rollout.model_copy(update={"missing_since": None})
    return move(s, Telling(Happening.EVIDENCE_BACK, "There is evidence again"), rollout=rollout)


def give_back(s: Situation) -> Move:
    """The candidate reports again: it gets the weight of its step back, and the clock starts when that is confirmed."""
    return move(
        s,
        Telling(Happening.WEIGHT_GIVEN_BACK, f"Revision {s.candidate} reports again and gets its weight back"),
        rollout=s.rollout.model_copy(update={"withdrawn": False, "missing_since": None}),
    )


def skip_gap(s: Situation) -> Move:
    """Go on counting from now: the time since the last pass is not vouched for and does not count.

    Where the clock was set, the last pass and the time since when the hold counts are both of the clock before.
    """
    last, stepped = s.vouched_until, s.observation.clock_stepped
    since = s.rollout.counting_since or s.now
    vouched = (last - since).total_seconds() if last and since < last and (stepped or last <= s.now) else 0.0
    begins = max(s.now, since)
    if stepped:
        begins = s.now + (since - last if last and since > last else timedelta(0))
    skipped = move(
        s,
        Telling(Happening.COUNTING_STARTED, "The hold goes on; the time in which nobody looked does not count"),
        rollout=s.rollout.model_copy(
            update={"held_seconds": s.rollout.held_seconds + vouched, "counting_since": begins}
        ),
    )
    return replace(skipped, by_present_clock=True)


def pause(s: Situation, reason: Reason, message: str) -> Move:
    """Stop the progress; a Fail still rolls back."""
    person = reason is Reason.PAUSED_BY_PERSON
    return move(
        s,
        Telling(Happening.PAUSED, message, s.candidate, warning=not person),
        rollout=s.rollout.model_copy(
            update={
                "phase": Phase.PAUSED,
                "reason": reason,
                **({"held_seconds": s.held_seconds, "counting_since": None} if person else {}),
            }
        ),
    )


def resume(s: Situation, message: str) -> Move:
    """Go on after a pause."""
    return move(
        s,
        Telling(Happening.RESUMED, message),
        rollout=s.rollout.model_copy(update={"phase": Phase.HOLDING, "reason": None}),
    )


def recover(s: Situation, stable: str, old_actions: tuple[HandledAction, ...] = ()) -> Move:
    """Status was lost: what the stable Service selects is stable.

    `old_actions` are annotations that may have been handled before: they are not carried out again.
    """
    highest = max((child.moves for child in s.children.objects.values()), default=0)
    message = (
        f"The status was lost; the Service {s.observation.deployment.metadata.name} selects {stable}: it is stable"
    )
    recovered = move(
        s,
        Telling(Happening.STATUS_RECOVERED, message, stable, warning=True),
        stable=RevisionStatus(revision=stable, since=s.now, ever_ready=True),
        actions=old_actions,
    )
    return Move(recovered.status.model_copy(update={"moves": highest + 1}), recovered.notes)


def overtake(s: Situation) -> Move | None:
    """Raise the fence above a child that carries a higher number of moves than the status.

    Either this status is out of date: then the write meets a conflict and nothing has happened. Or somebody edited the
    child's annotation, or restored an older resource: then this mends it, where waiting would never end.
    """
    child, highest = max(
        ((f"{kind} {name}", child.moves) for (kind, name), child in s.children.objects.items()),
        key=lambda found: found[1],
        default=("", 0),
    )
    if highest <= s.status.moves:
        return None
    message = f"{child} carries move {highest}, the status {s.status.moves}: the status goes on from there"
    overtaken = move(s, Telling(Happening.STATUS_RECOVERED, message, warning=True))
    return Move(overtaken.status.model_copy(update={"moves": highest + 1}), overtaken.notes)


def handled(s: Situation, action: str, value: str, done: Move) -> Move:
    """`done`, with the action's value recorded in the same write, so that it takes effect once."""
    others = tuple(each for each in s.status.actions if each.action != action)
    record = HandledAction(action=action, value=value[:256])
    return Move(done.status.model_copy(update={"actions": (*others, record)}), done.notes)


def _candidate(s: Situation) -> RevisionStatus:
    assert s.status.candidate is not None  # noqa: S101 -- called only in phases that have one
    return s.status.candidate


def _rolling_back(s: Situation, reason: Reason, message: str) -> RolloutStatus:
    never_had_traffic = s.rollout.phase is Phase.STARTING and s.candidate not in s.in_force
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


def _restarts_of_attempt(s: Situation) -> tuple[PodRestarts, ...]:
    """Pods of the candidate that were ready in this attempt, with the restarts that each had before that."""
    return _restarts_before(s, {each.pod: each for each in s.rollout.restarts})


def _restarts_of_watch(s: Situation) -> tuple[PodRestarts, ...]:
    """Pods of the promoted revision that are ready now: what they went through before is forgiven."""
    return _restarts_before(s, {})


def _restarts_before(s: Situation, known: Mapping[str, PodRestarts]) -> tuple[PodRestarts, ...]:
    """As `known`, and as they are now of other pods that are ready."""
    pods = (pod for pod in s.judged_pods if pod.ready or pod.name in known)
    return tuple(known.get(pod.name) or PodRestarts(pod=pod.name, before=pod.restarts) for pod in pods)[:MOST_PODS]


def _weights(s: Situation) -> str:
    return " / ".join(f"{share} % {revision}" for revision, share in s.split.items())
