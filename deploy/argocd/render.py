"""Writes `argocd-cm.yaml`, what Argo CD has to know of ModelDeployments, from the Lua files beside this one.

The Lua files are the source, laid out as in Argo CD's own `resource_customizations`; a contract test compares the
committed file with what this module makes of them. Run by `make generate`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).parent
FILE: Final = FOLDER / "argocd-cm.yaml"
GROUP, KIND = "serinus.dev", "ModelDeployment"
SCRIPTS: Final = FOLDER / GROUP / KIND


class _Literal(yaml.SafeDumper):
    """Writes texts of several lines as they are, for people to read."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Literal.add_representer(str, _text)


def config_map() -> dict[str, Any]:
    """The ConfigMap `argocd-cm` with nothing in it but our two entries."""
    definitions = [
        {"name": script.parent.name, "action.lua": script.read_text(encoding="utf-8")}
        for script in sorted((SCRIPTS / "actions").glob("*/action.lua"))
    ]
    actions = {
        "discovery.lua": (SCRIPTS / "actions" / "discovery.lua").read_text(encoding="utf-8"),
        "definitions": definitions,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm", "labels": {"app.kubernetes.io/part-of": "argocd"}},
        "data": {
            f"resource.customizations.health.{GROUP}_{KIND}": (SCRIPTS / "health.lua").read_text(encoding="utf-8"),
            f"resource.customizations.actions.{GROUP}_{KIND}": _yaml(actions),
        },
    }


def rendered() -> str:
    """The text of the file."""
    return f"# Generated from the Lua files beside it by `make generate`. Don't edit.\n{_yaml(config_map())}"


def _yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Literal, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    FILE.write_text(rendered(), encoding="utf-8")
