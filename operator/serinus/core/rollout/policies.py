"""What happens next in each phase: small policies in the order in which they are asked.

Every policy looks at a `Situation` and returns the one move it wants, or None. The first move wins, so the order is the
priority: protecting users' traffic stands before making progress. Called by `next_move`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from serinus.api.analysis import MissingAction, UndecidedAction
from serinus.api.kinds import ANNOTATION_STABLE, LABEL_REVISION, SERVICE
from serinus.api.reasons import Happening, JudgedBy, Phase, Reason
from serinus.core.plan import Move
from serinus.core.pod_ratio import selects_all
from serinus.core.rollout import holds, moves, recording, recreate, returns
from serinus.core.rollout.actions import asked_before, wants_pause
from serinus.core.rollout.clock import NOTED_AFTER, clock_move
from serinus.core.rollout.preflight import try_first
from serinus.core.rollout.situation import MAX_RESTARTS, MAX_WEIGHT_LOSSES, Situation
from serinus.core.sentences import counted
from serinus.core.traffic import PlannedStep, planned_steps
from serinus.core.verdicts import Undecided, VerdictKind

Policy = Callable[[Situation], Move | None]


# Whatever the phase ---------------------------------------------------------------------------------------------------


def recover_lost_status(s: Situation) -> Move | None:
    """Status gone and children there: the stable Service says who is stable."""
    if s.status.moves or not s.children.replica_sets:
        return None
    selected = lost_stable(s)
    return recording.recover(s, selected, asked_before(s)) if selected else None


def lost_stable(s: Situation) -> str | None:
    """The revision that the stable Service selects, or names as the stable one of two, if its ReplicaSet is there."""
    selected = (s.children.stable_selector or {}).get(LABEL_REVISION)
    if selects_all(s.children.stable_selector):
        service = s.children.objects[SERVICE.kind, s.observation.deployment.metadata.name]
        selected = (service.manifest["metadata"].get("annotations") or {}).get(ANNOTATION_STABLE)
    return selected if selected in s.children.replica_sets else None


def retire_previous(s: Situation) -> Move | None:
    """The previous revision has been warm for long enough, since the last request that it answered on loan."""
    served = s.status.previous is not None and s.status.previous.weight_percent > 0
    if served:
        return moves.end_loan(s) if s.retire_at is not None and s.split_confirmed else None
    return moves.retire(s) if s.may_retire and s.rollout.phase is not Phase.WATCHING else None


# Idle, Rejected -------------------------------------------------------------------------------------------------------


def begin(s: Situation) -> Move | None:
    """Start the spec's revision, unless it is stable already or was rejected."""
    if s.revision == s.stable:
        return moves.settle(s) if s.status.rejected or s.rollout.phase is Phase.REJECTED else None
    return None if s.is_rejected else moves.start(s, skips_steps=returns.skips_steps(s))


def steps_ahead(s: Situation) -> tuple[PlannedStep, ...]:
    """The steps that the rollout of the spec's revision has yet to pass, the one that it is in among them.

    None where nothing is to be rolled out, or the steps are skipped: by a first revision, which nobody served before,
    or by one that was stable lately.
    """
    if s.nothing_served_before:
        return ()
    match s.rollout.phase:
        case Phase.IDLE | Phase.REJECTED:
            starts = s.revision != s.stable and not s.is_rejected
            return planned_steps(s.spec, skips_steps=returns.skips_steps(s)) if starts else ()
        case Phase.STARTING | Phase.HOLDING | Phase.PAUSED | Phase.AWAITING_APPROVAL:
            goes_on = s.revision in {s.candidate, s.rollout.return_from}
            return s.steps[s.rollout.step_index or 0 :] if goes_on else ()
        case _:
            return ()


# With a candidate -----------------------------------------------------------------------------------------------------


