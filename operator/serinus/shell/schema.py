"""Whether the cluster's CRD is new enough to lead on: an older one would silently drop parts of the status.

Asked by `serinus.shell.app` before it takes part in the election, and by `serinus.shell.check`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Protocol

from serinus.api.kinds import GROUP, MODEL_DEPLOYMENT, Kind
from serinus.api.names import SCHEMA_VERSION, SCHEMA_VERSION_ANNOTATION
from serinus.kube.cluster import ApiError, NotFound

logger = logging.getLogger(__name__)

CUSTOM_RESOURCE_DEFINITION: Final = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"
)
CRD_NAME: Final = f"{MODEL_DEPLOYMENT.plural}.{GROUP}"


class CrdStore(Protocol):
    """What `serinus.kube.client.HttpCluster` offers for the CRD."""

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """The CRD as it is now; may raise `ApiError`."""


async def wait_for_new_enough(store: CrdStore, recheck_seconds: float = 10.0) -> None:
    """Return when the CRD knows every field that this operator writes; says in the log what it waits for."""
    told = ""
    while True:
        obstacle = await obstacle_of(store)
        if obstacle is None:
            if told:
                logger.info("the CRD is new enough now", extra={"crd": CRD_NAME, "schema_version": SCHEMA_VERSION})
            return
        if obstacle != told:
            logger.warning("standing by until the CRD is mended", extra={"crd": CRD_NAME, "because": obstacle})
            told = obstacle
        await asyncio.sleep(recheck_seconds)


async def obstacle_of(store: CrdStore) -> str | None:
    """Why this operator would not lead on the CRD, and what to do; None where it would."""
    try:
        crd = await store.get(CUSTOM_RESOURCE_DEFINITION, "", CRD_NAME)
    except NotFound:
        return "it is not installed: install the chart's CRD (crds.install=true), or apply crds/ of this version"
    except ApiError as error:
        return str(error)
    text = str((crd["metadata"].get("annotations") or {}).get(SCHEMA_VERSION_ANNOTATION, ""))
    version = int(text) if text.isascii() and text.isdigit() else 0
    if version < SCHEMA_VERSION:
        return (
            f"its schema is of version {version}, and this operator writes version {SCHEMA_VERSION}, of which it would "
            "lose fields: upgrade the CRD (crds.install=true in the chart, or apply crds/ of this version)"
        )
    return None
