"""What `kubectl serinus status` tells of one resource: pure, from the objects as the API server has them.

Made from the resource, its ReplicaSets and its pods; drawn by `serinus.cli.tree`, and printed as data by `-o json`.
What the operator has said (conditions, verdicts) is repeated in its words; what follows from status, spec and the time
(until when, how much longer, what a person can do) is worked out here, with the functions that the operator decides by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from serinus.api.deployment import InvalidSpec, ModelDeployment
from serinus.api.reasons import ConditionType, Phase, Reason
from serinus.api.status import (
    Condition,
    MetricStatus,
    ModelDeploymentStatus,
    PolicyStatus,
    RevisionStatus,
    RolloutStatus,
    SliceStatus,
    StatusModel,
)
from serinus.cli.advice import WITHOUT_AN_OPERATOR, advice
from serinus.cli.silence import sent, silence
from serinus.cli.state import State, state_of
from serinus.cli.terminal import clock
from serinus.core.conditions import conditions
from serinus.core.configuration import resolved
from serinus.core.observation import Children, Observation, PodState
from serinus.core.plan import Manifest
from serinus.core.platform import with_fields
from serinus.core.rollout.situation import Situation
from serinus.core.traffic import PlannedStep
from serinus.core.verdicts import VerdictKind
from serinus.kube.observation import observe_children

JUDGED: Final = frozenset({Phase.HOLDING, Phase.PAUSED, Phase.AWAITING_APPROVAL, Phase.PROMOTING, Phase.WATCHING})
"""Phases in which metrics are read."""
_BESIDE_THE_ROLLOUT: Final = frozenset({ConditionType.IMAGES_DIFFER, ConditionType.RECEIVERS_UNKNOWN})
"""Conditions that keep nothing from going on, and that people should know of."""
FRESH_SECONDS: Final = 10.0
"""Counts that are older are told with their time: the operator writes them together, once in a minute mostly."""


@dataclass(frozen=True, slots=True)
class PodLine:
    """One pod."""

    name: str
    ready: bool
    restarts: int
    trouble: str
    """The pod's own words for why it is not ready."""


@dataclass(frozen=True, slots=True)
class RevisionLine:
    """A revision with a role, and its pods."""

    role: str
    revision: str
    version: str
    image: str
    weight_percent: int
    replicas: int
    ready_replicas: int
    since: datetime | None
    pods: tuple[PodLine, ...] = ()


class Progress(StrEnum):
    """Where a step lies."""

    DONE = "Done"
    NOW = "Now"
    AHEAD = "Ahead"


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of the rollout under way."""

    name: str
    weight_percent: int
    share: str
    """Which requests go to the candidate in it, in words."""
    hold_seconds: int
    approval: bool
    progress: Progress
    held_seconds: float | None = None
    """Of the present step: what counts towards its hold."""


@dataclass(frozen=True, slots=True)
class SliceLine:
    """What the requests of one slice of a metric say by themselves."""

    name: str
    """`country=DE`, or `other country` for all values without a slice of their own."""
    verdict: str
    decides: bool
    """Whether it has to pass; if not, it is too thin in this step, and judged with all others alone."""
    bad_percent: float | None
    requests: float
    stable_bad_percent: float | None
    stable_requests: float | None
    lower_percent: str | None
    upper_percent: str | None


@dataclass(frozen=True, slots=True)
class MetricLine:
    """The newest verdict on one metric, with its numbers against its limits."""

    name: str
    verdict: str
    reason: str
    enforced: bool
    message: str
    limit: str
    bad_percent: float | None
    requests: float | None
    stable_bad_percent: float | None
    stable_requests: float | None
    lower_percent: str | None
    upper_percent: str | None
    needed: int | None
    """About how many more requests it needs to pass."""
    needed_seconds: float | None
    """How long that takes at the rate of requests since the evidence began, with the present weight."""
    age_seconds: float
    at: datetime
    """When it was counted."""
    slices: tuple[SliceLine, ...] = ()
    """Of a metric that is judged in slices: the worst ones, the worst first."""


@dataclass(frozen=True, slots=True)
class Until:
    """A moment at which something happens by itself."""

    at: datetime
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that is told of one resource."""

    namespace: str
    name: str
    state: State
    phase: str
    step: str
    """`five (1 of 2)`; empty outside of steps."""
    waits_for: str
    """What it is doing or waiting for, in one sentence."""
    reason: str
    available: str
    """Whether users are served."""
    revisions: tuple[RevisionLine, ...]
    steps: tuple[StepLine, ...] = ()
    metrics: tuple[MetricLine, ...] = ()
    until: tuple[Until, ...] = ()
    policies: tuple[PolicyStatus, ...] = ()
    """Policies of the platform that hold for it, and what each did, as status has it."""
    to_do: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=())
    """What else is worth knowing: rejected revisions, actions that did nothing or are not taken up yet."""
    silence: str = ""
    """What shows that no operator is at work on it, and how to look; empty where nothing does."""
    counted_since: datetime | None = None
    """Since when the counts of `metrics` are counted: over all steps, where a step has evidence of its own for Pass."""


