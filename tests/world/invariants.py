"""What must hold at every moment of every run, whatever goes wrong: checked over the trace, not only at its end.

`check` is for worlds in which nobody meddles; `check_walk` for random walks. What a decision must never do holds in
every second. What the operator has to keep up against others (weight off dead pods, the size of what serves) holds in
every second too where nothing happens to pods and children, and otherwise within its reaction time: seconds count in
which it was up, saw everything and could write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import pairwise

from serinus.api.notifications import EVENTS
from serinus.api.reasons import REASONS, ConditionType, Happening, JudgedBy, Phase, Reason
from serinus.api.status import ModelDeploymentStatus, RolloutStatus
from serinus.core.pod_ratio import pods_beside
from serinus.core.traffic import SHARE_PHASES, pods_for_share
from tests.world.people import HOLD_SECONDS
from tests.world.random_walk import BROKEN, IMAGES, Walk
from tests.world.world import Moment, World

REACTION_SECONDS = 2
"""Time in which the operator may answer to pods that die."""
MARGIN_SECONDS = 4
"""Until all requests can find pods that have just become ready."""
CLOCK_SLACK_SECONDS = 0
"""Of a hold, for each step of the operator's clock."""
LONGEST_REACTION_SECONDS = 4
"""The same where children are meddled with: an object that was deleted has to be made, then waited for."""


def check(world: World, *, replicas: int | None = 3, hold_seconds: float = 60, pods_crash: bool = False) -> None:
    """Every invariant, over the trace of `world`.

    `replicas` is the promised size of what serves (None where it changes); `pods_crash` allows moments without any
    ready pod.
    """
    decisions_are_sound(world.moments, hold_seconds)
    for before, after in pairwise(world.moments):
        no_step_ends_before_its_hold(before, after, hold_seconds)
        policies_are_heeded(before, after)
        assert not a_rejected_revision_came_back(after), a_rejected_revision_came_back(after)
        assert not the_candidate_has_more_than_it_may(after), the_candidate_has_more_than_it_may(after)
        assert not the_candidate_has_more_pods_than_it_may(after), the_candidate_has_more_pods_than_it_may(after)
        assert not a_third_revision_shares(after), a_third_revision_shares(after)
    for promise in (requests_go_elsewhere, more_is_copied_than_may_be, what_is_retired_can_not_be_returned_to):
        holds_or_is_mended(world.moments, promise, within=REACTION_SECONDS + 2 * world.lag_seconds)
    if not pods_crash:
        weight_is_only_on_ready_pods(world)
        if replicas is not None:
            capacity_is_never_under_the_promise(world, replicas)


def check_walk(walk: Walk) -> None:
    """Every invariant, over the trace of a random walk."""
    moments = walk.world.moments
    decisions_are_sound(moments, HOLD_SECONDS, slack_seconds=CLOCK_SLACK_SECONDS * walk.clock_steps)
    every_action_takes_effect_once(moments)
    for before, after in pairwise(moments):
        verdicts_are_true(before, after)
        policies_are_heeded(before, after)
        person = after.status.rollout.judged_by is JudgedBy.PERSON and after.status.rollout.phase is Phase.WATCHING
        if person and after.status.stable:
            assert after.status.stable.revision in walk.promoted_by_hand, f"{after.at}: nobody asked for it"
    strict = walk.kind.faultless_traffic
    for promise in (
        a_rejected_revision_came_back,
        the_candidate_has_more_than_it_may,
        a_third_revision_shares,
        dead_pods_have_weight,
        requests_go_elsewhere,
        stable_is_too_small,
    ):
        holds_or_is_mended(moments, promise, within=0 if strict else LONGEST_REACTION_SECONDS)
    holds_or_is_mended(
        moments, the_candidate_has_more_pods_than_it_may, within=LONGEST_REACTION_SECONDS + MARGIN_SECONDS
    )
    holds_or_is_mended(moments, more_is_copied_than_may_be, within=LONGEST_REACTION_SECONDS)
    holds_or_is_mended(moments, what_is_retired_can_not_be_returned_to, within=LONGEST_REACTION_SECONDS)
    if strict:
        no_request_is_lost(moments)
        capacity_is_never_under_the_promise(walk.world, 3)


