"""Recreate: where there is room for one revision, the pods that serve go first, and then the candidate's come.

Nobody is served in between: that is what `rollout.recreate` asks for, and the conditions say so. Once the decision is
persisted (`status.rollout.recreates`) it stands until the promotion and its watch are over, or until the old revision
is back: after a failure the candidate's pods go, and those of the old revision come again by themselves. Asked by the
policies beside this file (moves) and by `serinus.core.realise` (sizes).
"""

from __future__ import annotations

from serinus.api.reasons import Happening, JudgedBy, Phase
from serinus.core.plan import Move
from serinus.core.rollout import moves
from serinus.core.rollout.situation import Situation
from serinus.core.sentences import counted


def make_room(s: Situation) -> Move | None:
    """Stop the pods that serve, as soon as there is a ReplicaSet that can take their place.

    What the API server refuses to make takes nobody's service away.
    """
    if s.candidate not in s.children.replica_sets:
        return None
    because = f"rollout.recreate stops the pods of {s.stable} first, and nobody is served until it is ready"
    return moves.begin_promotion(s, JudgedBy.READINESS, because, happening=Happening.MAKING_ROOM)


def targets(s: Situation) -> dict[str, int]:
    """How many pods stable, candidate and previous revision should have, where `status.rollout.recreates`."""
    wanted: dict[str, int] = {s.previous: 0} if s.previous else {}
    match s.rollout.phase:
        case Phase.PROMOTING:
            going, coming = s.stable, s.candidate
        case Phase.ROLLING_BACK:
            going, coming = s.candidate, s.stable
        case _:
            return wanted
    if going is not None:
        wanted[going] = 0
    if coming is not None:
        wanted[coming] = _desired(s, coming) if pods_in_the_way(s, coming) else s.replicas
    return wanted


def finish_rollback(s: Situation) -> Move | None:
    """The candidate's pods are gone: those of stable come, whatever the route says in the meantime."""
    if s.stable is None or pods_in_the_way(s, s.stable):
        return None
    return moves.finish_rollback(s)


def may_come_back(s: Situation) -> bool:
    """Whether the revision that made room has ever served, so that it may be made to serve again."""
    return s.rollout.recreates and s.status.previous is not None and s.status.previous.ever_ready


def pods_in_the_way(s: Situation, revision: str) -> int:
    """Pods of other revisions that take room still, those that are ending among them."""
    others = (state for state in s.children.replica_sets.values() if state.revision != revision)
    return max(len(_ending(s, revision)), sum(max(state.current, state.desired) for state in others))


def progress(s: Situation) -> str:
    """What the change of revisions is waiting for, for people."""
    going, coming = (s.stable, s.candidate) if s.rollout.phase is Phase.PROMOTING else (s.candidate, s.stable)
    left = pods_in_the_way(s, coming or "")
    if not left:
        return f"{s.children.ready(coming)} of {s.replicas} pods of {coming} ready"
    names = ", ".join(_ending(s, coming or "")[:2])
    named = f" ({names})" if names else ""
    return f"{counted(left, 'pod')} of {going}{named} {'has' if left == 1 else 'have'} to end before {coming} starts"


def _ending(s: Situation, revision: str) -> tuple[str, ...]:
    return tuple(pod.name for pod in s.children.pods if pod.revision != revision and not pod.ended)


def _desired(s: Situation, revision: str) -> int:
    state = s.children.replica_sets.get(revision)
    return state.desired if state else 0
