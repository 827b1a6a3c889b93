"""The phases, the types and reasons of conditions, and the names of Events and of entries in the history.

Owned by the API: users match on these strings in scripts, alerts and Argo CD health checks, so they come from these
enums and from nowhere else. Verdicts on metrics and their reasons have enums of their own, in `serinus.core.verdicts`
and `serinus.core.readings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


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
    """Every metric that decides passed."""
    READINESS = "Readiness"
    """Its pods were ready, and nothing was measured before."""
    PERSON = "Person"
    """A person promoted it, or skipped what was left to judge."""
    POLICY = "Policy"
    """The policy in the spec: `analysis.disabled`, or `undecided.action: Promote` where evidence did not suffice."""


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
    """Users are served, whatever the rollout does."""
    READY = "Ready"
    """The spec's revision is the stable one and serves, with all its pods."""
    RECONCILING = "Reconciling"
    """Something is going on that goes on by itself."""
    STALLED = "Stalled"
    """A person is needed: the revision in the spec was rejected, or something has to be mended."""
    PAUSED = "Paused"
    """The rollout has stopped until a person, or better evidence, lets it go on."""
    IMAGES_DIFFER = "ImagesDiffer"
    """Only there once the pods of one revision ran different images."""
    RECEIVERS_UNKNOWN = "ReceiversUnknown"
    """Only there once a receiver of notifications was named that there is not."""


class Reason(StrEnum):
    """Reasons of conditions."""

    # Available
    SERVING = "Serving"
    """Pods that get requests are ready."""
    NO_READY_PODS = "NoReadyPods"
    """No pod that gets requests is ready."""
    # Ready
    STABLE = "Stable"
    """The revision in the spec is stable and serves."""
    ROLLOUT_IN_PROGRESS = "RolloutInProgress"
    """The revision in the spec is not the stable one yet."""
    SCALING = "Scaling"
    """The stable revision has fewer ready pods than it should have."""
    # Reconciling
    SETTLED = "Settled"
    """There is nothing to do."""
    STARTING = "Starting"
    """The candidate is about to get its first share of the requests."""
    PREFLIGHT = "Preflight"
    """The candidate gets no request before the Job of `rollout.preflight` has succeeded."""
    HOLDING = "Holding"
    """The step waits for its hold and for its metrics."""
    PROMOTING = "Promoting"
    """The candidate is taking all requests."""
    RECREATING = "Recreating"
    """With `rollout.recreate`: one version's pods end before the other's start, and nobody is served."""
    WATCHING = "Watching"
    """Promoted, and watched: a failing metric returns to the revision before."""
    ROLLING_BACK = "RollingBack"
    """The candidate's requests are taken off it, then its pods go."""
    EVIDENCE_MISSING = "EvidenceMissing"
    """A metric can't be read, so that the hold stands still."""
    ROUTE_NOT_ACCEPTED = "RouteNotAccepted"
    """The gateway has not accepted the route, or (Stalled) is known not to let it in, or there is no HTTPRoute kind."""
    PODS_UNSCHEDULABLE = "PodsUnschedulable"
    """Pods of the candidate wait for a node."""
    PODS_NOT_READY = "PodsNotReady"
    """The candidate has fewer ready pods than its share needs."""
    AWAITING_APPROVAL = "AwaitingApproval"
    """A person has to approve the step."""
    # Paused
    PAUSED_BY_PERSON = "PausedByPerson"
    """The annotation `serinus.dev/pause` is set."""
    SUSPENDED = "Suspended"
    """`spec.suspend` is true: Serinus reports, and changes nothing."""
    RUNNING = "Running"
    """Nothing is paused, or the pause does not stop what is under way; the message says which."""
    # ImagesDiffer
    TAG_PUSHED_AGAIN = "TagPushedAgain"
    """Pods of one revision run different images under one tag."""
    SAME_IMAGE = "SameImage"
    """They did, and do no longer."""
    # ReceiversUnknown
    NO_SUCH_RECEIVER = "NoSuchReceiver"
    """`serinus.dev/notify` names a receiver that the operator's settings do not have."""
    RECEIVERS_KNOWN = "ReceiversKnown"
    """One that there was not was named before, and is no longer, or is there by now."""
    # Stalled
    NOT_STALLED = "NotStalled"
    """Nothing stands in the way."""
    INVALID_SPEC = "InvalidSpec"
    """The spec breaks a rule; the message names the field."""
    UNSUPPORTED = "Unsupported"
    """The spec asks for what this version does not carry out; the message names the field."""
    RESERVED_FIELD = "ReservedField"
    """`podTemplate` or `preflight.jobTemplate` sets a field that Serinus sets itself; the message names it."""
    POLICY_VIOLATED = "PolicyViolated"
    """The spec is outside the bounds of a policy; the message names the policy, the field and the bound."""
    POLICY_GONE = "PolicyGone"
    """A rollout under way has steps, an approval or a preflight of a policy that gives them no more: it keeps them, and
    waits."""
    METRIC_UNDEFINED = "MetricUndefined"
    """No policy defines a name in `analysis.sharedMetrics`, or of all that are named none decides."""
    METRIC_FAILED = "MetricFailed"
    """Rolled back: a metric was shown to be worse than allowed."""
    PREFLIGHT_FAILED = "PreflightFailed"
    """Rolled back: the Job of `rollout.preflight` failed; the candidate had no request."""
    CONTAINER_RESTARTED = "ContainerRestarted"
    """Rolled back: the candidate's containers kept restarting."""
    READINESS_LOST = "ReadinessLost"
    """Rolled back: it lost its last ready pod time and again, or had none at the end of the watch."""
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    """Rolled back: the pods were not ready in time. Of a first revision: it is kept, and may still make it."""
    UNDECIDED_TOO_LONG = "UndecidedTooLong"
    """The evidence did not suffice for `analysis.undecided.afterSeconds`: paused or rolled back, as its action says."""
    EVIDENCE_MISSING_TOO_LONG = "EvidenceMissingTooLong"
    """There was no evidence for `analysis.missing.afterSeconds`: paused or rolled back, as its action says."""
    ABORTED = "Aborted"
    """Rolled back: a person asked for it."""
    RETURNED = "Returned"
    """A person returned to another revision than the one in the spec."""
    SUPERSEDED = "Superseded"
    """The spec asks for another revision by now."""
    CONFIGURATION_MISSING = "ConfigurationMissing"
    """With `configChecksum: Auto`: a ConfigMap or Secret that `serving` names is not there."""
    CONFIGURATION_UNREADABLE = "ConfigurationUnreadable"
    """With `configChecksum: Auto`: a ConfigMap or Secret that `serving` names is not for the operator to read."""
    NAME_TAKEN = "NameTaken"
    """An object that is not ours has the name of one that is needed."""
    ADDRESS_TAKEN = "AddressTaken"
    """Another model, which came first, has the hostname and path that `traffic.gateway` asks for."""
    STATUS_LOST = "StatusLost"
    """The status is gone, and nothing says which revision is stable."""
    STATUS_UNREADABLE = "StatusUnreadable"
    """The status was written by a newer version of the operator."""
    NO_METRIC_SOURCE = "NoMetricSource"
    """The rollout is to be judged by metrics, and the operator knows no Prometheus."""
    NO_CUSTOM_METRICS = "NoCustomMetrics"
    """The autoscaler needs custom metrics, and nothing serves them."""
    GATEWAY_FEATURE_UNKNOWN = "GatewayFeatureUnknown"
    """A step asks for what the gateway is not known to do."""
    WRITE_REJECTED = "WriteRejected"
    """The API server, or a webhook, refuses an object; the message has its words."""


