"""JSON whose shape nobody has checked: what is not as it should be is as if it were not there.

For objects that are looked at before, or without, being read as a model: by `serinus.core.addresses` and
`serinus.core.configuration`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mapping(value: object) -> Mapping[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def list_in(told: Mapping[str, Any], field: str) -> list[Any]:
    """The list in a field of an object; an empty one where there is none."""
    value = told.get(field)
    return value if isinstance(value, list) else []
