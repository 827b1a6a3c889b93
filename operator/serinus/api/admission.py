"""The bounds of policies in CEL: what the API server refuses by itself, generated for the chart.

``python -m serinus.api.admission`` writes one file for each kind of policy into the chart's ``files/``, where the
ValidatingAdmissionPolicies of ``templates/rolloutpolicies.yaml`` take their variables and validations from; the
policies are their parameters, so that nothing has to be made anew when one changes. A contract test compares the
committed files with what this module generates.

The API server sees what is written, and neither defaults nor other policies: a field that is not set is left to the
operator, which compares what is in force (``serinus.core.platform.bounds``, a function for each of these). Only who
changes ``spec.rollout`` or ``spec.analysis`` is refused: who aborts, scales or mends an image is not.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from serinus.api.kinds import CLUSTER_ROLLOUT_POLICY, GROUP, POLICY_KINDS, Kind

_DECISIONS: Final = ("approve", "promote", "skip-step")
"""Actions that let a candidate go on."""


@dataclass(frozen=True, slots=True)
class _Bound:
    """One bound, over what is written."""

    name: str
    """Path below ``spec.bounds`` of the policy."""
    field: str
    """Path of the field that is refused."""
    holds: str
    """CEL, with ``BOUND`` for the bound's value, asked only where the policy has it."""
    says: str
    """CEL of what the policy does and what to do, as text."""

    def as_validation(self, kind: Kind) -> dict[str, str]:
        parts = self.name.split(".")
        given = f"params.spec.?bounds.?{'.?'.join(parts)}.hasValue()"
        value = f"params.spec.bounds.{self.name}"
        begins = f'"{self.field}: {kind.kind} " + params.metadata.name + '
        return {
            "expression": f"!variables.judged || !{given} || ({self.holds.replace('BOUND', value)})",
            "reason": "Forbidden",
            "messageExpression": begins + self.says.replace("BOUND", value) + ' + ", or ask its owner"',
        }


def _one_of(name: str, field: str) -> _Bound:
    written = f"object.{field.replace('.', '.?')}"
    return _Bound(
        name,
        field,
        f"{written}.orValue(BOUND[0]) in BOUND",
        f'" allows " + BOUND.join(" or ") + ", and it is " + object.{field} + "; set {field} to " + BOUND[0]',
    )


def _at_least(name: str, field: str) -> _Bound:
    return _compared(name, field, ">=", "asks for", "or more")


def _at_most(name: str, field: str) -> _Bound:
    return _compared(name, field, "<=", "allows", "at most")


def _compared(name: str, field: str, sign: str, verb: str, side: str) -> _Bound:
    written = f"object.{field.replace('.', '.?')}.orValue(BOUND)"
    return _Bound(
        name,
        field,
        f"double({written}) {sign} double(BOUND)",
        f'" {verb} " + string(BOUND) + " {side}, and it is " + string(object.{field}) + "; set {field} to " + '
        "string(BOUND)",
    )


_BOUNDS: Final = (
    _one_of("rollout.allowedAutomation", "spec.rollout.automation"),
    _Bound(
        "rollout.allowedStrategies",
        "spec.rollout",
        'variables.strategy == "" || variables.strategy in BOUND',
        '" allows the strategy " + BOUND.join(" or ") + ", and it is " + variables.strategy + "; use one of these"',
    ),
    _Bound(
        "rollout.minHoldSeconds",
        "spec.rollout.canary",
        "variables.steps.all(step, has(step.approval) || step.?holdSeconds.orValue(0) >= BOUND)",
        '" asks for holdSeconds of " + string(BOUND) + " or more in every step; hold longer in " + '
        "variables.steps.filter(step, !has(step.approval) && step.?holdSeconds.orValue(0) < BOUND)"
        '.map(step, step.name).join(", ")',
    ),
    _Bound(
        "rollout.maxFirstWeightPercent",
        "spec.rollout.canary",
        "variables.weights.size() == 0 || variables.weights[0] <= BOUND",
        '" allows the first step with weight a weightPercent of " + string(BOUND) + " at most, and it is " + '
        'string(variables.weights[0]) + "; put a step with less weight before it"',
    ),
    _Bound(
        "rollout.maxWeightIncreasePercent",
        "spec.rollout.canary",
        "variables.weights.all(weight, !variables.weights.exists(lower, lower < weight) || "
        "variables.weights.exists(lower, lower < weight && weight - lower <= BOUND))",
        '" lets weightPercent rise by " + string(BOUND) + " points at most from step to step; put steps between"',
    ),
    _at_least("rollout.minWatchSeconds", "spec.rollout.watchSeconds"),
    _Bound(
        "rollout.requireApproval",
        "spec.rollout.automation",
        '!BOUND || object.spec.?rollout.?automation.orValue("Supervised") != "Automatic" || '
        "(variables.steps.size() > 0 && has(variables.steps[variables.steps.size() - 1].approval))",
        "\" asks for a person's approval before a candidate takes all requests; set spec.rollout.automation to "
        'Supervised"',
    ),
    _Bound(
        "analysis.forbidDisabled",
        "spec.analysis.disabled",
        "!BOUND || !object.spec.?analysis.?disabled.orValue(false)",
        '" forbids true; remove spec.analysis.disabled"',
    ),
    _Bound(
        "analysis.requiredMetrics",
        "spec.analysis.sharedMetrics",
        "!variables.judgesByItself || BOUND.all(name, name in object.spec.?analysis.?sharedMetrics.orValue([]))",
        '" requires the metrics " + BOUND.join(", ") + " as it defines them; add them to spec.analysis.sharedMetrics"',
    ),
    _one_of("analysis.allowedUndecidedActions", "spec.analysis.undecided.action"),
    _one_of("analysis.allowedMissingActions", "spec.analysis.missing.action"),
    _at_least("analysis.minFalseRollbackPercent", "spec.analysis.falseRollbackPercent"),
    _at_most("analysis.maxFalseRollbackPercent", "spec.analysis.falseRollbackPercent"),
    _at_least("analysis.minFalsePromotionPercent", "spec.analysis.falsePromotionPercent"),
    _at_most("analysis.maxFalsePromotionPercent", "spec.analysis.falsePromotionPercent"),
)
BOUNDS: Final = (*(bound.name for bound in _BOUNDS), "rollout.approverGroups")
"""Paths of the bounds that the API server knows."""


