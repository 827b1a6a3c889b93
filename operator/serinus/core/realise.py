"""From the persisted status to the writes that make the children so.

Everything is computed from what was decided before (status), never from what is being decided; a pass that realises
decides nothing. The order of the intents is the safety order: the route first, as soon as all that it leads to is there
(so that a write that is refused never keeps the traffic on pods that are dead or failing), then what has to exist, then
sizes up, then sizes down, then deletions. Called by `serinus.core.decide`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from serinus.api.kinds import (
    ANNOTATION_MOVES,
    AUTOSCALER,
    CONTROLLER_REVISION,
    DISRUPTION_BUDGET,
    HTTP_ROUTE,
    JOB,
    LABEL_REVISION,
    LABEL_ROLE,
    NETWORK_POLICY,
    POD_MONITOR,
    REPLICA_SET,
    ROLE_CANDIDATE,
    SERVICE,
    Kind,
)
from serinus.api.reasons import Phase
from serinus.api.revision import candidate_service_name, child_name, network_policy_name, revision_of_child
from serinus.core import render
from serinus.core.autoscaling import bounds, can_scale
from serinus.core.diff import covers
from serinus.core.observation import ChildObject
from serinus.core.plan import Apply, Create, Delete, Intent, Manifest, Scale
from serinus.core.pod_ratio import selects_all
from serinus.core.rollout import recreate
from serinus.core.rollout.situation import Situation
from serinus.core.traffic import pods_for_share

WAITING_PHASES = frozenset({Phase.PAUSED, Phase.AWAITING_APPROVAL})
"""Phases that wait for a person."""


def intents(s: Situation) -> tuple[Intent, ...]:
    """The writes that are missing between the children as observed and as the status wants them."""
    kept = kept_revisions(s)
    records = _records(s, kept)
    objects = [intent for revision, record in records.items() for intent in _objects_of(s, revision, record)]
    backends = _revision_services(s, kept, records)
    route = _route(s, kept)
    route_first = _backends_are_there(s)
    return (
        *(route if route_first else []),
        *objects,
        *backends,
        *_shared_services(s),
        *([] if route_first else route),
        *_preflight(s),
        *_autoscaler(s),
        *_scales(s),
        *_deletions(s, kept),
        *_pod_monitor(s),
        *_disruption_budgets(s, records),
        *_network_policy(s),
    )


@dataclass(frozen=True, slots=True)
class KeptRevision:
    """A ControllerRevision of the resource, and the age of its revision."""

    revision: str
    ordinal: int
    manifest: Manifest


def kept_revisions(s: Situation) -> dict[str, KeptRevision]:
    """The ControllerRevisions that are there, by revision."""
    deployment = s.observation.deployment.metadata.name
    found: dict[str, KeptRevision] = {}
    for (kind, name), child in s.children.objects.items():
        revision = revision_of_child(deployment, name)
        if kind == CONTROLLER_REVISION.kind and revision is not None:
            found[revision] = KeptRevision(revision, int(child.manifest.get("revision", 0)), child.manifest)
    return found


def target_replicas(s: Situation) -> dict[str, int]:
    """How many pods each revision should have now, for every revision that has a role or a ReplicaSet."""
    targets = {revision: _unused_target(s, revision) for revision in s.children.replica_sets}
    if s.previous:
        targets[s.previous] = max(s.replicas, _observed_replicas(s, s.previous)) if s.replicas else 0
    if s.stable:
        targets[s.stable] = s.replicas
    if s.candidate:
        targets[s.candidate] = _candidate_target(s, s.candidate)
    return targets | recreate.targets(s) if s.rollout.recreates else targets


def _candidate_target(s: Situation, candidate: str) -> int:
    """What its share needs, and never less than what the traffic that it may still have needs."""
    if s.stable is None:
        return s.replicas
    match s.rollout.phase:
        case Phase.ROLLING_BACK:
            return _observed_replicas(s, candidate)
        case Phase.STARTING:
            wanted = s.first_share_pods
        case Phase.PROMOTING:
            wanted = pods_for_share(s.replicas, 100)
        case _:
            wanted = s.needed_pods
    shared = s.children.route is None and selects_all(s.children.stable_selector)
    carries = 0 if shared else pods_for_share(s.replicas, s.in_force.get(candidate, 0))
    if s.children.route is None and not s.stable_carries_all:
        carries = max(carries, _observed_replicas(s, candidate))
    if s.split_confirmed or s.replicas == 0:
        return max(wanted, carries)
    return max(wanted, carries, _observed_replicas(s, candidate))


def _unused_target(s: Situation, revision: str) -> int:
    """None, once its traffic is confirmed to be elsewhere, and what of it was under way has had its time.

    A status that knows of no revision takes none down.
    """
    knows_any = s.stable or s.candidate or s.status.rejected
    relieved = knows_any and revision not in s.in_force and revision not in s.split and s.split_confirmed
    waits = s.released_at is not None and s.now < s.released_at and s.children.ready(revision)
    return 0 if relieved and not waits else _observed_replicas(s, revision)


def _observed_replicas(s: Situation, revision: str) -> int:
    state = s.children.replica_sets.get(revision)
    return state.desired if state else 0


def _revisions(s: Situation) -> tuple[str, ...]:
    """Revisions that must have all their objects: those with a role."""
    roles = (s.stable, s.candidate, s.previous)
    return tuple(dict.fromkeys(revision for revision in roles if revision))


def _records(s: Situation, kept: Mapping[str, KeptRevision]) -> dict[str, Manifest]:
    """The ControllerRevision of each revision with a role, as it is or as it is to be made, where it can be."""
    found = {
        revision: kept[revision].manifest if revision in kept else _new_record(s, revision, kept)
        for revision in _revisions(s)
    }
    return {revision: record for revision, record in found.items() if record is not None}


def _objects_of(s: Situation, revision: str, record: Manifest) -> Iterable[Intent]:
    deployment, moves = s.observation.deployment, s.status.moves
    name = child_name(deployment.metadata.name, revision)
    kept_record = _observed(s, CONTROLLER_REVISION, name)
    if kept_record is None:
        yield Create(CONTROLLER_REVISION, record)
    else:
        yield from _put_back(
            CONTROLLER_REVISION, kept_record, render.kept_revision(deployment, revision, record, moves)
        )
    template = render.template_of(record)
    observed = _observed(s, REPLICA_SET, name)
    if observed is None:
        replicas = target_replicas(s).get(revision, 0)
        yield Create(REPLICA_SET, render.replica_set(deployment, revision, template, replicas, moves))
    else:
        yield from _put_back(REPLICA_SET, observed, render.replica_set(deployment, revision, template, None, moves))


def _revision_services(s: Situation, kept: Mapping[str, KeptRevision], records: Mapping[str, Manifest]) -> list[Intent]:
    """The backends of the route, where there is one or is to be one: each Service costs the cluster a dozen writes.

    Those that are there are kept up, until the history lets their revision go: somebody may call them, and a gateway
    that is taken away may come back.
    """
    deployment, moves = s.observation.deployment, s.status.moves
    serving = {revision: kept[revision].manifest for revision in s.split if revision in kept}
    routed = s.spec.traffic.gateway is not None or s.children.route is not None
    found: list[Intent] = []
    for revision, record in {**records, **serving}.items():
        template = render.template_of(record)
        service = render.revision_service(deployment, revision, moves=moves, template=template)
        if routed or _observed(s, SERVICE, service["metadata"]["name"]) is not None:
            found += _ensure(s, SERVICE, service)
    return found


def _new_record(s: Situation, revision: str, kept: Mapping[str, KeptRevision]) -> Manifest | None:
    """The ControllerRevision that a revision lacks: rendered for the spec's, else restored from the ReplicaSet."""
    deployment, moves = s.observation.deployment, s.status.moves
    ordinal = max((each.ordinal for each in kept.values()), default=0) + 1
    if revision == s.revision:
        return render.controller_revision(deployment, revision, ordinal, moves)
    replica_set = _observed(s, REPLICA_SET, child_name(deployment.metadata.name, revision))
    if replica_set is None:
        return None
    return render.restored_revision(deployment, revision, ordinal, moves, replica_set.manifest["spec"]["template"])


