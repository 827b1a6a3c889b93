"""Who may lead requests to itself: an address is a hostname and a path at one listener of a gateway.

Gateways merge the routes of all namespaces. Where a request matches several, the more exact hostname and the longer
path win, so that neighbours such as `*.example.com` and `a.example.com`, or `/` and `/fraud`, get along. Only where
both are the same is there a conflict; the Gateway API gives such requests to the oldest route, and among those of one
age to the first by namespace and name. Serinus goes by the same order, but for one thing: who has an address keeps it,
also from an older resource that asks for it later. `serinus.shell.addresses` keeps the index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from serinus.api.kinds import HTTP_ROUTE, MODEL_DEPLOYMENT
from serinus.api.traffic import GatewayReference, GatewayTraffic
from serinus.core.gateways import GatewayKey, GatewayState
from serinus.core.plan import Manifest
from serinus.core.raw import list_in, mapping

ANY_HOSTNAME: Final = "*"
_DEFAULT_PATH: Final = "/"

Key = tuple[str, str]
"""Namespace and name of a ModelDeployment."""


class Claim(NamedTuple):
    """Requests that a route leads to itself."""

    gateway: GatewayKey
    listener: str
    """Name of the listener; empty for all of a Gateway that is not there, so that nothing is known of its listeners."""
    hostname: str
    path: str


class Address(NamedTuple):
    """Where a ModelDeployment asks for requests, or an HTTPRoute has them."""

    since: str
    """`metadata.creationTimestamp`, whose text sorts by time."""
    references: tuple[tuple[str, str, str | None], ...]
    """Namespace and name of Gateways, and the listener (None: all of them)."""
    hostnames: tuple[str, ...]
    """Empty: those of the listener."""
    paths: tuple[str, ...]

    def claims(self, gateways: Mapping[GatewayKey, GatewayState]) -> frozenset[Claim]:
        """What it comes to at the gateways as they are."""
        return frozenset(
            Claim((namespace, name), listener, hostname, path)
            for namespace, name, section in self.references
            for listener, of_listener in _listeners(gateways.get((namespace, name)), section)
            for hostname in _effective(of_listener, self.hostnames)
            for path in self.paths
        )


class Standing(NamedTuple):
    """The place of a claim among others to the same: the smallest has it."""

    waits: bool
    """Whether it is only asked for: no route of its own has it yet."""
    since: str
    key: Key


@dataclass(frozen=True, slots=True)
class TakenAddress:
    """A claim that the spec makes, and who has it."""

    claim: Claim
    by: Key
    by_route_alone: bool = False
    """Whether only an HTTPRoute has it still, and its ModelDeployment is gone or asks for no gateway."""

    def __str__(self) -> str:
        claim = self.claim
        hostname = "any hostname" if claim.hostname == ANY_HOSTNAME else f"hostname {claim.hostname}"
        listener = f", listener {claim.listener}," if claim.listener else ""
        requests = f"requests for {hostname} and path {claim.path} at Gateway {'/'.join(claim.gateway)}{listener}"
        if self.by_route_alone:
            return (
                f"{requests} go to {HTTP_ROUTE.kind} {'/'.join(self.by)}, which no {MODEL_DEPLOYMENT.kind} asks for "
                f"any more: this one goes on when it is gone; delete it if that does not happen by itself"
            )
        return (
            f"{requests} go to {MODEL_DEPLOYMENT.kind} {'/'.join(self.by)}, which came first: give one of the two "
            f"another hostname or pathPrefix; this one goes on as soon as nobody else has it"
        )


def asked_address(manifest: Mapping[str, Any]) -> Address | None:
    """What a ModelDeployment as the API server has it asks for; None where that is no gateway, or nothing readable."""
    traffic = mapping(mapping(manifest.get("spec")).get("traffic"))
    gateway = traffic.get("gateway")
    if not isinstance(gateway, Mapping):
        return None
    path = gateway.get("pathPrefix")
    return _address(manifest, gateway, (path if isinstance(path, str) else _DEFAULT_PATH,))


def held_address(route: Mapping[str, Any]) -> Address | None:
    """What an HTTPRoute leads to its backends."""
    spec = mapping(route.get("spec"))
    matches = (mapping(match) for rule in list_in(spec, "rules") for match in list_in(mapping(rule), "matches") or [{}])
    paths = (str(mapping(match.get("path")).get("value") or _DEFAULT_PATH) for match in matches)
    return _address(route, spec, tuple(dict.fromkeys(paths)))


def gateway_in_force(route: Manifest) -> GatewayTraffic:
    """The address of an HTTPRoute in the shape of `spec.traffic.gateway`, whoever wrote what there."""
    spec = mapping(route.get("spec"))
    rules = [mapping(rule) for rule in list_in(spec, "rules")]
    matches = [mapping(match) for rule in rules for match in list_in(rule, "matches")]
    filters = [mapping(each) for rule in rules for each in list_in(rule, "filters")]
    paths = (mapping(match.get("path")).get("value") for match in matches)
    rewrites = (mapping(mapping(each.get("urlRewrite")).get("path")).get("replacePrefixMatch") for each in filters)
    return GatewayTraffic.model_construct(
        parent_refs=tuple(
            GatewayReference.model_construct(
                name=str(parent.get("name") or ""),
                namespace=parent.get("namespace"),
                section_name=parent.get("sectionName"),
            )
            for parent in map(mapping, list_in(spec, "parentRefs"))
        ),
        hostnames=tuple(list_in(spec, "hostnames")),
        path_prefix=next((path for path in paths if path), _DEFAULT_PATH),
        rewrite_prefix=next((rewrite for rewrite in rewrites if rewrite), None),
    )


def _address(manifest: Mapping[str, Any], told: Mapping[str, Any], paths: tuple[str, ...]) -> Address | None:
    metadata = manifest["metadata"]
    parents = [mapping(parent) for parent in list_in(told, "parentRefs")]
    references = tuple(
        (
            str(parent.get("namespace") or metadata.get("namespace", "")),
            str(parent["name"]),
            str(parent["sectionName"]) if parent.get("sectionName") else None,
        )
        for parent in parents
        if parent.get("name")
    )
    if not references:
        return None
    hostnames = tuple(str(hostname).lower() for hostname in list_in(told, "hostnames"))
    bare = tuple(path.rstrip("/") or _DEFAULT_PATH for path in paths)  # a slash at the end means nothing in a prefix
    return Address(str(metadata.get("creationTimestamp", "")), references, hostnames, bare)


def _listeners(gateway: GatewayState | None, section: str | None) -> Iterator[tuple[str, str]]:
    """Name and hostname (empty: any) of the listeners that a route attaches to."""
    if gateway is None or not gateway.listeners:
        yield section or "", ""
        return
    for name, hostname in gateway.listeners.items():
        if section in {None, name}:
            yield name, hostname


def _effective(of_listener: str, of_route: tuple[str, ...]) -> Iterator[str]:
    """The hostnames that both the listener and the route answer to."""
    for hostname in of_route or (ANY_HOSTNAME,):
        if hostname in {ANY_HOSTNAME, of_listener} or not of_listener:
            yield (of_listener or ANY_HOSTNAME) if hostname == ANY_HOSTNAME else hostname
        elif of_listener.startswith("*.") and hostname.endswith(of_listener[1:]):
            yield hostname
        elif hostname.startswith("*.") and of_listener.endswith(hostname[1:]):
            yield of_listener
