"""The CustomResourceDefinition, generated from the pydantic models.

``python -m serinus.api.crd`` writes it into ``crds/``; a contract test compares the committed file with what this
module generates, so the models are the only source. The output is deterministic: fields stand in the models' order.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from serinus.api.kinds import GROUP, MODEL_DEPLOYMENT, VERSION
from serinus.api.names import SCHEMA_VERSION, SCHEMA_VERSION_ANNOTATION
from serinus.api.revision import DEPLOYMENT_NAME_PATTERN, MAX_NAME_LENGTH, without_nulls
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.status import ModelDeploymentStatus
from serinus.api.values import cel_string

CRD_NAME: Final = f"{MODEL_DEPLOYMENT.plural}.{GROUP}"
FILE_NAME: Final = f"{GROUP}_{MODEL_DEPLOYMENT.plural}.yaml"

_DROPPED: Final = frozenset({"title", "$defs", "format"})

_PRINTER_COLUMNS: Final = (
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


def custom_resource_definition() -> dict[str, Any]:
    """The CRD as a JSON object: structural, with rules, defaults, printer columns and subresources."""
    names = {
        "categories": ["serinus"],
        "kind": MODEL_DEPLOYMENT.kind,
        "listKind": f"{MODEL_DEPLOYMENT.kind}List",
        "plural": MODEL_DEPLOYMENT.plural,
        "shortNames": ["mdep"],
        "singular": MODEL_DEPLOYMENT.kind.lower(),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME, "annotations": {SCHEMA_VERSION_ANNOTATION: str(SCHEMA_VERSION)}},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [_version()]},
    }


def _version() -> dict[str, Any]:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_printer_column(*column) for column in _PRINTER_COLUMNS],
        "schema": {"openAPIV3Schema": _resource_schema()},
        "subresources": {
            "scale": {
                "labelSelectorPath": ".status.selector",
                "specReplicasPath": ".spec.scaling.replicas",
                "statusReplicasPath": ".status.replicas",
            },
            "status": {},
        },
    }


def _printer_column(name: str, kind: str, path: str, description: str, priority: int) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | ({"priority": priority} if priority else {})


def _resource_schema() -> dict[str, Any]:
    status = _without_defaults(structural_schema(ModelDeploymentStatus))
    return {
        "description": "A machine-learning model in production: Serinus runs its container, rolls out new versions by "
        "evidence and puts bad ones back.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"{MODEL_DEPLOYMENT.kind}."},
            "metadata": {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": MAX_NAME_LENGTH}},
            },
            "spec": structural_schema(ModelDeploymentSpec) | {"description": "What the user wants."},
            "status": _ordered(
                status
                | {
                    "description": "What Serinus has observed and decided. Written by Serinus alone.",
                    "default": _NOT_SEEN,
                }
            ),
        },
        "x-kubernetes-validations": [_NAME_RULE],
    }


def structural_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model as a structural schema of apiextensions/v1.

    Pydantic's JSON Schema with references inlined, optional fields as plain fields that are not required, and defaults
    of objects as ``{}``, into which the API server fills the defaults of their fields.
    """
    json_schema = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(json_schema, json_schema.get("$defs", {}))


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    resolved = _resolve(node, definitions)
    schema: dict[str, Any] = {}
    for key, value in resolved.items():
        match key:
            case "properties":
                schema[key] = {name: _structural(field, definitions) for name, field in value.items()}
            case "items":
                schema[key] = _structural(value, definitions)
            case "additionalProperties":
                schema[key] = _structural(value, definitions)
            case "default":
                if value not in (None, [], {}):
                    schema[key] = _default(value, has_rules="x-kubernetes-validations" in resolved)
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
    bare: dict[str, Any] = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in bare:
        bare["properties"] = {name: _without_defaults(field) for name, field in bare["properties"].items()}
    if "items" in bare:
        bare["items"] = _without_defaults(bare["items"])
    return bare


class _PlainDumper(yaml.SafeDumper):
    """Writes every object out in full: people read the file, and an alias would hide what they look for."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML asks for each object
        return True


def generated_file() -> str:
    """The text of the file in ``crds/``."""
    plain = json.loads(json.dumps(custom_resource_definition()))
    text = yaml.dump(plain, Dumper=_PlainDumper, sort_keys=False, width=120, allow_unicode=True)
    return f"# Generated from the models of serinus.api by `python -m serinus.api.crd`. Don't edit.\n{text}"


def main(arguments: list[str] | None = None) -> int:
    """Write the CRD into a folder, or with ``-`` to standard output."""
    parser = argparse.ArgumentParser(prog="python -m serinus.api.crd", description="Generate the CRD from the models.")
    parser.add_argument("folder", nargs="?", default="crds", help="folder to write into; - for standard output")
    folder = parser.parse_args(arguments).folder
    if folder == "-":
        sys.stdout.write(generated_file())
        return 0
    target = Path(folder) / FILE_NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(generated_file(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
