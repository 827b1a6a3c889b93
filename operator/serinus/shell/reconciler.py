"""One pass over one ModelDeployment: observe, decide, carry out, and say when to look again.

Owns what a process remembers of a resource between two passes. Losing that loses nothing: it only keeps a pass from
starting behind its own last write, spaces out retries, and hands evidence from the reading task to the next pass. The
loop that calls it is in `serinus.shell.loop`; the simulated world of the tests calls it too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol, assert_never

import orjson

from serinus.api.deployment import InvalidSpec, ModelDeployment, ObjectMeta
from serinus.api.policy import Policy
from serinus.api.reasons import Reason
from serinus.api.status import ModelDeploymentStatus
from serinus.api.traffic import GatewayTraffic
from serinus.core.addresses import TakenAddress
from serinus.core.conditions import Stall, stalled_only
from serinus.core.configuration import Configuration, frozen_by, resolved
from serinus.core.decide import decide
from serinus.core.due import EvidenceRequest, evidence_request
from serinus.core.observation import Capabilities, Children, Evidence, Margins, Observation, Refusal
from serinus.core.plan import Manifest, Move, Note, Plan
from serinus.core.platform import govern, keeping
from serinus.core.rollout.situation import Situation
from serinus.core.verdicts import Fail
from serinus.kube.cluster import ApiError, Cluster, Unavailable
from serinus.kube.store import packed
from serinus.shell.carry_out import (
    BackOff,
    Done,
    NameTaken,
    ObserveAgain,
    Outcome,
    Overtaken,
    WriteRejected,
    carry_out,
    status_manifest,
)
from serinus.shell.untold import Untold

logger = logging.getLogger(__name__)

RETRY_REFUSED_SECONDS = 30.0
RETRY_TELLING_SECONDS = 5.0
OBSERVE_AGAIN_SECONDS = 0.2
LONGEST_BACK_OFF_SECONDS = 60.0
LONGEST_URGENT_WAIT_SECONDS = 5.0
"""While requests suffer for want of a write, it is tried again this often, unless the API server asks for more time."""
LONGEST_PLAN_SECONDS = 5.0
"""A plan that takes longer to be written is left there and decided anew: readings are asked for between two passes."""
CLOCK_STEP_SECONDS = 2.0
"""By so much the clock has to run away from the time that has passed to count as set; NTP slews by far less."""

Key = tuple[str, str]
"""Namespace and name of a ModelDeployment."""


class View(Protocol):
    """What is known of the cluster now: the caches of the informers, or the simulated world's."""

    def deployment(self, key: Key) -> Manifest | None:
        """The ModelDeployment as last seen."""

    def is_overtaken(self, manifest: Manifest) -> bool:
        """Whether this ModelDeployment is known to have changed since, or to be gone or made anew. Quick."""

    def children(self, key: Key, uid: str) -> Children:
        """Its children as last seen."""

    def capabilities(self) -> Capabilities:
        """What the cluster and this operator can do."""

    def taken_address(self, key: Key) -> TakenAddress | None:
        """An address that it asks for, and that another ModelDeployment has."""

    def refusing_gateway(self, key: Key, gateway: GatewayTraffic) -> str | None:
        """Which Gateway of its spec is known not to let its route in, and why."""

    def configuration(self, key: Key) -> Configuration | None:
        """The content of ConfigMaps and Secrets that it names; None where that is no part of its revision."""

    def policies(self, namespace: str) -> tuple[Policy, ...]:
        """The platform's policies that hold in a namespace."""


class Notifications(Protocol):
    """What `serinus.shell.notifications.Notifier` offers. None of it waits."""

    def offer(self, deployment: ModelDeployment) -> Mapping[str, int]:
        """Have sent what is due by this status; gives how far receivers have been told beyond what it says."""

    def forget(self, key: Key) -> None:
        """The resource is gone."""


class NoNotifications:
    """Where nobody is told."""

    def offer(self, _: ModelDeployment) -> Mapping[str, int]:
        """Nothing is sent."""
        return {}

    def forget(self, key: Key) -> None:
        """Nothing is known of it."""


