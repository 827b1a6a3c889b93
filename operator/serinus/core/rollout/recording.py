"""How a decision gets into the status: `status.moves`, the history, the actions that were handled, and what is told.

Every move is made by `move`, called by the moves beside this file. Those that are about the record itself stand here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from serinus.api.kinds import GROUP
from serinus.api.reasons import Happening
from serinus.api.status import HandledAction, HistoryEntry, ModelDeploymentStatus, RevisionStatus
from serinus.core.notifications import enrolled, newest_number, receivers_of
from serinus.core.plan import Move, Note
from serinus.core.platform.standing import standing
from serinus.core.rollout.situation import Situation

HISTORY_LENGTH = 20
BECAUSE_LENGTH = 700
MESSAGE_LENGTH = 1000
VALUE_LENGTH = 256
"""Of an action's value, so much is remembered."""
PERSON = "person"
"""In the history: who decided, where an action asked for it."""


@dataclass(frozen=True, slots=True)
class Telling:
    """How a move is told: as a log line and mostly an Event, and in the history if it concerns a revision."""

    happening: Happening
    message: str
    revision: str | None = None
    warning: bool = False
    by: str = "serinus"
    as_event: bool = True


def move(s: Situation, telling: Telling, **changes: Any) -> Move:
    """The move that applies `changes` to the fields of status, raises `moves` and records `telling`.

    Receivers of notifications that are named now, and were not at the last move, are told from this one on.
    """
    policies = standing(s.observation.governed, s.status.policies)
    kept = {
        "moves": s.status.moves + 1,
        "history": history_with(telling, s.status, s.now),
        "notified": enrolled(s.status, receivers_of(s.observation.deployment, policies)),
    }
    status: ModelDeploymentStatus = s.status.model_copy(update={**kept, **changes})
    return Move(status, (note_of(telling),))


def history_with(telling: Telling, status: ModelDeploymentStatus, now: datetime) -> tuple[HistoryEntry, ...]:
    """The history with what is told, if it concerns a revision."""
    if telling.revision is None:
        return status.history
    entry = HistoryEntry(
        at=now,
        event=telling.happening,
        revision=telling.revision,
        by=telling.by,
        because=telling.message[:BECAUSE_LENGTH],
        number=newest_number(status) + 1,
    )
    return (entry, *status.history)[:HISTORY_LENGTH]


def note_of(telling: Telling) -> Note:
    """The same for the log, and mostly for an Event."""
    severity: Literal["Normal", "Warning"] = "Warning" if telling.warning else "Normal"
    return Note(telling.happening, telling.message[:MESSAGE_LENGTH], severity, telling.as_event)


def handled(s: Situation, action: str, value: str, done: Move, *, carried_out: bool) -> Move:
    """`done`, with the action's value and who set it recorded in the same write, so that it takes effect once."""
    manager = s.observation.deployment.metadata.manager_of(f"{GROUP}/{action}")
    record = HandledAction(
        action=action,
        value=value[:VALUE_LENGTH],
        carried_out=carried_out,
        message=done.notes[0].message,
        field_manager=manager,
        at=s.now,
    )
    others = tuple(each for each in s.status.actions if each.action != action)
    newest, *older = done.status.history or (None,)
    if newest is not None and newest.by == PERSON and done.status.history != s.status.history:
        newest = newest.model_copy(update={"field_manager": manager})
    history = (newest, *older) if newest is not None else ()
    return Move(done.status.model_copy(update={"actions": (*others, record), "history": history}), done.notes)


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


_AHEAD_OF_TIME = timedelta(minutes=2)
"""So far may times in the status lie ahead: they are waited for. Clocks of two nodes differ by less."""
_TIMES = (
    "started_at",
    "step_started_at",
    "counting_since",
    "evidence_started_at",
    "pass_evidence_since",
    "baseline_started_at",
    "baseline_ended_at",
    "missing_since",
    "short_since",
    "drained_at",
)


_ROLES = ("stable", "candidate", "previous")


def return_to_the_present(s: Situation) -> Move | None:
    """Times that a clock wrote which was far ahead count from now, where waiting for them would take hours.

    The hold's clock is left to `clock_move` where this process knows that the clock was set.
    """
    latest = s.now + max(_AHEAD_OF_TIME, s.drain)
    left = {"counting_since"} if s.observation.clock_stepped else set()
    ahead = [name for name in _TIMES if name not in left and (getattr(s.rollout, name) or latest) > latest]
    roles = {name: role for name in _ROLES if (role := getattr(s.status, name)) and (role.since or latest) > latest}
    if not ahead and not roles:
        return None
    message = "Times in the status lie minutes or hours ahead: the clock was wrong when they were written"
    rollout = s.rollout.model_copy(update=dict.fromkeys(ahead, s.now))
    taken = {name: role.model_copy(update={"since": s.now}) for name, role in roles.items()}
    return move(s, Telling(Happening.STATUS_RECOVERED, message, warning=True), rollout=rollout, **taken)
