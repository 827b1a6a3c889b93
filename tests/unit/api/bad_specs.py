"""Specs that have to be refused, by the API server (CEL and schema) and by the operator's models alike.

Used by the unit tests of the models and by the integration tests against a real API server, so that both refuse
the same things for the same reasons.
"""

from dataclasses import dataclass
from typing import Any

IMAGE = "registry.example.com/iris:1.0.0"
GATEWAY: dict[str, Any] = {"gateway": {"parentRefs": [{"name": "public"}]}}


@dataclass(frozen=True)
class BadSpec:
    """A spec, the field that is to blame, and words of the message that the API server gives."""

    title: str
    spec: dict[str, Any]
    field: str
    says: str
    is_rule: bool = True
    """Whether the message is a rule's of ours, and so the same from the models."""


def _with(**sections: Any) -> dict[str, Any]:
    return {"serving": {"image": IMAGE}, **sections}


def _serving(**fields: Any) -> dict[str, Any]:
    return {"serving": {"image": IMAGE, **fields}}


def _steps(*steps: dict[str, Any], **sections: Any) -> dict[str, Any]:
    named = [{"name": f"step-{position}", **step} for position, step in enumerate(steps)]
    return _with(rollout={"canary": {"steps": named}}, **sections)


def _metric(**fields: Any) -> dict[str, Any]:
    return _with(analysis={"metrics": [{"name": "one", "limit": {"maxPercent": "1"}, **fields}]})


def _gateway(**fields: Any) -> dict[str, Any]:
    return _with(traffic={"gateway": {"parentRefs": [{"name": "public"}], **fields}})


def _alarm(**fields: Any) -> dict[str, Any]:
    return _with(monitoring={"alarms": [{"name": "one", "limit": {"maxPercent": "1"}, **fields}]})


def _drift(**fields: Any) -> dict[str, Any]:
    return _with(monitoring={"drift": [{"name": "one", **fields}]})


def _retraining(**fields: Any) -> dict[str, Any]:
    return _with(monitoring={"retraining": fields})


RATIO = {"bad": "nulls_total{%pods%}", "total": "predictions_total{%pods%}"}

