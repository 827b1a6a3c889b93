"""The rollout's state machine: from one observation to at most one move.

`next_move` is asked once in every pass, by `serinus.core.decide`. The order of what it asks stands here and in
`serinus.core.rollout.policies`; what a move changes stands in `moves` (from one phase or step to another), in `holds`
(within one) and in `recording` (of the record itself).
"""

from __future__ import annotations

from serinus.core.plan import Move
from serinus.core.rollout.actions import action_move, tell_unknown
from serinus.core.rollout.policies import POLICIES, PROTECTIVE, recover_lost_status
from serinus.core.rollout.recording import overtake, return_to_the_present
from serinus.core.rollout.situation import Situation


def next_move(s: Situation, *, frozen: bool = False) -> Move | None:
    """The next decision, or None when there is nothing to decide now.

    `frozen` leaves only what protects users: the spec asks for something that this version can't carry out.
    """
    recovered = recover_lost_status(s) or overtake(s) or return_to_the_present(s)
    if recovered is not None:
        return recovered
    acted = action_move(s, only_abort=frozen) or tell_unknown(s)
    if acted is not None:
        return acted
    policies = (PROTECTIVE if frozen else POLICIES).get(s.rollout.phase, ())
    return next((found for policy in policies if (found := policy(s)) is not None), None)
