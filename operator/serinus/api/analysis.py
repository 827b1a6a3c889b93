"""``spec.analysis``: how a candidate is judged. Never makes a revision; read by the verdict engine and the planner."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from serinus.api.measures import Errors, Latency, Ratio, Value
from serinus.api.passthrough import KeyedBy
from serinus.api.schema import ApiModel, count_set, rule
from serinus.api.values import (
    Above,
    DnsLabel,
    Flag,
    Integer,
    Percent,
    PositiveSeconds,
    PrometheusLabel,
    SignedDecimalText,
)

MAX_METRICS: Final = 20
MAX_SLICES: Final = 20
"""Slices of a metric: 19 values, and all others."""
MAX_SLICE_VALUE: Final = 64
"""Characters of a value that can have a slice of its own: status keeps it."""

SharedMetricNames = Annotated[
    tuple[DnsLabel, ...],
    Field(min_length=1, max_length=MAX_METRICS, json_schema_extra={"x-kubernetes-list-type": "set"}),
]
ErrorBudget = Annotated[Percent, Above("0", "50")]
SharePoints = Annotated[Percent, Above("0", "100")]


class UndecidedAction(StrEnum):
    """What happens when the evidence does not suffice in time."""

    PAUSE = "Pause"
    PROMOTE = "Promote"
    ROLLBACK = "Rollback"


class MissingAction(StrEnum):
    """What happens when evidence stays away."""

    PAUSE = "Pause"
    ROLLBACK = "Rollback"


class MetricMode(StrEnum):
    """Whether a metric decides."""

    ENFORCE = "Enforce"
    OBSERVE = "Observe"


class AbsentBad(StrEnum):
    """What a missing series of bad events means while the total is there."""

    ZERO = "Zero"
    MISSING = "Missing"


class Undecided(ApiModel):
    """What to do when the evidence does not suffice in time."""

    operator_defaults = True

    after_seconds: PositiveSeconds = 3600
    """Seconds a step may stay undecided after its hold has passed, counted while its evidence is present. Default
    3600."""

    action: UndecidedAction = UndecidedAction.PAUSE
    """`Pause` (default): wait for a person. `Rollback`: reject the candidate. `Promote`: go on, given minSamples; the
    history then says PromotedUndecided."""


class Missing(ApiModel):
    """What to do when evidence stays away, as in an outage of Prometheus. The hold stands still meanwhile."""

    operator_defaults = True

    after_seconds: PositiveSeconds = 600
    """Seconds evidence may be missing. Default 600."""

    action: MissingAction = MissingAction.PAUSE
    """`Pause` (default): wait for a person; the hold goes on when the evidence is back. `Rollback`: reject the
    candidate."""


class Limit(ApiModel):
    """What is still good. Countable metrics take maxPercent, maxIncreasePercent or both; value takes max."""

    max_percent: SharePoints | None = None
    """Highest share of bad events that is still good, in percent, as a decimal string such as `"1"`."""

    max_increase_percent: SharePoints | None = None
    """Highest increase over the stable revision's share that is still good, in percentage points, as a decimal string
    such as `"0.5"`."""

    max: SignedDecimalText | None = None
    """Highest value of the query that is still good, in the query's own unit, as a decimal string such as
    `"38000"`."""

    @rule(
        "has(self.maxPercent) || has(self.maxIncreasePercent) || has(self.max)",
        "limit needs at least one of maxPercent, maxIncreasePercent (errors, latency, ratio) and max (value)",
    )
    def _limits_something(self) -> bool:
        return count_set(self.max_percent, self.max_increase_percent, self.max) > 0


class MetricLabels(ApiModel):
    """Names of the labels by which this metric's series tell pods apart."""

    pod: PrometheusLabel | None = None
    """Label that holds the pod's name, such as `exported_pod`. When unset, the operator's setting (`pod`)."""

    namespace: PrometheusLabel | None = None
    """Label that holds the namespace, such as `exported_namespace`. When unset, the operator's setting
    (`namespace`)."""


