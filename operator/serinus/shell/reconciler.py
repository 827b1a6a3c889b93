"""One pass over one ModelDeployment: observe, decide, carry out, and say when to look again.

Owns what a process remembers of a resource between two passes. Losing that loses nothing: it only keeps a pass from
starting behind its own last write, spaces out retries, and hands evidence from the reading task to the next pass. The
loop that calls it is in `serinus.shell.loop`; the simulated world of the tests calls it too.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, assert_never

from serinus.api.deployment import InvalidSpec, ModelDeployment
from serinus.api.reasons import Reason
from serinus.api.status import ModelDeploymentStatus
from serinus.core.conditions import Stall, stalled_only
from serinus.core.decide import decide
from serinus.core.due import EvidenceRequest, evidence_request
from serinus.core.observation import Capabilities, Children, Evidence, Margins, Observation, Refusal
from serinus.core.plan import Manifest, Move, Note, Plan
from serinus.core.rollout.situation import Situation
from serinus.kube.cluster import ApiError, Cluster
from serinus.shell.carry_out import (
    BackOff,
    Done,
    NameTaken,
    ObserveAgain,
    Outcome,
    WriteRejected,
    carry_out,
    status_manifest,
)

logger = logging.getLogger(__name__)

RETRY_REFUSED_SECONDS = 30.0
OBSERVE_AGAIN_SECONDS = 0.2
LONGEST_BACK_OFF_SECONDS = 60.0

Key = tuple[str, str]
"""Namespace and name of a ModelDeployment."""


class View(Protocol):
    """What is known of the cluster now: the caches of the informers, or the simulated world's."""

    def deployment(self, key: Key) -> Manifest | None:
        """The ModelDeployment as last seen."""

    def children(self, key: Key, uid: str) -> Children:
        """Its children as last seen."""

    def capabilities(self) -> Capabilities:
        """What the cluster and this operator can do."""


ReadEvidence = Callable[[ModelDeployment, EvidenceRequest], Awaitable[Evidence]]
Tell = Callable[[ModelDeployment, Note], None]


@dataclass(frozen=True, slots=True)
class Next:
    """What comes after a pass."""

    after_seconds: float | None
    """Look again after this time; None: only when something changes."""
    reading: EvidenceRequest | None = None
    """Evidence to be read meanwhile, by `Reconciler.read`."""


@dataclass(slots=True)
class _Memory:
    newest: Manifest | None = None
    passed_at: datetime | None = None
    evidence: Evidence | None = None
    reading: bool = False
    read_at: datetime | None = None
    read_moves: int = -1
    refusal: Refusal | None = None
    failures: int = 0


