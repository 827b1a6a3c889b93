"""What stands in the way of what the spec asks for: nothing begins and nothing advances until a person has mended it.

What serves is looked after all the same, and what fails is taken back. The first that is found is told, so the order is
what people should mend first. Called by `serinus.core.decide`.
"""

from __future__ import annotations

from serinus.api.kinds import CUSTOM_METRICS_GROUP, GROUP
from serinus.api.reasons import Reason
from serinus.api.support import unsupported
from serinus.core import render
from serinus.core.autoscaling import can_scale
from serinus.core.conditions import Stall
from serinus.core.gateways import unknown_feature
from serinus.core.realise import kept_revisions
from serinus.core.rollout.policies import lost_stable, steps_ahead
from serinus.core.rollout.situation import Situation


def obstacle_to(s: Situation) -> Stall | None:
    """Why what the spec asks for can't be carried out, whatever the state of the rollout."""
    refusal, unreadable, gaps = s.observation.refusal, s.observation.unreadable, unsupported(s.spec)
    lost = _status_lost(s)
    if lost is not None:  # before all others: nothing may be written by a status that says nothing
        return lost
    if unreadable is not None:
        return Stall(Reason.INVALID_SPEC, unreadable)
    if gaps:
        return Stall(Reason.UNSUPPORTED, "; ".join(str(gap) for gap in gaps))
    outside = _outside_policies(s)
    if outside is not None:
        return outside
    if refusal is not None:
        return Stall(refusal.reason, refusal.message)
    return (
        _unknown_content(s)
        or _taken_address(s)
        or _missing_capability(s)
        or _refusing_gateway(s)
        or _unknown_feature(s)
        or _reserved(s)
    )


def _unknown_content(s: Situation) -> Stall | None:
    frozen = s.observation.frozen_by
    return Stall(frozen.reason, frozen.message) if frozen is not None and frozen.message else None


def _taken_address(s: Situation) -> Stall | None:
    taken = s.observation.taken
    if taken is None or s.spec.traffic.gateway is None:
        return None
    return Stall(Reason.ADDRESS_TAKEN, f"traffic.gateway: {taken}")


def _refusing_gateway(s: Situation) -> Stall | None:
    if s.refusing_gateway is None:
        return None
    message = f"traffic.gateway: {s.refusing_gateway}; until then requests come in where they did before"
    return Stall(Reason.ROUTE_NOT_ACCEPTED, message)


def _status_lost(s: Situation) -> Stall | None:
    if s.status.moves == 0 and s.children.replica_sets and lost_stable(s) is None:
        name = s.observation.deployment.metadata.name
        message = (
            f"the status is gone and the Service {name} does not say which revision is stable: give it the "
            f"selector serinus.dev/revision, with one of {', '.join(sorted(s.children.replica_sets))}"
        )
        return Stall(Reason.STATUS_LOST, message)
    return None


def _outside_policies(s: Situation) -> Stall | None:
    """The policies of the platform forbid what the spec says, or took back in a rollout what that began with."""
    governed = s.observation.governed
    if governed is None:
        return None
    if governed.in_the_way:
        undefined = all(each.policy is None for each in governed.in_the_way)
        reason = Reason.METRIC_UNDEFINED if undefined else Reason.POLICY_VIOLATED
        return Stall(reason, "; ".join(str(each) for each in governed.in_the_way))
    if governed.gone:
        fails = "is told" if s.only_recommends else "rolls it back"
        message = (
            f"the rollout began with {', '.join(str(each) for each in governed.gone)}, which no policy gives any more: "
            f"it waits with the requests that it has, and a failing metric {fails}; put the policy back, set "
            f"{', '.join(each.field for each in governed.gone)} in the resource, or take the candidate back with "
            f"{GROUP}/abort: {s.candidate}, after which {GROUP}/retry: {s.candidate} begins anew without"
        )
        return Stall(Reason.POLICY_GONE, message)
    return None


def _missing_capability(s: Situation) -> Stall | None:
    blue_green = s.spec.rollout.blue_green
    judged = s.spec.rollout.canary is not None or (blue_green is not None and blue_green.shadow_percent > 0)
    if judged and not s.spec.analysis.disabled and not s.observation.capabilities.metric_source:
        what = "a canary" if s.spec.rollout.canary else "blueGreen.shadowPercent"
        message = (
            f"{what} is judged by metrics and this operator has no metric source: set prometheus.url in its Helm "
            "values, use blueGreen without a shadow, or say analysis: {disabled: true}"
        )
        return Stall(Reason.NO_METRIC_SOURCE, message)
    if s.spec.traffic.gateway and not s.observation.capabilities.gateway_api:
        message = "traffic.gateway is set and the cluster has no HTTPRoute kind: install the Gateway API's CRDs"
        return Stall(Reason.ROUTE_NOT_ACCEPTED, message)
    autoscaling = s.spec.scaling.autoscaling
    if autoscaling is not None and can_scale(autoscaling, s.observation.capabilities) is False:
        message = (
            "scaling.autoscaling.targetInProgressPerPod is set and nothing serves custom metrics in this cluster: "
            f"install an adapter for {CUSTOM_METRICS_GROUP}, such as prometheus-adapter, or set targetCpuPercent"
        )
        return Stall(Reason.NO_CUSTOM_METRICS, message)
    return None


def _unknown_feature(s: Situation) -> Stall | None:
    """A step that is to come, or that the rollout is in, asks for what a gateway is not known to do."""
    gateway = s.spec.traffic.gateway
    step = next((step for step in steps_ahead(s) if step.needs - s.gateway_features), None)
    if gateway is None or step is None:
        return None
    namespace, gateways = s.observation.deployment.metadata.namespace, s.observation.capabilities.gateways
    unknown = unknown_feature(step.needs, gateway.parent_refs, namespace, gateways)
    return Stall(Reason.GATEWAY_FEATURE_UNKNOWN, f"step {step.name} waits: {unknown}")


def _reserved(s: Situation) -> Stall | None:
    try:
        if s.spec.rollout.preflight is not None:
            render.preflight_job(s.observation.deployment, s.revision, "", 0)
        if s.revision not in kept_revisions(s):
            render.pod_template(s.observation.deployment, s.revision)
    except render.ReservedField as refused:
        return Stall(Reason.RESERVED_FIELD, str(refused))
    return None
