"""The conditions of a ModelDeployment, one function for each, and the parts of status that are only seen.

`Ready`, `Reconciling` and `Stalled` follow kstatus, and exactly one of them is true: Ready when the spec's revision is
stable and serves; Reconciling while something is going on by itself; Stalled when a person is needed. Called by
`serinus.core.decide` with the status that a pass is about to write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from serinus.api.kinds import GROUP, LABEL_DEPLOYMENT, LABEL_REVISION
from serinus.api.reasons import ConditionType, Phase, Reason
from serinus.api.revision import candidate_service_name
from serinus.api.status import Condition
from serinus.core.images import mixed_images, short
from serinus.core.notifications import unknown_receivers
from serinus.core.pod_ratio import ready_pods
from serinus.core.recommendation import in_words
from serinus.core.rollout import preflight, recreate
from serinus.core.rollout.actions import wants_pause
from serinus.core.rollout.returns import is_kept
from serinus.core.rollout.situation import Situation
from serinus.core.sentences import counted, ready_of
from serinus.core.verdicts import VerdictKind

MESSAGE_LENGTH = 2000
_WAITS_FOR = "; it waits for the gateway: "


@dataclass(frozen=True, slots=True)
class Stall:
    """Why nothing goes on without a person."""

    reason: str
    """A `Reason`, or what a newer version wrote as one."""
    message: str


@dataclass(frozen=True, slots=True)
class _Draft:
    type: ConditionType
    true: bool
    reason: str
    message: str


def conditions(s: Situation, stall: Stall | None) -> tuple[Condition, ...]:
    """All conditions for this situation; the transition time changes only with the status."""
    always = (_available(s), _ready(s, stall), _reconciling(s, stall), _stalled(stall), _paused(s))
    drafts = (*always, *_images_differ(s), *_receivers_unknown(s))
    generation = s.observation.deployment.metadata.generation
    return tuple(_finished(draft, s.status.conditions, generation, s.now) for draft in drafts)


def stalled_only(before: tuple[Condition, ...], stall: Stall, generation: int, now: datetime) -> tuple[Condition, ...]:
    """`before` with Stalled and Ready set, for a spec that can't even be read: the rest stays as it was."""
    drafts = (
        _Draft(ConditionType.READY, False, stall.reason, stall.message),
        _Draft(ConditionType.RECONCILING, False, stall.reason, stall.message),
        _Draft(ConditionType.STALLED, True, stall.reason, stall.message),
    )
    told = {draft.type.value: _finished(draft, before, generation, now) for draft in drafts}
    kept = tuple(told.pop(condition.type, condition) for condition in before)
    return (*kept, *told.values())


def _finished(draft: _Draft, before: tuple[Condition, ...], generation: int, now: datetime) -> Condition:
    status: Literal["True", "False"] = "True" if draft.true else "False"
    old = next((condition for condition in before if condition.type == draft.type), None)
    return Condition(
        type=draft.type,
        status=status,
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old is not None and old.status == status else now,
        reason=draft.reason,
        message=draft.message[:MESSAGE_LENGTH],
    )


def _available(s: Situation) -> _Draft:
    serving = {revision: s.children.ready(revision) for revision in s.in_force}
    dropped = s.children.route is not None and not s.children.route.carried
    if s.route_trouble is not None and (s.stable is None or dropped):
        return _Draft(ConditionType.AVAILABLE, False, Reason.ROUTE_NOT_ACCEPTED, s.route_trouble)
    if any(serving.values()):
        told = ", ".join(f"{counted(ready, 'ready pod')} of {revision}" for revision, ready in serving.items() if ready)
        return _Draft(ConditionType.AVAILABLE, True, Reason.SERVING, f"Requests are answered by {told}")
    if s.rollout.recreates:
        message = f"rollout.recreate: nobody is served meanwhile; {recreate.progress(s)}"
        return _Draft(ConditionType.AVAILABLE, False, Reason.RECREATING, message)
    if s.stable is None and s.awaits_preflight:
        message = f"Nobody is served before {s.candidate} has passed its preflight: no revision served before it"
        return _Draft(ConditionType.AVAILABLE, False, Reason.PREFLIGHT, message)
    because = s.trouble if s.candidate else "see the pods of the ReplicaSet"
    if s.stable is None and s.candidate is None:
        because = "there is neither a stable revision nor a candidate"
    message = f"No pod that gets requests is ready; {because}"
    return _Draft(ConditionType.AVAILABLE, False, Reason.NO_READY_PODS, message)


