"""Who gets which share of the requests, and how many pods that takes.

The persisted status says which share a revision *may* have; what it *gets* follows from the pods that are ready now, so
that losing the last ready pod takes the traffic off without waiting for a decision. Called by the rollout policies (is
the share in force?) and by `serinus.core.realise` (what to write).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from serinus.api import defaults
from serinus.api.gateways import GatewayFeature
from serinus.api.kinds import LABEL_REVISION
from serinus.api.reasons import Phase
from serinus.api.rollout import Automation, RequestMatch
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.status import ModelDeploymentStatus
from serinus.core.autoscaling import chosen_size
from serinus.core.observation import Children, Headers
from serinus.core.pod_ratio import in_the_way, pods_beside, selects_all, shares

SHARE_PHASES = frozenset({Phase.HOLDING, Phase.PAUSED, Phase.AWAITING_APPROVAL})
"""Phases in which the candidate has the weight of its step."""
PREVIEW = "preview"
"""Name of the step in which a blue-green candidate is held at full size before the switch."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step that a rollout goes through: one that the spec writes, or an approval that its automation asks for.

    A canary's leads requests to the candidate, by weight or by headers; the preview before a blue-green switch at most
    copies of them.
    """

    name: str
    weight_percent: int
    """Share of the requests that the candidate has in it: for an approval, that of the step before it."""
    hold_seconds: int = 0
    approval: bool = False
    """Whether it ends when a person approves it, and only then."""
    matches: tuple[Headers, ...] = ()
    """Requests with the headers of one of these go to the candidate in it: those of the step and of all before it."""
    shadow_percent: int = 0
    """Share of the requests that is also copied to the candidate in it, which answers them for nobody."""
    full_size: bool = False
    """Whether the candidate has all pods in it, however small its share."""

    @property
    def judged(self) -> bool:
        """Whether the candidate gets requests in it, by which it is judged; else by its readiness."""
        return self.compares or bool(self.matches)

    @property
    def compares(self) -> bool:
        """Whether some of these requests are like stable's, so that the two can be compared."""
        return self.weight_percent > 0 or self.shadow_percent > 0

    @property
    def needs(self) -> frozenset[GatewayFeature]:
        """What the gateway has to do for it, beside splitting requests by weight."""
        asked = {
            GatewayFeature.HEADERS: bool(self.matches),
            GatewayFeature.MIRROR: self.shadow_percent > 0,
            GatewayFeature.PERCENTAGE_MIRROR: 0 < self.shadow_percent < 100,
        }
        return frozenset(feature for feature, needed in asked.items() if needed)

    @property
    def share_in_words(self) -> str:
        """`5 %`, and which other requests the candidate gets: by the names of headers, whose values may be secrets."""
        asked = dict.fromkeys(" and ".join(name for name, _ in headers) for headers in self.matches)
        by_headers = f"requests with {' or '.join(asked)}" if self.matches else ""
        copies = f"copies of {self.shadow_percent} %" if self.shadow_percent else ""
        weight = f"{self.weight_percent} %" if self.weight_percent or not (by_headers or copies) else ""
        return ", ".join(part for part in (weight, by_headers, copies) if part)


