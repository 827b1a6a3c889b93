"""What status says of the policies, and what a rollout under way keeps of them.

A rollout that a policy gave its strategy, its approval or its preflight does not go on without: where the policy is
deleted, or does not give it any more, the operator's defaults would let a candidate take all requests that nobody has
judged or tried. It keeps what it had, and waits. What it had stands in status, so that a restart changes nothing.
`keeping` is called with `govern` by who makes an observation, `standing` by `serinus.core.decide`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from serinus.api.analysis import Analysis
from serinus.api.reasons import Phase
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.status import ModelDeploymentStatus, PolicyField, PolicyStatus, RolloutStatus
from serinus.core.platform.defaults import STRATEGY
from serinus.core.platform.govern import Governed, Kept
from serinus.core.platform.told import with_fields

_AUTOMATION: Final = "spec.rollout.automation"
_PREFLIGHT: Final = "spec.rollout.preflight"
_GUARDS: Final = {
    "spec.rollout.canary": STRATEGY,
    "spec.rollout.blueGreen": STRATEGY,
    _AUTOMATION: frozenset({"automation"}),
    _PREFLIGHT: frozenset({"preflight", "recreate"}),
}
"""Fields that a rollout keeps, with those that stand in for each where they are set."""
_UNGUARDED: Final = frozenset({"{}", '"Automatic"'})
"""Values of theirs that the operator's own defaults are not weaker than."""
_GOES_FORWARD: Final = frozenset(
    {Phase.STARTING, Phase.HOLDING, Phase.PAUSED, Phase.AWAITING_APPROVAL, Phase.PROMOTING}
)
_VIOLATION_LENGTH: Final = 1000
_MOST_VIOLATIONS: Final = 32
_MOST_POLICIES: Final = 64
"""The API server takes no more in a status, and would refuse whatever is decided: those that did nothing are left out
before others."""


def keeping(governed: Governed, status: ModelDeploymentStatus) -> Governed:
    """With what the rollout under way had of policies that do not give it any more, and nobody else does."""
    gone = _gone(governed.spec, status)
    if not gone:
        return governed
    before = with_fields(
        governed.spec.model_copy(update={"analysis": Analysis()}),  # has metrics that only policies define
        (PolicyField(field=each.field, value=each.value) for each in gone),
    )
    return replace(governed, spec=governed.spec.model_copy(update={"rollout": before.rollout}), gone=gone)


def standing(governed: Governed | None, before: tuple[PolicyStatus, ...]) -> tuple[PolicyStatus, ...]:
    """`status.policies`: those that hold with what each did, and what the rollout keeps of others."""
    if governed is None:
        return before
    entries = {(each.kind, each.name): each for each in _holding(governed)}
    for kept in governed.gone:
        entry = entries.get((kept.kind, kept.name), PolicyStatus(kind=kept.kind, name=kept.name))
        field = PolicyField(field=kept.field, value=kept.value)
        entries[kept.kind, kept.name] = entry.model_copy(update={"fields": (*entry.fields, field)})
    return _as_many_as_there_is_room_for(tuple(entries.values()))


def _as_many_as_there_is_room_for(entries: tuple[PolicyStatus, ...]) -> tuple[PolicyStatus, ...]:
    if len(entries) <= _MOST_POLICIES:
        return entries
    telling = [each for each in entries if each.fields or each.metrics or each.violations]
    shown = [*telling, *(each for each in entries if each not in telling)][:_MOST_POLICIES]
    return tuple(each for each in entries if each in shown)


def _holding(governed: Governed) -> tuple[PolicyStatus, ...]:
    return tuple(
        PolicyStatus(
            kind=policy.kind,
            name=policy.name,
            fields=tuple(
                PolicyField(field=each.field, value=each.value) for each in governed.origins if each.policy is policy
            ),
            metrics=tuple(name for name, definer in governed.shared.items() if definer is policy),
            violations=tuple(str(each)[:_VIOLATION_LENGTH] for each in governed.violations if each.policy is policy)[
                :_MOST_VIOLATIONS
            ],
            notify=policy.spec.notify,
        )
        for policy in governed.policies
    )


def _gone(spec: ModelDeploymentSpec, status: ModelDeploymentStatus) -> tuple[Kept, ...]:
    """Fields by which the rollout is guarded, and that are neither set nor given any more."""
    under_way = status.candidate is not None and status.rollout.phase in _GOES_FORWARD
    if not under_way or status.stable is None or not status.policies:
        return ()
    there = spec.rollout.model_fields_set
    return tuple(
        Kept(policy.kind, policy.name, each.field, each.value)
        for policy in status.policies
        for each in policy.fields
        if each.field in _GUARDS and each.value not in _UNGUARDED and not _GUARDS[each.field] & there
        if _is_still_to_pass(each.field, status.rollout)
    )


def _is_still_to_pass(field: str, rollout: RolloutStatus) -> bool:
    """Whether the field has anything to say in what is left of the rollout: a return goes by an approval alone."""
    if field == _PREFLIGHT:
        passed = rollout.preflight is not None and rollout.preflight.passed_at is not None
        return rollout.phase is Phase.STARTING and not (passed or rollout.skips_steps)
    return field == _AUTOMATION or not rollout.skips_steps


def taken_back(before: tuple[PolicyStatus, ...], after: tuple[PolicyStatus, ...]) -> str | None:
    """What policies gave that do not hold any more, in words; None where nothing was taken."""
    holding = {(each.kind, each.name) for each in after}
    gone = [each for each in before if (each.kind, each.name) not in holding and (each.fields or each.metrics)]
    if not gone:
        return None
    told = (
        f"{each.kind} {each.name}, which gave "
        + ", ".join([*(given.field for given in each.fields), *(f"metric {name}" for name in each.metrics)])
        for each in gone
    )
    return f"A policy does not hold for it any more: {'; '.join(told)}"
