"""Where pods may run: accelerators, node affinity in order of preference, tolerations, spread.

The node labels are those of NVIDIA's GPU Feature Discovery. A node that shares its GPUs by time-slicing carries
`-SHARED` in its product's name, and one in MIG mode `single` the slice's (`-MIG-3g.40gb`); products are compared
exactly, so such a node is only taken when it is named.

Used by `serinus.core.render.pod_template`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final

from serinus.api import defaults
from serinus.api.placement import NVIDIA_PREFIX, Accelerator, AcceleratorChoice
from serinus.core.render.refusal import ReservedField, as_list, as_object

GPU_PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
GPU_MEMORY_LABEL: Final = "nvidia.com/gpu.memory"
GPU_SHARING_LABEL: Final = "nvidia.com/gpu.sharing-strategy"
_SHARING_STRATEGIES: Final = ("mps", "time-slicing")
_SHARED_SUFFIX: Final = ".shared"
_MIB_PER_GIB: Final = 1024
_GREATEST_PREFERENCE: Final = 100
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def accelerator_resource(accelerator: Accelerator) -> str:
    """The extended resource that a pod asks for."""
    return accelerator.resource or defaults.ACCELERATOR_RESOURCE


def with_accelerator(resources: Mapping[str, Any], accelerator: Accelerator | None) -> dict[str, Any]:
    """The container's compute resources with the accelerator among limits and requests, which have to be equal."""
    result = {
        name: dict(as_object(quantities, f"spec.serving.resources.{name}"))
        if name in ("limits", "requests")
        else quantities
        for name, quantities in resources.items()
    }
    if accelerator is None:
        return result
    resource = accelerator_resource(accelerator)
    for name in ("limits", "requests"):
        quantities = result.setdefault(name, {})
        if resource in quantities:
            path = f"spec.serving.resources.{name}[{resource}]"
            raise ReservedField(path, "is written from spec.placement.accelerator; remove it here")
        quantities[resource] = str(accelerator.count or defaults.ACCELERATOR_COUNT)
    return result


def accelerator_affinity(accelerator: Accelerator | None) -> dict[str, Any]:
    """Node affinity for `anyOf`: one of the entries is required, and an earlier one is preferred.

    The scheduler adds the weights of all preferences that a node meets. They halve from entry to entry, so that the
    first entry a node meets outweighs all later ones together; from the seventh on, entries count the same.
    """
    if accelerator is None or not accelerator.any_of:
        return {}
    choices = accelerator.any_of
    shared_will_do = accelerator_resource(accelerator).endswith(_SHARED_SUFFIX)
    terms = [{"matchExpressions": _expressions(choice, shared_will_do)} for choice in choices]
    affinity: dict[str, Any] = {_REQUIRED: {"nodeSelectorTerms": terms}}
    if len(choices) > 1:
        affinity[_PREFERRED] = [
            {"weight": max(1, _GREATEST_PREFERENCE >> position), "preference": term}
            for position, term in enumerate(terms)
        ]
    return {"nodeAffinity": affinity}


def _expressions(choice: AcceleratorChoice, shared_will_do: bool) -> list[dict[str, Any]]:
    expressions: list[dict[str, Any]] = []
    if choice.product is not None:
        expressions.append({"key": GPU_PRODUCT_LABEL, "operator": "In", "values": [choice.product]})
    if choice.min_memory_gib is not None:
        # `Gt` is "greater than" a whole number of MiB. The promise is kept to the letter: a card that reports less than
        # asked for is not taken, whatever its name says.
        floor = choice.min_memory_gib * _MIB_PER_GIB - 1
        expressions.append({"key": GPU_MEMORY_LABEL, "operator": "Gt", "values": [str(floor)]})
        if choice.product is None and not shared_will_do:
            # The label says the memory of the whole card, which pods on a shared one divide among themselves.
            expressions.append({"key": GPU_SHARING_LABEL, "operator": "NotIn", "values": list(_SHARING_STRATEGIES)})
    return expressions


def joined_affinity(first: Mapping[str, Any], second: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Both affinities at once: what either requires is required, what either prefers is preferred.

    `first` is one that this function or `accelerator_affinity` made; `path` is where `second` stands in the spec.
    Raises `ReservedField` where `second` has not the shape of core/v1. Terms of a node selector are alternatives, so
    requiring two selectors means every pair of their terms.
    """
    joined: dict[str, Any] = dict(first)
    for kind, rules in as_object(second, path).items():
        joined[kind] = _joined_rules(first.get(kind, {}), as_object(rules, f"{path}.{kind}"), f"{path}.{kind}", kind)
    return joined


def _joined_rules(first: Mapping[str, Any], second: Mapping[str, Any], path: str, kind: str) -> dict[str, Any]:
    joined: dict[str, Any] = dict(first)
    for name, rule in second.items():
        here = f"{path}.{name}"
        if kind == "nodeAffinity" and name == _REQUIRED:
            theirs = _terms(rule, here)
            terms = _both(first[name]["nodeSelectorTerms"], theirs) if name in first else theirs
            joined[name] = {"nodeSelectorTerms": terms}
        else:
            joined[name] = [*first.get(name, ()), *as_list(rule, here)]
    return joined


def _terms(selector: Any, path: str) -> list[Mapping[str, Any]]:
    here = f"{path}.nodeSelectorTerms"
    terms = [as_object(term, here) for term in as_list(as_object(selector, path).get("nodeSelectorTerms"), here)]
    for term in terms:
        for part in ("matchExpressions", "matchFields"):
            as_list(term.get(part, ()), f"{here}.{part}")
    return terms


def _both(first: Iterable[Mapping[str, Any]], second: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    # A term without any expression matches no node (core/v1), and so does every pair with one.
    pairs = [(one, other) for one, other in product(first, second) if any(one.values()) and any(other.values())]
    return [
        {
            part: [*one.get(part, ()), *other.get(part, ())]
            for part in ("matchExpressions", "matchFields")
            if one.get(part) or other.get(part)
        }
        for one, other in pairs
    ] or [{}]


def tolerations(accelerator: Accelerator | None, given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The user's tolerations after those of the accelerator's usual taint.

    Nodes with NVIDIA's MIG slices or shared GPUs are tainted `nvidia.com/gpu` as well as any other node with GPUs.
    """
    if accelerator is None:
        return [dict(toleration) for toleration in given]
    resource = accelerator_resource(accelerator)
    keys = [resource]
    if resource.startswith(NVIDIA_PREFIX) and resource != defaults.ACCELERATOR_RESOURCE:
        keys.append(defaults.ACCELERATOR_RESOURCE)
    own: list[dict[str, Any]] = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in keys]
    return own + [dict(toleration) for toleration in given if toleration not in own]


def topology_spread(given: Sequence[Mapping[str, Any]], selector: Mapping[str, str]) -> list[dict[str, Any]]:
    """The user's spread constraints, or else a soft one over nodes and one over zones.

    A constraint without a label selector counts the pods that `selector` matches: those of its own revision.
    """
    constraints = given or [
        {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway"}
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]
    own = {"labelSelector": {"matchLabels": selector}}
    return [dict(constraint) if "labelSelector" in constraint else {**constraint, **own} for constraint in constraints]
