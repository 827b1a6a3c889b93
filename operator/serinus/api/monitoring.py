"""``spec.monitoring``: the stable revision after promotion. Never makes a revision.

This version of the operator does not carry it out yet and says so (``serinus.api.support``).
"""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from serinus.api.analysis import SharePoints
from serinus.api.measures import Errors, Gauge, Latency, PromQL, Ratio
from serinus.api.passthrough import KeyedBy
from serinus.api.schema import ApiModel, count_set, rule
from serinus.api.values import (
    Above,
    DecimalText,
    DnsLabel,
    Flag,
    ObjectName,
    PositiveSeconds,
    Seconds,
    SignedDecimalText,
)

MAX_MONITORS: Final = 20
ALARM_TRIGGER_PREFIX: Final = "Alarm/"

FeatureName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
FeatureNames = Annotated[tuple[FeatureName, ...], Field(min_length=1, max_length=256)]
Trigger = Annotated[
    str,
    StringConstraints(pattern=r"^(ConceptDrift|DataDrift|Age|Alarm/[a-z0-9]([-a-z0-9]*[a-z0-9])?)$", max_length=80),
]


class TriggerKind(StrEnum):
    """Triggers of retraining that are not alarms."""

    CONCEPT_DRIFT = "ConceptDrift"
    DATA_DRIFT = "DataDrift"
    AGE = "Age"


class DriftEffect(ApiModel):
    """Smallest shift that is worth a report."""

    psi: Annotated[DecimalText, Above("0", "10")] = DecimalText("0.1")
    """Population stability index below which a shift is never reported, as a decimal string. Default "0.1"; 0.25 is
    commonly called a large shift."""


class DriftWindows(ApiModel):
    """Spans of time that are compared with the reference."""

    slow_seconds: PositiveSeconds = 604_800
    """Window of the detector of gradual drift, in seconds. Default 604800, a week."""

    fast_seconds: PositiveSeconds = 3600
    """Window of the detector of sudden shifts, in seconds; shorter than the slow one. Default 3600."""

    @rule(
        "self.fastSeconds < self.slowSeconds",
        "fastSeconds must be shorter than slowSeconds; shorten the fast window or lengthen the slow one",
        field_path=".fastSeconds",
    )
    def _fast_is_shorter(self) -> bool:
        return self.fast_seconds < self.slow_seconds


class DriftReference(ApiModel):
    """What the windows are compared with."""

    config_map_name: ObjectName
    """ConfigMap in the same namespace with the profile of the training data."""


class DriftMonitor(ApiModel):
    """Watches for a change of what the model sees, says, or gets right: exactly one of features, outputs, feedback."""

    name: DnsLabel
    """Name of the monitor, unique in the list."""

    features: FeatureNames | None = None
    """Input features to watch, as the telemetry library declares them; `*` stands for all (data drift)."""

    outputs: FeatureNames | None = None
    """Outputs to watch, as the telemetry library declares them; `*` stands for all."""

    feedback: FeatureNames | None = None
    """Labelled feedback to watch, as the telemetry library declares it; `*` stands for all (concept drift)."""

    effect: DriftEffect = DriftEffect()
    """Smallest shift that is worth a report."""

    windows: DriftWindows = DriftWindows()
    """Spans of time that are compared with the reference."""

    reference: DriftReference | None = None
    """What the windows are compared with. When unset, the profile shipped in the container."""

    @rule(
        "[has(self.features), has(self.outputs), has(self.feedback)].filter(given, given).size() == 1",
        "a drift monitor needs exactly one of features, outputs and feedback; use one monitor for each",
    )
    def _has_exactly_one_subject(self) -> bool:
        return count_set(self.features, self.outputs, self.feedback) == 1


class AlarmLimit(ApiModel):
    """What is still good: maxPercent for errors, latency and ratio, max for value."""

    max_percent: SharePoints | None = None
    """Highest share of bad events that is still good, in percent, as a decimal string."""

    max: SignedDecimalText | None = None
    """Highest value of the query that is still good, in the query's own unit, as a decimal string."""

    @rule(
        "has(self.maxPercent) != has(self.max)",
        "limit of an alarm needs exactly one of maxPercent (errors, latency, ratio) and max (value)",
    )
    def _limits_one_thing(self) -> bool:
        return count_set(self.max_percent, self.max) == 1


