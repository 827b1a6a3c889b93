"""Candidates that can't serve never get traffic or lose it at once, and are rolled back in words that say why.

All of them are rolled out at the same time, each in its own namespace; the tests then look at one each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import groupby
from typing import Any

import pytest

from e2e.model import NAME, Model, events_of, model_in, revision, weights_of
from e2e.stage import DIGITS_IMAGE, Stage, wait_until
from e2e.watching import condition, phase

SHORT = {"startupSeconds": 20}
"""A startup probe that gives up early, for containers that never start."""
DEADLINE = {"progressDeadlineSeconds": 30}
MISSING_GATEWAY = {"name": "not-there", "namespace": "gateway-system"}
SIGTERM_TO_THE_SERVER = "import os; os.kill(1, 15)"
REQUESTS_PER_SECOND = 10
NEVER_READY = """
import http.server, signal, sys
class Model(http.server.BaseHTTPRequestHandler):
    started = False
    def do_GET(self):
        refuses = self.path == "/readyz" and Model.started
        Model.started |= self.path == "/readyz"
        self.send_response(503 if refuses else 200)
        self.end_headers()
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
http.server.ThreadingHTTPServer(("", 3000), Model).serve_forever()
"""
"""A server that starts, passes its startup probe and its liveness probe, and no readiness probe ever."""
MODEST = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}
"""So many models at once need room on a small node, beside those of other tests."""
NEXT_TO_NOTHING = {"requests": {"cpu": "10m", "memory": "32Mi"}}
WATCHED: dict[str, Any] = {
    "rollout": {"canary": None, "blueGreen": {}, "watchSeconds": 120},
    "analysis": {"metrics": [{"name": "errors", "errors": {}, "limit": {"maxPercent": "2"}, "minSamples": 50}]},
}
"""A switch on readiness that only the watch can take back: the broken version fails one request in five."""


@pytest.fixture(scope="module")
def models(stage: Stage) -> Iterator[dict[str, Model]]:
    """A model for each kind of trouble: version 1 serves, and its next version is on its way."""
    with_clients = ("missing-image", "crashing", "never-ready", "watched", "no-gateway")
    kinds = (*with_clients, "restarting")
    with ExitStack() as stack:
        models = {kind: stack.enter_context(model_in(stage, f"e2e-{kind}")) for kind in kinds}
        for model in models.values():
            model.apply("1.0.0", serving={"resources": MODEST})
        for model in models.values():
            model.wait_until_ready()
        with ThreadPoolExecutor(len(with_clients)) as pool:
            list(pool.map(lambda kind: models[kind].send_requests(REQUESTS_PER_SECOND), with_clients))
        models["missing-image"].apply("2.0.0", serving={**SHORT, "image": f"{DIGITS_IMAGE}:9.9.9"}, rollout=DEADLINE)
        crash = ["python", "-c", "import sys; sys.exit('the model file is not there')"]
        models["crashing"].apply("2.0.0", serving={**SHORT, "command": crash}, rollout=DEADLINE)
        never = {**SHORT, "command": ["python", "-c", NEVER_READY], "resources": NEXT_TO_NOTHING}
        models["never-ready"].apply("2.0.0", serving=never, rollout=DEADLINE)
        models["watched"].apply("3.0.0", **WATCHED)
        elsewhere = {"parentRefs": [MISSING_GATEWAY], "hostnames": [models["no-gateway"].host]}
        models["no-gateway"].apply("2.0.0", traffic={"gateway": elsewhere})
        models["restarting"].apply("2.0.0", hold_seconds=600)
        yield models


def rolled_back_at_the_deadline(model: Model) -> tuple[str, str]:
    """The revision that was rejected, while version 1 serves on, and why."""
    rejected = model.wait_until_rejected()
    status, reason, message = condition(rejected, "Stalled")
    assert (status, reason) == ("True", "ProgressDeadlineExceeded"), model.told()
    assert condition(rejected, "Available")[0] == "True"
    return str(rejected["status"]["rejected"][0]["revision"]), message


def assert_it_never_had_traffic(model: Model, candidate: str) -> None:
    weights = [weights_of(seen.manifest) for seen in model.route.seen]
    assert weights
    assert all(candidate not in weight for weight in weights), weights
    report = model.stop_requests()
    assert report.sent > 50
    model.nobody_saw_a_failure(report)
    assert report.versions == {"1.0.0"}


def test_a_candidate_whose_container_restarts_twice_after_it_was_ready_is_rolled_back(
    models: dict[str, Model],
) -> None:
    model = models["restarting"]
    candidate = revision(model.wait_until_holding(), "candidate")
    (pod,) = model.pods(candidate)

    def restarts_and_readiness() -> tuple[int, bool]:
        status = json.loads(model.kubectl("get", "pod", pod, "--output=jsonpath={.status.containerStatuses[0]}"))
        return int(status["restartCount"]), bool(status["ready"])

    def end_the_server() -> None:
        # Whether this command ends well is a race with its container's end; that it did its work is seen afterwards.
        place = f"--namespace={model.namespace}"
        model.stage.kubectl.try_run("exec", place, pod, "--", "python", "-c", SIGTERM_TO_THE_SERVER)

    end_the_server()
    wait_until("the container is ready again after its first end", lambda: restarts_and_readiness() == (1, True), 120)
    assert phase(model.get("mdep", NAME)) == "Holding", model.told()
    end_the_server()

    rejected = model.wait_until_rejected()
    status, reason, message = condition(rejected, "Stalled")
    assert (status, reason) == ("True", "ContainerRestarted"), model.told()
    assert "restarted 2 times" in message
    assert model.weights() == {revision(rejected, "stable"): 100}


def test_a_missing_image_gets_no_traffic_and_is_rolled_back_at_the_deadline_with_the_kubelets_reason(
    models: dict[str, Model],
) -> None:
    model = models["missing-image"]
    candidate, message = rolled_back_at_the_deadline(model)
    assert "ErrImagePull" in message or "ImagePullBackOff" in message
    assert f"{DIGITS_IMAGE}:9.9.9" in message
    assert_it_never_had_traffic(model, candidate)


def test_a_container_that_never_starts_gets_no_traffic_and_is_rolled_back_with_its_own_reason(
    models: dict[str, Model],
) -> None:
    model = models["crashing"]
    candidate, message = rolled_back_at_the_deadline(model)
    assert "CrashLoopBackOff" in message or "exit code 1" in message, message
    wait_until("the pods of the rejected revision go", lambda: not model.pods(candidate), 60)
    assert_it_never_had_traffic(model, candidate)


def test_a_container_that_is_never_ready_gets_no_traffic_and_is_rolled_back_at_the_deadline_with_its_probes_reason(
    models: dict[str, Model],
) -> None:
    model = models["never-ready"]
    candidate, message = rolled_back_at_the_deadline(model)
    assert f"pod {NAME}-{candidate}-" in message
    assert "the container runs, and its readiness probe, GET /readyz on port 3000, fails" in message
    assert_it_never_had_traffic(model, candidate)


def test_a_gateway_that_is_not_there_is_named_and_who_is_served_elsewhere_goes_on_being_served(
    models: dict[str, Model],
) -> None:
    model, words = models["no-gateway"], "Gateway gateway-system/not-there is not there"

    def says_so(manifest: dict[str, object]) -> bool:
        status, reason, message = condition(manifest, "Stalled")
        return (status, reason) == ("True", "RouteNotAccepted") and words in message

    waiting = model.resource.wait_for(f"Stalled says {words!r}", says_so, 120)
    told_at = next(seen.at for seen in model.resource.seen if says_so(seen.manifest))
    model.stays("it goes on waiting", says_so, 15, since=told_at)

    assert condition(waiting, "Available")[0] == "True"
    assert "candidate" not in waiting["status"], "nothing begins"
    (parent,) = model.get("httproute", NAME)["spec"]["parentRefs"]
    assert (parent["name"], parent.get("sectionName")) == ("public", None)
    report = model.stop_requests()
    model.nobody_saw_a_failure(report)
    assert report.versions == {"1.0.0"}

    model.apply("2.0.0", hold_seconds=600)
    model.wait_until_holding()


def test_a_version_that_fails_while_it_is_watched_gives_all_traffic_back_to_the_one_before_it(
    models: dict[str, Model],
) -> None:
    model = models["watched"]
    rejected = model.wait_until_rejected()
    status, reason, message = condition(rejected, "Stalled")
    assert (status, reason) == ("True", "MetricFailed"), model.told()
    assert "errors: failed" in message
    first, third = revision(rejected, "stable"), rejected["status"]["rejected"][0]["revision"]
    assert rejected["status"]["stable"]["version"] == "1.0.0"
    events = [event for event, of in events_of(rejected) if of == third]
    assert events == ["CandidateStarted", "Promoted", "Returned"], model.told()
    weights = [each for each, _ in groupby(weights_of(seen.manifest) for seen in model.route.seen)]
    assert weights == [{first: 100}, {third: 100}, {first: 100}], model.story()
    report = model.stop_requests()
    assert report.failed_of("3.0.0") > 0
    assert report.failed_except("3.0.0") == 0, {of: report.outcomes_of(of) for of in report.versions}
    assert report.versions == {"1.0.0", "3.0.0"}