def report(resource: Manifest, objects: Iterable[Manifest], pods: Iterable[Manifest], now: datetime) -> Report:
    """What to tell of the resource; `objects` are its children, of which ReplicaSets and records are looked at."""
    metadata = resource["metadata"]
    children = observe_children(metadata["name"], metadata.get("uid", ""), objects, pods)
    situation, broken = _situation(resource, children, now), ""
    if isinstance(situation, InvalidSpec):
        broken, situation = str(situation), _situation(_with_a_readable_spec(resource), children, now)
        if isinstance(situation, InvalidSpec):
            raise situation
    status = situation.status
    state = state_of(resource, status)
    told = _most_important(status, state)
    silent = silence(resource, situation, state)
    if silent is not None:  # what went on since nobody vouches for
        situation = _as_of(situation, silent.since or _newest_counts(status) or now)
    return Report(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        state=state,
        phase=status.rollout.phase.value,
        step=_step(status.rollout),
        waits_for=_waits_for(situation, told, now) if told else _unseen(resource),
        reason=told.reason if told else "",
        available=_message(status, ConditionType.AVAILABLE),
        revisions=tuple(_revisions(status, children)),
        steps=() if broken else tuple(_steps(situation)),
        metrics=tuple(_metric(each, status, now) for each in status.analysis if status.rollout.phase in JUDGED),
        until=() if broken or silent else tuple(_moments(situation)),
        policies=status.policies,
        to_do=WITHOUT_AN_OPERATOR if silent else advice(situation, state, told.reason if told else ""),
        remarks=tuple(_remarks(resource, situation, state, broken)),
        silence=silent.told(now) if silent else "",
        counted_since=status.rollout.evidence_started_at,
    )


def situation_of(resource: Manifest, objects: Iterable[Manifest], pods: Iterable[Manifest], now: datetime) -> Situation:
    """The resource as the operator's decisions see it. Raises `InvalidSpec`."""
    metadata = resource["metadata"]
    found = _situation(resource, observe_children(metadata["name"], metadata.get("uid", ""), objects, pods), now)
    if isinstance(found, InvalidSpec):
        raise found
    return found


def _situation(resource: Manifest, children: Children, now: datetime) -> Situation | InvalidSpec:
    try:
        deployment = ModelDeployment.parse(resource)
    except InvalidSpec as error:
        return error
    given = [each for policy in deployment.status.policies for each in policy.fields]
    in_force = replace(deployment, spec=with_fields(deployment.spec, given))
    present = resolved(in_force, children, None)  # what ConfigMaps and Secrets contain is not for the plugin to read
    return Situation(Observation(now=now, deployment=present, children=children, previous_pass_at=now))


def _with_a_readable_spec(resource: Manifest) -> dict[str, Any]:
    """The resource with a spec that says nothing, so that its status can be told all the same."""
    return {**resource, "spec": {"serving": {"image": "unreadable"}}}


def _unseen(resource: Manifest) -> str:
    generation = resource["metadata"].get("generation", 0)
    return (
        f"no operator has looked at generation {generation} of it yet: look whether one runs and serves this namespace"
    )


def _most_important(status: ModelDeploymentStatus, state: State) -> Condition | None:
    """The condition that says what people want to know first."""
    first = {
        State.FAILED: ConditionType.STALLED,
        State.NEEDS_A_PERSON: ConditionType.PAUSED,
        State.PROGRESSING: ConditionType.RECONCILING,
        State.SERVING: ConditionType.RECONCILING if status.rollout.phase is Phase.WATCHING else ConditionType.READY,
    }.get(state)
    return next((each for each in status.conditions if each.type == first), None)


def _as_of(s: Situation, at: datetime) -> Situation:
    return Situation(replace(s.observation, now=at, previous_pass_at=at))


