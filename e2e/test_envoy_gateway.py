"""Rollouts behind Envoy Gateway, which copies requests: whatever the candidate does with its copies, no client notices.

Requests that get lost are counted and printed: all pods of a candidate are killed where it has copies of all requests,
and where a quarter of the requests is its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.locations import KUBECONFIG
from e2e.cluster.process import run
from e2e.envoy_gateway import ENVOY, envoy_gateway
from e2e.load.report import LoadReport
from e2e.model import (
    REQUESTS_PER_SECOND,
    TRAEFIK,
    Gateway,
    Manifest,
    Model,
    model_in,
    revision,
    rollout,
    small,
    weights_of,
)
from e2e.stage import Stage, wait_until
from e2e.watching import stable_version

pytestmark = pytest.mark.full

HEADER, COHORT = "x-cohort", "beta"
REQUESTS_AT_ONCE = 40
COPIES = 200
"""Some seconds of them."""
SHARE = 25
HOLD_SECONDS = 10
TRIED = (
    "weights of 90 and 10",
    "a rule for a header",
    "copies of all requests",
    "copies of half of the requests",
    "copies to a Service without pods",
)
PLUGIN = Path(sys.executable).with_name("kubectl-serinus")
OFF_SECONDS = 8
"""What a busy machine takes from the end of a pod to a route without it; an idle one takes one or two."""
AFTERWARDS_SECONDS = 15
"""From the route's change to the last answer of a request from before: the gateway's lag and a client's time-out."""
TWO_PODS: dict[str, Any] = {"scaling": {"replicas": 2}}
ERRORS = {"metrics": [{"name": "errors", "errors": {}, "limit": {"maxPercent": "2"}, "minSamples": 50}]}

_BROKEN = """
import http.server, signal, sys, time
class Model(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        print("asked", flush=True)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        {deed}
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
http.server.ThreadingHTTPServer(("", 3000), Model).serve_forever()
"""
BROKEN = {
    "answers 500": _BROKEN.format(deed="self.send_response(500); self.end_headers()"),
    "hangs": _BROKEN.format(deed="time.sleep(60)"),
}
"""Servers that are ready, and what they do with each request."""
_ASKED = """
import urllib.request
text = urllib.request.urlopen("http://localhost:3000/metrics", timeout=10).read().decode()
counts = [line for line in text.splitlines() if line.startswith("bentoml_service_request_total{") and "/read" in line]
print(sum(float(line.split()[-1]) for line in counts))
"""
"""How many requests a pod of the example has counted."""


@pytest.fixture(scope="module")
def model(stage: Stage) -> Iterator[Model]:
    """Version 1 serves behind Envoy Gateway, with clients."""
    with envoy_gateway(stage.kubectl), model_in(stage, "e2e-envoy", ENVOY) as model:
        model.serve(**TWO_PODS)
        model.send_requests()
        yield model


def steps(*each: dict[str, Any]) -> dict[str, Any]:
    """Sections of a rollout with these steps."""
    # Whoever was here a minute ago is as new as anybody: no step may be skipped.
    return {**TWO_PODS, "rollout": {"canary": {"steps": [*each]}, "rollbackWindowSeconds": 0}, "analysis": ERRORS}


def copies_of(route: Manifest) -> dict[str, int]:
    """What a route copies: percent by revision."""
    mirrors = [
        each["requestMirror"] for each in route["spec"]["rules"][-1].get("filters", []) if "requestMirror" in each
    ]
    return {each["backendRef"]["name"].rpartition("-")[2]: each.get("percent", 100) for each in mirrors}


def wait_until_in(model: Model, step: str) -> Manifest:
    """Wait until the hold of a step counts."""

    def counts(manifest: Manifest) -> bool:
        seen = model.has_seen_what_was_applied(manifest)
        return seen and rollout(manifest).get("step") == step and "countingSince" in rollout(manifest)

    return model.resource.wait_for(f"the hold of step {step} counts", counts, 180)


def another_version(model: Model) -> str:
    """A good version that is not stable now."""
    return "2.0.0" if stable_version(model.resource.newest or {}) == "1.0.0" else "1.0.0"