def follow_the_spec(s: Situation) -> Move | None:
    """The spec asks for another revision than the candidate.

    A first revision that is ready becomes stable before that, whatever the gateway says: it may serve users. A return
    by a person goes on while the spec is the one that it sets aside.
    """
    if s.revision in {s.candidate, s.rollout.return_from}:
        return None
    if s.stable is None:
        serves = s.children.ready(s.candidate) and not s.awaits_preflight
        return moves.take_over_first(s) if serves else moves.start(s)
    return moves.supersede(s)


def reject_failing(s: Situation) -> Move | None:
    """A metric fails, the candidate's container keeps restarting, or it keeps losing its last ready pod."""
    if s.only_recommends:
        return None
    if s.fails:
        return moves.reject(s, Reason.METRIC_FAILED, s.evidence_in_words(VerdictKind.FAIL))
    if s.restarts >= MAX_RESTARTS:
        message = f"the model's container restarted {s.restarts} times after it was ready; {s.trouble}"
        return moves.reject(s, Reason.CONTAINER_RESTARTED, message)
    if s.rollout.weight_losses >= MAX_WEIGHT_LOSSES:
        message = f"the last ready pod was lost {s.rollout.weight_losses} times in step {s.rollout.step}; {s.trouble}"
        return moves.reject(s, Reason.READINESS_LOST, message)
    return None


def fix_slices(s: Situation) -> Move | None:
    """Something is judged in slices, and it is known now which ones there are."""
    return holds.fix_slices(s) if s.evidence is not None and s.evidence.slices else None


def reject_late(s: Situation) -> Move | None:
    """The candidate does not get its pods ready within the progress deadline."""
    if s.stable is None or not s.deadline_passed or s.replicas == 0 or s.only_recommends:
        return None
    seconds = s.spec.rollout.progress_deadline_seconds
    message = f"not ready within rollout.progressDeadlineSeconds ({seconds} s): {s.trouble}"
    return moves.reject(s, Reason.PROGRESS_DEADLINE_EXCEEDED, message)


def reject_late_start(s: Situation) -> Move | None:
    """The candidate is not ready in time for its first share. One that is ready, and waits for stable, may wait."""
    return reject_late(s) if s.children.ready(s.candidate) < s.first_share_pods else None


def reject_late_growth(s: Situation) -> Move | None:
    """The candidate does not get, or get back, the pods that its share needs."""
    return reject_late(s) if s.is_short and s.rollout.short_since is not None else None


def give_up_refused(s: Situation) -> Move | None:
    """A write was refused, and the spec asks for another revision by now: what was refused is no longer needed."""
    another = s.revision not in {s.candidate, s.rollout.return_from}
    wants_another = s.stable is not None and another and s.observation.unreadable is None
    return moves.supersede(s) if s.observation.refusal is not None and wants_another else None


# Starting -------------------------------------------------------------------------------------------------------------


def take_over(s: Situation) -> Move | None:
    """Nothing serves that the candidate could be compared with: it takes over as soon as requests find it."""
    if not s.nothing_served_before or s.awaits_preflight:
        return None
    if s.stable is None and not s.split_confirmed:
        return None
    reachable = s.reachable_at is not None and s.now >= s.reachable_at
    return moves.take_over_first(s) if reachable or s.replicas == 0 else None


def enter_first_step(s: Situation) -> Move | None:
    """The candidate has the pods for its first share, and there is somebody to serve."""
    if wants_pause(s) or s.replicas == 0 or s.awaits_preflight:
        return None
    if s.makes_room_first and not s.steps:
        return recreate.make_room(s)
    someone_serves = s.stable_serves or s.makes_room_first
    if not someone_serves or s.in_the_way or s.children.ready(s.candidate) < s.first_share_pods:
        return None
    count = s.children.ready(s.candidate)
    ready = f"{counted(count, 'pod')} {'is' if count == 1 else 'are'} ready"
    if s.steps:
        return moves.enter_step(s, 0, None, ready, happening=Happening.STEP_ENTERED)
    return moves.begin_promotion(s, JudgedBy.READINESS, ready)


