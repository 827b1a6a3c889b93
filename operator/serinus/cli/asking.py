"""What an action of a person would do: which annotation it is, and what the operator would make of it. Pure.

Called by `serinus.cli.actions`. Whether an action means anything now is not decided here: the operator's own function
is asked, with the annotation as it would be set.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from serinus.api.kinds import CONTROLLER_REVISION, GROUP
from serinus.api.reasons import ConditionType, Phase, Reason
from serinus.api.revision import revision_of_child
from serinus.api.status import ModelDeploymentStatus
from serinus.cli.outcome import CommandFailed
from serinus.core.conditions import conditions
from serinus.core.rollout.actions import action_move, wants_pause
from serinus.core.rollout.policies import halt_promotion, obey_pause
from serinus.core.rollout.recording import VALUE_LENGTH
from serinus.core.rollout.situation import Situation


class Verb(StrEnum):
    """The actions, by the names of their annotations."""

    PROMOTE = "promote"
    APPROVE = "approve"
    ABORT = "abort"
    RETRY = "retry"
    SKIP_STEP = "skip-step"
    RETURN_TO = "return-to"


NAMES_A_STEP: Final = frozenset({Verb.APPROVE, Verb.SKIP_STEP})
_STOPS: Final = "progress stops; a failing metric still rolls back"


@dataclass(frozen=True, slots=True)
class Ask:
    """An annotation to set (None: to remove)."""

    annotation: str
    value: str | None
    foreseen: str
    """What it does, as far as can be told now."""
    pauses: bool | None = None
    """Whether status will say that progress is stopped by a person; None: nothing of a pause changes in it."""


@dataclass(frozen=True, slots=True)
class AlreadySo:
    """There is nothing to do: it is as it was asked for."""

    message: str


@dataclass(frozen=True, slots=True)
class DoesNothing:
    """It would do nothing, and why."""

    message: str


def new_token(now: datetime) -> str:
    """What makes the value of an annotation differ from all before: an action takes effect once for each value."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def ask(
    s: Situation, verb: Verb, token: str, *, revision: str | None = None, step: str | None = None
) -> Ask | AlreadySo | DoesNothing:
    """The action in this situation.

    Args:
        s: the resource, with its ControllerRevisions among its children.
        verb: what is asked for.
        token: see `new_token`.
        revision: a revision, or the version of one; where None, the one that is meant most likely.
        step: of approve and skip-step; where None, the present one.

    """
    if revision is None and (already := _already(s, verb)) is not None:
        return already
    named = known_revision(s, revision) if revision is not None else _meant(s, verb)
    if named is None:
        return DoesNothing(_nothing_under_way(s, verb))
    target = f"{named}/{step or s.rollout.step or ''}" if verb in NAMES_A_STEP else named
    value = f"{target}#{token}"
    asked = _with_annotations(s, {f"{GROUP}/{verb.value}": value})
    move = action_move(asked)
    if move is None:
        return Ask(f"{GROUP}/{verb.value}", value, _waits(asked))
    told = next(each for each in move.status.actions if each.action == verb.value)
    if not told.carried_out:
        return DoesNothing(told.message)
    if s.spec.suspend:
        return Ask(f"{GROUP}/{verb.value}", value, "spec.suspend is true: it is carried out when that is false")
    return Ask(f"{GROUP}/{verb.value}", value, "; ".join(note.message for note in move.notes))


def pause(s: Situation) -> Ask | AlreadySo:
    """Stop progress."""
    asked = _with_annotations(s, {f"{GROUP}/pause": "true"})
    does = _effect_of_pause(asked)
    if wants_pause(s):
        return AlreadySo(f"the annotation is set already; {does}")
    return Ask(f"{GROUP}/pause", "true", does, True if does == _STOPS and not s.spec.suspend else None)


def resume(s: Situation) -> Ask | AlreadySo | DoesNothing:
    """Go on after a pause."""
    if wants_pause(s):
        return Ask(f"{GROUP}/pause", None, "the pause by annotation ends", False if is_paused(s.status) else None)
    if s.rollout.phase is Phase.PAUSED and not s.paused_by_person:
        return DoesNothing(
            f"no person paused it: {s.rollout.message or s.rollout.reason}; it goes on by itself when the evidence "
            "decides, or by promote, skip-step or abort"
        )
    if s.awaits_approval:
        return DoesNothing("it is not paused, it waits for an approval: approve or abort")
    return AlreadySo("it is not paused")


def is_paused(status: ModelDeploymentStatus) -> bool:
    """Whether the operator says that a person has stopped the progress."""
    told = next((each for each in status.conditions if each.type == ConditionType.PAUSED), None)
    return told is not None and told.status == "True" and told.reason == Reason.PAUSED_BY_PERSON


