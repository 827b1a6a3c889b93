"""A resource of the simulated world as an API server returns it: with the status that the CRD gives to new ones."""

from __future__ import annotations

from typing import Any

from serinus.api.crd import custom_resource_definition
from serinus.api.kinds import MODEL_DEPLOYMENT
from tests.world.world import World

(_VERSION,) = custom_resource_definition()["spec"]["versions"]
_STATUS = _VERSION["schema"]["openAPIV3Schema"]["properties"]["status"]


def stored(world: World) -> dict[str, Any]:
    """The world's one ModelDeployment."""
    (resource,) = world.api.of(MODEL_DEPLOYMENT.kind)
    return {"status": _STATUS["default"], **resource} if "default" in _STATUS else resource
