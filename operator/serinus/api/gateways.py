"""What a rollout may ask of a gateway beside splitting requests by weight, by the Gateway API's own names.

Owned by the API: conditions name these features, and whoever installs the operator says by these names what a gateway
can do. Read by the settings and by `serinus.core.gateways`.
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