# Holding, Paused ------------------------------------------------------------------------------------------------------


def follow_the_steps(s: Situation) -> Move | None:
    """The steps were edited: the current one is found by its name, or the rollout starts over.

    Where an approval is not asked for any more, the step before it is held again.
    """
    index = next((i for i, step in enumerate(s.steps) if step.name == s.rollout.step), None)
    if index is None:
        held = next((i for i, step in enumerate(s.steps) if step.weight_percent == s.rollout.weight_percent), None)
        if not s.awaits_approval or not s.rollout.weight_percent or held is None:
            return moves.start_over(s)
        because = f"the approval {s.rollout.step} is not asked for any more"
        return moves.enter_step(s, held, s.rollout.judged_by, because, happening=Happening.STEPS_CHANGED)
    if s.steps[index].approval != s.awaits_approval:
        return moves.enter_step(s, index, s.rollout.judged_by, "it was edited", happening=Happening.STEPS_CHANGED)
    if s.steps[index].shadow_percent != s.rollout.shadow_percent:
        because = "the share that is copied was edited"
        return moves.enter_step(s, index, s.rollout.judged_by, because, happening=Happening.STEPS_CHANGED)
    if s.steps[index].weight_percent != s.rollout.weight_percent:
        return moves.enter_step(
            s, index, s.rollout.judged_by, "its weight was edited", happening=Happening.STEPS_CHANGED
        )
    unchanged = index == s.rollout.step_index and s.rollout.step_count == len(s.steps)
    return None if unchanged else moves.renumber_step(s, index)


def obey_pause(s: Situation) -> Move | None:
    """A person pauses or resumes."""
    if wants_pause(s) and not s.paused_by_person:
        return holds.pause(s, Reason.PAUSED_BY_PERSON, "Paused by annotation; a failing metric still rolls back")
    if s.paused_by_person and not wants_pause(s):
        return holds.resume(s, "No annotation asks for a pause any more")
    return None


def act_on_missing(s: Situation) -> Move | None:
    """Evidence has been missing for too long and still is: do what the spec says. A candidate that is silent goes."""
    since, policy = s.rollout.missing_since, s.spec.analysis.missing
    if s.spec.analysis.disabled or since is None or s.now < since + timedelta(seconds=policy.after_seconds):
        return None
    if not s.evidence_missing:
        return None
    message = f"evidence has been missing since {since:%H:%M:%S} UTC, longer than analysis.missing.afterSeconds"
    if (policy.action is MissingAction.ROLLBACK or s.rollout.withdrawn) and not s.only_recommends:
        return moves.reject(s, Reason.EVIDENCE_MISSING_TOO_LONG, message)
    already = s.rollout.phase in {Phase.PAUSED, Phase.AWAITING_APPROVAL}
    return None if already else holds.pause(s, Reason.EVIDENCE_MISSING_TOO_LONG, message)


def advance(s: Situation) -> Move | None:
    """The hold has passed and every metric passes."""
    step = s.step
    if step is None or s.paused_by_person or s.rollout.counting_since is None or s.held_seconds < step.hold_seconds:
        return None
    if not step.judged:
        because = f"step {step.name} passed: {counted(s.children.ready(s.candidate), 'pod')} stayed ready"
        return moves.end_step(s, JudgedBy.READINESS, because)
    if s.passes:
        judged_by = JudgedBy.POLICY if s.spec.analysis.disabled else JudgedBy.METRICS
        because = "analysis is disabled" if s.spec.analysis.disabled else s.evidence_in_words()
        return moves.end_step(s, judged_by, f"step {step.name} passed: {because}")
    return _act_on_undecided(s, step)