def decisions_are_sound(moments: list[Moment], hold_seconds: float, slack_seconds: float = 0) -> None:
    """What no trouble excuses: the moves themselves."""
    for before, after in pairwise(moments):
        if before.life == after.life and (before.status is not after.status or after.scaled):
            moves_only_rise(before, after)
            conditions_have_documented_reasons(after)
            history_is_of_decisions_that_can_be_told(after)
            nothing_is_promoted_unjudged(before, after)
            pods_go_only_after_their_traffic(before, after)
            no_approval_is_passed_without_a_person(before, after)
    every_step_is_held(moments, hold_seconds, slack_seconds)


# Decisions ------------------------------------------------------------------------------------------------------------


def moves_only_rise(before: Moment, after: Moment) -> None:
    assert after.status.moves >= before.status.moves, f"{after.at}: moves fell"


def history_is_of_decisions_that_can_be_told(after: Moment) -> None:
    """Receivers are told of all of it, and may choose by the events that the chart knows."""
    untold = {entry.event for entry in after.status.history} - set(EVENTS)
    assert untold == set(), f"{after.at}: nobody can choose to be told of {untold}"


def conditions_have_documented_reasons(after: Moment) -> None:
    """Each is true with its reason, or false, as the reference says."""
    for condition in after.status.conditions:
        documented = {**REASONS[ConditionType(condition.type)], **_from_stalled(condition.type, after.status)}
        assert condition.reason in documented, f"{after.at}: {condition.type} has the reason {condition.reason}"
        expected = {True: "True", False: "False", None: condition.status}[documented[Reason(condition.reason)]]
        assert condition.status == expected, f"{after.at}: {condition.type} is not {expected} as {condition.reason}"


def _from_stalled(kind: str, status: ModelDeploymentStatus) -> dict[Reason, bool | None]:
    """What Ready and Reconciling may say besides: that they are false, with the reason of Stalled."""
    if kind not in {ConditionType.READY, ConditionType.RECONCILING}:
        return {}
    stalled = [each for each in status.conditions if each.type == ConditionType.STALLED and each.status == "True"]
    return {Reason(each.reason): False for each in stalled}


def nothing_is_promoted_unjudged(before: Moment, after: Moment) -> None:
    old, new = _stable(before.status), _stable(after.status)
    if new is None or old == new or old is None:
        return
    if new == (before.status.previous.revision if before.status.previous else None):
        return  # a return to what was judged before
    if any(entry.event is Happening.RETURNED and entry.revision == new for entry in after.status.history[:2]):
        return  # a person asked for it
    judged_by = after.status.rollout.judged_by
    assert judged_by is not None, f"{after.at}: {new} became stable and nobody says on whose word"
    if judged_by is JudgedBy.METRICS:
        passed = [entry for entry in after.status.history if entry.revision == new and "passed" in entry.because]
        assert passed, f"{after.at}: {new} became stable by metrics, and no verdict says so"


def no_approval_is_passed_without_a_person(before: Moment, after: Moment) -> None:
    """What waits for an approval gets more requests only by a person's action, or by another spec."""
    rollout, following = before.status.rollout, after.status.rollout
    if rollout.phase is not Phase.AWAITING_APPROVAL or rollout.started_at != following.started_at:
        return
    onward = following.phase in {Phase.PROMOTING, Phase.WATCHING} or following.weight_percent > rollout.weight_percent
    told = [entry for entry in after.status.history if entry not in before.status.history]
    by_people = any(entry.by == "person" or entry.event is Happening.STEPS_CHANGED for entry in told)
    assert not onward or by_people, f"{after.at}: {rollout.step} was passed, and nobody approved it"


def policies_are_heeded(before: Moment, after: Moment) -> None:
    """While the platform's policies forbid what the spec asks for, nothing begins, and no step is passed."""
    able = before.able and after.able and not after.suspended and before.life == after.life
    if not (able and before.held and after.held):
        return
    rollout, following = before.status.rollout, after.status.rollout
    begins = before.status.candidate is None and after.status.candidate is not None
    assert not begins, f"{after.at}: a rollout begins that a policy forbids"
    same = rollout.started_at == following.started_at and rollout.step != following.step
    onward = same and (following.step_index or 0) > (rollout.step_index or 0)
    assert not onward, f"{after.at}: step {rollout.step} was passed, and a policy forbids it"
    promotes = (Phase.PROMOTING, Phase.WATCHING)
    further = following.phase in promotes and rollout.phase is not following.phase
    assert not further, f"{after.at}: {rollout.phase} became {following.phase}, and a policy forbids it"


