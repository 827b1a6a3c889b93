"""``spec.rollout``: how a new revision takes over. Never makes a revision; read by the planner."""

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from serinus.api.passthrough import KeyedBy, OpenObject
from serinus.api.schema import ApiModel, count_set, rule
from serinus.api.values import DnsLabel, Integer, PositiveSeconds, Seconds

MAX_STEPS: Final = 20

SharePercent = Annotated[Integer, Field(ge=1, le=100)]


class Automation(StrEnum):
    """Who decides."""

    AUTOMATIC = "Automatic"
    SUPERVISED = "Supervised"
    MANUAL = "Manual"


class Capacity(StrEnum):
    """Where the pods of a candidate find room."""

    AUTO = "Auto"
    SURGE = "Surge"
    IN_PLACE = "InPlace"


class HeaderMatch(ApiModel):
    """One HTTP header that a request has to carry, exactly."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_|~]+$", min_length=1, max_length=256)]
    """Name of the header; upper and lower case are the same."""

    value: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    """Value of the header, compared exactly."""


class RequestMatch(ApiModel):
    """Requests that carry all of these headers go to the candidate, whatever the weights say."""

    headers: Annotated[tuple[HeaderMatch, ...], Field(min_length=1, max_length=16), KeyedBy()]
    """Headers a request has to carry, all of them."""


class Approval(ApiModel):
    """A person has to say yes. There is nothing to set."""


class Step(ApiModel):
    """One step of a canary: exactly one of weightPercent, shadowPercent, match and approval."""

    name: DnsLabel
    """Name of the step, unique in the list: in status and in Events. A step that is edited during a rollout is
    recognised by it."""

    weight_percent: SharePercent | None = None
    """Share of the requests that the candidate answers, in percent. Weights rise from step to step."""

    shadow_percent: SharePercent | None = None
    """Share of the requests that is also copied to the candidate, in percent; its answers are thrown away. Needs
    traffic.gateway, and a gateway that is known to copy requests. A shadow ends with its step. The candidate keeps the
    weight of the step before it (none before the first), and is judged by what it would have answered."""

    match: RequestMatch | None = None
    """Requests that go to the candidate by their headers, such as those of testers. Needs traffic.gateway, and a
    gateway that is known to lead requests by their headers. A match stays in force in the steps after it, until
    promotion or rollback. The candidate keeps the weight of the step before it (none before the first). Metrics are
    judged by their absolute limits: increases over stable compare requests that are alike."""

    approval: Approval | None = None
    """`{}`: wait until a person approves with the annotation `serinus.dev/approve: <revision>/<step>`, however long
    that takes. The candidate keeps the weight of the step before it (none before the first); a failing metric rolls
    back meanwhile."""

    hold_seconds: Seconds = 0
    """Least time in this step, in seconds, counted only while the route is confirmed and the evidence is present. The
    step ends when it has passed and every metric passes. Default 0. Not for approval steps."""

    @rule(
        "[has(self.weightPercent), has(self.shadowPercent), has(self.match), has(self.approval)]"
        ".filter(given, given).size() == 1",
        "a step needs exactly one of weightPercent, shadowPercent, match and approval; split it into several steps or "
        "add the one that is missing",
    )
    def _has_exactly_one_kind(self) -> bool:
        return count_set(self.weight_percent, self.shadow_percent, self.match, self.approval) == 1

    @rule(
        "!has(self.approval) || self.holdSeconds == 0",
        "holdSeconds does not go with approval: the step ends when it is approved; put the hold on a step before it",
        field_path=".holdSeconds",
    )
    def _approval_has_no_hold(self) -> bool:
        return self.approval is None or self.hold_seconds == 0


class Canary(ApiModel):
    """The candidate gets a rising share of the requests and is judged in every step."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=MAX_STEPS), KeyedBy()]
    """Steps in the order they are entered: at least one. After the last one the candidate is promoted."""

    @rule(
        "self.steps.filter(a, has(a.weightPercent)).map(a, a.weightPercent).isSorted() && "
        "self.steps.filter(a, has(a.weightPercent)).all(a, "
        "self.steps.exists_one(b, has(b.weightPercent) && b.weightPercent == a.weightPercent))",
        "weightPercent must rise from step to step: put the weight steps in rising order, no weight twice",
        field_path=".steps",
    )
    def _weights_rise(self) -> bool:
        weights = [step.weight_percent for step in self.steps if step.weight_percent is not None]
        return all(before < after for before, after in pairwise(weights))