class Alarm(ApiModel):
    """A limit that the stable revision has to keep: exactly one of errors, latency, ratio and value."""

    name: DnsLabel
    """Name of the alarm, unique in the list; retraining refers to it as `Alarm/<name>`."""

    errors: Errors | None = None
    """Share of failed requests, from BentoML's own counter."""

    latency: Latency | None = None
    """Share of slow requests, from BentoML's own histogram."""

    ratio: Ratio | None = None
    """Share of bad events among all, from two counters of your own."""

    value: Gauge | None = None
    """A gauge such as memory."""

    limit: AlarmLimit
    """What is still good."""

    for_seconds: Seconds = 300
    """Seconds without pause that the limit has to be broken before the alarm is raised. Default 300."""

    @rule(
        "[has(self.errors), has(self.latency), has(self.ratio), has(self.value)].filter(given, given).size() == 1",
        "an alarm needs exactly one of errors, latency, ratio and value; split it into several alarms or add the one "
        "that is missing",
    )
    def _has_exactly_one_kind(self) -> bool:
        return count_set(self.errors, self.latency, self.ratio, self.value) == 1

    @rule(
        "has(self.value) == has(self.limit.max)",
        "limit.max goes with value, limit.maxPercent with errors, latency and ratio",
        field_path=".limit",
    )
    def _limit_fits_kind(self) -> bool:
        return (self.value is not None) == (self.limit.max is not None)


class Upstream(ApiModel):
    """A component whose change this model suffers from: exactly one of modelDeployment and query."""

    name: DnsLabel
    """Name of the upstream, unique in the list; verdicts and alarms name it when it has moved."""

    model_deployment: ObjectName | None = None
    """ModelDeployment in the same namespace whose rollouts are watched."""

    query: PromQL | None = None
    """PromQL that gives a value above zero while the upstream is changing."""

    hold_promotions: Flag = False
    """True: promotions wait while the upstream is changing. Default false: it is only named."""

    @rule(
        "has(self.modelDeployment) != has(self.query)",
        "an upstream needs exactly one of modelDeployment and query; use one entry for each",
    )
    def _has_exactly_one_source(self) -> bool:
        return count_set(self.model_deployment, self.query) == 1


class Webhook(ApiModel):
    """An HTTP endpoint that starts retraining."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+(/[^\s]*)?$", max_length=2048)]
    """Address that the request to retrain is posted to."""

    secret_name: ObjectName | None = None
    """Secret in the same namespace with the key that the request is signed with. When unset, it is not signed."""


class Retraining(ApiModel):
    """What starts retraining, and how: exactly one of cronJobName and webhook."""

    triggers: Annotated[
        tuple[Trigger, ...],
        Field(min_length=1, max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = (TriggerKind.CONCEPT_DRIFT.value,)
    """What starts retraining: `ConceptDrift`, `DataDrift`, `Age` or `Alarm/<name>`. Default ConceptDrift alone: shifted
    data and age are no proof that the model has become worse."""

    cooldown_seconds: Seconds = 86_400
    """Least time between two starts of retraining, in seconds. Default 86400, a day."""

    cron_job_name: ObjectName | None = None
    """CronJob in the same namespace from whose template a Job is made."""

    webhook: Webhook | None = None
    """HTTP endpoint that starts retraining elsewhere."""

    @rule(
        "has(self.cronJobName) != has(self.webhook)",
        "retraining needs exactly one of cronJobName and webhook; remove one or add the one that is missing",
    )
    def _has_exactly_one_way(self) -> bool:
        return count_set(self.cron_job_name, self.webhook) == 1


class Monitoring(ApiModel):
    """How the stable revision is watched after promotion."""

    false_alarms_per_month: Annotated[DecimalText, Above("0", "1000")] = DecimalText("1")
    """False alarms to expect in a month, over all monitors of this resource together, as a decimal string.
    Default "1"."""

    drift: Annotated[tuple[DriftMonitor, ...], Field(max_length=MAX_MONITORS), KeyedBy()] = ()
    """Monitors of inputs, outputs and feedback."""

    alarms: Annotated[tuple[Alarm, ...], Field(max_length=MAX_MONITORS), KeyedBy()] = ()
    """Limits that the stable revision has to keep."""

    upstreams: Annotated[tuple[Upstream, ...], Field(max_length=MAX_MONITORS), KeyedBy()] = ()
    """Components whose change this model suffers from."""

    retraining: Retraining | None = None
    """What starts retraining. When unset, nothing does; the condition RetrainingNeeded still reports."""

    @rule(
        "!has(self.retraining) || self.retraining.triggers.all(t, !t.startsWith('Alarm/') || "
        "(has(self.alarms) && self.alarms.exists(a, t == 'Alarm/' + a.name)))",
        "retraining.triggers names an alarm that monitoring.alarms does not have; correct the name or add the alarm",
        field_path=".retraining.triggers",
    )
    def _triggers_exist(self) -> bool:
        if self.retraining is None:
            return True
        alarms = {ALARM_TRIGGER_PREFIX + alarm.name for alarm in self.alarms}
        named = {trigger for trigger in self.retraining.triggers if trigger.startswith(ALARM_TRIGGER_PREFIX)}
        return named <= alarms
