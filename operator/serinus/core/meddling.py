"""Who meddled with an object of the resource: it is put back, and an Event says so.

Without it, whoever edits or deletes a Service or a route by hand would only see that nothing came of it. Called by
`serinus.core.decide` with the writes that a pass is about to make; they are told when they are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from serinus.api.kinds import CONTROLLER_REVISION, HTTP_ROUTE, MODEL_DEPLOYMENT, REPLICA_SET, SERVICE
from serinus.api.reasons import ConditionType, Happening
from serinus.api.revision import child_name
from serinus.core.plan import Apply, Create, Intent, Note
from serinus.core.rollout.situation import Situation

_SERVES: Final = frozenset({SERVICE, REPLICA_SET, CONTROLLER_REVISION, HTTP_ROUTE})
"""Kinds without which the stable revision would not serve: that they were there once follows from the status."""


def meddled_with(s: Situation, intents: Iterable[Intent]) -> tuple[Note, ...]:
    """An Event for each object that somebody else has changed or deleted, and that these writes put back."""
    name = s.observation.deployment.metadata.name
    told = tuple(_told(s, name, intents))
    return tuple(Note(Happening.PUT_BACK, message, "Warning") for message in told)


def _told(s: Situation, name: str, intents: Iterable[Intent]) -> Iterator[str]:
    instead = f"to change what is there, change {MODEL_DEPLOYMENT.kind} {name} instead"
    for intent in intents:
        match intent:
            case Create(kind=kind, manifest=manifest) if kind in _SERVES:
                what = manifest["metadata"]["name"]
                if _was_there(s, {name, child_name(name, s.stable or "")}, what):
                    yield f"{kind.kind} {what} was deleted, and is made again as it was; {instead}"
            case Apply(kind=kind, manifest=manifest):
                what = manifest["metadata"]["name"]
                by = s.children.objects[kind.kind, what].changed_by
                if by:
                    yield f"{kind.kind} {what} was changed by {by}, and is put back as it was; {instead}"
            case _:
                pass


def _was_there(s: Situation, names: set[str], name: str) -> bool:
    """Whether an object must have been there: it is one by which the stable revision serves, and has served so far.

    An edit of the spec may ask for objects that there were not before, and so may one that could not be written yet.
    """
    served = any(each.type == ConditionType.AVAILABLE and each.status == "True" for each in s.status.conditions)
    edited = s.status.observed_generation != s.observation.deployment.metadata.generation
    return served and not edited and s.observation.refusal is None and s.stable is not None and name in names
