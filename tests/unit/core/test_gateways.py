"""What is known of a gateway, and what a rollout does without that knowledge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from serinus.api.gateways import GatewayFeature
from serinus.api.reasons import Phase, Reason
from serinus.api.traffic import GatewayReference
from serinus.core.decide import decide
from serinus.core.gateways import (
    ENVOY_GATEWAY,
    TRAEFIK,
    GatewayState,
    common_features,
    known_features,
    unknown_feature,
)
from serinus.core.observation import Capabilities, Observation
from serinus.core.plan import Move, Realise
from tests.unit.core.situations import (
    OLDER,
    STABLE,
    children,
    deployment,
    observation,
    status,
)

HEADERS, MIRROR, PERCENTAGE = GatewayFeature
OTHER = "example.com/gateway"
EVERYTHING = frozenset(GatewayFeature)
TESTERS = {"name": "testers", "match": {"headers": [{"name": "x-cohort", "value": "beta"}]}, "holdSeconds": 60}
HALF = {"name": "half", "weightPercent": 50, "holdSeconds": 60}


@pytest.mark.parametrize(
    ("controller", "published", "overrules", "known"),
    [
        (OTHER, (), {}, set()),
        (OTHER, ("HTTPRoute", "HTTPRouteRequestMirror", "SomethingNew"), {}, {HEADERS, MIRROR}),
        (OTHER, ("HTTPRoute",), {OTHER: {MIRROR: True}}, {HEADERS, MIRROR}),
        (OTHER, ("HTTPRoute", "HTTPRouteRequestMirror"), {OTHER: {MIRROR: False}}, {HEADERS}),
        (OTHER, (), {TRAEFIK: {MIRROR: True}}, set()),
        (TRAEFIK, (), {}, {HEADERS}),
        (TRAEFIK, ("HTTPRoute", "HTTPRouteRequestMirror"), {}, {HEADERS}),
        (TRAEFIK, (), {TRAEFIK: {MIRROR: True, HEADERS: False}}, {MIRROR}),
        (ENVOY_GATEWAY, (), {}, EVERYTHING),
        (ENVOY_GATEWAY, (), {ENVOY_GATEWAY: {PERCENTAGE: False}}, {HEADERS, MIRROR}),
    ],
)
def test_settings_come_before_what_was_tried_and_that_before_what_is_published(
    controller: str, published: tuple[str, ...], overrules: dict[str, Any], known: set[GatewayFeature]
) -> None:
    assert known_features(controller, published, overrules) == known


def test_a_route_can_do_what_all_of_its_gateways_can() -> None:
    gateways = {
        ("models", "inner"): GatewayState(OTHER, "c", EVERYTHING),
        ("edge", "public"): GatewayState(OTHER, "c", frozenset({HEADERS})),
    }
    inner, public = GatewayReference(name="inner"), GatewayReference(name="public", namespace="edge")
    assert common_features([inner], "models", gateways) == EVERYTHING
    assert common_features([inner, public], "models", gateways) == {HEADERS}
    assert common_features([inner, GatewayReference(name="elsewhere")], "models", gateways) == frozenset()


@pytest.mark.parametrize(
    ("gateway", "words"),
    [
        (None, "Gateway edge/public is not there"),
        (GatewayState(None, "shiny"), "Gateway edge/public is of GatewayClass shiny, which is not there"),
        (
            GatewayState(OTHER, "shiny", frozenset({HEADERS})),
            "Gateway edge/public (example.com/gateway) is not known to copy requests (HTTPRouteRequestMirror)",
        ),
    ],
)
def test_what_is_not_known_is_told_with_the_gateway_and_a_way_out(gateway: GatewayState | None, words: str) -> None:
    gateways = {("edge", "public"): gateway} if gateway else {}
    told = unknown_feature({HEADERS, MIRROR}, [GatewayReference(name="public", namespace="edge")], "models", gateways)
    assert told is not None
    assert told.startswith(words)


def test_what_is_known_stands_in_nobodys_way() -> None:
    gateways = {("edge", "public"): GatewayState(OTHER, "shiny", EVERYTHING)}
    reference = GatewayReference(name="public", namespace="edge")
    assert unknown_feature(EVERYTHING, [reference], "models", gateways) is None
    assert unknown_feature((), [reference], "models", {}) is None


# In a rollout ---------------------------------------------------------------------------------------------------------

SPEC = deployment(rollout={"canary": {"steps": [TESTERS, HALF]}})
NEW = SPEC.revision
WITH = Capabilities(gateways={("models", "public"): GatewayState(OTHER, "shiny", EVERYTHING)})


def seen(phase: Phase, **more: Any) -> Observation:
    told = status(phase, candidate=None if phase in {Phase.IDLE, Phase.REJECTED} else NEW, **more)
    return observation(told, children({STABLE: 4, NEW: 1}, {STABLE: 100}), SPEC)


def stalled(seen: Observation) -> str | None:
    action = decide(seen).action
    told = action.status
    if told is None:
        return None
    return next((each.message for each in told.conditions if each.reason == Reason.GATEWAY_FEATURE_UNKNOWN), None)


def test_a_rollout_with_a_step_that_the_gateway_is_not_known_to_do_does_not_begin() -> None:
    idle = seen(Phase.IDLE)
    assert isinstance(decide(idle).action, Realise)
    assert (stalled(idle) or "").startswith("step testers waits: Gateway models/public is not there")
    assert isinstance(decide(replace(idle, capabilities=WITH)).action, Move)


@pytest.mark.parametrize(
    ("step", "waits"), [({"step": "testers", "step_index": 0}, True), ({"step": "half", "step_index": 1}, True)]
)
def test_it_waits_while_a_match_is_in_force(step: dict[str, Any], waits: bool) -> None:
    assert (
        stalled(seen(Phase.HOLDING, weight_percent=50 if step["step"] == "half" else 0, **step)) is not None
    ) is waits


@pytest.mark.parametrize("phase", [Phase.PROMOTING, Phase.ROLLING_BACK, Phase.WATCHING])
def test_what_has_left_its_steps_behind_does_not_wait(phase: Phase) -> None:
    assert stalled(seen(phase, step="half", step_index=1)) is None


def test_a_stable_resource_does_not_stall_for_steps_of_a_rollout_to_come() -> None:
    at_rest = observation(status(stable=NEW), children({NEW: 4}, {NEW: 100}), SPEC)
    assert stalled(at_rest) is None


def test_a_first_revision_skips_the_steps_and_does_not_wait() -> None:
    first = observation(status(stable=None), children({}), SPEC)
    assert isinstance(decide(first).action, Move)


def test_a_candidate_that_the_spec_no_longer_asks_for_is_taken_back_all_the_same() -> None:
    told = status(Phase.HOLDING, candidate=OLDER, step="testers", step_index=0)
    action = decide(observation(told, children({STABLE: 4, OLDER: 1}, {STABLE: 100}), SPEC)).action
    assert isinstance(action, Move)
    assert action.status.rollout.phase is Phase.ROLLING_BACK
