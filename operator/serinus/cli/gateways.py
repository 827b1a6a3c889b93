"""`kubectl serinus gateway-check`: whether the gateways of a file are there, let its route in, and can do its steps.

The findings are pure; the command reads Gateways and their classes. What a gateway is known to do comes from the same
table as the operator's, but for what its settings add to that, which are not seen from here. Requests are sent with
`--try` only (`serinus.cli.trial`).
"""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from serinus.api.deployment import ModelDeployment
from serinus.api.gateways import GatewayFeature
from serinus.api.kinds import GATEWAY, GATEWAY_CLASS, NAMESPACE
from serinus.api.traffic import GatewayReference
from serinus.cli import options, trial
from serinus.cli.access import Access, Where, with_cluster
from serinus.cli.files import model_deployments
from serinus.cli.offline import Files, parsed
from serinus.cli.outcome import CommandFailed, ExitCode
from serinus.cli.terminal import complain, harmless
from serinus.core.gateways import GatewayKey, GatewayState, unknown_feature
from serinus.core.listeners import admits
from serinus.core.plan import Manifest
from serinus.core.traffic import planned_steps
from serinus.kube.gateways import gateway_states, only_its_features, only_what_is_known

_HTTP: Final = frozenset({"HTTP", "HTTPS"})


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    fine: bool | None
    """None for something to know, which is no fault."""
    message: str

    def __str__(self) -> str:
        return f"{_MARKS[self.fine]} {self.message}"


_MARKS: Final = {True: "✔", False: "✖", None: "–"}


def gateway_check(
    filename: Files,
    namespace: options.Namespace = None,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
    *,
    try_it: Annotated[
        bool, typer.Option("--try", help="Also send requests through throw-away routes, from a Job in the namespace.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(help="Where the gateway answers, from inside the cluster; by default as it says itself."),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Image of the Job: any with Python; by default that of the model.")
    ] = None,
) -> None:
    """Check the gateways of ModelDeployments in files: there, admitting the route, able to do the steps.

    Ends with 1 where something is wrong.
    """
    wrong = False
    for each in model_deployments(filename):
        where = Where(kubeconfig, context, each.namespace or namespace)
        deployment = parsed(each, where.named_namespace)
        found = with_cluster(where, functools.partial(_look, deployment=deployment))
        if try_it:
            asked = functools.partial(_try, deployment=deployment, url=url, image=image)
            found += with_cluster(where, asked)
        sys.stdout.write(f"{each.name}\n" + "".join(f"  {harmless(str(check))}\n" for check in found))
        wrong = wrong or any(check.fine is False for check in found)
    if wrong:
        raise typer.Exit(ExitCode.ERROR)


async def _look(access: Access, deployment: ModelDeployment) -> list[Check]:
    gateway = deployment.spec.traffic.gateway
    if gateway is None:
        return [Check(True, "no traffic.gateway: requests come to a plain Service")]
    gateways = await access.listed(GATEWAY, everywhere=True)
    classes = await access.listed(GATEWAY_CLASS, everywhere=True)
    home = await access.cluster.get(NAMESPACE, "", deployment.metadata.namespace)
    return checks(deployment, gateways, classes, (home["metadata"].get("labels") or {}))


async def _try(access: Access, deployment: ModelDeployment, url: str | None, image: str | None) -> list[Check]:
    """Ask each gateway that the deployment names what it does."""
    traffic, home = deployment.spec.traffic.gateway, deployment.metadata.namespace
    if traffic is None:
        return []
    needed = frozenset(feature for step in planned_steps(deployment.spec) for feature in step.needs)
    classes = await access.listed(GATEWAY_CLASS, everywhere=True)
    told: list[Check] = []
    for reference in traffic.parent_refs:
        key = reference.namespace or home, reference.name
        gateway, name = await access.cluster.get(GATEWAY, *key), f"Gateway {'/'.join(key)}"
        where = url or trial.address(gateway, reference.section_name)
        if where is None:
            raise CommandFailed(f"{name} does not say where it answers; say it: --url http://SERVICE.NAMESPACE:PORT")
        listeners = (gateway.get("spec") or {}).get("listeners") or ()
        host = trial.hostname([*traffic.hostnames, *(each.get("hostname") for each in listeners)])
        parent = reference.model_dump(by_alias=True, exclude_none=True)
        complain(f"{name}: sending requests to {where}, which takes a minute or two")
        seen = await trial.tried(access, trial.Route(parent, where, host), deployment, image)
        state = _states([gateway], classes)[key]
        told += [judged(name, state, finding, needed) for finding in seen]
    return told


def judged(name: str, state: GatewayState, finding: trial.Finding, needed: frozenset[GatewayFeature]) -> Check:
    """What was seen of a gateway, beside what is known of it (`state`) and what steps ask of it (`needed`)."""
    feature, said = finding.feature, f"{name}: {finding.message}"
    if feature is None:
        return Check(finding.works or (None if finding.optional else False), said)
    if finding.works != (feature in state.features):
        setting = f"{{{state.controller}: {{{feature}: {str(finding.works).lower()}}}}}"
        said += f"; other things are known of it: set gatewayFeatures of the operator's Helm values to {setting}"
        return Check(None if finding.works else False, said)
    if finding.works or feature in needed:
        return Check(finding.works, said)
    return Check(None, f"{said}; no step asks for it")


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
    states = _states(gateways, classes)
    for step in planned_steps(deployment.spec):
        unknown = unknown_feature(step.needs, traffic.parent_refs, home, states) if step.needs else None
        if unknown is not None:
            told.append(Check(False, f"step {step.name} waits: {unknown}"))
        elif step.needs:
            told.append(Check(True, f"step {step.name}: {', '.join(sorted(step.needs))} is known to work"))
    return told


def _states(gateways: Iterable[Manifest], classes: Iterable[Manifest]) -> dict[GatewayKey, GatewayState]:
    known = [only_what_is_known(dict(each)) for each in gateways]
    return gateway_states(known, [only_its_features(dict(each)) for each in classes], {})


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