_RULES = [
    (
        "canary and blueGreen at once",
        _with(rollout={"canary": {"steps": [{"name": "a", "weightPercent": 5}]}, "blueGreen": {}}),
        "spec.rollout",
        "at most one of canary, blueGreen and recreate",
    ),
    (
        "blueGreen and recreate at once",
        _with(rollout={"blueGreen": {}, "recreate": {}}),
        "spec.rollout",
        "at most one of canary, blueGreen and recreate",
    ),
    (
        "a preflight before the candidate has pods",
        _with(rollout={"recreate": {}, "preflight": {"jobTemplate": {}}}),
        "spec.rollout.preflight",
        "preflight does not go with recreate",
    ),
    (
        "replicas beside autoscaling",
        _with(scaling={"replicas": 2, "autoscaling": {"maxReplicas": 3}}),
        "spec.scaling",
        "at most one of replicas and autoscaling",
    ),
    (
        "more replicas at least than at most",
        _with(scaling={"autoscaling": {"minReplicas": 5, "maxReplicas": 3}}),
        "spec.scaling.autoscaling.minReplicas",
        "minReplicas must not exceed maxReplicas",
    ),
    (
        "two targets of autoscaling",
        _with(scaling={"autoscaling": {"maxReplicas": 3, "targetInProgressPerPod": 8, "targetCpuPercent": 80}}),
        "spec.scaling.autoscaling",
        "at most one of targetInProgressPerPod and targetCpuPercent",
    ),
    (
        "a step that is two things",
        _steps({"weightPercent": 5, "approval": {}}),
        "spec.rollout.canary.steps[0]",
        "exactly one of weightPercent, shadowPercent, match and approval",
    ),
    (
        "a step that is nothing",
        _steps({"holdSeconds": 5}),
        "spec.rollout.canary.steps[0]",
        "exactly one of weightPercent, shadowPercent, match and approval",
    ),
    (
        "an approval with a hold",
        _steps({"approval": {}, "holdSeconds": 60}),
        "spec.rollout.canary.steps[0].holdSeconds",
        "holdSeconds does not go with approval",
    ),
    (
        "falling weights",
        _steps({"weightPercent": 50}, {"weightPercent": 5}),
        "spec.rollout.canary.steps",
        "weightPercent must rise from step to step",
    ),
    (
        "a weight twice, with an approval between",
        _steps({"weightPercent": 5}, {"approval": {}}, {"weightPercent": 5}),
        "spec.rollout.canary.steps",
        "weightPercent must rise from step to step",
    ),
    (
        "a shadow step without a gateway",
        _steps({"shadowPercent": 100}),
        "spec.rollout.canary.steps",
        "a step with shadowPercent needs traffic.gateway",
    ),
    (
        "a match step without a gateway",
        _steps({"match": {"headers": [{"name": "x-cohort", "value": "beta"}]}}),
        "spec.rollout.canary.steps",
        "a step with match needs traffic.gateway",
    ),
    (
        "a blue-green shadow without a gateway",
        _with(rollout={"blueGreen": {"shadowPercent": 50}}),
        "spec.rollout.blueGreen.shadowPercent",
        "blueGreen.shadowPercent above 0 needs traffic.gateway",
    ),
    (
        "a deadline shorter than the start-up",
        _with(rollout={"progressDeadlineSeconds": 900}) | _serving(startupSeconds=900),
        "spec.rollout.progressDeadlineSeconds",
        "must be longer than serving.startupSeconds",
    ),
    (
        "a deadline shorter than the default start-up",
        _with(rollout={"progressDeadlineSeconds": 300}),
        "spec.rollout.progressDeadlineSeconds",
        "must be longer than serving.startupSeconds (600 when unset)",
    ),
    (
        "one Gateway named twice",
        _gateway(parentRefs=[{"name": "public"}, {"name": "public", "sectionName": "http"}]),
        "spec.traffic.gateway.parentRefs",
        "parentRefs must differ",
    ),
    (
        "a path prefix that climbs",
        _gateway(pathPrefix="/models/../admin"),
        "spec.traffic.gateway.pathPrefix",
        "pathPrefix must not contain",
    ),
    (
        "a rewritten prefix with an empty element",
        _gateway(rewritePrefix="/a//b"),
        "spec.traffic.gateway.rewritePrefix",
        "rewritePrefix must not contain",
    ),
    (
        "an accelerator choice that says nothing",
        _with(placement={"accelerator": {"anyOf": [{}]}}),
        "spec.placement.accelerator.anyOf[0]",
        "needs product, minMemoryGiB or both",
    ),
    (
        "NVIDIA's labels for another maker's accelerator",
        _with(placement={"accelerator": {"resource": "amd.com/gpu", "anyOf": [{"minMemoryGiB": 40}]}}),
        "spec.placement.accelerator.anyOf",
        "needs a resource of nvidia.com/",
    ),
    (
        "a metric of two kinds",
        _metric(errors={}, ratio=RATIO),
        "spec.analysis.metrics[0]",
        "exactly one of errors, latency, ratio and value",
    ),
    (
        "a metric of no kind",
        _metric(),
        "spec.analysis.metrics[0]",
        "exactly one of errors, latency, ratio and value",
    ),
    (
        "a limit that limits nothing",
        _metric(errors={}, limit={}),
        "spec.analysis.metrics[0].limit",
        "limit needs at least one of maxPercent, maxIncreasePercent",
    ),
    (
        "a gauge's limit on a countable metric",
        _metric(errors={}, limit={"maxPercent": "1", "max": "3"}),
        "spec.analysis.metrics[0].limit",
        "limit.max is for value",
    ),
    (
        "a share as the limit of a gauge",
        _metric(value={"query": "max(memory{%pods%})"}, limit={"maxPercent": "1", "max": "3"}),
        "spec.analysis.metrics[0].limit",
        "limit.maxPercent and limit.maxIncreasePercent are for errors, latency and ratio",
    ),
    (
        "a tolerance on a gauge",
        _metric(value={"query": "max(memory{%pods%})"}, limit={"max": "3"}, tolerancePercent="1"),
        "spec.analysis.metrics[0]",
        "do not go with value",
    ),
    (
        "a limit that nothing can break",
        _metric(errors={}, limit={"maxPercent": "60"}),
        "spec.analysis.metrics[0].limit",
        "must stay below 100",
    ),
    (
        "a ratio with a function",
        _metric(ratio=RATIO | {"bad": "rate(nulls_total{%pods%}[1m])"}),
        "spec.analysis.metrics[0].ratio.bad",
        "bad must be a series selector with %pods%",
    ),
    (
        "a ratio over all pods",
        _metric(ratio=RATIO | {"total": 'predictions_total{model="%pods%"}'}),
        "spec.analysis.metrics[0].ratio.total",
        "total must be a series selector with %pods%",
    ),
    (
        "a query over all pods",
        _metric(value={"query": "max(memory)"}, limit={"max": "3"}),
        "spec.analysis.metrics[0].value.query",
        "query must contain %pods%",
    ),
    (
        "metrics that are disabled",
        _with(analysis={"disabled": True, "metrics": [{"name": "a", "errors": {}, "limit": {"maxPercent": "1"}}]}),
        "spec.analysis.disabled",
        "metrics and disabled: true exclude each other",
    ),
    (
        "metrics of which none decides",
        _metric(errors={}, mode="Observe"),
        "spec.analysis.metrics",
        "at least one with mode: Enforce",
    ),
    (
        "shared metrics that are disabled",
        _with(analysis={"disabled": True, "sharedMetrics": ["nulls"]}),
        "spec.analysis.disabled",
        "remove metrics and sharedMetrics",
    ),
    (
        "a metric of one's own with the name of a shared one",
        _with(
            analysis={
                "metrics": [{"name": "nulls", "errors": {}, "limit": {"maxPercent": "1"}}],
                "sharedMetrics": ["nulls"],
            }
        ),
        "spec.analysis.sharedMetrics",
        "must not give one name twice",
    ),
    (
        "more metrics than are judged, of one's own and shared ones together",
        _with(
            analysis={
                "metrics": [{"name": "errors", "errors": {}, "limit": {"maxPercent": "1"}}],
                "sharedMetrics": [f"shared-{number}" for number in range(20)],
            }
        ),
        "spec.analysis.sharedMetrics",
        "20 together at most",
    ),
    (
        "a start-up longer than the deadline that holds by default",
        _serving(startupSeconds=1800),
        "spec.rollout.progressDeadlineSeconds",
        "progressDeadlineSeconds must be longer than serving.startupSeconds",
    ),
    (
        "no error budget at all",
        _with(analysis={"falseRollbackPercent": "0.0"}),
        "spec.analysis.falseRollbackPercent",
        "must be above 0 and at most 50",
    ),
    (
        "an error budget like a coin",
        _with(analysis={"falsePromotionPercent": "51"}),
        "spec.analysis.falsePromotionPercent",
        "must be above 0 and at most 50",
    ),
    (
        "a limit of nothing at all",
        _metric(errors={}, limit={"maxIncreasePercent": "0"}),
        "spec.analysis.metrics[0].limit.maxIncreasePercent",
        "must be above 0 and at most 100",
    ),
    (
        "a drift monitor of two subjects",
        _drift(features=["*"], outputs=["*"]),
        "spec.monitoring.drift[0]",
        "exactly one of features, outputs and feedback",
    ),
    (
        "a fast window longer than the slow one",
        _drift(features=["*"], windows={"fastSeconds": 7200, "slowSeconds": 3600}),
        "spec.monitoring.drift[0].windows.fastSeconds",
        "fastSeconds must be shorter than slowSeconds",
    ),
    (
        "a drift effect beyond the scale",
        _drift(features=["*"], effect={"psi": "11"}),
        "spec.monitoring.drift[0].effect.psi",
        "must be above 0 and at most 10",
    ),
    (
        "false alarms without end",
        _with(monitoring={"falseAlarmsPerMonth": "1001"}),
        "spec.monitoring.falseAlarmsPerMonth",
        "must be above 0 and at most 1000",
    ),
    (
        "an alarm of no kind",
        _alarm(),
        "spec.monitoring.alarms[0]",
        "an alarm needs exactly one of errors, latency, ratio and value",
    ),
    (
        "an alarm's limit in two units",
        _alarm(errors={}, limit={"maxPercent": "1", "max": "1"}),
        "spec.monitoring.alarms[0].limit",
        "limit of an alarm needs exactly one of maxPercent",
    ),
    (
        "an alarm's limit of the other kind",
        _alarm(errors={}, limit={"max": "1"}),
        "spec.monitoring.alarms[0].limit",
        "limit.max goes with value",
    ),
    (
        "an upstream from two sources",
        _with(monitoring={"upstreams": [{"name": "a", "modelDeployment": "a", "query": "up"}]}),
        "spec.monitoring.upstreams[0]",
        "exactly one of modelDeployment and query",
    ),
    (
        "retraining in two ways",
        _retraining(cronJobName="train", webhook={"url": "https://example.com/train"}),
        "spec.monitoring.retraining",
        "exactly one of cronJobName and webhook",
    ),
    (
        "retraining for an alarm that is not there",
        _retraining(cronJobName="train", triggers=["Alarm/nulls"]),
        "spec.monitoring.retraining.triggers",
        "names an alarm that monitoring.alarms does not have",
    ),
]

