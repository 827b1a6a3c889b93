"""RolloutPolicy and ClusterRolloutPolicy: what a platform team asks of the ModelDeployments of others.

A policy speaks of ``spec.rollout`` and ``spec.analysis`` alone, which never make a revision. It fills in what a
resource does not set (``defaults``), says what it may set (``bounds``), defines metrics that resources refer to by name
(``metrics``), and names who is told of their rollouts (``notify``). What follows for one resource is worked out by
``serinus.core.platform``; what the API server can refuse by itself is in ``serinus.api.admission``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from serinus.api.analysis import (
    MAX_METRICS,
    Analysis,
    ErrorBudget,
    Metric,
    MissingAction,
    SharedMetricNames,
    UndecidedAction,
)
from serinus.api.deployment import Problem, read_model
from serinus.api.kinds import CLUSTER_ROLLOUT_POLICY
from serinus.api.notifications import MOST_RECEIVERS_OF_ONE
from serinus.api.passthrough import KeyedBy
from serinus.api.revision import without_nulls
from serinus.api.rollout import Automation, Rollout, SharePercent
from serinus.api.schema import ApiModel, rule
from serinus.api.values import DnsLabel, Flag, Seconds

_SET: Final = {"x-kubernetes-list-type": "set"}
_ATOMIC: Final = {"x-kubernetes-list-type": "atomic"}

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelText = Annotated[str, StringConstraints(max_length=63)]
GroupName = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class PolicyMode(StrEnum):
    """What becomes of a resource outside the bounds."""

    ENFORCE = "Enforce"
    AUDIT = "Audit"


class Strategy(StrEnum):
    """How a candidate takes over."""

    CANARY = "Canary"
    BLUE_GREEN = "BlueGreen"
    RECREATE = "Recreate"


class LabelOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(ApiModel):
    """One condition on a label."""

    key: LabelKey
    """The label's key."""

    operator: LabelOperator
    """`In` and `NotIn` compare with values, `Exists` and `DoesNotExist` do not."""

    values: Annotated[tuple[LabelText, ...], Field(max_length=64, json_schema_extra=_ATOMIC)] = ()
    """What the label's value is compared with. For In and NotIn at least one, else none."""

    @rule(
        "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
        "values go with the operators In and NotIn, which need at least one, and not with Exists and DoesNotExist; "
        "add or remove them",
        field_path=".values",
    )
    def _values_go_with_operator(self) -> bool:
        return (self.operator in {LabelOperator.IN, LabelOperator.NOT_IN}) == bool(self.values)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet the condition."""
        match self.operator:
            case LabelOperator.IN:
                return labels.get(self.key) in self.values
            case LabelOperator.NOT_IN:
                return labels.get(self.key) not in self.values
            case LabelOperator.EXISTS:
                return self.key in labels
            case LabelOperator.DOES_NOT_EXIST:
                return self.key not in labels


class NamespaceSelector(ApiModel):
    """Namespaces by their labels: all of the conditions have to be met."""

    match_labels: Annotated[dict[str, LabelText], Field(max_length=64)] = Field(default_factory=dict)
    """Labels that a namespace has to have, with these values."""

    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=64, json_schema_extra=_ATOMIC)] = ()
    """Conditions on labels of the namespace. Kubernetes labels every namespace with its own name,
    `kubernetes.io/metadata.name`."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a namespace with these labels is meant."""
        exact = all(labels.get(key) == value for key, value in self.match_labels.items())
        return exact and all(each.matches(labels) for each in self.match_expressions)


class PolicyDefaults(ApiModel):
    """What holds where a resource says nothing."""

    rollout: Rollout | None = None
    """Taken field by field where spec.rollout of a resource does not set them. canary, blueGreen and recreate are one
    field in this: the strategy."""

    analysis: Analysis | None = None
    """Taken field by field where spec.analysis of a resource does not set them. disabled, metrics and sharedMetrics
    are one field in this: what a candidate is judged by."""


class RolloutBounds(ApiModel):
    """What spec.rollout may say."""

    allowed_automation: Annotated[tuple[Automation, ...], Field(min_length=1, json_schema_extra=_SET)] | None = None
    """Values that automation may have. When unset, any."""

    allowed_strategies: Annotated[tuple[Strategy, ...], Field(min_length=1, json_schema_extra=_SET)] | None = None
    """Strategies that may be used: `Canary`, `BlueGreen`, `Recreate`. When unset, any."""

    min_hold_seconds: Seconds | None = None
    """Least holdSeconds of every step of a canary but approvals. When unset, any."""

    max_first_weight_percent: SharePercent | None = None
    """Highest weightPercent of the first step of a canary that has one. When unset, any."""

    max_weight_increase_percent: SharePercent | None = None
    """By how many points weightPercent may rise at most from one step of a canary to the next; the promotion that
    follows the last one is not counted. When unset, any."""

    min_watch_seconds: Seconds | None = None
    """Least watchSeconds. When unset, any."""

    require_approval: Flag = False
    """True: a person has to approve before a candidate takes all requests, by automation Supervised or Manual or by an
    approval as the last step. Default false."""

    approver_groups: Annotated[tuple[GroupName, ...], Field(min_length=1, max_length=32, json_schema_extra=_SET)] | (
        None
    ) = None
    """Groups whose members alone may let a candidate go on, by the annotations `serinus.dev/approve`,
    `serinus.dev/promote` and `serinus.dev/skip-step`. The API server looks at it, where the chart's value
    `rolloutPolicies.admission` is true: Serinus itself does not learn who sets an annotation. When unset, whoever may
    edit the resource."""