def planned_steps(spec: ModelDeploymentSpec, *, skips_steps: bool = False) -> tuple[PlannedStep, ...]:
    """The steps in order; for an automatic blue-green rollout, which switches in one write, its preview if it has one.

    `Manual` asks before every change of the candidate's share, `Supervised` before the one that gives it all requests.
    An approval that the spec writes there is enough; else one is put in, with the name of what it stands before. Of a
    return that `skips_steps`, only the last approval is left that the automation asks for.
    """
    written = spec.rollout.canary.steps if spec.rollout.canary is not None and not skips_steps else ()
    taken = {step.name for step in written}
    blue_green = None if skips_steps else spec.rollout.blue_green
    steps: list[PlannedStep] = []
    if blue_green is not None and (blue_green.hold_seconds or blue_green.shadow_percent):
        copies = blue_green.shadow_percent
        steps.append(PlannedStep(PREVIEW, 0, blue_green.hold_seconds, shadow_percent=copies, full_size=True))
    weight = 0
    matches: tuple[Headers, ...] = ()
    for step in written:
        if step.approval is not None:
            steps.append(PlannedStep(step.name, weight, approval=True, matches=matches))
            continue
        if _asks_before(spec.rollout.automation, step.weight_percent or 0) and not _ends_with_approval(steps):
            steps.append(PlannedStep(_name_before(step.name, taken), weight, approval=True, matches=matches))
        weight = weight if step.weight_percent is None else step.weight_percent
        matches = matches if step.match is None else _with(matches, step.match)
        copies = step.shadow_percent or 0
        steps.append(PlannedStep(step.name, weight, step.hold_seconds, matches=matches, shadow_percent=copies))
    asked = _ends_with_approval(steps) or (weight == 100 and spec.rollout.automation is Automation.SUPERVISED)
    if _asks_before(spec.rollout.automation, 100) and not asked:
        steps.append(PlannedStep(_name_before("promotion", taken), weight, approval=True, matches=matches))
    return tuple(steps)


def _with(matches: tuple[Headers, ...], match: RequestMatch) -> tuple[Headers, ...]:
    headers = tuple((header.name, header.value) for header in match.headers)
    return matches if headers in matches else (*matches, headers)


def comparable_runs(steps: Sequence[PlannedStep]) -> int:
    """Runs of steps in which the candidate can be compared with stable, or can't: evidence begins so often at most."""
    judged = [step.compares for step in steps if step.judged]
    return 1 + sum(before != after for before, after in pairwise(judged))


def begins_anew(steps: Sequence[PlannedStep], index: int) -> bool:
    """Whether evidence begins anew with a step, since its requests can be compared and those before could not, or so.

    Not with an approval, which is no step of its own; nor with a step in which there are no requests.
    """
    step = steps[index]
    before = next((each for each in reversed(steps[:index]) if each.judged), None)
    if step.approval or not step.judged or before is None:
        return False
    return before.compares != step.compares


def _asks_before(automation: Automation, weight_percent: int) -> bool:
    return automation is Automation.MANUAL or (automation is Automation.SUPERVISED and weight_percent == 100)


def _ends_with_approval(steps: Sequence[PlannedStep]) -> bool:
    return bool(steps) and steps[-1].approval


def _name_before(name: str, taken: set[str]) -> str:
    """`before-half`, or where there is a step of that name, one that there is not; it is taken then."""
    before = f"before-{name}"
    if before in taken:
        return _name_before(before, taken)
    taken.add(before)
    return before


def wanted_replicas(spec: ModelDeploymentSpec, status: ModelDeploymentStatus, children: Children) -> int:
    """Pods that the revision in charge should have: those of the spec, or those that its autoscaler has chosen."""
    if spec.scaling.autoscaling is None:
        return defaults.replicas(spec.scaling.replicas)
    serving = children.replica_sets.get(status.stable.revision) if status.stable else None
    return chosen_size(spec.scaling.autoscaling, status, serving.desired if serving else 0)


def pods_for_share(replicas: int, weight_percent: int) -> int:
    """Pods that carry `weight_percent` of the traffic that `replicas` pods carry: at least one.

    None for no traffic, and none of a resource that is scaled to zero.
    """
    return math.ceil(replicas * min(weight_percent, 100) / 100)


def pods_for_weight(spec: ModelDeploymentSpec, replicas: int, weight_percent: int) -> int:
    """Pods that a candidate needs for a weight: to carry it, or where there is no gateway, to be that part of all."""
    count = pods_for_share if spec.traffic.gateway is not None else pods_beside
    return count(replicas, weight_percent)


def allowed_weights(status: ModelDeploymentStatus, steps: Sequence[PlannedStep]) -> tuple[int, ...]:
    """The candidate's weights so far in this rollout, rising; the last one is the weight that it is meant to have."""
    rollout = status.rollout
    if rollout.withdrawn:
        return (0,)
    if rollout.phase not in SHARE_PHASES and rollout.phase is not Phase.PROMOTING:
        return (0,)
    below = sorted(step.weight_percent for step in steps if step.weight_percent < rollout.weight_percent)
    switched = (100,) if rollout.phase is Phase.PROMOTING else ()
    return (0, *below, rollout.weight_percent, *switched)


