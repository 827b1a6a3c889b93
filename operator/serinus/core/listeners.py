"""Whether a gateway lets a route in, as far as that can be told before it is asked.

A route that is moved to a gateway that does not take it is nowhere: the gateway that it comes from lets it go at once.
So it is looked first whether the gateway is there, has the listener, and lets in routes of the namespace. What can't be
known is left to the gateway, whose answer stands in the route. Called by the views of the reconciler and by
`kubectl serinus gateway-check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from serinus.api.traffic import GatewayReference
from serinus.core.gateways import GatewayKey, GatewayState

Labels = Mapping[str, str]
_ITS_OWN_NAMESPACE: Final = "Same"
"""What `allowedRoutes.namespaces.from` is by default."""


def refusing_gateway(
    references: Iterable[GatewayReference],
    namespace: str,
    labels: Labels | None,
    gateways: Mapping[GatewayKey, GatewayState],
    sees: Callable[[str], bool],
) -> str | None:
    """Which of these gateways is known not to take a route of `namespace`, and why; None where none is.

    Args:
        references: where the route is to be attached.
        namespace: that of the route.
        labels: those of the namespace; None where they are not known.
        gateways: all that are seen.
        sees: whether the gateways of a namespace are seen, so that one that is not among them is not there.

    """
    for reference in references:
        key = reference.namespace or namespace, reference.name
        name, gateway, section = f"Gateway {'/'.join(key)}", gateways.get(key), reference.section_name
        if gateway is None:
            if sees(key[0]):
                return f"{name} is not there: create it, or correct parentRefs"
            continue
        asked = [listener for listener in gateway.listeners if section in {None, listener}]
        if gateway.listeners and not asked:
            return (
                f"{name} has no listener {section}: it has {', '.join(sorted(gateway.listeners))}; correct sectionName"
            )
        if asked and all(admits(gateway.allowed.get(each), key[0], namespace, labels) is False for each in asked):
            which = f"listener {section} of {name}" if section else name
            return (
                f"{which} lets in no routes from namespace {namespace}: name it in allowedRoutes of the Gateway, or "
                "correct parentRefs"
            )
    return None


def admits(allowed: Mapping[str, Any] | None, its_namespace: str, namespace: str, labels: Labels | None) -> bool | None:
    """Whether a listener lets in routes of a namespace; None where that can't be told.

    `allowed` is its `allowedRoutes.namespaces` (None: it has none), `its_namespace` that of its Gateway.
    """
    match (allowed or {}).get("from", _ITS_OWN_NAMESPACE):
        case "All":
            return True
        case "Same":
            return its_namespace == namespace
        case "Selector":
            selector = (allowed or {}).get("selector") or {}
            return None if labels is None else _selects(selector, labels)
        case _:
            return None


def _selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Whether a label selector of Kubernetes holds."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions") or ())


def _holds(expression: Mapping[str, Any], labels: Labels) -> bool:
    value, values = labels.get(expression.get("key", "")), expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None
