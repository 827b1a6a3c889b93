"""Scalar types of the resource: names, durations, ports, decimals written as strings.

Used by the field definitions of every other module of ``serinus.api``; each type knows its Python value and its
OpenAPI schema.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final, Self

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict, StringConstraints
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

DNS_LABEL_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN_PATTERN: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
LABEL_VALUE_PATTERN: Final = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
QUALIFIED_NAME_PATTERN: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
PROMETHEUS_LABEL_PATTERN: Final = r"^[a-zA-Z_][a-zA-Z0-9_]*$"

ONE_YEAR_SECONDS: Final = 31_536_000

DnsLabel = Annotated[str, StringConstraints(pattern=DNS_LABEL_PATTERN, max_length=63)]
ObjectName = Annotated[str, StringConstraints(pattern=DNS_SUBDOMAIN_PATTERN, max_length=253)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE_PATTERN, max_length=63)]
QualifiedName = Annotated[str, StringConstraints(pattern=QUALIFIED_NAME_PATTERN, max_length=253)]
PrometheusLabel = Annotated[str, StringConstraints(pattern=PROMETHEUS_LABEL_PATTERN, max_length=128)]

Integer = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
Seconds = Annotated[int, Strict(), Field(ge=0, le=ONE_YEAR_SECONDS)]
PositiveSeconds = Annotated[int, Strict(), Field(ge=1, le=ONE_YEAR_SECONDS)]


class DecimalText(str):
    """A decimal number kept as the text the user wrote, so that no float rounding ever touches a limit."""

    __slots__ = ()

    shape = r"^[0-9]{1,15}(\.[0-9]{1,6})?$"
    max_length = 22

    @property
    def decimal(self) -> Decimal:
        """The exact value."""
        return Decimal(self)

    @property
    def fraction(self) -> Fraction:
        """The exact value, for arithmetic that must not round."""
        return Fraction(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema(pattern=cls.shape, max_length=cls.max_length)
        return core_schema.no_info_after_validator_function(cls, text)


class SignedDecimalText(DecimalText):
    """A decimal number that may be negative, for gauges of any unit."""

    __slots__ = ()

    shape = r"^-?[0-9]{1,15}(\.[0-9]{1,6})?$"
    max_length = 23


class Percent(DecimalText):
    """A share in percent (or a difference of shares in percentage points), at most three digits before the point."""

    __slots__ = ()

    shape = r"^[0-9]{1,3}(\.[0-9]{1,6})?$"
    max_length = 10

    @classmethod
    def of_share(cls, share: float, digits: int) -> Self:
        """A share (0.01: one percent) as the API writes it, rounded to so many digits of a percent after the point."""
        text = f"{100 * share:.{digits}f}"
        return cls(text.rstrip("0").rstrip(".") if "." in text else text)

    @property
    def share(self) -> Fraction:
        """The share as an exact fraction: 0.01 for ``"1"``."""
        return Fraction(self) / 100


@dataclass(frozen=True, slots=True)
class Above:
    """Bounds of a ``DecimalText`` field: above ``lower`` (itself excluded), and at most ``upper`` if given."""

    lower: str
    upper: str | None = None

    @property
    def message(self) -> str:
        """The rule in words, the same in the CRD and here."""
        upper = "" if self.upper is None else f" and at most {self.upper}"
        example = "1" if self.upper is None or Decimal(self.upper) >= 1 else self.upper
        return f'must be above {self.lower}{upper}, written as a decimal string such as "{example}"'

    def admits(self, value: DecimalText) -> bool:
        """Whether the value lies within the bounds."""
        return Decimal(self.lower) < value.decimal and (self.upper is None or value.decimal <= Decimal(self.upper))

    def __get_pydantic_core_schema__(self, source: type[DecimalText], handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: DecimalText) -> DecimalText:
            if not self.admits(value):
                raise PydanticCustomError("bounds", "{message}", {"message": self.message})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        json_schema = dict(handler(schema))
        bounds = f"double(self) > {Decimal(self.lower):.1f}"
        if self.upper is not None:
            bounds += f" && double(self) <= {Decimal(self.upper):.1f}"
        # A text that is no number breaks the pattern; evaluating double() on it would only add noise to that message.
        json_schema["x-kubernetes-validations"] = [
            {"rule": f"!self.matches({cel_string(json_schema['pattern'])}) || ({bounds})", "message": self.message}
        ]
        return json_schema


def cel_string(text: str) -> str:
    """A CEL string literal with exactly this value."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def matches(pattern: str, text: str) -> bool:
    """Whether the text matches as RE2 in CEL and OpenAPI would have it: ``$`` is the very end of the text."""
    return re.search(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern, text) is not None
