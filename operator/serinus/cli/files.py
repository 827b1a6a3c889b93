"""Manifests in files: read one by one, with the lines that their fields stand in.

Called by every command that reads files. A file may hold several YAML documents; a folder stands for its files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from serinus.api.kinds import MODEL_DEPLOYMENT, NAMESPACE
from serinus.cli import policies
from serinus.cli.outcome import CommandFailed

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
STDIN: Final = "-"


@dataclass(frozen=True, slots=True)
class Document:
    """One manifest, and where it stands."""

    file: str
    data: dict[str, Any]
    node: yaml.Node
    beside: tuple[dict[str, Any], ...] = ()
    """Policies and Namespaces in the same files."""

    @property
    def is_model_deployment(self) -> bool:
        """Whether it is meant as one, whatever its version."""
        group = str(self.data.get("apiVersion", "")).split("/")[0]
        kind = self.data.get("kind")
        return kind == MODEL_DEPLOYMENT.kind or (group == MODEL_DEPLOYMENT.group and not self.is_policy)

    @property
    def is_policy(self) -> bool:
        """Whether it is a RolloutPolicy or a ClusterRolloutPolicy."""
        return str(self.data.get("kind")) in policies.KINDS

    @property
    def name(self) -> str:
        """`namespace/name`, as far as it says."""
        metadata = self.data.get("metadata")
        fields = metadata if isinstance(metadata, dict) else {}
        parts = (fields.get("namespace"), fields.get("name") or "without a name")
        return "/".join(str(part) for part in parts if part)

    @property
    def namespace(self) -> str | None:
        """The namespace that it names."""
        metadata = self.data.get("metadata")
        named = metadata.get("namespace") if isinstance(metadata, dict) else None
        return str(named) if named else None

    def line_of(self, field: str) -> int:
        """The line of a field as in `spec.rollout.canary.steps[2].name`, or of the nearest one above it."""
        node, line = self.node, self.node.start_mark.line
        for part in _parts(field):
            found = _inner(node, part)
            if found is None:
                break
            node, line = found
        return line + 1


def documents(paths: Sequence[str]) -> list[Document]:
    """All manifests in these files and folders, `-` being standard input. Raises `CommandFailed` with the line."""
    found = [each for path in paths for file, text in _texts(path) for each in _documents(file, text)]
    beside = tuple(each.data for each in found if each.is_policy or each.data.get("kind") == NAMESPACE.kind)
    return [replace(each, beside=beside) for each in found] if beside else found


def model_deployments(paths: Sequence[str]) -> list[Document]:
    """The ModelDeployments among them. Raises `CommandFailed` where there is none."""
    found = [each for each in documents(paths) if each.is_model_deployment]
    if not found:
        raise CommandFailed(f"there is no ModelDeployment in {', '.join(paths)}")
    return found


def _texts(path: str) -> Iterator[tuple[str, str]]:
    if path == STDIN:
        yield "standard input", sys.stdin.read()
        return
    here = Path(path)
    files = sorted(each for each in here.rglob("*") if each.suffix in _SUFFIXES) if here.is_dir() else [here]
    for file in files:
        try:
            yield str(file), file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandFailed(f"{file} can't be read: {error}") from error


def _documents(file: str, text: str) -> Iterator[Document]:
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
        for node in nodes:
            data = _constructed(node)
            items = data.get("items") if isinstance(data, dict) and data.get("kind") == "List" else None
            if isinstance(items, list):
                listed = _inner(node, "items")
                inner = listed[0].value if listed else []
                yield from (Document(file, item, at) for item, at in zip(items, inner, strict=True))
            elif isinstance(data, dict):
                yield Document(file, data, node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else file
        raise CommandFailed(f"{where}: this is no YAML: {getattr(error, 'problem', error)}") from error


def _constructed(node: yaml.Node) -> Any:
    """The value of a node. A key that stands twice is refused, as by Kubernetes' strict parsers."""
    _refuse_double_keys(node)
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_double_keys(node: yaml.Node) -> None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_double_keys(item)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode) and key.value != "<<":
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
            _refuse_double_keys(value)


def _parts(field: str) -> list[str | int]:
    parts: list[str | int] = []
    for part in field.split("."):
        name, *indices = part.split("[")
        parts += [name] if name else []
        parts += [int(index.rstrip("]")) for index in indices if index.rstrip("]").isdigit()]
    return parts


def _inner(node: yaml.Node, part: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(part, int):
        if not isinstance(node, yaml.SequenceNode) or part >= len(node.value):
            return None
        return node.value[part], node.value[part].start_mark.line
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return value, key.start_mark.line
    return None
