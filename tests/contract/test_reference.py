"""The generated reference is in step with the CRDs and the enums, and leaves nothing out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from handbook.__main__ import CRDS, pages
from serinus.api.reasons import REASONS, ConditionType, Happening, Phase, Reason
from serinus.core.readings import MissingReason
from serinus.core.verdicts import FailReason, UndecidedReason, VerdictKind

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
GENERATED = pages()


def test_the_committed_pages_are_the_generated_ones() -> None:
    committed = {page.name: page.read_text() for page in REFERENCE.glob("*.md")}
    assert committed.keys() == GENERATED.keys()
    assert [name for name, text in GENERATED.items() if committed[name] != text] == [], "run make generate"


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field, f"{path}.{name}")
        yield from fields(field.get("items", {}), f"{path}.{name}")


@pytest.mark.parametrize("file", sorted(CRDS.glob("*.yaml")), ids=lambda file: file.name)
def test_every_field_has_a_row_with_its_anchor_default_and_rules(file: Path) -> None:
    crd = yaml.load(file.read_bytes(), yaml.CSafeLoader)
    text = GENERATED[f"{crd['spec']['names']['singular']}.md"]
    rows = {found[1]: found[0] for found in re.finditer(r'^\| <a id="([^"]+)">.*$', text, re.MULTILINE)}
    (version,) = crd["spec"]["versions"]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    there = [each for part in ("spec", "status") for each in fields(properties.get(part, {}), part)]

    assert sorted(path for path, _ in there) == sorted(rows), "each field once"
    for path, field in there:
        cells = re.split(r"(?<!\\) \| ", rows[path])
        default = field.get("default")
        if default is not None and not isinstance(default, dict):
            assert cells[2] == f"`{str(default).lower() if isinstance(default, bool) else default}`", path
        for word in re.findall(r"\w{4,}", field.get("description", "")):
            assert word in cells[3], path


def messages(schema: dict[str, Any]) -> Iterator[str]:
    yield from (rule["message"] for rule in schema.get("x-kubernetes-validations", ()))
    for inner in (*schema.get("properties", {}).values(), *filter(None, [schema.get("items")])):
        yield from messages(inner)


@pytest.mark.parametrize("file", sorted(CRDS.glob("*.yaml")), ids=lambda file: file.name)
def test_every_rule_is_told_in_the_words_of_the_api_server(file: Path) -> None:
    crd = yaml.load(file.read_bytes(), yaml.CSafeLoader)
    text = GENERATED[f"{crd['spec']['names']['singular']}.md"].replace("&lt;", "<").replace("&gt;", ">")
    (version,) = crd["spec"]["versions"]
    assert [message for message in messages(version["schema"]["openAPIV3Schema"]) if message not in text] == []


def test_links_within_a_page_lead_somewhere() -> None:
    for name, text in GENERATED.items():
        anchors = set(re.findall(r'<a id="([^"]+)">', text))
        anchors |= {re.sub(r"[^\w -]", "", head).lower() for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors, name


def test_every_word_that_users_match_on_is_explained() -> None:
    text = GENERATED["conditions.md"]
    for words in (ConditionType, Phase, Reason, Happening, FailReason, UndecidedReason, MissingReason):
        assert [word for word in words if f"`{word.value}`" not in text] == []
    assert {f"### {kind.value}" for kind in VerdictKind if kind is not VerdictKind.PASS} <= set(text.splitlines())


def test_every_reason_belongs_to_a_condition() -> None:
    """But for the one that only marks a candidate that the spec no longer asks for."""
    belong = {reason for reasons in REASONS.values() for reason in reasons}
    assert set(Reason) - belong == {Reason.SUPERSEDED}