def _act_on_undecided(s: Situation, step: PlannedStep) -> Move | None:
    policy = s.spec.analysis.undecided
    if s.held_seconds < step.hold_seconds + policy.after_seconds or not isinstance(s.verdict, Undecided):
        return None
    message = f"undecided for longer than analysis.undecided.afterSeconds ({policy.after_seconds} s): "
    message += s.evidence_in_words(VerdictKind.UNDECIDED)
    match policy.action:
        case UndecidedAction.ROLLBACK if not s.only_recommends:
            return moves.reject(s, Reason.UNDECIDED_TOO_LONG, message)
        case UndecidedAction.PROMOTE if _has_min_samples(s):
            return moves.end_step(s, JudgedBy.POLICY, message)
        case _:
            already = s.rollout.phase is Phase.PAUSED
            return None if already else holds.pause(s, Reason.UNDECIDED_TOO_LONG, message)


def _has_min_samples(s: Situation) -> bool:
    counted = {metric.name: metric.min_samples for metric in s.metrics if metric.value is None}
    return all(verdict.samples >= counted.get(verdict.name, 0) for verdict in s.judged_metrics if verdict.enforced)


# Promoting, Watching, RollingBack -------------------------------------------------------------------------------------


def complete_promotion(s: Situation) -> Move | None:
    """All traffic is confirmed to go to the candidate, which has the pods for it."""
    all_traffic = s.split == {s.candidate: 100} and s.split_confirmed
    if not all_traffic or not s.has_full_size:
        return None
    return moves.promote(s) if s.rollout.return_from is None else returns.complete_return(s)


def halt_promotion(s: Situation) -> Move | None:
    """A person pauses before the candidate has all requests: the promotion halts before the next write of the route.

    The candidate keeps the share of its step (without steps: none). When the pause is gone, the promotion is decided
    again, on the evidence of then. Two promotions go on in spite of the annotation, and the condition Paused says so:
    one whose route is written, because to take that back would be a rollback, which is `serinus.dev/abort`; and one
    that a person asked for by its name, before the pause or during it.
    """
    final = s.has_all_traffic or s.promoted_by_person or s.rollout.recreates
    return moves.halt_promotion(s) if wants_pause(s) and not final else None


def ask_after_all(s: Situation) -> Move | None:
    """On the way to all traffic, the spec was given an approval before it: a person is asked first."""
    last = s.steps[-1] if s.steps else None
    if last is None or not last.approval or last.name == s.rollout.step:
        return None
    if s.has_all_traffic or s.promoted_by_person or s.rollout.recreates:
        return None
    because = "it is to be approved before the promotion"
    return moves.enter_step(s, len(s.steps) - 1, s.rollout.judged_by, because, happening=Happening.STEPS_CHANGED)


def judge_after_all(s: Situation) -> Move | None:
    """On the way to a switch on readiness, the spec was given steps: the rollout starts over with them."""
    judges = any(step.judged for step in s.steps)
    return moves.start_over(s) if s.rollout.judged_by is JudgedBy.READINESS and judges else None


def note_size(s: Situation) -> Move | None:
    """The candidate has had all pods that all traffic takes for a while, or lost one: the deadline then runs anew."""
    if s.is_short:
        return holds.pods_are_lost(s) if s.rollout.short_since is None else None
    settled = s.last_ready_at is not None and s.now >= s.last_ready_at + NOTED_AFTER
    return holds.pods_are_back(s) if settled and s.rollout.short_since is not None else None


def return_failing(s: Situation) -> Move | None:
    """During the watch a metric fails or the container keeps restarting: the old revision serves again."""
    if s.previous is None or s.only_recommends:
        return None
    if s.fails:
        return returns.return_to_previous(s, Reason.METRIC_FAILED, s.evidence_in_words(VerdictKind.FAIL))
    if s.restarts >= MAX_RESTARTS:
        message = f"the model's container restarted {s.restarts} times after it was ready"
        return returns.return_to_previous(s, Reason.CONTAINER_RESTARTED, message)
    return None


