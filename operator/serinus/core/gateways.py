"""What is known of gateways, and what a rollout needs of those that its route attaches to.

A gateway that accepts a route does not have to do what the route says: Traefik 3.7 accepts a mirror, and then answers
every request of the route with an error. So a feature that is not known to work is never written into a route. Known is
what the operator's settings say, else what was tried and stands in the table here, else what the GatewayClass
publishes; what none of them tells does not work. Called by `serinus.kube.gateways`, which builds the states, and by the
planner.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from serinus.api.gateways import GatewayFeature
from serinus.api.traffic import GatewayReference

Overrules = Mapping[str, Mapping[GatewayFeature, bool]]
"""By controllerName: features that whoever installed the operator knows to work, or not to."""
GatewayKey = tuple[str, str]
"""Namespace and name of a Gateway."""

TRAEFIK: Final = "traefik.io/gateway-controller"
ENVOY_GATEWAY: Final = "gateway.envoyproxy.io/gatewayclass-controller"

_TRIED: Final[Overrules] = {
    # 3.7: leaves the mirrors out of what it publishes, accepts a route with one, and then fails all of its requests.
    TRAEFIK: {
        GatewayFeature.HEADERS: True,
        GatewayFeature.MIRROR: False,
        GatewayFeature.PERCENTAGE_MIRROR: False,
    },
    # 1.7, 1.9: publish nothing. Until 1.7 a mirror to a Service without ready endpoints fails all requests of its rule.
    ENVOY_GATEWAY: {
        GatewayFeature.HEADERS: True,
        GatewayFeature.MIRROR: True,
        GatewayFeature.PERCENTAGE_MIRROR: True,
    },
}

DOES: Final = {
    GatewayFeature.HEADERS: "lead requests by their headers",
    GatewayFeature.MIRROR: "copy requests",
    GatewayFeature.PERCENTAGE_MIRROR: "copy a part of the requests",
}
"""What each feature is, in words."""


@dataclass(frozen=True, slots=True)
class GatewayState:
    """A Gateway, and what its controller is known to do."""

    controller: str | None
    """The controllerName of its GatewayClass; None where that class is not there."""
    class_name: str
    features: frozenset[GatewayFeature] = frozenset()
    listeners: Mapping[str, str] = field(default_factory=dict)
    """Hostname by name of each listener; empty where it answers to any."""
    allowed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`allowedRoutes.namespaces` by name of each listener that has it."""


def known_features(controller: str, published: Collection[str], overrules: Overrules) -> frozenset[GatewayFeature]:
    """What a gateway of this controllerName is known to do; `published` is its GatewayClass's supportedFeatures."""
    told, tried = overrules.get(controller, {}), _TRIED.get(controller, {})
    return frozenset(
        feature for feature in GatewayFeature if told.get(feature, tried.get(feature, feature.value in published))
    )


def common_features(
    references: Iterable[GatewayReference], namespace: str, gateways: Mapping[GatewayKey, GatewayState]
) -> frozenset[GatewayFeature]:
    """What all the gateways of a route in `namespace` are known to do; each of them carries the whole route."""
    common = frozenset(GatewayFeature)
    for reference in references:
        gateway = gateways.get((reference.namespace or namespace, reference.name))
        common &= gateway.features if gateway is not None else frozenset()
    return common


def unknown_feature(
    needed: Iterable[GatewayFeature],
    references: Iterable[GatewayReference],
    namespace: str,
    gateways: Mapping[GatewayKey, GatewayState],
) -> str | None:
    """Which gateway is not known to do which of the features, and what to do about it; None where all are known."""
    features = sorted(set(needed))
    for reference in references:
        key = reference.namespace or namespace, reference.name
        name, gateway = f"Gateway {'/'.join(key)}", gateways.get(key)
        if not features:
            return None
        if gateway is None:
            return (
                f"{name} is not there, so that nothing is known of what it can do: create it, or correct parentRefs; "
                "an operator with rights in namespaces only has to be told its namespace (gatewayNamespaces)"
            )
        if gateway.controller is None:
            return (
                f"{name} is of GatewayClass {gateway.class_name}, which is not there: install its controller; an "
                "operator with rights in namespaces only has to be told its controllerName (gatewayClasses)"
            )
        lacking = next((feature for feature in features if feature not in gateway.features), None)
        if lacking is not None:
            return (
                f"{name} ({gateway.controller}) is not known to {DOES[lacking]} ({lacking}): take the step out; or, "
                f"if you have tried that it does, say so in gatewayFeatures of the operator's Helm values"
            )
    return None
