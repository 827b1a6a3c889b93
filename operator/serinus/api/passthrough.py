"""Shapes of core/v1 and batch/v1 that pass through Serinus as the user wrote them, and lists identified by a key.

The CRD's schema checks what Serinus itself relies on (an item has its key, keys are unique) and preserves everything
else, so that fields of newer Kubernetes versions are never dropped. Used by the field definitions of the spec.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

QUANTITY_PATTERN: Final = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)

OPEN_OBJECT_SCHEMA: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
QUANTITIES_SCHEMA: Final = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
        "pattern": QUANTITY_PATTERN,
    },
}

OpenObject = Annotated[dict[str, Any], WithJsonSchema(OPEN_OBJECT_SCHEMA)]
"""A Kubernetes object passed through as written; its own API server validates it."""

OpenObjects = Annotated[
    tuple[dict[str, Any], ...],
    WithJsonSchema({"type": "array", "items": OPEN_OBJECT_SCHEMA, "x-kubernetes-list-type": "atomic"}),
]
"""A list of such objects, replaced as a whole."""


def _refuse_duplicates(key: str, values: list[Any]) -> None:
    repeated = sorted(str(value) for value, count in Counter(values).items() if count > 1)
    if repeated:
        message = f"entries must differ in {key}; given more than once: {', '.join(repeated)}"
        raise PydanticCustomError("duplicate", "{message}", {"message": message})


@dataclass(frozen=True, slots=True)
class KeyedBy:
    """Marks a list of models as a list-map: its items are told apart by the field `key`, and must differ in it."""

    key: str = "name"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(items: tuple[Any, ...]) -> tuple[Any, ...]:
            _refuse_duplicates(self.key, [getattr(item, self.key) for item in items])
            return items

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}


@dataclass(frozen=True, slots=True)
class OpenListMap:
    """Marks a list of open objects as a list-map; `properties` describes the fields that the schema knows."""

    key: str
    properties: dict[str, Any] = field(hash=False)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(items: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
            for position, item in enumerate(items):
                if not isinstance(item.get(self.key), str) or not item[self.key]:
                    message = f"entry {position} needs a {self.key}"
                    raise PydanticCustomError("key_missing", "{message}", {"message": message})
            _refuse_duplicates(self.key, [item[self.key] for item in items])
            return items

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "type": "array",
            "items": OPEN_OBJECT_SCHEMA | {"required": [self.key], "properties": self.properties},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [self.key],
        }


def _text(description: str, **bounds: int) -> dict[str, Any]:
    return {"type": "string", "description": description, **bounds}


EnvironmentVariables = Annotated[
    tuple[dict[str, Any], ...],
    OpenListMap(
        "name",
        {
            "name": _text("Name of the environment variable.", minLength=1),
            "value": _text("Value; `$(NAME)` refers to variables further up in the list."),
            "valueFrom": OPEN_OBJECT_SCHEMA
            | {
                "description": "Source of the value, as in core/v1: configMapKeyRef, secretKeyRef, fieldRef or "
                "resourceFieldRef."
            },
        },
    ),
]

Volumes = Annotated[
    tuple[dict[str, Any], ...],
    OpenListMap("name", {"name": _text("Name that volumeMounts refer to.", minLength=1)}),
]

VolumeMounts = Annotated[
    tuple[dict[str, Any], ...],
    OpenListMap(
        "mountPath",
        {
            "name": _text("Name of the volume.", minLength=1),
            "mountPath": _text("Where in the container the volume is mounted.", minLength=1),
            "readOnly": {"type": "boolean", "description": "Whether the mount is read-only; false when unset."},
            "subPath": _text("Path inside the volume that is mounted instead of its root."),
        },
    ),
]

Resources = Annotated[
    dict[str, Any],
    WithJsonSchema(
        OPEN_OBJECT_SCHEMA
        | {
            "properties": {
                "requests": QUANTITIES_SCHEMA
                | {
                    "description": "What the scheduler reserves for each pod, by resource, such as `cpu: 500m` and "
                    "`memory: 1Gi`. GPUs belong into placement.accelerator, which writes their requests as well."
                },
                "limits": QUANTITIES_SCHEMA
                | {
                    "description": "What each pod may use at most, by resource. Set a memory limit; leave "
                    "the CPU limit out unless you must."
                },
            }
        }
    ),
]
