"""A pod spec in the API server's own way of writing, so that what is read back equals what was written.

The API server rewrites quantities (`1000m` comes back as `1`) and leaves out empty texts. A template written in that
form never looks edited. The rules are those of `Quantity.CanonicalizeBytes` in k8s.io/apimachinery/pkg/api/resource.

Used by `serinus.core.render.pod_template`, last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any, Final

_QUANTITY: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]+))?"
)
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_EXPONENT_SUFFIX: Final = {exponent: f"e{exponent}" if exponent else "" for exponent in range(-9, 28, 3)}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_BINARY_SUFFIX: Final = {exponent: suffix for suffix, exponent in _BINARY.items()} | {0: ""}
_NANO: Final = 10**9


def canonical_quantity(written: str | float) -> str:
    """A quantity as the API server writes it; a text that is none comes back as it is, for the API server to refuse."""
    text = str(written)
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return text
    value = Fraction(Decimal(match["number"])) * (-1 if match["sign"] == "-" else 1)
    if match["suffix"] in _BINARY:
        return _binary(value * 2 ** _BINARY[match["suffix"]])
    if match["exponent"] is not None:
        return _decimal(value * Fraction(10) ** int(match["exponent"]), _EXPONENT_SUFFIX)
    return _decimal(value * Fraction(10) ** _DECIMAL[match["suffix"] or ""], _DECIMAL_SUFFIX)


def canonical_pod_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The pod spec with canonical quantities and without empty values of environment variables."""
    result = dict(spec)
    for containers in ("containers", "initContainers"):
        if containers in result:
            result[containers] = [_container(container) for container in result[containers]]
    if "volumes" in result:
        result["volumes"] = [_volume(volume) for volume in result["volumes"]]
    return result


def _binary(value: Fraction) -> str:
    whole = _away_from_zero(value)
    if -1024 < value < 1024:
        return _decimal(Fraction(_away_from_zero(value * _NANO), _NANO), _DECIMAL_SUFFIX)
    exponent = 0
    while exponent < max(_BINARY_SUFFIX) and whole % 1024 == 0:
        whole //= 1024
        exponent += 10
    return f"{whole}{_BINARY_SUFFIX[exponent]}"


def _decimal(value: Fraction, suffixes: Mapping[int, str]) -> str:
    digits = _away_from_zero(value * _NANO)
    if digits == 0:
        return "0"
    exponent = -9
    while exponent + 3 in suffixes and digits % 1000 == 0:
        digits //= 1000
        exponent += 3
    return f"{digits}{suffixes[exponent]}"


def _away_from_zero(value: Fraction) -> int:
    return ceil(value) if value >= 0 else -ceil(-value)


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(container)
    if isinstance(result.get("resources"), Mapping):
        result["resources"] = {
            key: _quantities(value) if key in ("limits", "requests") else value
            for key, value in result["resources"].items()
        }
    if isinstance(result.get("env"), list | tuple):
        result["env"] = [_variable(variable) for variable in result["env"]]
    return result


def _variable(variable: Any) -> Any:
    if not isinstance(variable, Mapping):
        return variable
    return {key: value for key, value in variable.items() if (key, value) != ("value", "")}


def _quantities(quantities: Any) -> Any:
    if not isinstance(quantities, Mapping):
        return quantities
    return {resource: canonical_quantity(amount) for resource, amount in quantities.items()}


def _volume(volume: Mapping[str, Any]) -> dict[str, Any]:
    empty_dir = volume.get("emptyDir")
    if not isinstance(empty_dir, Mapping) or "sizeLimit" not in empty_dir:
        return dict(volume)
    return {**volume, "emptyDir": {**empty_dir, "sizeLimit": canonical_quantity(empty_dir["sizeLimit"])}}