def unheeded(s: Situation, verb: Verb) -> str | None:
    """Of an action that stands there and that status does not tell of: why it waits, "" where it should not.

    None where nothing stands there, or status tells what became of it.
    """
    value = s.observation.deployment.metadata.annotations.get(f"{GROUP}/{verb.value}", "")
    handled = any(each.action == verb and each.value == value[:VALUE_LENGTH] for each in s.status.actions)
    if not value or handled:
        return None
    asked = _with_annotations(s, {f"{GROUP}/{verb.value}": value})
    return _waits(asked) if action_move(asked) is None else ""


def known_revision(s: Situation, named: str) -> str:
    """The revision that a person means by a revision, the beginning of one, a version, or a role.

    Raises `CommandFailed` where there is none, or more than one.
    """
    known = versions(s)
    roles = {"stable": s.stable, "candidate": s.candidate, "previous": s.previous, "spec": s.revision}
    if (by_role := roles.get(named)) is not None:
        return by_role
    found = {each for each, version in known.items() if each.startswith(named) or version == named}
    if named in known:
        return named
    if len(found) == 1:
        return found.pop()
    there = ", ".join(f"{each} (version {version})" if version else each for each, version in known.items())
    what = "means more than one revision" if found else "is none of its revisions"
    raise CommandFailed(f"{s.observation.deployment.metadata.name}: {named!r} {what}; there are {there or 'none yet'}")


def versions(s: Situation) -> dict[str, str]:
    """The versions of all revisions that are known, those with a role first."""
    roles = (s.status.candidate, s.status.stable, s.status.previous)
    found = {each.revision: each.version for each in roles if each is not None}
    for retired in s.status.retired:
        found.setdefault(retired.revision, retired.version)
    for kind, name in s.children.objects:
        revision = revision_of_child(s.observation.deployment.metadata.name, name)
        if kind == CONTROLLER_REVISION.kind and revision is not None:
            found.setdefault(revision, "")
    found.setdefault(s.revision, "")
    return found


def _meant(s: Situation, verb: Verb) -> str | None:
    match verb:
        case Verb.RETRY:
            return s.revision
        case Verb.RETURN_TO:
            kept = (each.revision for each in s.status.retired if each.revision not in {s.stable, s.revision})
            return next(kept, None)
        case Verb.ABORT if s.rollout.phase is Phase.WATCHING:
            return s.stable
        case _:
            return s.candidate


def _already(s: Situation, verb: Verb) -> AlreadySo | None:
    """Whether what is asked for, without naming a revision, is so."""
    if s.candidate is None and verb is Verb.PROMOTE and s.revision == s.stable:
        return AlreadySo(f"{s.stable}, which the spec asks for, is stable already")
    if verb is Verb.RETRY and s.rollout.phase is not Phase.REJECTED and s.revision in {s.candidate, s.stable}:
        under_way = "is stable already" if s.revision == s.stable else "is being rolled out already"
        return AlreadySo(f"{s.revision}, which the spec asks for, {under_way}")
    if verb is Verb.ABORT and s.rollout.phase is Phase.ROLLING_BACK:
        return AlreadySo(f"{s.candidate} is being rolled back already")
    return None


def _nothing_under_way(s: Situation, verb: Verb) -> str:
    if verb is Verb.RETURN_TO:
        return "no revision is known that was stable before"
    serves = f"{s.stable} serves" if s.stable else "nothing serves yet"
    return f"no rollout is under way: {serves}, phase {s.rollout.phase.value}"


def _waits(s: Situation) -> str:
    """Why the operator would leave it for later."""
    if wants_pause(s):
        return "a pause is on: it is carried out when that ends (kubectl serinus resume)"
    if s.revision not in {s.candidate, s.rollout.return_from}:
        return "the spec asks for another revision by now: that comes first"
    return "it waits: a failing metric comes first, and an edit of the steps"


def _effect_of_pause(s: Situation) -> str:
    """What the operator makes of a pause that is set."""
    match s.rollout.phase:
        case Phase.HOLDING | Phase.PAUSED | Phase.AWAITING_APPROVAL:
            stops = obey_pause(s)
        case Phase.PROMOTING:
            stops = halt_promotion(s)
        case _:
            stops = None
    told = next(each for each in conditions(s, None) if each.type == ConditionType.PAUSED)
    if stops is not None or told.status == "True":
        return _STOPS
    return told.message


def _with_annotations(s: Situation, more: Mapping[str, str]) -> Situation:
    """The situation as if these were the annotations of actions; one that stands there already is left out."""
    deployment = s.observation.deployment
    others = {key: value for key, value in deployment.metadata.annotations.items() if key == f"{GROUP}/pause"}
    metadata = deployment.metadata.model_copy(update={"annotations": {**others, **more}})
    return Situation(replace(s.observation, deployment=replace(deployment, metadata=metadata)))
