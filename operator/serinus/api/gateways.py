"""What is said of gateways by name: which one counts requests, and what a rollout may ask beside splitting by weight.

Owned by the API: conditions name these features, by the Gateway API's own names, and whoever installs the operator says
by these names what a gateway can do and which one's counts are read. Read by the settings, `serinus.core.gateways` and
the metric source.
"""

from __future__ import annotations

from enum import StrEnum


class GatewayFeature(StrEnum):
    """A feature as `GatewayClass.status.supportedFeatures` names it."""

    HEADERS = "HTTPRoute"
    """Leads requests by exact headers: part of the core of HTTPRoute, which conformant gateways do as a whole."""
    MIRROR = "HTTPRouteRequestMirror"
    """Copies all requests to another backend, and throws its answers away."""
    PERCENTAGE_MIRROR = "HTTPRouteRequestPercentageMirror"
    """Copies a part of them."""


class Gateway(StrEnum):
    """Gateways that publish counts of requests to each backend."""

    TRAEFIK = "Traefik"
    ENVOY_GATEWAY = "EnvoyGateway"
