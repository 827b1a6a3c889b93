"""The phases, the types and reasons of conditions, and the names of Events and of entries in the history.

Owned by the API: users match on these strings in scripts, alerts and Argo CD health checks, so they come from these
enums and from nowhere else. Verdicts on metrics and their reasons have enums of their own, in `serinus.core.verdicts`
and `serinus.core.readings`.
"""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Where a rollout stands (`status.rollout.phase`)."""

    IDLE = "Idle"
    """Nothing to do: the revision in the spec is the stable one."""
    STARTING = "Starting"
    """The candidate's pods are coming up; it gets no traffic."""
    HOLDING = "Holding"
    """The candidate has the weight of the current step and is being judged."""
    AWAITING_APPROVAL = "AwaitingApproval"
    """A person has to say yes. The candidate keeps the weight of the step before; a Fail still rolls back."""
    PAUSED = "Paused"
    """Progress has stopped (by a person, or by `undecided`/`missing`); a Fail still rolls back."""
    PROMOTING = "Promoting"
    """The candidate is scaled to full size and takes all traffic."""
    WATCHING = "Watching"
    """Promoted; the old revision stays warm, and a Fail returns to it."""
    ROLLING_BACK = "RollingBack"
    """The candidate's traffic is being taken off, then its pods."""
    REJECTED = "Rejected"
    """The revision in the spec was rolled back and is not tried again by itself."""


class JudgedBy(StrEnum):
    """On whose word a revision was promoted (`status.rollout.judgedBy`)."""

    METRICS = "Metrics"
    READINESS = "Readiness"
    PERSON = "Person"
    POLICY = "Policy"


class Recommendation(StrEnum):
    """What the evidence recommends where a person decides (`status.rollout.recommendation`)."""

    APPROVE = "Approve"
    """Every metric that decides passes."""
    WAIT = "Wait"
    """The evidence does not suffice yet."""
    ABORT = "Abort"
    """A metric fails, or the candidate's pods do."""


class ConditionType(StrEnum):
    """Types of `status.conditions`; `Ready`, `Reconciling` and `Stalled` follow kstatus."""

    AVAILABLE = "Available"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    PAUSED = "Paused"
    IMAGES_DIFFER = "ImagesDiffer"
    """Only there once the pods of one revision ran different images."""
    RECEIVERS_UNKNOWN = "ReceiversUnknown"
    """Only there once a receiver of notifications was named that there is not."""


class Reason(StrEnum):
    """Reasons of conditions."""

    # Available
    SERVING = "Serving"
    NO_READY_PODS = "NoReadyPods"
    # Ready
    STABLE = "Stable"
    ROLLOUT_IN_PROGRESS = "RolloutInProgress"
    SCALING = "Scaling"
    # Reconciling
    SETTLED = "Settled"
    STARTING = "Starting"
    PREFLIGHT = "Preflight"
    HOLDING = "Holding"
    PROMOTING = "Promoting"
    RECREATING = "Recreating"
    WATCHING = "Watching"
    ROLLING_BACK = "RollingBack"
    EVIDENCE_MISSING = "EvidenceMissing"
    ROUTE_NOT_ACCEPTED = "RouteNotAccepted"
    PODS_UNSCHEDULABLE = "PodsUnschedulable"
    PODS_NOT_READY = "PodsNotReady"
    AWAITING_APPROVAL = "AwaitingApproval"
    # Paused
    PAUSED_BY_PERSON = "PausedByPerson"
    SUSPENDED = "Suspended"
    RUNNING = "Running"
    # ImagesDiffer
    TAG_PUSHED_AGAIN = "TagPushedAgain"
    SAME_IMAGE = "SameImage"
    # ReceiversUnknown
    NO_SUCH_RECEIVER = "NoSuchReceiver"
    RECEIVERS_KNOWN = "ReceiversKnown"
    # Stalled
    NOT_STALLED = "NotStalled"
    INVALID_SPEC = "InvalidSpec"
    UNSUPPORTED = "Unsupported"
    RESERVED_FIELD = "ReservedField"
    METRIC_FAILED = "MetricFailed"
    PREFLIGHT_FAILED = "PreflightFailed"
    CONTAINER_RESTARTED = "ContainerRestarted"
    READINESS_LOST = "ReadinessLost"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    UNDECIDED_TOO_LONG = "UndecidedTooLong"
    EVIDENCE_MISSING_TOO_LONG = "EvidenceMissingTooLong"
    ABORTED = "Aborted"
    RETURNED = "Returned"
    SUPERSEDED = "Superseded"
    CONFIGURATION_MISSING = "ConfigurationMissing"
    CONFIGURATION_UNREADABLE = "ConfigurationUnreadable"
    NAME_TAKEN = "NameTaken"
    ADDRESS_TAKEN = "AddressTaken"
    STATUS_LOST = "StatusLost"
    STATUS_UNREADABLE = "StatusUnreadable"
    NO_METRIC_SOURCE = "NoMetricSource"
    NO_CUSTOM_METRICS = "NoCustomMetrics"
    GATEWAY_FEATURE_UNKNOWN = "GatewayFeatureUnknown"
    WRITE_REJECTED = "WriteRejected"


class Happening(StrEnum):
    """What `status.history[].event` and the reasons of Kubernetes Events say."""

    CANDIDATE_STARTED = "CandidateStarted"
    PREFLIGHT_STARTED = "PreflightStarted"
    PREFLIGHT_PASSED = "PreflightPassed"
    FIRST_DEPLOYMENT = "FirstDeployment"
    STEP_ENTERED = "StepEntered"
    COUNTING_STARTED = "CountingStarted"
    COUNTING_STOPPED = "CountingStopped"
    PODS_LOST = "PodsLost"
    SLICES_FIXED = "SlicesFixed"
    PODS_BACK = "PodsBack"
    STEPS_CHANGED = "StepsChanged"
    EVIDENCE_BACK = "EvidenceBack"
    WEIGHT_GIVEN_BACK = "WeightGivenBack"
    STEP_PASSED = "StepPassed"
    AWAITING_APPROVAL = "AwaitingApproval"
    APPROVED = "Approved"
    STEP_SKIPPED = "StepSkipped"
    RECOMMENDED = "Recommended"
    MAKING_ROOM = "MakingRoom"
    PAUSED = "Paused"
    RESUMED = "Resumed"
    PROMOTED = "Promoted"
    PROMOTED_UNDECIDED = "PromotedUndecided"
    WATCH_ENDED = "WatchEnded"
    ROLLED_BACK = "RolledBack"
    TRAFFIC_OFF = "TrafficOff"
    ROLLBACK_FINISHED = "RollbackFinished"
    RETURN_BEGUN = "ReturnBegun"
    RETURNED = "Returned"
    SUPERSEDED = "Superseded"
    SETTLED = "Settled"
    RETIRED = "Retired"
    RETRIED = "Retried"
    ACTION_IGNORED = "ActionIgnored"
    STATUS_RECOVERED = "StatusRecovered"
    STALLED = "Stalled"
