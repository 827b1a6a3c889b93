"""The objects that lead requests and scrapes to pods: Services, the HTTPRoute and the PodMonitor.

Called by `serinus.core.realise`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import (
    ANNOTATION_STABLE,
    HTTP_ROUTE,
    LABEL_DEPLOYMENT,
    LABEL_ROLE,
    POD_MONITOR,
    ROLE_CANDIDATE,
    ROLE_REVISION,
    ROLE_STABLE,
    SERVICE,
)
from serinus.api.revision import candidate_service_name, child_name
from serinus.api.traffic import GatewayReference, GatewayTraffic
from serinus.core.observation import Headers
from serinus.core.plan import Manifest
from serinus.core.render.bentoml import request_timeout_seconds as timeout_of_spec
from serinus.core.render.container import METRICS_PATH, PORT_NAME
from serinus.core.render.metadata import metadata, owner_labels, pod_selector, revision_labels

_GATEWAY_GROUP: Final = HTTP_ROUTE.group
_MAX_SCRAPE_INTERVAL_SECONDS: Final = 15
_GREATEST_PART: Final = 99_999


def revision_service(
    deployment: ModelDeployment, revision: str, moves: int, template: Manifest | None = None
) -> Manifest:
    """The Service of one revision's pods: what the HTTPRoute points at, however the traffic is split.

    `template` is the revision's, for the labels of one that is not the spec's.
    """
    labels = revision_labels(deployment, revision, template) if template else owner_labels(deployment, revision)
    name = child_name(deployment.metadata.name, revision)
    of_service = metadata(deployment, name, moves, revision=revision, labels=labels | {LABEL_ROLE: ROLE_REVISION})
    return _service(deployment, revision, of_service)


def stable_service(deployment: ModelDeployment, selector_revision: str, moves: int) -> Manifest:
    """The stable address `<name>`, leading to the pods of `selector_revision`."""
    labels = {LABEL_ROLE: ROLE_STABLE}
    return _service(deployment, selector_revision, metadata(deployment, deployment.metadata.name, moves, labels=labels))


def shared_service(deployment: ModelDeployment, stable: str, moves: int) -> Manifest:
    """The stable address `<name>`, leading to the pods of all revisions, and saying which of them is stable."""
    labels, annotations = {LABEL_ROLE: ROLE_STABLE}, {ANNOTATION_STABLE: stable}
    of_service = metadata(deployment, deployment.metadata.name, moves, labels=labels, annotations=annotations)
    return _service(deployment, None, of_service)


def candidate_service(deployment: ModelDeployment, revision: str, moves: int) -> Manifest:
    """The address `<name>-candidate`, which exists while a candidate beside a stable revision may be tried there."""
    name = candidate_service_name(deployment.metadata.name)
    return _service(deployment, revision, metadata(deployment, name, moves, labels={LABEL_ROLE: ROLE_CANDIDATE}))


def _service(deployment: ModelDeployment, revision: str | None, of_service: Mapping[str, Any]) -> Manifest:
    selector = pod_selector(deployment, revision) if revision else {LABEL_DEPLOYMENT: deployment.metadata.name}
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.kind,
        "metadata": of_service,
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [
                {
                    "name": PORT_NAME,
                    "port": deployment.spec.traffic.port,
                    "protocol": "TCP",
                    "targetPort": PORT_NAME,
                }
            ],
        },
    }


def http_route(
    deployment: ModelDeployment,
    weights: Mapping[str, int],
    moves: int,
    request_timeout_seconds: int | None = None,
    *,
    matches: Mapping[str, Sequence[Headers]] | None = None,
    mirrors: Mapping[str, int] | None = None,
    gateway: GatewayTraffic | None = None,
) -> Manifest:
    """The HTTPRoute `<name>`: requests split over the revisions' Services by weight, in the order of `weights`.

    `matches` are, by revision, the headers of requests that go to it whatever the weights say. They make one rule for
    each revision, before the one with the weights: the Gateway API has room for 16 rules, and for 64 matches in each.
    Where a prefix is rewritten, they make a rule each: the Gateway API then allows one match in a rule only.
    `mirrors` are, by revision, the share in percent of all other requests that is copied to it.

    `gateway` is where requests come in; by default what the spec says.

    `request_timeout_seconds` is the longest of the revisions that have weight, so that none of their requests is cut
    off early (`request_timeout_of`); by default that of the spec.

    What the API server would fill in is written out, so that a route read back equals the one that was written. Raises
    ValueError for a ModelDeployment without a gateway.
    """
    gateway = gateway or deployment.spec.traffic.gateway
    if gateway is None:
        name = f"{deployment.metadata.namespace}/{deployment.metadata.name}"
        raise ValueError(f"ModelDeployment {name} has no spec.traffic.gateway, so there is no route to render")
    timeout = request_timeout_seconds or timeout_of_spec(deployment.spec.serving.bentoml)

    def match(**more: Any) -> dict[str, Any]:
        return {"path": {"type": "PathPrefix", "value": gateway.path_prefix}, **more}

    def rule(
        matches: list[dict[str, Any]], backends: Mapping[str, int], copies: Mapping[str, int] | None = None
    ) -> dict[str, Any]:
        mirrored = [_mirror(deployment, revision, percent) for revision, percent in (copies or {}).items()]
        return {
            "matches": matches,
            "filters": [*_filters(gateway), *mirrored],
            "backendRefs": [_backend(deployment, revision, weight) for revision, weight in backends.items()],
            "timeouts": {"request": gateway_duration(timeout)},
        }

    by_headers = [
        rule([match(headers=[_header(name, value) for name, value in each]) for each in together], {revision: 1})
        for revision, headers in (matches or {}).items()
        for together in ([headers] if gateway.rewrite_prefix is None else [[each] for each in headers])
    ]
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.kind,
        "metadata": metadata(deployment, deployment.metadata.name, moves),
        "spec": {
            "parentRefs": [_parent(reference) for reference in gateway.parent_refs],
            "hostnames": list(gateway.hostnames),
            "rules": [*by_headers, rule([match()], weights, mirrors)],
        },
    }


def _header(name: str, value: str) -> dict[str, str]:
    return {"type": "Exact", "name": name, "value": value}


def gateway_duration(seconds: int) -> str:
    """A duration in the Gateway API's notation (GEP-2257), whose numbers have at most five digits."""
    hours, rest = divmod(seconds, 3600)
    if seconds <= _GREATEST_PART:
        return f"{seconds}s"
    return f"{hours}h{rest}s" if rest else f"{hours}h"


