"""The reference of a resource, as Markdown, from its CustomResourceDefinition.

`make generate` writes a page for each file in `crds/`; a contract test holds them in step. One table for each object:
every field with an anchor of its own (`#spec.rollout.watchSeconds`), its type and bounds, its default, what it means,
and the rules that the API server checks.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

_NOTE: Final = "<!-- Written by `make generate` from crds/{file}. -->"

_EXPLAIN: Final = (
    "In a terminal: `kubectl explain {name}.spec --recursive` for the fields, `kubectl explain {name}.spec.FIELD` for "
    "what one means."
)


def page(crd: Mapping[str, Any], file: str) -> str:
    """The page of one CRD, which lies in `crds/` under the name `file`."""
    names, (version,) = crd["spec"]["names"], crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    parts = [part for part in ("spec", "status") if part in schema["properties"]]
    blocks = [
        _NOTE.format(file=file),
        f"# {names['kind']}",
        schema["description"],
        _identity(crd, version),
        _EXPLAIN.format(name=(*names.get("shortNames", ()), names["singular"])[0]),
        *_rules(schema),
        *(block for part in parts for block in _object(part, schema["properties"][part])),
        *_columns(version),
    ]
    return "\n\n".join(blocks) + "\n"


def _identity(crd: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    names = crd["spec"]["names"]
    rows = {
        "apiVersion": f"{crd['spec']['group']}/{version['name']}",
        "kind": names["kind"],
        "scope": crd["spec"]["scope"],
        "short name": ", ".join(names.get("shortNames", ())),
        "subresources": ", ".join(sorted(version.get("subresources", ()))),
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {key} | `{value}` |" for key, value in rows.items() if value)])


def _object(path: str, schema: Schema) -> Iterator[str]:
    """The section of an object, then those of the objects in it."""
    yield f"## {path}"
    yield _text(schema.get("description", ""))
    yield from _rules(schema)
    required = schema.get("required", ())
    rows = [_row(path, name, field, required=name in required) for name, field in schema["properties"].items()]
    if rows:
        yield "\n".join(["| field | type | default | |", "| --- | --- | --- | --- |", *rows])
    for name, field in schema["properties"].items():
        inner, mark = _described(field)
        if inner is not None:
            yield from _object(f"{path}.{name}{mark}", inner)


def _described(field: Schema) -> tuple[Schema | None, str]:
    """The object that has a section of its own, and how its path goes on."""
    for inner, mark in ((field, ""), (field.get("items", {}), "[]")):
        if inner.get("properties"):
            return inner, mark
    return None, ""


def _row(path: str, name: str, field: Schema, *, required: bool) -> str:
    inner, mark = _described(field)
    kind = _type(field)
    if inner is not None:
        kind = f"[{kind}](#{_slug(f'{path}.{name}{mark}')})"
    default = "**required**" if required else _default(field)
    said = [_text(field.get("description", "")), *(f"Rule: {_text(rule)}" for rule in _messages(field) if not inner)]
    anchor = f"{path}.{name}".replace("[]", "")
    return f'| <a id="{anchor}"></a>[`{name}`](#{anchor}) | {kind} | {default} | {" ".join(said)} |'


def _type(field: Schema) -> str:
    """The type of a field with its bounds, in words and as HTML that a table's cell can hold."""
    match field.get("type"):
        case _ if "enum" in field:
            told = ", ".join(f"`{value}`" for value in field["enum"])
        case _ if field.get("x-kubernetes-int-or-string"):
            told = "quantity"
        case "array":
            keys = field.get("x-kubernetes-list-map-keys")
            each = f", each {' and '.join(keys)} once" if keys else ""
            told = f"list of {_type(field['items'])}{_bounds(field, 'Items')}{each}"
        case "object" if "additionalProperties" in field:
            told = f"map to {_type(field['additionalProperties'])}"
        case "object" if field.get("x-kubernetes-preserve-unknown-fields") and "properties" not in field:
            told = "object, as in Kubernetes"
        case "string":
            told = f"{field.get('format', 'string')}{_bounds(field, 'Length')}{_pattern(field)}"
        case kind:
            told = f"{kind}{_bounds(field, 'imum')}"
    return told


_UNITS: Final = {"Items": " entries", "Length": " characters", "imum": ""}


def _bounds(field: Schema, of: str) -> str:
    low, high, unit = field.get(f"min{of}"), field.get(f"max{of}"), _UNITS[of]
    match low, high:
        case None, None:
            return ""
        case None, _:
            return f", at most {high:,}{unit}"
        case _, None:
            return f", at least {low:,}{unit}"
        case _:
            return f", {low:,} to {high:,}{unit}"


def _pattern(field: Schema) -> str:
    if "pattern" not in field:
        return ""
    return f", <code>{html.escape(field['pattern']).translate(_LITERAL)}</code>"


_LITERAL: Final = {ord(char): f"&#{ord(char)};" for char in "|*_[]`\\~$"}
"""Characters that Markdown would take for its own, also inside of HTML."""


def _default(field: Schema) -> str:
    if "default" not in field:
        return ""
    value = field["default"]
    if isinstance(value, Mapping):
        return "see there"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`" if value != "" else '`""`'


def _messages(schema: Schema) -> list[str]:
    return [rule["message"] for rule in schema.get("x-kubernetes-validations", ())]


def _rules(schema: Schema) -> Iterator[str]:
    rules = [f"- {_text(message)}" for message in _messages(schema)]
    if rules:
        yield "\n".join(["The API server refuses what breaks one of these rules:", "", *rules])


def _columns(version: Mapping[str, Any]) -> Iterator[str]:
    columns = version.get("additionalPrinterColumns", ())
    if columns:
        yield "## What kubectl get shows"
        yield _table_of(columns)


def _table_of(columns: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        f"| {each['name']}{' (with `-o wide`)' if each.get('priority') else ''} | `{_cell(each['jsonPath'])}` | "
        f"{each['description']} |"
        for each in columns
    ]
    return "\n".join(["| column | from | |", "| --- | --- | --- |", *rows])


def _text(description: str) -> str:
    """A description as text of a cell: words in <> outside of code would be taken for HTML."""
    parts = re.split(r"(`[^`]*`)", description)
    return _cell("".join(part if part.startswith("`") else html.escape(part, quote=False) for part in parts))


def _cell(code: str) -> str:
    return code.replace("|", "\\|")


def _slug(heading: str) -> str:
    """The anchor that Markdown gives a heading."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
