"""Specs and policies for the tests of what policies make of a spec."""

from __future__ import annotations

from typing import Any

from serinus.api.policy import Policy
from serinus.api.spec import ModelDeploymentSpec

NULLS: dict[str, Any] = {
    "name": "nulls",
    "ratio": {"bad": "nulls_total{%pods%}", "total": "predictions_total{%pods%}"},
    "limit": {"maxPercent": "1"},
}


def spec(**sections: Any) -> ModelDeploymentSpec:
    """A spec of these sections beside the image."""
    return ModelDeploymentSpec.model_validate({"serving": {"image": "registry.example.com/iris:1"}} | sections)


def cluster_policy(name: str = "house", **fields: Any) -> Policy:
    """A ClusterRolloutPolicy."""
    return _policy("ClusterRolloutPolicy", name, fields)


def namespace_policy(name: str = "team", **fields: Any) -> Policy:
    """A RolloutPolicy."""
    return _policy("RolloutPolicy", name, fields)


def _policy(kind: str, name: str, fields: dict[str, Any]) -> Policy:
    read = Policy.parse({"kind": kind, "metadata": {"name": name, "uid": name, "generation": 1}, "spec": fields})
    assert read.unreadable == ""
    return read