def admission(kind: Kind) -> dict[str, Any]:
    """Variables and validations of the ValidatingAdmissionPolicy that takes policies of this kind as parameters."""
    return {
        "variables": [{"name": name, "expression": expression} for name, expression in _variables(kind)],
        "validations": [*(bound.as_validation(kind) for bound in _BOUNDS), _approvers(kind)],
    }


def _variables(kind: Kind) -> Iterator[tuple[str, str]]:
    yield "enforced", 'params.spec.?bounds.?mode.orValue("Enforce") == "Enforce"'
    if kind == CLUSTER_ROLLOUT_POLICY:
        yield "labels", "namespaceObject.metadata.?labels.orValue({})"
        yield "holds", _HOLDS
    else:
        yield "holds", "true"
    yield (
        "judged",
        (
            "variables.enforced && variables.holds && (oldObject == null || "
            "object.spec.?rollout != oldObject.spec.?rollout || object.spec.?analysis != oldObject.spec.?analysis)"
        ),
    )
    yield "steps", "object.spec.?rollout.?canary.?steps.orValue([])"
    yield "weights", "variables.steps.filter(step, has(step.weightPercent)).map(step, step.weightPercent)"
    yield (
        "strategy",
        (
            'object.spec.?rollout.?canary.hasValue() ? "Canary" : '
            'object.spec.?rollout.?recreate.hasValue() ? "Recreate" : '
            'object.spec.?rollout.?blueGreen.hasValue() ? "BlueGreen" : ""'
        ),
    )
    yield (
        "judgesByItself",
        (
            "object.spec.?analysis.?metrics.hasValue() || object.spec.?analysis.?sharedMetrics.hasValue() || "
            "object.spec.?analysis.?disabled.orValue(false)"
        ),
    )
    yield "before", "oldObject == null ? {} : oldObject.metadata.?annotations.orValue({})"
    yield "now", "object.metadata.?annotations.orValue({})"
    decisions = ", ".join(f'"{GROUP}/{action}"' for action in _DECISIONS)
    yield (
        "decided",
        (
            f"[{decisions}].filter(key, key in variables.now && "
            "!(key in variables.before && variables.before[key] == variables.now[key]))"
        ),
    )


_HOLDS: Final = (
    "params.spec.?namespaceSelector.?matchLabels.orValue({}).all(key, key in variables.labels && "
    "variables.labels[key] == params.spec.namespaceSelector.matchLabels[key]) && "
    "params.spec.?namespaceSelector.?matchExpressions.orValue([]).all(each, "
    'each.operator == "In" ? each.key in variables.labels && variables.labels[each.key] in each.values : '
    'each.operator == "NotIn" ? !(each.key in variables.labels && variables.labels[each.key] in each.values) : '
    'each.operator == "Exists" ? each.key in variables.labels : !(each.key in variables.labels))'
)


def _approvers(kind: Kind) -> dict[str, str]:
    groups = "params.spec.bounds.rollout.approverGroups"
    return {
        "expression": "!variables.enforced || !variables.holds || variables.decided.size() == 0 || "
        f"!params.spec.?bounds.?rollout.?approverGroups.hasValue() || "
        f"{groups}.exists(group, group in request.userInfo.?groups.orValue([]))",
        "reason": "Forbidden",
        "messageExpression": '"the annotation " + variables.decided.join(", ") + " may only be set by members of " + '
        f'{groups}.join(" or ") + ", says {kind.kind} " + params.metadata.name + "; " + request.userInfo.username + '
        '" is not one of them"',
    }


def file_name(kind: Kind) -> str:
    """Name of the file of a kind in the chart's ``files/``."""
    return f"admission_{kind.plural}.yaml"


def generated_file(kind: Kind) -> str:
    """The text of that file."""
    text = yaml.safe_dump(admission(kind), sort_keys=False, width=120, allow_unicode=True)
    return f"# Generated by `python -m serinus.api.admission`. Don't edit.\n{text}"


def main(arguments: list[str] | None = None) -> int:
    """Write the files into a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m serinus.api.admission", description="Generate what the API server refuses by policies."
    )
    parser.add_argument("folder", help="folder to write into")
    folder = Path(parser.parse_args(arguments).folder)
    for kind in POLICY_KINDS:
        (folder / file_name(kind)).write_text(generated_file(kind), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