class PassOutcome(StrEnum):
    """How a pass ended: what `serinus_pass_seconds` is counted by."""

    MOVED = "Moved"
    """A decision was recorded in status."""
    REALISED = "Realised"
    """Children or observed fields of status were written."""
    UNCHANGED = "Unchanged"
    """All was as it should be: nothing was written."""
    OBSERVE_AGAIN = "ObserveAgain"
    """What was observed was out of date; nothing is wrong."""
    BACK_OFF = "BackOff"
    """The API server was away or busy."""
    NAME_TAKEN = "NameTaken"
    """A foreign object has the name of a child."""
    WRITE_REJECTED = "WriteRejected"
    """The API server will not take a write."""
    UNREADABLE = "Unreadable"
    """Spec or status make no sense, and never did to this process."""
    GONE = "Gone"
    """The resource is not there, or not any more."""
    CRASHED = "Crashed"
    """An exception that nobody expected: a defect."""
    CUT_OFF = "CutOff"
    """The process stopped, or was no leader any more."""


ReadEvidence = Callable[[ModelDeployment, EvidenceRequest], Awaitable[Evidence]]
Tell = Callable[[ModelDeployment, Note], None]


@dataclass(frozen=True, slots=True)
class Next:
    """What comes after a pass."""

    after_seconds: float | None
    """Look again after this time; None: only when something changes."""
    reading: EvidenceRequest | None = None
    """Evidence to be read meanwhile, by `Reconciler.read`."""
    urgent: bool = False
    """Whether requests suffer until then: such a pass comes before others."""
    outcome: PassOutcome = PassOutcome.UNCHANGED


_NO_STATUS: Final = ModelDeploymentStatus()


@dataclass(slots=True)
class _Memory:
    newest: bytes = b""
    """As the last write of ours returned it, as JSON, while nothing later was seen."""
    deployment: ModelDeployment | None = None
    """As the last pass took it, but for its status: with the last spec that could be read. None while nothing goes on.

    A status is most of a resource, and each pass reads the one that there is then.
    """
    in_force: ModelDeployment | None = None
    """The same, as the policies of the platform have it: what evidence is read for."""
    policies: str = ""
    """The version of those policies."""
    at_rest: bytes = b""
    """The same as JSON, in a small part of the memory, while nothing goes on."""
    passed_at: datetime | None = None
    """Until when this process vouches for what went on: its last pass that was not kept from seeing or writing."""
    passed_at_monotonic: float = 0.0
    """The same on a clock that nobody sets."""
    written_at: datetime | None = None
    """When the status was last written."""
    evidence: Evidence | None = None
    reading: bool = False
    read_at: float | None = None
    """When the newest reading was asked for, on a clock that nobody sets."""
    read_for: tuple[int, int, str] | None = None
    """Moves, generation and policies of the newest reading."""
    refusal: Refusal | None = None
    untold: Untold | None = None
    """What is to be told of a status write that has got no answer."""
    failures: int = 0
    urgent: bool = False
    """Whether a plan that could not be carried out was urgent; its evidence may be forgotten until writes succeed."""

    @property
    def last_readable(self) -> ModelDeployment | None:
        """The resource as the last pass took it; None before there was one."""
        if self.deployment is None and self.at_rest:
            return ModelDeployment.parse(orjson.loads(self.at_rest))
        return self.deployment

    def rest(self, manifest: Manifest) -> None:
        """Nothing goes on until the resource or its children change: most resources are so most of the time."""
        without_status = {key: value for key, value in manifest.items() if key != "status"}
        self.deployment, self.in_force, self.at_rest = None, None, packed(without_status)