REASONS: Final[Mapping[ConditionType, Mapping[Reason, bool | None]]] = {
    ConditionType.AVAILABLE: {
        Reason.SERVING: True,
        Reason.NO_READY_PODS: False,
        Reason.PREFLIGHT: False,
        Reason.RECREATING: False,
        Reason.ROUTE_NOT_ACCEPTED: False,
    },
    ConditionType.READY: {
        Reason.STABLE: True,
        Reason.ROLLOUT_IN_PROGRESS: False,
        Reason.SCALING: False,
        Reason.ROUTE_NOT_ACCEPTED: False,
    },
    ConditionType.RECONCILING: {
        Reason.STARTING: True,
        Reason.PREFLIGHT: True,
        Reason.PODS_UNSCHEDULABLE: True,
        Reason.PODS_NOT_READY: True,
        Reason.ROUTE_NOT_ACCEPTED: True,
        Reason.HOLDING: True,
        Reason.EVIDENCE_MISSING: True,
        Reason.AWAITING_APPROVAL: True,
        Reason.PAUSED_BY_PERSON: True,
        Reason.SUSPENDED: True,
        Reason.PROMOTING: True,
        Reason.RECREATING: True,
        Reason.ROLLING_BACK: True,
        Reason.SCALING: True,
        Reason.WATCHING: None,
        Reason.SETTLED: False,
    },
    ConditionType.STALLED: {
        Reason.INVALID_SPEC: True,
        Reason.UNSUPPORTED: True,
        Reason.RESERVED_FIELD: True,
        Reason.POLICY_VIOLATED: True,
        Reason.POLICY_GONE: True,
        Reason.METRIC_UNDEFINED: True,
        Reason.NO_METRIC_SOURCE: True,
        Reason.NO_CUSTOM_METRICS: True,
        Reason.GATEWAY_FEATURE_UNKNOWN: True,
        Reason.ROUTE_NOT_ACCEPTED: True,
        Reason.NAME_TAKEN: True,
        Reason.ADDRESS_TAKEN: True,
        Reason.CONFIGURATION_MISSING: True,
        Reason.CONFIGURATION_UNREADABLE: True,
        Reason.WRITE_REJECTED: True,
        Reason.STATUS_LOST: True,
        Reason.STATUS_UNREADABLE: True,
        Reason.METRIC_FAILED: True,
        Reason.PREFLIGHT_FAILED: True,
        Reason.CONTAINER_RESTARTED: True,
        Reason.READINESS_LOST: True,
        Reason.PROGRESS_DEADLINE_EXCEEDED: True,
        Reason.UNDECIDED_TOO_LONG: True,
        Reason.EVIDENCE_MISSING_TOO_LONG: True,
        Reason.ABORTED: True,
        Reason.RETURNED: True,
        Reason.NOT_STALLED: False,
    },
    ConditionType.PAUSED: {
        Reason.AWAITING_APPROVAL: True,
        Reason.PAUSED_BY_PERSON: True,
        Reason.UNDECIDED_TOO_LONG: True,
        Reason.EVIDENCE_MISSING_TOO_LONG: True,
        Reason.SUSPENDED: True,
        Reason.RUNNING: False,
    },
    ConditionType.IMAGES_DIFFER: {Reason.TAG_PUSHED_AGAIN: True, Reason.SAME_IMAGE: False},
    ConditionType.RECEIVERS_UNKNOWN: {Reason.NO_SUCH_RECEIVER: True, Reason.RECEIVERS_KNOWN: False},
}
"""The reasons that each condition may have, and whether it is true with them (None: either).

While `Stalled` is true, `Ready` and `Reconciling` are false with its reason as well.
"""


