"""Whether requests suffer until a plan is carried out: such a plan goes first, and is tried again soon.

Called by `serinus.core.decide`.
"""

from __future__ import annotations

from serinus.api.reasons import Phase
from serinus.core.rollout.situation import Situation


def is_urgent(s: Situation) -> bool:
    """Whether the route leads requests to where they are not to go: to dead pods, or to more than an unproven one may.

    So it is with copies: some gateways fail the requests themselves where nobody is there to take their copies.

    `s` is the situation after the move, where there is one. What a promotion takes off a stable revision that serves is
    progress, and can wait. So is the end of a rule for headers once all requests go where it leads.
    """
    by_headers = any(revision not in s.matches and s.split.get(revision) != 100 for revision in s.matches_in_force)
    copies = any(
        revision not in s.mirrors and (s.rollout.phase is Phase.ROLLING_BACK or not s.children.ready(revision))
        for revision in s.mirrors_in_force
    )
    return (
        by_headers
        or copies
        or any(
            share > s.split.get(revision, 0) and (revision != s.stable or not s.children.ready(revision))
            for revision, share in s.in_force.items()
        )
    )