@dataclass(slots=True)
class Reconciler:
    """Passes over resources, one pass at a time for each. Not to be shared between processes."""

    cluster: Cluster
    view: View
    read_evidence: ReadEvidence
    now: Callable[[], datetime]
    tell: Tell
    margins: Margins = field(default_factory=Margins)
    notifications: Notifications = field(default_factory=NoNotifications)
    monotonic: Callable[[], float] = time.monotonic
    """Seconds on a clock that nobody sets."""
    _memories: dict[Key, _Memory] = field(default_factory=dict)

    async def pass_over(self, key: Key) -> Next:
        """One pass. Never raises for what the cluster, the spec or the metrics do."""
        seen = self.view.deployment(key)
        if seen is None:
            self._memories.pop(key, None)
            self.notifications.forget(key)
            return Next(None, outcome=PassOutcome.GONE)
        memory = self._memories.setdefault(key, _Memory())
        manifest = _newer(seen, orjson.loads(memory.newest)) if memory.newest else seen
        memory.newest = b"" if manifest is seen else memory.newest
        now, monotonic = self.now(), self.monotonic()
        unreadable = None
        try:
            deployment = ModelDeployment.parse(manifest, memory.deployment)
        except InvalidSpec as invalid:
            readable = _with_last_spec(manifest, memory.last_readable)
            if readable is None:
                return await self._report_invalid(key, manifest, invalid, now)
            deployment, unreadable = readable, str(invalid)
        memory.deployment, memory.at_rest = replace(deployment, status=_NO_STATUS), b""
        governed = keeping(govern(deployment.spec, self.view.policies(key[0])), deployment.status)
        deployment = deployment if governed.spec is deployment.spec else replace(deployment, spec=governed.spec)
        memory.in_force, memory.policies = replace(memory.deployment, spec=deployment.spec), governed.version
        self._tell_late(deployment, memory)
        children = self.view.children(key, deployment.metadata.uid)
        configuration = self.view.configuration(key) if unreadable is None else None
        gateway = deployment.spec.traffic.gateway
        observation = Observation(
            now=now,
            deployment=resolved(deployment, children, configuration),
            children=children,
            evidence=memory.evidence,
            previous_pass_at=memory.passed_at,
            status_written_at=memory.written_at,
            clock_stepped=_clock_stepped(memory, now, monotonic),
            capabilities=self.view.capabilities(),
            margins=self.margins,
            refusal=memory.refusal,
            governed=governed,
            frozen_by=frozen_by(deployment, configuration),
            taken=self.view.taken_address(key),
            refusing_gateway=self.view.refusing_gateway(key, gateway) if gateway is not None else None,
            notified=self.notifications.offer(deployment),
            unreadable=unreadable,
        )
        plan = decide(observation)
        memory.untold = Untold.of(plan, deployment.status) or memory.untold
        outcome = await carry_out(
            plan, observation, self.cluster, lambda: self._is_overtaken(manifest, observation, memory, monotonic)
        )
        if isinstance(outcome, ObserveAgain | BackOff):
            after_seconds = self._settle(deployment, plan, outcome, memory, now)
            return Next(after_seconds, urgent=memory.urgent, outcome=_outcome(plan, outcome))
        if not _still_counts_by_the_old_clock(observation, plan):
            memory.passed_at, memory.passed_at_monotonic = (None if deployment.spec.suspend else now), monotonic
        if memory.evidence is observation.evidence:  # else a newer one came in while this pass was writing
            memory.evidence = None
        after = Next(self._settle(deployment, plan, outcome, memory, now), self._due_reading(observation, memory))
        if observation.notified and isinstance(outcome, Done) and outcome.deployment is not None:
            after = replace(after, after_seconds=0.0)  # what receivers are to be told next is offered by this status
        if after == Next(None) and unreadable is None and not memory.reading:
            memory.rest(manifest)
        return replace(after, urgent=memory.urgent, outcome=_outcome(plan, outcome))

    async def read(self, key: Key, request: EvidenceRequest) -> bool:
        """Read the evidence that a pass asked for; the next pass over the resource uses it, urgently if it fails."""
        memory = self._memories.get(key)
        if memory is None or memory.in_force is None:
            return False
        policies = memory.policies
        try:
            evidence = await self.read_evidence(memory.in_force, request)
            memory.evidence = replace(evidence, policies=policies)
        finally:
            memory.reading = False
        return _fails(memory.evidence)

    def _is_overtaken(self, manifest: Manifest, observation: Observation, memory: _Memory, begun_at: float) -> bool:
        """Whether a pass has taken too long, its resource is known to have changed, or a metric to have failed."""
        if self.monotonic() - begun_at > LONGEST_PLAN_SECONDS:
            return True
        if memory.evidence is not observation.evidence and _fails(memory.evidence):
            return True
        return self.view.is_overtaken(manifest)

    def _tell_late(self, deployment: ModelDeployment, memory: _Memory) -> None:
        """Tell of a status write that got no answer, now that the status is seen."""
        untold = memory.untold
        if untold is None:
            return
        if untold.is_written(deployment.status):
            memory.untold = None
            for note in untold.notes:
                self.tell(deployment, note)
        elif untold.is_past(deployment.status):
            memory.untold = None

    def _due_reading(self, observation: Observation, memory: _Memory) -> EvidenceRequest | None:
        request = evidence_request(Situation(observation))
        if request is None or memory.reading:
            return None
        now, interval = self.monotonic(), observation.deployment.spec.analysis.interval_seconds
        recent = memory.read_at is not None and now < memory.read_at + interval
        asked = request.moves, request.generation, request.policies
        if recent and memory.read_for == asked:
            return None
        memory.reading, memory.read_at, memory.read_for = True, now, asked
        return request

    def _settle(
        self, deployment: ModelDeployment, plan: Plan, outcome: Outcome, memory: _Memory, now: datetime
    ) -> float | None:
        """Remember what the outcome means for the next pass, and say when that is."""
        where = {"namespace": deployment.metadata.namespace, "deployment": deployment.metadata.name}
        memory.urgent = plan.urgent or (memory.urgent and not isinstance(outcome, Done))
        match outcome:
            case Done():
                memory.untold = None if plan.action.status is not None else memory.untold
                for note in plan.action.notes:
                    self.tell(deployment, note)
                return _after_success(plan, outcome, memory, now)
            case ObserveAgain(message=message):
                logger.info("observing again", extra={**where, "because": message})
                memory.failures += 1
                return min(OBSERVE_AGAIN_SECONDS * 2.0 ** min(memory.failures, 5), 5.0)
            case Overtaken(message=message):
                logger.info("deciding anew", extra={**where, "because": message})
                return 0.0
            case BackOff(message=message, seconds=seconds):
                logger.warning("backing off", extra={**where, "because": message})
                memory.failures += 1
                memory.evidence = memory.read_at = None  # it may be old by the time that writes succeed again
                longest = LONGEST_URGENT_WAIT_SECONDS if memory.urgent else LONGEST_BACK_OFF_SECONDS
                return max(seconds or 0.0, min(0.5 * 2.0 ** min(memory.failures, 10), longest))
            case NameTaken(message=message):
                return self._refused(memory, Refusal(Reason.NAME_TAKEN, message), plan, now)
            case WriteRejected(message=message, of_status=of_status):
                logger.error("write rejected", extra={**where, "because": message})
                pause = LONGEST_URGENT_WAIT_SECONDS if memory.urgent else RETRY_REFUSED_SECONDS
                refusal = Refusal(Reason.WRITE_REJECTED, message)
                return pause if of_status else self._refused(memory, refusal, plan, now)
            case _:
                assert_never(outcome)

    @staticmethod
    def _refused(memory: _Memory, refusal: Refusal, plan: Plan, now: datetime) -> float:
        """The first refusal is told at once; the same one again waits, but not longer than what else goes on."""
        known = memory.refusal is not None and memory.refusal.reason is refusal.reason
        memory.refusal = refusal
        longest = LONGEST_URGENT_WAIT_SECONDS if memory.urgent else RETRY_REFUSED_SECONDS
        return min(longest, _seconds_until(plan.wake_at, now, longest)) if known else 0.0

    async def _report_invalid(self, key: Key, manifest: Manifest, invalid: InvalidSpec, now: datetime) -> Next:
        """A spec or status that this process never could read: say so, touch nothing else, wait for the next edit.

        Only the conditions are written over the raw status, so that what a newer version wrote there stays as it is.
        """
        memory = self._memories[key]
        metadata, raw = manifest["metadata"], manifest.get("status") or {}
        of_status = any(problem.field.startswith("status") for problem in invalid.problems)
        stall = Stall(Reason.STATUS_UNREADABLE if of_status else Reason.INVALID_SPEC, str(invalid))
        generation = int(metadata.get("generation", 0))
        try:
            before = ModelDeploymentStatus.model_validate({"conditions": raw.get("conditions") or ()}).conditions
        except ValueError:
            logger.exception("conditions can't be read", extra={"namespace": key[0], "deployment": key[1]})
            return Next(None, outcome=PassOutcome.UNREADABLE)
        conditions = stalled_only(before, stall, generation, now)
        if conditions == before and raw.get("observedGeneration") == generation:
            return Next(None, outcome=PassOutcome.UNREADABLE)
        told = status_manifest(ModelDeploymentStatus(observed_generation=generation, conditions=conditions))
        shown = {key: told[key] for key in ("observedGeneration", "conditions")}
        try:
            memory.newest = packed(await self.cluster.write_status(*key, {**raw, **shown}, metadata["resourceVersion"]))
        except ApiError as error:
            logger.warning(
                "status not written", extra={"namespace": key[0], "deployment": key[1], "because": str(error)}
            )
            asked_for = error.retry_after_seconds if isinstance(error, Unavailable) else None
            return Next(max(RETRY_TELLING_SECONDS, asked_for or 0.0), outcome=PassOutcome.UNREADABLE)
        return Next(None, outcome=PassOutcome.UNREADABLE)


