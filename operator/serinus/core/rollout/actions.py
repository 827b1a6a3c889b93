"""What people ask for by annotation: abort, promote, retry, approve, skip-step, return-to, and pause.

An action names the revision that it means (`serinus.dev/abort: <revision>[#token]`), or the revision and the step
(`serinus.dev/approve: <revision>/<step>[#token]`). It is recorded in the same write as its effect, and is ignored until
its value changes, so that it takes effect once however often it is seen. One that does nothing says why, and is
recorded as well: it must not take effect when the rollout has gone on. `pause` is a state, not an action: it holds
while the annotation says anything but `false`. Called first by `next_move`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from serinus.api.kinds import ANNOTATION_NOTIFY, GROUP
from serinus.api.reasons import Happening, JudgedBy, Phase, Reason
from serinus.api.status import HandledAction
from serinus.core.plan import Move
from serinus.core.rollout import moves, recording, returns
from serinus.core.rollout.recording import PERSON, VALUE_LENGTH, Telling
from serinus.core.rollout.situation import Situation
from serinus.core.traffic import SHARE_PHASES

CANDIDATE_PHASES = SHARE_PHASES | {Phase.STARTING, Phase.PROMOTING}
MOST_UNKNOWN = 8
"""Annotations under our prefix that mean nothing to us, and are told."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """An action as the annotation has it."""

    action: str
    value: str
    revision: str
    step: str

    @classmethod
    def read(cls, action: str, value: str) -> _Asked:
        """`<revision>[/<step>][#token]`."""
        revision, _, step = value.split("#", 1)[0].partition("/")
        return cls(action, value, revision.strip(), step.strip())

    @property
    def because(self) -> str:
        return f"a person asked for it with the annotation {GROUP}/{self.action}"


def action_move(s: Situation, *, only_abort: bool = False) -> Move | None:
    """The effect of the first unhandled action, or a note that it means nothing now.

    `only_abort` leaves the others for later: nothing may go forward now.
    """
    for action, carry_out in _ACTIONS.items():
        value = _value(s, action)
        handled = any(each.action == action and each.value == value[:VALUE_LENGTH] for each in s.status.actions)
        if not value or handled or (only_abort and carry_out is not _abort):
            continue
        asked = _Asked.read(action, value)
        if action in _PASS_A_STEP and _has_to_wait(s):
            continue
        answer = carry_out(s, asked)
        if isinstance(answer, str):
            return recording.handled(s, action, value, _ignore(s, asked, answer), carried_out=False)
        return recording.handled(s, action, value, answer, carried_out=True)
    return None


def tell_unknown(s: Situation) -> Move | None:
    """An annotation under our prefix that means nothing to us, told once: most likely a name that is spelt wrong."""
    known = {each.action for each in s.status.actions}
    for name in list(_unknown(s))[:MOST_UNKNOWN]:
        if name in known:
            continue
        alike = difflib.get_close_matches(name, _NAMES, n=1)
        hint = f"did you mean {GROUP}/{alike[0]}?" if alike else f"there are {', '.join(_NAMES)}"
        message = f"The annotation {GROUP}/{name} means nothing: {hint}"
        telling = Telling(Happening.ACTION_IGNORED, message, warning=True)
        value = s.observation.deployment.metadata.annotations[f"{GROUP}/{name}"]
        told = recording.handled(s, name, value, recording.move(s, telling), carried_out=False)
        still = {*_NAMES, *_unknown(s)}
        kept = tuple(each for each in told.status.actions if each.action in still)
        return Move(told.status.model_copy(update={"actions": kept}), told.notes)
    return None


def asked_before(s: Situation) -> tuple[HandledAction, ...]:
    """Every action annotation that stands there, as if it had been handled."""
    because = "It stood there when the status was lost, and may have been carried out before: change its token"
    asked = ((action, _value(s, action)[:VALUE_LENGTH]) for action in _ACTIONS)
    return tuple(
        HandledAction(action=action, value=value, carried_out=False, message=because, at=s.now)
        for action, value in asked
        if value
    )


def wants_pause(s: Situation) -> bool:
    """Whether a person asks for a pause: with any value but `false` or none, as who writes `yes` means it."""
    asked = s.observation.deployment.metadata.annotations.get(f"{GROUP}/pause", "")
    return asked.strip().lower() not in {"", "false"}


def _value(s: Situation, action: str) -> str:
    return s.observation.deployment.metadata.annotations.get(f"{GROUP}/{action}", "")


def _unknown(s: Situation) -> Iterator[str]:
    annotations = sorted(s.observation.deployment.metadata.annotations)
    names = (key.removeprefix(f"{GROUP}/") for key in annotations if key.startswith(f"{GROUP}/"))
    return (name for name in names if name not in _NAMES)


def _has_to_wait(s: Situation) -> bool:
    """Whether no step may be passed on a person's word now.

    A pause has to end first. A Fail comes first, and so does an edited spec: the step may be in another place by now.
    """
    in_step = s.rollout.phase in SHARE_PHASES
    edited = s.step is None or s.step.name != s.rollout.step or s.step.approval != s.awaits_approval
    another = s.revision not in {s.candidate, s.rollout.return_from}
    return wants_pause(s) or (s.fails and not s.only_recommends) or (in_step and (edited or another))


# Each of them: the move that carries it out, or why it does nothing ---------------------------------------------------


def _abort(s: Situation, asked: _Asked) -> Move | str:
    if s.rollout.phase in CANDIDATE_PHASES and s.candidate == asked.revision and s.stable is not None:
        return moves.reject(s, Reason.ABORTED, asked.because, by=PERSON)
    if s.rollout.phase is Phase.WATCHING and s.stable == asked.revision and s.previous is not None:
        return returns.return_to_previous(s, Reason.ABORTED, asked.because, by=PERSON)
    if asked.revision not in {s.candidate, s.stable} or not _is_under_way(s):
        return _another_revision(s)
    if s.rollout.phase is Phase.ROLLING_BACK:
        return "it is being rolled back already" if asked.revision == s.candidate else "it is stable"
    return "there is no revision that served before it, to go back to"


def _promote(s: Situation, asked: _Asked) -> Move | str:
    if s.candidate != asked.revision:
        return "it is stable already" if s.stable == asked.revision else _another_revision(s)
    if s.rollout.phase is Phase.PROMOTING:
        return "it is being promoted already"
    if s.rollout.phase in CANDIDATE_PHASES and s.stable is not None:
        return moves.begin_promotion(s, JudgedBy.PERSON, asked.because, by=PERSON)
    if s.stable is None:
        return "it is the first revision, which takes over by itself as soon as it is ready"
    return "it is being rolled back"


def _retry(s: Situation, asked: _Asked) -> Move | str:
    if s.revision != asked.revision:
        return f"only the revision in the spec can be tried again, which is {s.revision}"
    if s.rollout.phase is Phase.ROLLING_BACK:
        return "it is being rolled back; ask again, with another token, when that is done"
    if s.rollout.phase is not Phase.REJECTED:
        return "it was not rejected"
    message = f"A person asked to try revision {s.revision} again: a new attempt from the first step"
    telling = Telling(Happening.RETRIED, message, s.revision, by=PERSON)
    return recording.move(s, telling, rejected=(), rollout=s.rollout.model_copy(update={"phase": Phase.IDLE}))


def _approve(s: Situation, asked: _Asked) -> Move | str:
    wrong = _another_step(s, asked)
    if wrong is not None:
        return wrong
    if not s.awaits_approval:
        return f"step {asked.step} is no approval; {GROUP}/skip-step ends it without its hold and verdict"
    evidence = s.evidence_in_words()
    because = f"step {asked.step} was approved" + (f"; {evidence}" if evidence else "")
    judged_by = s.rollout.judged_by or JudgedBy.PERSON
    return moves.end_step(s, judged_by, because, happening=Happening.APPROVED, by=PERSON)


def _skip_step(s: Situation, asked: _Asked) -> Move | str:
    wrong = _another_step(s, asked)
    if wrong is not None:
        return wrong
    if s.awaits_approval:
        return f"step {asked.step} is an approval, which is not skipped but given: {GROUP}/approve"
    because = f"step {asked.step} was skipped by a person, after {s.held_seconds:.0f} s"
    return moves.end_step(s, JudgedBy.PERSON, because, happening=Happening.STEP_SKIPPED, by=PERSON)


def _return_to(s: Situation, asked: _Asked) -> Move | str:
    revision = asked.revision
    if revision == s.stable and s.rollout.phase in CANDIDATE_PHASES:
        return moves.reject(s, Reason.RETURNED, asked.because, by=PERSON)
    if (why_not := _no_return(s, revision)) is not None:
        return why_not
    return returns.begin_return(s, revision, asked.because)


def _no_return(s: Situation, revision: str) -> str | None:
    if revision == s.stable:
        return "it is stable already"
    if s.stable is None:
        return "nothing serves yet that it could take the place of"
    if revision == s.revision:
        return f"it is the one that the spec asks for; {GROUP}/retry tries it again"
    if s.candidate is not None:
        return f"a rollout is under way; end it first, with {GROUP}/abort: {s.candidate}, then ask again"
    if returns.is_kept(s, revision):
        return None
    retired = ", ".join(each.revision for each in s.status.retired if returns.is_kept(s, each.revision))
    return f"there is no kept revision of that name; of those that were stable before: {retired or 'none'}"


def _is_under_way(s: Situation) -> bool:
    return s.candidate is not None or s.rollout.phase is Phase.WATCHING


def _another_revision(s: Situation) -> str:
    return "it means another revision than the one under way" if _is_under_way(s) else "no rollout is under way"


def _another_step(s: Situation, asked: _Asked) -> str | None:
    if s.rollout.phase not in SHARE_PHASES:
        return "no rollout is in a step now"
    if not asked.step:
        return f"it has to name the step: {s.candidate}/{s.rollout.step}"
    if s.candidate != asked.revision:
        return f"it means another revision; for the one in this step it is {s.candidate}/{s.rollout.step}"
    return None if s.rollout.step == asked.step else f"the rollout is in another step, {s.rollout.step}"


def _ignore(s: Situation, asked: _Asked, why: str) -> Move:
    message = (
        f"The action {asked.action} for {asked.value[:VALUE_LENGTH]!r} does nothing: {why} (phase {s.rollout.phase}, "
        f"candidate {s.candidate or 'none'}, stable {s.stable or 'none'})"
    )
    return recording.move(s, Telling(Happening.ACTION_IGNORED, message, warning=True))


_ACTIONS: dict[str, Callable[[Situation, _Asked], Move | str]] = {
    "abort": _abort,
    "return-to": _return_to,
    "retry": _retry,
    "promote": _promote,
    "approve": _approve,
    "skip-step": _skip_step,
}
"""In the order in which they are asked: of abort and promote together, abort is carried out."""
_PASS_A_STEP = frozenset({"approve", "skip-step"})
_NAMES = (*_ACTIONS, "pause", ANNOTATION_NOTIFY.removeprefix(f"{GROUP}/"))
"""What may be set under our prefix on a ModelDeployment."""
