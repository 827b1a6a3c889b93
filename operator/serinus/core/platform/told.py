"""The spec in force, read back from what status says of the policies.

A field that a policy gave stands in `status.policies` with its value, so that whoever has the resource alone (the
plugin; a rollout whose policy is gone) knows what is in force. Called by `serinus.core.platform.standing` and by the
plugin.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from serinus.api.spec import ModelDeploymentSpec
from serinus.api.status import PolicyField


def with_fields(spec: ModelDeploymentSpec, fields: Iterable[PolicyField]) -> ModelDeploymentSpec:
    """The spec with these fields; as it is where they make none that is valid.

    A value that was too long for status is not there in full, and is left out.
    """
    raw: dict[str, Any] = {"spec": spec.model_dump(mode="json", by_alias=True, exclude_unset=True)}
    told = False
    for each in fields:
        try:
            value = json.loads(each.value)
        except ValueError:
            continue
        *parents, name = each.field.split(".")
        section: Any = raw
        for parent in parents:
            section = section.setdefault(parent, {}) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section[name] = value
            told = True
    try:
        return ModelDeploymentSpec.model_validate(raw["spec"]) if told else spec
    except ValueError:
        return spec