def return_by_spec(s: Situation) -> Move | None:
    """During the watch the spec was put back to the revision that served before: it serves again at once."""
    if s.previous is None or s.revision != s.previous:
        return None
    return returns.return_to_previous(s, Reason.SUPERSEDED, "the spec asks for it again")


def finish_watch(s: Situation) -> Move | None:
    """The watch is over. What has no ready pod then has not stood it, if the old revision has some."""
    if s.watch_ends_at is None or s.now < s.watch_ends_at:
        return None
    if s.stable_serves or not (s.children.ready(s.previous) or recreate.may_come_back(s)):
        return moves.end_watch(s)
    instead = "comes back" if s.rollout.recreates else "serves its requests"
    message = f"{s.stable} has no ready pod at the end of the watch, and {s.previous} {instead}"
    return returns.return_to_previous(s, Reason.READINESS_LOST, message)


def lend_on(s: Situation) -> Move | None:
    """Stable has no ready pod, the candidate on its way out serves its requests, and the spec asks for a third one.

    To wait for stable would keep the third from ever starting.
    """
    lends = s.split == {s.candidate: 100} and s.split_confirmed and not s.stable_serves and not s.rollout.recreates
    waits = s.revision not in {s.candidate, s.stable} and not s.is_rejected
    return moves.lend_on(s) if lends and waits else None


def finish_rollback(s: Situation) -> Move | None:
    """First the traffic, confirmed; then a drain; then the pods."""
    if s.rollout.recreates:
        return recreate.finish_rollback(s)
    if s.candidate in s.split or not s.split_confirmed:
        return None
    if s.rollout.drained_at is None:
        return moves.drain(s)
    return moves.finish_rollback(s) if s.now >= s.rollout.drained_at else None


PROTECTIVE: dict[Phase, tuple[Policy, ...]] = {
    Phase.STARTING: (give_up_refused,),
    Phase.HOLDING: (give_up_refused, reject_failing, fix_slices, reject_late_growth, act_on_missing, clock_move),
    Phase.PAUSED: (give_up_refused, reject_failing, fix_slices, reject_late_growth, act_on_missing, clock_move),
    Phase.AWAITING_APPROVAL: (
        give_up_refused,
        reject_failing,
        fix_slices,
        reject_late_growth,
        act_on_missing,
        clock_move,
    ),
    Phase.PROMOTING: (give_up_refused, reject_failing, fix_slices, halt_promotion, note_size, reject_late_growth),
    Phase.WATCHING: (return_failing, fix_slices, finish_watch),
    Phase.ROLLING_BACK: (finish_rollback,),
}
"""What still happens while the spec asks for something that can't be carried out: nothing starts, nothing advances."""

POLICIES: dict[Phase, tuple[Policy, ...]] = {
    Phase.IDLE: (retire_previous, begin),
    Phase.REJECTED: (retire_previous, begin),
    Phase.STARTING: (follow_the_spec, try_first, take_over, reject_late_start, enter_first_step, retire_previous),
    Phase.HOLDING: (
        follow_the_spec,
        reject_failing,
        fix_slices,
        follow_the_steps,
        reject_late_growth,
        obey_pause,
        act_on_missing,
        clock_move,
        advance,
        retire_previous,
    ),
    Phase.AWAITING_APPROVAL: (
        follow_the_spec,
        reject_failing,
        fix_slices,
        follow_the_steps,
        reject_late_growth,
        act_on_missing,
        clock_move,
        retire_previous,
    ),
    Phase.PROMOTING: (
        follow_the_spec,
        judge_after_all,
        reject_failing,
        fix_slices,
        ask_after_all,
        halt_promotion,
        complete_promotion,
        note_size,
        reject_late_growth,
    ),
    Phase.WATCHING: (return_failing, return_by_spec, fix_slices, finish_watch),
    Phase.ROLLING_BACK: (lend_on, finish_rollback),
}
POLICIES[Phase.PAUSED] = POLICIES[Phase.HOLDING]
