"""What gateways publish about the backends of a route: names of metrics and labels, as data in one place.

A model that crashes, hangs or has no ready pod does not count the requests it never answered. The gateway does, for
each backend; and since each revision has a Service of its own, a backend is a revision. Called by
`serinus.metrics.prometheus`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from serinus.api.gateways import Gateway
from serinus.core.readings import CounterSeries, Grid, Part, Sample
from serinus.metrics.answers import Series
from serinus.metrics.promql import Matcher, Selector, re2_literal
from serinus.metrics.series import Counter

UNANSWERED_CODES: Final = frozenset({"502", "503", "504"})
"""What a gateway answers where the model does not: nobody to connect to, a connection that broke, a timeout. The model
may give these answers too; they pass through the gateway, so that its count has them all."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The Service of one revision, and the HTTPRoute that leads to it."""

    namespace: str
    route: str
    service: str


@dataclass(frozen=True, slots=True)
class Published:
    """The names under which one gateway publishes its counts."""

    requests: str
    """Counter of answered requests by backend and status code."""
    backend_label: str
    code_label: str
    alive: str
    """Any series that each of its pods has from its start."""


PUBLISHED: Final[Mapping[Gateway, Published]] = {
    Gateway.TRAEFIK: Published(
        "traefik_service_requests_total", "service", "code", "traefik_config_last_reload_success"
    ),
    Gateway.ENVOY_GATEWAY: Published(
        "envoy_cluster_upstream_rq", "envoy_cluster_name", "envoy_response_code", "envoy_server_live"
    ),
}

_WORDS: Final = re.compile(r"[^\W_]+")


def backend_pattern(gateway: Gateway, backend: Backend) -> str:
    """An RE2 pattern of the names that a gateway gives a backend, in all versions that are known.

    Traefik until 3.7.8: `<namespace>-<service>-http-<port>@kubernetesgateway`, before 3.3 without `-http`; since then
    `httproute-<namespace>-<route>-gw-…-svc-<namespace>-<service>-<number>@kubernetesgateway`. Its names join words with
    dashes, whatever stood between them.

    Envoy Gateway from 1.9 with `mergeBackends`: `service/<namespace>/<service>/<port>`, and the protocol where the
    Service names one. Otherwise all backends of a rule share one name, which says nothing about any of them.
    """
    if gateway is Gateway.ENVOY_GATEWAY:
        return rf"service/{re2_literal(backend.namespace)}/{re2_literal(backend.service)}/[0-9]+(/[a-z0-9.]+)?"
    joined = _joined(f"{backend.namespace}-{backend.service}")
    route = _joined(f"{backend.namespace}-{backend.route}")
    plain = re2_literal(f"{backend.namespace}-{backend.service}")
    return rf"({joined}(-http)?-[0-9]+|httproute-{route}-gw-.+-svc-{plain}-[0-9]+)@kubernetesgateway"


def backend_requests(gateway: Gateway, backend: Backend) -> str:
    """The gateway's counter of requests to one backend, whatever the scrape made of its label.

    The Prometheus Operator gives the targets of a ServiceMonitor a label `service` of its own.
    """
    published = PUBLISHED[gateway]
    label, pattern = published.backend_label, backend_pattern(gateway, backend)
    base, exported = Selector(published.requests, ()), f"exported_{label}"
    plain = base.where(Matcher(exported, "=", ""), Matcher(label, "=~", pattern))
    return f"{plain} or {base.where(Matcher(exported, '=~', pattern))}"


def scrape_times(gateway: Gateway) -> str:
    """Time of the newest scrape of each of the gateway's pods, in Unix seconds."""
    return f"timestamp({PUBLISHED[gateway].alive})"


@dataclass(frozen=True, slots=True)
class Presence:
    """When the pods of a gateway were scraped: the grid points, and the newest scrape of each."""

    label: str
    """The label that tells its pods apart."""
    points: Mapping[str, tuple[float, ...]]
    newest: Mapping[str, float]


def presence(found: Iterable[Series], grid: Grid, pod_label: str) -> Presence:
    """Where each pod of the gateway was scraped, from the answer to `scrape_times`.

    A grid point more than a step behind the newest scrape only repeats what that one saw.
    """
    found = tuple(found)
    label = pod_label if all(each.labels.get(pod_label) for each in found) else "instance"
    points: dict[str, set[float]] = {}
    newest: dict[str, float] = {}
    for each in found:
        pod = each.labels.get(label, "")
        scraped = [(at, scraped_at) for at, scraped_at in each.points if at - scraped_at <= grid.step_seconds]
        points.setdefault(pod, set()).update(at for at, _ in scraped)
        newest[pod] = max([newest.get(pod, 0.0), *(scraped_at for _, scraped_at in each.points)])
    return Presence(label, {pod: tuple(sorted(at)) for pod, at in points.items()}, newest)


def gateway_parts(
    counters: Iterable[Counter], present: Presence, codes: frozenset[str], grid: Grid
) -> list[CounterSeries]:
    """Requests that ended with one of these codes, by pod of the gateway.

    Beside each pod's counters there is one that stays zero, wherever the pod was scraped: a code that appears later was
    absent until then, and counts from zero.
    """
    zeros = [
        CounterSeries(pod, Part.AT_GATEWAY, "", tuple(Sample(_on(grid, at), 0.0) for at in points))
        for pod, points in sorted(present.points.items())
        if points
    ]
    scraped = {pod: frozenset(_on(grid, at) for at in points) for pod, points in present.points.items()}
    ended = [
        CounterSeries(each.pod, Part.AT_GATEWAY, "", samples)
        for each in counters
        if each.code in codes
        and (samples := tuple(sample for sample in each.samples if sample.at in scraped.get(each.pod, ())))
    ]
    return zeros + ended


def _on(grid: Grid, at: float) -> float:
    """The grid point, as `Counter`s have it."""
    return grid.anchor + round((at - grid.anchor) / grid.step_seconds) * grid.step_seconds


def _joined(text: str) -> str:
    return "-".join(map(re2_literal, _WORDS.findall(text)))
