"""The one error of rendering: a field that a user may not set, or that can't be made into a pod."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class ReservedField(ValueError):  # noqa: N818 -- named like the reason that users see
    """A field that Serinus keeps for itself was set, or a passed-through object has not the shape of core/v1.

    `path` is the field, as in `spec.serving.podTemplate.spec.containers[model].readinessProbe`; `message` says why it
    is refused and what to do instead. Caught by the decisions, which report Stalled/ReservedField.
    """

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(f"{path}: {message}")


def as_object(value: Any, path: str) -> Mapping[str, Any]:
    """`value`, which has to be an object."""
    if not isinstance(value, Mapping):
        raise ReservedField(path, f"must be an object as in core/v1, not {_shape(value)}; correct it")
    return value


def as_list(value: Any, path: str) -> Sequence[Any]:
    """`value`, which has to be a list."""
    if not isinstance(value, list | tuple):
        raise ReservedField(path, f"must be a list as in core/v1, not {_shape(value)}; correct it")
    return value


def _shape(value: Any) -> str:
    match value:
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case str():
            return "a text"
        case bool():
            return "true or false"
        case None:
            return "null"
        case _:
            return "a number"
