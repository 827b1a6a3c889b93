"""ModelDeployments for the tests of rendering, and how to find one's way in a rendered pod."""

import copy
from collections.abc import Mapping
from typing import Any

from serinus.api.deployment import ModelDeployment
from serinus.core import render

IMAGE = "registry.example.com/iris:1.0.0"


def deployment(spec: Mapping[str, Any] | None = None, name: str = "iris") -> ModelDeployment:
    """A parsed resource with this spec; `serving.image` need not be given."""
    whole = copy.deepcopy(dict(spec or {}))
    whole["serving"] = {"image": IMAGE} | whole.get("serving", {})
    metadata = {"name": name, "namespace": "models", "uid": "7f0c"}
    return ModelDeployment.parse({"metadata": metadata, "spec": whole})


def template(spec: Mapping[str, Any] | None = None) -> dict[str, Any]:
    resource = deployment(spec)
    return dict(render.pod_template(resource, resource.revision))


def pod_spec(spec: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return template(spec)["spec"]


def container(spec: Mapping[str, Any] | None = None, name: str = "model") -> dict[str, Any]:
    (found,) = [each for each in pod_spec(spec)["containers"] if each["name"] == name]
    return found


def environment(spec: Mapping[str, Any] | None = None) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container(spec)["env"]}


def options(spec: Mapping[str, Any] | None = None) -> list[tuple[str, str]]:
    """What BentoML reads from its options, in order; the later one of two equal keys wins."""
    pairs = environment(spec)["BENTOML_CONFIG_OPTIONS"].split()
    return [(key, value) for key, _, value in (pair.partition("=") for pair in pairs)]