def no_step_ends_before_its_hold(before: Moment, after: Moment, hold_seconds: float) -> None:
    """By the status' own account."""
    rollout, following = before.status.rollout, after.status.rollout
    if rollout.phase is not Phase.HOLDING or rollout.started_at != following.started_at:
        return
    later = following.step != rollout.step and (following.step_index or 0) > (rollout.step_index or 0)
    entered_next = following.phase is Phase.PROMOTING or later
    if not entered_next or following.judged_by is JudgedBy.PERSON:
        return
    running = (after.at - rollout.counting_since).total_seconds() if rollout.counting_since else 0.0
    held = rollout.held_seconds + max(0.0, running)
    assert held >= hold_seconds - 1e-6, f"{after.at}: step {rollout.step} ended after {held} s of {hold_seconds}"


def every_step_is_held(moments: Iterable[Moment], hold_seconds: float, slack_seconds: float) -> None:
    """By the world's clock, whatever the operator's says: seconds in which a step's hold counted, and there was one."""
    counted = 0
    for before, after in pairwise(moments):
        rollout, following = before.status.rollout, after.status.rollout
        if before.status is not after.status and before.life == after.life and _has_advanced(rollout, following):
            needed = hold_seconds - slack_seconds
            assert counted >= needed, f"{after.at}: step {rollout.step} ended after {counted} s of {hold_seconds}"
        if not _same_hold(rollout, following):
            counted = 0
        counted += following.counting_since is not None and after.up


def _same_hold(rollout: RolloutStatus, following: RolloutStatus) -> bool:
    """Whether what was held goes on to count: a pause takes a promotion back into the step that it came from.

    A clock that was ahead when the step was entered lets it begin earlier once it is set right.
    """
    if rollout.step != following.step or not _is_since(rollout.started_at, following.started_at):
        return False
    promotes = Phase.PROMOTING in {rollout.phase, following.phase}
    return promotes or _is_since(rollout.step_started_at, following.step_started_at)


def _is_since(before: datetime | None, after: datetime | None) -> bool:
    return before == after or (before is not None and after is not None and before - after > timedelta(minutes=2))


def _has_advanced(rollout: RolloutStatus, following: RolloutStatus) -> bool:
    """Whether a step was passed, and not on a person's word."""
    if rollout.phase not in {Phase.HOLDING, Phase.PAUSED}:
        return False
    if not _is_since(rollout.started_at, following.started_at) or following.judged_by is not JudgedBy.METRICS:
        return False
    held = following.phase in {Phase.HOLDING, Phase.AWAITING_APPROVAL}
    onward = held and (following.step_index or 0) > (rollout.step_index or 0)
    return following.phase in {Phase.PROMOTING, Phase.WATCHING} or (onward and following.step != rollout.step)


def pods_go_only_after_their_traffic(before: Moment, after: Moment) -> None:
    """A revision never shrinks below what its share needs, as the route had it a second ago."""
    if after.replicas is None or after.replicas < 0 or before.replicas != after.replicas:
        return
    if before.status.stable is None or after.status.rollout.recreates:
        return  # nothing was promised yet, or a gap was asked for
    if after.is_plain and _has_all_its_pods(before) and after.weights.get(_stable(after.status) or ""):
        return  # stable's pods carry all, so the others' may go at any time
    for revision, weight in before.weights.items():
        shrank = after.wanted.get(revision, 0) < before.wanted.get(revision, 0)
        share = 100 * weight // max(1, sum(before.weights.values()))
        needed = pods_for_share(after.replicas, share)
        if shrank and revision in after.scaled and after.wanted[revision] < needed:
            raise AssertionError(f"{after.at}: {revision} shrank to {after.wanted[revision]} with {share} % on it")
    for revision in _beside(before) & _beside(after) & after.scaled:
        assert after.wanted.get(revision, 0), f"{after.at}: {revision} lost its pods, and gets requests beside weights"


