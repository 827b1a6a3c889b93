"""`kubectl serinus gateway-check`: whether the gateways of a file are there, let its route in, and can do its steps.

The findings are pure; the command reads Gateways and their classes. What a gateway is known to do comes from the same
table as the operator's, but for what its settings add to that, which are not seen from here. No request is sent.
"""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import typer

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import GATEWAY, GATEWAY_CLASS, Kind
from serinus.api.traffic import GatewayReference
from serinus.cli import options
from serinus.cli.access import Access, Where, with_cluster
from serinus.cli.files import model_deployments
from serinus.cli.offline import Files, parsed
from serinus.cli.outcome import ExitCode
from serinus.cli.terminal import harmless
from serinus.core.gateways import unknown_feature
from serinus.core.listeners import admits
from serinus.core.plan import Manifest
from serinus.core.traffic import planned_steps
from serinus.kube.gateways import gateway_states, only_its_features, only_what_is_known

_NAMESPACE: Final = Kind("", "v1", "Namespace", "namespaces")
_HTTP: Final = frozenset({"HTTP", "HTTPS"})


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    fine: bool
    message: str

    def __str__(self) -> str:
        return f"{'✔' if self.fine else '✖'} {self.message}"


def gateway_check(
    filename: Files,
    namespace: options.Namespace = None,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Check the gateways of ModelDeployments in files: there, admitting the route, able to do the steps.

    Ends with 1 where something is wrong. Sends no requests.
    """
    wrong = False
    for each in model_deployments(filename):
        where = Where(kubeconfig, context, each.namespace or namespace)
        deployment = parsed(each, where.named_namespace)
        found = with_cluster(where, functools.partial(_look, deployment=deployment))
        sys.stdout.write(f"{each.name}\n" + "".join(f"  {harmless(str(check))}\n" for check in found))
        wrong = wrong or not all(check.fine for check in found)
    if wrong:
        raise typer.Exit(ExitCode.ERROR)


async def _look(access: Access, deployment: ModelDeployment) -> list[Check]:
    gateway = deployment.spec.traffic.gateway
    if gateway is None:
        return [Check(True, "no traffic.gateway: requests come to a plain Service")]
    gateways = await access.listed(GATEWAY, everywhere=True)
    classes = await access.listed(GATEWAY_CLASS, everywhere=True)
    home = await access.cluster.get(_NAMESPACE, "", deployment.metadata.namespace)
    return checks(deployment, gateways, classes, (home["metadata"].get("labels") or {}))


def checks(
    deployment: ModelDeployment, gateways: Sequence[Manifest], classes: Sequence[Manifest], labels: Mapping[str, str]
) -> list[Check]:
    """What is fine and what is wrong.

    Args:
        deployment: what names the gateways.
        gateways: all Gateways that may be seen.
        classes: all GatewayClasses.
        labels: those of the deployment's namespace.

    """
    traffic, home = deployment.spec.traffic.gateway, deployment.metadata.namespace
    if traffic is None:
        return []
    found = {(each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in gateways}
    told: list[Check] = []
    for reference in traffic.parent_refs:
        key = reference.namespace or home, reference.name
        name = f"Gateway {'/'.join(key)}"
        if key not in found:
            told.append(Check(False, f"{name} is not there{_alike(key, found)}"))
            continue
        told += _of_gateway(name, found[key])
        told += _of_listeners(name, found[key], reference, traffic.hostnames, home=home, labels=labels)
    states = gateway_states(
        [only_what_is_known(dict(each)) for each in gateways], [only_its_features(dict(each)) for each in classes], {}
    )
    for step in planned_steps(deployment.spec):
        unknown = unknown_feature(step.needs, traffic.parent_refs, home, states) if step.needs else None
        if unknown is not None:
            told.append(Check(False, f"step {step.name} waits: {unknown}"))
        elif step.needs:
            told.append(Check(True, f"step {step.name}: {', '.join(sorted(step.needs))} is known to work"))
    return told


def _alike(key: tuple[str, str], found: Iterable[tuple[str, str]]) -> str:
    names = ["/".join(each) for each in found]
    alike = difflib.get_close_matches("/".join(key), names, n=1)
    return f"; did you mean {alike[0]}?" if alike else f"; there are {', '.join(sorted(names)) or 'none'}"


def _of_gateway(name: str, gateway: Manifest) -> Iterator[Check]:
    conditions = {each.get("type"): each for each in (gateway.get("status") or {}).get("conditions") or ()}
    for kind in ("Accepted", "Programmed"):
        said = conditions.get(kind)
        if said is None:
            yield Check(False, f"{name} has not been {kind.lower()} by a controller: is the one of its class running?")
        elif said.get("status") != "True":
            yield Check(False, f"{name} says {kind}={said.get('status')}, {said.get('reason')}: {said.get('message')}")
        else:
            yield Check(True, f"{name} is {kind.lower()}")


def _of_listeners(
    name: str,
    gateway: Manifest,
    reference: GatewayReference,
    hostnames: Sequence[str],
    *,
    home: str,
    labels: Mapping[str, str],
) -> Iterator[Check]:
    listeners = (gateway.get("spec") or {}).get("listeners") or []
    if reference.section_name is not None:
        listeners = [each for each in listeners if each.get("name") == reference.section_name]
        if not listeners:
            yield Check(False, f"{name} has no listener {reference.section_name}")
            return
    listeners = [each for each in listeners if each.get("protocol") in _HTTP]
    if not listeners:
        yield Check(False, f"{name} has no listener for HTTP or HTTPS here")
        return
    its_namespace = gateway["metadata"].get("namespace", "")
    admitting = [
        each
        for each in listeners
        if admits((each.get("allowedRoutes") or {}).get("namespaces"), its_namespace, home, labels)
    ]
    if not admitting:
        yield Check(False, f"{name} lets in no routes from namespace {home}: see allowedRoutes of its listeners")
        return
    yield Check(True, f"{name} lets in routes from namespace {home}")
    for hostname in hostnames:
        if any(_covers(each.get("hostname"), hostname) for each in admitting):
            yield Check(True, f"{name} serves {hostname}")
        else:
            there = ", ".join(str(each.get("hostname")) for each in admitting)
            yield Check(False, f"{name} does not serve {hostname}: its listeners are for {there}")


def _covers(listener: str | None, hostname: str) -> bool:
    """Whether a listener's hostname and a route's intersect, as the Gateway API says."""
    if not listener or listener == hostname:
        return True
    if listener.startswith("*."):
        return hostname.removeprefix("*").endswith(listener[1:])
    return hostname.startswith("*.") and listener.endswith(hostname[1:])
