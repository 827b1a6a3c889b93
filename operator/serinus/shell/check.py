"""`python -m serinus check`: looks at an installation from where the operator runs, and says in words what it found.

It reads, and asks the API server what it may do; nothing is written. What is to be said of it is decided in
`serinus.core.installation`. Called by `serinus.__main__`, in the pod of `helm test` or in the operator's own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from serinus.api.kinds import GATEWAY, GATEWAY_CLASS, HTTP_ROUTE, MODEL_DEPLOYMENT, Kind
from serinus.api.names import SCHEMA_VERSION
from serinus.core import installation
from serinus.core.gateways import GatewayKey, GatewayState
from serinus.core.installation import CrdSeen, Finding, Level, MetricsExpected, MissingRight, PodsScraped
from serinus.core.plan import Manifest
from serinus.core.readings import Missing
from serinus.kube.client import HttpCluster, open_cluster
from serinus.kube.cluster import ApiError, Forbidden, NotFound
from serinus.kube.credentials import Credentials
from serinus.kube.gateways import gateway_states, named_classes, only_its_features, only_what_is_known
from serinus.kube.permissions import Permission, Scope, permissions
from serinus.kube.refusals import without_what_next
from serinus.metrics import gateways, promql
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.promql import Matcher, Selector
from serinus.settings import Settings
from serinus.shell.app import gateway_namespaces, shard_of
from serinus.shell.leadership import LEASE
from serinus.shell.metric_source import open_prometheus
from serinus.shell.neighbours import Neighbours
from serinus.shell.schema import CRD_NAME, obstacle_of


async def run(settings: Settings, credentials: Credentials, write: Callable[[str], object]) -> int:
    """Write one line for each finding; returns 1 where something is wrong, else 0."""
    async with open_cluster(credentials) as cluster:
        found = await findings(settings, cluster)
    write("".join(f"{each}\n" for each in found))
    return 1 if any(each.level is Level.WRONG for each in found) else 0


async def findings(settings: Settings, cluster: HttpCluster) -> tuple[Finding, ...]:
    """All that is to be said of the installation of an operator with these settings."""
    try:
        return (
            *await _rights(settings, cluster),
            installation.of_crd(await _crd(settings, cluster)),
            await _leader(settings, cluster),
            *installation.of_metrics(*await _metrics(settings, cluster)),
            *await _gateways(settings, cluster),
        )
    except ApiError as error:
        return (Finding(Level.WRONG, "API server", without_what_next(error)),)


async def _rights(settings: Settings, cluster: HttpCluster) -> tuple[Finding, ...]:
    asked = [
        (permission, verb, namespace)
        for permission in permissions(namespaced=settings.namespaced, switched_on=_switched_on(settings))
        for verb in sorted(permission.verbs)
        for namespace in _places(permission.scope, settings)
    ]
    granted = await asyncio.gather(
        *(
            cluster.may(verb, permission.group, permission.resource, namespace, _name(permission, settings))
            for permission, verb, namespace in asked
        )
    )
    missing = (
        MissingRight(verb, f"{permission.resource}{permission.group and '.'}{permission.group}", namespace)
        for (permission, verb, namespace), yes in zip(asked, granted, strict=True)
        if not yes
    )
    return tuple(installation.of_rights(len(asked), missing))


def _switched_on(settings: Settings) -> tuple[str, ...]:
    """The values of the chart by which more rights are granted, as far as they are used with these settings."""
    if settings.config_key_file is None:
        return ()
    return ("configChecksum.keySecretName", *(("configChecksum.secrets",) if settings.config_secrets else ()))


def _places(scope: Scope, settings: Settings) -> tuple[str, ...]:
    """The namespaces in which a right is used; an empty one stands for all of them, or for the cluster."""
    match scope:
        case Scope.WATCHED_NAMESPACES:
            return settings.watch_namespaces or ("",)
        case Scope.OWN_NAMESPACE:
            return (settings.lease_namespace,)
        case Scope.GATEWAY_NAMESPACES:
            return gateway_namespaces(settings)
        case Scope.CLUSTER:
            return ("",)


def _name(permission: Permission, settings: Settings) -> str:
    """The name that a right is narrowed to; empty for all."""
    if not permission.own_names_only:
        return ""
    return settings.lease_name if permission.resource == LEASE.plural else CRD_NAME


async def _crd(settings: Settings, cluster: HttpCluster) -> CrdSeen:
    installed = await cluster.discover(MODEL_DEPLOYMENT)
    readable = not settings.namespaced
    obstacle = await obstacle_of(cluster) if installed and readable else None
    return CrdSeen(SCHEMA_VERSION, installed, obstacle, readable)


async def _leader(settings: Settings, cluster: HttpCluster) -> Finding:
    own = settings.lease_namespace, settings.lease_name
    neighbours = Neighbours(cluster, shard_of(settings), own, look_in=own[0] if settings.namespaced else None)
    holder = None
    try:
        await neighbours.look()
        holder = (await cluster.get(LEASE, *own)).get("spec", {}).get("holderIdentity")
    except NotFound:
        pass  # nobody has ever led
    except ApiError as error:
        return Finding(Level.WRONG, "leader", without_what_next(error))
    return installation.of_leader("/".join(own), holder, neighbours.obstacle)


# Metrics -------------------------------------------------------------------------------------------------------------


async def _metrics(settings: Settings, cluster: HttpCluster) -> tuple[MetricsExpected | None, PodsScraped | str]:
    if settings.prometheus_url is None:
        return None, ""
    async with open_prometheus(settings, settings.prometheus_url) as source:
        labels = settings.metrics_namespace_label, settings.metrics_pod_label
        gateway = settings.prometheus_gateway
        alive = gateways.PUBLISHED[gateway].alive if gateway else None
        interval, ready = settings.prometheus_scrape_interval_seconds, await _ready_pods(settings, cluster)
        expected = MetricsExpected(source.public_url, labels, interval, gateway, alive, ready)
        return expected, await _scraped(source, expected)


async def _ready_pods(settings: Settings, cluster: HttpCluster) -> int:
    """Pods of the ModelDeployments that this operator serves, as far as it may see them."""
    ready = 0
    for namespace in settings.watch_namespaces or (None,):
        try:
            async for page in cluster.list_pages(MODEL_DEPLOYMENT, namespace, label_selector=settings.selector or None):
                ready += sum(map(_ready_pods_of, page.items))
        except (NotFound, Forbidden):
            pass  # what is said of the CRD, or of the rights
    return ready


def _ready_pods_of(deployment: Manifest) -> int:
    status = deployment.get("status") or {}
    return sum((status.get(role) or {}).get("readyReplicas", 0) for role in ("stable", "candidate", "previous"))


async def _scraped(source: PrometheusSource, expected: MetricsExpected) -> PodsScraped | str:
    """What Prometheus has; or, where it does not say, why."""
    namespace, pod = expected.labels
    of_pods = Selector("up", (Matcher(namespace, "!=", ""), Matcher(pod, "!=", "")))
    at = time.time()
    queries = {
        "targets": "count(up)",
        "pods": f"count({of_pods})",
        "models": f"count(count by ({namespace}, {pod}) ({promql.REQUESTS}))",
        "of_gateway": f"count({expected.alive})" if expected.alive else "vector(0)",
    }
    numbers: dict[str, float] = {}
    for name, query in queries.items():
        answer = await source.number(query, at)
        if isinstance(answer, Missing):
            return answer.detail
        numbers[name] = answer
    apart = await source.number(promql.seconds_between_scrapes(of_pods, expected.scrape_interval_seconds), at)
    return PodsScraped(
        targets=int(numbers["targets"]),
        pods=int(numbers["pods"]),
        models=int(numbers["models"]),
        of_gateway=int(numbers["of_gateway"]) if expected.alive else None,
        seconds_apart=apart.detail if isinstance(apart, Missing) else apart or None,
    )


# Gateways ------------------------------------------------------------------------------------------------------------


async def _gateways(settings: Settings, cluster: HttpCluster) -> tuple[Finding, ...]:
    installed, states, unseen = await cluster.discover(HTTP_ROUTE), dict[GatewayKey, GatewayState](), None
    if installed:
        try:
            states = await _gateway_states(settings, cluster)
        except ApiError as error:
            unseen = without_what_next(error)
    return tuple(installation.of_gateways(installed, states, unseen=unseen))


async def _gateway_states(settings: Settings, cluster: HttpCluster) -> dict[GatewayKey, GatewayState]:
    there = [only_what_is_known(each) for each in await _listed(cluster, GATEWAY, gateway_namespaces(settings))]
    classes: tuple[Manifest, ...] = named_classes(settings.gateway_classes)
    if not settings.namespaced:
        classes = tuple(only_its_features(each) for each in await _listed(cluster, GATEWAY_CLASS))
    return gateway_states(there, classes, settings.gateway_features)


async def _listed(cluster: HttpCluster, kind: Kind, namespaces: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Objects of a kind in some namespaces, or in all for none."""
    places: tuple[str | None, ...] = namespaces or (None,)
    pages = [page for place in places async for page in cluster.list_pages(kind, place)]
    return [item for page in pages for item in page.items]