class Metric(ApiModel):
    """One measurement with its limit: exactly one of errors, latency, ratio and value."""

    name: DnsLabel
    """Name of the metric, unique in the list: in status, in Events and in the operator's own metrics."""

    errors: Errors | None = None
    """Share of failed requests, from BentoML's own counter. `{}` takes the usual status codes."""

    latency: Latency | None = None
    """Share of slow requests, from BentoML's own histogram. An answer that is not 2xx counts as slow, however quick it
    was."""

    ratio: Ratio | None = None
    """Share of bad events among all, from two counters of your own, such as null outputs."""

    value: Value | None = None
    """A gauge such as memory. Prefer a countable kind: only those come with a known chance of error."""

    limit: Limit
    """What is still good."""

    tolerance_percent: SharePoints | None = None
    """How far above its limit a candidate may lie, in percentage points, and still be promoted by mistake with no more
    than falsePromotionPercent: Pass is the proof of "below limit + tolerance". A wider tolerance needs fewer requests.
    When unset, maxPercent, or where that is unset maxIncreasePercent. Not for value."""

    min_samples: Annotated[Integer, Field(ge=1, le=100_000_000)] = 200
    """Requests (or other countable events) of the candidate without which it is neither passed nor promoted undecided.
    Default 200. Ignored by value."""

    per_slice: PrometheusLabel | None = None
    """Label whose values are judged each on its own, such as `country`, beside all requests together: a Fail of one
    fails the metric, and every one with enough requests has to pass. Which values these are, at most 19, is fixed from
    the stable revision's last hour when the evidence begins; all others are judged as one. When unset, all are judged
    together. Not for value."""

    mode: MetricMode = MetricMode.ENFORCE
    """`Enforce` (default): the metric decides. `Observe`: it is reported and decides nothing; start with many metrics
    in this mode and enforce those that prove useful."""

    labels: MetricLabels | None = None
    """Label names of this metric's series, where they differ from the operator's settings."""

    absent_bad: AbsentBad | None = None
    """What a missing `bad` series beside a present `total` means. `Zero`: nothing bad has happened yet. `Missing`: the
    evidence is missing. When unset, Zero for errors and latency, whose counters appear with their first event, and
    Missing for ratio. Not for value."""

    @rule(
        "[has(self.errors), has(self.latency), has(self.ratio), has(self.value)].filter(given, given).size() == 1",
        "a metric needs exactly one of errors, latency, ratio and value; split it into several metrics or add the one "
        "that is missing",
    )
    def _has_exactly_one_kind(self) -> bool:
        return count_set(self.errors, self.latency, self.ratio, self.value) == 1

    @rule(
        "has(self.value) || !has(self.limit.max)",
        "limit.max is for value; give errors, latency and ratio limit.maxPercent or limit.maxIncreasePercent",
        field_path=".limit",
    )
    def _countable_limit_is_share(self) -> bool:
        return self.value is not None or self.limit.max is None

    @rule(
        "!has(self.value) || !(has(self.limit.maxPercent) || has(self.limit.maxIncreasePercent))",
        "limit.maxPercent and limit.maxIncreasePercent are for errors, latency and ratio; give value limit.max",
        field_path=".limit",
    )
    def _value_limit_is_max(self) -> bool:
        return self.value is None or count_set(self.limit.max_percent, self.limit.max_increase_percent) == 0

    @rule(
        "!has(self.value) || !(has(self.tolerancePercent) || has(self.perSlice) || has(self.absentBad))",
        "tolerancePercent, perSlice and absentBad do not go with value, which is not counted; remove them",
    )
    def _value_is_not_counted(self) -> bool:
        return self.value is None or count_set(self.tolerance_percent, self.per_slice, self.absent_bad) == 0

    @rule(
        "!has(self.limit.maxPercent) || !self.limit.maxPercent.matches('^[0-9.]+$') || double(self.limit.maxPercent) + "
        "double(has(self.tolerancePercent) ? self.tolerancePercent : self.limit.maxPercent) < 100.0",
        "limit.maxPercent plus tolerancePercent (when unset, the limit once more) must stay below 100: above it there "
        "is nothing to disprove; lower one of them",
        field_path=".limit",
    )
    def _absolute_limit_can_be_passed(self) -> bool:
        if self.limit.max_percent is None:
            return True
        tolerance = self.tolerance_percent or self.limit.max_percent
        return self.limit.max_percent.decimal + tolerance.decimal < Decimal(100)