class Happening(StrEnum):
    """What `status.history[].event` and the reasons of Kubernetes Events say."""

    CANDIDATE_STARTED = "CandidateStarted"
    """A revision becomes the candidate; its pods are started."""
    PREFLIGHT_STARTED = "PreflightStarted"
    """The Job of `rollout.preflight` is started against the candidate's pods."""
    PREFLIGHT_PASSED = "PreflightPassed"
    """It succeeded: the candidate may get requests."""
    FIRST_DEPLOYMENT = "FirstDeployment"
    """The very first revision is ready and takes over."""
    STEP_ENTERED = "StepEntered"
    """The candidate has the pods of a step, and gets its share."""
    COUNTING_STARTED = "CountingStarted"
    """The hold counts: the share is in force, and there is evidence. An Event only after it stood still."""
    COUNTING_STOPPED = "CountingStopped"
    """The hold stands still; the message says why."""
    PODS_LOST = "PodsLost"
    """Pods that the candidate needs are gone or not ready."""
    SLICES_FIXED = "SlicesFixed"
    """With `perSlice`: which values have a slice of their own for the rest of the rollout. No Event."""
    PODS_BACK = "PodsBack"
    """The candidate has its pods again."""
    STEPS_CHANGED = "StepsChanged"
    """The steps were edited during the rollout; the message says where it goes on."""
    EVIDENCE_BACK = "EvidenceBack"
    """Metrics can be read again."""
    WEIGHT_GIVEN_BACK = "WeightGivenBack"
    """The candidate reports again, and gets its weight back."""
    STEP_PASSED = "StepPassed"
    """A step is over."""
    AWAITING_APPROVAL = "AwaitingApproval"
    """A person has to approve before it goes on."""
    APPROVED = "Approved"
    """A person approved."""
    STEP_SKIPPED = "StepSkipped"
    """A person ended a step without its hold and verdict."""
    RECOMMENDED = "Recommended"
    """With `automation: Manual`: the evidence speaks for taking the candidate back."""
    MAKING_ROOM = "MakingRoom"
    """With `rollout.recreate`: one version's pods end, so that the other's can start."""
    PAUSED = "Paused"
    """Progress stops; the message says why."""
    RESUMED = "Resumed"
    """It goes on."""
    PROMOTED = "Promoted"
    """The candidate is the stable revision now."""
    PROMOTED_UNDECIDED = "PromotedUndecided"
    """The same, by `analysis.undecided.action: Promote`."""
    WATCH_ENDED = "WatchEnded"
    """The watch after the promotion is over without a failing metric."""
    ROLLED_BACK = "RolledBack"
    """The candidate is rejected; the message begins with the reason."""
    TRAFFIC_OFF = "TrafficOff"
    """It is confirmed that a revision gets no requests any more."""
    ROLLBACK_FINISHED = "RollbackFinished"
    """The rejected revision is gone."""
    RETURN_BEGUN = "ReturnBegun"
    """A person asked for a revision that was stable before."""
    RETURNED = "Returned"
    """That revision serves."""
    SUPERSEDED = "Superseded"
    """The spec asks for another revision: this candidate is taken back."""
    SETTLED = "Settled"
    """The spec asks for what serves: nothing counts as rejected any more."""
    RETIRED = "Retired"
    """The old revision is no longer kept warm."""
    RETRIED = "Retried"
    """A person asked to try the rejected revision again."""
    ACTION_IGNORED = "ActionIgnored"
    """An action by annotation did nothing; the message says why."""
    POLICY_GONE = "PolicyGone"
    """A policy does not hold for it any more; the message says what it gave. An Event only."""
    PUT_BACK = "PutBack"
    """Somebody changed or deleted an object by which the model serves, and it was put back. An Event only."""
    STATUS_RECOVERED = "StatusRecovered"
    """The status was lost or out of date, and was put right from what the objects say."""
    STALLED = "Stalled"
    """A person is needed; the message begins with the reason."""