def candidate_weight(spec: ModelDeploymentSpec, status: ModelDeploymentStatus, replicas: int, ready: int) -> int:
    """The largest weight, up to the one it is meant to have, that the candidate's `ready` pods can carry."""
    allowed = allowed_weights(status, planned_steps(spec))
    return max(weight for weight in allowed if pods_for_weight(spec, replicas, weight) <= ready)


def desired_split(spec: ModelDeploymentSpec, status: ModelDeploymentStatus, children: Children) -> dict[str, int]:
    """Weight in percent by revision, those without any left out; empty before there is any revision.

    While stable has no ready pod, a revision that has some takes all traffic: the previous one, which served before, or
    a candidate that is not on its way out. That is a loan: nothing advances on it. A resource that is scaled to zero
    lends nothing: nobody is to serve.
    """
    stable = status.stable.revision if status.stable else None
    candidate = status.candidate.revision if status.candidate else None
    awaits = awaits_preflight(spec, status, children)
    if stable is None:
        return _before_any_is_stable(status, children, unproven=awaits)
    replicas = wanted_replicas(spec, status, children)
    lender = _lender(status, children, unproven=candidate if awaits else None) if replicas else None
    if children.ready(stable) == 0 and lender is not None:
        return {lender: 100}
    if candidate is None:
        return {stable: 100}
    weight = candidate_weight(spec, status, replicas, children.ready(candidate))
    if spec.traffic.gateway is None and 0 < weight < 100:
        alone = {stable: 100}
        return alone if in_the_way(children, stable, candidate) else shares(children) or alone
    split = {stable: 100 - weight, candidate: weight}
    return {revision: share for revision, share in split.items() if share > 0}


def desired_matches(
    spec: ModelDeploymentSpec,
    status: ModelDeploymentStatus,
    children: Children,
    split: Mapping[str, int],
    features: frozenset[GatewayFeature],
) -> dict[str, tuple[Headers, ...]]:
    """Which requests go to the candidate by their headers, beside its part of `split`; empty where none do.

    None do where it has all requests, or no ready pod, or where stable can't serve the others; nor where a gateway is
    not known (in `features`) to lead requests by their headers.
    """
    rollout, candidate = status.rollout, status.candidate
    under_way = rollout.phase in SHARE_PHASES or rollout.phase is Phase.PROMOTING
    if candidate is None or status.stable is None or rollout.withdrawn or not under_way:
        return {}
    able = GatewayFeature.HEADERS in features and children.ready(candidate.revision) > 0
    if not able or split.get(status.stable.revision, 0) == 0:
        return {}
    steps = planned_steps(spec, skips_steps=rollout.skips_steps)
    step = next((step for step in steps if step.name == rollout.step), None)
    return {candidate.revision: step.matches} if step is not None and step.matches else {}


def desired_mirrors(
    spec: ModelDeploymentSpec,
    status: ModelDeploymentStatus,
    children: Children,
    split: Mapping[str, int],
    features: frozenset[GatewayFeature],
) -> dict[str, int]:
    """Share of the requests in percent that is copied to the candidate; empty where none is.

    None is where its ready pods can't carry the copies, and least of all where it has none: some gateways then fail the
    requests themselves. Nor where the gateways are not known (in `features`) to copy.
    """
    rollout, candidate, percent = status.rollout, status.candidate, status.rollout.shadow_percent
    if candidate is None or status.stable is None or rollout.withdrawn or rollout.phase not in SHARE_PHASES:
        return {}
    step = PlannedStep("", rollout.weight_percent, shadow_percent=percent)
    ready, replicas = children.ready(candidate.revision), wanted_replicas(spec, status, children)
    able = step.needs <= features and 0 < ready >= pods_for_share(replicas, rollout.weight_percent + percent)
    serves = split.get(status.stable.revision, 0) > 0
    return {candidate.revision: percent} if percent and able and serves else {}


