"""What a pass decides to do: the vocabulary between `decide` and the code that carries a plan out.

A plan either moves or realises, never both. A *move* is one status write that records a decision; *realising* makes the
children what the persisted status says. A crash between any two writes therefore loses nothing: the next pass starts
from the last move.

Called by `serinus.core.decide`, which returns plans, and by `serinus.shell`, which carries them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from serinus.api.kinds import Kind
from serinus.api.reasons import Happening
from serinus.api.status import ModelDeploymentStatus

Manifest = Mapping[str, Any]
"""A Kubernetes object as plain JSON values."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth telling: becomes a line in the log, and a Kubernetes Event on the ModelDeployment."""

    happening: Happening
    message: str
    severity: Literal["Normal", "Warning"] = "Normal"
    as_event: bool = True
    """Whether users are told. Each Event is a write, and what follows from an earlier one as expected needs none."""


@dataclass(frozen=True, slots=True)
class Create:
    """Make an object that was not observed. Refused by the API server if one of that name exists."""

    kind: Kind
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply over an observed object, on condition that it is still the one observed."""

    kind: Kind
    manifest: Manifest
    resource_version: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Set the replicas of a ReplicaSet through its scale subresource, on condition that it is the one observed."""

    name: str
    replicas: int
    resource_version: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object with this uid."""

    kind: Kind
    name: str
    uid: str


Intent = Create | Apply | Scale | Delete


@dataclass(frozen=True, slots=True)
class Move:
    """One status write, conditional on the observed resourceVersion."""

    status: ModelDeploymentStatus
    notes: tuple[Note, ...] = ()
    by_present_clock: bool = False
    """Whether it says anew, by the clock as it is now, since when a running hold counts."""


@dataclass(frozen=True, slots=True)
class Realise:
    """Child writes in order, then the observed fields of status where they changed (None: nothing to write)."""

    intents: tuple[Intent, ...] = ()
    status: ModelDeploymentStatus | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to look again without an event (None: only when something changes)."""

    action: Move | Realise
    wake_at: datetime | None = None
    urgent: bool = False
    """Whether requests suffer until it is carried out: it takes traffic off pods that fail or are gone."""