def _shared_services(s: Situation) -> Iterable[Intent]:
    deployment, moves = s.observation.deployment, s.status.moves
    match _stable_service_revisions(s):
        case ():
            pass
        case (only,):
            yield from _ensure(s, SERVICE, render.stable_service(deployment, only, moves))
        case _:
            yield from _ensure(s, SERVICE, render.shared_service(deployment, s.stable or "", moves))
    candidate = _candidate_service_revision(s)
    if candidate is not None:
        yield from _ensure(s, SERVICE, render.candidate_service(deployment, candidate, moves))


def _stable_service_revisions(s: Situation) -> tuple[str, ...]:
    """Whose pods the stable address leads to: without a gateway, those of all that have a share.

    Until a gateway that is new can lead to whoever has all of it, this address does.
    """
    if s.spec.traffic.gateway is None or (s.unknown_to_gateways and len(s.split) == 1):
        return tuple(s.split)
    serving = s.stable or next(iter(s.split), None)
    return (serving,) if serving else ()


def _candidate_service_revision(s: Situation) -> str | None:
    """The candidate, if somebody may want to try it: a Service costs a dozen writes, most of them by controllers.

    That is where the rollout gives people or a Job the time for it, before or beside the users' requests. What is there
    stays until the candidate goes. Before there is a stable revision, the stable address leads to the candidate, unless
    a preflight comes first.
    """
    if s.candidate is None or (s.stable is None and s.spec.rollout.preflight is None):
        return None
    time_to_try = any(step.approval or not step.weight_percent for step in s.steps)
    to_be_tried = time_to_try or s.spec.rollout.preflight is not None or s.rollout.phase in WAITING_PHASES
    made = _observed(s, SERVICE, candidate_service_name(s.observation.deployment.metadata.name)) is not None
    return s.candidate if to_be_tried or made else None