def _newest_counts(status: ModelDeploymentStatus) -> datetime | None:
    return max((metric.at for metric in status.analysis), default=None)


def _waits_for(s: Situation, told: Condition, now: datetime) -> str:
    """What the condition says, with the time of the counts in it where that is not now."""
    message, at = _as_of_now(s, told), _newest_counts(s.status)
    known = (each.message for each in s.status.analysis if each.verdict != VerdictKind.MISSING and each.message)
    quoted = s.rollout.phase in JUDGED and any(each in message for each in known)
    if at is None or not quoted or now <= at + timedelta(seconds=FRESH_SECONDS):
        return message
    return f"{message} (counts as of {clock(at, now)})"


def _as_of_now(s: Situation, told: Condition) -> str:
    """The condition's message; while a step is held, with the time held by now, which the operator writes seldom."""
    if told.reason != Reason.HOLDING:
        return told.message
    fresh = next(each for each in conditions(s, None) if each.type == told.type)
    return fresh.message if fresh.reason == told.reason else told.message


def _message(status: ModelDeploymentStatus, kind: ConditionType) -> str:
    return next((each.message for each in status.conditions if each.type == kind), "")


def _step(rollout: RolloutStatus) -> str:
    if rollout.step is None:
        return ""
    return f"{rollout.step} ({(rollout.step_index or 0) + 1} of {rollout.step_count or 1})"


def _revisions(status: ModelDeploymentStatus, children: Children) -> Iterable[RevisionLine]:
    roles = {"candidate": status.candidate, "stable": status.stable, "previous": status.previous}
    for role, revision in roles.items():
        if revision is not None:
            pods = sorted(children.pods_of(revision.revision), key=lambda pod: pod.name)
            yield _revision(role, revision, children, tuple(_pod(pod) for pod in pods))


def _revision(role: str, revision: RevisionStatus, children: Children, pods: tuple[PodLine, ...]) -> RevisionLine:
    """With the numbers of its ReplicaSet, where that may be read: status follows them some seconds behind."""
    now = children.replica_sets.get(revision.revision)
    return RevisionLine(
        role=role,
        revision=revision.revision,
        version=revision.version,
        image=revision.image,
        weight_percent=revision.weight_percent,
        replicas=now.desired if now else revision.replicas,
        ready_replicas=now.ready if now else revision.ready_replicas,
        since=revision.since,
        pods=pods,
    )


def _pod(pod: PodState) -> PodLine:
    return PodLine(pod.name, pod.ready, pod.restarts, pod.trouble or "")


def _steps(s: Situation) -> Iterable[StepLine]:
    if s.candidate is None or s.stable is None or s.rollout.phase is Phase.ROLLING_BACK:
        return
    at = s.rollout.step_index if s.rollout.step is not None else None
    promoting = s.rollout.phase is Phase.PROMOTING
    for index, step in enumerate(s.steps):
        if promoting or (at is not None and index < at):
            yield _step_line(step, Progress.DONE)
        elif index == at:
            yield _step_line(step, Progress.NOW, min(s.held_seconds, step.hold_seconds))
        else:
            yield _step_line(step, Progress.AHEAD)


def _step_line(step: PlannedStep, progress: Progress, held_seconds: float | None = None) -> StepLine:
    return StepLine(
        step.name, step.weight_percent, step.share_in_words, step.hold_seconds, step.approval, progress, held_seconds
    )


def _metric(metric: MetricStatus, status: ModelDeploymentStatus, now: datetime) -> MetricLine:
    own, stable = metric.candidate, metric.stable
    rate = requests_per_second(metric, status)
    waits = metric.verdict == VerdictKind.UNDECIDED and metric.needed
    return MetricLine(
        name=metric.name,
        verdict=metric.verdict,
        reason=metric.reason,
        enforced=metric.mode == "Enforce",
        message=metric.message,
        limit=metric.limit,
        bad_percent=100 * own.bad / own.total if own and own.total else None,
        requests=own.total if own else None,
        stable_bad_percent=100 * stable.bad / stable.total if stable and stable.total else None,
        stable_requests=stable.total if stable else None,
        lower_percent=metric.lower,
        upper_percent=metric.upper,
        needed=metric.needed,
        needed_seconds=metric.needed / rate if waits and metric.needed and rate else None,
        age_seconds=(now - metric.at).total_seconds(),
        at=metric.at,
        slices=tuple(_slice(each, _slice_label(metric.name, status.rollout)) for each in metric.slices),
    )


