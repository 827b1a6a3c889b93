"""The bounds of a policy, each a small function: what is outside, what the bound asks for, and what to do.

The same bounds in CEL, for what the API server can refuse by itself, are in `serinus.api.admission`. Called by
`serinus.core.platform.govern` with the spec in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from serinus.api.analysis import Analysis
from serinus.api.policy import AnalysisBounds, PolicyBounds, RolloutBounds, Strategy
from serinus.api.rollout import Automation, Rollout, Step
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.values import Percent


@dataclass(frozen=True, slots=True)
class Broken:
    """A bound that a spec does not keep."""

    field: str
    """Path of the field to blame, such as `spec.rollout.automation`."""
    asks: str
    """What the policy does, as in `allows Supervised or Manual`."""
    value: str
    """What is there instead."""
    remedy: str
    """What to do, as in `set spec.rollout.automation`."""


def broken_bounds(spec: ModelDeploymentSpec, bounds: PolicyBounds, own_metrics: frozenset[str]) -> tuple[Broken, ...]:
    """All that is outside; `own_metrics` are the shared metrics in force that the policy itself defines."""
    of_rollout = (found for each in _ROLLOUT for found in each(spec.rollout, bounds.rollout))
    of_analysis = (found for each in _ANALYSIS for found in each(spec.analysis, bounds.analysis))
    return (*of_rollout, *of_analysis, *_required_metrics(spec.analysis, bounds.analysis, own_metrics))


# spec.rollout ---------------------------------------------------------------------------------------------------------


def _automation(rollout: Rollout, bounds: RolloutBounds) -> Iterator[Broken]:
    allowed = bounds.allowed_automation
    if allowed is not None and rollout.automation not in allowed:
        yield _not_allowed("spec.rollout.automation", rollout.automation, allowed)


def _strategy(rollout: Rollout, bounds: RolloutBounds) -> Iterator[Broken]:
    allowed, strategy = bounds.allowed_strategies, _strategy_of(rollout)
    if allowed is not None and strategy not in allowed:
        remedy = f"set {_STRATEGY_FIELDS[allowed[0]]}"
        yield Broken(_STRATEGY_FIELDS[strategy], f"allows the strategy {_any_of(allowed)}", strategy, remedy)


def _hold(rollout: Rollout, bounds: RolloutBounds) -> Iterator[Broken]:
    least = bounds.min_hold_seconds
    for position, step in enumerate(_steps(rollout)):
        if least is not None and step.approval is None and step.hold_seconds < least:
            field = "spec.rollout.canary"
            asks = f"asks for holdSeconds of {least} or more in every step"
            value = f"{step.hold_seconds} in step {step.name} (steps[{position}])"
            yield Broken(field, asks, value, f"hold the step for {least} s")


def _first_weight(rollout: Rollout, bounds: RolloutBounds) -> Iterator[Broken]:
    most = bounds.max_first_weight_percent
    first = next((step for step in _steps(rollout) if step.weight_percent is not None), None)
    if most is not None and first is not None and (first.weight_percent or 0) > most:
        value = f"{first.weight_percent} in step {first.name}"
        asks = f"allows the first step with weight a weightPercent of {most} at most"
        yield Broken("spec.rollout.canary", asks, value, "put a step with less weight before it")


def _weight_increase(rollout: Rollout, bounds: RolloutBounds) -> Iterator[Broken]:
    most = bounds.max_weight_increase_percent
    weighted = [(step.name, step.weight_percent) for step in _steps(rollout) if step.weight_percent is not None]
    for (before, lower), (after, higher) in pairwise(weighted):
        if most is not None and higher - lower > most:
            asks = f"lets weightPercent rise by {most} points at most from step to step"
            value = f"{higher - lower} points from {before} to {after}"
            yield Broken("spec.rollout.canary", asks, value, f"put a step between {before} and {after}")


def _watch(rollout: Rollout, bounds: RolloutBounds) -> Iterator[Broken]:
    least = bounds.min_watch_seconds
    if least is not None and rollout.watch_seconds < least:
        field = "spec.rollout.watchSeconds"
        yield Broken(field, f"asks for {least} or more", str(rollout.watch_seconds), f"set {field} to {least}")


def _approval(rollout: Rollout, bounds: RolloutBounds) -> Iterator[Broken]:
    steps = _steps(rollout)
    asks = rollout.automation is not Automation.AUTOMATIC or (bool(steps) and steps[-1].approval is not None)
    if bounds.require_approval and not asks:
        yield Broken(
            "spec.rollout.automation",
            "asks for a person's approval before a candidate takes all requests",
            f"{rollout.automation}, without an approval as the last step",
            f"set spec.rollout.automation to {Automation.SUPERVISED}",
        )


# spec.analysis --------------------------------------------------------------------------------------------------------


def _disabled(analysis: Analysis, bounds: AnalysisBounds) -> Iterator[Broken]:
    if bounds.forbid_disabled and analysis.disabled:
        yield Broken("spec.analysis.disabled", "forbids true", "true", "remove spec.analysis.disabled")


def _undecided(analysis: Analysis, bounds: AnalysisBounds) -> Iterator[Broken]:
    allowed, action = bounds.allowed_undecided_actions, analysis.undecided.action
    if allowed is not None and action not in allowed:
        yield _not_allowed("spec.analysis.undecided.action", action, allowed)


def _missing(analysis: Analysis, bounds: AnalysisBounds) -> Iterator[Broken]:
    allowed, action = bounds.allowed_missing_actions, analysis.missing.action
    if allowed is not None and action not in allowed:
        yield _not_allowed("spec.analysis.missing.action", action, allowed)


def _false_rollback(analysis: Analysis, bounds: AnalysisBounds) -> Iterator[Broken]:
    low, high = bounds.min_false_rollback_percent, bounds.max_false_rollback_percent
    yield from _within("spec.analysis.falseRollbackPercent", analysis.false_rollback_percent, low, high)


def _false_promotion(analysis: Analysis, bounds: AnalysisBounds) -> Iterator[Broken]:
    low, high = bounds.min_false_promotion_percent, bounds.max_false_promotion_percent
    yield from _within("spec.analysis.falsePromotionPercent", analysis.false_promotion_percent, low, high)


def _required_metrics(analysis: Analysis, bounds: AnalysisBounds, own_metrics: frozenset[str]) -> Iterator[Broken]:
    """As the policy itself defines it: not a metric of the same name that somebody else defines."""
    lacking = [name for name in bounds.required_metrics or () if name not in own_metrics]
    if lacking:
        there = ", ".join(analysis.shared_metrics or ()) or "without any"
        field = "spec.analysis.sharedMetrics"
        asks = f"requires the metrics {', '.join(lacking)} as it defines them"
        yield Broken(field, asks, there, f"add {', '.join(lacking)} to {field}")


# ----------------------------------------------------------------------------------------------------------------------


def _within(field: str, value: Percent, low: Percent | None, high: Percent | None) -> Iterator[Broken]:
    if low is not None and value.decimal < low.decimal:
        yield Broken(field, f"asks for {low} or more", value, f'set {field} to "{low}"')
    if high is not None and value.decimal > high.decimal:
        yield Broken(field, f"allows {high} at most", value, f'set {field} to "{high}"')


def _not_allowed(field: str, value: str, allowed: tuple[str, ...]) -> Broken:
    return Broken(field, f"allows {_any_of(allowed)}", value, f"set {field} to {allowed[0]}")


def _any_of(allowed: tuple[str, ...]) -> str:
    return " or ".join(str(each) for each in allowed)


def _steps(rollout: Rollout) -> tuple[Step, ...]:
    return rollout.canary.steps if rollout.canary is not None else ()


def _strategy_of(rollout: Rollout) -> Strategy:
    if rollout.canary is not None:
        return Strategy.CANARY
    return Strategy.RECREATE if rollout.recreate is not None else Strategy.BLUE_GREEN


_STRATEGY_FIELDS: Final = {
    Strategy.CANARY: "spec.rollout.canary",
    Strategy.BLUE_GREEN: "spec.rollout.blueGreen",
    Strategy.RECREATE: "spec.rollout.recreate",
}
_ROLLOUT: tuple[Callable[[Rollout, RolloutBounds], Iterator[Broken]], ...] = (
    _automation,
    _strategy,
    _hold,
    _first_weight,
    _weight_increase,
    _watch,
    _approval,
)
_ANALYSIS: tuple[Callable[[Analysis, AnalysisBounds], Iterator[Broken]], ...] = (
    _disabled,
    _undecided,
    _missing,
    _false_rollback,
    _false_promotion,
)