_SCHEMA = [
    ("no image", {"serving": {}}, "spec.serving.image", "Required value"),
    ("no serving", {}, "spec.serving", "Required value"),
    ("an image with a blank", {"serving": {"image": "a b"}}, "spec.serving.image", "should match"),
    (
        "an unknown pull policy",
        _serving(imagePullPolicy="Sometimes"),
        "spec.serving.imagePullPolicy",
        "Unsupported value",
    ),
    ("a port beyond the last", _serving(port=70000), "spec.serving.port", "less than or equal to 65535"),
    ("a port as text", _serving(port="http"), "spec.serving.port", "must be of type integer"),
    ("no worker", _serving(bentoml={"workers": 0}), "spec.serving.bentoml.workers", "greater than or equal to 1"),
    ("a variable without name", _serving(env=[{"value": "1"}]), "spec.serving.env", "name"),
    (
        "a variable given twice",
        _serving(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
        "spec.serving.env",
        "Duplicate value",
    ),
    (
        "two steps of one name",
        _steps({"name": "a", "weightPercent": 5}, {"name": "a", "weightPercent": 6}),
        "spec.rollout.canary.steps",
        "Duplicate value",
    ),
    (
        "a canary without steps",
        _with(rollout={"canary": {"steps": []}}),
        "spec.rollout.canary.steps",
        "at least 1 items",
    ),
    (
        "a weight above all",
        _steps({"weightPercent": 101}),
        "spec.rollout.canary.steps[0].weightPercent",
        "less than or equal to 100",
    ),
    (
        "a weight of nothing",
        _steps({"weightPercent": 0}),
        "spec.rollout.canary.steps[0].weightPercent",
        "greater than or equal to 1",
    ),
    (
        "a step whose name is no label",
        _steps({"name": "Five %", "weightPercent": 5}),
        "spec.rollout.canary.steps[0].name",
        "should match",
    ),
    (
        "a match of nothing",
        _steps({"match": {"headers": []}}, traffic=GATEWAY),
        "spec.rollout.canary.steps[0].match.headers",
        "at least 1 items",
    ),
    ("a gateway without parents", _gateway(parentRefs=[]), "spec.traffic.gateway.parentRefs", "at least 1 items"),
    (
        "a hostname with a scheme",
        _gateway(hostnames=["https://a.example.com"]),
        "spec.traffic.gateway.hostnames[0]",
        "should match",
    ),
    ("an empty list of metrics", _with(analysis={"metrics": []}), "spec.analysis.metrics", "at least 1 items"),
    (
        "a limit that is a number",
        _metric(errors={}, limit={"maxPercent": 1}),
        "spec.analysis.metrics[0].limit.maxPercent",
        "must be of type string",
    ),
    (
        "a limit with a unit",
        _metric(errors={}, limit={"maxPercent": "1%"}),
        "spec.analysis.metrics[0].limit.maxPercent",
        "should match",
    ),
    (
        "a status code that is none",
        _metric(errors={"codes": ["5xx"]}),
        "spec.analysis.metrics[0].errors.codes[0]",
        "should match",
    ),
    (
        "an unknown action",
        _with(analysis={"missing": {"action": "Promote"}}),
        "spec.analysis.missing.action",
        "Unsupported value",
    ),
    ("negative replicas", _with(scaling={"replicas": -1}), "spec.scaling.replicas", "greater than or equal to 0"),
    (
        "no accelerator at all",
        _with(placement={"accelerator": {"count": 0}}),
        "spec.placement.accelerator.count",
        "greater than or equal to 1",
    ),
    (
        "an accelerator that is no extended resource",
        _with(placement={"accelerator": {"resource": "gpu"}}),
        "spec.placement.accelerator.resource",
        "should match",
    ),
    ("suspend as text", _with(suspend="yes"), "spec.suspend", "must be of type boolean"),
    ("a version that is no label value", _with(model={"version": "2.3 beta"}), "spec.model.version", "should match"),
]

BAD_SPECS = [BadSpec(*row) for row in _RULES] + [BadSpec(*row, is_rule=False) for row in _SCHEMA]
