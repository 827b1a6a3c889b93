"""Testers get the candidate first, by a header of theirs, while everybody else goes on without noticing.

One model goes through it twice: with a version that is good, and with one that fails one request in five. In between it
asks for copies of requests, which Traefik is known not to make.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e.model import NAME, ROLLOUT_SECONDS, Manifest, Model, model_in, revision, rollout
from e2e.stage import Stage
from e2e.watching import condition, phase, stable_version

HEADER, COHORT = "x-cohort", "beta"
HOLD_SECONDS = 10
REQUESTS_AT_ONCE = 40
"""Of the testers, one after the other: about what a second or two has room for."""
SECTIONS: dict[str, Any] = {
    "rollout": {
        "canary": {
            "steps": [
                {
                    "name": "testers",
                    "match": {"headers": [{"name": HEADER, "value": COHORT}]},
                    "holdSeconds": HOLD_SECONDS,
                },
                {"name": "half", "weightPercent": 50, "holdSeconds": 5},
            ]
        }
    },
    "analysis": {"metrics": [{"name": "errors", "errors": {}, "limit": {"maxPercent": "2"}, "minSamples": 50}]},
}


@pytest.fixture(scope="module")
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, "e2e-match") as model:
        model.serve(**SECTIONS)
        model.send_requests()
        yield model


def ask(model: Model, headers: dict[str, str]) -> Counter[str]:
    """Send requests with these headers, beside those of all other clients; answers by version and status."""
    return model.ask(headers, REQUESTS_AT_ONCE)


def ask_until(model: Model, what: str, reached: Callable[[Manifest], bool]) -> Counter[str]:
    """Send the testers' requests until the resource is so."""
    answers: Counter[str] = Counter()
    deadline = time.monotonic() + ROLLOUT_SECONDS
    while not reached(model.resource.newest or {}):
        assert time.monotonic() < deadline, f"not within {ROLLOUT_SECONDS} s: {what}\n{model.told()}"
        answers += ask(model, {HEADER: COHORT})
    return answers


def rules(model: Model) -> list[Manifest]:
    found: list[Manifest] = model.get("httproute", NAME)["spec"]["rules"]
    return found


def versions(answers: Counter[str]) -> set[str]:
    return {answer.split()[0] for answer in answers}


def test_only_testers_see_the_candidate_until_it_has_a_share_and_their_rule_is_gone_at_the_end(model: Model) -> None:
    model.apply("2.0.0", **SECTIONS)
    held = model.wait_until_holding()
    old, new = revision(held, "stable"), revision(held, "candidate")
    assert rollout(held)["step"] == "testers"
    assert model.weights() == {old: 100}
    by_headers, _ = rules(model)
    assert [ref["name"] for ref in by_headers["backendRefs"]] == [f"{NAME}-{new}"]

    time.sleep(3)  # the margin after which a gateway has a route that it has accepted
    assert ask(model, {HEADER: COHORT}) == {"2.0.0 200": REQUESTS_AT_ONCE}
    assert ask(model, {HEADER: "gamma"}) == {"1.0.0 200": REQUESTS_AT_ONCE}
    assert ask(model, {}) == {"1.0.0 200": REQUESTS_AT_ONCE}
    assert model.wait_for_answers().versions == {"1.0.0"}

    answers = ask_until(model, "its testers' step is over", lambda manifest: rollout(manifest).get("step") != "testers")
    assert set(answers) <= {"2.0.0 200"}
    answers = ask_until(model, "version 2.0.0 is stable", lambda manifest: stable_version(manifest) == "2.0.0")
    assert set(answers) <= {"2.0.0 200"}, "a match stays in force beside the weights"
    promoted = model.wait_until_promoted("2.0.0")
    assert rollout(promoted)["judgedBy"] == "Metrics"
    assert len(rules(model)) == 1
    assert model.weights() == {new: 100}
    model.nobody_saw_a_failure(model.report())


def test_copies_are_not_asked_of_a_gateway_that_is_not_known_to_make_them(model: Model) -> None:
    shadow = {"steps": [{"name": "shadow", "shadowPercent": 100, "holdSeconds": HOLD_SECONDS}]}
    model.apply("1.0.0", **{**SECTIONS, "rollout": {"canary": shadow, "rollbackWindowSeconds": 0}})

    def waits(manifest: Manifest) -> bool:
        return condition(manifest, "Stalled")[:2] == ("True", "GatewayFeatureUnknown")

    waiting = model.resource.wait_for("it waits for a gateway that can", waits, 60)
    assert "HTTPRouteRequestMirror" in condition(waiting, "Stalled")[2]
    assert "gateway-system/public (traefik.io/gateway-controller)" in condition(waiting, "Stalled")[2]
    assert "candidate" not in waiting["status"]
    assert len(rules(model)) == 1
    assert ask(model, {}) == {"2.0.0 200": REQUESTS_AT_ONCE}
    model.apply("2.0.0", **SECTIONS)
    model.wait_until_ready()


def test_a_version_that_fails_its_testers_goes_and_nobody_else_has_seen_it(model: Model) -> None:
    model.apply("3.0.0", **SECTIONS)
    answers = ask_until(model, "version 3.0.0 is rolled back", lambda manifest: phase(manifest) == "Rejected")
    rejected = model.wait_until_rejected()
    assert rejected["status"]["rejected"][0]["reason"] == "MetricFailed"
    assert "3.0.0" in versions(answers)
    assert len(rules(model)) == 1
    assert ask(model, {HEADER: COHORT}) == {"2.0.0 200": REQUESTS_AT_ONCE}
    report = model.stop_requests()
    assert "3.0.0" not in report.versions
    model.nobody_saw_a_failure(report)