@dataclass(slots=True)
class Reconciler:
    """Passes over resources, one pass at a time for each. Not to be shared between processes."""

    cluster: Cluster
    view: View
    read_evidence: ReadEvidence
    now: Callable[[], datetime]
    tell: Tell
    margins: Margins = field(default_factory=Margins)
    _memories: dict[Key, _Memory] = field(default_factory=dict)

    async def pass_over(self, key: Key) -> Next:
        """One pass. Never raises for what the cluster, the spec or the metrics do."""
        seen = self.view.deployment(key)
        if seen is None:
            self._memories.pop(key, None)
            return Next(None)
        memory = self._memories.setdefault(key, _Memory())
        manifest = _newer(seen, memory.newest)
        now = self.now()
        try:
            deployment = ModelDeployment.parse(manifest)
        except InvalidSpec as invalid:
            return await self._report_invalid(key, manifest, invalid, now)
        observation = Observation(
            now=now,
            deployment=deployment,
            children=self.view.children(key, deployment.metadata.uid),
            evidence=memory.evidence,
            previous_pass_at=memory.passed_at,
            capabilities=self.view.capabilities(),
            margins=self.margins,
            refusal=memory.refusal,
        )
        memory.passed_at = now
        plan = decide(observation)
        outcome = await carry_out(plan, observation, self.cluster)
        reading = self._due_reading(observation, memory) if isinstance(outcome, Done) else None
        return Next(self._settle(deployment, plan, outcome, memory, now), reading)

    async def read(self, key: Key, request: EvidenceRequest) -> None:
        """Read the evidence that a pass asked for; the next pass over the resource uses it."""
        manifest = self.view.deployment(key)
        memory = self._memories.get(key)
        if manifest is None or memory is None:
            return
        try:
            deployment = ModelDeployment.parse(manifest)
            memory.evidence = await self.read_evidence(deployment, request)
        except InvalidSpec:
            memory.evidence = None
        finally:
            memory.reading = False

    def _due_reading(self, observation: Observation, memory: _Memory) -> EvidenceRequest | None:
        request = evidence_request(Situation(observation))
        if request is None or memory.reading:
            return None
        interval = timedelta(seconds=observation.deployment.spec.analysis.interval_seconds)
        recent = memory.read_at is not None and observation.now < memory.read_at + interval
        if recent and memory.read_moves == request.moves:
            return None
        memory.reading, memory.read_at, memory.read_moves = True, observation.now, request.moves
        return request

    def _settle(
        self, deployment: ModelDeployment, plan: Plan, outcome: Outcome, memory: _Memory, now: datetime
    ) -> float | None:
        """Remember what the outcome means for the next pass, and say when that is."""
        where = {"namespace": deployment.metadata.namespace, "deployment": deployment.metadata.name}
        match outcome:
            case Done():
                for note in plan.action.notes:
                    self.tell(deployment, note)
                return _after_success(plan, outcome, memory, now)
            case ObserveAgain(message=message):
                logger.info("observing again", extra={**where, "because": message})
                memory.failures += 1
                return min(OBSERVE_AGAIN_SECONDS * 2.0 ** min(memory.failures, 5), 5.0)
            case BackOff(message=message, seconds=seconds):
                logger.warning("backing off", extra={**where, "because": message})
                memory.failures += 1
                return max(seconds or 0.0, min(0.5 * 2.0 ** min(memory.failures, 10), LONGEST_BACK_OFF_SECONDS))
            case NameTaken(message=message):
                return self._refused(memory, Refusal(Reason.NAME_TAKEN, message))
            case WriteRejected(message=message, of_status=of_status):
                logger.error("write rejected", extra={**where, "because": message})
                if of_status:
                    return RETRY_REFUSED_SECONDS
                return self._refused(memory, Refusal(Reason.WRITE_REJECTED, message))
            case _:
                assert_never(outcome)

    @staticmethod
    def _refused(memory: _Memory, refusal: Refusal) -> float:
        """The first refusal is told at once; the same one again waits."""
        known = memory.refusal is not None and memory.refusal.reason is refusal.reason
        memory.refusal = refusal
        return RETRY_REFUSED_SECONDS if known else 0.0

    async def _report_invalid(self, key: Key, manifest: Manifest, invalid: InvalidSpec, now: datetime) -> Next:
        """A spec that can't be read: say so, touch nothing else, and wait for the next edit."""
        memory = self._memories[key]
        metadata = manifest["metadata"]
        try:
            status = ModelDeploymentStatus.model_validate(manifest.get("status") or {})
        except ValueError:
            logger.exception("status can't be read", extra={"namespace": key[0], "deployment": key[1]})
            return Next(None)
        stall = Stall(Reason.INVALID_SPEC, str(invalid))
        generation = int(metadata.get("generation", 0))
        told = status.model_copy(
            update={
                "observed_generation": generation,
                "conditions": stalled_only(status.conditions, stall, generation, now),
            }
        )
        if told == status:
            return Next(None)
        try:
            memory.newest = await self.cluster.write_status(
                key[0], key[1], status_manifest(told), metadata["resourceVersion"]
            )
        except ApiError as error:
            logger.warning(
                "status not written", extra={"namespace": key[0], "deployment": key[1], "because": str(error)}
            )
            return Next(5.0)
        return Next(None)


def _after_success(plan: Plan, done: Done, memory: _Memory, now: datetime) -> float | None:
    """Seconds until the next pass; what was refused before is over unless this pass did no more than tell it."""
    memory.failures, memory.evidence = 0, None
    if done.deployment is not None:
        memory.newest = done.deployment
    if isinstance(plan.action, Move):
        return 0.0
    if memory.refusal is not None:
        only_told = done.deployment is not None and not plan.action.intents
        memory.refusal = memory.refusal if only_told else None
        return 0.0
    return None if plan.wake_at is None else max(0.0, (plan.wake_at - now).total_seconds())


def _newer(seen: Manifest, written: Manifest | None) -> Manifest:
    """The later of what the cache has and what the last write returned: a pass never starts behind its own write."""
    if written is None or written["metadata"]["uid"] != seen["metadata"]["uid"]:
        return seen
    versions = (int(each["metadata"]["resourceVersion"]) for each in (seen, written))
    return seen if next(versions) >= next(versions) else written
