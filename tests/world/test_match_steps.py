"""Steps that lead requests to the candidate by their headers: who sees it, who does not, and how it is judged."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.gateways import GatewayFeature
from serinus.api.kinds import LABEL_REVISION
from serinus.api.reasons import JudgedBy
from serinus.core.gateways import GatewayState
from serinus.core.observation import Capabilities
from tests.world.invariants import check
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAMESPACE, Moment, World, spec_of

BETA = {"headers": [{"name": "x-cohort", "value": "beta"}]}
TESTERS = {"name": "testers", "match": BETA, "holdSeconds": 60}
HALF = {"name": "half", "weightPercent": 50, "holdSeconds": 60}


def spec(*steps: dict[str, Any], **sections: Any) -> dict[str, Any]:
    made = spec_of("model:2", **sections)
    made["rollout"]["canary"]["steps"] = list(steps)
    return made


def rolling(*steps: dict[str, Any], tester_share: float = 0.3, **sections: Any) -> World:
    """A world in which `model:2` is deployed beside `model:1`, with these steps."""
    world = serving(tester_share=tester_share)
    world.deploy(spec(*steps, **sections))
    return world


def in_step(world: World, step: str) -> list[Moment]:
    """The moments in which the hold of a step counted."""
    return [each for each in world.moments if each.status.rollout.step == step and each.status.rollout.counting_since]


def test_only_requests_that_match_see_the_candidate_and_the_rule_is_gone_at_the_end() -> None:
    world = rolling(TESTERS, HALF)
    old, new = world.revision_of("model:1"), ""
    world.run_until(lambda: bool(world.by_headers()))
    new = world.revision_of("model:2")
    assert world.by_headers() == {new: [[{"type": "Exact", "name": "x-cohort", "value": "beta"}]]}
    assert world.weights() == {old: 100}
    world.run_until(lambda: stable_is(world, "model:2"))
    assert all(each.requests == {new: 30.0, old: 70.0} for each in in_step(world, "testers"))
    assert all(each.requests == {new: 30.0 + 35.0, old: 35.0} for each in in_step(world, "half"))
    assert world.by_headers() == {}
    assert world.weights() == {new: 100}
    assert world.status.rollout.judged_by is JudgedBy.METRICS
    assert sum(moment.failed for moment in world.moments if moment.status.stable) == 0
    check(world)


def test_a_candidate_that_fails_testers_is_rolled_back_and_nobody_else_has_seen_it() -> None:
    world = serving(tester_share=0.3, behaviours={"model:2": Behaviour(error_share=0.3)})
    world.deploy(spec(TESTERS, HALF))
    world.run_until_phase("Rejected")
    assert world.by_headers() == {}
    assert {100} == {share for each in world.moments for share in each.weights.values()}
    assert world.condition("Stalled") == ("True", "MetricFailed")
    check(world)


def test_testers_go_back_to_stable_at_once_when_the_candidates_last_pod_dies() -> None:
    world = rolling(TESTERS, HALF)
    world.run_until(lambda: bool(in_step(world, "testers")))
    new = world.revision_of("model:2")
    world.behaviours["model:2"] = Behaviour(never_ready=True)
    for pod in list(world.api.of("Pod")):
        if pod["metadata"]["labels"][LABEL_REVISION] == new:
            world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    world.run(3)
    assert world.by_headers() == {}
    assert world.moments[-1].lost == 0
    check(world)


def test_without_requests_that_match_a_match_step_waits_for_a_person() -> None:
    undecided = {"undecided": {"afterSeconds": 30, "action": "Pause"}}
    world = rolling(TESTERS, HALF, tester_share=0.0, analysis=spec_of("model:2")["analysis"] | undecided)
    world.run_until_phase("Paused")
    assert world.status.rollout.reason == "UndecidedTooLong"
    world.annotate(skip_step=f"{world.revision_of('model:2')}/testers")
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world, hold_seconds=0)


def test_an_increase_over_stable_is_left_to_the_steps_that_can_compare() -> None:
    metrics = [
        {"name": "errors", "errors": {}, "limit": {"maxPercent": "1", "maxIncreasePercent": "0.5"}},
        {"name": "latency", "latency": {"thresholdMilliseconds": 500}, "limit": {"maxIncreasePercent": "5"}},
    ]
    world = rolling(TESTERS, HALF, analysis=spec_of("model:2")["analysis"] | {"metrics": metrics})
    world.run_until(lambda: world.status.rollout.step == "half")
    errors, latency = next(
        each.status.analysis for each in reversed(world.moments) if each.status.rollout.step == "testers"
    )
    assert (errors.verdict, errors.mode) == ("Pass", "Enforce")
    assert (latency.verdict, latency.reason, latency.mode) == ("Missing", "NotComparable", "Observe")
    world.run_until(lambda: stable_is(world, "model:2"), 1200)
    assert {each.mode for each in world.status.analysis} == {"Enforce"}
    check(world)


def test_where_no_step_can_compare_an_increase_is_missing_and_nothing_is_passed_over() -> None:
    metrics = [{"name": "latency", "latency": {"thresholdMilliseconds": 500}, "limit": {"maxIncreasePercent": "5"}}]
    missing = {"metrics": metrics, "missing": {"afterSeconds": 30, "action": "Pause"}}
    world = rolling(TESTERS, analysis=spec_of("model:2")["analysis"] | missing)
    world.run_until_phase("Paused")
    assert world.status.rollout.reason == "EvidenceMissingTooLong"
    assert world.status.analysis[0].reason == "NotComparable"


def test_evidence_begins_anew_where_requests_become_comparable() -> None:
    world = rolling(TESTERS, HALF)
    world.run_until(lambda: bool(in_step(world, "half")))
    testers, half = in_step(world, "testers")[-1].status.rollout, in_step(world, "half")[-1].status.rollout
    assert testers.evidence_started_at is not None
    assert half.evidence_started_at is not None
    assert half.step_started_at is not None
    assert testers.evidence_started_at < half.step_started_at < half.evidence_started_at


def test_a_match_that_is_edited_counts_when_the_gateway_has_it() -> None:
    world = rolling(TESTERS, HALF)
    world.run_until(lambda: bool(in_step(world, "testers")))
    world.gateway_delay_seconds = 10
    gamma = {"headers": [{"name": "x-cohort", "value": "gamma"}]}
    world.deploy(spec(TESTERS | {"match": gamma}, HALF))
    world.run(5)
    assert world.status.rollout.counting_since is None
    world.run_until(lambda: world.status.rollout.counting_since is not None)
    (asked,) = world.by_headers()[world.revision_of("model:2")]
    assert asked == [{"type": "Exact", "name": "x-cohort", "value": "gamma"}]


@pytest.mark.parametrize("gateways", [{}, {("gateways", "public"): GatewayState("example.com/gateway", "public")}])
def test_a_gateway_that_is_not_known_to_lead_by_headers_is_not_asked_to(gateways: Any) -> None:
    world = World(capabilities=Capabilities(gateways=gateways), tester_share=0.3)
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"))
    world.deploy(spec(TESTERS, HALF))
    world.run(60)
    assert world.condition("Stalled") == ("True", "GatewayFeatureUnknown")
    stalled = next(each for each in world.status.conditions if each.type == "Stalled")
    assert "gateways/public" in stalled.message
    assert stalled.message.startswith("step testers waits: ")
    assert world.status.candidate is None
    world.capabilities = Capabilities(
        gateways={("gateways", "public"): GatewayState("a.b/c", "public", frozenset({GatewayFeature.HEADERS}))}
    )
    world.caches.on_change()
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_a_first_revision_does_not_wait_for_a_gateway_that_can_do_what_its_steps_ask() -> None:
    world = World(capabilities=Capabilities())
    world.deploy(spec(TESTERS, HALF))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"))
    world.run(120)
    assert world.condition("Stalled")[0] == "False"


def test_what_a_gateway_is_not_known_to_do_any_more_goes_from_the_route() -> None:
    world = rolling(TESTERS, HALF)
    world.run_until(lambda: bool(in_step(world, "testers")))
    world.capabilities = Capabilities()
    world.caches.on_change()
    world.run(5)
    assert world.by_headers() == {}
    assert world.condition("Stalled") == ("True", "GatewayFeatureUnknown")
    assert world.status.rollout.step == "testers"
    assert world.status.rollout.counting_since is None
