"""The cluster itself: what every other end-to-end test takes for granted."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster.images import build_image, load_images
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.process import CommandError

PROBE = Path(__file__).parent / "probe"
DEADLINE_SECONDS = 60

FETCH = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Host": sys.argv[2]} if len(sys.argv) > 2 else {})
print(urllib.request.urlopen(request, timeout=5).read().decode())
"""


class ProbePod:
    """A pod that serves, and from which the cluster is looked at."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.kubectl = Kubectl()

    def python(self, program: str, *arguments: str) -> str:
        """Run a Python program in the pod and return what it printed."""
        command = ("--namespace", self.namespace, "exec", "probe", "--", "python3", "-c", program, *arguments)
        return self.kubectl.run(*command).strip()

    def eventually(self, program: str, *arguments: str) -> str:
        """Run a Python program in the pod until it ends well."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                return self.python(program, *arguments)
            except CommandError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


@pytest.fixture(scope="module")
def probe() -> Iterator[ProbePod]:
    build_image("localhost/serinus-e2e/probe:1", PROBE)
    load_images(["localhost/serinus-e2e/probe:1"])
    pod = ProbePod(f"probe-{uuid.uuid4().hex[:8]}")
    pod.kubectl.run("create", "namespace", pod.namespace)
    try:
        pod.kubectl.run("--namespace", pod.namespace, "apply", "--filename", PROBE / "objects.yaml")
        pod.kubectl.run("--namespace", pod.namespace, "wait", "--for=condition=Ready", "pod/probe", "--timeout=60s")
        yield pod
    finally:
        pod.kubectl.run("delete", "namespace", pod.namespace, "--wait=false")


def test_a_pod_finds_services_by_name_and_reaches_itself_through_one(probe: ProbePod) -> None:
    assert probe.python("import socket; print(socket.gethostbyname('kubernetes.default'))") == "10.96.0.1"
    assert probe.eventually(FETCH, f"http://probe.{probe.namespace}") == "probe"


def test_a_route_on_the_public_gateway_answers_for_its_host_name_only(probe: ProbePod) -> None:
    gateway = "http://traefik.gateway-system"
    assert probe.eventually(FETCH, gateway, "probe.example.com") == "probe"
    with pytest.raises(CommandError, match="HTTP Error 404"):
        probe.python(FETCH, gateway, "unknown.example.com")


def test_prometheus_counts_the_requests_of_an_annotated_pod_under_its_name(probe: ProbePod) -> None:
    selector = f'{{namespace="{probe.namespace}",pod="probe"}}'
    query = f"http://prometheus.monitoring:9090/api/v1/query?query=probe_requests_total{selector}".replace('"', "%22")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (result := json.loads(probe.eventually(FETCH, query))["data"]["result"]):
        assert time.monotonic() < deadline, f"nothing scraped for {selector}"
        time.sleep(0.5)
    assert float(result[0]["value"][1]) > 0
    up = json.loads(probe.python(FETCH, query.replace("probe_requests_total", "up")))["data"]["result"]
    assert [series["value"][1] for series in up] == ["1"]