class Analysis(ApiModel):
    """How a candidate is judged."""

    operator_defaults = True

    disabled: Flag = False
    """True: promote without evidence, on readiness and holds alone; the history then says so. Default false. Not
    together with metrics or sharedMetrics."""

    interval_seconds: Annotated[Integer, Field(ge=5, le=3600)] = 15
    """Seconds between two looks at the metrics. Default 15. Looking more often costs queries, never certainty."""

    false_rollback_percent: ErrorBudget = Percent("1")
    """Chance, in percent over a whole attempt with all steps, looks and metrics, that a harmless candidate is rolled
    back; half of it is kept for the watch after promotion. Default "1". A smaller chance needs more requests until
    a bad candidate is recognised."""

    false_promotion_percent: ErrorBudget = Percent("1")
    """Chance, in percent for each metric, that a candidate at limit + tolerance is promoted. Default "1"."""

    undecided: Undecided = Undecided()
    """What to do when the evidence does not suffice in time."""

    missing: Missing = Missing()
    """What to do when evidence stays away."""

    metrics: Annotated[tuple[Metric, ...], Field(min_length=1, max_length=MAX_METRICS), KeyedBy()] | None = None
    """What is measured, with its limits. When neither metrics nor sharedMetrics is set: errors (at most 1 %, at most
    0.5 points over stable) and latency (at most 5 points more requests over 1 s than stable). To go without evidence,
    set disabled."""

    shared_metrics: SharedMetricNames | None = None
    """Names of metrics that a RolloutPolicy of the namespace or a ClusterRolloutPolicy defines, measured beside those
    of metrics. A change of the definition is a change for all who name it. Where several policies define one name, the
    namespace's own counts, and of several of one kind the first by name."""

    @rule(
        "!(has(self.disabled) && self.disabled && (has(self.metrics) || has(self.sharedMetrics)))",
        "metrics and disabled: true exclude each other; remove metrics and sharedMetrics to promote without evidence, "
        "or disabled to be judged by them",
        field_path=".disabled",
    )
    def _disabled_has_no_metrics(self) -> bool:
        return not (self.disabled and count_set(self.metrics, self.shared_metrics))

    @rule(
        "!has(self.metrics) || has(self.sharedMetrics) || self.metrics.exists(m, m.mode == 'Enforce')",
        "metrics needs at least one with mode: Enforce, or nothing would decide; set disabled: true to promote without "
        "evidence",
        field_path=".metrics",
    )
    def _something_decides(self) -> bool:
        if self.metrics is None or self.shared_metrics is not None:
            return True
        return any(metric.mode is MetricMode.ENFORCE for metric in self.metrics)

    @rule(
        "!has(self.metrics) || !has(self.sharedMetrics) || self.metrics.all(m, !(m.name in self.sharedMetrics))",
        "metrics and sharedMetrics must not give one name twice; rename the metric, or remove one of the two",
        field_path=".sharedMetrics",
    )
    def _names_differ(self) -> bool:
        return not {metric.name for metric in self.metrics or ()} & {*(self.shared_metrics or ())}

    @rule(
        f"!has(self.metrics) || !has(self.sharedMetrics) || "
        f"self.metrics.size() + self.sharedMetrics.size() <= {MAX_METRICS}",
        f"metrics and sharedMetrics must be {MAX_METRICS} together at most; remove some",
        field_path=".sharedMetrics",
    )
    def _are_not_too_many(self) -> bool:
        return len(self.metrics or ()) + len(self.shared_metrics or ()) <= MAX_METRICS