def _outcome(plan: Plan, outcome: Outcome) -> PassOutcome:
    match outcome:
        case Done():
            if isinstance(plan.action, Move):
                return PassOutcome.MOVED
            wrote = outcome.deployment is not None or plan.action.intents
            return PassOutcome.REALISED if wrote else PassOutcome.UNCHANGED
        case ObserveAgain() | Overtaken():
            return PassOutcome.OBSERVE_AGAIN
        case BackOff():
            return PassOutcome.BACK_OFF
        case NameTaken():
            return PassOutcome.NAME_TAKEN
        case WriteRejected():
            return PassOutcome.WRITE_REJECTED
        case _:
            assert_never(outcome)


def _fails(evidence: Evidence | None) -> bool:
    """Whether a metric that decides has failed."""
    verdicts = evidence.verdicts if evidence is not None else ()
    return any(metric.enforced and isinstance(metric.verdict, Fail) for metric in verdicts)


def _clock_stepped(memory: _Memory, now: datetime, monotonic: float) -> bool:
    if memory.passed_at is None:
        return False
    passed = monotonic - memory.passed_at_monotonic
    return abs((now - memory.passed_at).total_seconds() - passed) > CLOCK_STEP_SECONDS


def _still_counts_by_the_old_clock(observation: Observation, plan: Plan) -> bool:
    """Whether the clock was set, and this pass had something else to decide than what that means for the hold."""
    counts = observation.deployment.status.rollout.counting_since is not None
    if not observation.clock_stepped or not counts or not isinstance(plan.action, Move):
        return False
    return plan.action.status.rollout.counting_since is not None and not plan.action.by_present_clock


