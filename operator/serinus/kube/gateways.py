"""Gateways and their GatewayClasses, raw objects into what `serinus.core.gateways` says of them. Pure.

Called by the caches of the shell, whose informers keep of both kinds only what is read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from serinus.api.kinds import GATEWAY, GATEWAY_CLASS
from serinus.core.gateways import GatewayKey, GatewayState, Overrules, known_features
from serinus.core.plan import Manifest
from serinus.kube.store import identity


def only_what_is_known(gateway: dict[str, Any]) -> Manifest:
    """The part of a Gateway that is read here: its class, where its listeners answer, and whose routes they let in."""
    spec = gateway.get("spec") or {}
    listeners = [
        {
            "name": str(each.get("name", "")),
            "hostname": str(each.get("hostname") or "").lower(),
            "allowed": (each.get("allowedRoutes") or {}).get("namespaces") or {},
        }
        for each in spec.get("listeners") or ()
    ]
    return {
        "apiVersion": GATEWAY.api_version,
        "kind": GATEWAY.kind,
        "metadata": identity(gateway),
        "spec": {"gatewayClassName": str(spec.get("gatewayClassName", "")), "listeners": listeners},
    }


def only_its_features(gateway_class: dict[str, Any]) -> Manifest:
    """The part of a GatewayClass that is read here: its controller, and the names of the features it publishes."""
    spec, status = gateway_class.get("spec") or {}, gateway_class.get("status") or {}
    # Objects with a name since Gateway API 1.3, mere names before.
    features = [each.get("name") if isinstance(each, dict) else each for each in status.get("supportedFeatures") or ()]
    return {
        "apiVersion": GATEWAY_CLASS.api_version,
        "kind": GATEWAY_CLASS.kind,
        "metadata": identity(gateway_class),
        "spec": {"controllerName": str(spec.get("controllerName", ""))},
        "status": {"supportedFeatures": sorted(str(feature) for feature in features if feature)},
    }


def named_classes(controllers: Mapping[str, str]) -> tuple[Manifest, ...]:
    """GatewayClasses of which nothing is known but the controllerName, by name, as `only_its_features` keeps them."""
    return tuple(
        only_its_features({"metadata": {"name": name}, "spec": {"controllerName": controller}})
        for name, controller in controllers.items()
    )


def gateway_states(
    gateways: Iterable[Manifest], classes: Iterable[Manifest], overrules: Overrules
) -> dict[GatewayKey, GatewayState]:
    """Every Gateway, and what it is known to do. Both kinds as they were kept by the functions above."""
    of_class = {each["metadata"]["name"]: each for each in classes}
    states: dict[GatewayKey, GatewayState] = {}
    for gateway in gateways:
        metadata, class_name = gateway["metadata"], gateway["spec"]["gatewayClassName"]
        found = of_class.get(class_name)
        listeners = {each["name"]: each["hostname"] for each in gateway["spec"]["listeners"]}
        allowed = {each["name"]: each["allowed"] for each in gateway["spec"]["listeners"] if each["allowed"]}
        state = GatewayState(None, class_name, listeners=listeners, allowed=allowed)
        if found is not None:
            controller, published = found["spec"]["controllerName"], found["status"]["supportedFeatures"]
            state = replace(state, controller=controller, features=known_features(controller, published, overrules))
        states[metadata.get("namespace", ""), metadata["name"]] = state
    return states