def _before_any_is_stable(status: ModelDeploymentStatus, children: Children, *, unproven: bool) -> dict[str, int]:
    """The candidate, as soon as there is one; beside one that is held back or was rejected, who had them before."""
    candidate = status.candidate.revision if status.candidate else None
    if candidate is not None and not (unproven or status.rollout.phase is Phase.ROLLING_BACK):
        return {_first(candidate, children): 100}
    before = _leading(children) if candidate is not None or status.rejected else None
    return {before: 100} if before is not None else {}


def awaits_preflight(spec: ModelDeploymentSpec, status: ModelDeploymentStatus, children: Children) -> bool:
    """Whether the candidate may have no request yet, not even on loan: its preflight has not passed.

    A first revision that got requests before a preflight was asked for goes without: nobody else would answer them.
    """
    rollout, candidate = status.rollout, status.candidate
    asked = spec.rollout.preflight is not None and rollout.phase is Phase.STARTING and not rollout.skips_steps
    if not asked or candidate is None or (rollout.preflight is not None and rollout.preflight.passed_at is not None):
        return False
    return status.stable is not None or weights_in_force(children).get(candidate.revision, 0) == 0


def _leading(children: Children) -> str | None:
    """The revision to which requests are led already."""
    return next((revision for revision in weights_in_force(children) if revision in children.replica_sets), None)


def _first(candidate: str, children: Children) -> str:
    """Who serves before there is a stable revision: the candidate, or one before it until the candidate has pods."""
    serving = (revision for revision in weights_in_force(children) if children.ready(revision))
    return candidate if children.ready(candidate) else next(serving, candidate)


def _lender(status: ModelDeploymentStatus, children: Children, unproven: str | None) -> str | None:
    """Who serves in place of stable: one that passed its judgement before one that has not yet; never `unproven`."""
    candidate = status.candidate.revision if status.candidate else None
    previous = status.previous.revision if status.previous else None
    leaving = status.rollout.phase is Phase.ROLLING_BACK and weights_in_force(children).get(candidate or "", 0) == 0
    unjudged = status.rollout.phase is not Phase.PROMOTING
    lenders = (previous, candidate) if unjudged else (candidate, previous)
    held_back = {unproven, candidate if leaving else None}
    able = (each for each in lenders if each and children.ready(each) and each not in held_back)
    return next(able, None)


def weights_in_force(children: Children) -> Mapping[str, int]:
    """Weight by revision as the route has it now; without a route, what the stable Service selects."""
    if children.route is not None:
        return children.route.weights
    if selects_all(children.stable_selector):
        return shares(children)
    selected = (children.stable_selector or {}).get(LABEL_REVISION)
    return {selected: 100} if selected else {}


def requests_reach(children: Children, revision: str) -> bool:
    """Whether a revision gets requests or copies of them, as the route (or the Service) has it now."""
    beside = children.route is not None and revision in {**children.route.matches, **children.route.mirrors}
    return beside or weights_in_force(children).get(revision, 0) > 0


def split_is_confirmed(
    spec: ModelDeploymentSpec,
    children: Children,
    split: Mapping[str, int],
    matches: Mapping[str, tuple[Headers, ...]] | None = None,
    mirrors: Mapping[str, int] | None = None,
) -> bool:
    """Whether they are in force: written, and by every gateway accepted for the route as it is now.

    Nobody's share is in force as long as nothing leads to any revision.
    """
    if not split:
        return _leading(children) is None
    if spec.traffic.gateway is None:
        if len(split) > 1:
            return selects_all(children.stable_selector)
        selected = (children.stable_selector or {}).get(LABEL_REVISION)
        return selected is not None and split.get(selected) == 100
    route = children.route
    if route is None or dict(route.weights) != dict(split):
        return False
    return route.accepted and dict(route.matches) == (matches or {}) and dict(route.mirrors) == (mirrors or {})
