"""Every YAML and every block of output in the documentation is what the code takes, and what it gives.

ModelDeployments and parts of them are checked as `kubectl serinus validate` checks them, other resources of ours by
their CRD, parts of the chart's values by its schema. Commands that need no cluster are run. A block that nothing can
check says why (`tests/contract/fenced.py`).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from serinus.api.kinds import MODEL_DEPLOYMENT
from serinus.cli.app import app
from serinus.cli.checking import findings
from tests.contract.fenced import BLOCKS, DOCS, LANGUAGES, ROOT, USED, Block, code_spans, prose
from tests.contract.shell import outputs

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHART = ROOT / "charts" / "serinus"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
VALUES_SCHEMA = json.loads((CHART / "values.schema.json").read_text())
CRDS = [yaml.load(path.read_bytes(), yaml.CSafeLoader) for path in sorted((ROOT / "crds").glob("*.yaml"))]
SCHEMAS = {
    (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]): version["schema"]["openAPIV3Schema"]
    for crd in CRDS
    for version in crd["spec"]["versions"]
}
"""Of every kind of ours."""
MODEL = (MODEL_DEPLOYMENT.api_version, MODEL_DEPLOYMENT.kind)
IMAGE = {"image": "registry.example.com/iris:1.0.0"}
GATEWAY = {"gateway": {"parentRefs": [{"name": "public"}]}}
PLAIN = re.compile(
    r"v1|(apps|batch|policy|autoscaling|\w+\.k8s\.io|(gateway\.networking|rbac\.authorization)\.k8s\.io)/v\d"
)
"""API versions of Kubernetes' own kinds, of which only the outline is checked."""
COMING_FROM = DOCS / "coming-from"
"""Its pages show manifests of others, which `test_coming_from.py` compares with what they are translated to."""
RUNS_OFFLINE = {"validate", "render", "estimate"}


def of(language: str) -> list[Any]:
    return [pytest.param(block, id=block.place) for block in BLOCKS if block.language == language]


def problems(block: Block) -> list[str] | None:
    """What is wrong with the documents of a block; None where nothing here can tell."""
    found: list[str] = []
    for document in yaml.safe_load_all(block.text):
        if block.page.is_relative_to(COMING_FROM) and is_of_others(document):
            continue
        told = problems_of(document)
        if told is None:
            return None
        found += told
    return found


def is_of_others(document: Any) -> bool:
    return isinstance(document, Mapping) and document.get("apiVersion") not in {None, MODEL_DEPLOYMENT.api_version}


def problems_of(document: Any) -> list[str] | None:
    if is_metrics(document):
        document = {"analysis": {"metrics": document}}
    if not isinstance(document, Mapping):
        return None
    if "kind" in document:
        return problems_of_resource(document)
    if document.keys() <= VALUES.keys():
        return errors_by(VALUES_SCHEMA, merged(VALUES, document))
    if document.keys() <= SCHEMAS[MODEL]["properties"]["spec"]["properties"].keys():
        document = {"spec": document}
    if document.keys() <= {"metadata", "spec"}:
        whole = merged({"metadata": {"name": "iris"}, "spec": {"serving": IMAGE, "traffic": GATEWAY}}, document)
        return problems_of_resource({"apiVersion": MODEL[0], "kind": MODEL[1], **whole})
    return None


def is_metrics(document: Any) -> bool:
    """Some of the metrics of a ModelDeployment."""
    return isinstance(document, list) and all(isinstance(each, Mapping) and "limit" in each for each in document)


def problems_of_resource(document: Mapping[str, Any]) -> list[str] | None:
    kind = (document.get("apiVersion"), document["kind"])
    if kind == MODEL:
        return [f"{each.field}: {each.message}" for each in findings(document, NOW)]
    if kind in SCHEMAS:
        return errors_by(closed(SCHEMAS[kind]), document)
    if PLAIN.match(str(kind[0])):
        return [] if document.get("metadata", {}).get("name") else ["it has no metadata.name"]
    return None


