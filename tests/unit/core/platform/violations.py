"""Bounds, with a spec on either side of each: tried with the operator's own check, and with the API server's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One bound."""

    title: str
    bounds: dict[str, Any]
    outside: dict[str, Any]
    within: dict[str, Any]
    field: str
    says: str
    refused: bool = True
    """Whether the API server refuses it by what is written; else only what is in force is outside."""


def _steps(*steps: dict[str, Any], **rollout: Any) -> dict[str, Any]:
    named = [{"name": f"step-{position}", **step} for position, step in enumerate(steps)]
    return {"rollout": {"canary": {"steps": named}, **rollout}}


def _rollout(**fields: Any) -> dict[str, Any]:
    return {"rollout": fields}


def _analysis(**fields: Any) -> dict[str, Any]:
    return {"analysis": fields}


VIOLATIONS = [
    Case(
        "automation",
        _rollout(allowedAutomation=["Supervised", "Manual"]),
        _rollout(automation="Automatic"),
        _rollout(automation="Manual"),
        "spec.rollout.automation",
        "allows Supervised or Manual, and it is Automatic; set spec.rollout.automation to Supervised",
    ),
    Case(
        "automation that is not set",
        _rollout(allowedAutomation=["Supervised"]),
        {},
        _rollout(automation="Supervised"),
        "spec.rollout.automation",
        "allows Supervised, and it is Automatic",
        refused=False,
    ),
    Case(
        "strategy",
        _rollout(allowedStrategies=["Canary"]),
        _rollout(blueGreen={}),
        _steps({"weightPercent": 5}),
        "spec.rollout.blueGreen",
        "allows the strategy Canary, and it is BlueGreen; set spec.rollout.canary",
    ),
    Case(
        "a strategy among several",
        _rollout(allowedStrategies=["Canary", "BlueGreen"]),
        _rollout(recreate={}),
        {},
        "spec.rollout.recreate",
        "allows the strategy Canary or BlueGreen, and it is Recreate",
    ),
    Case(
        "hold",
        _rollout(minHoldSeconds=600),
        _steps({"weightPercent": 5, "holdSeconds": 600}, {"weightPercent": 50, "holdSeconds": 599}),
        _steps({"weightPercent": 5, "holdSeconds": 600}, {"approval": {}}, {"weightPercent": 50, "holdSeconds": 601}),
        "spec.rollout.canary",
        "asks for holdSeconds of 600 or more in every step, and it is 599 in step step-1 (steps[1])",
    ),
    Case(
        "first weight",
        _rollout(maxFirstWeightPercent=10),
        _steps({"approval": {}}, {"weightPercent": 11}),
        _steps({"weightPercent": 10}, {"weightPercent": 90}),
        "spec.rollout.canary",
        "allows the first step with weight a weightPercent of 10 at most, and it is 11 in step step-1",
    ),
    Case(
        "weight increase",
        _rollout(maxWeightIncreasePercent=40),
        _steps({"weightPercent": 9}, {"approval": {}}, {"weightPercent": 50}),
        _steps({"weightPercent": 90}),
        "spec.rollout.canary",
        "lets weightPercent rise by 40 points at most from step to step, and it is 41 points from step-0 to step-2",
    ),
    Case(
        "watch",
        _rollout(minWatchSeconds=301),
        _rollout(watchSeconds=300),
        _rollout(watchSeconds=301),
        "spec.rollout.watchSeconds",
        "asks for 301 or more, and it is 300; set spec.rollout.watchSeconds to 301",
    ),
    Case(
        "approval",
        _rollout(requireApproval=True),
        _steps({"approval": {}}, {"weightPercent": 5}, automation="Automatic"),
        _steps({"weightPercent": 5}, {"approval": {}}, automation="Automatic"),
        "spec.rollout.automation",
        "asks for a person's approval before a candidate takes all requests, and it is Automatic",
    ),
    Case(
        "approval by the automation",
        _rollout(requireApproval=True),
        _rollout(automation="Automatic"),
        _rollout(automation="Supervised"),
        "spec.rollout.automation",
        "set spec.rollout.automation to Supervised",
    ),
    Case(
        "disabled",
        _analysis(forbidDisabled=True),
        _analysis(disabled=True),
        _analysis(disabled=False),
        "spec.analysis.disabled",
        "forbids true, and it is true; remove spec.analysis.disabled",
    ),
    Case(
        "undecided",
        _analysis(allowedUndecidedActions=["Pause", "Rollback"]),
        _analysis(undecided={"action": "Promote"}),
        _analysis(undecided={"action": "Rollback"}),
        "spec.analysis.undecided.action",
        "allows Pause or Rollback, and it is Promote; set spec.analysis.undecided.action to Pause",
    ),
    Case(
        "missing",
        _analysis(allowedMissingActions=["Rollback"]),
        _analysis(missing={"action": "Pause"}),
        _analysis(missing={"action": "Rollback"}),
        "spec.analysis.missing.action",
        "allows Rollback, and it is Pause",
    ),
    Case(
        "a chance of a false rollback that is too small",
        _analysis(minFalseRollbackPercent="0.5"),
        _analysis(falseRollbackPercent="0.49"),
        _analysis(falseRollbackPercent="0.50"),
        "spec.analysis.falseRollbackPercent",
        'asks for 0.5 or more, and it is 0.49; set spec.analysis.falseRollbackPercent to "0.5"',
    ),
    Case(
        "a chance of a false rollback that is too large",
        _analysis(maxFalseRollbackPercent="2"),
        _analysis(falseRollbackPercent="10"),
        _analysis(falseRollbackPercent="2.0"),
        "spec.analysis.falseRollbackPercent",
        "allows 2 at most, and it is 10",
    ),
    Case(
        "a chance of a false promotion that is too small",
        _analysis(minFalsePromotionPercent="1"),
        _analysis(falsePromotionPercent="0.1"),
        _analysis(falsePromotionPercent="1"),
        "spec.analysis.falsePromotionPercent",
        "asks for 1 or more, and it is 0.1",
    ),
    Case(
        "a chance of a false promotion that is too large",
        _analysis(maxFalsePromotionPercent="0.5"),
        _analysis(falsePromotionPercent="1"),
        _analysis(falsePromotionPercent="0.5"),
        "spec.analysis.falsePromotionPercent",
        "allows 0.5 at most, and it is 1",
    ),
]