def _parent(reference: GatewayReference) -> dict[str, Any]:
    parent = {"group": _GATEWAY_GROUP, "kind": "Gateway", "name": reference.name}
    if reference.namespace is not None:
        parent["namespace"] = reference.namespace
    if reference.section_name is not None:
        parent["sectionName"] = reference.section_name
    return parent


def _filters(gateway: GatewayTraffic) -> list[dict[str, Any]]:
    if gateway.rewrite_prefix is None:
        return []
    replacement = {"type": "ReplacePrefixMatch", "replacePrefixMatch": gateway.rewrite_prefix}
    return [{"type": "URLRewrite", "urlRewrite": {"path": replacement}}]


def _mirror(deployment: ModelDeployment, revision: str, percent: int) -> dict[str, Any]:
    """All requests are copied where no percentage says otherwise, also by gateways that know of none."""
    backend = {key: value for key, value in _backend(deployment, revision, 0).items() if key != "weight"}
    share = {"percent": percent} if percent < 100 else {}
    return {"type": "RequestMirror", "requestMirror": {"backendRef": backend, **share}}


def _backend(deployment: ModelDeployment, revision: str, weight: int) -> dict[str, Any]:
    return {
        "group": "",
        "kind": SERVICE.kind,
        "name": child_name(deployment.metadata.name, revision),
        "port": deployment.spec.traffic.port,
        "weight": weight,
    }


def pod_monitor(deployment: ModelDeployment, moves: int) -> Manifest:
    """One PodMonitor over all pods of the resource; several monitors, or one over its Services, would count twice.

    Scrapes at least as often as the evidence is looked at. The pods' revision becomes a label of every series.
    """
    interval = min(_MAX_SCRAPE_INTERVAL_SECONDS, deployment.spec.analysis.interval_seconds)
    return {
        "apiVersion": POD_MONITOR.api_version,
        "kind": POD_MONITOR.kind,
        "metadata": metadata(deployment, deployment.metadata.name, moves),
        "spec": {
            "selector": {"matchLabels": {LABEL_DEPLOYMENT: deployment.metadata.name}},
            "podTargetLabels": list(pod_selector(deployment, "")),
            "podMetricsEndpoints": [{"port": PORT_NAME, "path": METRICS_PATH, "interval": f"{interval}s"}],
        },
    }