def _slice_label(metric: str, rollout: RolloutStatus) -> str:
    return next((each.label for each in rollout.slices if each.metric == metric), "slice")


def _slice(told: SliceStatus, label: str) -> SliceLine:
    own, stable = told.candidate, told.stable
    return SliceLine(
        name=f"{label}={told.value}" if told.value else f"other {label}",
        verdict=told.verdict,
        decides=told.decides,
        bad_percent=100 * own.bad / own.total if own.total else None,
        requests=own.total,
        stable_bad_percent=100 * stable.bad / stable.total if stable and stable.total else None,
        stable_requests=stable.total if stable else None,
        lower_percent=told.lower,
        upper_percent=told.upper,
    )


def requests_per_second(metric: MetricStatus, status: ModelDeploymentStatus) -> float | None:
    """How many requests reach the judged revision in a second: all that both served, times the share that it has now.

    Where nothing served beside it, its own. None while nothing is known.
    """
    since, rollout = status.rollout.evidence_started_at, status.rollout
    if since is None or metric.candidate is None:
        return None
    elapsed = (metric.at - since).total_seconds()
    if elapsed <= 0:
        return None
    if status.candidate is not None and metric.stable is not None and rollout.weight_percent:
        return (metric.candidate.total + metric.stable.total) / elapsed * rollout.weight_percent / 100 or None
    return metric.candidate.total / elapsed or None


def _moments(s: Situation) -> Iterable[Until]:
    """What will happen by itself, and when, if nothing else does."""
    phase, rollout, analysis = s.rollout.phase, s.rollout, s.spec.analysis
    if phase in {Phase.STARTING, Phase.HOLDING, Phase.PROMOTING} and _lacks_pods(s) and s.deadline_at is not None:
        yield Until(s.deadline_at, "without enough ready pods it is rolled back (rollout.progressDeadlineSeconds)")
    if phase is Phase.HOLDING and s.step is not None and rollout.counting_since is not None:
        left = s.step.hold_seconds - s.held_seconds
        if left > 0:
            yield Until(s.now + timedelta(seconds=left), "the hold ends; then every metric has to pass")
        elif not s.spec.analysis.disabled:
            end = s.now + timedelta(seconds=left + analysis.undecided.after_seconds)
            yield Until(end, f"still undecided, analysis.undecided.action is {analysis.undecided.action.value}")
    if phase is Phase.HOLDING and rollout.missing_since is not None:
        end = rollout.missing_since + timedelta(seconds=analysis.missing.after_seconds)
        yield Until(end, f"still without evidence, analysis.missing.action is {analysis.missing.action.value}")
    if phase is Phase.WATCHING and s.watch_ends_at is not None:
        yield Until(s.watch_ends_at, f"the watch ends; a failing metric returns to {s.previous} until then")
    if s.previous is not None and s.retire_at is not None and s.retire_at > s.now:
        yield Until(s.retire_at, f"the pods of {s.previous} are kept warm")


def _lacks_pods(s: Situation) -> bool:
    """By the ReplicaSet: whether its Service has learnt of the pods is not looked up here."""
    state = s.children.replica_sets.get(s.candidate or "")
    return state is not None and state.ready < s.needed_pods


def _remarks(resource: Manifest, s: Situation, state: State, broken: str) -> Iterable[str]:
    if broken:
        yield broken
    for rejected in s.status.rejected:
        if rejected.revision == s.revision and s.rollout.phase in {Phase.REJECTED, Phase.ROLLING_BACK}:
            continue  # the condition says it
        yield f"Rejected: {rejected.revision} ({rejected.reason}): {rejected.message}"
    for condition in s.status.conditions:
        if condition.type in _BESIDE_THE_ROLLOUT and condition.status == "True":
            yield condition.message
    annotations = resource["metadata"].get("annotations") or {}
    for action in s.status.actions:
        if not action.carried_out and annotations.get(f"serinus.dev/{action.action}") == action.value:
            yield action.message
    if not broken:
        yield from sent(resource, s, state)


def as_data(value: object) -> Any:
    """The report as JSON values, with camelCase names and instants in RFC 3339."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, StatusModel):
        value = value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return {key: as_data(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [as_data(inner) for inner in value]
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return {_camel(name): as_data(getattr(value, name)) for name in fields}
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
