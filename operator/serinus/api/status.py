"""The status of a ModelDeployment: all that Serinus remembers between two passes.

Owned by the API, written only by the operator's one status writer. Whatever a decision needs later (steps, times, who
was rejected) stands here, so that a restart at any moment continues where the last write ended; what can be observed
again (pods, weights in force, metrics) is here only for people to read, but for `analysis[].at`: until then the held
time is vouched for when another process goes on with it.

Instants are RFC 3339 with microseconds, UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from serinus.api.analysis import MAX_METRICS
from serinus.api.notifications import MOST_RECEIVERS_OF_ONE
from serinus.api.reasons import Happening, JudgedBy, Phase, Recommendation
from serinus.api.values import Percent


def format_instant(at: datetime) -> str:
    """`at` as RFC 3339 in UTC with microseconds, the form of Kubernetes' MicroTime."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


Instant = Annotated[datetime, PlainSerializer(format_instant, return_type=str)]


class StatusModel(BaseModel):
    """Base of the status models: immutable, camelCase on the wire, tolerant of fields of newer versions."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Condition(StatusModel):
    """One condition in the shape of metav1.Condition."""

    type: str = Field(description="Type of the condition.", max_length=316)
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    observed_generation: int = Field(default=0, description="metadata.generation that the condition was computed for.")
    last_transition_time: Instant = Field(description="When the status last changed.")
    reason: str = Field(description="One of Serinus' reasons, for programs.", max_length=1024)
    message: str = Field(default="", description="What is so, why, and what to do, for people.", max_length=32768)


class RevisionStatus(StatusModel):
    """A revision that has pods, and what is seen of them."""

    revision: str = Field(description="Hash of model, serving and placement: the name of the revision.")
    version: str = Field(default="", description="Version of the model, as the spec gives it or the image's tag says.")
    image: str = Field(default="", description="Container image of the revision.")
    replicas: int = Field(default=0, description="Pods that its ReplicaSet has.")
    ready_replicas: int = Field(default=0, description="Pods of it that are ready.")
    weight_percent: int = Field(default=0, description="Share of the requests that the route sends to it now.")
    since: Instant | None = Field(default=None, description="When it took this role.")
    ever_ready: bool = Field(default=False, description="Whether it ever had a ready pod in this role.")


class PodRestarts(StatusModel):
    """Container restarts of one pod that lie before its first readiness and do not count against the candidate."""

    pod: str = Field(description="Name of the pod.")
    before: int = Field(description="Restarts of the model's container before it was first ready.")


class MetricSlices(StatusModel):
    """The slices of one metric in this attempt, fixed from what stable served before the evidence began."""

    metric: str = Field(description="Name of the metric.")
    label: str = Field(description="Label by whose values it is judged (perSlice).", max_length=128)
    values: tuple[Annotated[str, Field(max_length=64)], ...] = Field(
        default=(),
        max_length=19,
        description="Values that are judged each on its own, the most frequent first; all others are one more slice. "
        "Empty: there were too few requests, and all are judged together alone.",
    )
    least_percent: Percent = Field(
        description="Share of the requests that a slice needs, so that a candidate gets enough of them within a step.",
    )
    rest_percent: Percent = Field(
        default=Percent("0"), description="Share of the requests that all other values had, when this was fixed."
    )


class PreflightStatus(StatusModel):
    """The preflight of this attempt."""

    job: str = Field(description="Name of the Job.")
    started_at: Instant = Field(description="When the candidate was ready for it.")
    passed_at: Instant | None = Field(default=None, description="When the Job was seen to have succeeded.")


class RolloutStatus(StatusModel):
    """Where the rollout stands. Persisted in full: a restart changes nothing."""

    phase: Phase = Field(default=Phase.IDLE, description="Phase of the rollout.")
    step: str | None = Field(default=None, description="Name of the current step.")
    step_index: int | None = Field(default=None, description="Position of the current step, from 0.")
    step_count: int | None = Field(default=None, description="Number of steps of this rollout.")
    weight_percent: int = Field(
        default=0,
        description="Share of the requests that the candidate may have in this step; an edit of the steps "
        "changes it only through a decision.",
    )
    shadow_percent: int = Field(
        default=0, description="Share of the requests that is also copied to the candidate in this step."
    )
    started_at: Instant | None = Field(default=None, description="When this attempt began.")
    step_started_at: Instant | None = Field(default=None, description="When the current step or phase was entered.")
    held_seconds: float = Field(
        default=0.0, description="Seconds that count towards the hold of this step, up to countingSince."
    )
    counting_since: Instant | None = Field(
        default=None, description="Since when the hold counts on; absent while the clock stands still."
    )
    evidence_started_at: Instant | None = Field(
        default=None, description="When the route was first confirmed in this attempt: evidence counts from here."
    )
    pass_evidence_since: Instant | None = Field(
        default=None, description="When the route of this step was first confirmed: evidence for Pass counts from here."
    )
    baseline_started_at: Instant | None = Field(
        default=None, description="During the watch: start of the window of the old stable revision to compare with."
    )
    baseline_ended_at: Instant | None = Field(
        default=None, description="During the watch: end of that window, the moment of the switch."
    )
    missing_since: Instant | None = Field(default=None, description="Since when evidence is missing.")
    withdrawn: bool = Field(
        default=False, description="Whether the candidate's weight is off because none of its pods reports any more."
    )
    skips_steps: bool = Field(
        default=False,
        description="Whether the candidate was stable within rollout.rollbackWindowSeconds, and returns without the "
        "steps.",
    )
    recreates: bool = Field(
        default=False,
        description="Whether the pods of one revision go before those of the other come: nobody is served in between.",
    )
    stable_replicas: int | None = Field(
        default=None,
        description="Pods that the stable revision was to have when this attempt began, or when it was promoted: until "
        "attempt and watch are over an autoscaler leaves no fewer.",
    )
    drained_at: Instant | None = Field(
        default=None, description="During a rollback: when the candidate's pods may go, its traffic being off."
    )
    short_since: Instant | None = Field(
        default=None,
        description="Since when the candidate has fewer ready pods than its share of the requests needs.",
    )
    weight_losses: int = Field(
        default=0, description="How often in this step the candidate lost its last ready pod while it had traffic."
    )
    restarts: tuple[PodRestarts, ...] = Field(
        default=(),
        max_length=100,
        description="Pods that were ready in this rollout, with the restarts that each had before that.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["pod"]},
    )
    slices: tuple[MetricSlices, ...] = Field(
        default=(),
        max_length=MAX_METRICS,
        description="Of metrics that are judged in slices: which there are.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["metric"]},
    )
    preflight: PreflightStatus | None = Field(
        default=None, description="The preflight of this attempt, once the candidate is ready for it."
    )
    return_from: str | None = Field(
        default=None,
        description="While a person's return to a kept revision is under way: the revision in the spec that it sets "
        "aside.",
    )
    reason: str | None = Field(
        default=None, description="Why the phase was entered: of a promotion, a pause or a rollback."
    )
    judged_by: JudgedBy | None = Field(default=None, description="On whose word the promotion happens or happened.")
    recommendation: Recommendation | None = Field(
        default=None, description="What the evidence recommends to the person who decides the next step."
    )
    message: str = Field(default="", description="One sentence for people: what it is waiting for.", max_length=4096)


class SampleCounts(StatusModel):
    """Bad and all requests (or other countable things) that a verdict rests on. May be fractions."""

    bad: float = Field(description="How many were bad.")
    total: float = Field(description="How many there were.")


class SliceStatus(StatusModel):
    """What the requests of one slice say by themselves."""

    value: str = Field(default="", description="Value of the label; empty for all values without a slice of their own.")
    verdict: str = Field(description="Pass, Fail, Undecided or Missing.")
    decides: bool = Field(
        default=True, description="Whether it has to pass; if not, it is too thin in this step, and judged with all."
    )
    candidate: SampleCounts = Field(description="Counts of the judged revision.")
    stable: SampleCounts | None = Field(default=None, description="Counts of the revision that it is compared with.")
    lower: str | None = Field(default=None, description="Lower bound of the estimate, in the unit of the limit.")
    upper: str | None = Field(default=None, description="Upper bound of the estimate, in the unit of the limit.")


class MetricStatus(StatusModel):
    """The newest verdict on one metric, with the numbers behind it."""

    name: str = Field(description="Name of the metric.")
    verdict: str = Field(description="Pass, Fail, Undecided or Missing.")
    reason: str = Field(default="", description="Why it is undecided or missing.")
    mode: str = Field(default="Enforce", description="Enforce decides; Observe is only reported.")
    candidate: SampleCounts | None = Field(default=None, description="Counts of the judged revision.")
    stable: SampleCounts | None = Field(default=None, description="Counts of the revision that it is compared with.")
    lower: str | None = Field(default=None, description="Lower bound of the estimate, in the unit of the limit.")
    upper: str | None = Field(default=None, description="Upper bound of the estimate, in the unit of the limit.")
    limit: str = Field(default="", description="The limit that it was held against.")
    needed: int | None = Field(
        default=None,
        description="About how many more requests of the judged revision make it pass, if it goes on as in this step; "
        "0 if it passes, absent if it would not pass like this.",
    )
    message: str = Field(default="", description="The verdict in one sentence.", max_length=1024)
    slices: tuple[SliceStatus, ...] = Field(
        default=(), max_length=3, description="Of a metric that is judged in slices: the worst ones, the worst first."
    )
    query: str = Field(
        default="", description="What was read: paste it into Prometheus to see the counters.", max_length=1024
    )
    at: Instant = Field(description="When the verdict was reached.")


class RejectedRevision(StatusModel):
    """A revision that was rolled back and is not tried again by itself."""

    revision: str = Field(description="The revision.")
    reason: str = Field(description="Why it was rejected.")
    message: str = Field(default="", description="The evidence in one sentence.", max_length=1024)
    at: Instant = Field(description="When it was rejected.")


MOST_RETIRED = 50
"""So many revisions that were stable before are remembered: as many as rollout.revisionHistoryLimit may keep."""


class RetiredRevision(StatusModel):
    """A revision that was stable before, and was replaced without a fault of its own."""

    revision: str = Field(description="The revision.")
    version: str = Field(default="", description="Version of the model.")
    served_until: Instant = Field(description="Until when it was the stable revision.")


class HistoryEntry(StatusModel):
    """One decision: what happened, to which revision, when, by whom and because of what."""

    at: Instant = Field(description="When it was decided.")
    event: Happening = Field(description="What was decided.")
    revision: str = Field(description="The revision that it concerns.")
    by: str = Field(default="serinus", description="Who decided: serinus, or person where an action asked for it.")
    field_manager: str = Field(
        default="",
        description="Of an action: the client that set the annotation, by its field manager. The person is in the API "
        "server's audit log.",
        max_length=128,
    )
    because: str = Field(default="", description="The evidence in short.", max_length=768)
    number: int = Field(
        default=0,
        description="Position in the history since it began, from 1; 0 in entries of versions that did not count.",
    )


class NotifiedReceiver(StatusModel):
    """How far a receiver of notifications has been told of the history."""

    receiver: str = Field(description="Name of the receiver, as the operator's settings have it.", max_length=63)
    up_to: int = Field(
        description="Number of the newest entry of the history that it need not be told of: it was sent, given up, or "
        "decided before the receiver was named."
    )


class HandledAction(StatusModel):
    """An action annotation that was dealt with; the same value is not carried out twice."""

    action: str = Field(description="The annotation's name without its prefix.")
    value: str = Field(description="The value that was handled.", max_length=256)
    carried_out: bool = Field(default=True, description="Whether it took effect; message says why it did not.")
    message: str = Field(default="", description="What it did, or why it does nothing.", max_length=1024)
    field_manager: str = Field(default="", description="The client that set it, by its field manager.", max_length=128)
    at: Instant | None = Field(default=None, description="When it was handled.")


class PolicyField(StatusModel):
    """A field of the spec that is not set, and has the value that a policy gives it."""

    field: str = Field(description="Path of the field.", max_length=256)
    value: str = Field(default="", description="Its value as JSON, cut where it is long.", max_length=4096)


class PolicyStatus(StatusModel):
    """A policy of the platform that holds for the resource, and what it did to it."""

    kind: str = Field(description="RolloutPolicy or ClusterRolloutPolicy.")
    name: str = Field(description="Name of the policy.")
    fields: tuple[PolicyField, ...] = Field(
        default=(),
        max_length=64,
        description="Fields that it gave.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["field"]},
    )
    metrics: tuple[str, ...] = Field(
        default=(), max_length=20, description="Shared metrics that are judged as it defines them."
    )
    violations: tuple[Annotated[str, Field(max_length=1024)], ...] = Field(
        default=(), max_length=32, description="What is outside its bounds, and what to do."
    )
    notify: tuple[str, ...] = Field(
        default=(),
        max_length=MOST_RECEIVERS_OF_ONE,
        description="Receivers of notifications that it names for the resource.",
    )


class ModelDeploymentStatus(StatusModel):
    """What Serinus has observed and decided."""

    observed_generation: int = Field(default=0, description="metadata.generation that this status speaks of.")
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Available, Ready, Reconciling, Stalled and Paused; ImagesDiffer once a tag was pushed again, "
        "ReceiversUnknown once serinus.dev/notify named one that there is not.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    moves: int = Field(default=0, description="Rises with every decision; children carry it, so a stale writer stops.")
    stable: RevisionStatus | None = Field(default=None, description="The revision that serves.")
    candidate: RevisionStatus | None = Field(default=None, description="The revision under judgement.")
    previous: RevisionStatus | None = Field(
        default=None, description="The revision that served before; kept warm after a promotion."
    )
    rollout: RolloutStatus = Field(default_factory=RolloutStatus, description="Where the rollout stands.")
    analysis: tuple[MetricStatus, ...] = Field(
        default=(),
        description="Newest verdict of each metric.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    rejected: tuple[RejectedRevision, ...] = Field(
        default=(),
        description="Revisions that are not tried again by themselves.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["revision"]},
    )
    retired: tuple[RetiredRevision, ...] = Field(
        default=(),
        max_length=MOST_RETIRED,
        description="Revisions that were stable before and can be returned to, newest first: the one that is kept "
        "warm, and as many as rollout.revisionHistoryLimit keeps.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["revision"]},
    )
    history: tuple[HistoryEntry, ...] = Field(default=(), max_length=20, description="Newest 20 decisions.")
    notified: tuple[NotifiedReceiver, ...] = Field(
        default=(),
        max_length=MOST_RECEIVERS_OF_ONE,
        description="How far each receiver that the annotation serinus.dev/notify, or a policy, names has been told of "
        "the history.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["receiver"]},
    )
    actions: tuple[HandledAction, ...] = Field(
        default=(),
        description="Action annotations that have been handled.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["action"]},
    )
    policies: tuple[PolicyStatus, ...] = Field(
        default=(),
        max_length=64,
        description="Policies of the platform that hold for the resource, and what each did to it.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["kind", "name"]},
    )
    replicas: int = Field(default=0, description="Pods of the stable revision, for the scale subresource.")
    selector: str = Field(default="", description="Label selector of the stable revision's pods.")
