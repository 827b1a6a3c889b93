"""What a person can do now, as commands to copy: the last lines of `kubectl serinus status`.

Called by `serinus.cli.report`.
"""

from __future__ import annotations

from typing import Final

from serinus.api.reasons import Phase, Reason
from serinus.cli.state import State
from serinus.core.rollout.actions import wants_pause
from serinus.core.rollout.situation import Situation

CURES: Final = {
    Reason.INVALID_SPEC: "correct the fields that the message names; kubectl serinus validate -f FILE checks them",
    Reason.UNSUPPORTED: "take out the field that the message names: this version does not carry it out",
    Reason.RESERVED_FIELD: "take the field that the message names out of the spec: Serinus sets it itself",
    Reason.POLICY_VIOLATED: "do what the message says, or ask the owner of the policy that it names; what serves stays",
    Reason.POLICY_GONE: "put the policy back, set the fields that the message names, or abort",
    Reason.METRIC_UNDEFINED: "name a metric that a policy defines, or give it in spec.analysis.metrics",
    Reason.NO_METRIC_SOURCE: "set the chart's prometheus.url, or use rollout.blueGreen or analysis: {disabled: true}",
    Reason.NO_CUSTOM_METRICS: "install an adapter for custom metrics, or set scaling.autoscaling.targetCpuPercent",
    Reason.GATEWAY_FEATURE_UNKNOWN: "take out the step that the message names, or name a gateway that can do it",
    Reason.ROUTE_NOT_ACCEPTED: "correct traffic.gateway as the message says; without the kind, install the Gateway API",
    Reason.NAME_TAKEN: "delete the object that the message names, or annotate it serinus.dev/adopt={name}",
    Reason.ADDRESS_TAKEN: "give this model or the one that the message names another hostname or pathPrefix",
    Reason.CONFIGURATION_MISSING: "create the ConfigMap or Secret that the message names, or make it optional",
    Reason.CONFIGURATION_UNREADABLE: "let the operator read what the message names, or set configChecksum: Ignore",
    Reason.STATUS_LOST: "see docs/recover.md: the status was lost, and nothing says which revision is stable",
    Reason.STATUS_UNREADABLE: "install the version of the operator that wrote the status again",
    Reason.WRITE_REJECTED: "mend what the message quotes: the API server refuses an object of this resource",
}
"""What to do where a person has to mend something, by the reason of the condition Stalled."""

WITHOUT_AN_OPERATOR: Final = (
    "look whether the operator runs, as the note says: until it does nothing changes, and the pods serve on",
)
"""What to do where nothing would be carried out."""


def advice(s: Situation, state: State, reason: str) -> tuple[str, ...]:
    """The most useful commands or edits in this situation, each a line; `state` and `reason` as the report has them."""
    metadata = s.observation.deployment.metadata
    where = f"{metadata.name} -n {metadata.namespace}" if metadata.namespace else metadata.name
    if s.spec.suspend:
        return ("set spec.suspend to false to go on; actions wait until then",)
    if state is State.FAILED:
        return _stalled(s, reason, where)
    if state is State.NEEDS_A_PERSON:
        return _paused(s, where)
    if s.rollout.phase is Phase.WATCHING:
        return (f"nothing; kubectl serinus abort {where} returns to {s.previous}",)
    under_way = s.candidate is not None and s.stable is not None and s.rollout.phase is not Phase.ROLLING_BACK
    return _under_way(reason, where) if under_way else ()


def _stalled(s: Situation, reason: str, where: str) -> tuple[str, ...]:
    if s.rollout.phase is Phase.REJECTED:
        return (
            "put the spec to a fix, or back to what serves",
            f"kubectl serinus retry {where}     tries {s.revision} again, where the cause was not the model",
        )
    told = CURES.get(Reason(reason)) if reason in set(Reason) else None
    return (told.replace("{name}", s.observation.deployment.metadata.name),) if told else ()


def _paused(s: Situation, where: str) -> tuple[str, ...]:
    abort = f"kubectl serinus abort {where}     rolls it back"
    if wants_pause(s):
        then = ", to the approval that it waits for" if s.awaits_approval else ""
        return (f"kubectl serinus resume {where}     goes on{then}", abort)
    if s.awaits_approval:
        return (f"kubectl serinus approve {where}     goes on", abort)
    skip = f"kubectl serinus skip-step {where}     ends this step as it is"
    return (skip, f"kubectl serinus promote {where}     gives it all requests", abort)


def _under_way(reason: str, where: str) -> tuple[str, ...]:
    look = {
        Reason.PREFLIGHT: "look at the Job that the message names",
        Reason.EVIDENCE_MISSING: "look why the metrics can't be read: Prometheus, scraping, labels; the traffic stays",
        Reason.ROUTE_NOT_ACCEPTED: "look at the gateway that the message names",
        Reason.PODS_UNSCHEDULABLE: "make room on a node that fits, or change spec.placement",
        Reason.PODS_NOT_READY: "look at the pod that the message names",
    }
    first = next((told for known, told in look.items() if known == reason), "nothing: it goes on by itself")
    return (first, f"kubectl serinus abort {where}     rolls it back")