def _route(s: Situation, kept: Mapping[str, KeptRevision]) -> list[Intent]:
    if s.gateway is None or not s.split or not s.observation.capabilities.gateway_api or s.unknown_to_gateways:
        return []
    wanted = render.http_route(
        s.observation.deployment,
        s.split,
        s.status.moves,
        _request_timeout_seconds(s, kept),
        matches=s.matches,
        mirrors=s.mirrors,
        gateway=s.gateway,
    )
    return list(_ensure(s, HTTP_ROUTE, wanted))


def _request_timeout_seconds(s: Situation, kept: Mapping[str, KeptRevision]) -> int | None:
    """The longest request timeout of the revisions that serve: a new spec never cuts off what the stable one allows."""
    records = [kept[revision].manifest for revision in {**s.split, **s.matches} if revision in kept]
    return max((render.request_timeout_of(record) for record in records), default=None)


def _backends_are_there(s: Situation) -> bool:
    """Whether every revision that is to get requests, or copies of them, has its Service."""
    name = s.observation.deployment.metadata.name
    return all(
        _observed(s, SERVICE, child_name(name, revision)) is not None
        for revision in {**s.split, **s.matches, **s.mirrors}
    )


def _preflight(s: Situation) -> Iterable[Intent]:
    """The Job of this attempt, as soon as it finds the candidate at its Service, and only once.

    A template that is refused makes none, and keeps nothing else from being done: the conditions tell of it.
    """
    deployment, preflight = s.observation.deployment, s.rollout.preflight
    if not s.awaits_preflight or preflight is None or s.preflight_job is not None or s.candidate is None:
        return
    service = _observed(s, SERVICE, candidate_service_name(deployment.metadata.name))
    leads_to = (service.manifest["spec"].get("selector") or {}).get(LABEL_REVISION) if service is not None else None
    if leads_to == s.candidate:
        with suppress(render.ReservedField):
            yield Create(JOB, render.preflight_job(deployment, s.candidate, preflight.job, s.status.moves))


def _kept_jobs(s: Situation) -> frozenset[str]:
    """Jobs that stay: that of this attempt, unless it runs for nothing, and of each rejected revision the newest."""
    by_age = sorted(s.children.jobs.values(), key=lambda job: s.children.objects[JOB.kind, job.name].moves)
    rejected = {each.revision for each in s.status.rejected}
    kept = {job.revision: job.name for job in by_age if job.revision in rejected and job.finished}
    current = s.preflight_job
    needed = current is not None and (current.finished or s.awaits_preflight)
    return frozenset(kept.values()) | ({current.name} if current is not None and needed else set())


def _autoscaler(s: Situation) -> Iterable[Intent]:
    """That of the stable revision, where the spec leaves its size to one; it goes before the size is set here again."""
    deployment, autoscaling = s.observation.deployment, s.spec.scaling.autoscaling
    name = deployment.metadata.name
    there = _observed(s, AUTOSCALER, name)
    if autoscaling is None:
        if there is not None:
            yield Delete(AUTOSCALER, name, there.uid)
    elif s.stable is not None and (there is not None or can_scale(autoscaling, s.observation.capabilities)):
        wanted = render.autoscaler(deployment, autoscaling, s.stable, bounds(autoscaling, s.status), s.status.moves)
        yield from _ensure(s, AUTOSCALER, wanted)


def _scales(s: Situation) -> Iterable[Intent]:
    ups: list[Intent] = []
    downs: list[Intent] = []
    for revision, target in target_replicas(s).items():
        state = s.children.replica_sets.get(revision)
        if state is None or state.desired == target:
            continue
        scale = Scale(state.name, target, state.resource_version)
        (ups if target > state.desired else downs).append(scale)
    return (*ups, *downs)


