"""One observation, with what every policy of a rollout asks of it worked out once.

Made by `serinus.core.rollout.next_move`, read by the policies beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from serinus.api import defaults
from serinus.api.analysis import Metric, MetricMode
from serinus.api.gateways import GatewayFeature
from serinus.api.kinds import HTTP_ROUTE
from serinus.api.reasons import JudgedBy, Phase, Reason
from serinus.api.rollout import Automation
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.status import ModelDeploymentStatus, RolloutStatus
from serinus.api.traffic import GatewayTraffic
from serinus.core.addresses import gateway_in_force
from serinus.core.gateways import common_features
from serinus.core.observation import Children, Evidence, Headers, JobState, Observation, PodState
from serinus.core.pod_ratio import in_the_way
from serinus.core.readings import Missing, MissingReason
from serinus.core.sentences import counted
from serinus.core.traffic import (
    PlannedStep,
    awaits_preflight,
    desired_matches,
    desired_mirrors,
    desired_split,
    planned_steps,
    pods_for_share,
    pods_for_weight,
    split_is_confirmed,
    wanted_replicas,
    weights_in_force,
)
from serinus.core.verdicts import Fail, MetricVerdict, Pass, Verdict, VerdictKind, combine

MAX_RESTARTS = 2
"""Container restarts of a candidate after readiness that make a Fail."""
MAX_WEIGHT_LOSSES = 3
"""Losses of the last ready pod within one step that make a Fail."""


@dataclass(frozen=True)
class Situation:
    """An observation and its derived facts."""

    observation: Observation

    @property
    def route_margin(self) -> timedelta:
        """Time between a route's confirmation and its being in force in the data plane."""
        return timedelta(seconds=self.observation.margins.route_seconds)

    @property
    def drain(self) -> timedelta:
        """How long pods stay after their traffic is off."""
        return timedelta(seconds=self.observation.margins.drain_seconds)

    @property
    def rollback_drain(self) -> timedelta:
        """The same for a candidate that is taken back.

        Open connections don't follow the selector of a plain Service: they end with its pods, so these go soon.
        """
        return self.drain if self.spec.traffic.gateway is not None else self.route_margin

    @property
    def now(self) -> datetime:
        """The time of this pass."""
        return self.observation.now

    @property
    def spec(self) -> ModelDeploymentSpec:
        """What the user wants."""
        return self.observation.deployment.spec

    @property
    def status(self) -> ModelDeploymentStatus:
        """What was decided so far."""
        return self.observation.deployment.status

    @property
    def rollout(self) -> RolloutStatus:
        """Where the rollout stands."""
        return self.status.rollout

    @property
    def children(self) -> Children:
        """The objects of the resource."""
        return self.observation.children

    @property
    def revision(self) -> str:
        """The revision that the spec asks for."""
        return self.observation.deployment.revision

    @property
    def stable(self) -> str | None:
        """The revision that serves."""
        return self.status.stable.revision if self.status.stable else None

    @property
    def candidate(self) -> str | None:
        """The revision under judgement."""
        return self.status.candidate.revision if self.status.candidate else None

    @property
    def previous(self) -> str | None:
        """The revision that served before the last promotion, while it is kept warm."""
        return self.status.previous.revision if self.status.previous else None

    @cached_property
    def steps(self) -> tuple[PlannedStep, ...]:
        """The steps of a rollout, in order."""
        return planned_steps(self.spec, skips_steps=self.rollout.skips_steps)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that judge, the operator's where the spec names none."""
        return self.spec.analysis.metrics or defaults.METRICS

    @property
    def step(self) -> PlannedStep | None:
        """The current step, if the rollout is in one that the spec still has."""
        index = self.rollout.step_index
        return self.steps[index] if index is not None and index < len(self.steps) else None

    @cached_property
    def replicas(self) -> int:
        """Pods that the serving revision should have."""
        return wanted_replicas(self.spec, self.status, self.children)

    @property
    def is_rejected(self) -> bool:
        """Whether the revision in the spec was rolled back before."""
        return any(each.revision == self.revision for each in self.status.rejected)

    @cached_property
    def split(self) -> dict[str, int]:
        """The shares that should be in force."""
        return desired_split(self.spec, self.status, self.children)

    @cached_property
    def matches(self) -> dict[str, tuple[Headers, ...]]:
        """The headers by which requests should go to the candidate."""
        return desired_matches(self.spec, self.status, self.children, self.split, self.gateway_features)

    @cached_property
    def mirrors(self) -> dict[str, int]:
        """The share of the requests that should be copied to the candidate."""
        return desired_mirrors(self.spec, self.status, self.children, self.split, self.gateway_features)

    @cached_property
    def gateway(self) -> GatewayTraffic | None:
        """Where requests come in: what the spec says, or while that is not to be had, what the route has."""
        wanted = self.spec.traffic.gateway
        if wanted is None or (self.observation.taken is None and self.refusing_gateway is None):
            return wanted
        return self._gateway_of_the_route

    @cached_property
    def refusing_gateway(self) -> str | None:
        """Why requests, which come in elsewhere now, would be lost at a gateway that the spec names."""
        told, wanted = self.observation.refusing_gateway, self.spec.traffic.gateway
        if told is None or wanted is None or self.stable is None:
            return None
        there = self._gateway_of_the_route
        return told if there is not None and self._parents(there) != self._parents(wanted) else None

    @property
    def _gateway_of_the_route(self) -> GatewayTraffic | None:
        there = self.children.objects.get((HTTP_ROUTE.kind, self.observation.deployment.metadata.name))
        return gateway_in_force(there.manifest) if there is not None else None

    def _parents(self, gateway: GatewayTraffic) -> frozenset[tuple[str, str, str | None]]:
        home = self.observation.deployment.metadata.namespace
        return frozenset((each.namespace or home, each.name, each.section_name) for each in gateway.parent_refs)

    @property
    def gateway_features(self) -> frozenset[GatewayFeature]:
        """What all the gateways of the route are known to do."""
        gateway = self.gateway
        if gateway is None:
            return frozenset()
        namespace = self.observation.deployment.metadata.namespace
        return common_features(gateway.parent_refs, namespace, self.observation.capabilities.gateways)

    @property
    def matches_in_force(self) -> Mapping[str, tuple[Headers, ...]]:
        """The headers by which requests go to a revision, as the route has it now."""
        return self.children.route.matches if self.children.route is not None else {}

    @property
    def mirrors_in_force(self) -> Mapping[str, int]:
        """The share of the requests that is copied to a revision, as the route has it now."""
        return self.children.route.mirrors if self.children.route is not None else {}

    @cached_property
    def in_force(self) -> Mapping[str, int]:
        """The shares that the route (or the stable Service) has now."""
        return weights_in_force(self.children)

    @property
    def reached(self) -> frozenset[str]:
        """Revisions that get requests or copies of them, as the route (or the stable Service) is now."""
        return frozenset({*self.in_force, *self.matches_in_force, *self.mirrors_in_force})

    @cached_property
    def unknown_to_gateways(self) -> tuple[str, ...]:
        """Revisions that a route which is yet to be made would lead to, before their Services have all ready pods.

        They may serve without it now, so the route waits for the endpoints.
        """
        if self.gateway is None or self.children.route is not None:
            return ()
        reached = {**self.split, **self.matches, **self.mirrors}
        return tuple(each for each in reached if self.children.endpoints.get(each, 0) < self.children.ready(each))

    @cached_property
    def split_confirmed(self) -> bool:
        """Whether the shares that should be in force are, with the headers and the copies beside them."""
        return split_is_confirmed(self.spec, self.children, self.split, self.matches, self.mirrors)

    @property
    def stable_serves(self) -> bool:
        """Whether the stable revision is able to serve, so that the rollout may advance beside it."""
        return self.replicas == 0 or self.children.ready(self.stable) > 0

    @property
    def stable_carries_all(self) -> bool:
        """Whether stable has all its pods, and has had them until all requests can find them."""
        pods = self.children.pods_of(self.stable) if self.stable else ()
        last = max((pod.ready_since for pod in pods if pod.ready_since), default=self.now)
        ready = self.children.ready(self.stable) >= self.replicas and self.now >= last + self.route_margin
        return ready or self.replicas == 0

    @property
    def nothing_served_before(self) -> bool:
        """Whether there is nothing to protect and nothing to compare with: no stable revision, or one never ready."""
        stable = self.status.stable
        return stable is None or not (stable.ever_ready or self.children.ready(stable.revision))

    @cached_property
    def awaits_preflight(self) -> bool:
        """Whether the candidate gets no request before its preflight has passed."""
        return awaits_preflight(self.spec, self.status, self.children)

    @property
    def preflight_job(self) -> JobState | None:
        """The Job of this attempt, where it is there."""
        preflight = self.rollout.preflight
        return self.children.jobs.get(preflight.job) if preflight is not None else None

    @property
    def ready_for_preflight(self) -> bool:
        """Whether the candidate has the pods of its first share, and requests find them."""
        enough = self.children.ready(self.candidate) >= max(1, self.first_share_pods)
        return enough and self.preflight_at is not None and self.now >= self.preflight_at

    @property
    def first_share_pods(self) -> int:
        """Pods that the candidate needs before it gets any traffic."""
        if self.makes_room_first:
            return 0
        return next((self.pods_for_step(step) for step in self.steps if step.judged), self.pods_for(100))

    def pods_for_step(self, step: PlannedStep) -> int:
        """Pods that the candidate needs in a step: for weight and copies, and one at least where headers lead to it."""
        by_headers = min(1, self.replicas) if step.matches else 0
        share = 100 if step.full_size else min(100, step.weight_percent + step.shadow_percent)
        return max(by_headers, self.pods_for(share) if share else 0)

    def pods_for(self, weight_percent: int) -> int:
        """Pods that the candidate needs for a weight."""
        return pods_for_weight(self.spec, self.replicas, weight_percent)

    @property
    def shares_by_pods(self) -> bool:
        """Whether steps give the candidate a share by its part of the pods: there is no gateway."""
        return self.spec.traffic.gateway is None and any(step.weight_percent for step in self.steps)

    @property
    def in_the_way(self) -> Mapping[str, int]:
        """Pods by revision that have to go before a plain Service can lead to the candidate's beside stable's."""
        return in_the_way(self.children, self.stable, self.candidate) if self.shares_by_pods else {}

    @property
    def has_its_share(self) -> bool:
        """Whether the split gives the candidate what its step says; by pods, as near as there are pods for it."""
        share = self.split.get(self.candidate or "", 0)
        wanted = self.step.weight_percent if self.step else 0
        if self.shares_by_pods:
            return bool(share) == bool(wanted)
        by_headers = self.step.matches if self.step is not None and wanted < 100 else ()
        copies = self.step.shadow_percent if self.step is not None else 0
        candidate = self.candidate or ""
        beside = self.matches.get(candidate, ()) == by_headers and self.mirrors.get(candidate, 0) == copies
        return share == wanted and beside

    @property
    def makes_room_first(self) -> bool:
        """Whether the spec asks to stop the pods that serve before those of the candidate start."""
        return self.spec.rollout.recreate is not None and self.stable is not None

    @property
    def reachable_at(self) -> datetime | None:
        """When requests find the candidate: a pod is ready, and gateways and nodes have had time to learn of it."""
        pods = self.children.pods_of(self.candidate) if self.candidate else ()
        first = min((pod.ready_since for pod in pods if pod.ready_since), default=None)
        return first + self.route_margin if first and self.children.ready(self.candidate) else None

    @property
    def preflight_at(self) -> datetime | None:
        """When requests find the candidate at its own address, too: that is made anew as each attempt begins."""
        reachable, begun = self.reachable_at, self.rollout.started_at
        return max(reachable, begun + self.route_margin) if reachable and begun else reachable

    @property
    def last_ready_at(self) -> datetime | None:
        """When the last of the candidate's ready pods became so."""
        pods = self.children.pods_of(self.candidate) if self.candidate else ()
        return max((pod.ready_since for pod in pods if pod.ready_since), default=None)

    @property
    def has_full_size(self) -> bool:
        """Whether the candidate has the pods that all traffic takes."""
        return self.children.ready(self.candidate) >= pods_for_share(self.replicas, 100)

    @property
    def has_all_traffic(self) -> bool:
        """Whether the route, as it is written, sends all requests to the candidate."""
        return self.in_force.get(self.candidate or "", 0) == 100

    @property
    def evidence(self) -> Evidence | None:
        """A fresh evaluation that was asked for after the last move, by the metrics of the present spec."""
        evidence = self.observation.evidence
        if evidence is None or evidence.moves != self.status.moves or evidence.policies != self.policies_version:
            return None
        return evidence if evidence.generation == self.observation.deployment.metadata.generation else None

    @property
    def policies_version(self) -> str:
        """Changes with every policy of the platform that holds for the resource."""
        return self.observation.governed.version if self.observation.governed is not None else ""

    @cached_property
    def verdict(self) -> Verdict | None:
        """What all enforced metrics say together; None where there is no fresh evidence."""
        if self.evidence is None:
            return None
        return combine(self.evidence.verdicts)

    @property
    def fails(self) -> bool:
        """Whether a metric says that the judged revision is worse than allowed."""
        return isinstance(self.verdict, Fail)

    @property
    def passes(self) -> bool:
        """Whether every enforced metric passes, or the user asked for no analysis."""
        return self.spec.analysis.disabled or isinstance(self.verdict, Pass)

    @property
    def evidence_missing(self) -> bool:
        """Whether fresh evidence was asked for and could not be had."""
        return isinstance(self.verdict, Missing)

    @property
    def candidate_is_silent(self) -> bool:
        """Whether no pod of the candidate reports while stable does: it may be serving nothing, or worse."""
        silent = MissingReason.CANDIDATE_SILENT
        verdicts = (metric.verdict for metric in self.judged_metrics if metric.enforced)
        return any(isinstance(verdict, Missing) and verdict.reason is silent for verdict in verdicts)

    @property
    def judged_pods(self) -> tuple[PodState, ...]:
        """Pods of the revision under judgement: the candidate, or the stable one during its watch."""
        judged = self.candidate or (self.stable if self.rollout.phase is Phase.WATCHING else None)
        return self.children.pods_of(judged) if judged else ()

    @property
    def restarts(self) -> int:
        """Container restarts of the judged revision since its pods were first ready.

        A candidate's pod that was never seen ready has none: it may still come up. After the promotion all count.
        """
        before = {each.pod: each.before for each in self.rollout.restarts}
        known = before if self.candidate else {pod.name: 0 for pod in self.judged_pods} | before
        return sum(max(0, pod.restarts - known[pod.name]) for pod in self.judged_pods if pod.name in known)

    @property
    def paused_by_person(self) -> bool:
        """Whether a step is paused by the annotation, not because evidence is missing or undecided."""
        return self.rollout.phase is Phase.PAUSED and self.rollout.reason == Reason.PAUSED_BY_PERSON

    @property
    def awaits_approval(self) -> bool:
        """Whether a step waits for a person's approval."""
        return self.rollout.phase is Phase.AWAITING_APPROVAL

    @property
    def promoted_by_person(self) -> bool:
        """Whether the promotion under way was asked for by its name: by `promote`, or by the approval before it."""
        approved = self.step is not None and self.step.approval and self.step.name == self.rollout.step
        return approved or self.rollout.judged_by is JudgedBy.PERSON

    @property
    def only_recommends(self) -> bool:
        """Whether judgements are for people to act on: nothing is rolled back for them."""
        return self.spec.rollout.automation is Automation.MANUAL

    @property
    def held_seconds(self) -> float:
        """Seconds that the step's hold has counted until now."""
        return self.rollout.held_seconds + self.vouched_seconds

    @property
    def vouched_seconds(self) -> float:
        """Seconds for which the hold's clock has run, without those in which nobody looked.

        Where the clock was set, the last pass and the time since when the hold counts are both of the clock before.
        """
        since = self.rollout.counting_since
        if since is None:
            return 0.0
        if not self.clock_has_gap:
            return max(0.0, (self.now - since).total_seconds())
        last = self.vouched_until
        if last is None or not (self.observation.clock_stepped or last <= self.now):
            return 0.0
        return max(0.0, (last - since).total_seconds())

    @property
    def clock_has_gap(self) -> bool:
        """Whether the time since the last pass can't be vouched for: a restart, a long pause, a clock that jumped."""
        last = self.observation.previous_pass_at
        if last is None or self.observation.clock_stepped:
            return True
        elapsed = (self.now - last).total_seconds()
        return elapsed < 0 or elapsed > 2 * self.spec.analysis.interval_seconds + 5

    @property
    def vouched_until(self) -> datetime | None:
        """Until when somebody looked: this process's last pass, or the newest verdicts that an earlier one wrote."""
        written = max((metric.at for metric in self.status.analysis), default=None)
        return self.observation.previous_pass_at or written

    @property
    def needed_pods(self) -> int:
        """Ready pods that the candidate's share of the requests needs; on the way to all traffic, that of all.

        Without a share yet (it waits for an approval) those of its first one, so that it gets that at once.
        """
        if self.rollout.phase is Phase.PROMOTING:
            return self.pods_for(100)
        share = min(100, self.rollout.weight_percent + self.rollout.shadow_percent)
        pods = self.pods_for(share) if share else 0
        return max(pods, self.pods_for_step(self.step) if self.step else 0) or self.first_share_pods

    @property
    def is_short(self) -> bool:
        """Whether the candidate has fewer ready pods than its share of the requests needs."""
        return self.children.ready(self.candidate) < self.needed_pods

    @property
    def deadline_at(self) -> datetime | None:
        """When the candidate has to have its pods ready: `progressDeadlineSeconds` after the last progress.

        Progress is, as of a Deployment, that pods are wanted or lost, and that one of them got a node or became ready.
        None while a pod waits for a node (but not where the pods that served have gone for it), and while there is none
        and nothing keeps them from being made.
        """
        replica_set = self.children.replica_sets.get(self.candidate) if self.candidate else None
        if self.candidate is None or replica_set is None:
            return None
        pods = self.children.pods_of(self.candidate)
        waits_for_node = any(pod.scheduled_at is None for pod in pods) and not self.rollout.recreates
        if waits_for_node or not (pods or replica_set.failure):
            return None
        entered = self.rollout.short_since or self.rollout.step_started_at or self.rollout.started_at or self.now
        last_progress = max([entered, *(at for pod in pods for at in self._progress_of(pod))])
        return last_progress + timedelta(seconds=self.spec.rollout.progress_deadline_seconds)

    def _progress_of(self, pod: PodState) -> Iterator[datetime]:
        """When it got its node, and when it became ready: at the latest at the end of what its start-up may take.

        One that is ready since later than that was ready before. To lose and regain readiness is no progress.
        """
        if pod.scheduled_at:
            yield pod.scheduled_at
        if pod.ready_since and pod.started_at:
            startup_seconds = defaults.startup_seconds(self.spec.serving.startup_seconds)
            yield min(pod.ready_since, pod.started_at + timedelta(seconds=startup_seconds))

    @property
    def deadline_passed(self) -> bool:
        """Whether the candidate should have been ready by now."""
        return self.deadline_at is not None and self.now >= self.deadline_at

    @property
    def trouble(self) -> str:
        """Why the candidate's pods are not ready, in their own words, or what else is known of them."""
        if self.candidate is None:
            return ""
        replica_set = self.children.replica_sets.get(self.candidate)
        told = [f"pod {pod.name}: {pod.trouble}" for pod in self.children.pods_of(self.candidate) if pod.trouble]
        if replica_set and replica_set.failure:
            told.append(replica_set.failure)
        if not told and self.children.route is not None and (lags := self._lag_of(self.candidate)):
            told.append(lags)
        return "; ".join(told[:2]) or self._without_words(self.candidate)

    def _lag_of(self, revision: str) -> str | None:
        """Pods that are ready, and that gateways can't know of yet."""
        state, endpoints = self.children.replica_sets.get(revision), self.children.endpoints.get(revision, 0)
        if state is None or state.ready <= endpoints:
            return None
        of = f"{counted(endpoints, 'endpoint')} for {counted(state.ready, 'ready pod')}"
        return f"Service {state.name} has {of}: the EndpointSlice controller lags behind"

    def _without_words(self, candidate: str) -> str:
        pods, replica_set = self.children.pods_of(candidate), self.children.replica_sets.get(candidate)
        silent = next((pod for pod in pods if not pod.ready), None)
        missing = max(0, replica_set.desired - len(pods)) if replica_set else 0
        if not pods:
            return "it has no pods yet"
        if silent:
            return f"pod {silent.name} is {'not ready and does not say why' if silent.restarts else 'starting'}"
        not_made = f"{counted(missing, 'pod')} of it {'is' if missing == 1 else 'are'} not made yet"
        return not_made if missing else "all its pods are ready now"

    @property
    def route_trouble(self) -> str | None:
        """What is known against the gateway, and what that says against the route, quoted; None where nothing is."""
        if self.spec.traffic.gateway is None or self.split_confirmed:
            return None
        route = self.children.route
        if route is None:
            lags = "; ".join(told for each in self.unknown_to_gateways if (told := self._lag_of(each)))
            return f"the HTTPRoute is not there yet{': ' if lags else ''}{lags}"
        known = None if self.refusing_gateway is not None else self.observation.refusing_gateway  # else of another
        refused = [each for each in route.parents if not each.accepted]
        said = [each.message for each in refused if each.answered or not known]  # what is known explains a silence
        return "; ".join([known, *said] if known else said) or "the gateway has not confirmed the newest weights yet"

    @property
    def judged_metrics(self) -> tuple[MetricVerdict, ...]:
        """The newest verdicts, if fresh."""
        return self.evidence.verdicts if self.evidence else ()

    def evidence_in_words(self, *kinds: VerdictKind) -> str:
        """What the newest verdicts of the metrics that decide say; of these kinds, or of all."""
        if self.evidence is not None:
            told = [(metric.kind.value, metric.message) for metric in self.judged_metrics if metric.enforced]
        else:
            enforced = (metric for metric in self.status.analysis if metric.mode == MetricMode.ENFORCE)
            told = [(metric.verdict, metric.message) for metric in enforced]
        return "; ".join(message for kind, message in told if message and (not kinds or kind in kinds))

    @property
    def retire_at(self) -> datetime | None:
        """When the previous revision's pods may go; None while requests go to them.

        That is after the longer of watch and scale-down delay, and a drain after it last had traffic: when it switched
        over, or when a pod of stable became ready and ended a loan.
        """
        previous = self.status.previous
        if previous is None or previous.since is None or self.previous in {*self.in_force, *self.split}:
            return None
        rollout = self.spec.rollout
        warm = max(rollout.watch_seconds, rollout.scale_down_delay_seconds, self.drain.total_seconds())
        stable_pods = self.children.pods_of(self.stable) if self.stable else ()
        serves_since = min((pod.ready_since for pod in stable_pods if pod.ready_since), default=previous.since)
        return max(previous.since + timedelta(seconds=warm), serves_since + self.drain)

    @property
    def released_at(self) -> datetime | None:
        """When revisions that have no role any more may lose their pods.

        One that served on loan loses its role and its traffic with a promotion, so that is a drain after the last one.
        """
        since = self.status.stable.since if self.status.stable else None
        return None if since is None else since + self.drain

    @property
    def leftovers(self) -> tuple[str, ...]:
        """Revisions without a role that have pods."""
        roles = {self.stable, self.candidate, self.previous}
        sets = self.children.replica_sets
        return tuple(revision for revision, state in sets.items() if revision not in roles and state.desired)

    @property
    def may_retire(self) -> bool:
        """Whether the previous revision has been warm for long enough."""
        return self.retire_at is not None and self.now >= self.retire_at

    @property
    def watch_ends_at(self) -> datetime | None:
        """When the watch after a promotion is over."""
        since = self.rollout.step_started_at
        return since + timedelta(seconds=self.spec.rollout.watch_seconds) if since else None