def _ready(s: Situation, stall: Stall | None) -> _Draft:
    if stall is not None:
        return _Draft(ConditionType.READY, False, stall.reason, stall.message)
    if s.revision != s.stable or s.candidate is not None:
        return _Draft(ConditionType.READY, False, Reason.ROLLOUT_IN_PROGRESS, _progress(s).message)
    scaling = _scaling(s)
    if scaling is not None:
        return _Draft(ConditionType.READY, False, scaling.reason, scaling.message)
    message = f"Revision {s.stable} is stable and serves with {counted(s.children.ready(s.stable), 'ready pod')}"
    if s.replicas == 0:
        message = f"Revision {s.stable} is stable, and scaled to zero by scaling.replicas: nothing serves"
    return _Draft(ConditionType.READY, True, Reason.STABLE, message)


def _reconciling(s: Situation, stall: Stall | None) -> _Draft:
    if stall is not None:
        return _Draft(ConditionType.RECONCILING, False, stall.reason, stall.message)
    if s.revision != s.stable or s.candidate is not None:
        progress = _progress(s)
        return _Draft(ConditionType.RECONCILING, True, progress.reason, progress.message)
    scaling = _scaling(s)
    if scaling is not None:
        return _Draft(ConditionType.RECONCILING, True, scaling.reason, scaling.message)
    if s.rollout.phase is Phase.WATCHING:
        back = f"{GROUP}/abort: {s.stable}" if s.only_recommends else "a failing metric"
        message = f"Promoted; watched until {s.watch_ends_at:%H:%M:%S} UTC, {back} returns to {s.previous}{in_words(s)}"
        return _Draft(ConditionType.RECONCILING, False, Reason.WATCHING, message)
    return _Draft(ConditionType.RECONCILING, False, Reason.SETTLED, "Nothing to do")


def _stalled(stall: Stall | None) -> _Draft:
    if stall is None:
        return _Draft(ConditionType.STALLED, False, Reason.NOT_STALLED, "Nothing stands in the way")
    return _Draft(ConditionType.STALLED, True, stall.reason, stall.message)


def _paused(s: Situation) -> _Draft:
    if s.spec.suspend:
        message = "spec.suspend is true: Serinus reports and changes nothing; set it to false to go on"
        return _Draft(ConditionType.PAUSED, True, Reason.SUSPENDED, message)
    if s.rollout.phase is Phase.STARTING and wants_pause(s) and not s.nothing_served_before:
        message = f"Paused by annotation: {s.candidate} gets no traffic until it is gone"
        return _Draft(ConditionType.PAUSED, True, Reason.PAUSED_BY_PERSON, message)
    if s.awaits_approval:
        by_person = Reason.PAUSED_BY_PERSON if wants_pause(s) else Reason.AWAITING_APPROVAL
        return _Draft(ConditionType.PAUSED, True, by_person, _awaiting(s).message)
    if s.rollout.phase is Phase.PAUSED:
        reason = s.rollout.reason or Reason.PAUSED_BY_PERSON
        message = f"{_holding(s).message}; {GROUP}/promote or {GROUP}/abort: {s.candidate} decides it"
        return _Draft(ConditionType.PAUSED, True, reason, message)
    told = _goes_on_in_spite_of_it(s) if wants_pause(s) else "Not paused"
    return _Draft(ConditionType.PAUSED, False, Reason.RUNNING, told)


def _images_differ(s: Situation) -> Iterable[_Draft]:
    """Nothing as long as it was never so: it concerns few, and status is written for all."""
    for role in (s.status.stable, s.status.candidate, s.status.previous):
        mixed = mixed_images(s.children, role.revision if role else None)
        if role is not None and mixed:
            told = ", ".join(f"{short(digest)} in {counted(pods, 'pod')}" for digest, pods in mixed.items())
            message = (
                f"Pods of revision {role.revision} run different images under the name {role.image}: {told}. The tag "
                "was pushed again, and nobody has judged what the later pods run: give each image a tag of its own, or "
                "name it by its digest"
            )
            yield _Draft(ConditionType.IMAGES_DIFFER, True, Reason.TAG_PUSHED_AGAIN, message)
            return
    if any(condition.type == ConditionType.IMAGES_DIFFER for condition in s.status.conditions):
        message = "All pods of a revision run the same image again"
        yield _Draft(ConditionType.IMAGES_DIFFER, False, Reason.SAME_IMAGE, message)


def _receivers_unknown(s: Situation) -> Iterable[_Draft]:
    """Nothing as long as it was never so. The model is none the worse for it, and nothing waits."""
    unknown = unknown_receivers(s.observation.deployment, s.observation.capabilities.receivers)
    if unknown is not None:
        yield _Draft(ConditionType.RECEIVERS_UNKNOWN, True, Reason.NO_SUCH_RECEIVER, unknown)
    elif any(condition.type == ConditionType.RECEIVERS_UNKNOWN for condition in s.status.conditions):
        message = "All receivers that are named are there"
        yield _Draft(ConditionType.RECEIVERS_UNKNOWN, False, Reason.RECEIVERS_KNOWN, message)