def asked(model: Model, candidate: str) -> int:
    """Requests that the pods of a revision have counted."""
    pods = model.ready_pods(candidate)
    return int(sum(float(model.kubectl("exec", pod, "--", "python", "-c", _ASKED)) for pod in pods))


def printed(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n{text}", flush=True)


def kill_all_pods(model: Model, candidate: str) -> tuple[float, float]:
    """Kill the pods of a revision without grace, and say between when and when."""
    pods, begin = model.pods(candidate), time.time()
    model.kubectl("delete", "pod", *pods, "--force", "--grace-period=0", "--ignore-not-found")
    return begin, time.time()


def lost_since(model: Model, begin: float, until: float) -> LoadReport:
    """What clients saw around a loss, once every request of that time has had its answer."""
    wait_until("clients have gone on", lambda: time.time() > until + AFTERWARDS_SECONDS, AFTERWARDS_SECONDS + 60)
    model.wait_for_answers()
    return model.report().between(begin - 1, until + AFTERWARDS_SECONDS)


def test_testers_then_copies_then_a_share_and_no_request_is_lost(model: Model) -> None:
    testers = {
        "name": "testers",
        "match": {"headers": [{"name": HEADER, "value": COHORT}]},
        "holdSeconds": HOLD_SECONDS,
    }
    shadow = {"name": "shadow", "shadowPercent": 50, "holdSeconds": 2 * HOLD_SECONDS}
    share = {"name": "half", "weightPercent": 50, "holdSeconds": HOLD_SECONDS}
    model.apply("2.0.0", **steps(testers, shadow, share))

    held = wait_until_in(model, "testers")
    time.sleep(3)  # the margin after which a gateway has a route that it has accepted
    assert model.ask({HEADER: COHORT}, REQUESTS_AT_ONCE) == {"2.0.0 200": REQUESTS_AT_ONCE}
    assert model.ask({HEADER: "gamma"}, REQUESTS_AT_ONCE) == {"1.0.0 200": REQUESTS_AT_ONCE}

    while rollout(model.resource.newest or {}).get("step") == "testers":  # what testers do is judged, so they go on
        assert set(model.ask({HEADER: COHORT}, REQUESTS_AT_ONCE)) == {"2.0.0 200"}
    wait_until_in(model, "shadow")
    candidate = revision(held, "candidate")
    assert copies_of(model.get("httproute", "digits")) == {candidate: 50}
    before, begin = asked(model, candidate), time.time()
    answers = model.wait_for_answers(of_seconds=6)
    share_of_copies = (asked(model, candidate) - before) / REQUESTS_PER_SECOND / (time.time() - begin)
    assert 0.3 < share_of_copies < 0.7
    assert answers.versions == {"1.0.0"}

    promoted = model.wait_until_promoted("2.0.0")
    assert rollout(promoted)["judgedBy"] == "Metrics"
    assert copies_of(model.get("httproute", "digits")) == {}
    model.nobody_saw_a_failure(model.report())


def test_a_version_that_fails_its_copies_is_rolled_back_and_no_client_has_seen_it(model: Model) -> None:
    begin = time.time()
    model.apply("3.0.0", **steps({"name": "shadow", "shadowPercent": 100, "holdSeconds": 600}))
    rejected = model.wait_until_rejected()
    assert rejected["status"]["rejected"][0]["reason"] == "MetricFailed", model.told()
    assert stable_version(rejected) == "2.0.0"
    report = model.report().between(begin, float("inf"))
    assert report.versions == {"2.0.0"}
    model.nobody_saw_a_failure(report)


@pytest.mark.parametrize("deed", BROKEN)
def test_clients_do_not_notice_what_a_candidate_does_with_its_copies(
    model: Model, deed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = steps({"name": "shadow", "shadowPercent": 100, "holdSeconds": 600})
    others = copies_of(model.get("httproute", "digits")).keys()  # the candidate of the test before may have some yet
    quiet = model.wait_for_answers(of_seconds=5)
    model.apply("3.0.0", serving={"command": ["python", "-c", BROKEN[deed]]}, **sections)
    route = model.route.wait_for("requests are copied to it", lambda m: bool(copies_of(m).keys() - others), 180)
    ((candidate, percent),) = copies_of(route).items()
    assert percent == 100

    def copied() -> int:
        logs = [model.kubectl("logs", pod, "--container=model") for pod in model.ready_pods(candidate)]
        return sum(text.count("asked") for text in logs)

    begin = time.time()
    wait_until(f"the candidate that {deed} got {COPIES} copies", lambda: copied() >= COPIES, 60)
    report = model.wait_for_answers(of_seconds=5)
    slowest, usual = report.latency_milliseconds(0.95), quiet.latency_milliseconds(0.95)
    printed(
        capsys,
        f"a candidate that {deed}, with {copied()} copies in {time.time() - begin:.0f} s: "
        f"p95 of clients {slowest:.0f} ms, without copies {usual:.0f} ms",
    )
    model.nobody_saw_a_failure(model.report().between(begin - 1, time.time()))
    assert report.versions == {"2.0.0"}
    assert slowest < 1000, "clients do not wait for the copies"


def test_nobody_notices_when_all_pods_die_that_get_copies_of_all_requests(
    model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    model.apply(another_version(model), **steps({"name": "shadow", "shadowPercent": 100, "holdSeconds": 600}))
    holding = wait_until_in(model, "shadow")
    candidate = revision(holding, "candidate")
    assert copies_of(model.get("httproute", "digits")) == {candidate: 100}

    begin, killed_at = kill_all_pods(model, candidate)
    route = model.route.wait_for("nothing is copied to nobody", lambda m: copies_of(m) == {}, 30)
    off_at = next(seen.at for seen in model.route.seen if seen.manifest is route)
    report = lost_since(model, begin, off_at)
    printed(
        capsys,
        f"all pods killed under a mirror of 100 %: {report.failed} of {report.requests} requests lost; "
        f"the mirror was off after {off_at - killed_at:.1f} s",
    )
    assert off_at - killed_at < OFF_SECONDS
    model.nobody_saw_a_failure(report)
    model.route.wait_for("copies are made again", lambda m: copies_of(m) == {candidate: 100}, 120)


def test_few_requests_are_lost_when_all_pods_die_that_have_a_quarter_of_them(
    model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    model.apply(another_version(model), **steps({"name": "quarter", "weightPercent": SHARE, "holdSeconds": 600}))
    holding = wait_until_in(model, "quarter")
    candidate, stable = revision(holding, "candidate"), revision(holding, "stable")

    begin, killed_at = kill_all_pods(model, candidate)
    route = model.route.wait_for("the weight is off", lambda m: weights_of(m) == {stable: 100}, 30)
    off_at = next(seen.at for seen in model.route.seen if seen.manifest is route)
    report = lost_since(model, begin, off_at)
    printed(
        capsys,
        f"all pods killed at a weight of {SHARE} %: {report.failed} of {report.requests} requests lost; "
        f"the weight was off after {off_at - killed_at:.1f} s",
    )
    assert off_at - killed_at < OFF_SECONDS
    assert report.failed <= REQUESTS_PER_SECOND * SHARE / 100 * (off_at - begin + 3)
    model.route.wait_for("the weight is on again", lambda m: weights_of(m).get(candidate) == SHARE, 120)


@pytest.mark.parametrize(("gateway", "copies"), [(TRAEFIK, "–"), (ENVOY, "✔")], ids=["Traefik", "Envoy Gateway"])
def test_a_trial_finds_out_what_a_gateway_does(model: Model, gateway: Gateway, copies: str, tmp_path: Path) -> None:
    file = tmp_path / "digits.yaml"
    file.write_text(yaml.safe_dump(small("1.0.0", f"trial-{model.host}", gateway=gateway)))
    told = run(
        *(PLUGIN, "gateway-check", f"--filename={file}", "--try", f"--url={gateway.url}"),
        *(f"--namespace={model.namespace}", f"--kubeconfig={KUBECONFIG}"),
        timeout_seconds=300,
        advice="kubectl describe jobs says more",
    )
    marks = {what: line.split()[0] for line in told.splitlines() for what in TRIED if what in line}
    assert marks == {what: "✔" if what in TRIED[:2] else copies for what in TRIED}, told

    def left() -> str:
        return model.kubectl("get", "jobs,services,httproutes", "--output=name")

    wait_until("nothing of the trial is left", lambda: "gateway-check" not in left(), 60)
