"""What `kubectl serinus gateway-check --try` does: asks a gateway through throw-away routes what it can do.

A Job's pod is at once two backends and their client. One route for each try leads to it, at a path that nobody else
has; everything belongs to the Job, so that it goes with it, and the Job goes by itself if this process can't delete it.
What a result means is pure. Called by `serinus.cli.gateways`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from serinus.api.deployment import ModelDeployment
from serinus.api.gateways import GatewayFeature
from serinus.api.kinds import GROUP, HTTP_ROUTE, JOB, POD, SERVICE
from serinus.cli.access import Access
from serinus.cli.outcome import CommandFailed, ExitCode
from serinus.core.plan import Manifest
from serinus.core.render.pod_template import BENTOML_USER_ID
from serinus.kube.cluster import Forbidden
from serinus.kube.refusals import without_what_next

STABLE: Final = "stable"
CANDIDATE: Final = "candidate"
NOBODY: Final = "nobody"
REQUESTS: Final = 100
"""Of each try, one after the other."""
SHARE: Final = 10
"""What the candidate is to get of them by weight."""

_LABEL: Final = f"{GROUP}/gateway-check"
_PORTS: Final = {STABLE: 8081, CANDIDATE: 8082}
_REPORT: Final = "/dev/termination-log"
_PATIENCE_SECONDS: Final = 20
"""What a gateway may take from a route's creation to carrying it out."""
_LONGEST_SECONDS: Final = 300
_KEPT_SECONDS: Final = 60
_HEADER: Final = "x-gateway-check-header"


@dataclass(frozen=True, slots=True)
class Try:
    """Requests through a route of their own, and what comes of them where a gateway does what the route says."""

    name: str
    split: Mapping[str, int]
    """Weight by backend."""
    mirror: Mapping[str, Any] | None = None
    to: str = CANDIDATE
    """Whom the copies are for."""
    by_header: bool = False
    """Whether a rule before the weights leads requests with the header to the candidate."""
    sends_header: bool = False
    feature: GatewayFeature | None = None
    """What it shows of a gateway, of that which steps may ask for."""


TRIES: Final = (
    Try("weights", {STABLE: 100 - SHARE, CANDIDATE: SHARE}),
    Try("header", {STABLE: 1}, by_header=True, sends_header=True, feature=GatewayFeature.HEADERS),
    Try("no-header", {STABLE: 1}, by_header=True, feature=GatewayFeature.HEADERS),
    Try("mirror", {STABLE: 1}, mirror={}, feature=GatewayFeature.MIRROR),
    Try("half-mirror", {STABLE: 1}, mirror={"percent": 50}, feature=GatewayFeature.PERCENTAGE_MIRROR),
    Try("mirror-to-nobody", {STABLE: 1}, mirror={}, to=NOBODY),
)


