"""What people ask for by annotation: abort, promote, retry, and pause.

An action names the revision that it means (`serinus.dev/abort: <hash>[#token]`), is recorded in the same write as its
effect, and is ignored until its value changes, so that it takes effect once however often it is seen. `pause` is a
state, not an action: it holds while the annotation says "true". Called first by `next_move`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from serinus.api.kinds import GROUP
from serinus.api.reasons import Happening, JudgedBy, Phase, Reason
from serinus.api.status import HandledAction
from serinus.core.plan import Move
from serinus.core.rollout import moves, recording
from serinus.core.rollout.situation import Situation

CANDIDATE_PHASES = frozenset({Phase.STARTING, Phase.HOLDING, Phase.PAUSED, Phase.PROMOTING})


def action_move(s: Situation, *, only_abort: bool = False) -> Move | None:
    """The effect of the first unhandled action, or a note that it means nothing now.

    `only_abort` leaves the others for later: nothing may go forward now.
    """
    for action, carry_out in _ACTIONS.items():
        value = _asked(s, action)
        handled = any(each.action == action and each.value == value[:256] for each in s.status.actions)
        if not value or handled or (only_abort and carry_out is not _abort):
            continue
        revision = value.split("#", 1)[0]
        done = carry_out(s, revision) or _ignore(s, action, value)
        return recording.handled(s, action, value, done)
    return None


def asked_before(s: Situation) -> tuple[HandledAction, ...]:
    """Every action annotation that stands there, as if it had been handled."""
    asked = ((action, _asked(s, action)) for action in _ACTIONS)
    return tuple(HandledAction(action=action, value=value[:256]) for action, value in asked if value)


def _asked(s: Situation, action: str) -> str:
    return s.observation.deployment.metadata.annotations.get(f"{GROUP}/{action}", "")


def wants_pause(s: Situation) -> bool:
    """Whether a person asks for a pause: with any value but `false` or none, as who writes `yes` means it."""
    asked = s.observation.deployment.metadata.annotations.get(f"{GROUP}/pause", "")
    return asked.strip().lower() not in {"", "false"}


def _abort(s: Situation, revision: str) -> Move | None:
    because = f"a person asked for it with the annotation {GROUP}/abort"
    if s.rollout.phase in CANDIDATE_PHASES and s.candidate == revision and s.stable is not None:
        return moves.reject(s, Reason.ABORTED, because, by="person")
    if s.rollout.phase is Phase.WATCHING and s.stable == revision and s.previous is not None:
        return moves.return_to_previous(s, Reason.ABORTED, because, by="person")
    return None


def _promote(s: Situation, revision: str) -> Move | None:
    if s.rollout.phase in CANDIDATE_PHASES - {Phase.PROMOTING} and s.candidate == revision and s.stable is not None:
        because = f"a person asked for it with the annotation {GROUP}/promote"
        return moves.begin_promotion(s, JudgedBy.PERSON, because, by="person")
    return None


def _retry(s: Situation, revision: str) -> Move | None:
    if s.rollout.phase is Phase.REJECTED and s.revision == revision and s.is_rejected:
        message = f"A person asked to try revision {revision} again: a new attempt from the first step"
        telling = recording.Telling(Happening.RETRIED, message, revision, by="person")
        return recording.move(s, telling, rejected=(), rollout=s.rollout.model_copy(update={"phase": Phase.IDLE}))
    return None


def _ignore(s: Situation, action: str, value: str) -> Move:
    message = (
        f"The action {action} for {value!r} does nothing: it means another revision, or the rollout is not at a point "
        f"where it applies (phase {s.rollout.phase}, candidate {s.candidate or 'none'}, stable {s.stable or 'none'})"
    )
    return recording.move(s, recording.Telling(Happening.ACTION_IGNORED, message, warning=True))


def _not_carried_out(action: str, s: Situation, _: str) -> Move:
    message = f"The action {action} is not carried out by this version"
    return recording.move(s, recording.Telling(Happening.ACTION_IGNORED, message, warning=True))


_ACTIONS: dict[str, Callable[[Situation, str], Move | None]] = {
    "abort": _abort,
    "retry": _retry,
    "promote": _promote,
    **{action: partial(_not_carried_out, action) for action in ("approve", "skip-step", "return-to")},
}
