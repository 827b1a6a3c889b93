"""The steps of a rollout: those of the spec, and the approvals that its automation asks for."""

from typing import Any

import pytest

from serinus.api.gateways import GatewayFeature
from serinus.core.traffic import begins_anew, comparable_runs, planned_steps
from tests.unit.core.situations import deployment

FIVE, HALF, ALL = (
    {"name": name, "weightPercent": percent, "holdSeconds": 60}
    for name, percent in (("five", 5), ("half", 50), ("all", 100))
)
SHADOW: dict[str, Any] = {"name": "shadow", "shadowPercent": 40, "holdSeconds": 60}
SIGN_OFF: dict[str, Any] = {"name": "sign-off", "approval": {}}


def steps(automation: str, *written: dict[str, Any]) -> list[str]:
    """Each step as its name and weight; approvals with a question mark."""
    strategy = {"canary": {"steps": list(written)}} if written else {"blueGreen": {}}
    planned = planned_steps(deployment(rollout={"automation": automation, **strategy}).spec)
    return [f"{step.name} {step.weight_percent}" + ("?" if step.approval else "") for step in planned]


@pytest.mark.parametrize(
    ("automation", "written", "planned"),
    [
        ("Automatic", (), []),
        ("Automatic", (FIVE, HALF), ["five 5", "half 50"]),
        ("Automatic", (SIGN_OFF, FIVE), ["sign-off 0?", "five 5"]),
        ("Automatic", (FIVE, SIGN_OFF, HALF), ["five 5", "sign-off 5?", "half 50"]),
        ("Automatic", (SIGN_OFF,), ["sign-off 0?"]),
        ("Supervised", (), ["before-promotion 0?"]),
        ("Supervised", (FIVE, HALF), ["five 5", "half 50", "before-promotion 50?"]),
        ("Supervised", (FIVE, SIGN_OFF), ["five 5", "sign-off 5?"]),
        ("Supervised", (FIVE, SIGN_OFF, HALF), ["five 5", "sign-off 5?", "half 50", "before-promotion 50?"]),
        ("Supervised", (HALF, ALL), ["half 50", "before-all 50?", "all 100"]),
        ("Supervised", (HALF, SIGN_OFF, ALL), ["half 50", "sign-off 50?", "all 100"]),
        ("Manual", (), ["before-promotion 0?"]),
        ("Manual", (FIVE, HALF), ["before-five 0?", "five 5", "before-half 5?", "half 50", "before-promotion 50?"]),
        ("Manual", (SIGN_OFF, FIVE), ["sign-off 0?", "five 5", "before-promotion 5?"]),
        ("Manual", (ALL,), ["before-all 0?", "all 100", "before-promotion 100?"]),
    ],
)
def test_the_steps_of_a_rollout(automation: str, written: tuple[dict[str, Any], ...], planned: list[str]):
    assert steps(automation, *written) == planned


def by_headers(name: str, cohort: str) -> dict[str, Any]:
    return {"name": name, "match": {"headers": [{"name": "x-cohort", "value": cohort}]}, "holdSeconds": 60}


@pytest.mark.parametrize(
    ("written", "planned"),
    [
        ((by_headers("a", "beta"), FIVE, SIGN_OFF), ["a 0 beta", "five 5 beta", "sign-off 5 beta"]),
        ((FIVE, by_headers("a", "beta"), HALF), ["five 5 ", "a 5 beta", "half 50 beta"]),
        (
            (by_headers("a", "beta"), by_headers("b", "gamma"), by_headers("c", "beta")),
            ["a 0 beta", "b 0 beta gamma", "c 0 beta gamma"],
        ),
    ],
)
def test_a_match_stays_in_force_in_the_steps_after_it(written: tuple[dict[str, Any], ...], planned: list[str]):
    found = planned_steps(deployment(rollout={"canary": {"steps": list(written)}}).spec)
    cohorts = [" ".join(value for ((_, value),) in step.matches) for step in found]
    assert [
        f"{step.name} {step.weight_percent} {cohort}" for step, cohort in zip(found, cohorts, strict=True)
    ] == planned


def test_where_a_person_is_asked_before_every_change_testers_are_one():
    assert steps("Manual", by_headers("testers", "beta"), FIVE)[:2] == ["before-testers 0?", "testers 0"]
    assert steps("Supervised", by_headers("testers", "beta"))[0] == "testers 0"


@pytest.mark.parametrize(
    ("written", "anew"),
    [
        ((FIVE, HALF), []),
        ((SIGN_OFF,), []),
        ((by_headers("a", "beta"),), []),
        ((by_headers("a", "beta"), SIGN_OFF, FIVE, HALF), ["five"]),
        ((FIVE, by_headers("a", "beta"), HALF), []),
        ((SHADOW, FIVE), []),
        ((SHADOW, SIGN_OFF, FIVE), []),
        ((SHADOW, by_headers("a", "beta"), HALF), ["a", "half"]),
        ((by_headers("a", "beta"), SHADOW, SIGN_OFF, HALF), ["shadow", "half"]),
    ],
)
def test_evidence_begins_anew_where_requests_become_comparable_or_cease_to_be(
    written: tuple[dict[str, Any], ...], anew: list[str]
):
    found = planned_steps(deployment(rollout={"canary": {"steps": list(written)}}).spec)
    assert [step.name for index, step in enumerate(found) if begins_anew(found, index)] == anew
    assert comparable_runs(found) >= 1 + len(anew), "each has its part of the chance of an error"


def test_a_shadow_ends_with_its_step():
    written = [FIVE, SHADOW, SIGN_OFF, HALF]
    found = planned_steps(deployment(rollout={"canary": {"steps": written}}).spec)
    told = [(step.name, step.weight_percent, step.shadow_percent) for step in found]
    assert told == [("five", 5, 0), ("shadow", 5, 40), ("sign-off", 5, 0), ("half", 50, 0)]


@pytest.mark.parametrize(
    ("written", "needed"),
    [
        (FIVE, set()),
        (SIGN_OFF, set()),
        (by_headers("a", "beta"), {GatewayFeature.HEADERS}),
        (SHADOW, {GatewayFeature.MIRROR, GatewayFeature.PERCENTAGE_MIRROR}),
        (SHADOW | {"shadowPercent": 100}, {GatewayFeature.MIRROR}),
    ],
)
def test_a_step_needs_of_the_gateway_what_it_asks_for(written: dict[str, Any], needed: set[GatewayFeature]):
    (step,) = planned_steps(deployment(rollout={"canary": {"steps": [written]}}).spec)
    assert step.needs == needed


def test_a_step_says_in_words_who_gets_the_candidate_and_keeps_the_values_of_headers_to_itself():
    two = {"name": "a", "match": {"headers": [{"name": "x", "value": "1"}, {"name": "y", "value": "2"}]}}
    found = planned_steps(deployment(rollout={"canary": {"steps": [SHADOW, two, FIVE, by_headers("b", "beta")]}}).spec)
    assert [step.share_in_words for step in found] == [
        "copies of 40 %",
        "requests with x and y",
        "5 %, requests with x and y",
        "5 %, requests with x and y or x-cohort",
    ]


def test_an_approval_that_is_put_in_takes_no_name_of_the_spec():
    taken = FIVE | {"name": "before-half"}
    assert steps("Manual", taken, HALF) == [
        "before-before-half 0?",
        "before-half 5",
        "before-before-before-half 5?",
        "half 50",
        "before-promotion 50?",
    ]