def _deletions(s: Situation, kept: Mapping[str, KeptRevision]) -> Iterable[Intent]:
    kept_jobs = _kept_jobs(s)
    for (kind, name), child in s.children.objects.items():
        if kind == JOB.kind and name not in kept_jobs:
            yield Delete(JOB, name, child.uid)
        role = child.manifest["metadata"].get("labels", {}).get(LABEL_ROLE)
        if kind == SERVICE.kind and role == ROLE_CANDIDATE and _candidate_service_revision(s) is None:
            yield Delete(SERVICE, name, child.uid)
        if kind == HTTP_ROUTE.kind and s.spec.traffic.gateway is None:
            yield Delete(HTTP_ROUTE, name, child.uid)
    for revision in _beyond_history(s, kept):
        name = child_name(s.observation.deployment.metadata.name, revision)
        for owned in (SERVICE, REPLICA_SET, CONTROLLER_REVISION):
            observed = _observed(s, owned, name)
            if observed is not None:
                yield Delete(owned, name, observed.uid)


def _beyond_history(s: Situation, kept: Mapping[str, KeptRevision]) -> tuple[str, ...]:
    """Revisions without a role, pods or traffic that are beyond the history that is kept.

    Those that were stable have its places first, the newest before older ones. Others, mostly rejected ones, have what
    is left of them.
    """
    in_use = {*_revisions(s), s.revision, *s.in_force, *s.split}
    served = {each.revision: place for place, each in enumerate(s.status.retired)}
    loose = {revision for revision in {*kept, *s.children.replica_sets} if revision not in in_use}

    def place(revision: str) -> tuple[int, int, str]:
        newest_first = -kept[revision].ordinal if revision in kept else 0
        return served.get(revision, len(served)), newest_first, revision

    return tuple(
        revision
        for revision in sorted(loose, key=place)[s.spec.rollout.revision_history_limit :]
        if _observed_replicas(s, revision) == 0 and not s.children.pods_of(revision)
    )


def _pod_monitor(s: Situation) -> Iterable[Intent]:
    if s.observation.capabilities.pod_monitor:
        yield from _ensure(s, POD_MONITOR, render.pod_monitor(s.observation.deployment, s.status.moves))


def _disruption_budgets(s: Situation, records: Mapping[str, Manifest]) -> Iterable[Intent]:
    """One for each revision that serves or may have to; it goes when the revision has neither a role nor pods.

    That of a candidate comes with its second pod: one that may be unavailable guards nothing while there is only one.
    """
    deployment, moves = s.observation.deployment, s.status.moves
    wanted = s.observation.capabilities.safeguards.disruption_budgets
    for revision, record in (records if wanted else {}).items():
        budget = render.disruption_budget(deployment, revision, moves, render.template_of(record))
        is_there = _observed(s, DISRUPTION_BUDGET, budget["metadata"]["name"]) is not None
        if revision != s.candidate or is_there or _has_several_pods(s, revision):
            yield from _ensure(s, DISRUPTION_BUDGET, budget)
    for (kind, name), child in s.children.objects.items():
        revision = revision_of_child(deployment.metadata.name, name) or ""
        idle = revision not in _revisions(s) and _observed_replicas(s, revision) == 0
        if kind == DISRUPTION_BUDGET.kind and (idle or not wanted):
            yield Delete(DISRUPTION_BUDGET, name, child.uid)


def _has_several_pods(s: Situation, revision: str) -> bool:
    """Whether a revision has, or is to have, more than one pod."""
    return max(target_replicas(s).get(revision, 0), _observed_replicas(s, revision)) > 1


def _network_policy(s: Situation) -> Iterable[Intent]:
    """One for all pods of the resource, and so for all of its revisions."""
    deployment, safeguards = s.observation.deployment, s.observation.capabilities.safeguards
    name = network_policy_name(deployment.metadata.name)
    there = _observed(s, NETWORK_POLICY, name)
    if safeguards.network_policies and _revisions(s):
        policy = render.network_policy(deployment, s.status.moves, safeguards.scraper_namespace)
        yield from _ensure(s, NETWORK_POLICY, policy)
    elif there is not None and not safeguards.network_policies:
        yield Delete(NETWORK_POLICY, name, there.uid)


def _observed(s: Situation, kind: Kind, name: str) -> ChildObject | None:
    return s.children.objects.get((kind.kind, name))


def _ensure(s: Situation, kind: Kind, wanted: Manifest) -> Iterable[Intent]:
    observed = _observed(s, kind, wanted["metadata"]["name"])
    if observed is None:
        yield Create(kind, wanted)
    else:
        yield from _put_back(kind, observed, wanted)


def _put_back(kind: Kind, observed: ChildObject, wanted: Manifest) -> Iterable[Intent]:
    """An apply, if the observed object does not say all that is wanted. The fence alone is no reason to write."""
    if not covers(observed.manifest, _without_fence(wanted)):
        yield Apply(kind, wanted, observed.resource_version)


def _without_fence(manifest: Manifest) -> Manifest:
    metadata = dict(manifest["metadata"])
    annotations = {key: value for key, value in metadata.get("annotations", {}).items() if key != ANNOTATION_MOVES}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
