"""From a spec and the policies that hold for it to the spec in force.

A spec that is outside the bounds, or that policies make contradictory, is not refused here: `Governed.violations` says
so, and `decide` leaves everything as it is until it is mended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from serinus.api.analysis import Metric, MetricMode
from serinus.api.kinds import CLUSTER_ROLLOUT_POLICY
from serinus.api.policy import Policy, PolicyMode
from serinus.api.schema import broken_rules
from serinus.api.spec import ModelDeploymentSpec
from serinus.core.platform.bounds import broken_bounds
from serinus.core.platform.defaults import Origin, with_defaults


@dataclass(frozen=True, slots=True)
class Violation:
    """A field that is outside a policy's bounds, or can't be as the policies have it."""

    policy: Policy | None
    """None where no policy is to blame: a name that none of them defines."""
    field: str
    message: str
    """The bound, what is there instead, and what to do."""
    enforced: bool = True
    """Whether it stands in the way, or is only told."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A field that a rollout under way had from a policy, which does not give it any more."""

    kind: str
    name: str
    """Of the policy."""
    field: str
    value: str

    def __str__(self) -> str:
        return f"{self.field} of {self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Governed:
    """What the policies make of one spec."""

    spec: ModelDeploymentSpec
    """In force."""
    policies: tuple[Policy, ...] = ()
    """Those that hold, nearest first."""
    origins: tuple[Origin, ...] = ()
    violations: tuple[Violation, ...] = ()
    shared: dict[str, Policy] = field(default_factory=dict)
    """By name, which policy defines a shared metric that is named."""
    gone: tuple[Kept, ...] = ()
    """What a rollout under way keeps of policies that give it no more."""

    @property
    def version(self) -> str:
        """Changes with every policy that holds: what was judged by other limits is not used any more."""
        return ",".join(policy.version for policy in self.policies)

    @property
    def in_the_way(self) -> tuple[Violation, ...]:
        """Violations because of which nothing is rolled out."""
        return tuple(each for each in self.violations if each.enforced)


def govern(spec: ModelDeploymentSpec, policies: Sequence[Policy]) -> Governed:
    """The spec in force under these policies, in any order.

    A spec that the policies' defaults do not suit, such as copies of requests without a gateway, is left as it was
    written: that is valid in itself, and nothing new is begun on it.
    """
    ordered = sorted(policies, key=lambda policy: (policy.kind == CLUSTER_ROLLOUT_POLICY.kind, policy.name))
    if not ordered and spec.analysis.shared_metrics is None:
        return Governed(spec)
    filled, origins = with_defaults(spec, ordered)
    unfit = _unfit(filled, origins)
    if unfit:
        filled, origins = spec, ()
    found = _defined(filled, ordered)
    missing = _undefined(filled, found, ordered)
    judged = _with_shared(filled, found)
    outside = _outside(judged, ordered, origins, {name: policy for name, (policy, _) in found.items()})
    undecided = () if missing else _nothing_decides(judged)
    unreadable = tuple(
        Violation(policy, "spec", f"{policy} can't be read, so that nobody knows what it asks for: {policy.unreadable}")
        for policy in ordered
        if policy.unreadable
    )
    return Governed(
        spec=judged,
        policies=tuple(ordered),
        origins=origins,
        violations=(*unreadable, *unfit, *missing, *undecided, *outside),
        shared={name: policy for name, (policy, _) in found.items()},
    )


def _unfit(filled: ModelDeploymentSpec, origins: Sequence[Origin]) -> tuple[Violation, ...]:
    """Rules of the API that the spec breaks with the defaults, which its own fields and theirs each keep."""
    if not origins:
        return ()
    given = ", ".join(f"{origin.field} of {origin.policy}" for origin in origins)
    parts = (("spec.rollout", filled.rollout), ("spec.analysis", filled.analysis), ("spec", filled))
    return tuple(
        Violation(origins[0].policy, path, f"{message}; with {given}, which the resource takes as it sets none itself")
        for path, part in parts
        for message in broken_rules(part)
    )


def _defined(spec: ModelDeploymentSpec, policies: Sequence[Policy]) -> dict[str, tuple[Policy, Metric]]:
    wanted = spec.analysis.shared_metrics or ()
    found: dict[str, tuple[Policy, Metric]] = {}
    for policy in policies:
        for metric in policy.spec.metrics:
            if metric.name in wanted:
                found.setdefault(metric.name, (policy, metric))
    return found


def _undefined(
    spec: ModelDeploymentSpec, found: dict[str, tuple[Policy, Metric]], policies: Sequence[Policy]
) -> tuple[Violation, ...]:
    there = sorted({metric.name for policy in policies for metric in policy.spec.metrics})
    return tuple(
        Violation(
            None,
            "spec.analysis.sharedMetrics",
            f"no policy that holds here defines the metric {name}; there are {', '.join(there) or 'none'}: name one of "
            "them, define it in a RolloutPolicy or ClusterRolloutPolicy, or give it in spec.analysis.metrics",
        )
        for name in spec.analysis.shared_metrics or ()
        if name not in found
    )


def _with_shared(spec: ModelDeploymentSpec, found: dict[str, tuple[Policy, Metric]]) -> ModelDeploymentSpec:
    """Own metrics and the shared ones in one list; one that is not defined is left out, and the others judge on."""
    analysis = spec.analysis
    if analysis.shared_metrics is None:
        return spec
    own = analysis.metrics or ()
    shared = tuple(found[name][1] for name in analysis.shared_metrics if name in found)
    judged_by = analysis.model_copy(update={"metrics": (*own, *shared) or None})
    return spec.model_copy(update={"analysis": judged_by})


def _nothing_decides(spec: ModelDeploymentSpec) -> tuple[Violation, ...]:
    metrics = spec.analysis.metrics
    if not metrics or any(metric.mode is MetricMode.ENFORCE for metric in metrics):
        return ()
    message = (
        "none of the metrics has mode: Enforce, so that nothing would decide; name or give one that has, or set "
        "disabled: true to promote without evidence"
    )
    return (Violation(None, "spec.analysis.sharedMetrics", message),)


def _outside(
    spec: ModelDeploymentSpec, policies: Sequence[Policy], origins: Sequence[Origin], shared: dict[str, Policy]
) -> tuple[Violation, ...]:
    given = {origin.field: origin for origin in origins}
    found: list[Violation] = []
    for policy in policies:
        enforced = policy.spec.bounds.mode is PolicyMode.ENFORCE
        mine = frozenset(name for name, definer in shared.items() if definer is policy)
        for broken in broken_bounds(spec, policy.spec.bounds, mine):
            origin = given.get(broken.field)
            where = f", which is the default of {origin.policy}" if origin is not None else ""
            message = f"{policy} {broken.asks}, and it is {broken.value}{where}; {broken.remedy}, or ask its owner"
            found.append(Violation(policy, broken.field, message, enforced))
    return tuple(found)