class AnalysisBounds(ApiModel):
    """What spec.analysis may say."""

    forbid_disabled: Flag = False
    """True: analysis.disabled may not be true. Default false."""

    required_metrics: SharedMetricNames | None = None
    """Names among the metrics of this policy that every resource has to be judged by. When unset, none."""

    allowed_undecided_actions: (
        Annotated[tuple[UndecidedAction, ...], Field(min_length=1, json_schema_extra=_SET)] | None
    ) = None
    """Values that undecided.action may have. When unset, any."""

    allowed_missing_actions: Annotated[tuple[MissingAction, ...], Field(min_length=1, json_schema_extra=_SET)] | (
        None
    ) = None
    """Values that missing.action may have. When unset, any."""

    min_false_rollback_percent: ErrorBudget | None = None
    """Lowest falseRollbackPercent, as a decimal string. When unset, any."""

    max_false_rollback_percent: ErrorBudget | None = None
    """Highest falseRollbackPercent, as a decimal string. When unset, any."""

    min_false_promotion_percent: ErrorBudget | None = None
    """Lowest falsePromotionPercent, as a decimal string. When unset, any."""

    max_false_promotion_percent: ErrorBudget | None = None
    """Highest falsePromotionPercent, as a decimal string. When unset, any."""


class PolicyBounds(ApiModel):
    """What a resource may set. Bounds are compared with what is in force, whether it was set or is a default."""

    mode: PolicyMode = PolicyMode.ENFORCE
    """`Enforce` (default): a resource outside the bounds is Stalled with the reason PolicyViolated; what serves goes
    on to serve, and nothing is rolled out until it is mended. `Audit`: it is only told in status.policies."""

    rollout: RolloutBounds = RolloutBounds()
    """What spec.rollout may say. When unset, anything."""

    analysis: AnalysisBounds = AnalysisBounds()
    """What spec.analysis may say. When unset, anything."""


class RolloutPolicySpec(ApiModel):
    """What a platform team asks of the ModelDeployments of one namespace."""

    defaults: PolicyDefaults = PolicyDefaults()
    """What holds where a resource says nothing. What a RolloutPolicy gives counts before what a ClusterRolloutPolicy
    gives; of several of one kind the first by name counts."""

    bounds: PolicyBounds = PolicyBounds()
    """What a resource may set. The bounds of all policies hold."""

    metrics: Annotated[tuple[Metric, ...], Field(max_length=MAX_METRICS), KeyedBy()] = ()
    """Definitions of metrics, which resources name in analysis.sharedMetrics."""

    notify: Annotated[tuple[DnsLabel, ...], Field(max_length=MOST_RECEIVERS_OF_ONE, json_schema_extra=_SET)] = ()
    """Receivers of notifications that are told of every resource that it holds for, beside those that the resource
    names in the annotation `serinus.dev/notify`. Ten are told of one resource at most: those of policies come first.
    The operator's settings have the receivers."""

    @rule(
        "!has(self.bounds) || !has(self.bounds.analysis) || !has(self.bounds.analysis.requiredMetrics) || "
        "(has(self.metrics) && self.bounds.analysis.requiredMetrics.all(name, "
        "self.metrics.exists(m, m.name == name)))",
        "bounds.analysis.requiredMetrics may only name metrics of the same policy; define the metric in metrics, or "
        "remove the name",
        field_path=".bounds.analysis.requiredMetrics",
    )
    def _required_metrics_are_defined(self) -> bool:
        return {*(self.bounds.analysis.required_metrics or ())} <= {metric.name for metric in self.metrics}


class ClusterRolloutPolicySpec(RolloutPolicySpec):
    """What a platform team asks of the ModelDeployments of many namespaces."""

    namespace_selector: NamespaceSelector = NamespaceSelector()
    """Namespaces that it holds in, by their labels. When unset, all of them."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy as the cluster holds it, parsed."""

    kind: str
    """`RolloutPolicy` or `ClusterRolloutPolicy`."""
    name: str
    version: str
    """What changes when the policy does: its uid and generation."""
    spec: RolloutPolicySpec
    """Where it can't be read it asks for nothing, in the namespaces that it selects, as far as that can be read."""
    problems: tuple[Problem, ...] = ()
    """What can't be read of it."""

    @classmethod
    def parse(cls, resource: Mapping[str, Any]) -> "Policy":
        """Read a policy from the JSON object that the API server sends. Unknown fields are ignored."""
        metadata = resource["metadata"]
        version = f"{metadata.get('uid', '')}/{metadata.get('generation', 0)}"
        model = ClusterRolloutPolicySpec if resource["kind"] == CLUSTER_ROLLOUT_POLICY.kind else RolloutPolicySpec
        problems: list[Problem] = []
        told = without_nulls(resource.get("spec") or {})
        spec = read_model(model, told, "spec", problems) or _for_the_same_namespaces(model, told)
        return cls(resource["kind"], metadata["name"], version, spec, tuple(problems))

    @property
    def unreadable(self) -> str:
        """Why it can't be read: nobody knows what it asks for then. Empty where it can."""
        return "; ".join(str(problem) for problem in self.problems)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def holds_in(self, namespace_labels: Mapping[str, str]) -> bool:
        """Whether it holds in a namespace with these labels; one of a namespace is only asked for its own."""
        return not isinstance(self.spec, ClusterRolloutPolicySpec) or self.spec.namespace_selector.matches(
            namespace_labels
        )


def _for_the_same_namespaces(model: type[RolloutPolicySpec], told: object) -> RolloutPolicySpec:
    """A policy without anything but the namespaces of one that can't be read: elsewhere it is in nobody's way."""
    selector = told.get("namespaceSelector") if isinstance(told, Mapping) else None
    if selector is None or model is not ClusterRolloutPolicySpec:
        return model()
    spec = read_model(model, {"namespaceSelector": selector}, "spec", [])
    return spec if spec is not None else model()
