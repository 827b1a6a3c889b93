"""Which ModelDeployments an operator serves, and whether two operators serve any together.

Two that do make the same decisions twice, and neither knows of the other's writes. So each operator writes what it
serves into its Lease, and of two that overlap the younger does not lead. Called by `serinus.shell.neighbours`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_REQUIREMENT: Final = re.compile(
    r"\s*+(?:(?P<absent>!)\s*+)?(?P<key>[^\s!=,()]++)"
    r"(?:\s*+(?P<equal>==|=|!=)\s*+(?P<value>[^\s!=,()]*+)|\s++(?P<set>in|notin)\s*+\((?P<values>[^()]*+)\))?"
    r"\s*+(?:,|$)"
)
"""Nothing in it is tried twice: whoever may write a Lease has it read here, blanks without end among it."""


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What a label selector allows one label to be."""

    absent: bool = True
    only: frozenset[str] | None = None
    """Values of which it has to have one, if it is there; None: any."""
    never: frozenset[str] = frozenset()

    def __and__(self, other: _Allowed) -> _Allowed:
        both = self.only if other.only is None else other.only if self.only is None else self.only & other.only
        return _Allowed(self.absent and other.absent, both, self.never | other.never)

    @property
    def possible(self) -> bool:
        """Whether any label is like that, or none. Of all values there are more than any selector excludes."""
        return self.absent or self.only is None or bool(self.only - self.never)


@dataclass(frozen=True, slots=True)
class Shard:
    """The ModelDeployments of one operator."""

    namespaces: frozenset[str] = frozenset()
    """Empty: all of them."""
    selector: str = ""
    """A label selector as kubectl takes it. Empty: whatever the labels."""

    def overlaps(self, other: Shard) -> bool:
        """Whether there could be a ModelDeployment that both serve. Raises ValueError for a selector that is none."""
        if self.namespaces and other.namespaces and not self.namespaces & other.namespaces:
            return False
        return all(allowed.possible for allowed in _together(self.selector, other.selector).values())

    def __str__(self) -> str:
        where = f"namespace{'s' * (len(self.namespaces) > 1)} {', '.join(sorted(self.namespaces))}"
        named = f" that match {self.selector}" if self.selector else ""
        return f"ModelDeployments in {where if self.namespaces else 'all namespaces'}{named}"

    def written(self) -> str:
        """As it stands in the annotation of a Lease."""
        return json.dumps({"namespaces": sorted(self.namespaces), "selector": self.selector})


def read_shard(text: str) -> Shard | None:
    """What `Shard.written` has written; None for anything else, whoever wrote it."""
    try:
        told: Any = json.loads(text)
        shard = Shard(frozenset(map(str, told["namespaces"])), str(told["selector"]))
        _together(shard.selector)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return shard


def _together(*selectors: str) -> Mapping[str, _Allowed]:
    """What several selectors allow each label to be, all of them in force."""
    allowed: dict[str, _Allowed] = {}
    for selector in selectors:
        for key, each in _requirements(selector):
            allowed[key] = allowed.get(key, _Allowed()) & each
    return allowed


def _requirements(selector: str) -> Iterable[tuple[str, _Allowed]]:
    at = 0
    while at < len(selector):
        found = _REQUIREMENT.match(selector, at)
        if found is None or found.end() == at:
            raise ValueError(f"not a label selector: {selector}")
        yield found["key"], _allowed(found)
        at = found.end()


def _allowed(found: re.Match[str]) -> _Allowed:
    """A selector that excludes values lets those through that have no such label, as Kubernetes has it."""
    if found["absent"]:
        return _Allowed(only=frozenset())
    several = frozenset(each.strip() for each in (found["values"] or "").split(","))
    match found["equal"] or found["set"]:
        case "=" | "==":
            return _Allowed(absent=False, only=frozenset({found["value"]}))
        case "!=":
            return _Allowed(never=frozenset({found["value"]}))
        case "in":
            return _Allowed(absent=False, only=several)
        case "notin":
            return _Allowed(never=several)
        case _:
            return _Allowed(absent=False)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another operator, as its Lease tells of it."""

    lease: str
    """Namespace and name of the Lease."""
    shard: Shard
    born: tuple[str, str]
    """When the Lease was made, and its uid for those made in the same second: they are never the same for two."""


def in_the_way(own: Shard, born: tuple[str, str] | None, others: Iterable[Neighbour]) -> Neighbour | None:
    """The eldest of the operators before which one has to stand back, since it is older and serves the same.

    `born` is that of one's own Lease; None where it has none yet, and so is the youngest.
    """
    older = (each for each in others if (born is None or each.born < born) and each.shard.overlaps(own))
    return min(older, key=lambda each: each.born, default=None)
