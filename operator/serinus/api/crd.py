"""The CustomResourceDefinitions, generated from the pydantic models.

``python -m serinus.api.crd`` writes them into ``crds/``; a contract test compares the committed files with what this
module generates, so the models are the only source. The output is deterministic: fields stand in the models' order.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from serinus.api.kinds import CLUSTER_ROLLOUT_POLICY, GROUP, MODEL_DEPLOYMENT, ROLLOUT_POLICY, VERSION, Kind
from serinus.api.names import SCHEMA_VERSION, SCHEMA_VERSION_ANNOTATION
from serinus.api.policy import ClusterRolloutPolicySpec, RolloutPolicySpec
from serinus.api.revision import DEPLOYMENT_NAME_PATTERN, MAX_NAME_LENGTH, without_nulls
from serinus.api.schema import OPERATOR_DEFAULTS
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.status import ModelDeploymentStatus
from serinus.api.values import cel_string

CRD_NAME: Final = f"{MODEL_DEPLOYMENT.plural}.{GROUP}"

_DROPPED: Final = frozenset({"title", "$defs", "format", OPERATOR_DEFAULTS})

_Column = tuple[str, str, str, str, int]
_PRINTER_COLUMNS: Final[tuple[_Column, ...]] = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether the spec's revision serves.", 0),
    ("Phase", "string", ".status.rollout.phase", "Phase of the rollout.", 0),
    ("Step", "string", ".status.rollout.step", "Current step of the rollout.", 0),
    ("Weight", "integer", ".status.candidate.weightPercent", "Share of the requests of the candidate, in percent.", 0),
    ("Stable", "string", ".status.stable.revision", "Revision that serves.", 0),
    ("Candidate", "string", ".status.candidate.revision", "Revision under judgement.", 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', "Why it is ready or not.", 1),
    ("Age", "date", ".metadata.creationTimestamp", "Time since it was created.", 0),
)

_NOT_SEEN: Final = {"observedGeneration": -1}
"""The status of a resource that no operator has looked at: to kstatus, one that says nothing at all would be done."""

_NAME_RULE: Final = {
    "rule": f"self.metadata.name.matches({cel_string(DEPLOYMENT_NAME_PATTERN)})",
    "message": "metadata.name must consist of a-z, 0-9 and '-', start with a letter and end with a letter or digit: "
    "Services are named after it; choose another name",
}


_POLICY_COLUMNS: Final[tuple[_Column, ...]] = (
    ("Bounds", "string", ".spec.bounds.mode", "What becomes of a resource outside the bounds.", 0),
    ("Automation", "string", ".spec.bounds.rollout.allowedAutomation", "Values that automation may have.", 0),
    ("Strategies", "string", ".spec.bounds.rollout.allowedStrategies", "Strategies that may be used.", 0),
    ("Age", "date", ".metadata.creationTimestamp", "Time since it was created.", 0),
)


@dataclass(frozen=True, slots=True)
class _Resource:
    """A kind, and what its CRD says beside the schema of its spec."""

    kind: Kind
    short_name: str
    description: str
    spec: type[BaseModel]
    columns: tuple[_Column, ...]
    namespaced: bool = True


_RESOURCES: Final = {
    each.kind: each
    for each in (
        _Resource(
            MODEL_DEPLOYMENT,
            "mdep",
            "A machine-learning model in production: Serinus runs its container, rolls out new versions by evidence "
            "and puts bad ones back.",
            ModelDeploymentSpec,
            _PRINTER_COLUMNS,
        ),
        _Resource(
            CLUSTER_ROLLOUT_POLICY,
            "crpol",
            "What a platform team asks of the ModelDeployments of many namespaces: defaults, bounds, and metrics that "
            "they share.",
            ClusterRolloutPolicySpec,
            _POLICY_COLUMNS,
            namespaced=False,
        ),
        _Resource(
            ROLLOUT_POLICY,
            "rpol",
            "What a platform team asks of the ModelDeployments of its namespace: defaults, bounds, and metrics that "
            "they share.",
            RolloutPolicySpec,
            _POLICY_COLUMNS,
        ),
    )
}
KINDS: Final = tuple(_RESOURCES)
"""The kinds that have a CRD of ours."""


def custom_resource_definition(kind: Kind = MODEL_DEPLOYMENT) -> dict[str, Any]:
    """The CRD of a kind as a JSON object: structural, with rules, defaults, printer columns and subresources."""
    resource = _RESOURCES[kind]
    names = {
        "categories": ["serinus"],
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "shortNames": [resource.short_name],
        "singular": kind.kind.lower(),
    }
    scope = "Namespaced" if resource.namespaced else "Cluster"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            "annotations": {SCHEMA_VERSION_ANNOTATION: str(SCHEMA_VERSION)},
        },
        "spec": {"group": GROUP, "names": names, "scope": scope, "versions": [_version(resource)]},
    }


def _version(resource: _Resource) -> dict[str, Any]:
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_printer_column(*column) for column in resource.columns],
        "schema": {"openAPIV3Schema": _resource_schema(resource)},
    }
    if resource.kind == MODEL_DEPLOYMENT:
        version["subresources"] = {
            "scale": {
                "labelSelectorPath": ".status.selector",
                "specReplicasPath": ".spec.scaling.replicas",
                "statusReplicasPath": ".status.replicas",
            },
            "status": {},
        }
    return version


def _printer_column(name: str, kind: str, path: str, description: str, priority: int) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | ({"priority": priority} if priority else {})


def _resource_schema(resource: _Resource) -> dict[str, Any]:
    kind, metadata = resource.kind.kind, {"type": "object"}
    schema: dict[str, Any] = {
        "description": resource.description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"{kind}."},
            "metadata": metadata,
            "spec": structural_schema(resource.spec) | {"description": "What the user wants."},
        },
    }
    if resource.kind == MODEL_DEPLOYMENT:
        status = _without_defaults(structural_schema(ModelDeploymentStatus))
        named = metadata | {"properties": {"name": {"type": "string", "maxLength": MAX_NAME_LENGTH}}}
        told = "What Serinus has observed and decided. Written by Serinus alone."
        # Atomic: with one writer, who owns which field says nothing, and was a quarter of the object.
        status = _ordered(status | {"description": told, "default": _NOT_SEEN, "x-kubernetes-map-type": "atomic"})
        schema["properties"] |= {"metadata": named, "status": status}
        schema["x-kubernetes-validations"] = [_NAME_RULE]
    return schema


def structural_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model as a structural schema of apiextensions/v1.

    Pydantic's JSON Schema with references inlined, optional fields as plain fields that are not required, and defaults
    of objects as ``{}``, into which the API server fills the defaults of their fields.
    """
    json_schema = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(json_schema, json_schema.get("$defs", {}))


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    resolved = _resolve(node, definitions)
    operators = bool(resolved.get(OPERATOR_DEFAULTS))
    schema: dict[str, Any] = {}
    for key, value in resolved.items():
        match key:
            case "properties":
                fields = {name: _structural(field, definitions) for name, field in value.items()}
                schema[key] = {name: _without_default(each) for name, each in fields.items()} if operators else fields
            case "items":
                schema[key] = _structural(value, definitions)
            case "additionalProperties":
                schema[key] = _structural(value, definitions)
            case "default":
                if value not in (None, [], {}):
                    schema[key] = _default(value, has_rules="x-kubernetes-validations" in resolved and not operators)
            case "description":
                schema[key] = " ".join(value.split())
            case key if key not in _DROPPED:
                schema[key] = value
    if resolved.get("format") == "date-time":
        schema["format"] = "date-time"
    return _ordered(schema)


