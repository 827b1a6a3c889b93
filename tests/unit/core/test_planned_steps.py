"""The steps of a rollout: those of the spec, and the approvals that its automation asks for."""

from typing import Any

import pytest

from serinus.core.traffic import planned_steps
from tests.unit.core.situations import deployment

FIVE, HALF, ALL = (
    {"name": name, "weightPercent": percent, "holdSeconds": 60}
    for name, percent in (("five", 5), ("half", 50), ("all", 100))
)
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


def test_an_approval_that_is_put_in_takes_no_name_of_the_spec():
    taken = FIVE | {"name": "before-half"}
    assert steps("Manual", taken, HALF) == [
        "before-before-half 0?",
        "before-half 5",
        "before-before-before-half 5?",
        "half 50",
        "before-promotion 50?",
    ]
