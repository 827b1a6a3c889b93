"""Whether an operator is at work on a resource, as far as the resource itself shows it. Pure.

Only what a healthy operator does whatever else happens is looked at, each with a generous grace, so that a slow system
raises no alarm: it looks at a new generation, takes up an action, refreshes the numbers of what it judges and ends a
watch in time. What may wait for pods, gateways or people proves nothing. Called by `serinus.cli.report`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from serinus.api.deployment import owned_annotations
from serinus.api.kinds import GROUP
from serinus.api.reasons import Phase
from serinus.cli.asking import Verb, unheeded
from serinus.cli.state import State
from serinus.cli.terminal import clock
from serinus.core.decide import REFRESH_SECONDS
from serinus.core.plan import Manifest
from serinus.core.rollout.actions import wants_pause
from serinus.core.rollout.situation import Situation
from serinus.core.traffic import SHARE_PHASES

GRACE_SECONDS: Final = 120.0
"""An operator that runs is done within seconds; a new leader, or one with a long queue, within this."""
HOW_TO_LOOK: Final = "kubectl get pods -A -l app.kubernetes.io/name=serinus; kubectl get lease -A | grep serinus"
_JUDGED: Final = SHARE_PHASES | {Phase.PROMOTING, Phase.WATCHING}
_TIMED: Final = frozenset({Phase.HOLDING, Phase.PAUSED})


@dataclass(frozen=True, slots=True)
class Silence:
    """No operator has written for longer than one that runs would take."""

    since: datetime | None
    """When the status was last written; None where nothing says it."""
    because: str
    """What should have been written by now."""

    def told(self, now: datetime) -> str:
        """The silence in one sentence, and how to look."""
        since = f" since {clock(self.since, now)}" if self.since is not None else ""
        return f"no operator has written here{since}, and it should have: {self.because}; does one run? {HOW_TO_LOOK}"


def silence(resource: Manifest, s: Situation, state: State) -> Silence | None:
    """What shows that no operator is at work; None where nothing does."""
    if s.spec.suspend or state is State.FAILED or resource["metadata"].get("deletionTimestamp"):
        return None
    written = written_at(resource)
    if written is not None and s.now <= written + timedelta(seconds=GRACE_SECONDS):
        return None
    because = _unseen(resource, s) if state is State.UNSEEN else next(_overdue(resource, s), None)
    return Silence(written, because) if because is not None else None


def sent(resource: Manifest, s: Situation, state: State) -> Iterator[str]:
    """The actions and the pause that stand there and are not carried out yet, each with why, as far as it is known."""
    for verb in Verb:
        waits = unheeded(s, verb)
        if waits is None:
            continue
        if not waits and state is State.FAILED and verb is not Verb.ABORT and s.rollout.phase is not Phase.REJECTED:
            waits = "it waits until what stands in the way is mended"
        yield f"{GROUP}/{verb.value} is sent{_at(resource, verb.value, s.now)}, and {waits or 'not taken up yet'}"
    if _pause_is_new(s):
        yield f"{GROUP}/pause is sent{_at(resource, 'pause', s.now)}, and not taken up yet"


def written_at(resource: Manifest) -> datetime | None:
    """When anybody last wrote the status, by `metadata.managedFields`; None where it does not say."""
    return _newest(entry for entry in _entries(resource) if entry.get("subresource") == "status")


def _overdue(resource: Manifest, s: Situation) -> Iterator[str]:
    """What should have happened longer ago than the grace."""
    now, grace = s.now, timedelta(seconds=GRACE_SECONDS)
    for verb in Verb:
        at = _set_at(resource, verb.value) if unheeded(s, verb) == "" else None
        if at is not None and now > at + grace:
            yield f"{GROUP}/{verb.value} stands there since {clock(at, now)}, and was not taken up"
    at = _set_at(resource, "pause") if _pause_is_new(s) else None
    if at is not None and now > at + grace:
        yield f"{GROUP}/pause stands there since {clock(at, now)}, and was not taken up"
    judged, begun = max((each.at for each in s.status.analysis), default=None), s.rollout.evidence_started_at
    waits = timedelta(seconds=REFRESH_SECONDS + 2 * s.spec.analysis.interval_seconds)
    goes_on = s.rollout.phase in _JUDGED and not s.spec.analysis.disabled
    if goes_on and begun is not None and judged is not None and begun <= judged < now - waits - grace:
        yield f"the counts are of {clock(judged, now)}, and are read again every {_interval(s)} s"
    if s.rollout.phase is Phase.WATCHING and s.watch_ends_at is not None and now > s.watch_ends_at + grace:
        yield f"the watch ended at {clock(s.watch_ends_at, now)}"


def _interval(s: Situation) -> int:
    return max(REFRESH_SECONDS, s.spec.analysis.interval_seconds)


def _unseen(resource: Manifest, s: Situation) -> str | None:
    """Nobody has looked at the newest generation."""
    at = _newest(entry for entry in _entries(resource) if "f:spec" in (entry.get("fieldsV1") or {}))
    if at is None or s.now <= at + timedelta(seconds=GRACE_SECONDS):
        return None
    return f"the spec was changed at {clock(at, s.now)}"


def _pause_is_new(s: Situation) -> bool:
    """Whether a pause is asked for in a step that goes on."""
    return s.rollout.phase in _TIMED and wants_pause(s) and not s.paused_by_person


def _at(resource: Manifest, action: str, now: datetime) -> str:
    at = _set_at(resource, action)
    return f" at {clock(at, now)}" if at is not None else ""


def _set_at(resource: Manifest, action: str) -> datetime | None:
    """When an annotation was set, or some other field by the same client later; None where nothing says it."""
    return _newest(entry for entry in _entries(resource) if f"f:{GROUP}/{action}" in owned_annotations(entry))


def _entries(resource: Manifest) -> list[Mapping[str, Any]]:
    return resource["metadata"].get("managedFields") or []


def _newest(entries: Iterator[Mapping[str, Any]]) -> datetime | None:
    return max((datetime.fromisoformat(entry["time"]) for entry in entries if entry.get("time")), default=None)