def _default(value: object, *, has_rules: bool) -> object:
    """The default of a field: for an object ``{}``, which the API server completes with the defaults of its fields.

    In full where rules stand on the object: the API server checks the default against them before completing it.
    """
    if not isinstance(value, dict):
        return value
    return without_nulls(value) if has_rules else {}


def _without_default(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "default"}


def _resolve(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The node with its reference and the null alternative of an optional field taken in; what it says itself wins."""
    own = {key: value for key, value in node.items() if key not in {"$ref", "anyOf"}}
    if "$ref" in node:
        return _resolve(definitions[node["$ref"].removeprefix("#/$defs/")], definitions) | own
    alternatives = [choice for choice in node.get("anyOf", []) if choice != {"type": "null"}]
    if len(alternatives) == 1:
        return _resolve(alternatives[0], definitions) | own
    return own | ({"anyOf": alternatives} if alternatives else {})


_FIRST: Final = ("description", "type", "format", "enum", "default", "pattern", "required", "properties", "items")


def _ordered(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its keys in the order people read them."""
    known = [key for key in _FIRST if key in schema]
    return {key: schema[key] for key in [*known, *sorted(schema.keys() - set(known))]}


def _without_defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of what a status says: what the operator did not write must not be made up by the API server."""
    bare = _without_default(schema)
    if "properties" in bare:
        bare["properties"] = {name: _without_defaults(field) for name, field in bare["properties"].items()}
    if "items" in bare:
        bare["items"] = _without_defaults(bare["items"])
    return bare


class _PlainDumper(yaml.SafeDumper):
    """Writes every object out in full: people read the file, and an alias would hide what they look for."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML asks for each object
        return True


def file_name(kind: Kind) -> str:
    """Name of the file of a kind in ``crds/``."""
    return f"{GROUP}_{kind.plural}.yaml"


def generated_file(kind: Kind) -> str:
    """The text of the file of a kind in ``crds/``."""
    plain = json.loads(json.dumps(custom_resource_definition(kind)))
    text = yaml.dump(plain, Dumper=_PlainDumper, sort_keys=False, width=120, allow_unicode=True)
    return f"# Generated from the models of serinus.api by `python -m serinus.api.crd`. Don't edit.\n{text}"


def main(arguments: list[str] | None = None) -> int:
    """Write the CRDs into a folder, or with ``-`` to standard output."""
    parser = argparse.ArgumentParser(prog="python -m serinus.api.crd", description="Generate the CRDs from the models.")
    parser.add_argument("folder", nargs="?", default="crds", help="folder to write into; - for standard output")
    folder = parser.parse_args(arguments).folder
    if folder == "-":
        sys.stdout.write("---\n".join(generated_file(kind) for kind in KINDS))
        return 0
    for kind in KINDS:
        target = Path(folder) / file_name(kind)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(generated_file(kind), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
