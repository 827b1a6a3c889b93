"""The chart as Helm renders it, once for each set of values, and what the operator makes of that.

Read by the tests of the chart and of pages that show values.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import tools
from serinus.settings import Settings, from_environment

CHART = Path(__file__).parents[2] / "charts" / "serinus"

Manifest = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tools.packaged() / "helm", *arguments], capture_output=True, text=True, check=False)


def template(values: Mapping[str, Any] | None = None, release: str = "serinus") -> subprocess.CompletedProcess[str]:
    """`helm template` in the namespace `ops`, with these values over the chart's."""
    return _template(release, *(f"--set-json={name}={json.dumps(value)}" for name, value in (values or {}).items()))


@functools.cache
def _template(release: str, *settings: str) -> subprocess.CompletedProcess[str]:
    return helm("template", release, str(CHART), "--namespace=ops", *settings)


def rendered(values: Mapping[str, Any] | None = None, release: str = "serinus") -> list[Manifest]:
    """What is installed with these values. The manifests are for reading only: other tests get the same."""
    result = template(values, release)
    assert result.returncode == 0, result.stderr
    return list(manifests_of(result.stdout))


def manifests_of(text: str) -> Iterator[Manifest]:
    """Those of a text as Helm writes it, with `---` on a line of its own before each."""
    for document in re.split(r"^---$", text, flags=re.MULTILINE):
        if manifest := _manifest(document):
            yield manifest


@functools.cache
def _manifest(document: str) -> Manifest | None:
    """Kept, since most of a chart is the same whatever the values, and its CRDs are long."""
    return yaml.load(document, yaml.CSafeLoader)  # type: ignore[no-any-return]


def only(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    found = [each for each in manifests if each["kind"] == kind and name in {None, each["metadata"]["name"]}]
    assert len(found) == 1, f"{len(found)} of {kind} {name or ''}"
    return found[0]


def operator_container(manifests: list[Manifest]) -> Manifest:
    (container,) = only(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    return container  # type: ignore[no-any-return]


def settings_of(manifests: list[Manifest]) -> Settings:
    """What the operator makes of the environment that the chart gives it, in the pod `serinus-0` in `ops`."""
    pod = {"metadata.name": "serinus-0", "metadata.namespace": "ops"}
    environment = {
        entry["name"]: entry["value"] if "value" in entry else pod[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        for entry in operator_container(manifests)["env"]
    }
    return from_environment(environment)
