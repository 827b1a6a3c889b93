"""Steps that copy requests to the candidate: it is judged by them, and nobody gets its answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from serinus.api.gateways import GatewayFeature
from serinus.api.kinds import LABEL_REVISION
from serinus.api.reasons import JudgedBy
from serinus.core.gateways import GatewayState
from serinus.core.observation import Capabilities
from tests.world.invariants import check
from tests.world.test_match_steps import HALF, TESTERS, in_step, rolling, spec
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAMESPACE, World, spec_of

SHADOW = {"name": "shadow", "shadowPercent": 100, "holdSeconds": 60}
TENTH = {"name": "tenth", "shadowPercent": 10, "holdSeconds": 60}


def failed_since_served(world: World) -> float:
    return sum(moment.failed for moment in world.moments if moment.status.stable)


def end_pods(world: World, image: str) -> None:
    for pod in list(world.api.of("Pod")):
        if pod["metadata"]["labels"][LABEL_REVISION] == world.revision_of(image):
            world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])


@pytest.mark.parametrize(("step", "percent", "pods"), [(SHADOW, 100, 3), (TENTH, 10, 1)])
def test_a_candidate_is_judged_by_copies_and_nobody_gets_its_answers(
    step: dict[str, Any], percent: int, pods: int
) -> None:
    world = rolling(step, HALF)
    world.run_until(lambda: bool(in_step(world, "shadow") or in_step(world, "tenth")))
    old, new = world.revision_of("model:1"), world.revision_of("model:2")
    assert world.copied() == {new: percent}
    assert world.weights() == {old: 100}
    assert world.replicas()[new] == pods, "as many as the copies take"
    world.run_until(lambda: stable_is(world, "model:2"))
    assert all(each.requests == {old: 100.0} for each in in_step(world, step["name"]))
    assert not any(each.copied for each in in_step(world, "half")), "a shadow ends with its step"
    assert world.status.rollout.judged_by is JudgedBy.METRICS
    assert failed_since_served(world) == 0
    check(world)


def test_a_candidate_that_fails_its_copies_is_rolled_back_and_no_client_sees_an_error() -> None:
    world = serving(behaviours={"model:2": Behaviour(error_share=0.5)})
    world.deploy(spec(SHADOW, HALF))
    world.run_until_phase("Rejected")
    assert world.condition("Stalled") == ("True", "MetricFailed")
    assert failed_since_served(world) == 0
    assert world.copied() == {}
    check(world)


def test_a_candidate_that_hangs_on_its_copies_is_never_promoted_and_no_client_waits_for_it() -> None:
    undecided = {"undecided": {"afterSeconds": 120, "action": "Rollback"}}
    world = serving(behaviours={"model:2": Behaviour(hangs=True)})
    world.deploy(spec(SHADOW, HALF, analysis=spec_of("model:2")["analysis"] | undecided))
    world.run_until_phase("Rejected", 900)
    assert any(moment.copied for moment in world.moments)
    assert {moment.status.rollout.step for moment in world.moments} <= {None, "shadow"}, "it never gets past its copies"
    assert world.copied() == {}
    assert failed_since_served(world) == 0
    check(world)


def test_copies_end_at_once_when_the_candidates_last_pod_dies_and_begin_again_when_it_is_back() -> None:
    world = rolling(SHADOW, HALF)
    world.run_until(lambda: bool(in_step(world, "shadow")))
    world.behaviours["model:2"] = Behaviour(startup_seconds=10)
    end_pods(world, "model:2")
    begun = len(world.moments)
    world.run(2)
    assert world.copied() == {}
    world.run(5)
    assert sum(moment.lost > 0 for moment in world.moments[begun:]) <= 1, "the second in which nobody could know"
    world.run_until(lambda: world.copied() == {world.revision_of("model:2"): 100})
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_with_fewer_pods_than_the_copies_take_nothing_is_copied() -> None:
    world = rolling(SHADOW, HALF)
    world.run_until(lambda: bool(in_step(world, "shadow"))).run(30)
    world.behaviours["model:2"] = Behaviour(startup_seconds=20)
    pod = next(
        p for p in world.api.of("Pod") if p["metadata"]["labels"][LABEL_REVISION] == world.revision_of("model:2")
    )
    world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    world.run(3)
    assert world.copied() == {}
    assert world.status.rollout.counting_since is None
    assert failed_since_served(world) == 0


def test_a_share_of_the_copies_that_is_edited_begins_the_step_anew() -> None:
    world = rolling(TENTH, HALF)
    world.run_until(lambda: len(in_step(world, "tenth")) > 20)
    world.deploy(spec(TENTH | {"shadowPercent": 50}, HALF))
    world.run_until(lambda: world.copied() == {world.revision_of("model:2"): 50})
    assert world.status.rollout.held_seconds == 0
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


@pytest.mark.parametrize(
    "steps",
    [(TESTERS, SHADOW, HALF), (SHADOW, TESTERS, HALF), (HALF, SHADOW), (HALF, SHADOW, TESTERS), (SHADOW,)],
    ids=lambda steps: " ".join(step["name"] for step in steps),
)
def test_shadows_matches_and_weights_go_in_any_order(steps: tuple[dict[str, Any], ...]) -> None:
    world = rolling(*steps)
    world.run_until(lambda: stable_is(world, "model:2"), 900)
    assert [name for name in dict.fromkeys(each.status.rollout.step for each in world.moments) if name] == [
        step["name"] for step in steps
    ]
    assert world.copied() == {}
    assert world.by_headers() == {}
    assert failed_since_served(world) == 0
    check(world)


@pytest.mark.parametrize(
    ("step", "features", "waits"),
    [
        (SHADOW, {GatewayFeature.HEADERS}, True),
        (TENTH, {GatewayFeature.HEADERS, GatewayFeature.MIRROR}, True),
        (SHADOW, {GatewayFeature.MIRROR}, False),
        (TENTH, {GatewayFeature.MIRROR, GatewayFeature.PERCENTAGE_MIRROR}, False),
    ],
)
def test_a_gateway_is_asked_to_copy_only_what_it_is_known_to(
    step: dict[str, Any], features: set[GatewayFeature], waits: bool
) -> None:
    gateways = {("gateways", "public"): GatewayState("a.b/c", "public", frozenset(features))}
    world = World(capabilities=Capabilities(gateways=gateways))
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: world.condition("Ready") == ("True", "Stable"))
    world.deploy(spec(step, HALF))
    world.run(60)
    assert (world.condition("Stalled") == ("True", "GatewayFeatureUnknown")) is waits
    assert bool(any(each.copied for each in world.moments)) is not waits
    assert failed_since_served(world) == 0


def blue_green(image: str, **sections: Any) -> dict[str, Any]:
    made = spec_of(image, **sections)
    made["rollout"] = {key: value for key, value in made["rollout"].items() if key != "canary"}
    made["rollout"]["blueGreen"] = {"shadowPercent": 50, "holdSeconds": 20}
    return made


def test_before_a_blue_green_switch_copies_judge_a_candidate_of_full_size() -> None:
    world = serving()
    world.deploy(blue_green("model:2"))
    world.run_until(lambda: bool(in_step(world, "preview")))
    new = world.revision_of("model:2")
    assert world.replicas()[new] == 3
    assert world.copied() == {new: 50}
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.judged_by is JudgedBy.METRICS
    assert world.copied() == {}
    shares = {tuple(each.weights.values()) for each in world.moments}
    assert shares == {(100,)}, "all at once"
    assert failed_since_served(world) == 0
    check(world, hold_seconds=20)


def test_what_fails_the_copies_before_a_blue_green_switch_never_serves_anybody() -> None:
    world = serving(behaviours={"model:2": Behaviour(error_share=0.3)})
    world.deploy(blue_green("model:2"))
    world.run_until_phase("Rejected")
    assert world.condition("Stalled") == ("True", "MetricFailed")
    assert failed_since_served(world) == 0
    check(world, hold_seconds=20)


def test_copies_before_a_blue_green_switch_need_somebody_who_measures() -> None:
    world = serving()
    world.capabilities = replace(world.capabilities, metric_source=False)
    world.deploy(blue_green("model:2"))
    world.run(30)
    assert world.condition("Stalled") == ("True", "NoMetricSource")
    assert world.status.candidate is None
