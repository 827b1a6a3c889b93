"""A real Traefik in front of the Services and the route that the operator renders, scraped by a real Prometheus.

The pods of neither revision can be reached, as if their node had gone, so that the gateway answers every request by
itself: no model learns of them, and what Traefik counts for each revision is all there is.
"""

import asyncio
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.cluster import tools
from e2e.cluster.controlplane import ControlPlane
from serinus.api.deployment import ModelDeployment
from serinus.api.gateways import Gateway
from serinus.core.evidence.intervals import intervals_of, total_of
from serinus.core.readings import Counters, Grid, Missing, MissingReason, Part
from serinus.core.render.routing import http_route, revision_service
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.source import ErrorShare, ReadingRequest
from tests.integration.prometheus_process import PATIENCE_SECONDS, Prometheus
from tests.integration.scraped_pods import Namespace

REQUESTS = 20
NOBODY = "192.0.2.1"  # reserved for documentation: no host has it
UNANSWERED = {502, 504}
REVISIONS = ("1111111111", "2222222222")
ERRORS = ErrorShare(("5..", "429"), client_errors=True)
CONFIG = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
scrape_configs:
- job_name: annotations
  file_sd_configs: [{{files: [annotations/*.json], refresh_interval: 5s}}]
- job_name: traefik
  static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {labels}}}]
"""
POD = {"namespace": "gateway-system", "pod": "traefik-0"}
BY_SERVICE_MONITOR = POD | {"service": "traefik-metrics", "endpoint": "metrics"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Traefik:
    """Traefik on loopback, reading Gateways from the API server of the test."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        self.log = folder / "traefik.log"
        command = [
            *("setpriv", "--pdeathsig", "KILL", str(tools.packaged() / "traefik")),
            f"--entryPoints.web.address=127.0.0.1:{self.port}",
            f"--entryPoints.metrics.address=127.0.0.1:{self.metrics_port}",
            "--metrics.prometheus=true",
            "--metrics.prometheus.entryPoint=metrics",
            "--providers.kubernetesGateway=true",
            "--providers.kubernetesGateway.statusAddress.ip=127.0.0.1",
            "--serversTransport.forwardingTimeouts.dialTimeout=200ms",
            "--global.checkNewVersion=false",
            "--global.sendAnonymousUsage=false",
        ]
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECONFIG": str(plane.kubeconfig)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, host: str) -> int:
        """The status of one request."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/read", headers={"Host": host})
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


def manifests(namespace: str, port: int) -> list[dict]:
    gateway = {"parentRefs": [{"name": "public"}], "hostnames": [f"{namespace}.example.com"]}
    deployment = ModelDeployment.parse(
        {
            "metadata": {"name": "fraud", "namespace": namespace, "uid": "1", "generation": 1},
            "spec": {"serving": {"image": "registry.example.com/fraud:1"}, "traffic": {"gateway": gateway}},
        }
    )
    listener = {"name": "http", "protocol": "HTTP", "port": port}
    made = [
        *(revision_service(deployment, revision, 1) for revision in REVISIONS),
        http_route(deployment, dict.fromkeys(REVISIONS, 50), 1),
    ]
    for each in made:
        each["metadata"].pop("ownerReferences", None)  # there is no owner, and nobody collects garbage here
    slices = [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"fraud-{revision}",
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": f"fraud-{revision}"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [NOBODY], "conditions": {"ready": True}}],
            "ports": [{"name": "http", "port": 3000}],
        }
        for revision in REVISIONS
    ]
    group = "gateway.networking.k8s.io/v1"
    return [
        {
            "apiVersion": group,
            "kind": "GatewayClass",
            "metadata": {"name": "traefik"},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
        {
            "apiVersion": group,
            "kind": "Gateway",
            "metadata": {"name": "public", "namespace": namespace},
            "spec": {"gatewayClassName": "traefik", "listeners": [listener]},
        },
        *slices,
        *made,
    ]


@pytest.fixture
def traefik(plane: ControlPlane, gateway_api: None, tmp_path: Path) -> Iterator[Traefik]:
    traefik = Traefik(plane, tmp_path)
    yield traefik
    traefik.kill()


def unanswered(reading: object) -> float | None:
    """Bad requests by the core's own arithmetic; None where there is no reading."""
    if not isinstance(reading, Counters) or not any(each.part is Part.AT_GATEWAY for each in reading.series):
        return None
    intervals = intervals_of(reading, ())
    assert not isinstance(intervals, Missing), intervals
    return total_of(tally for each in intervals for tally in each.strata.values()).surely_bad


@pytest.mark.parametrize("labels", [POD, BY_SERVICE_MONITOR], ids=["by annotation", "by ServiceMonitor"])
async def test_requests_that_no_pod_answered_count_against_their_revision(
    traefik: Traefik, kubectl: Callable, namespace: str, tmp_path: Path, labels: dict[str, str]
) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests(namespace, traefik.port)})
    applied = kubectl("apply", "--server-side", "-f", "-", stdin=text)
    assert applied.returncode == 0, applied.stderr
    config = CONFIG.format(port=traefik.metrics_port, labels=json.dumps(labels))
    prometheus = Prometheus(tmp_path / "prometheus", config)
    pods = Namespace(prometheus, namespace)
    source = PrometheusSource(prometheus.url, gateway=Gateway.TRAEFIK, timeout_seconds=20)
    grid = Grid(anchor=float(int(time.time())), step_seconds=1.0)
    host = f"{namespace}.example.com"

    async def read(revision: str) -> object:
        request = ReadingRequest(ERRORS, namespace, f"fraud-{revision}", grid, time.time(), route="fraud")
        return await source.read(request)

    try:
        for revision in REVISIONS:
            pods.pod(f"fraud-{revision}-aaaaa")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while unanswered(reading := await read(REVISIONS[0])) is None and not isinstance(reading, Counters):
            assert time.monotonic() < deadline, f"the last reading was {reading}"
            await asyncio.sleep(0.1)

        asked = 0
        while asked < REQUESTS:
            status = traefik.ask(host)
            assert time.monotonic() < deadline, f"the last answer was {status}\n{traefik.log.read_text()[-2000:]}"
            if status in UNANSWERED:
                asked += 1
            else:
                await asyncio.sleep(0.1)

        async def found() -> list[float | None]:
            return [unanswered(await read(revision)) for revision in REVISIONS]

        while sum(counts := [each or 0.0 for each in await found()]) < asked:
            assert time.monotonic() < deadline, f"{counts} of {asked} requests were read"
            await asyncio.sleep(0.2)
        assert sum(counts) == asked
        assert min(counts) == REQUESTS // 2
        for revision in REVISIONS:
            assert all(each.stratum == "" for each in (await read(revision)).series)

        traefik.kill()
        while not isinstance(reading := await read(REVISIONS[0]), Missing):
            assert time.monotonic() < deadline + PATIENCE_SECONDS, f"the last reading was {reading}"
            await asyncio.sleep(0.2)
        assert reading.reason in {MissingReason.TOO_OLD, MissingReason.EMPTY}
    finally:
        await source.close()
        pods.clear()
        prometheus.kill()
