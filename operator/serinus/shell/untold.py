"""Notes of a status write that got no answer: told as soon as the status turns up, by `serinus.shell.reconciler`.

A connection may break after the API server has taken a write. What was decided then stands in `status`, and the next
pass goes on from there; without this its Events would never be.
"""

from __future__ import annotations

from dataclasses import dataclass

from serinus.api.status import ModelDeploymentStatus
from serinus.core.plan import Note, Plan


@dataclass(frozen=True, slots=True)
class Untold:
    """What a status write says, whose answer has not come yet, and what is to be told of it."""

    moves: int
    said: tuple[object, ...]
    notes: tuple[Note, ...]

    @classmethod
    def of(cls, plan: Plan, before: ModelDeploymentStatus) -> Untold | None:
        """What there is to tell once the plan's status is written; None where that could not be seen in it."""
        status, notes = plan.action.status, plan.action.notes
        if status is None or not notes or _said(status) == _said(before):
            return None
        return cls(status.moves, _said(status), notes)

    def is_written(self, found: ModelDeploymentStatus) -> bool:
        """Whether the status that was found is the one that got no answer."""
        return _said(found) == self.said

    def is_past(self, found: ModelDeploymentStatus) -> bool:
        """Whether another decision has been written since, or instead."""
        return found.moves > self.moves


def _said(status: ModelDeploymentStatus) -> tuple[object, ...]:
    """What a status says without its times and counts, in which the same decision, tried again, differs."""
    return (
        status.moves,
        status.rollout.phase,
        status.rollout.step,
        status.rollout.counting_since is None,
        status.rollout.recommendation,
        *((each.type, each.status, each.reason) for each in status.conditions),
        *((each.event, each.revision) for each in status.history),
        *((each.action, each.value, each.carried_out) for each in status.actions),
    )