def _after_success(plan: Plan, done: Done, memory: _Memory, now: datetime) -> float | None:
    """Seconds until the next pass; what was refused before is over unless this pass did no more than tell it."""
    memory.failures = 0
    if done.deployment is not None:
        memory.newest, memory.written_at = packed(done.deployment), now
    if isinstance(plan.action, Move):
        return 0.0
    if memory.refusal is not None:
        only_told = done.deployment is not None and not plan.action.intents
        memory.refusal = memory.refusal if only_told else None
        return 0.0
    return None if plan.wake_at is None else _seconds_until(plan.wake_at, now, 0.0)


def _seconds_until(moment: datetime | None, now: datetime, otherwise: float) -> float:
    return otherwise if moment is None else max(0.0, (moment - now).total_seconds())


def _with_last_spec(manifest: Manifest, last: ModelDeployment | None) -> ModelDeployment | None:
    """The resource as it is, with the last spec of it that could be read; None if there is none, or more is unreadable.

    A rollout that is under way can so be taken back, and children put back, while the spec makes no sense.
    """
    if last is None or last.metadata.uid != manifest["metadata"]["uid"]:
        return None
    try:
        metadata = ObjectMeta.model_validate(manifest["metadata"])
        status = ModelDeploymentStatus.model_validate(manifest.get("status") or {})
    except ValueError:
        return None
    return replace(last, metadata=metadata, status=status)


def _newer(seen: Manifest, written: Manifest) -> Manifest:
    """The later of what the cache has and what the last write returned: a pass never starts behind its own write."""
    if written["metadata"]["uid"] != seen["metadata"]["uid"]:
        return seen
    versions = (int(each["metadata"]["resourceVersion"]) for each in (seen, written))
    return seen if next(versions) >= next(versions) else written