@dataclass(frozen=True, slots=True)
class Route:
    """How requests come in."""

    parent: Mapping[str, Any]
    """How a route refers to the gateway."""
    url: str
    """Where the gateway answers, from inside the cluster."""
    host: str | None
    """The hostname that is asked for; None for any."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the requests of one try."""

    answered: Mapping[str, int]
    asked: Mapping[str, int]
    failed: int
    failure: str

    @property
    def copies(self) -> int:
        """Requests that the candidate got beside those that it answered."""
        return self.asked[CANDIDATE] - self.answered[CANDIDATE]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a gateway was seen to do, or not to."""

    works: bool
    message: str
    feature: GatewayFeature | None = None
    optional: bool = False
    """Whether rollouts go on without it."""


def findings(results: Mapping[str, Result]) -> list[Finding]:
    """What the results of all tries say of a gateway."""
    weights, header, without = results["weights"], results["header"], results["no-header"]
    share, led = weights.answered[CANDIDATE], header.answered[CANDIDATE]
    astray = without.answered[CANDIDATE]
    return [
        Finding(
            not weights.failed and SHARE / 2 <= share <= 2 * SHARE,
            f"weights of {100 - SHARE} and {SHARE}: {weights.answered[STABLE]} and {share} of {REQUESTS} requests"
            + _lost(weights),
        ),
        Finding(
            led == REQUESTS and without.answered[STABLE] == REQUESTS,
            f"a rule for a header: {led} of {REQUESTS} requests with it went to the candidate, and {astray} without it"
            + _lost(header, without),
            GatewayFeature.HEADERS,
        ),
        _copies("copies of all requests", results["mirror"], 100, GatewayFeature.MIRROR),
        _copies("copies of half of the requests", results["half-mirror"], 50, GatewayFeature.PERCENTAGE_MIRROR),
        Finding(
            not results["mirror-to-nobody"].failed,
            f"copies to a Service without pods: {results['mirror-to-nobody'].answered[STABLE]} of {REQUESTS} requests "
            "were answered" + _lost(results["mirror-to-nobody"]),
            optional=True,
        ),
    ]


def _copies(what: str, result: Result, percent: int, feature: GatewayFeature) -> Finding:
    """All requests answered by stable, and about as many copies as were asked for."""
    fair = abs(result.copies - REQUESTS * percent / 100) <= REQUESTS * (0.05 if percent == 100 else 0.2)
    text = f"{what}: {result.answered[STABLE]} of {REQUESTS} requests were answered, {result.copies} copied"
    return Finding(result.answered[STABLE] == REQUESTS and fair, text + _lost(result), feature)


def _lost(*results: Result) -> str:
    failed = sum(each.failed for each in results)
    why = next((each.failure for each in results if each.failure), "")
    return f", {failed} failed ({why})" if failed else ""


def objects(
    deployment: ModelDeployment, name: str, route: Route, image: str | None = None
) -> tuple[Manifest, list[Manifest]]:
    """The Job `name`, and what is to belong to it: a Service for each backend and one for nobody, a route for each try.

    Namespace, image and pull secrets are those of `deployment`; the image need only have Python.
    """
    home, serving = deployment.metadata.namespace, deployment.spec.serving
    told = {
        "url": route.url,
        "host": route.host,
        "ports": _PORTS,
        "requests": REQUESTS,
        "patience": _PATIENCE_SECONDS,
        "report": _REPORT,
        "tries": [
            {
                "name": each.name,
                "path": f"/{name}/{each.name}",
                "headers": {_HEADER: "yes"} if each.sends_header else {},
            }
            for each in TRIES
        ],
    }
    container = {
        "name": "trial",
        "image": image or serving.image,
        "command": ["python", "-c", _source(), json.dumps(told)],
        "ports": [{"name": each, "containerPort": port} for each, port in _PORTS.items()],
        "readinessProbe": {"tcpSocket": {"port": CANDIDATE}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "imagePullSecrets": [{"name": each.name} for each in serving.image_pull_secrets],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": BENTOML_USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    job = {
        "apiVersion": JOB.api_version,
        "kind": JOB.kind,
        "metadata": {"name": name, "namespace": home, "labels": {_LABEL: name}},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": _LONGEST_SECONDS,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {"metadata": {"labels": {_LABEL: name}}, "spec": pod},
        },
    }
    services = [_service(home, name, backend) for backend in (*_PORTS, NOBODY)]
    return job, [*services, *(_route(home, name, each, route) for each in TRIES)]


def _source() -> str:
    return resources.files("serinus.cli").joinpath("trial_pod.py").read_text(encoding="utf-8")


def _service(home: str, name: str, backend: str) -> Manifest:
    port = {"name": "http", "port": 80, "targetPort": _PORTS.get(backend, 80)}
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.kind,
        "metadata": {"name": f"{name}-{backend}", "namespace": home},
        "spec": {"selector": {_LABEL: name if backend in _PORTS else NOBODY}, "ports": [port]},
    }


def _route(home: str, name: str, tried: Try, route: Route) -> Manifest:
    path = {"path": {"type": "PathPrefix", "value": f"/{name}/{tried.name}"}}
    backends = [{"name": f"{name}-{backend}", "port": 80, "weight": weight} for backend, weight in tried.split.items()]
    rule: dict[str, Any] = {"matches": [path], "backendRefs": backends}
    if tried.mirror is not None:
        target = {"backendRef": {"name": f"{name}-{tried.to}", "port": 80}, **tried.mirror}
        rule["filters"] = [{"type": "RequestMirror", "requestMirror": target}]
    by_header = {
        "matches": [{**path, "headers": [{"name": _HEADER, "value": "yes"}]}],
        "backendRefs": [{"name": f"{name}-{CANDIDATE}", "port": 80}],
    }
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.kind,
        "metadata": {"name": f"{name}-{tried.name}", "namespace": home},
        "spec": {
            "parentRefs": [dict(route.parent)],
            **({"hostnames": [route.host]} if route.host else {}),
            "rules": [*([by_header] if tried.by_header else []), rule],
        },
    }


def address(gateway: Manifest, section: str | None) -> str | None:
    """Where a Gateway answers, by its status and its listener for HTTP or HTTPS; None where it does not say."""
    addresses = (gateway.get("status") or {}).get("addresses") or ()
    listeners: Sequence[Mapping[str, Any]] = (gateway.get("spec") or {}).get("listeners") or ()
    usable = [each for each in listeners if section in {None, each.get("name")} and each.get("protocol") in _SCHEMES]
    if not addresses or not usable:
        return None
    listener, value = usable[0], str(addresses[0].get("value", ""))
    host = f"[{value}]" if ":" in value else value
    return f"{_SCHEMES[listener['protocol']]}://{host}:{listener.get('port')}"


_SCHEMES: Final = {"HTTP": "http", "HTTPS": "https"}


def hostname(candidates: Collection[str | None]) -> str | None:
    """A hostname to ask for: the first of these, with a name of its own in place of a wildcard; None where none is."""
    first = next((each for each in candidates if each), None)
    return first.replace("*", "gateway-check", 1) if first else None


async def tried(access: Access, route: Route, deployment: ModelDeployment, image: str | None = None) -> list[Finding]:
    """What a gateway does with requests on throw-away routes; nothing of them is left afterwards.

    The image is that of the model unless another is named. Raises `CommandFailed` where the trial came to no end.
    """
    name, home = f"gateway-check-{secrets.token_hex(3)}", deployment.metadata.namespace
    job, others = objects(deployment, name, route, image)
    try:
        uid = (await access.cluster.create(JOB, home, job))["metadata"]["uid"]
        try:
            for each in others:
                await access.cluster.create(_KINDS[each["kind"]], home, _owned(each, name, uid))
            return findings(await _results(access, home, name))
        finally:
            await access.cluster.delete(JOB, home, name, uid)
    except Forbidden as error:
        needs = (
            f"--try needs the rights to make Jobs, Services and HTTPRoutes in {home}, to read pods and to delete Jobs"
        )
        raise CommandFailed(f"{without_what_next(error)}\n{needs}") from error


_KINDS: Final = {SERVICE.kind: SERVICE, HTTP_ROUTE.kind: HTTP_ROUTE}


def _owned(manifest: Manifest, job: str, uid: str) -> Manifest:
    """The object as one that goes when the Job does."""
    owner = {"apiVersion": JOB.api_version, "kind": JOB.kind, "name": job, "uid": uid, "blockOwnerDeletion": False}
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [owner]}}


async def _results(access: Access, home: str, name: str) -> dict[str, Result]:
    """What the Job's pod reports, once it has ended."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    seen = "it has no pod"
    while time.monotonic() < deadline:
        pods = [
            pod
            async for page in access.cluster.list_pages(POD, home, label_selector=f"{_LABEL}={name}")
            for pod in page.items
        ]
        for pod in pods:
            status = pod.get("status") or {}
            states = [each.get("state") or {} for each in status.get("containerStatuses") or ()]
            ended = next((state["terminated"] for state in states if "terminated" in state), None)
            if ended is not None and ended.get("exitCode") == 0:
                return {key: Result(**value) for key, value in json.loads(ended.get("message") or "{}").items()}
            if ended is not None or status.get("phase") == "Failed":
                raise CommandFailed(
                    f"the pod of Job {home}/{name} failed: {ended or status.get('message')}; has its image Python?"
                )
            waits = next((state["waiting"] for state in states if "waiting" in state), None)
            seen = f"its pod waits: {waits.get('reason')} {waits.get('message', '')}" if waits else "its pod runs"
        await asyncio.sleep(1)
    raise CommandFailed(
        f"the trial of Job {home}/{name} did not end within {_LONGEST_SECONDS} s ({seen}); try another --image",
        ExitCode.TIMED_OUT,
    )
