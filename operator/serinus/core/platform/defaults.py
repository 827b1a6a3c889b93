"""What policies fill in where a resource says nothing: field by field, the nearest policy first.

Two groups of fields count as one, since their parts contradict each other: the strategy, and what a candidate is judged
by. Called by `serinus.core.platform.govern`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from serinus.api.analysis import Analysis, Missing, Undecided
from serinus.api.policy import Policy
from serinus.api.rollout import Rollout
from serinus.api.schema import ApiModel
from serinus.api.spec import ModelDeploymentSpec

VALUE_LENGTH: Final = 4096
STRATEGY: Final = frozenset({"canary", "blue_green", "recreate"})
"""Of these at most one is set: they count as one field."""
_JUDGED_BY: Final = frozenset({"disabled", "metrics", "shared_metrics"})
_NESTED: Final = ("undecided", "missing")
_Model = TypeVar("_Model", bound=ApiModel)


@dataclass(frozen=True, slots=True)
class Origin:
    """A field of the spec in force that a policy gave."""

    policy: Policy
    field: str
    """Its path, such as `spec.rollout.watchSeconds`."""
    value: str
    """Its value as JSON, cut where it is long."""


def with_defaults(
    spec: ModelDeploymentSpec, policies: Sequence[Policy]
) -> tuple[ModelDeploymentSpec, tuple[Origin, ...]]:
    """The spec with what the policies give, the first of them first, and where it came from."""
    rollout, rollout_origins = _rollout(spec.rollout, policies)
    analysis, analysis_origins = _analysis(spec.analysis, policies)
    origins = (*rollout_origins, *analysis_origins)
    return (spec.model_copy(update={"rollout": rollout, "analysis": analysis}) if origins else spec), origins


def _rollout(written: Rollout, policies: Sequence[Policy]) -> tuple[Rollout, list[Origin]]:
    given = [(policy, policy.spec.defaults.rollout) for policy in policies if policy.spec.defaults.rollout is not None]
    return _filled(written, given, "spec.rollout", STRATEGY)


def _analysis(written: Analysis, policies: Sequence[Policy]) -> tuple[Analysis, list[Origin]]:
    given = [(p, p.spec.defaults.analysis) for p in policies if p.spec.defaults.analysis is not None]
    filled, origins = _filled(written, given, "spec.analysis", _JUDGED_BY, apart=_NESTED)
    for name in _NESTED:
        inner: Undecided | Missing = getattr(filled, name)
        offered = [(policy, getattr(analysis, name)) for policy, analysis in given]
        inner, of_inner = _filled(inner, offered, f"spec.analysis.{name}")
        if of_inner:
            filled, origins = filled.model_copy(update={name: inner}), [*origins, *of_inner]
    return filled, origins


def _filled(
    written: _Model,
    given: Sequence[tuple[Policy, _Model]],
    path: str,
    together: Collection[str] = (),
    apart: Collection[str] = (),
) -> tuple[_Model, list[Origin]]:
    """The model with each field as written, or as the first policy has it that gives it.

    Fields that stand `together` count as one; those `apart` are left alone.
    """
    fields = type(written).model_fields
    update: dict[str, Any] = {}
    origins: list[Origin] = []
    for group in [*([name] for name in fields if name not in {*together, *apart}), together]:
        source = next(((policy, model) for policy, model in given if _set_of(model, group)), None)
        if source is None or _set_of(written, group):
            continue
        policy, model = source
        for name in fields:
            if name in _set_of(model, group) and name not in written.model_fields_set:
                update[name] = getattr(model, name)
                origins.append(Origin(policy, f"{path}.{fields[name].alias or name}", _in_words(update[name])))
    return (written.model_copy(update=update) if update else written), origins


def _set_of(model: ApiModel, group: Collection[str]) -> frozenset[str]:
    """The fields of the group that are set; that the analysis is not disabled says nothing of what it judges by."""
    return frozenset(
        name
        for name in group
        if name in model.model_fields_set and not (name == "disabled" and getattr(model, name) is False)
    )


def _in_words(value: Any) -> str:
    text = json.dumps(_plain(value), ensure_ascii=False)
    return text if len(text) <= VALUE_LENGTH else f"{text[: VALUE_LENGTH - 1]}…"


def _plain(value: Any) -> Any:
    if isinstance(value, ApiModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
