"""What is wrong with a ModelDeployment or a policy, as far as can be told without a cluster. Pure.

Called by `serinus.cli.validate`. The models carry every rule of the CRD in Python beside its CEL, so what is wrong
here is what the API server refuses; unknown fields, which the models ignore when they read a cluster, are looked up in
the CRD's schema; what the operator would refuse is asked of the operator's own functions.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Final

from serinus.api.crd import custom_resource_definition
from serinus.api.deployment import InvalidSpec, ModelDeployment
from serinus.api.kinds import MODEL_DEPLOYMENT, POLICY_KINDS, Kind
from serinus.api.policy import Policy
from serinus.api.support import unsupported
from serinus.cli.children import Stalled, children_of_first
from serinus.cli.policies import governed

_METADATA: Final = frozenset(
    {"annotations", "creationTimestamp", "finalizers", "generateName", "generation", "labels", "managedFields", "name"}
    | {"namespace", "ownerReferences", "resourceVersion", "selfLink", "uid", "deletionTimestamp"}
    | {"deletionGracePeriodSeconds"}
)
_TOP: Final = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: the field's path, and why."""

    field: str
    message: str


def findings(resource: Mapping[str, Any], now: datetime, beside: Sequence[Mapping[str, Any]] = ()) -> list[Finding]:
    """All that is wrong with a manifest; empty: the API server takes it, and the operator carries it out.

    `beside`: policies and Namespaces that it is held against. Without any, names of shared metrics are taken on trust.
    """
    found = [*_wrong_kind(resource, MODEL_DEPLOYMENT), *_unknown_fields(resource, MODEL_DEPLOYMENT)]
    try:
        deployment = ModelDeployment.parse(_without_status(resource))
    except InvalidSpec as error:
        return [*found, *(Finding(problem.field, problem.message) for problem in error.problems)]
    refused = [Finding(each.field, each.message) for each in unsupported(deployment.spec)]
    result = governed(deployment, beside)
    if beside:
        refused += [Finding(each.field, each.message) for each in result.in_the_way]
    if refused or found:
        return [*found, *refused]
    try:
        children_of_first(replace(deployment, spec=result.spec), now)
    except Stalled as error:
        return [Finding("spec", str(error))]
    return []


def findings_of_policy(resource: Mapping[str, Any]) -> list[Finding]:
    """All that is wrong with the manifest of a RolloutPolicy or ClusterRolloutPolicy."""
    kind = next(kind for kind in POLICY_KINDS if kind.kind == resource.get("kind"))
    found = [*_wrong_kind(resource, kind), *_unknown_fields(resource, kind)]
    metadata = resource.get("metadata")
    if not isinstance(metadata, Mapping) or not metadata.get("name"):
        return [*found, Finding("metadata.name", "it has to have a name")]
    problems = Policy.parse(_without_status(resource)).problems
    return [*found, *(Finding(problem.field, problem.message) for problem in problems)]


def _wrong_kind(resource: Mapping[str, Any], kind: Kind) -> Iterator[Finding]:
    wanted = {"apiVersion": kind.api_version, "kind": kind.kind}
    for field, value in wanted.items():
        if resource.get(field) != value:
            yield Finding(field, f"it is {resource.get(field)!r}; write {field}: {value}")


def _unknown_fields(resource: Mapping[str, Any], kind: Kind) -> Iterator[Finding]:
    for name in resource:
        if name not in _TOP:
            yield _unknown(name, name, _TOP, kind)
    metadata = resource.get("metadata")
    if isinstance(metadata, Mapping):
        for name in metadata:
            if name not in _METADATA:
                yield _unknown(f"metadata.{name}", name, _METADATA, kind)
    yield from _unknown_below(resource.get("spec"), _schema(kind)["properties"]["spec"], "spec", kind)


def _unknown_below(value: object, schema: Mapping[str, Any], path: str, kind: Kind) -> Iterator[Finding]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown_below(item, schema.get("items", {}), f"{path}[{index}]", kind)
        return
    if not isinstance(value, Mapping) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    known, more = schema.get("properties"), schema.get("additionalProperties")
    for name, inner in value.items():
        if isinstance(known, Mapping) and name in known:
            yield from _unknown_below(inner, known[name], f"{path}.{name}", kind)
        elif isinstance(more, Mapping):
            yield from _unknown_below(inner, more, f"{path}.{name}", kind)
        elif isinstance(known, Mapping):
            yield _unknown(f"{path}.{name}", str(name), known, kind)


def _unknown(path: str, name: str, known: Mapping[str, Any] | frozenset[str], kind: Kind) -> Finding:
    by_case = {each.lower(): each for each in known}
    alike = difflib.get_close_matches(name.lower(), by_case, n=1)
    elsewhere = _elsewhere(kind).get(name, ())
    if alike:
        hint = f"did you mean {by_case[alike[0]]}?"
    elif elsewhere:
        hint = f"it belongs to {' or '.join(elsewhere[:3])}"
    else:
        hint = f"there are {', '.join(sorted(known))}"
    return Finding(path, f"there is no such field; {hint}")


@cache
def _schema(kind: Kind) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@cache
def _elsewhere(kind: Kind) -> Mapping[str, tuple[str, ...]]:
    """Where in the spec each field may stand: many are known and only put into the wrong place."""
    found: dict[str, tuple[str, ...]] = {}

    def walk(schema: Mapping[str, Any], path: str) -> None:
        for name, inner in schema.get("properties", {}).items():
            found[name] = (*found.get(name, ()), path)
            walk(inner, f"{path}.{name}")
        if "items" in schema:
            walk(schema["items"], f"{path}[]")

    walk(_schema(kind)["properties"]["spec"], "spec")
    return found


def _without_status(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key != "status"}
