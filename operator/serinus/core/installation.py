"""What is to be said of an installation: its rights, its CRD, who leads, its metrics and its gateways, in words.

`serinus.shell.check` looks at all of it from where the operator runs, and these functions judge what it saw. Called for
`python -m serinus check`, which is what `helm test` runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from serinus.api.gateways import GatewayFeature
from serinus.core.gateways import DOES, GatewayKey, GatewayState

_SCRAPED_TOO_SELDOM: Final = 1.5
"""So many times the configured scrape interval between scrapes is more than chance."""


class Level(StrEnum):
    """How a finding is to be taken; also its sign on paper."""

    FINE = "✔"
    NOTE = "•"
    """Works, and maybe not as it is meant."""
    WRONG = "✖"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    about: str
    message: str

    def __str__(self) -> str:
        return f"{self.level} {self.about}: {self.message}"


@dataclass(frozen=True, slots=True)
class MissingRight:
    """A right that the operator uses and has not got."""

    verb: str
    resource: str
    """As kubectl names it: `httproutes.gateway.networking.k8s.io`."""
    namespace: str
    """Empty: in all of them, or of the cluster."""


def of_rights(asked: int, missing: Iterable[MissingRight]) -> Iterator[Finding]:
    """`asked` is the number of rights that were looked at."""
    by_place: dict[str, dict[str, list[str]]] = {}
    for each in missing:
        by_place.setdefault(each.namespace, {}).setdefault(each.resource, []).append(each.verb)
    if not by_place:
        yield Finding(Level.FINE, "rights", f"all {asked} that the operator uses are granted")
    for namespace, resources in sorted(by_place.items()):
        lacking = "; ".join(f"{', '.join(sorted(verbs))} {resource}" for resource, verbs in sorted(resources.items()))
        where = f"in namespace {namespace}" if namespace else "in the whole cluster"
        yield Finding(
            Level.WRONG,
            "rights",
            f"missing {where}: {lacking}; `helm upgrade` with the same values brings the chart's roles and bindings "
            "again",
        )


@dataclass(frozen=True, slots=True)
class CrdSeen:
    """The CRD of the ModelDeployments."""

    needed: int
    """Schema version that this operator writes."""
    installed: bool
    obstacle: str | None
    """Why the operator would not lead on it, and what to do."""
    readable: bool = True
    """Whether its version may be read at all."""


def of_crd(seen: CrdSeen) -> Finding:
    """Whether the operator can lead on the CRD."""
    if not seen.installed:
        return Finding(
            Level.WRONG,
            "CRD",
            "ModelDeployments are not installed: apply crds/serinus.dev_modeldeployments.yaml of this version with "
            "`kubectl apply --server-side`, or let the chart do so (crds.install=true)",
        )
    if not seen.readable:
        return Finding(
            Level.NOTE,
            "CRD",
            "ModelDeployments are installed; with rights in namespaces only their schema version can't be read: it has "
            f"to be {seen.needed} or newer",
        )
    if seen.obstacle is not None:
        return Finding(Level.WRONG, "CRD", seen.obstacle)
    return Finding(Level.FINE, "CRD", f"new enough for this operator, which writes schema version {seen.needed}")


def of_leader(lease: str, holder: str | None, obstacle: str | None) -> Finding:
    """Who leads by the Lease (namespace and name), and who is in the way of that."""
    if obstacle is not None:
        return Finding(Level.WRONG, "leader", obstacle)
    if not holder:
        why = f"nobody holds Lease {lease}: see the log of the operator's pods for what they wait for"
        return Finding(Level.WRONG, "leader", why)
    return Finding(Level.FINE, "leader", f"{holder} leads, and no older operator serves the same ModelDeployments")


@dataclass(frozen=True, slots=True)
class PodsScraped:
    """What Prometheus has of pods, by the labels that the operator knows them by."""

    targets: int
    """Whatever is scraped."""
    pods: int
    """Those of them with labels for namespace and pod."""
    models: int
    """Pods with BentoML's counters."""
    of_gateway: int | None
    """Series of the gateway whose counts are to be read; None where no gateway is configured."""
    seconds_apart: float | str | None
    """From one scrape of such a pod to the next, by the median; None where none was scraped often enough to tell, and
    why, where Prometheus does not say."""


@dataclass(frozen=True, slots=True)
class MetricsExpected:
    """What the operator's settings say of Prometheus, and what its models let one expect there."""

    url: str
    labels: tuple[str, str]
    """Names of the labels for namespace and pod."""
    scrape_interval_seconds: float
    gateway: str | None
    alive: str | None
    """A series that the gateway has from its start."""
    ready_pods: int
    """Pods of models, which have to be scraped."""