def _beside(moment: Moment) -> set[str]:
    """Revisions that get requests by their headers, or copies of requests."""
    return {*moment.by_headers, *moment.copied}


def _has_all_its_pods(moment: Moment) -> bool:
    return moment.ready.get(_stable(moment.status) or "", 0) >= (moment.replicas or 0)


def every_action_takes_effect_once(moments: Iterable[Moment]) -> None:
    """An action's value is unique in a walk: it is handled once, but for lives in which nobody remembers it."""
    handled: set[object] = set()
    for before, after in pairwise(moments):
        if before.status is after.status:
            continue
        old = {(each.action, each.value) for each in before.status.actions}
        for action in {(each.action, each.value) for each in after.status.actions} - old:
            if not action[1].endswith("#by-hand"):
                assert (*action, after.life) not in handled, f"{after.at}: {action} took effect again"
            handled.add((*action, after.life))


def verdicts_are_true(before: Moment, after: Moment) -> None:
    """Whatever Prometheus says, no broken revision is promoted for its metrics, and no good one is rolled back."""
    if _stable(before.status) not in {None, _stable(after.status)} and before.life == after.life:
        image = after.status.stable.image if after.status.stable else ""
        by_metrics = after.status.rollout.judged_by is JudgedBy.METRICS and after.status.rollout.phase is Phase.WATCHING
        assert not (by_metrics and image == BROKEN), f"{after.at}: {image} was promoted, and fails two requests of five"
    for rejected in after.status.rejected:
        if rejected.reason != Reason.METRIC_FAILED:
            continue
        roles = (after.status.candidate, after.status.stable, after.status.previous)
        image = next((role.image for role in roles if role and role.revision == rejected.revision), None)
        assert image in {None, BROKEN} or image not in IMAGES, f"{after.at}: {image} fails nothing: {rejected.message}"


# What is kept up ------------------------------------------------------------------------------------------------------

Promise = Callable[[Moment], str]
"""What is wrong in a moment; "" for nothing."""


def holds_or_is_mended(moments: Iterable[Moment], promise: Promise, within: int) -> None:
    """No more than `within` seconds in a row in which the promise is broken and the operator could mend it."""
    broken = 0
    for moment in moments:
        wrong = promise(moment)
        if not wrong or moment.suspended:
            broken = 0
        elif moment.able or not within:
            broken += 1
            assert broken <= within, f"{moment.at}: {wrong}"


def a_rejected_revision_came_back(after: Moment) -> str:
    if after.status.rollout.phase is Phase.REJECTED:
        for rejected in after.status.rejected:
            if after.weights.get(rejected.revision, 0) or rejected.revision in _beside(after):
                return f"{after.at}: {rejected.revision} came back"
    return ""


def the_candidate_has_more_than_it_may(after: Moment) -> str:
    status = after.status
    if status.candidate is None or status.stable is None or status.rollout.phase not in SHARE_PHASES:
        return ""
    if status.stable.revision not in after.found:
        return ""  # on loan, until requests find stable's pods again
    if after.is_shared:
        return ""  # by pods: see below
    weight, may = after.weights.get(status.candidate.revision, 0), status.rollout.weight_percent
    return f"{after.at}: the candidate has {weight} % and may have {may} %" if weight > may else ""


def the_candidate_has_more_pods_than_it_may(after: Moment) -> str:
    """Behind a plain Service; those that it had to serve in place of stable go a moment after stable is back."""
    status = after.status
    if not after.is_shared or status.candidate is None or status.rollout.phase not in SHARE_PHASES:
        return ""
    pods = after.ready.get(status.candidate.revision, 0)
    most = pods_beside(after.replicas or 0, status.rollout.weight_percent)
    return f"{after.at}: the candidate has {pods} pods and may have {most}" if pods > most > 0 else ""


def a_third_revision_shares(after: Moment) -> str:
    """A plain Service leads to pods of another revision than the stable one and its candidate."""
    roles = {role.revision for role in (after.status.stable, after.status.candidate) if role}
    strangers = [revision for revision in after.weights if after.is_shared and revision not in roles]
    return f"{after.at}: pods of {strangers} share the requests" if strangers else ""