def errors_by(schema: Mapping[str, Any], document: Any) -> list[str]:
    found = jsonschema.Draft7Validator(schema).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in found]


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a CRD with unknown fields refused, which the API server would drop."""
    inner = {name: closed(field) for name, field in schema.get("properties", {}).items() if name != "metadata"}
    told = {**schema, **({"items": closed(schema["items"])} if "items" in schema else {})}
    if not inner or schema.get("x-kubernetes-preserve-unknown-fields"):
        return told
    return {**told, "properties": {**schema["properties"], **inner}, "additionalProperties": False}


def merged(below: Any, above: Any) -> Any:
    """Values as Helm puts them together."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


@pytest.mark.parametrize("block", of("yaml"))
def test_a_manifest_or_a_part_of_one_is_valid(block: Block) -> None:
    found = problems(block)
    if block.unchecked is None:
        assert found is not None, f"{block.place}: say in a comment why nothing checks it, or teach this test"
        assert found == []
    else:
        assert found is None, f"{block.place} can be checked: take its comment away"
        assert len(block.unchecked.split()) > 2, f"{block.place}: that is no reason"


def test_every_block_is_of_a_known_kind() -> None:
    others = {
        block.place: block.language for block in BLOCKS if block.language not in LANGUAGES and not block.unchecked
    }
    assert others == {}, "say in a comment why nothing checks it"
    counted = sum(prose(page).count("```") for page in USED)
    assert counted == 0, "a fence that is not closed, or not indented as it began"


RECORDED = "\n".join(path.read_text() for path in sorted((ROOT / "tests" / "golden" / "trees").glob("*.txt")))


@pytest.mark.parametrize("block", of("text"))
def test_a_shown_status_is_one_that_was_recorded(block: Block) -> None:
    """Its lines may be cut, and left out, where an ellipsis says so."""
    for line in block.text.splitlines():
        if re.match(r"[├└│]", line):
            assert line.partition("…")[0] in RECORDED, line


@pytest.mark.parametrize(
    ("line", "output"),
    [
        pytest.param(line, output, id=f"{block.place} {line[:40]}")
        for block in BLOCKS
        if block.language == "console" and block.unchecked is None
        for line, output in outputs(block.text)
        if re.match(rf"kubectl serinus ({'|'.join(RUNS_OFFLINE)}) ", line)
    ],
)
def test_a_command_that_needs_no_cluster_prints_what_is_shown(
    line: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    ran = CliRunner().invoke(app, shlex.split(line)[2:])
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.rstrip() == output.rstrip()


def paths(schema: Mapping[str, Any], path: str) -> set[str]:
    below = {f"{path}.{name}": field for name, field in schema.get("properties", {}).items()}
    inner = [schema["items"]] if "items" in schema else []
    return {path, *(each for name, field in below.items() for each in paths(field, name))} | {
        each for field in inner for each in paths(field, path)
    }


def value_paths(values: Any, path: str) -> set[str]:
    inner = values.items() if isinstance(values, Mapping) else ()
    return {path, *(each for name, value in inner for each in value_paths(value, f"{path}.{name}".lstrip(".")))}


KNOWN = value_paths(VALUES, "").union(
    *(
        paths(schema["properties"][part], part)
        for schema in SCHEMAS.values()
        for part in ("spec", "status")
        if part in schema["properties"]
    )
)
"""Every field of our resources and every value of the chart."""
FOREIGN = re.compile(r"(metadata|podTemplate|serving\.resources|gatewayFeatures)\.")
OF_OTHER_KINDS = {"spec.behavior", "status.supportedFeatures", "configs.cm"}


def test_every_field_and_value_that_a_page_names_exists() -> None:
    """Dotted names, from the root or from anywhere below it."""
    named = {
        (page.name, found[1].replace("[]", ""))
        for page in USED
        if "coming-from" not in page.parts
        for span in code_spans(page)
        if (found := re.match(r"([a-z][A-Za-z]*(?:\.[a-z][A-Za-z]*(?:\[\])?)+)(?=$|[:=])", span))
        and not found[1].endswith((".yaml", ".md", ".toml", ".dev", ".com", ".csv", ".crt", ".py", ".json"))
    }
    assert len(named) > 40
    unknown = {
        (page, name)
        for page, name in named
        if name not in OF_OTHER_KINDS
        and not FOREIGN.match(name)
        and not any(path == name or path.endswith(f".{name}") for path in KNOWN)
    }
    assert unknown == set()
