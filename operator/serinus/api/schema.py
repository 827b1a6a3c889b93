"""The base of every resource model, and the rules that models carry.

A rule is written once, beside the fields it speaks of, in two forms: CEL, which the API server evaluates, and Python,
which the operator evaluates on specs that got past the API server (an older CRD, validation switched off). Every model
of ``serinus.api`` derives from ``ApiModel``; ``serinus.api.crd`` turns what it finds here into the CRD's schema.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError

_RULE_MARK = "__serinus_rule__"
BROKEN_RULES = "rule"
"""Type of the validation error of rules that do not hold; its context has ``rules``: field path and message of each."""
OPERATOR_DEFAULTS = "x-serinus-operator-defaults"
"""Marks a model's JSON Schema for ``serinus.api.crd``; it never gets into a CRD."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One cross-field rule: what the API server evaluates, what it says, and where it points.

    ``cel`` is an expression over ``self`` with camelCase names. ``message`` names field and rule and says what to do.
    ``field_path`` is the camelCase path (``.a.b``) below the rule's object that the error is attributed to; empty:
    the object itself. ``values`` tells what the rule compares of an object that breaks it; the API server does not.
    """

    cel: str
    message: str
    field_path: str = ""
    values: Callable[[Any], str] | None = None

    def as_validation(self) -> dict[str, str]:
        """The entry of ``x-kubernetes-validations``."""
        entry = {"rule": self.cel, "message": self.message}
        if self.field_path:
            entry["fieldPath"] = self.field_path
        return entry


_Check = TypeVar("_Check", bound=Callable[[Any], bool])


def rule(
    cel: str, message: str, *, field_path: str = "", values: Callable[[Any], str] | None = None
) -> Callable[[_Check], _Check]:
    """Make a method of an ``ApiModel`` the Python form of a rule: it returns whether the rule holds."""

    def mark(check: _Check) -> _Check:
        setattr(check, _RULE_MARK, Rule(cel, message, field_path, values))
        return check

    return mark


class ApiModel(BaseModel):
    """Frozen, camelCase outside and snake_case inside, tolerant of unknown fields when reading the cluster.

    The docstring below each field is its description in the CRD, and so in ``kubectl explain``.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[tuple[Rule, Callable[[Any], bool]], ...]] = ()

    operator_defaults: ClassVar[bool] = False
    """Whether the operator fills in what is not set, and not the API server: so that it is known what a user has set,
    and a policy's default can stand before the operator's."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        members = [member for owner in reversed(cls.__mro__) for member in vars(owner).values()]
        cls.rules = tuple((getattr(member, _RULE_MARK), member) for member in members if hasattr(member, _RULE_MARK))

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        broken = _broken(self)
        if broken:
            told = "; ".join(message for _, message in broken)
            raise PydanticCustomError(BROKEN_RULES, "{broken}", {"broken": told, "rules": broken})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.operator_defaults:
            schema[OPERATOR_DEFAULTS] = True
        if cls.rules:
            schema["x-kubernetes-validations"] = [rule.as_validation() for rule, _ in cls.rules]
        return schema


def broken_rules(model: ApiModel) -> list[str]:
    """What the rules say that do not hold of a model which was put together without being validated."""
    return [message for _, message in _broken(model)]


def _broken(model: ApiModel) -> list[tuple[str, str]]:
    """Field path and message of each rule that does not hold."""
    broken = (rule for rule, holds in model.rules if not holds(model))
    return [(rule.field_path, f"{rule.message}{f' ({rule.values(model)})' if rule.values else ''}") for rule in broken]


def count_set(*variants: object) -> int:
    """How many of the variants of a union are given (not None)."""
    return sum(variant is not None for variant in variants)
