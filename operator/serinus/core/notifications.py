"""Who is told of which decisions, and what of it has to be remembered.

The history in status is what is to be told: a decision and its entry are one write, so nothing is told that was not
decided, and nothing decided is forgotten. `status.notified` says for each receiver how far it has been told. It begins
with the first move after a receiver was named, and is brought forward by the first pass after something was sent:
between the two a process may die, so that an event is sent again, with the same id.

Pure; used where moves and status are made, and by `serinus.shell.notifications`, which sends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from serinus.api import templates
from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import ANNOTATION_NOTIFY
from serinus.api.notifications import MOST_RECEIVERS_OF_ONE, STANDARD_BODY, Escape, Receiver
from serinus.api.reasons import Happening
from serinus.api.status import (
    HistoryEntry,
    ModelDeploymentStatus,
    NotifiedReceiver,
    PolicyStatus,
    RevisionStatus,
    format_instant,
)
from serinus.api.values import DNS_LABEL_PATTERN, matches

_LONGEST_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Notification:
    """One event that one receiver is to be told of."""

    id: str
    """The same for the same event, whoever sends it and however often: of digits, letters and dashes."""
    uid: str
    """Of the resource."""
    number: int
    """Of its entry in the history."""
    event: Happening
    at: datetime
    """When it was decided."""
    values: Mapping[str, str]
    """For the places of a template, but for `cluster`."""


def receivers_of(deployment: ModelDeployment, policies: tuple[PolicyStatus, ...] | None = None) -> tuple[str, ...]:
    """Names of the receivers that are told of this resource: the one place where that is decided.

    `policies`: those that hold for it by now; None: as its status has them.
    """
    return tuple(_named(deployment, deployment.status.policies if policies is None else policies)[0])


def unknown_receivers(deployment: ModelDeployment, receivers: Mapping[str, Receiver]) -> str | None:
    """What is to be told where receivers are named that this namespace does not have; None where all is well."""
    named, refused = _named(deployment, deployment.status.policies)
    namespace = deployment.metadata.namespace
    there = sorted(name for name, each in receivers.items() if each.serves(namespace))
    unknown = [*((name, by) for name, by in named.items() if name not in there), *refused.items()]
    if not unknown:
        return None
    shown: dict[str, list[str]] = {}
    for name, by in unknown[:MOST_RECEIVERS_OF_ONE]:
        shown.setdefault(by, []).append(name[:_LONGEST_SHOWN])
    told = "; ".join(f"{by} names {', '.join(names)}" for by, names in shown.items())
    known = f"it has {', '.join(there)}" if there else "it has none"
    return (
        f"{told}: nobody is told there. Receivers are set up by who runs the operator (its "
        f"chart's notifications.receivers), {MOST_RECEIVERS_OF_ONE} of them can be named, and for namespace "
        f"{namespace} {known}"
    )


def newest_number(status: ModelDeploymentStatus) -> int:
    """The number of the newest entry of the history; 0 where there is none, or it was not counted."""
    return max((entry.number for entry in status.history), default=0)


def enrolled(status: ModelDeploymentStatus, named: tuple[str, ...]) -> tuple[NotifiedReceiver, ...]:
    """`status.notified` for the receivers that are named now: who is new is told of what comes from here on."""
    known = {each.receiver: each.up_to for each in status.notified}
    newest = newest_number(status)
    return tuple(NotifiedReceiver(receiver=name, up_to=known.get(name, newest)) for name in named)


def brought_forward(notified: tuple[NotifiedReceiver, ...], reached: Mapping[str, int]) -> tuple[NotifiedReceiver, ...]:
    """`status.notified` with what has been sent since."""
    return tuple(
        each.model_copy(update={"up_to": max(each.up_to, reached.get(each.receiver, 0))})
        if each.receiver in reached
        else each
        for each in notified
    )


def due(deployment: ModelDeployment, name: str, receiver: Receiver) -> tuple[Notification, ...]:
    """What the receiver of this name is to be told of the resource by its status, oldest first."""
    status = deployment.status
    mark = next((each.up_to for each in status.notified if each.receiver == name), None)
    if mark is None or name not in receivers_of(deployment) or not receiver.serves(deployment.metadata.namespace):
        return ()
    new = (entry for entry in reversed(status.history) if entry.number > mark)
    return tuple(_notification(deployment, entry) for entry in new if receiver.wants(entry.event))


def body_of(notification: Notification, receiver: Receiver, cluster: str) -> Any:
    """The JSON that the receiver is sent; `cluster` is what the platform team calls this one."""
    template = STANDARD_BODY if receiver.body is None else receiver.body
    return templates.filled(template, {**notification.values, "cluster": cluster}, _ESCAPES[receiver.escape])


def _named(deployment: ModelDeployment, policies: tuple[PolicyStatus, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """The receivers that are named, each with what names it first; and what is no name or one too many."""
    own = deployment.metadata.annotations.get(ANNOTATION_NOTIFY, "").split(",")
    named = [(name, f"{policy.kind} {policy.name}") for policy in policies for name in policy.notify]
    named += [(name.strip(), ANNOTATION_NOTIFY) for name in own if name.strip()]
    names: dict[str, str] = {}
    for name, by in named:
        names.setdefault(name, by)
    valid = [name for name in names if len(name) <= 63 and matches(DNS_LABEL_PATTERN, name)]
    taken = valid[:MOST_RECEIVERS_OF_ONE]
    return {name: names[name] for name in taken}, {name: by for name, by in names.items() if name not in taken}


def _notification(deployment: ModelDeployment, entry: HistoryEntry) -> Notification:
    metadata, role = deployment.metadata, _role_of(deployment.status, entry.revision)
    # With the time, a history that begins anew after a loss of the status gives no id a second time.
    identity = f"{metadata.uid}-{entry.number}-{int(entry.at.timestamp())}"
    values = {
        "id": identity,
        "event": entry.event.value,
        "time": format_instant(entry.at),
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "revision": entry.revision,
        "version": role.version if role else "",
        "image": role.image if role else "",
        "by": entry.by,
        "fieldManager": entry.field_manager,
        "message": entry.because,
    }
    return Notification(identity, metadata.uid, entry.number, entry.event, entry.at, values)


def _role_of(status: ModelDeploymentStatus, revision: str) -> RevisionStatus | None:
    roles = (status.stable, status.candidate, status.previous)
    return next((role for role in roles if role is not None and role.revision == revision), None)


def _as_it_is(text: str) -> str:
    return text


def _for_slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_ESCAPES: Final[Mapping[Escape, Callable[[str], str]]] = {Escape.NONE: _as_it_is, Escape.SLACK: _for_slack}
