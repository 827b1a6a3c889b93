"""The body of a notification as the platform team writes it: JSON whose texts have places for what happened.

A place is a name in braces, `{namespace}`; `{{` and `}}` are braces. Places are only inside of texts, and filling them
in makes texts of texts: what is filled in can't become structure, whatever is in it, and can't name another place.
There is nothing else: no conditions, no loops, no attributes. Read by `serinus.api.notifications` when the operator
starts, filled by `serinus.core.notifications`.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

PLACES: Final = (
    "id",
    "event",
    "time",
    "cluster",
    "namespace",
    "name",
    "uid",
    "revision",
    "version",
    "image",
    "by",
    "fieldManager",
    "message",
)
"""What a template may ask for; docs/be-told.md says what each is."""


class TemplateError(ValueError):
    """A template that can't be filled. The message says which text, and what may stand there."""


def check(template: Any) -> None:
    """Raise `TemplateError` where a text of the template has a place that there is not, or a brace too many."""
    for text in _texts(template):
        _parsed(text)


def filled(template: Any, values: Mapping[str, str], escape: Callable[[str], str]) -> Any:
    """The template with all places filled, each value escaped. The template has been checked."""
    if isinstance(template, str):
        return "".join(part if place is None else part + escape(values[place]) for part, place in _parsed(template))
    if isinstance(template, Mapping):
        return {key: filled(inner, values, escape) for key, inner in template.items()}
    if isinstance(template, list | tuple):
        return [filled(inner, values, escape) for inner in template]
    return template


def _parsed(text: str) -> list[tuple[str, str | None]]:
    """Literal parts, each with the place behind it; None where there is none."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(f"{text!r}: {error}; write a brace as {{{{ or }}}}") from None
    for _, place, form, conversion in parts:
        if place is not None and (place not in PLACES or form or conversion):
            raise TemplateError(f"{text!r}: there is no place {{{place}}}; there are {', '.join(PLACES)}")
    return [(literal, place) for literal, place, _, _ in parts]


def _texts(template: Any) -> Iterator[str]:
    if isinstance(template, str):
        yield template
    elif isinstance(template, Mapping):
        for inner in template.values():
            yield from _texts(inner)
    elif isinstance(template, list | tuple):
        for inner in template:
            yield from _texts(inner)
