"""What a gateway is found to do, by the requests of a trial."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serinus.api.deployment import ModelDeployment
from serinus.api.gateways import GatewayFeature
from serinus.cli import trial, trial_pod
from serinus.cli.gateways import judged
from serinus.core.gateways import GatewayState
from tests.unit.api.bad_specs import IMAGE

WORKS = {
    "weights": trial.Result({"stable": 90, "candidate": 10}, {"stable": 90, "candidate": 10}, 0, ""),
    "header": trial.Result({"stable": 0, "candidate": 100}, {"stable": 0, "candidate": 100}, 0, ""),
    "no-header": trial.Result({"stable": 100, "candidate": 0}, {"stable": 100, "candidate": 0}, 0, ""),
    "mirror": trial.Result({"stable": 100, "candidate": 0}, {"stable": 100, "candidate": 100}, 0, ""),
    "half-mirror": trial.Result({"stable": 100, "candidate": 0}, {"stable": 100, "candidate": 45}, 0, ""),
    "mirror-to-nobody": trial.Result({"stable": 100, "candidate": 0}, {"stable": 100, "candidate": 0}, 0, ""),
}
ALL_FAIL = trial.Result({"stable": 0, "candidate": 0}, {"stable": 0, "candidate": 0}, 100, "failed: HTTP Error 500")
NOTHING_COPIED = trial.Result({"stable": 100, "candidate": 0}, {"stable": 100, "candidate": 0}, 0, "")
ALL_TO_STABLE = trial.Result({"stable": 100, "candidate": 0}, {"stable": 100, "candidate": 0}, 0, "")
ROUTE = trial.Route({"name": "public", "namespace": "gateways"}, "http://10.0.0.1:80", "iris.example.com")


def iris() -> ModelDeployment:
    spec = {
        "serving": {"image": IMAGE, "imagePullSecrets": [{"name": "registry"}]},
        "traffic": {"gateway": {"parentRefs": [{"name": "public"}], "hostnames": ["iris.example.com"]}},
    }
    return ModelDeployment.parse({"metadata": {"name": "iris", "namespace": "models"}, "spec": spec})


def test_a_gateway_that_does_what_every_route_says_works():
    assert [each.message for each in trial.findings(WORKS) if not each.works] == []


@pytest.mark.parametrize(
    ("name", "result", "words"),
    [
        ("weights", ALL_FAIL, "0 and 0 of 100 requests, 100 failed (failed: HTTP Error 500)"),
        ("weights", ALL_TO_STABLE, "100 and 0 of 100 requests"),
        ("header", ALL_TO_STABLE, "0 of 100 requests with it went to the candidate"),
        ("no-header", WORKS["header"], "100 of 100 requests with it went to the candidate, and 100 without it"),
        ("mirror", ALL_FAIL, "copies of all requests: 0 of 100 requests were answered, 0 copied, 100 failed"),
        ("mirror", NOTHING_COPIED, "copies of all requests: 100 of 100 requests were answered, 0 copied"),
        (
            "half-mirror",
            WORKS["mirror"],
            "copies of half of the requests: 100 of 100 requests were answered, 100 copied",
        ),
        ("mirror-to-nobody", ALL_FAIL, "copies to a Service without pods: 0 of 100 requests were answered, 100 failed"),
    ],
)
def test_what_does_not_work_is_told_with_its_figures(name: str, result: trial.Result, words: str):
    (told,) = [each for each in trial.findings({**WORKS, name: result}) if not each.works]
    assert words in told.message


def told(finding: trial.Finding, *known: GatewayFeature, needed: tuple[GatewayFeature, ...] = ()) -> tuple[Any, str]:
    state = GatewayState("example.com/controller", "some", frozenset(known))
    check = judged("Gateway g/public", state, finding, frozenset(needed))
    return check.fine, check.message


def test_what_was_seen_is_held_against_what_is_known_and_needed():
    mirror = GatewayFeature.MIRROR
    works, fails = trial.Finding(True, "copies", mirror), trial.Finding(False, "copies", mirror)
    assert told(works, mirror) == (True, "Gateway g/public: copies")
    assert told(works)[0] is None
    assert told(works)[1].endswith("{example.com/controller: {HTTPRouteRequestMirror: true}}")
    assert told(fails) == (None, "Gateway g/public: copies; no step asks for it")
    assert told(fails, needed=(mirror,)) == (False, "Gateway g/public: copies")
    assert told(fails, mirror)[0] is False
    assert told(fails, mirror)[1].endswith("{example.com/controller: {HTTPRouteRequestMirror: false}}")
    assert told(trial.Finding(False, "weights")) == (False, "Gateway g/public: weights")
    assert told(trial.Finding(False, "copies to nobody", optional=True))[0] is None


def test_all_that_a_trial_makes_goes_with_its_job_and_leads_no_request_of_others_astray():
    job, others = trial.objects(iris(), "gateway-check-1", ROUTE)
    assert job["spec"]["ttlSecondsAfterFinished"] > 0
    pod = job["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["containers"][0]["image"] == IMAGE
    routes = [each for each in others if each["kind"] == "HTTPRoute"]
    paths = [match["path"]["value"] for each in routes for rule in each["spec"]["rules"] for match in rule["matches"]]
    assert len(routes) == len(trial.TRIES)
    assert all(path.startswith("/gateway-check-1/") for path in paths)
    assert {each["metadata"]["namespace"] for each in (job, *others)} == {"models"}
    selectors = [each["spec"]["selector"] for each in others if each["kind"] == "Service"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert [selector == labels for selector in selectors] == [True, True, False], "nobody has no pods"


@pytest.mark.parametrize(
    ("addresses", "protocol", "section", "url"),
    [
        (["10.0.0.1"], "HTTP", None, "http://10.0.0.1:8000"),
        (["fd00::1"], "HTTPS", "web", "https://[fd00::1]:8000"),
        ([], "HTTP", None, None),
        (["10.0.0.1"], "TCP", None, None),
        (["10.0.0.1"], "HTTP", "another", None),
    ],
)
def test_a_gateway_answers_where_its_status_and_its_listener_say(
    addresses: list[str], protocol: str, section: str | None, url: str | None
):
    gateway = {
        "spec": {"listeners": [{"name": "web", "protocol": protocol, "port": 8000}]},
        "status": {"addresses": [{"value": each} for each in addresses]},
    }
    assert trial.address(gateway, section) == url


def test_the_hostname_that_is_asked_for_fits_the_route_and_the_listener():
    assert trial.hostname(["iris.example.com", "*.example.com"]) == "iris.example.com"
    assert trial.hostname([None, "*.example.com"]) == "gateway-check.example.com"
    assert trial.hostname([None]) is None


def free_port() -> int:
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.fixture
def ports() -> dict[str, int]:
    return {"stable": free_port(), "candidate": free_port()}


@pytest.fixture
def gateway(ports: dict[str, int]) -> Iterator[str]:
    """Sends what has the header to the candidate, copies /mirror to it, and fails /broken."""

    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/broken"):
                self.send_error(500)
                return
            to = "candidate" if self.headers.get("x-lead") else "stable"
            if self.path.startswith("/mirror"):
                urllib.request.urlopen(f"http://127.0.0.1:{ports['candidate']}{self.path}", timeout=5).close()
            answer = urllib.request.urlopen(f"http://127.0.0.1:{ports[to]}{self.path}", timeout=5)
            self.send_response(200)
            self.send_header(trial_pod.HEADER, answer.headers[trial_pod.HEADER])
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_the_pod_counts_answers_copies_and_failures(gateway: str, ports: dict[str, int], tmp_path: Path):
    report = tmp_path / "report"
    told = {
        "url": gateway,
        "host": None,
        "ports": ports,
        "requests": 10,
        "patience": 1,
        "report": str(report),
        "tries": [
            {"name": "led", "path": "/led", "headers": {"x-lead": "yes"}},
            {"name": "mirror", "path": "/mirror", "headers": {}},
            {"name": "broken", "path": "/broken", "headers": {}},
        ],
    }
    subprocess.run(
        [sys.executable, "-c", Path(trial_pod.__file__).read_text(), json.dumps(told)], check=True, timeout=60
    )
    seen = json.loads(report.read_text())
    assert seen["led"]["answered"] == {"stable": 0, "candidate": 10}
    assert trial.Result(**seen["mirror"]).copies == 10
    assert seen["mirror"]["answered"] == {"stable": 10, "candidate": 0}
    assert seen["broken"]["failed"] == 10
    assert "500" in seen["broken"]["failure"]