class BlueGreen(ApiModel):
    """The candidate comes up beside the stable revision and takes all requests at once."""

    shadow_percent: Annotated[Integer, Field(ge=0, le=100)] = 0
    """Share of the requests that is copied to the candidate before the switch, in percent; its answers are thrown away.
    Needs traffic.gateway, and a gateway that is known to copy requests. The switch then waits until every metric
    passes. Default 0: no evidence before the switch, which then rests on readiness."""

    hold_seconds: Seconds = 0
    """Least time between the candidate's readiness and the switch, in seconds, in which all its pods are ready; it
    answers at the Service `<name>-candidate` meanwhile. Default 0."""


class Recreate(ApiModel):
    """The stable revision's pods go before the candidate's come. There is nothing to set."""


class Preflight(ApiModel):
    """A Job that has to succeed before the candidate gets any traffic."""

    job_template: OpenObject
    """Template of the Job, in the shape of batch/v1 JobTemplateSpec; it finds the candidate at the Service
    `<name>-candidate`, on traffic.port. A failed Job rejects the candidate, whatever the automation. Where the template
    says nothing: activeDeadlineSeconds is rollout.progressDeadlineSeconds, backoffLimit 2, restartPolicy Never, and the
    pods meet the `restricted` pod security standard. Reserved are labels and annotations of `serinus.dev`, suspend,
    selector, manualSelector, managedBy and ttlSecondsAfterFinished."""


class Rollout(ApiModel):
    """How a new revision takes over."""

    operator_defaults = True

    automation: Automation = Automation.AUTOMATIC
    """Who decides. `Automatic` (default) promotes and rolls back. `Supervised` rolls back, and waits for an approval
    before the candidate takes all requests. `Manual` only recommends: it waits for an approval before every change of
    the candidate's share, and rolls nothing back. A first revision takes over by itself."""

    canary: Canary | None = None
    """Rising shares of the requests, each judged by metrics. Without traffic.gateway the share is the candidate's part
    of all pods, beside all of the stable revision's: at least one pod, at most half of them; status says which.
    At most one of canary, blueGreen and recreate; when none is set, `blueGreen: {}`."""

    blue_green: BlueGreen | None = None
    """All requests at once, when the candidate is ready. At most one of canary, blueGreen and recreate."""

    recreate: Recreate | None = None
    """`{}`: stop the old pods first, where there is room for one revision only; users are without service until the
    candidate is ready. When it fails the old revision comes back by itself. At most one of canary, blueGreen and
    recreate."""

    preflight: Preflight | None = None
    """A Job against the candidate before it gets any traffic, such as an evaluation set or a smoke test: a first
    revision too. Each attempt runs it once; a return within rollbackWindowSeconds, and a promotion that a person asks
    for, go without. Not with recreate. When unset, readiness is enough."""

    capacity: Capacity = Capacity.AUTO
    """Where the candidate's pods find room. `Auto` (default) and `Surge`: beside the stable ones. `InPlace`, in their
    place, one by one: not carried out by this version."""

    progress_deadline_seconds: PositiveSeconds = 1800
    """Seconds the candidate may take to get the ready pods that it needs, counted from the last progress (a pod got a
    node, or became ready) while all its pods are scheduled; then it is rolled back. Has to be longer than
    serving.startupSeconds. Default 1800."""

    watch_seconds: Seconds = 300
    """Seconds after promotion in which a failing metric returns to the old revision by itself. Default 300; 0: no
    watch."""

    scale_down_delay_seconds: Seconds = 300
    """Seconds the old revision's pods stay warm after promotion, for an instant return; at least as long as the watch.
    Default 300."""

    revision_history_limit: Annotated[Integer, Field(ge=0, le=50)] = 3
    """Old revisions that are kept, scaled to zero, for a return to them. Those that were stable come first;
    others, such as rejected ones, only have the places that are left. Default 3."""

    rollback_window_seconds: Seconds = 86_400
    """Seconds within which a return to a revision that was stable skips the steps: it takes over as soon as it is
    ready, at once while it is warm. After that, and for one that failed, it goes through them. Default 86400, a day;
    0: always through the steps."""

    @rule(
        "[has(self.canary), has(self.blueGreen), has(self.recreate)].filter(given, given).size() <= 1",
        "at most one of canary, blueGreen and recreate may be set; remove the others",
    )
    def _has_at_most_one_strategy(self) -> bool:
        return count_set(self.canary, self.blue_green, self.recreate) <= 1

    @rule(
        "!has(self.preflight) || !has(self.recreate)",
        "preflight does not go with recreate, whose candidate has no pods before the stable ones are gone; use "
        "blueGreen or canary, or remove preflight",
        field_path=".preflight",
    )
    def _preflight_has_pods_to_try(self) -> bool:
        return self.preflight is None or self.recreate is None