def _goes_on_in_spite_of_it(s: Situation) -> str:
    """What the annotation that asks for a pause does not stop, and what does."""
    pause, abort = f"The annotation {GROUP}/pause", f"{GROUP}/abort: {s.candidate or s.stable}"
    match s.rollout.phase:
        case Phase.STARTING:
            return f"{pause} does not keep {s.candidate} from serving: no revision served before it"
        case Phase.PROMOTING if s.rollout.recreates:
            return f"{pause} comes too late: the pods of {s.stable} make room; {abort} brings them back"
        case Phase.PROMOTING if s.promoted_by_person:
            return f"{pause} does not stop a promotion that a person asked for; {abort} does"
        case Phase.PROMOTING:
            return f"{pause} comes too late: all requests go to {s.candidate} already; {abort} takes them back"
        case Phase.WATCHING:
            fails = "" if s.only_recommends else "a failing metric, or "
            return f"{pause} is set, and the watch goes on: {fails}{abort} returns to {s.previous}"
        case _:
            return f"{pause} is set: the next candidate gets no traffic until it is gone"


def _scaling(s: Situation) -> Stall | None:
    """Why the stable revision is not at its full size or not behind its route yet."""
    ready = s.children.ready(s.stable)
    if ready < s.replicas:
        return Stall(Reason.SCALING, ready_of(ready, s.replicas, s.stable))
    if s.route_trouble is not None:
        return Stall(Reason.ROUTE_NOT_ACCEPTED, s.route_trouble)
    return None


def _progress(s: Situation) -> Stall:
    """What the rollout is doing or waiting for."""
    if s.spec.suspend:
        return Stall(Reason.SUSPENDED, f"Revision {s.revision} waits: spec.suspend is true")
    return _progress_of_phase(s)


def _progress_of_phase(s: Situation) -> Stall:
    match s.rollout.phase:
        case Phase.STARTING:
            return _starting(s)
        case Phase.HOLDING | Phase.PAUSED | Phase.AWAITING_APPROVAL:
            return _awaiting(s) if s.awaits_approval else _holding(s)
        case Phase.PROMOTING:
            return _promoting(s)
        case Phase.ROLLING_BACK:
            message = s.rollout.message.split(_WAITS_FOR)[0] or f"{s.candidate} goes, its traffic first"
            return Stall(Reason.ROLLING_BACK, f"{message}{_WAITS_FOR}{s.route_trouble}" if s.route_trouble else message)
        case Phase.WATCHING:
            return Stall(Reason.WATCHING, f"{s.stable} is watched first; then revision {s.revision} starts")
        case _ if s.observation.frozen_by is not None:
            told = "What the spec asks for is known as soon as the ConfigMaps and Secrets are read that serving names"
        case _:
            told = f"Revision {s.revision} is about to start"
    return Stall(Reason.STARTING, told)


def _promoting(s: Situation) -> Stall:
    reason, message = Reason.PROMOTING, ready_of(s.children.ready(s.candidate), s.replicas)
    message = f"{s.candidate} is taking all traffic: {message}"
    if s.rollout.recreates:
        reason, message = Reason.RECREATING, f"{s.candidate} takes the place of {s.stable}: {recreate.progress(s)}"
    message += "" if s.has_full_size else f" ({s.trouble})"
    return Stall(reason, f"{message}; {s.route_trouble}" if s.route_trouble else message)


def _starting(s: Situation) -> Stall:
    if s.replicas == 0:
        return Stall(Reason.STARTING, f"{s.candidate} waits: scaling.replicas is 0, so that nobody is served")
    lacking = _lacking_pods(s, s.first_share_pods)
    if lacking is not None:
        return lacking
    if s.awaits_preflight:
        return Stall(Reason.PREFLIGHT, preflight.progress(s))
    if wants_pause(s) and not s.nothing_served_before:
        return Stall(Reason.PAUSED_BY_PERSON, f"{s.candidate} is ready, and paused by annotation")
    return _to_be_found(s) if s.stable is None else _beside_stable(s)


def _beside_stable(s: Situation) -> Stall:
    """The candidate is ready: what keeps it from its first share."""
    told = f"{s.candidate} is ready"
    if not s.stable_serves:
        told = f"{told}, but {_not_served(s)}"
    elif s.in_the_way:
        told = f"{told}; {_in_the_way(s)}"
    return Stall(Reason.STARTING, told)


def _not_served(s: Situation) -> str:
    """Stable has no ready pod; whether it will have one again, as far as that is up to the operator."""
    told, stable = f"stable {s.stable} has no ready pod to compare with", s.stable or ""
    if stable in s.children.replica_sets or is_kept(s, stable):
        return told
    return (
        f"{told}, and can't get one: its ReplicaSet and its ControllerRevision are gone, or are not this resource's "
        f"any more; to go on without it, set {GROUP}/promote: {s.candidate}"
    )


