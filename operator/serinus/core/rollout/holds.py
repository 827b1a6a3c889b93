"""What happens within a step or a promotion: its clock starts and stops, pods and evidence go and come back, pauses.

Each function returns the status after one decision. Called by the holding policies and by `serinus.core.rollout.clock`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from serinus.api.reasons import Happening, Phase, Reason
from serinus.api.status import MetricSlices
from serinus.core.plan import Move
from serinus.core.rollout.recording import Telling, move
from serinus.core.rollout.restarts import restarts_of_attempt
from serinus.core.rollout.situation import Situation
from serinus.core.sentences import ready_of


def start_clock(s: Situation) -> Move:
    """The step's weight is confirmed: hold and evidence count after the data plane's margin. No share, no evidence.

    That is what an entered step leads to; users are told of it where the clock stood still before.
    """
    begins = s.now + s.route_margin
    evidence_from = begins if s.step is not None and s.step.judged else None
    told = f"The weights {_weights(s)} are in force: the hold counts"
    return move(
        s,
        Telling(Happening.COUNTING_STARTED, told, as_event=_stood_still(s)),
        rollout=s.rollout.model_copy(
            update={
                "phase": Phase.HOLDING,
                "counting_since": begins,
                "missing_since": None,
                "short_since": None,
                "restarts": restarts_of_attempt(s),
                "evidence_started_at": s.rollout.evidence_started_at or evidence_from,
                "pass_evidence_since": s.rollout.pass_evidence_since or evidence_from,
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


def skip_gap(s: Situation) -> Move:
    """Go on counting from now: the time since the last pass is not vouched for and does not count."""
    last, since = s.vouched_until, s.rollout.counting_since or s.now
    begins = max(s.now, since)
    if s.observation.clock_stepped:
        begins = s.now + (since - last if last and since > last else timedelta(0))
    skipped = move(
        s,
        Telling(Happening.COUNTING_STARTED, "The hold goes on; the time in which nobody looked does not count"),
        rollout=s.rollout.model_copy(update={"held_seconds": s.held_seconds, "counting_since": begins}),
    )
    return replace(skipped, by_present_clock=True)


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


def fix_slices(s: Situation) -> Move:
    """By what is judged in slices is fixed, before their evidence counts: what is seen later changes nothing of it."""
    found = s.evidence.slices if s.evidence is not None else ()
    by_label = {(metric.name, metric.per_slice) for metric in s.metrics}
    fixed = {each.metric for each in found}
    kept = (each for each in s.rollout.slices if each.metric not in fixed and (each.metric, each.label) in by_label)
    return move(
        s,
        Telling(Happening.SLICES_FIXED, "; ".join(map(_in_words, found)), as_event=False),
        rollout=s.rollout.model_copy(update={"slices": (*kept, *found)}),
    )


def _in_words(slices: MetricSlices) -> str:
    if not slices.values:
        return f"{slices.metric}: too few requests to judge any {slices.label} by itself"
    values = ", ".join(slices.values)
    return f"{slices.metric} is judged by {slices.label}: {values}, and all others ({slices.rest_percent} %) as one"


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


def _stood_still(s: Situation) -> bool:
    """Whether something kept the hold of this step from counting; that a larger share waits for its pods is usual."""
    rollout = s.rollout
    lost_pods = rollout.short_since is not None and rollout.short_since != rollout.step_started_at
    return bool(rollout.held_seconds or rollout.missing_since or lost_pods or rollout.phase is Phase.PAUSED)


def _weights(s: Situation) -> str:
    beside = ", and requests by their headers," if s.matches else ""
    beside += "".join(f", and copies of {percent} % to {revision}," for revision, percent in s.mirrors.items())
    return " / ".join(f"{share} % {revision}" for revision, share in s.split.items()) + beside
