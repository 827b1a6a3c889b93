"""A ModelDeployment as the cluster holds it, parsed once at the edge.

The shell calls ``ModelDeployment.parse`` on every event; everything inside works with the result. What does not parse
becomes ``InvalidSpec``, which says every field that is wrong and why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from serinus.api.revision import DEPLOYMENT_NAME_PATTERN, MAX_NAME_LENGTH, revision_fields, revision_hash, without_nulls
from serinus.api.schema import BROKEN_RULES, ApiModel
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.status import ModelDeploymentStatus

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the field's path, as in ``spec.rollout.canary.steps[2].weightPercent``, and why."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class InvalidSpec(ValueError):  # noqa: N818 - the reason that users read in the condition Stalled
    """A ModelDeployment that this operator can't read; ``problems`` says every field that is wrong, and why."""

    def __init__(self, namespace: str, name: str, problems: tuple[Problem, ...]) -> None:
        self.namespace = namespace
        self.name = name
        self.problems = problems
        super().__init__(
            f"ModelDeployment {namespace}/{name} can't be read; correct these fields: "
            + "; ".join(str(problem) for problem in problems)
        )


class ObjectMeta(ApiModel):
    """The part of an object's metadata that Serinus reads."""

    name: Annotated[str, StringConstraints(pattern=DEPLOYMENT_NAME_PATTERN, max_length=MAX_NAME_LENGTH)]
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    managed_fields: list[dict[str, Any]] = Field(default_factory=list, repr=False)
    deletion_timestamp: datetime | None = None

    def manager_of(self, annotation: str) -> str:
        """The field manager that last set an annotation; "" where nothing says so."""
        setters = (entry for entry in self.managed_fields if f"f:{annotation}" in owned_annotations(entry))
        newest = max(setters, key=lambda entry: str(entry.get("time", "")), default={})
        return str(newest.get("manager", ""))[:MANAGER_LENGTH]


MANAGER_LENGTH = 128
"""Longest name of a field manager, by the API server's rules."""


def owned_annotations(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The annotations that an entry of `metadata.managedFields` says somebody has set; their keys begin with `f:`."""
    fields = (entry.get("fieldsV1") or {}).get("f:metadata") or {}
    owned: Mapping[str, Any] = fields.get("f:annotations") or {}
    return owned


@dataclass(frozen=True, slots=True)
class ModelDeployment:
    """One ModelDeployment: metadata, what the user wants, what Serinus remembers, and the revision of the spec."""

    metadata: ObjectMeta
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus = field(default_factory=ModelDeploymentStatus)
    revision: str = ""
    """Revision of the spec (``revision_hash``)."""
    revision_fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The raw fields that make the revision, for its ControllerRevision."""
    raw_spec: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False, repr=False)
    """What the spec was read from."""

    @classmethod
    def parse(cls, resource: Mapping[str, Any], known: "ModelDeployment | None" = None) -> Self:
        """Read a ModelDeployment from the JSON object that the API server sends.

        `known` is an earlier reading of it: a spec that has not changed since is not read again.
        Raises ``InvalidSpec`` with every problem in metadata, spec and status at once; unknown fields are ignored.
        """
        problems: list[Problem] = []
        metadata = read_model(ObjectMeta, resource.get("metadata"), "metadata", problems)
        same = known if known is not None and _has_same_spec(known, metadata, resource) else None
        spec = (
            same.spec
            if same
            else read_model(ModelDeploymentSpec, without_nulls(resource.get("spec")), "spec", problems)
        )
        status = read_model(ModelDeploymentStatus, resource.get("status") or {}, "status", problems)
        if metadata is None or spec is None or status is None:
            raise InvalidSpec(*_address(resource), tuple(problems))
        raw = resource["spec"]
        return cls(metadata, spec, status, same.revision if same else revision_hash(raw), revision_fields(raw), raw)


def _has_same_spec(known: ModelDeployment, metadata: ObjectMeta | None, resource: Mapping[str, Any]) -> bool:
    """Whether the spec is the known one, by its generation and by what it says.

    Neither alone would do: 1 equals 1.0, and the defaults of a new CRD change no generation.
    """
    if metadata is None or not metadata.generation or known.raw_spec != resource.get("spec"):
        return False
    return (known.metadata.uid, known.metadata.generation) == (metadata.uid, metadata.generation)


def read_model(model: type[_Model], value: object, path: str, problems: list[Problem]) -> _Model | None:
    """The value as a model; None where it is none, and what is wrong with it is added to `problems`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False)
        broken = {detail["loc"] for detail in details}
        for detail in details:
            # A list whose entries are broken is also reported as too short, having lost them: that is noise.
            if detail["type"] == "too_short" and any(_lies_below(detail["loc"], other) for other in broken):
                continue
            field_path = _field_path(path, detail["loc"])
            if detail["type"] == BROKEN_RULES:
                problems += [Problem(f"{field_path}{at}", message) for at, message in detail["ctx"]["rules"]]
            else:
                problems.append(Problem(field_path, _in_words(detail)))
        return None


def _in_words(detail: ErrorDetails) -> str:
    """What is wrong with a value, and how to write it where YAML read another type than was meant."""
    value = detail["input"]
    match detail["type"]:
        case "string_type" if isinstance(value, bool | int | float):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            kind = "boolean" if isinstance(value, bool) else "number"
            return f'it has to be a text, and is read as a {kind}: write "{text}", in quotes'
        case "int_type" | "int_from_float" if str(detail["loc"][-1]).endswith("Seconds"):
            return "it has to be a whole number of seconds, such as 600, without quotes and unit"
        case "int_type" | "int_from_float":
            return "it has to be a whole number, without quotes"
        case _:
            return detail["msg"]


def _lies_below(upper: tuple[int | str, ...], lower: tuple[int | str, ...]) -> bool:
    return len(lower) > len(upper) and lower[: len(upper)] == upper


def _field_path(start: str, location: tuple[int | str, ...]) -> str:
    return start + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _address(resource: Mapping[str, Any]) -> tuple[str, str]:
    metadata = resource.get("metadata")
    if not isinstance(metadata, Mapping):
        return "?", "?"
    return str(metadata.get("namespace", "?")), str(metadata.get("name", "?"))