def dead_pods_have_weight(after: Moment) -> str:
    """A revision without a ready pod has weight, while one that may serve has some that requests find."""
    status = after.status
    leaving = status.rollout.phase is Phase.ROLLING_BACK
    roles = (status.stable, None if leaving else status.candidate, status.previous)
    alive = [role.revision for role in roles if role and role.revision in after.found]
    for revision, weight in after.weights.items():
        if weight and not after.ready.get(revision, 0) and alive and after.replicas:
            return f"{revision} has {weight} % and no ready pod, and {alive[0]} has"
    for revision in _beside(after):
        if not after.ready.get(revision, 0) and alive and after.replicas:
            return f"{revision} gets requests by headers, or copies, and has no ready pod, and {alive[0]} has"
    return ""


def requests_go_elsewhere(after: Moment) -> str:
    """Requests with certain headers, or copies of requests, go to somebody else than a candidate."""
    candidate = after.status.candidate
    strangers = _beside(after) - ({candidate.revision} if candidate else set())
    return f"{after.at}: requests go to {sorted(strangers)} by their headers, or copies" if strangers else ""


def more_is_copied_than_may_be(after: Moment) -> str:
    status = after.status
    if status.candidate is None or status.rollout.phase not in SHARE_PHASES:
        return ""
    percent, may = after.copied.get(status.candidate.revision, 0), status.rollout.shadow_percent
    return f"{after.at}: {percent} % are copied to the candidate, and {may} % may be" if percent > may else ""


def what_is_retired_can_not_be_returned_to(after: Moment) -> str:
    """Status tells people of a revision that was stable before, and there is no record of it."""
    roles = {role.revision for role in (after.status.candidate, after.status.previous) if role}
    told = {each.revision for each in after.status.retired}
    gone = told - roles - after.recorded
    if _stable(after.status) in told:
        return f"{after.at}: the stable revision is among those that were stable before"
    return f"{after.at}: {sorted(gone)} are told as retired, and there is no record of them" if gone else ""


def stable_is_too_small(after: Moment) -> str:
    """The stable revision's ReplicaSet is smaller than promised: than the spec says, or where an autoscaler says it,
    than it was at the start of the rollout."""
    stable = _stable(after.status)
    promised = after.status.rollout.stable_replicas if after.replicas is None else after.replicas
    if stable is None or promised is None or promised < 0 or after.status.rollout.recreates:
        return ""
    if stable not in after.wanted and stable not in after.recorded:
        return ""  # somebody has deleted both: nobody knows any more what it was
    wanted = after.wanted.get(stable, 0)
    return f"stable {stable} is to have {wanted} of {promised} pods" if wanted < promised else ""


def weight_is_only_on_ready_pods(world: World) -> None:
    lost: dict[str, int] = {}
    for moment in world.moments:
        reached = moment.weights | dict.fromkeys(_beside(moment), 100)
        for revision, weight in reached.items():
            dead = weight > 0 and moment.ready.get(revision, 0) == 0 and any(moment.ready.values())
            lost[revision] = lost.get(revision, 0) + 1 if dead else 0
            limit = REACTION_SECONDS + world.lag_seconds
            assert lost[revision] <= limit, f"{moment.at}: {revision} has {weight} % and no ready pod"


def no_request_is_lost(moments: Iterable[Moment]) -> None:
    served = False
    for moment in moments:
        served = served or moment.status.stable is not None
        assert not (served and moment.lost), f"{moment.at}: {moment.lost} requests found no pod: {moment.weights}"


def capacity_is_never_under_the_promise(world: World, replicas: int) -> None:
    grown: set[str] = set()
    for moment in world.moments:
        stable = _stable(moment.status)
        grown |= {revision for revision, ready in moment.ready.items() if ready >= replicas}
        if stable is None or stable not in grown or moment.status.rollout.recreates:
            continue
        if moment.is_shared:
            assert moment.ready[stable] >= replicas, (
                f"{moment.at}: stable has {moment.ready[stable]} of {replicas} pods"
            )
            continue
        for revision, weight in moment.weights.items():
            needed = pods_for_share(replicas, weight)
            ready = moment.ready.get(revision, 0)
            assert ready >= needed, f"{moment.at}: {revision} has {weight} % on {ready} of {needed} pods"


def _stable(status: ModelDeploymentStatus) -> str | None:
    return status.stable.revision if status.stable else None
