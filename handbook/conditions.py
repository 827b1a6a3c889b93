"""The page of phases, conditions, reasons and Events, as Markdown, from the enums of the code.

`make generate` writes it; a contract test holds it in step. What each means is the docstring below its member.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import Final

from serinus.api.reasons import REASONS, ConditionType, Happening, JudgedBy, Phase, Recommendation
from serinus.cli.advice import CURES
from serinus.core.readings import MissingReason
from serinus.core.verdicts import FailReason, UndecidedReason

_HEAD: Final = """\
<!-- Written by `make generate` from the enums in operator/serinus. -->

# Conditions, reasons and Events

These words are part of the API: scripts, alerts and health checks may rely on them. What to do about each is in
[Understand a rollout that waits](../understand-a-waiting-rollout.md) and [Recover](../recover.md).

`Ready`, `Reconciling` and `Stalled` follow kstatus, so that Flux, kapp and others read them as they are. While
`Stalled` is true, `Ready` and `Reconciling` are false, and have its reason too."""


def page() -> str:
    """The page."""
    blocks = [
        _HEAD,
        "## Conditions",
        _table("condition", ConditionType),
        *(block for condition in ConditionType for block in _reasons_of(condition)),
        "## Phases of a rollout",
        "In `status.rollout.phase`.",
        _table("phase", Phase),
        "On whose word a revision was promoted is in `status.rollout.judgedBy`:",
        _table("judged by", JudgedBy),
        "Where a person decides, `status.rollout.recommendation` says what the evidence speaks for:",
        _table("recommendation", Recommendation),
        "## Verdicts",
        "In `status.analysis`, the verdict of a metric has a reason of its own.",
        *(block for verdict, kinds in _VERDICTS.items() for block in (f"### {verdict}", _table("reason", kinds))),
        "## Events and history",
        "Reasons of Kubernetes Events, and `event` in `status.history`.",
        _table("event", Happening),
    ]
    return "\n\n".join(blocks) + "\n"


def _reasons_of(condition: ConditionType) -> Iterator[str]:
    """The reasons of a condition, each with an anchor such as `#Stalled.NameTaken`."""
    yield f"### {condition.value}"
    rows = []
    for reason, true in REASONS[condition].items():
        anchor = f'<a id="{condition.value}.{reason.value}"></a>`{reason.value}`'
        cure = CURES.get(reason, _REJECTED if true else "").replace("{name}", "NAME")
        told = (anchor, _STATUSES[true], _meaning(reason))
        rows.append((*told, cure) if condition is ConditionType.STALLED else told)
    yield _rows(("reason", "", "", "cure") if condition is ConditionType.STALLED else ("reason", "", ""), rows)


_REJECTED: Final = "[Recover](../recover.md#a-revision-was-rejected)"
_STATUSES: Final = {True: "true", False: "false", None: "either"}
_VERDICTS: Final = {"Fail": FailReason, "Undecided": UndecidedReason, "Missing": MissingReason}


def _table(head: str, words: Iterable[StrEnum]) -> str:
    return _rows((head, ""), [(f"`{word.value}`", _meaning(word)) for word in words])


def _rows(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _meaning(word: StrEnum) -> str:
    return _docstrings(type(word))[word.name]


@cache
def _docstrings(words: type[StrEnum]) -> Mapping[str, str]:
    """What stands below each member of an enum, which Python itself forgets."""
    (definition,) = ast.parse(inspect.getsource(words)).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 -- the source of a class
    found = {}
    for member, below in pairwise(definition.body):
        match member, below:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(told))):
                found[name] = " ".join(told.split())
    return found
