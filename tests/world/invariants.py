"""What must hold at every moment of every run, whatever goes wrong: checked over the trace, not only at its end."""

from __future__ import annotations

from itertools import pairwise

from serinus.api.reasons import JudgedBy, Phase
from serinus.api.status import ModelDeploymentStatus
from serinus.core.traffic import pods_for_share
from tests.world.world import Moment, World

REACTION_SECONDS = 2
"""Time in which the operator may answer to pods that die."""


def check(world: World, *, replicas: int | None = 3, hold_seconds: float = 60, pods_crash: bool = False) -> None:
    """Every invariant, over the trace of `world`.

    `replicas` is the promised size of what serves (None where it changes); `pods_crash` allows moments without any
    ready pod.
    """
    for before, after in pairwise(world.moments):
        moves_only_rise(before, after)
        nothing_is_promoted_unjudged(before, after)
        no_step_ends_before_its_hold(before, after, hold_seconds)
        a_rejected_revision_stays_away(after)
        the_candidate_never_has_more_than_it_may(after)
        pods_go_only_after_their_traffic(before, after)
    if not pods_crash:
        weight_is_only_on_ready_pods(world)
        if replicas is not None:
            capacity_is_never_under_the_promise(world, replicas)


def moves_only_rise(before: Moment, after: Moment) -> None:
    assert after.status.moves >= before.status.moves, f"{after.at}: moves fell"


def nothing_is_promoted_unjudged(before: Moment, after: Moment) -> None:
    old, new = _stable(before.status), _stable(after.status)
    if new is None or old == new or old is None:
        return
    if new == (before.status.previous.revision if before.status.previous else None):
        return  # a return to what was judged before
    judged_by = after.status.rollout.judged_by
    assert judged_by is not None, f"{after.at}: {new} became stable and nobody says on whose word"
    if judged_by is JudgedBy.METRICS:
        passed = [entry for entry in after.status.history if entry.revision == new and "passed" in entry.because]
        assert passed, f"{after.at}: {new} became stable by metrics, and no verdict says so"


def no_step_ends_before_its_hold(before: Moment, after: Moment, hold_seconds: float) -> None:
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


def a_rejected_revision_stays_away(after: Moment) -> None:
    if after.status.rollout.phase is Phase.REJECTED:
        for rejected in after.status.rejected:
            assert after.weights.get(rejected.revision, 0) == 0, f"{after.at}: {rejected.revision} came back"


def the_candidate_never_has_more_than_it_may(after: Moment) -> None:
    status = after.status
    if status.candidate is None or status.stable is None or status.rollout.phase is not Phase.HOLDING:
        return
    if after.ready.get(status.stable.revision, 0) == 0:
        return  # on loan
    weight, may = after.weights.get(status.candidate.revision, 0), status.rollout.weight_percent
    assert weight <= may, f"{after.at}: the candidate has {weight} % and may have {may} %"


def pods_go_only_after_their_traffic(before: Moment, after: Moment) -> None:
    """A revision never shrinks below what its share needs, as the route had it a second ago."""
    if after.replicas is None or after.replicas < 0:
        return
    for revision, weight in before.weights.items():
        shrank = after.wanted.get(revision, 0) < before.wanted.get(revision, 0)
        share = 100 * weight // max(1, sum(before.weights.values()))
        needed = pods_for_share(after.replicas, share)
        if shrank and revision in after.wanted and after.wanted[revision] < needed:
            raise AssertionError(f"{after.at}: {revision} shrank to {after.wanted[revision]} with {share} % on it")


def weight_is_only_on_ready_pods(world: World) -> None:
    lost: dict[str, int] = {}
    for moment in world.moments:
        for revision, weight in moment.weights.items():
            dead = weight > 0 and moment.ready.get(revision, 0) == 0 and any(moment.ready.values())
            lost[revision] = lost.get(revision, 0) + 1 if dead else 0
            limit = REACTION_SECONDS + world.lag_seconds
            assert lost[revision] <= limit, f"{moment.at}: {revision} has {weight} % and no ready pod"


def capacity_is_never_under_the_promise(world: World, replicas: int) -> None:
    grown: set[str] = set()
    for moment in world.moments:
        stable = _stable(moment.status)
        grown |= {revision for revision, ready in moment.ready.items() if ready >= replicas}
        if stable is None or stable not in grown:
            continue
        for revision, weight in moment.weights.items():
            needed = pods_for_share(replicas, weight)
            ready = moment.ready.get(revision, 0)
            assert ready >= needed, f"{moment.at}: {revision} has {weight} % on {ready} of {needed} pods"


def _stable(status: ModelDeploymentStatus) -> str | None:
    return status.stable.revision if status.stable else None