def _to_be_found(s: Situation) -> Stall:
    """The first revision is ready: what keeps requests from finding it."""
    if s.route_trouble is not None:
        return Stall(Reason.ROUTE_NOT_ACCEPTED, f"{s.candidate} is ready: {s.route_trouble}")
    seconds = s.route_margin.total_seconds()
    return Stall(Reason.STARTING, f"{s.candidate} is ready; within {seconds:g} s requests find its pods")


def _in_the_way(s: Situation) -> str:
    pods = ", ".join(f"{counted(count, 'pod')} of {revision}" for revision, count in s.in_the_way.items())
    until = f", kept warm until {s.retire_at:%H:%M:%S} UTC," if s.previous in s.in_the_way and s.retire_at else ""
    return f"{pods}{until} have to go before the Service can lead to the pods of both revisions"


def _lacking_pods(s: Situation, needed: int, where: str = "") -> Stall | None:
    """What keeps the candidate from having the pods that its share needs; None where it has them."""
    waiting = [pod for pod in s.children.pods_of(s.candidate or "") if pod.scheduled_at is None]
    if waiting:
        wait = f"{counted(len(waiting), 'pod')} of {s.candidate} {'waits' if len(waiting) == 1 else 'wait'} for a node"
        return Stall(Reason.PODS_UNSCHEDULABLE, f"{where}{wait}: {s.trouble}")
    ready = s.children.ready(s.candidate)
    if ready < needed:
        return Stall(Reason.PODS_NOT_READY, f"{where}{ready_of(ready, needed, s.candidate)}: {s.trouble}")
    return None


def _holding(s: Situation) -> Stall:
    rollout, step, where = s.rollout, s.step, _where(s)
    if rollout.counting_since is None:
        lacking = _lacking_pods(s, s.needed_pods, f"{where}: ")
        if lacking is not None:
            return lacking
        if not s.stable_serves:
            return Stall(Reason.HOLDING, f"{where}: {_not_served(s)}")
        if rollout.missing_since is not None:
            withdrawn = "; its weight is off until it reports" if rollout.withdrawn else ""
            told = s.evidence_in_words(VerdictKind.MISSING) or "evidence is missing"
            return Stall(Reason.EVIDENCE_MISSING, f"{where}: {told}{withdrawn}")
        if s.route_trouble is not None:
            return Stall(Reason.ROUTE_NOT_ACCEPTED, f"{where}: {s.route_trouble}")
    hold = step.hold_seconds if step else 0
    held = f"held {min(s.held_seconds, hold):.0f} of {hold} s"
    if step is not None and not step.judged:
        address = candidate_service_name(s.observation.deployment.metadata.name)
        return Stall(Reason.HOLDING, f"{where}: {held}; {s.candidate} gets no traffic yet, and answers at {address}")
    not_passed = set(VerdictKind) - {VerdictKind.PASS}
    told = s.evidence_in_words(*not_passed) or s.evidence_in_words(VerdictKind.PASS)
    return Stall(Reason.HOLDING, f"{where}: {held}; {told or 'no verdict yet'}{in_words(s)}")


def _awaiting(s: Situation) -> Stall:
    """A person has to approve the step: what it takes, and what the evidence says meanwhile."""
    where = _where(s)
    lacking = _lacking_pods(s, s.needed_pods, f"{where}: ")
    if lacking is not None:
        return lacking
    asks = f"waits for a person: {GROUP}/approve: {s.candidate}/{s.rollout.step} goes on"
    if wants_pause(s):
        asks = f"is paused by annotation; an approval is carried out when {GROUP}/pause is gone"
    withdrawn = "; its weight is off until it reports" if s.rollout.withdrawn else ""
    told = s.evidence_in_words() or "nothing was measured yet"
    keeps = s.step.share_in_words if s.step is not None else f"{s.rollout.weight_percent} %"
    return Stall(
        Reason.AWAITING_APPROVAL,
        f"{where}: {s.candidate} keeps {keeps} and {asks}, {GROUP}/abort: {s.candidate} takes it "
        f"back; {told}{withdrawn}{in_words(s)}",
    )


def _where(s: Situation) -> str:
    where = f"step {s.rollout.step} ({(s.rollout.step_index or 0) + 1} of {s.rollout.step_count})"
    if s.shares_by_pods and s.candidate in s.in_force:
        pods = ready_pods(s.children)
        where += f", {pods.get(s.candidate or '', 0)} of {sum(pods.values())} pods are the candidate's"
    return where


def selector(name: str, revision: str | None) -> str:
    """Label selector of a revision's pods, for the scale subresource."""
    return f"{LABEL_DEPLOYMENT}={name},{LABEL_REVISION}={revision}" if revision else f"{LABEL_DEPLOYMENT}={name}"
