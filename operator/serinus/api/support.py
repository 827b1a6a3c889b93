"""What of the spec this version of the operator does not carry out yet.

The planner asks before it does anything; what stands here is refused with the condition Stalled/Unsupported, so that
nothing a user wrote is ever ignored in silence. A feature that is built loses its row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from serinus.api.rollout import Capacity
from serinus.api.spec import ModelDeploymentSpec


@dataclass(frozen=True, slots=True)
class Unsupported:
    """One field that asks for more than this version does, and what to do about it."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


@dataclass(frozen=True, slots=True)
class _Gap:
    what: str
    instead: str
    fields: Callable[[ModelDeploymentSpec], list[str]]
    """Paths of the fields that ask for it; none: the spec does without."""


def unsupported(spec: ModelDeploymentSpec) -> tuple[Unsupported, ...]:
    """Every field of the spec that this version does not carry out, in the order of the table; empty: all is well."""
    return tuple(
        Unsupported(path, f"{gap.what} not carried out by this version; {gap.instead}")
        for gap in _GAPS
        for path in gap.fields(spec)
    )


def _when(path: str, asks: Callable[[ModelDeploymentSpec], bool]) -> Callable[[ModelDeploymentSpec], list[str]]:
    return lambda spec: [path] if asks(spec) else []


def _rewritten_matches(spec: ModelDeploymentSpec) -> bool:
    """Whether they need more rules than a route has, each of them one: the Gateway API's limit is 16."""
    gateway, canary = spec.traffic.gateway, spec.rollout.canary
    rewrites = gateway is not None and gateway.rewrite_prefix is not None
    return rewrites and canary is not None and sum(step.match is not None for step in canary.steps) > _MOST_MATCHES


_MOST_MATCHES: Final = 15
_GAPS: Final = (
    _Gap(
        "more than fifteen match steps beside a rewritePrefix are",
        "leave some out: the Gateway API allows a route 16 rules, and each of them takes one",
        _when("spec.rollout.canary.steps", _rewritten_matches),
    ),
    _Gap(
        "an in-place rollout is",
        "remove it, or set Auto or Surge, which both put the candidate beside the stable revision",
        _when("spec.rollout.capacity", lambda spec: spec.rollout.capacity is Capacity.IN_PLACE),
    ),
    _Gap(
        "monitoring after promotion is",
        "remove the section; rollout.watchSeconds watches for a while after promotion",
        _when("spec.monitoring", lambda spec: spec.monitoring is not None),
    ),
)
