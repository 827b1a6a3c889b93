"""Returns to a revision that served before: during the watch to the previous one, by a person to any that is kept.

The operator never writes the spec, so while it asks for another revision than the one that was returned to, that other
one counts as rejected: it is not tried again before the spec changes or a person asks for it. Each function returns the
status after one decision. Called by the policies and actions beside this file.
"""

from __future__ import annotations

from datetime import timedelta

from serinus.api.kinds import CONTROLLER_REVISION
from serinus.api.reasons import Happening, JudgedBy, Phase, Reason
from serinus.api.revision import child_name
from serinus.api.status import RejectedRevision, RetiredRevision, RevisionStatus, RolloutStatus
from serinus.core.plan import Move
from serinus.core.rollout.moves import candidate_of, retired_after, rolling_back
from serinus.core.rollout.recording import BECAUSE_LENGTH, MESSAGE_LENGTH, PERSON, Telling, move
from serinus.core.rollout.situation import Situation


def is_kept(s: Situation, revision: str) -> bool:
    """Whether there is a record from which the revision's objects can be made."""
    name = child_name(s.observation.deployment.metadata.name, revision)
    return (CONTROLLER_REVISION.kind, name) in s.children.objects


def was_stable_lately(s: Situation, revision: str) -> bool:
    """Whether the revision was stable within the rollback window."""
    window = timedelta(seconds=s.spec.rollout.rollback_window_seconds)
    return any(each.revision == revision and s.now - each.served_until <= window for each in s.status.retired)


def returnable(s: Situation) -> tuple[RetiredRevision, ...]:
    """Of the revisions that were stable before, those that can be returned to, newest first.

    There is a record of each, and there are as many as the history keeps, beside those in use.
    """
    roles = {s.candidate, s.previous}
    there = [
        each
        for each in s.status.retired
        if each.revision != s.stable and (each.revision in roles or is_kept(s, each.revision))
    ]
    idle = [each.revision for each in there if each.revision not in {*roles, s.revision}]
    beyond = idle[s.spec.rollout.revision_history_limit :]
    return tuple(each for each in there if each.revision not in beyond)


def skips_steps(s: Situation) -> bool:
    """Whether the spec asks again for a revision that was stable lately, and of which there is a record."""
    return s.stable is not None and was_stable_lately(s, s.revision) and is_kept(s, s.revision)


def return_to_previous(s: Situation, reason: Reason, message: str, by: str = "serinus") -> Move:
    """During the watch: make the revision that served before stable again, and roll back the one that replaced it."""
    failed, previous = s.status.stable, s.status.previous
    assert failed is not None  # noqa: S101 -- only called while watching, when both are there
    assert previous is not None  # noqa: S101
    worse = reason is not Reason.SUPERSEDED
    rejected = RejectedRevision(revision=failed.revision, reason=reason, message=message[:MESSAGE_LENGTH], at=s.now)
    because = f"{reason}: back to {previous.revision}: {message}"
    return move(
        s,
        Telling(Happening.RETURNED, because, failed.revision, warning=worse, by=by),
        stable=previous.model_copy(update={"since": s.now}),
        candidate=failed.model_copy(update={"since": s.now}),
        previous=None,
        rejected=(rejected,) if worse else (),
        rollout=rolling_back(s, reason, message),
    )


def begin_return(s: Situation, revision: str, because: str) -> Move:
    """On a person's word: make a kept revision the candidate. What the spec asks for counts as rejected from now on.

    One that was stable within the rollback window takes all traffic as soon as it can carry it; any other goes through
    the steps.
    """
    skips_steps = was_stable_lately(s, revision)
    way = "without the steps" if skips_steps else "through the steps"
    aside = RejectedRevision(revision=s.revision, reason=Reason.RETURNED, message=because[:MESSAGE_LENGTH], at=s.now)
    return move(
        s,
        Telling(Happening.RETURN_BEGUN, f"Back to revision {revision}, {way}: {because}", revision, by=PERSON),
        candidate=RevisionStatus(revision=revision, since=s.now),
        previous=None if s.previous == revision else s.status.previous,
        rollout=RolloutStatus(
            phase=Phase.PROMOTING if skips_steps else Phase.STARTING,
            step_count=len(s.steps),
            started_at=s.now,
            step_started_at=s.now,
            short_since=s.now if skips_steps else None,
            recreates=skips_steps and s.makes_room_first,
            stable_replicas=s.replicas if s.stable else None,
            judged_by=JudgedBy.PERSON if skips_steps else None,
            reason=because[:BECAUSE_LENGTH] if skips_steps else None,
            return_from=s.revision,
        ),
        rejected=s.status.rejected if s.is_rejected else (aside,),
        analysis=(),
    )


def complete_return(s: Situation) -> Move:
    """The revision that a person returned to has all traffic: it is stable, and what served before it is let go.

    What was set aside is not remembered as stable: tried again, it goes through the steps.
    """
    candidate, stable = candidate_of(s), s.status.stable
    because = f"Revision {candidate.revision} serves all requests again"
    return move(
        s,
        Telling(Happening.RETURNED, because, candidate.revision, by=PERSON),
        stable=candidate.model_copy(update={"since": s.now, "ever_ready": True}),
        candidate=stable.model_copy(update={"since": s.now}) if stable else None,
        previous=None,
        retired=tuple(each for each in retired_after(s) if each.revision != s.rollout.return_from),
        rollout=rolling_back(s, Reason.RETURNED, because).model_copy(update={"return_from": None}),
    )