def of_metrics(expected: MetricsExpected | None, seen: PodsScraped | str) -> Iterator[Finding]:
    """`expected` is None where no metric source is configured; `seen` a text where it could not be asked."""
    if expected is None:
        yield Finding(
            Level.NOTE, "metrics", "no prometheus.url is set: canaries are refused unless their analysis is disabled"
        )
        return
    if isinstance(seen, str):
        yield Finding(Level.WRONG, "metrics", seen)
        return
    namespace, pod = expected.labels
    if not seen.pods:
        yield _of_no_pods(expected, seen)
    else:
        yield Finding(
            Level.FINE,
            "metrics",
            f"{expected.url} answers; {seen.pods} of its {seen.targets} targets are pods with the labels "
            f"{namespace} and {pod}",
        )
        yield from _of_models(expected, seen)
    if expected.gateway is not None and not seen.of_gateway:
        yield Finding(
            Level.WRONG,
            "metrics",
            f"prometheus.gateway is {expected.gateway}, and there is no series {expected.alive}: have the gateway "
            "scraped, or leave prometheus.gateway empty; until then error metrics are Missing, and rollouts hold",
        )


def _of_no_pods(expected: MetricsExpected, seen: PodsScraped) -> Finding:
    namespace, pod = expected.labels
    lacking = (
        f"{expected.url} has {seen.targets} targets, and none with the labels {namespace} and {pod}"
        if seen.targets
        else f"{expected.url} answers and has no series `up`"
    )
    if not expected.ready_pods:
        yet = f"{lacking}, and no pod of a model is ready that would be scraped: look again when a model serves"
        return Finding(Level.NOTE, "metrics", yet)
    if seen.targets:
        what_next = (
            "pods can't be told apart; set prometheus.labels.namespace and .pod to the names that your scrape jobs "
            "give them"
        )
        return Finding(Level.WRONG, "metrics", f"{lacking}: {what_next}")
    what_next = "nothing is scraped, or this is another tenant's (prometheus.headers)"
    return Finding(
        Level.WRONG, "metrics", f"{lacking}, and pods of models are ready ({expected.ready_pods}): {what_next}"
    )


def _of_models(expected: MetricsExpected, seen: PodsScraped) -> Iterator[Finding]:
    if not seen.models:
        yield Finding(
            Level.NOTE, "metrics", "no pod with BentoML's counters is scraped yet; if a model serves, see its target"
        )
    every = seen.seconds_apart
    if isinstance(every, str):
        yield Finding(Level.NOTE, "metrics", f"how often pods are scraped is not known: {every}")
    elif every is not None and every > _SCRAPED_TOO_SELDOM * expected.scrape_interval_seconds:
        yield Finding(
            Level.NOTE,
            "metrics",
            f"pods were scraped every {round(every, 1):g} s on average lately, where prometheus.scrapeIntervalSeconds "
            f"says {expected.scrape_interval_seconds:g}: too small a number makes evidence look missing",
        )


def of_gateways(
    installed: bool, gateways: Mapping[GatewayKey, GatewayState], *, unseen: str | None = None
) -> Iterator[Finding]:
    """`installed`: whether there are HTTPRoutes; `unseen`: why the Gateways could not be looked at."""
    if not installed:
        yield Finding(
            Level.NOTE, "gateway", "the Gateway API is not installed: canaries go by the number of pods, not by weight"
        )
        return
    if unseen is not None:
        yield Finding(Level.WRONG, "gateway", unseen)
    elif not gateways:
        yield Finding(
            Level.NOTE, "gateway", "no Gateway is in sight: a route needs one that traffic.gateway.parentRefs can name"
        )
    for (namespace, name), state in sorted(gateways.items()):
        yield _of_gateway(f"{namespace}/{name}", state)


def _of_gateway(name: str, state: GatewayState) -> Finding:
    if state.controller is None:
        return Finding(
            Level.NOTE,
            "gateway",
            f"{name} splits requests by weight; of its GatewayClass {state.class_name} nothing is known, so that steps "
            "with match or shadowPercent wait: is it there, or named in gatewayClasses where it can't be read?",
        )
    can = [DOES[feature] for feature in GatewayFeature if feature in state.features]
    cannot = [DOES[feature] for feature in GatewayFeature if feature not in state.features]
    known = "".join(f"; known to {each}" for each in can) + "".join(f"; not known to {each}" for each in cannot)
    return Finding(Level.FINE, "gateway", f"{name} ({state.controller}) splits requests by weight{known}")
